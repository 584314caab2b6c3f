"""The codec's transform, trained for channels that are worth sending alone.

    y = g_a(x)  ->  rounded, all but some channels zeroed  ->  g_s  ->  MSE, LPIPS, what a judge sees
                         '-> bits of the channels kept, by a causal prior that sees one channel

Which channels stay is drawn anew for each picture: mostly the first C (nested dropout, Rippel et al. 2014,
"Learning Ordered Representations with Nested Dropout"), so that the first C are the best C, and sometimes any C,
so that every channel says something by itself and a lost section costs little. The prior foretells a symbol from
those before it in its own channel, as the context tables on the wire will, so that maps which can be foretold are
rewarded; it is left behind after training.

What a picture of C channels is to cost is given for some C, `KNOTS`, and the weight of the distortion is steered at
each of them: with one weight, or one that is steered at one C, the channels that seldom stay are not worth their bits
and die, and what dies in training is never learned again. A channel that is zero everywhere in a picture costs a
little, too. The networks are those of ELIC (He et al. 2022) at a quarter of its width.

A squared error alone spends nothing on what is small. So the distortion counts LPIPS, too, and, where a *judge* is
given (the sender's segmentation model), how far its classes of the decoded picture are from those of the picture
itself, at the frame's size and at half of it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compressai.models import Elic2022Official
from numpy.typing import NDArray
from torch import Tensor, nn

from link import transform as transform_files
from link.seeds import generator
from scenarios.scoring.perceptual import Lpips
from scenarios.training.autoencoder import Draw, grid
from scenarios.training.data import Cut, draw_mixed, to_tensor
from scenarios.training.loop import Losses
from scenarios.training.segmenter import measure_misjudgement

COUNTS = (1, 2, 4, 8, 16, 32)
"""How many channels stay in what is scored and shown."""
NESTED = 0.8
"""Share of the pictures whose first C channels stay; the others keep any C."""
CROWDED = 0.6
"""The power of the uniform number that says how many channels stay: below 1, more of the pictures keep many."""
KNOTS, TARGET_BITS = (1, 2, 4, 8, 16, 32), (350.0, 560.0, 820.0, 1150.0, 1750.0, 2900.0)
"""What the first C channels are to cost at 256x192, by the causal prior; tables need about two thirds of it."""
WEIGHTS = (0.5, 0.6, 0.8, 1.0, 3.0, 7.0)
"""The weight of the distortion at each of `KNOTS` before it is steered, in that at 8 channels."""
JUDGED, PERCEIVED = 500.0, 600.0
"""The weights of a nat between the judge's classes and of LPIPS, in squared grey levels of 255."""
ALIVE = 0.01
"""The weight of a channel that is zero in a picture."""
FIRST_LOG_WEIGHT = -2.0
"""Near where steering has ended so far: a start far above it fills the channels with noise first."""
STEER_AFTER = 0.05
"""Until here the prior learns what it is to foretell."""
SETTINGS: dict[str, Any] = {"N": 64, "M": 32, "groups": [16, 16]}
"""Of `Elic2022Official`; the groups are of its own entropy model, which is not used."""
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
        judge: nn.Module | None = None,
        sizes: Sequence[tuple[int, int]] = (),
        eye: Lpips | None = None,
        start: Path | None = None,
    ) -> None:
        """Begin with the transform in *start*, whatever its class, else with an untrained one.

        Raise ModelMissingError where *start* holds none.
        """
        self._sizes = tuple(sizes)
        self._draws, self._batch, self._judge, self._eye = draws, batch, judge, eye
        self._held_out = to_tensor(held_out)
        model: Any = nn.Module()
        if start is None:
            self._config = {"_class_name": Elic2022Official.__name__, **SETTINGS}
            whole = Elic2022Official(**SETTINGS)
            model.g_a, model.g_s = whole.g_a, whole.g_s
        else:
            model.g_a, model.g_s = (transform_files.load(start, half) for half in ("analysis", "synthesis"))
            model.requires_grad_(True)
            self._config = json.loads((start / "config.json").read_text())
        weight = nn.Parameter(FIRST_LOG_WEIGHT + torch.tensor(WEIGHTS).log(), requires_grad=False)
        prior = CausalPrior(self.channels)
        self.modules = nn.ModuleDict(
            {"model": model, "prior": prior, "steer": nn.ParameterDict({"log_weight": weight})}
        )

    @property
    def channels(self) -> int:
        """How many channels the transform has."""
        return int(self._config["M"])

    @property
    def model(self) -> Any:
        """What is trained: g_a and g_s."""
        return self.modules["model"]

    def go_on_from(self, checkpoint: Path) -> None:
        """Take prior and weight of the distortion from *checkpoint*, where it is there.

        An untrained prior thinks every symbol dear, and steering would starve a trained transform meanwhile.
        """
        if checkpoint.is_file():
            weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["weights"]
            known = self.modules.state_dict()
            own = {
                name: value
                for name, value in weights.items()
                if not name.startswith("model.") and name in known and known[name].shape == value.shape
            }
            self.modules.load_state_dict(own, strict=False)

    def to(self, device: torch.device) -> None:
        """Move the held-out pictures."""
        self._held_out = self._held_out.to(device)
        for used in (self._judge, self._eye):
            if used is not None:
                used.to(device)

    def _kept(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Which channels stay, shape (count, channels, 1, 1); how many; whether they are the first."""
        channels = self.channels
        kept = torch.zeros(count, channels, 1, 1)
        numbers = np.rint(channels ** rng.random(count) ** CROWDED).astype(int)
        nested = rng.random(count) < NESTED
        for at, stay in enumerate(numbers):
            kept[at, np.arange(stay) if nested[at] else rng.permutation(channels)[:stay]] = 1.0
        return kept, torch.from_numpy(numbers), torch.from_numpy(nested)

    def _distortion(self, pictures: Tensor, decoded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return squared error in grey levels, what the judge sees otherwise, and LPIPS, each of shape (batch,)."""
        error = (decoded - pictures).square().flatten(1).mean(1) * 255**2
        halves = (nn.functional.avg_pool2d(item, 2) for item in (pictures, decoded))
        wrong = (
            measure_misjudgement(self._judge, pictures, decoded) + measure_misjudgement(self._judge, *halves)
        ) / 2
        if self._eye is None:
            return error, wrong, torch.zeros_like(error)
        return error, wrong, self._eye(decoded, pictures).float()

    def loss(self, rng: np.random.Generator, progress: float) -> tuple[Tensor, Losses]:
        """Return bits per pixel + weight x distortion of the channels kept + what empty channels cost."""
        device = self._held_out.device
        pictures = to_tensor(draw_mixed(rng, self._draws, self._batch)).to(device)
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
            empty = (1 - latent.abs().amax((2, 3))).relu()
        decoded = self.model.g_s(seen * kept).float()
        error, wrong, unlike = self._distortion(pictures, decoded)
        pixels = pictures.shape[-1] * pictures.shape[-2]
        weights = self._steered(numbers, nested, sent * (256 * 192 / pixels), progress)
        whole = error + JUDGED * wrong + PERCEIVED * unlike
        loss = (4 * bits / pixels + weights * whole).mean() + ALIVE * empty.mean()
        told: dict[str, float] = {
            "misjudged": wrong.mean().item(),
            "lpips": unlike.mean().item(),
            "psnr_db": float(-10 * torch.log10(error.mean().detach() / 255**2)),
            "alive": (latent.detach().abs().amax((2, 3)) >= 0.5).float().mean().item(),
        }
        log_weight = self.modules["steer"]["log_weight"]  # type: ignore[index]
        for knot, value in zip(KNOTS, log_weight.tolist(), strict=True):
            told[f"log_weight_{knot}"] = value
        return loss, told

    def _steered(self, numbers: Tensor, nested: Tensor, sent: Tensor, progress: float) -> Tensor:
        """Return the weight of each picture's distortion; steer those at the knots by the bits *sent* of it."""
        log_weight: Tensor = self.modules["steer"]["log_weight"]  # type: ignore[index]
        knots = torch.tensor(KNOTS, device=sent.device).log()
        # How much each knot says of each picture: linear between its neighbours in the logarithm of C.
        place = (numbers.log()[:, None] - knots).abs() / float(knots[1])
        share = (1 - place).clamp_min(0)
        if self.modules.training and progress > STEER_AFTER:
            targets = torch.tensor(TARGET_BITS, device=sent.device).log()
            missing = (share @ targets - sent.clamp_min(1.0).log()).clamp(-1, 1) * nested
            log_weight.data += 0.02 * (share * missing[:, None]).sum(0) / share.sum(0).clamp_min(1.0)
        return 0.002 * (share @ log_weight.detach()).exp()

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
            error, wrong, unlike = self._distortion(self._held_out, decoded)
            rows.append(decoded)
            scores[f"misjudged_{count}"] = float(wrong.mean())
            scores[f"lpips_{count}"] = float(unlike.mean())
            scores[f"psnr_db_{count}"] = float((-10 * (error / 255**2).log10()).mean())
            scores[f"bits_{count}"] = float(bits[:, :count].sum(1).mean())
        used = (latent.round().abs().amax((2, 3)) > 0).float().mean(0)
        scores["alive"], scores["least_alive"] = float(used.mean()), float(used.min())
        grid(torch.cat(rows), len(self._held_out)).save(folder / f"{step:06d}.png")
        return scores


@torch.no_grad()
def maps(part: Transform, draws: list[Draw], count: int, seed: int) -> NDArray[np.int32]:
    """Return the rounded latents, shape (count, channels, height, width), of *count* cuts of *draws*."""
    rng = generator(seed, "maps")
    batches = []
    for _ in range(0, count, 16):
        batches.append(part.model.g_a(to_tensor(draw_mixed(rng, draws, 16))).round().to(torch.int32).numpy())
    return np.asarray(np.concatenate(batches)[:count])
