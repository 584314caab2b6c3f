"""Unequal erasure protection beside equal and none: what the pictures that were shown are worth, on a real link.

    python tests/bench/protection.py world:mars:77 camvid:../shared/data/camvid/train --only 0006R0

Frames go over one hop that loses 20 % of packets of 48 bytes, four to seven a frame, as the shipped codec sends and draws
them, each seed with other losses. Repair packets are 20 % and 40 % more bytes, as many in both ways; a row without them is
what the same frames come to with none. Where both send as many packets, a seed loses the same ones in both.
PSNR and LPIPS compare with the picture that was sent, frames that neither of two shows left out; mIoU is the shipped
model's against the truth, and a frame that is not shown counts in it as nothing found. Differences are paired: the same
frames and seeds, resampled together, blocks of frames in a row within a drive; 95 % of resamples. Pictures that were drawn once
are taken from this machine's cache ($FARLINK_CACHE).
"""

import argparse
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scenarios.curves.load import CellRow, FrameValues, Sweep, open_folder
from scenarios.curves.series import parse_stats
from scenarios.scoring import bootstrap
from scenarios.scoring.tasks import TASKS
from scenarios.sweep import work
from scenarios.sweep.plan import Request

SCENARIO = """
name: protection
title: A hop that loses a fifth of its packets
camera: {width: 256, height: 192, period_s: 10}
codec: {name: gsc, profile: tiny, channels: 8, caption_words: 24, frame_bytes: 2000}
link:
  mtu_bytes: 48
  hops: [{name: air, rate_bps: 8000, loss: {model: bernoulli, loss: 0.2}}]
analysis: [segmentation]
"""
MIOU = "segmentation_truth_stats"
COLUMNS = {"PSNR dB": "psnr_db", "LPIPS": "lpips", "mIoU": MIOU}
Rows = dict[tuple[str, str], FrameValues]


def settings(share: float, protection: str = "equal") -> dict[str, Any]:
    """Return the fields of one row of the table."""
    return {"link.repair.fec": share, "link.repair.protection": protection}


SHARES = (0.2, 0.4)
NONE = settings(0.0)


def of_drive(source: str, only: str, place: Path) -> str:
    """Return *source*, a folder of CamVid, as one whose pictures' names begin with *only*, made in *place*."""
    folder = Path(source.partition(":")[2]).resolve()
    for end in ("", "_labels"):
        own = place / (only + end)
        own.mkdir(parents=True, exist_ok=True)
        for picture in folder.with_name(folder.name + end).glob(f"{only}*"):
            if not (own / picture.name).exists():
                (own / picture.name).symlink_to(picture)
    return f"camvid:{place / only}"


def frames(sweep: Sweep, fields: dict[str, Any]) -> Rows:
    """Return the frames of the cells with *fields*, by name and cell's seed."""
    cells: list[CellRow] = [
        cell for cell in sweep.done if all(cell.settings.get(key) == value for key, value in fields.items())
    ]  # fmt: skip
    seeds = {cell.cell: str(cell.seed) for cell in cells}
    found = sweep.frames(cells, list(COLUMNS.values()))
    return {(row.name, seeds[row.cell]): row for row in found}


def score(rows: Iterable[FrameValues], column: str, weights: Any = None) -> Any:
    """Return the score of *rows*; with *weights*, (resamples, rows), of each resample."""
    rows = list(rows)
    if column == MIOU:
        pool = TASKS["segmentation"].pool(parse_stats(rows, column))
        return pool.scores(np.ones((1, len(rows))) if weights is None else weights)["miou"]
    values = np.array([row.values[column] for row in rows], np.float64)
    return values.mean(keepdims=True) if weights is None else weights @ values / weights.sum(1)


def differ(one: Rows, other: Rows, column: str) -> tuple[float, float, float]:
    """Return by how much *one* is above *other*, with its 95 % interval."""
    keys = [key for key in one if None not in (one[key].values[column], other[key].values[column])]
    first, second = ([rows[key] for key in keys] for rows in (one, other))
    drawn = bootstrap.weights([row.sequence for row in first], 0, moments=[row.name for row in first])
    assert drawn is not None, "too few frames"
    apart = score(first, column)[0] - score(second, column)[0]
    low, high = np.quantile(score(first, column, drawn) - score(second, column, drawn), [0.025, 0.975])
    return float(apart), float(low), float(high)


def tell(source: str, sweep: Sweep) -> None:
    """Print the table of one source."""
    kinds: list[tuple[str, dict[str, Any]]] = [("none", NONE)]
    for share in SHARES:
        kinds += [(f"{share:.0%} {kind}", settings(share, kind)) for kind in ("equal", "unequal")]
    held = {name: frames(sweep, fields) for name, fields in kinds}
    print(
        f"{source}, {len(held['none'])} frames\n{'':20}{'bytes':>7}{'shown':>7}",
        *(f"{n:>9}" for n in COLUMNS),
    )
    for name, rows in held.items():
        sent = np.mean([row.on_air_bytes for row in rows.values()])
        shown = np.mean([row.values["psnr_db"] is not None for row in rows.values()])
        means = (
            score([row for row in rows.values() if row.values[column] is not None], column)[0]
            for column in COLUMNS.values()
        )
        print(f"{name:20}{sent:7.0f}{shown:7.1%}", *(f"{mean:9.3f}" for mean in means))
    for share in SHARES:
        for other in (f"{share:.0%} equal", "none"):
            told = []
            for name, column in COLUMNS.items():
                apart, low, high = differ(held[f"{share:.0%} unequal"], held[other], column)
                told.append(f"{name} {apart:+.3f} [{low:+.3f}, {high:+.3f}]")
            print(f"{share:.0%} unequal less {other}: " + ", ".join(told))


def run(source: str, out: Path, count: int, seeds: Sequence[int], workers: int) -> Sweep:
    """Run the cells of *source* into *out*, what was done before left out."""
    out.mkdir(parents=True, exist_ok=True)
    scenario = out.parent / f"{out.name}.yaml"
    scenario.write_text(SCENARIO)
    listed = [NONE]
    listed += [settings(share, kind) for share in SHARES for kind in ("equal", "unequal")]
    request = Request(str(scenario), (), None, listed, source, count, tuple(seeds))
    result = work.sweep(request, work.Options(workers=workers, resume=True), out)
    if result.error is not None:
        raise result.error
    assert not result.failures, result.failures
    return open_folder(out)


def main() -> None:
    """Print a table for each source."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--only", default="0006R0", help="the drive of CamVid")
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument(
        "--out", type=Path, help="folder of the sweeps, to go on in; default: a temporary one"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = given.out or Path(temporary)
        for number, source in enumerate(given.sources):
            own = out / f"sweep{number}"
            name = source
            if source.startswith("camvid:"):
                name = f"{source} {given.only}"
                source = of_drive(source, given.only, out.resolve() / "pictures")
            tell(name, run(source, own, given.frames, range(1, given.seeds + 1), given.workers))


if __name__ == "__main__":
    main()
