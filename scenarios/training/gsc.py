"""GSC's own recipe: a ControlNet for FLUX.1-dev, on a folder of pictures of any sizes.

    pictures ─► cut to cells of 16 ─► VAE, g_a, SSIM ─► OUT/examples/*   a file a picture: latents, maps, order
    captions ─► T5, CLIP ─► OUT/text/*                                   a file a caption; then both are let go
                                  │
                 ControlNet (trained) + FLUX (frozen) ─► conditional flow matching, t uniform

The paper (arXiv 2510.27324, Section 4.1): copies of the first 4 double and 2 single blocks, AdamW at 4e-5 with
weight decay 0.01, 15,000 steps of 1 picture times 4. It trains one model for each number of channels; here one
learns them all, the losses and the missing captions too, as `scenarios.training.control` says.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from link import transform as transform_files
from link.errors import UsageError
from receiver.device import pick_dtype
from receiver.generator import encode
from receiver.parts import Parts
from receiver.text_encoder import TextEncoder
from scenarios.training import tiny
from scenarios.training.control import Control, ControlSetup, parts_of
from scenarios.training.data import Cut, Pictures, to_tensor, whole_cut
from scenarios.training.examples import Rows, stamp, store
from scenarios.training.loop import Recipe
from scenarios.training.request import TrainingRequest, find
from sender.transform import similarity

RECIPE = Recipe(
    steps=15_000,
    learning_rate=4e-5,
    weight_decay=0.01,
    warmup=0,
    final=1.0,
    accumulate=4,
    ema=0.0,
    save_every=500,
    sample_every=1000,
)
LAYERS = (4, 2)
GUIDANCE = 1.0
"""What the base is told while its control is trained.

FLUX.1-dev is distilled: told g it answers with the velocity that classifier-free guidance at g would give. The
loss asks for the velocity of the data, which is that at 1. At 3.5, which suits sampling from captions alone, the
control would spend itself on undoing the guidance. A base without this input (FLUX.1-schnell) is told nothing.
"""
MOST_CELLS = 1920
"""Larger pictures are scaled down to so many cells of 16x16: half a megapixel, as large as the paper's are."""
CELL = transform_files.CELL
HELD_OUT = 16
MEASURED = 64
"""Pictures from which the deviations of the channels are taken."""
TABLE_SIZE, TABLE_MAPS = (512, 384), 600
TEXT = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")


def control(request: TrainingRequest, batch: int) -> Control:
    """Return the ControlNet to be trained; what does not change is computed first and kept under OUT."""
    assert request.out is not None
    state = Accelerator(mixed_precision=RECIPE.mixed_precision)
    dtype = pick_dtype("auto", state.device)
    base = request.folder("base")
    folders = {name: base / name for name in ("transformer", "vae", "scheduler", *TEXT)}
    pictures = Pictures.open(request.folder("pictures"))
    files, held = _split(pictures.files, request)
    captions = read_captions(request.captions, files + held)
    text = KeptText(request.out / "text", stamp(*(folders[name] for name in TEXT)))
    text.keep(folders, ["", *captions.values()], dtype, state)
    transformer, vae, scheduler = parts_of(folders, dtype)
    transform = request.folder("transform")
    cache = request.out / "examples"
    made_of = stamp(folders["vae"], transform)
    learned, shown = (Photos(part, captions, cache, made_of) for part in (files, held))
    analysis = transform_files.load(transform, "analysis")
    for photos in (learned, shown):
        photos.keep(vae.to(state.device), analysis.to(state.device), state)
    setup = ControlSetup(
        learned,
        shown,
        Parts(transformer, None, vae, scheduler),
        text,
        transform_files.load(transform, "synthesis"),
        batch,
        None if request.init is None else find(request.folder("init"), "controlnet", "--init"),
    )
    part = Control(setup, LAYERS, GUIDANCE)
    for module in (transformer, part.controlnet):
        module.enable_gradient_checkpointing()
    return part


def tables(request: TrainingRequest, say: tiny.Say) -> Path:
    """Fit the tables of a transform's channels: fewer maps than tiny, for there are ten times the channels."""
    size, count = request.size or TABLE_SIZE, request.examples or TABLE_MAPS
    return tiny.tables(replace(request, size=size, examples=count), say)


def _split(files: list[Path], request: TrainingRequest) -> tuple[list[Path], list[Path]]:
    """Return the pictures to train on and those held out: --held-out, else every so many of them."""
    if request.held_out is not None:
        return files, Pictures.open(request.folder("held_out")).files[:HELD_OUT]
    if len(files) < 2:
        raise UsageError(f"{files[0].parent}: at least 2 pictures are needed, to hold one out")
    held = files[:: max(2, -(-len(files) // HELD_OUT))]
    return [file for file in files if file not in set(held)], held


def read_captions(path: Path | None, files: list[Path]) -> dict[Path, str]:
    """Return the caption of each of *files*: lines of {"file": NAME, "caption": TEXT}; none for those not listed.

    Raise UsageError where a line is something else, or none is of a file.
    """
    if path is None:
        return dict.fromkeys(files, "")
    said: dict[str, str] = {}
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--captions {path}: cannot be read: {error}") from None
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            said[str(row["file"])] = " ".join(str(row["caption"]).split())
        except (ValueError, KeyError, TypeError):
            raise UsageError(f'{path}, line {number}: expected {{"file": ..., "caption": ...}}') from None
    captions = {file: said.get(file.name, "") for file in files}
    if not any(captions.values()):
        raise UsageError(f"{path}: names none of the pictures, as {files[0].name}")
    return captions


class KeptText(TextEncoder):
    """Text encoders whose answers are read from files, so that the encoders need not stay in memory."""

    def __init__(self, folder: Path, made_of: str) -> None:
        self._folder, self._made_of = folder, made_of

    def _file(self, caption: str) -> Path:
        name = hashlib.sha256(f"{self._made_of}\n{caption}".encode()).hexdigest()[:32]
        return self._folder / f"{name}.safetensors"

    def keep(
        self, folders: dict[str, Path], captions: Iterable[str], dtype: torch.dtype, state: Accelerator
    ) -> None:
        """Embed those of *captions* that have no file yet, each process its share."""
        wanted = sorted({caption for caption in captions if not self._file(caption).is_file()})
        if wanted:
            encoder = TextEncoder.from_pretrained(folders, dtype).to(state.device)
            self._folder.mkdir(parents=True, exist_ok=True)
            for caption in wanted[state.process_index :: state.num_processes]:
                tokens, pooled = encoder.encode([caption])
                arrays = {"tokens": tokens[0].cpu().contiguous(), "pooled": pooled[0].cpu().contiguous()}
                store(arrays, self._file(caption))
        state.wait_for_everyone()

    def encode(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """Return the embeddings of captions that were kept."""
        encodings = [load_file(self._file(caption)) for caption in captions]
        return torch.stack([one["tokens"] for one in encodings]), torch.stack(
            [one["pooled"] for one in encodings]
        )

    def forget(self) -> None:
        """Keep the files: the encoders do not change."""

    def to(self, device: torch.device, offload: bool = False) -> "KeptText":
        """Return the same: nothing here is on a device."""
        return self


class Photos:
    """Examples of any sizes: a file each, with latents, channel maps and the order that SSIM puts them in."""

    def __init__(self, files: list[Path], captions: dict[Path, str], cache: Path, made_of: str) -> None:
        self._files = files
        self._captions = [captions[file] for file in files]
        self._kept = [cache / f"{file.stem}-{stamp(file, made_of)}.safetensors" for file in files]
        self._sizes = [cut_size(file) for file in files]
        self._alike: dict[tuple[int, int], list[int]] = {}
        for at, size in enumerate(self._sizes):
            self._alike.setdefault(size, []).append(at)

    def keep(self, vae: Any, analysis: Any, state: Accelerator) -> None:
        """Compute what has no file yet, each process its share."""
        for at in range(state.process_index, len(self), state.num_processes):
            if not self._kept[at].is_file():
                self._kept[at].parent.mkdir(parents=True, exist_ok=True)
                store(compute_arrays(self._cut(at), vae, analysis), self._kept[at])
        state.wait_for_everyone()

    def _cut(self, at: int) -> Cut:
        with Image.open(self._files[at]) as file:
            return whole_cut(file.convert("RGB"), None, self._sizes[at])

    @property
    def channels(self) -> int:
        """How many channels the codec has."""
        return len(load_file(self._kept[0])["order"])

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._files)

    def draw(self, rng: np.random.Generator, count: int) -> Tensor:
        """Return the numbers of a random picture and of others of its size."""
        first = int(rng.integers(len(self)))
        alike = self._alike[self._sizes[first]]
        return torch.tensor([first, *rng.choice(alike, size=count - 1).tolist()])

    def rows(self, picks: Tensor) -> Rows:
        """Return the examples of these numbers."""
        photos = [load_file(self._kept[at]) for at in picks.tolist()]
        latents = torch.stack([one["latents"].float() for one in photos])  # autocast on CPUs knows no float16
        maps, order = (torch.stack([one[key] for one in photos]) for key in ("maps", "order"))
        return Rows(latents, [self._captions[at] for at in picks.tolist()], maps, order.long())

    def groups(self, most: int) -> list[Tensor]:
        """Return the numbers of all pictures, by size and at most *most* together; the commonest size first."""
        alike = sorted(self._alike.values(), key=len, reverse=True)
        return [group for numbers in alike for group in torch.split(torch.tensor(numbers), most)]

    def deviation(self) -> Tensor:
        """Return the root mean square of each channel over some of the pictures."""
        chosen = self._kept[:: max(1, len(self) // MEASURED)]
        squares = [load_file(path)["maps"].float().square().mean((1, 2)) for path in chosen]
        return torch.stack(squares).mean(0).sqrt()


def compute_arrays(cut: Cut, vae: Any, analysis: Any) -> dict[str, Tensor]:
    """Return latents, maps and order of a picture."""
    picture = to_tensor([cut])
    with torch.inference_mode():
        latents = encode(vae, picture.to(vae.device, vae.dtype))[0]
        maps = analysis(picture.to(vae.device))[0].round().clamp(-(2**15), 2**15 - 1).to(torch.int16).cpu()
    scores = similarity(maps.to(torch.int32).numpy(), cut.pixels)
    order = torch.from_numpy(np.argsort(-scores, kind="stable").astype(np.int16))
    return {"latents": latents.half().cpu().contiguous(), "maps": maps.contiguous(), "order": order}


def cut_size(file: Path) -> tuple[int, int]:
    """Return width and height in whole cells of the picture in *file*, scaled down where it has too many."""
    try:
        with Image.open(file) as opened:
            width, height = opened.size
    except OSError as error:
        raise UsageError(f"{file}: cannot be read as a picture: {error}") from None
    columns, rows = width / CELL, height / CELL
    scale = min(1.0, (MOST_CELLS / (columns * rows)) ** 0.5)
    if min(columns, rows) < 1:
        raise UsageError(f"{file}: {width}x{height} is less than a cell of {CELL}x{CELL}")
    return max(1, int(columns * scale)) * CELL, max(1, int(rows * scale)) * CELL
