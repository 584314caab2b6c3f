"""The codec's transform, trained for channels that are worth sending alone.

    y = g_a(x)  ->  rounded, all but some channels zeroed  ->  g_s  ->  MSE
                         '-> bits of the channels kept, by a causal prior that sees one channel

Which channels stay is drawn anew for each picture: mostly the first C (nested dropout, Rippel et al. 2014,
"Learning Ordered Representations with Nested Dropout"), so that the first C are the best C, and sometimes any C,
so that every channel says something by itself and a lost section costs little. The prior foretells a symbol from
those before it in its own channel, as the context tables on the wire will, so that maps which can be foretold are
rewarded; it is left behind after training. The weight of the distortion is steered until the first `RATE_AT` channels
cost `TARGET_BITS`.

A squared error alone spends nothing on what is small. Where a *judge* is given (the sender's segmentation model), the
distortion also counts how far its classes of the decoded picture are from those of the picture itself: a perceptual
loss (Johnson et al. 2016) on the features that this project has.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compressai.models import FactorizedPrior
from numpy.typing import NDArray
from torch import Tensor, nn

from link import transform as transform_files
from link.seeds import generator
from scenarios.training.autoencoder import Draw, grid
from scenarios.training.data import Cut, mixed, to_tensor
from scenarios.training.loop import Losses
from scenarios.training.segmenter import misjudged

COUNTS = (1, 2, 4, 8, 16, 32)
COUNT_WEIGHTS = (0.12, 0.12, 0.16, 0.24, 0.18, 0.18)
NESTED = 0.8
"""Share of the pictures whose first C channels stay; the others keep any C."""
RATE_AT, TARGET_BITS = 8, 1150.0
"""The first 8 channels are to cost this at 256x192, by the causal prior; the shipped tables need two thirds of it."""
WEIGHTS = (0.5, 0.6, 0.8, 1.0, 3.0, 7.0)
"""The weight on the distortion for each of `COUNTS`, in that of `RATE_AT`: with more channels come finer details.

With one weight for all, the first two channels would hold everything and the others nothing.
"""
JUDGED = 500.0
"""The weight of a nat between the judge's classes, in squared grey levels of 255."""
FIRST_LOG_WEIGHT = -2.0
"""Near where steering has ended so far: a start far above it fills the channels with noise first."""
STEER_AFTER = 0.05
"""Until here the prior learns what it is to foretell."""
NOISE_UNTIL = 0.3
"""Until here additive noise stands in for rounding; after it, rounding with a straight-through gradient."""


class CausalPrior(nn.Module):
    """A logistic distribution for each symbol, from the symbols above and to the left of it in its channel."""

    mask: Tensor

    def __init__(self, channels: int, hidden: int = 8, reach: int = 5) -> None:
        super().__init__()
        self.see = nn.Conv2d(channels, channels * hidden, reach, padding=reach // 2, groups=channels)
        self.tell = nn.Conv2d(channels * hidden, channels * 2, 1, groups=channels)
        mask = torch.ones(reach, reach)
        mask[reach // 2, reach // 2 :] = 0
        mask[reach // 2 + 1 :] = 0
        self.register_buffer("mask", mask)

    def forward(self, symbols: Tensor) -> Tensor:
        """Return the bits of each symbol, same shape as *symbols* (batch, channels, height, width)."""
        see = self.see
        hidden = nn.functional.conv2d(
            symbols.detach(), see.weight * self.mask, see.bias, padding=see.padding, groups=see.groups
        )
        mean, spread = self.tell(nn.functional.gelu(hidden)).unflatten(1, (-1, 2)).unbind(2)
        scale = nn.functional.softplus(spread) + 0.05
        high = torch.sigmoid((symbols - mean + 0.5) / scale)
        low = torch.sigmoid((symbols - mean - 0.5) / scale)
        return -(high - low).clamp_min(1e-6).log2()


class Transform:
    """Trains g_a, g_s and the prior together."""

    name = "transform"

    def __init__(
        self,
        draws: list[Draw],
        held_out: list[Cut],
        batch: int,
        hidden: int = 64,
        channels: int = 32,
        judge: nn.Module | None = None,
        sizes: Sequence[tuple[int, int]] = (),
    ) -> None:
        self._sizes = tuple(sizes)
        self._draws, self._batch, self._judge = draws, batch, judge
        self._held_out = to_tensor(held_out)
        self._config = {"N": hidden, "M": channels}
        model = FactorizedPrior(**self._config)
        weight = nn.Parameter(torch.tensor(FIRST_LOG_WEIGHT), requires_grad=False)
        model.entropy_bottleneck = nn.Identity()
        prior = CausalPrior(channels)
        self.modules = nn.ModuleDict(
            {"model": model, "prior": prior, "steer": nn.ParameterDict({"log_weight": weight})}
        )

    @property
    def model(self) -> FactorizedPrior:
        """The CompressAI model that is trained."""
        return self.modules["model"]

    def go_on_from(self, checkpoint: Path) -> None:
        """Take prior and weight of the distortion from *checkpoint*, where it is there.

        An untrained prior thinks every symbol dear, and steering would starve a trained transform meanwhile.
        """
        if checkpoint.is_file():
            weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["weights"]
            own = {name: value for name, value in weights.items() if not name.startswith("model.")}
            self.modules.load_state_dict(own, strict=False)

    def to(self, device: torch.device) -> None:
        """Move the held-out pictures."""
        self._held_out = self._held_out.to(device)
        if self._judge is not None:
            self._judge.to(device)

    def _kept(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Which channels stay, shape (count, channels, 1, 1); which of `COUNTS` that is; whether they are the first."""
        channels = self._config["M"]
        kept = torch.zeros(count, channels, 1, 1)
        numbers = torch.from_numpy(rng.choice(len(COUNTS), size=count, p=COUNT_WEIGHTS))
        nested = torch.from_numpy(rng.random(count) < NESTED)
        for at in range(count):
            stay = min(channels, COUNTS[numbers[at]])
            kept[at, np.arange(stay) if nested[at] else rng.permutation(channels)[:stay]] = 1.0
        return kept, numbers, nested

    def loss(self, rng: np.random.Generator, progress: float) -> tuple[Tensor, Losses]:
        """Return bits per pixel + weight x MSE of the channels kept."""
        device = self._held_out.device
        pictures = to_tensor(mixed(rng, self._draws, self._batch)).to(device)
        kept, numbers, nested = (item.to(device) for item in self._kept(rng, len(pictures)))
        latent = self.model.g_a(pictures).float()
        with torch.autocast(device.type, enabled=False):
            noisy = latent + torch.rand_like(latent) - 0.5
            rounded = latent + (latent.round() - latent).detach()
            seen = noisy if progress < NOISE_UNTIL else rounded
            bits = (self.modules["prior"](noisy) * kept).sum((1, 2, 3))
            with torch.no_grad():
                # Noise costs more bits than rounding does where most symbols are 0: steer by what will be sent.
                sent = (self.modules["prior"](rounded) * kept).sum((1, 2, 3))
        decoded = self.model.g_s(seen * kept).float()
        error = (decoded - pictures).square().flatten(1).mean(1) * 255**2
        wrong = misjudged(self._judge, pictures, decoded)
        pixels = pictures.shape[-1] * pictures.shape[-2]
        steer: Any = self.modules["steer"]
        log_weight = steer["log_weight"]
        at_rate = nested & (numbers == COUNTS.index(RATE_AT))
        if self.modules.training and progress > STEER_AFTER and at_rate.any():
            target = TARGET_BITS * pixels / (256 * 192)
            log_weight.data += 0.02 * float((target / sent[at_rate].mean().clamp_min(1.0)).log().clamp(-1, 1))
        weight = 0.002 * log_weight.detach().exp()
        weights = weight * torch.tensor(WEIGHTS, device=device)[numbers]
        loss = (4 * bits / pixels + weights * (error + JUDGED * wrong)).mean()
        return loss, {
            "misjudged": wrong.mean().item(),
            "psnr_db": float(-10 * torch.log10(error.mean().detach() / 255**2)),
            "weight": float(weight),
        }

    def save(self, folder: Path) -> None:
        """Write g_a and g_s as a transform folder, which says the sizes that all parts of its bundle know."""
        transform_files.save(folder, self.model, self._config, self._sizes)

    @torch.no_grad()
    def sample(self, folder: Path, step: int) -> Losses:
        """Write held-out pictures above their syntheses from 1, 2, 4, ... channels; return PSNR and bits of each."""
        latent = self.model.g_a(self._held_out)
        bits = self.modules["prior"](latent.round()).sum((2, 3))
        rows, scores = [self._held_out], {}
        for count in (0, *COUNTS):
            kept = latent.round().clone()
            kept[:, count:] = 0
            decoded = self.model.g_s(kept).clamp(0, 1)
            error = (decoded - self._held_out).square().flatten(1).mean(1)
            rows.append(decoded)
            scores[f"misjudged_{count}"] = float(misjudged(self._judge, self._held_out, decoded).mean())
            scores[f"psnr_db_{count}"] = float((-10 * error.log10()).mean())
            scores[f"bits_{count}"] = float(bits[:, :count].sum(1).mean())
        grid(torch.cat(rows), len(self._held_out)).save(folder / f"{step:06d}.png")
        return scores


@torch.no_grad()
def maps(part: Transform, draws: list[Draw], count: int, seed: int) -> NDArray[np.int32]:
    """Return the rounded latents, shape (count, channels, height, width), of *count* cuts of *draws*."""
    rng = generator(seed, "maps")
    found = []
    for _ in range(0, count, 16):
        found.append(part.model.g_a(to_tensor(mixed(rng, draws, 16))).round().to(torch.int32).numpy())
    return np.asarray(np.concatenate(found)[:count])
