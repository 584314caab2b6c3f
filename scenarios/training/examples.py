"""Training examples of the flow: cuts with captions, their latents computed once.

Example n of a seed is always the same cut, so what is kept of it can be computed by whoever needs it: latents
for the flow, latents and channel maps for its control.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from link.seeds import generator
from receiver.generator import encode
from scenarios.training.autoencoder import Draw
from scenarios.training.data import Cut, draw_mixed, to_tensor
from scenarios.training.loop import storing
from sender.captioner import describe

UNKNOWN = 255
BATCH = 16
WORDS = (6, 28)
"""Captions are cut to a random number of words between these."""


@dataclass
class Rows:
    """Some examples of one size, as a control learns from them."""

    latents: Tensor
    """Shape (count, channels, 2 rows, 2 columns)."""
    captions: list[str]
    maps: Tensor
    """Shape (count, codec channels, rows, columns), integers."""
    order: Tensor
    """Shape (count, codec channels): the channels, those that are sent first before the others."""


class ExampleSource(Protocol):
    """Where a control's examples come from."""

    @property
    def channels(self) -> int:
        """How many channels the codec has."""

    def __len__(self) -> int:
        """Return the number of examples."""

    def draw(self, rng: np.random.Generator, count: int) -> Tensor:
        """Return the numbers of *count* random examples of one size."""

    def rows(self, picks: Tensor) -> Rows:
        """Return the examples of these numbers."""

    def groups(self, most: int) -> list[Tensor]:
        """Return the numbers of all examples, by size and at most *most* together; the commonest size first."""

    def deviation(self) -> Tensor:
        """Return the root mean square of each channel, shape (channels,)."""


@dataclass
class Examples:
    """What the flow learns from, one row an example."""

    latents: Tensor
    """Shape (count, channels, 2 rows, 2 columns), float16."""
    captions: list[str]
    maps: Tensor | None = None
    """Shape (count, codec channels, rows, columns), int8; None where no transform was given."""

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.captions)

    @property
    def channels(self) -> int:
        """How many channels the codec has. Raise ValueError where the examples have no maps."""
        return self._maps().shape[1]

    def _maps(self) -> Tensor:
        if self.maps is None:
            raise ValueError("examples without channel maps: make them with a transform")
        return self.maps

    def draw(self, rng: np.random.Generator, count: int) -> Tensor:
        """Return the numbers of *count* random examples."""
        return torch.from_numpy(rng.integers(len(self), size=count))

    def rows(self, picks: Tensor) -> Rows:
        """Return the examples of these numbers; the transform's first channels are the best."""
        captions = [self.captions[at] for at in picks.tolist()]
        order = torch.arange(self.channels).expand(len(picks), -1)
        return Rows(self.latents[picks], captions, self._maps()[picks], order)

    def groups(self, most: int) -> list[Tensor]:
        """Return the numbers of all examples, at most *most* together."""
        return list(torch.split(torch.arange(len(self)), most))

    def deviation(self) -> Tensor:
        """Return the root mean square of each channel."""
        return self._maps().float().square().mean((0, 2, 3)).sqrt()


def caption(cut: Cut, words: int) -> str:
    """Return what the captioner says of a cut with its true labels."""
    if cut.labels is None:
        return ""
    return describe(cut.labels, cut.pixels, words).sentence()


def make(
    draws: list[Draw], count: int, seed: int, vae: Any, transform: Any | None = None, name: str = "examples"
) -> Examples:
    """Return examples 0 to *count* of *seed*, with maps where *transform* (a CompressAI model's g_a) is given."""
    latents, captions, maps = [], [], []
    for first in range(0, count, BATCH):
        rng = generator(seed, f"{name}/{first}")
        cuts = draw_mixed(rng, draws, BATCH)
        pictures = to_tensor(cuts).to(vae.device)
        captions += [caption(cut, int(rng.integers(*WORDS))) for cut in cuts]
        with torch.inference_mode(), torch.autocast(vae.device.type, torch.bfloat16):
            latents.append(encode(vae, pictures).half().cpu())
            if transform is not None:
                maps.append(transform(pictures).float().round().clamp(-127, 127).to(torch.int8).cpu())
    return Examples(
        torch.cat(latents)[:count],
        captions[:count],
        torch.cat(maps)[:count] if transform is not None else None,
    )


def load_or_make(path: Path, *args: Any, **options: Any) -> Examples:
    """Return `make(*args)`, read from *path*, where it is kept if it was not before.

    What was just made is read again, too: a convolution may lay numbers out otherwise than a file does, from which
    kernels add them up in another order, and a training that was cut would end with other bits.
    """
    if not path.is_file():
        _keep(path, make(*args, **options))
    arrays = load_file(path)
    text = bytes(arrays["captions"].numpy().tobytes()).decode()
    return Examples(arrays["latents"], text.split("\n"), arrays.get("maps"))


def _keep(path: Path, made: Examples) -> None:
    raw = np.frombuffer("\n".join(made.captions).encode(), np.uint8).copy()
    arrays = {"latents": made.latents.contiguous(), "captions": torch.from_numpy(raw)}
    if made.maps is not None:
        arrays["maps"] = made.maps.contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    store(arrays, path)


def store(arrays: dict[str, Tensor], path: Path) -> None:
    """Write *arrays* to *path*, whole or not at all: another process may write or read the same file."""
    new = path.with_suffix(f".{os.getpid()}.new")
    with storing(new):
        save_file(arrays, new)
        new.replace(path)


def stamp(*things: Any) -> str:
    """Return a short name for what examples are made of: a path stands for the files that it is or holds."""
    whole = hashlib.sha256()
    for thing in things:
        for path in sorted(thing.rglob("*")) if isinstance(thing, Path) and thing.is_dir() else [thing]:
            whole.update(f"{path}\n".encode())
            if isinstance(path, Path) and path.is_file():
                status = path.stat()
                whole.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
    return whole.hexdigest()[:16]
