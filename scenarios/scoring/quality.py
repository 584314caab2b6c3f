"""How like the sent pictures the received ones are: PSNR, MS-SSIM, LPIPS. Nothing is ever downloaded.

A score that cannot be had is None, and the notes say why. torch is imported by the scores that need it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from link import png
from link.frame import Pixels
from link.journal import Run

MS_SSIM_MIN_SIDE = 161  # four halvings must leave the 11-pixel window inside the picture
_BATCH_PIXELS = 4_000_000  # pictures are compared in batches of about this size, 48 MB as floats
LPIPS_MIN_SIDE = 31  # AlexNet's last convolution must have a place left


@dataclass(frozen=True)
class Score:
    """One received picture against the sent one."""

    psnr_db: float | None = None
    ms_ssim: float | None = None
    lpips: float | None = None


@dataclass(frozen=True)
class Scores:
    """The scores of a run's shown frames, and why some are missing."""

    by_frame: Mapping[int, Score] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


def psnr_db(a: Pixels, b: Pixels) -> float | None:
    """Return the peak signal-to-noise ratio; None for identical pictures, where it is infinite."""
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return float(10.0 * np.log10(255.0**2 / error)) if error else None


def score(run: Run, *, threads: int | None = None) -> Scores:
    """Compare every received picture of *run* with the sent one; *threads* limits torch where it is given."""
    numbers = sorted(set(run.pictures["sent"]) & set(run.pictures["received"]))
    if not numbers:
        return Scores({}, {})
    found: dict[int, Score] = {}
    notes: dict[str, str] = {}
    why_no_lpips = alexnet_missing()
    if why_no_lpips:
        notes["lpips"] = why_no_lpips
    with _torch_threads(threads):
        for batch in _batches(run, numbers, notes):
            _compare(batch, found, notes, lpips=not why_no_lpips)
    return Scores(dict(sorted(found.items())), notes)


Pair = tuple[int, Pixels, Pixels]


def _batches(run: Run, numbers: Sequence[int], notes: dict[str, str]) -> Iterator[list[Pair]]:
    """Yield (frame, sent, received) in batches of pictures of one size."""
    batch: list[Pair] = []
    for number in numbers:
        sent, received = (
            png.decode(run.pictures["sent"][number]),
            png.decode(run.pictures["received"][number]),
        )
        if sent.shape != received.shape:
            for name in ("psnr_db", "ms_ssim", "lpips"):
                notes.setdefault(name, f"frame {number} came back in another size")
            continue
        full = batch and (len(batch) + 1) * sent.size > 3 * _BATCH_PIXELS
        if full or (batch and batch[0][1].shape != sent.shape):
            yield batch
            batch = []
        batch.append((number, sent, received))
    if batch:
        yield batch


def _compare(batch: list[Pair], found: dict[int, Score], notes: dict[str, str], *, lpips: bool) -> None:
    for number, sent, received in batch:
        psnr = psnr_db(sent, received)
        if psnr is None:
            notes.setdefault("psnr_db", f"frame {number} is identical: its PSNR is infinite and left out")
        found[number] = Score(psnr)
    height, width = batch[0][1].shape[:2]
    small = ms_ssim_too_small(height, width)
    if small:
        notes.setdefault("ms_ssim", small)
    else:
        for (number, _, _), value in zip(batch, ms_ssim(batch), strict=True):
            found[number] = replace(found[number], ms_ssim=value)
    if not lpips:
        return
    small = lpips_too_small(height, width)
    if small:
        notes.setdefault("lpips", small)
    else:
        for (number, _, _), value in zip(batch, lpips_alex(batch), strict=True):
            found[number] = replace(found[number], lpips=value)


def ms_ssim_too_small(height: int, width: int) -> str | None:
    """Return why pictures of this size have no MS-SSIM, or None."""
    if min(height, width) >= MS_SSIM_MIN_SIDE:
        return None
    return f"MS-SSIM needs sides over 160 pixels; these pictures have {width}x{height}"


def lpips_too_small(height: int, width: int) -> str | None:
    """Return why pictures of this size have no LPIPS, or None."""
    if min(height, width) >= LPIPS_MIN_SIDE:
        return None
    return f"LPIPS needs sides over 30 pixels; these pictures have {width}x{height}"


def _tensors(batch: list[Pair]) -> tuple[Any, Any]:
    """Return the sent and the received pictures of *batch*, each (pictures, 3, height, width), 0 to 255."""
    import torch

    def stack(column: int) -> Any:
        pictures = np.stack([pair[column] for pair in batch])
        return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous().float()

    return stack(1), stack(2)


def ms_ssim(batch: list[Pair]) -> list[float]:
    """Return the multi-scale SSIM of each pair (Wang, Simoncelli, Bovik 2003), with pytorch-msssim."""
    import torch
    from pytorch_msssim import ms_ssim as compare

    with torch.inference_mode():
        sent, received = _tensors(batch)
        values: list[float] = compare(sent, received, data_range=255, size_average=False).tolist()
    return values


def lpips_alex(batch: list[Pair]) -> list[float]:
    """Return the LPIPS distance of each pair (Zhang et al. 2018, AlexNet, version 0.1)."""
    import torch

    from scenarios.scoring.perceptual import lpips_model

    with torch.inference_mode():
        sent, received = _tensors(batch)
        values: list[float] = lpips_model()(sent / 255.0, received / 255.0).tolist()
    return values


@cache
def alexnet_missing() -> str | None:
    """Return what is wrong with the AlexNet that comes with farlink, or None."""
    from scenarios.scoring.perceptual import weights_missing

    return weights_missing()


@contextmanager
def _torch_threads(threads: int | None) -> Iterator[None]:
    """Hold torch to *threads* threads inside; sweeps give each of their workers its share of the cores."""
    if threads is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
