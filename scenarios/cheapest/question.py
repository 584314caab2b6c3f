"""What is asked: which task, how much of it is to be kept, how sure that must be, and what is cheap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from link.errors import UsageError
from scenarios.scoring.bootstrap import LEVEL
from scenarios.scoring.tasks import TASKS, Task

WANTED = 4
"""The cheapest, and the three that come next."""
BY = ("on-air", "link")
REFERENCES = ("truth", "original")


@dataclass(frozen=True)
class Question:
    """One question to `scenarios.cheapest.answer.find`. Raises UsageError where a figure is out of its range."""

    scenario: str
    task: str
    keep: float
    """Share, 0 to 1, of the task's headline score on the originals."""
    confident: float = LEVEL
    """Level, 0 to 1, of the two-sided interval whose lower end must reach `keep`."""
    by: str = "on-air"
    """What is cheap: few bit/s on the air, or a low rung of the ladder (the link's own rate, or its power)."""
    reference: str = "truth"
    """What scores are against: the source's truth, or what the same model finds in the originals."""
    age_s: float | None = None
    """How old what is shown may be in the mean; None: no matter. Periods are walked where it is given."""
    codecs: tuple[str, ...] = ()
    """Empty: the scenario's own."""
    settings: tuple[str, ...] = ()
    """`key=value` of `--set`: fields that stay as they are."""
    vary: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Values of fields, by dotted path, in place of those that would be walked."""
    source: str | None = None
    frames: int | None = None
    seeds: tuple[int, ...] | None = None
    """None: the scenario's own."""

    def __post_init__(self) -> None:
        for option, value, kinds in (("--by", self.by, BY), ("--against", self.reference, REFERENCES)):
            if value not in kinds:
                raise UsageError(f"{option} {value!r}: {' or '.join(kinds)} was expected")
        if self.task not in TASKS:
            raise UsageError(f"--task {self.task!r}: one of {', '.join(TASKS)} was expected")
        if not 0.0 < self.keep <= 1.0:
            raise UsageError(f"--keep {self.keep:g}: a share above 0 and at most 1 was expected, as in 0.8")
        if not 0.0 < self.confident < 1.0:
            raise UsageError(
                f"--confident {self.confident:g}: a level between 0 and 1 was expected, as in 0.95"
            )
        if self.age_s is not None and self.age_s <= 0.0:
            raise UsageError(f"--age {self.age_s:g}: seconds above 0 were expected")

    @property
    def given(self) -> frozenset[str]:
        """The paths that `--set` says."""
        return frozenset(setting.partition("=")[0].strip() for setting in self.settings)

    @property
    def measure(self) -> Task:
        """The task that is scored."""
        return TASKS[self.task]

    @property
    def score(self) -> str:
        """The headline score, as people call it."""
        return self.measure.labels[self.measure.primary]
