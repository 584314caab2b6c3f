"""A bundle: every part that a profile needs in one folder, as `--set profile.bundle=DIR` takes it.

    DIR/bundle.json                    what it was made of
    DIR/transform, DIR/segmenter       of the link and the sender
    DIR/generator/{vae,transformer,...}, DIR/analysis/NAME    of the receiver
    DIR/rate.json                      the table of rate control, where one was measured

Parts that were not trained are copies of those that come with farlink, since trained parts know them by heart: a
bundle goes on as it is when farlink's own models change. Analysis models, which judge, and the rate table are in it
only where they were made.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from link.models import MANIFEST
from scenarios.training import ship
from scenarios.training.loop import storing
from sender.calibration import FILE

ROOMS = {
    "link/weights/tiny": "transform",
    "sender/weights/tiny": "",
    "link/weights/analysis": "analysis",
    "receiver/weights/tiny": "generator",
}
"""Where a bundle holds what lies in the packages' folders of weights, the longest first."""


def place_of(target: str) -> str:
    """Return the place in a bundle of the part whose weights ship in *target*: `generator/vae`."""
    for packaged, room in ROOMS.items():
        if target == packaged:
            return room
        if target.startswith(f"{packaged}/"):
            return f"{room}/{target.removeprefix(packaged + '/')}".lstrip("/")
    raise ValueError(f"{target}: no folder of weights")


def build(trained: Path, out: Path, about: Mapping[str, Any]) -> Path:
    """Make the bundle of what was *trained* in *out*, whole or not at all; *about* is what its manifest says.

    Raise StorageError where the disk is full.
    """
    new, old = (out.with_name(f"{out.name}.{state}") for state in ("new", "old"))
    parts: dict[str, str] = {}
    with storing(out):
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)
        for source, target in ship.PARTS.items():
            place, found = place_of(target), ship.locate(trained, source)
            if found is not None:
                ship.copy(found, new / place, halve=target.startswith(ship.HALVED))
                parts[place] = "trained"
            elif not place.startswith("analysis/"):
                ship.copy(ship.ROOT / target, new / place, halve=False)
                parts[place] = "shipped"
        if (rates := trained / "rate" / FILE).is_file():
            shutil.copyfile(rates, new / FILE)
            parts[FILE] = "measured"
        (new / MANIFEST).write_text(json.dumps({**about, "parts": parts}, indent=2) + "\n")
        if out.exists():
            out.rename(old)
        new.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    return out
