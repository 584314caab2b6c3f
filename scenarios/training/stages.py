"""What `farlink train all` trains, in which order, and which share of the time each part gets."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from scenarios.training import ship
from scenarios.training.request import SHIPPED, SOURCES, Entry, Trained, TrainingRequest


@dataclass(frozen=True)
class Stage:
    """One part, and its shares of the time."""

    part: str
    """Of `scenarios.training.parts.PARTS`."""
    anew: float
    """Its share where everything is trained from nothing; 0: it is not."""
    adapted: float
    """Its share where the shipped models are adapted to one's own pictures; 0: it stays as it is."""
    examples: tuple[int, int] = (0, 0)
    """How many examples it makes beforehand, at least and in `FULL_HOURS`; 0: none, or its own number."""
    labels: bool = False
    """Whether it learns from what somebody has labelled, not from what the shipped model thinks."""


STAGES = (
    Stage("segmenter", 0.08, 0.10, labels=True),
    Stage("transform", 0.22, 0.20),
    Stage("tables", 0.03, 0.05, examples=(48, 3000)),
    Stage("autoencoder", 0.15, 0.0),
    Stage("flow", 0.13, 0.0, examples=(48, 8000)),
    Stage("control", 0.10, 0.0, examples=(48, 8000)),
    Stage("joint", 0.07, 0.30, examples=(48, 8000)),
    Stage("decoder", 0.08, 0.20, examples=(16, 500)),
    Stage("segmentation-street", 0.05, 0.10, labels=True),
    Stage("segmentation-world", 0.03, 0.0, labels=True),
    Stage("depth-world", 0.02, 0.0, labels=True),
    Stage("detection-world", 0.02, 0.0, labels=True),
    Stage("rate", 0.02, 0.05, examples=(4, 24)),
)
"""In the order in which they build on each other. The shares of those that are trained are scaled to add up to 1."""
FULL_HOURS = 8.0
"""The hours from which on the full numbers of examples are made; with less, fewer in proportion."""
GENTLY = 0.3
"""The factor on the learning rates where shipped models are adapted: they know most of it already."""


@dataclass(frozen=True)
class StageRequest(TrainingRequest):
    """What one stage is asked for: what no stage before it has made is the shipped part."""

    made: tuple[str, ...] = ()
    """The stages before it that were trained, which lie in --from."""
    adapts: bool = False
    """Whether it starts from the shipped weights."""

    def part(self, name: str) -> Path:
        """Return the folder of an earlier part, the last one that was made of it."""
        for place in ship.places(SOURCES[name]):
            if place.split("/", 1)[0] in self.made and self.earlier is not None:
                return self.earlier / place
        return SHIPPED[name]

    def start(self, name: str) -> Path | None:
        """Return the folder of the weights to start from, None for none."""
        return SHIPPED[name] if self.adapts else None


def scale_examples(stage: Stage, asked: TrainingRequest) -> int | None:
    """Return how many examples *stage* makes in the hours that are *asked* for; None: its own number."""
    least, most = stage.examples
    if not most:
        return None
    if asked.examples is not None:
        return max(asked.examples, 1)
    return max(least, min(most, round(most * (asked.hours or 0.0) / FULL_HOURS)))


def request_for(
    stage: Stage, entry: Entry, asked: TrainingRequest, out: Path, made: tuple[str, ...], adapts: bool
) -> StageRequest:
    """Return what *stage* is asked for: those of the options that are *asked* for which its *entry* has a use for."""
    used = {*entry.needs, *entry.takes, "seed"} | ({"batch"} if isinstance(entry, Trained) else set())
    given: dict[str, Any] = {
        field.name: getattr(asked, field.name) for field in fields(TrainingRequest) if field.name in used
    }
    request = StageRequest(**given, made=made, adapts=adapts)
    changes: dict[str, Any] = {"earlier": out, "examples": scale_examples(stage, asked)}
    changes |= {"out": None if stage.part == "tables" else out / stage.part}
    if adapts and stage.part == "segmentation-street":
        changes["init"] = SHIPPED["segmentation-street"]
    return replace(request, **changes)


def why_skipped(
    stage: Stage, entry: Entry, asked: TrainingRequest, adapts: bool, labelled: bool
) -> str | None:
    """Return why *stage* is not trained; None: it is."""
    if not (stage.adapted if adapts else stage.anew):
        return "the shipped one stays: what was trained on it would have to be trained anew"
    if stage.labels and not labelled:
        return "nobody has labelled the pictures, and it would learn from itself"
    if stage.part == "rate":
        return None if asked.source is not None else "no --source with truth to measure it on"
    lacking = [name for name in entry.needs if name != "out" and getattr(asked, name) is None]
    return f"no --{lacking[0]}" if lacking else None
