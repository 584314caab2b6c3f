"""Made-up sweeps for the tests of curves: tables as `farlink sweep` writes them, with curves that are known."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import yaml

from link.seeds import generator

CELLS = {
    "cell": "VARCHAR",
    "status": "VARCHAR",
    "error": "VARCHAR",
    "seed": "UBIGINT",
    "codec": "VARCHAR",
    "source": "VARCHAR",
    "settings": "VARCHAR",
    "rate_bps": "DOUBLE",
    "loss": "DOUBLE",
    "channels": "INTEGER",
    "on_air_bps": "DOUBLE",
    "age_mean_s": "DOUBLE",
    "age_peak_s": "DOUBLE",
}
FRAMES = {
    "cell": "VARCHAR",
    "source": "VARCHAR",
    "sequence": "VARCHAR",
    "width": "INTEGER",
    "height": "INTEGER",
    "frame": "INTEGER",
    "name": "VARCHAR",
    "payload_bytes": "BIGINT",
    "on_air_bytes": "BIGINT",
    "psnr_db": "DOUBLE",
    "ms_ssim": "DOUBLE",
    "lpips": "DOUBLE",
    **{
        f"{t}_{r}_stats": "VARCHAR"
        for t in ("segmentation", "depth", "detection")
        for r in ("truth", "original", "ideal")
    },
}
PIXELS = 10_000


def write_table(path: Path, columns: dict[str, str], rows: Iterable[dict[str, Any]]) -> None:
    rows = list(rows)
    values = [[row.get(name) for row in rows] for name in columns]
    select = ", ".join(f"unnest(?::{kind}[]) AS {name}" for name, kind in columns.items())
    with duckdb.connect() as database:
        database.execute(f"CREATE TABLE t AS SELECT {select}", values)
        database.execute(f"COPY t TO '{path}' (FORMAT parquet)")


def segmentation(accuracy: float) -> str:
    """Two classes, each right in this share of its pixels: mIoU is a / (2 - a)."""
    right = round(PIXELS * accuracy)
    wrong = PIXELS - right
    cells = [[0, 0, right], [0, 1, wrong], [1, 0, wrong], [1, 1, right]]
    return json.dumps({"classes": 2, "cells": [cell for cell in cells if cell[2]]})


def miou(accuracy: float) -> float:
    return accuracy / (2 - accuracy)


def depth(delta1: float) -> str:
    return json.dumps({"pixels": 100, "deltas": [delta1, 1.0, 1.0], "errors": [0.1, 1.0, 0.1]})


def detection(share: float, frame: int, things: int = 8) -> str:
    """Some things of one kind, of which *share* are found: the first ones."""
    truth = [[0, 20 * at, 0, 20 * at + 10, 10, 0] for at in range(things)]
    found = [
        [*row[:5], 0.9 - 0.01 * at - 0.001 * (frame % 7)]
        for at, row in enumerate(truth[: round(things * share)])
    ]
    return json.dumps({"truth": truth, "found": found})


@dataclass
class Made:
    """A sweep under construction. Accuracies are functions of bytes a frame."""

    source: str = "world:mars"
    frames: int = 12
    sequences: int = 10
    noise: float = 0.0
    cells: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def cell(
        self,
        codec: str,
        size: float,
        accuracy: float,
        *,
        seed: int = 1,
        settings: dict[str, Any] | None = None,
        ideal: float = 0.9,
        tasks: tuple[str, ...] = ("segmentation", "depth", "detection"),
        reference: str = "truth",
        period_s: float = 10.0,
        source: str | None = None,
        psnr: float | None = None,
        **columns: Any,
    ) -> None:
        where = source or self.source
        name = f"cell-{len(self.cells)}"
        self.cells.append(
            {
                "cell": name,
                "status": "done",
                "seed": seed,
                "codec": codec,
                "source": where,
                "settings": json.dumps(settings or {}),
                "rate_bps": 500.0,
                "loss": 0.0,
                "on_air_bps": size * 8 / period_s,
                "age_mean_s": 30.0,
                "age_peak_s": 50.0,
                **columns,
            }
        )
        noise = (
            generator(seed, f"{codec}{size}").normal(0, self.noise, self.frames)
            if self.noise
            else [0.0] * self.frames
        )
        for frame in range(self.frames):
            value = min(max(accuracy + float(noise[frame]), 0.0), 1.0)
            row: dict[str, Any] = {
                "cell": name,
                "source": where,
                "sequence": f"drive-{seed}-{frame % self.sequences}",
                "width": 100,
                "height": 100,
                "frame": frame,
                "name": f"{where}:{seed}#{frame}",
                "payload_bytes": round(size * 0.75),
                "on_air_bytes": round(size),
                "psnr_db": 10 + 4 * math.log2(size / 32) if psnr is None else psnr,
                "ms_ssim": min(0.99, 0.2 + 0.1 * math.log2(size / 32)),
                "lpips": None,
            }
            makers: dict[str, Callable[[float], str]] = {
                "segmentation": segmentation,
                "depth": depth,
                "detection": partial(detection, frame=frame),
            }
            for task in tasks:
                row[f"{task}_{reference}_stats"] = makers[task](value)
                if reference == "truth":
                    row[f"{task}_ideal_stats"] = makers[task](ideal)
            self.rows.append(row)

    def failed(self, codec: str, error: str, **columns: Any) -> None:
        self.cells.append(
            {
                "cell": f"cell-{len(self.cells)}",
                "status": "failed",
                "error": error,
                "seed": 1,
                "codec": codec,
                "source": self.source,
                "settings": "{}",
                **columns,
            }
        )

    def write(self, folder: Path, asked: dict[str, Any] | None = None) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        write_table(folder / "cells.parquet", CELLS, self.cells)
        write_table(folder / "frames.parquet", FRAMES, self.rows)
        (folder / "sweep.yaml").write_text(yaml.safe_dump(asked or {"scenario": "mars-relay", "vary": {}}))
        return folder


def rising(size: float, half: float, top: float = 0.88) -> float:
    """A curve in log bytes that comes to half of *top* at *half* bytes."""
    return top / (1 + (half / size) ** 1.2)
