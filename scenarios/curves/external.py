"""Curves of picture quality that other programs measured: JSON files in the layout of CompressAI's results."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from link.errors import UsageError
from link.files import read_within

_KEYS = {"psnr_db": ("psnr-rgb", "psnr"), "ms_ssim": ("ms-ssim-rgb", "ms-ssim")}
_MOST_BYTES = 16_000_000


@dataclass(frozen=True)
class ExternalLine:
    """A curve of another program: payload bits per pixel, and a list for each score that it has."""

    name: str
    description: str
    bpp: tuple[float, ...]
    scores: Mapping[str, tuple[float, ...]]

    def points(self, key: str) -> list[tuple[float, float]]:
        """Return (bpp, score) by rising rate; empty where the file has no such score."""
        values = self.scores.get(key)
        return sorted(zip(self.bpp, values, strict=True)) if values else []


def read(path: Path) -> ExternalLine:
    """Return the curve in *path*: {"name", "description", "results": {"bpp": [..], "psnr-rgb": [..], ..}}.

    Raise UsageError where it is no such file, lists differ in length, or a number makes no sense.
    """
    try:
        tree: Any = json.loads(read_within(path, _MOST_BYTES).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not JSON: {error}") from None
    entries = tree.get("results") if isinstance(tree, dict) else None
    if not isinstance(entries, dict) or "bpp" not in entries:
        raise UsageError(
            f'{path}: no results in CompressAI\'s layout: {{"name", "results": {{"bpp": [...], ...}}}}'
        )
    bpp = _numbers(path, entries, "bpp")
    if not bpp or min(bpp) <= 0:
        raise UsageError(f"{path}: results.bpp holds no rate, or one that is not above 0")
    scores: dict[str, tuple[float, ...]] = {}
    for key, names in _KEYS.items():
        name = next((name for name in names if name in entries), None)
        if name is None:
            continue
        scores[key] = _numbers(path, entries, name)
        if len(scores[key]) != len(bpp):
            raise UsageError(f"{path}: results.{name} has {len(scores[key])} numbers, results.bpp {len(bpp)}")
        if key == "ms_ssim" and max(scores[key]) > 1.0:
            raise UsageError(f"{path}: results.{name} goes over 1; MS-SSIM itself is expected, not decibels")
    if not scores:
        wanted = " or ".join(names[0] for names in _KEYS.values())
        raise UsageError(f"{path}: results hold no {wanted}")
    name = str(tree.get("name") or path.stem)
    return ExternalLine(name, str(tree.get("description") or ""), bpp, scores)


def _numbers(path: Path, entries: Mapping[str, Any], name: str) -> tuple[float, ...]:
    values = entries[name]
    good = isinstance(values, list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
        for value in values
    )
    if not good:
        raise UsageError(f"{path}: results.{name} is not a list of finite numbers")
    return tuple(float(value) for value in values)
