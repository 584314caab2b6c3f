"""GSC's ControlNet: a copy of the base's first blocks learns to follow the channels that arrived, the base frozen.

Each example keeps a random number of channels, mostly the first ones as `nested` order sends them, otherwise any;
then loses some of those and, one time in ten, its caption. So one model serves every number of channels, every
choice of them and every loss, where the paper trains one for each number. The loss is the flow's own.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from link.seeds import generator
from receiver.conditioning import Conditioning
from receiver.generator import Flow, Generator, Sampling, decode, encode, pack
from receiver.parts import ChannelControlNet, Parts
from receiver.text_encoder import TextEncoder
from receiver.transform import Synthesis
from scenarios.training.autoencoder import grid
from scenarios.training.examples import ExampleSource, Rows
from scenarios.training.loop import Losses
from scenarios.training.request import load

COUNTS = (0, 1, 2, 4, 8, 16, 32)
COUNT_WEIGHTS = (0.04, 0.1, 0.12, 0.18, 0.32, 0.14, 0.1)
NESTED = 0.75
LOSSY = 0.5
"""Share of the examples that lose channels, each with a probability of up to `MOST_LOST`."""
MOST_LOST = 0.4
NO_CAPTION = 0.1
SAMPLES = 6


@dataclass(frozen=True)
class ControlSetup:
    """What the trainings of a ControlNet have in common."""

    examples: ExampleSource
    held_out: ExampleSource
    parts: Parts
    """`transformer`, `vae` and `scheduler`; the ControlNet is the training's own."""
    text: TextEncoder
    synthesis: nn.Module
    batch: int
    start: Path | None = None
    """A ControlNet to begin from; None: a copy of the transformer's first blocks."""


class Control:
    """Trains the ControlNet; transformer, text encoders, VAE and synthesis stay as they are.

    *guidance* is what a guidance-distilled base is told that it is; other bases have no use for it.
    """

    name = "control"

    def __init__(self, setup: ControlSetup, layers: tuple[int, int] = (2, 1), guidance: float = 1.0) -> None:
        examples, parts, start = setup.examples, setup.parts, setup.start
        self._examples, self._held_out = examples, setup.held_out
        self._text, self._synthesis, self._batch = setup.text, setup.synthesis, setup.batch
        channels = examples.channels
        if start is None:
            control = ChannelControlNet.from_base(parts.transformer, channels, *layers)
            control.channel_scale.copy_(1.0 / examples.deviation().clamp_min(0.05))
        else:
            control = load(ChannelControlNet, start, torch_dtype=torch.float32)
        self.modules = nn.ModuleDict({"controlnet": control})
        self.modules.requires_grad_(True).train()
        self._parts = Parts(parts.transformer, control, parts.vae, parts.scheduler)
        self._guidance = guidance

    @property
    def controlnet(self) -> Any:
        """The model that is trained."""
        return self._parts.controlnet

    def to(self, device: torch.device) -> None:
        """Move what is used but not trained."""
        for module in (self._parts.transformer, self._parts.vae, self._synthesis):
            module.to(device)
        self._text.to(device)

    def loss(self, rng: np.random.Generator, progress: float) -> tuple[Tensor, Losses]:
        """Return the mean squared error of the steered velocity."""
        rows = self._examples.rows(self._examples.draw(rng, self._batch))
        error = self._error(rows, self._arrived(rng, rows.order), rng, NO_CAPTION)
        return error.mean(), {"loss": error.mean().item()}

    def _arrived(self, rng: np.random.Generator, order: Tensor) -> Tensor:
        """Return which channels each example has, shape (count, channels) as that of *order*."""
        count, channels = order.shape
        arrived = np.zeros((count, channels), bool)
        for row, first in zip(arrived, order.numpy(), strict=True):
            kept = min(channels, int(rng.choice(COUNTS, p=COUNT_WEIGHTS)))
            row[first[:kept] if rng.random() < NESTED else rng.permutation(channels)[:kept]] = True
            if rng.random() < LOSSY:
                row &= rng.random(channels) >= rng.uniform(0, MOST_LOST)
        return torch.from_numpy(arrived)

    def _error(self, rows: Rows, arrived: Tensor, rng: np.random.Generator, no_caption: float) -> Tensor:
        parts = self._parts
        device = parts.transformer.device
        with torch.no_grad():
            clean = pack(rows.latents.float()).to(device)
            captions = ["" if rng.random() < no_caption else caption for caption in rows.captions]
            arrived = arrived.to(device)
            maps = rows.maps.float().to(device) * arrived[:, :, None, None]
            picture = pack(encode(parts.vae, self._synthesis(maps).clamp(0, 1))).float()
        tokens, pooled = self._told(captions)
        noise = torch.from_numpy(rng.standard_normal(clean.shape, np.float32)).to(device)
        time = torch.from_numpy(rng.uniform(0, 1, len(clean)).astype(np.float32)).to(device)
        noisy = torch.lerp(clean, noise, time[:, None, None])
        control = parts.controlnet.control(maps, arrived, picture)
        distilled = parts.transformer.config.guidance_embeds
        guidance = torch.full((len(clean),), self._guidance, device=device) if distilled else None
        flow = Flow(parts, 1.0, *maps.shape[2:])
        velocity = flow(noisy, time, tokens, pooled, control, guidance)
        return (velocity.float() - (noise - clean)).square().flatten(1).mean(1)

    def _told(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """Return what the text encoders make of *captions*."""
        with torch.no_grad():
            tokens, pooled = self._text.encode(captions)
        device = self._parts.transformer.device
        return tokens.clone().to(device), pooled.clone().to(device)

    def save(self, folder: Path) -> None:
        """Write the ControlNet in the layout that the receiver loads."""
        self._parts.controlnet.save_pretrained(folder / "controlnet")

    @torch.no_grad()
    def sample(self, folder: Path, step: int) -> Losses:
        """Write held-out pictures above those drawn from 0, 1, 2, ... channels; return PSNR of each."""
        # Captions are read in half precision in training and in full here; neither is to find what the other has kept.
        self._text.forget()
        held, rng = self._held_out, generator(0, "held-out")
        device, dtype = self._parts.transformer.device, self._parts.transformer.dtype
        # The ControlNet is trained in float32, whatever its base is in.
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            errors = []
            for picks in held.groups(16):
                rows = held.rows(picks)
                errors.append(self._error(rows, mask_first(rows.order, 8), rng, 0.0).cpu())
            shown = held.rows(held.groups(SAMPLES)[0])
            pictures, scores = self._drawn(shown)
        self._text.forget()
        grid(pictures, len(shown.captions)).save(folder / f"{step:06d}.png")
        return {"val_loss": float(torch.cat(errors).mean()), **scores}

    def _drawn(self, shown: Rows) -> tuple[Tensor, Losses]:
        """Return the true pictures and those drawn from ever more channels, and the PSNR of these."""
        vae = self._parts.vae
        # `Synthesis` computes where the receiver does, on the CPU.
        synthesis = Synthesis(self._synthesis.cpu())
        drawn = Generator(self._parts, self._text, synthesis, Sampling(guidance=self._guidance))
        truth = decode(vae, shown.latents.float().to(vae.device)).clamp(0, 1).cpu()
        rows, scores = [truth], {}
        for kept in (0, 1, 4, 8, 16):
            arrived = mask_first(shown.order, kept)
            maps = (shown.maps * arrived[:, :, None, None]).numpy().astype(np.int32)
            there = zip(maps, arrived.numpy(), shown.captions, strict=True)
            generated = drawn.generate([Conditioning(*item) for item in there])
            pictures = torch.from_numpy(np.stack(generated)).permute(0, 3, 1, 2) / 255.0
            rows.append(pictures)
            error = (pictures - truth).square().flatten(1).mean(1)
            scores[f"psnr_db_{kept}"] = float((-10 * error.log10()).mean())
        self._synthesis.to(vae.device)
        return torch.cat(rows), scores


def mask_first(order: Tensor, count: int) -> Tensor:
    """Return which channels are among the first *count* of each row of *order*, same shape."""
    return torch.zeros(order.shape, dtype=torch.bool).scatter_(1, order[:, :count], True)


def parts_of(folders: dict[str, Path], dtype: torch.dtype = torch.float32) -> tuple[Any, Any, Any]:
    """Return transformer, VAE and scheduler from their folders, without a ControlNet.

    Raise ModelMissingError where a folder does not hold its part.
    """
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel

    return (
        load(FluxTransformer2DModel, folders["transformer"], torch_dtype=dtype).eval().requires_grad_(False),
        load(AutoencoderKL, folders["vae"], torch_dtype=dtype).eval().requires_grad_(False),
        load(FlowMatchEulerDiscreteScheduler, folders["scheduler"]),
    )
