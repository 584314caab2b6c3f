"""The plan of a `farlink train all`: what was asked for, and how many steps each part takes. A file, so that a run that
was cut takes the same steps when it goes on, and ends with the same weights.

A part's steps follow from its share of the time and from how long a step takes here, which is measured once, when the
part is begun, and written down.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from link.errors import UsageError
from link.files import read_within
from scenarios.training.loop import storing
from scenarios.training.request import TrainingRequest

FILE = "plan.json"
FORMAT = 1
_MOST_BYTES = 1 << 20


@dataclass
class PartPlan:
    """One part of a plan."""

    budget_s: float
    skipped: str | None = None
    """Why it is not trained."""
    pace_s: float | None = None
    """Seconds that a step takes; None: not measured yet, or it has no steps."""
    steps: int | None = None
    save_every: int | None = None
    done: bool = False
    spent_s: float | None = None
    scores: dict[str, Any] | None = None
    """The last ones, on held-out pictures."""


@dataclass
class TrainingPlan:
    """What a run does. It is the file's, and is written at each change."""

    path: Path
    asked: dict[str, Any]
    parts: dict[str, PartPlan]

    def write(self) -> None:
        """Write the plan, whole or not at all. Raise StorageError where the disk is full."""
        parts = {name: asdict(part) for name, part in self.parts.items()}
        new = self.path.with_suffix(".new")
        with storing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps({"format": FORMAT, "asked": self.asked, "parts": parts}, indent=2)
            new.write_text(text + "\n")
            new.replace(self.path)


def describe_asked(request: TrainingRequest) -> dict[str, Any]:
    """Return what *request* asks for, as a plan holds it: all that was given, but where it is written."""
    given = {field.name: getattr(request, field.name) for field in fields(TrainingRequest)}
    return {
        name: str(value.resolve())
        if isinstance(value, Path)
        else list(value)
        if isinstance(value, tuple)
        else value
        for name, value in given.items()
        if value is not None and name != "out"
    }


def read(path: Path, asked: dict[str, Any]) -> TrainingPlan | None:
    """Return the plan in *path*, None where there is none.

    Raise UsageError where it is no plan, or one of other options than *asked*: one run cannot go on as another.
    """
    if not path.exists():
        return None
    try:
        tree = json.loads(read_within(path, _MOST_BYTES))
        if tree["format"] != FORMAT:
            raise ValueError(f"format {tree['format']}")
        parts = {name: PartPlan(**part) for name, part in tree["parts"].items()}
        known = dict(tree["asked"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path}: no plan of farlink train all: {' '.join(str(error).split())[:200]}"
        ) from None
    for name in sorted(known.keys() | asked.keys()):
        if known.get(name) != asked.get(name):
            raise UsageError(
                f"{path.parent}: a run with {name} {known.get(name)} is there, not {asked.get(name)}: give its "
                "options to go on, or another --out"
            )
    return TrainingPlan(path, known, parts)
