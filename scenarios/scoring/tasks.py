"""The tasks that farlink measures, in one table."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from pydantic import BaseModel

from scenarios.scoring.depth import Depth
from scenarios.scoring.detection import Detection
from scenarios.scoring.segmentation import Segmentation
from scenarios.scoring.stats import Pool, Scores, Stats


class Task(Protocol):
    """A task: what to keep of a frame, and what a series of frames scores."""

    @property
    def name(self) -> str:
        """The key in TASKS."""

    @property
    def primary(self) -> str:
        """The score that stands for the task, wherever one stands for all."""

    @property
    def beside(self) -> tuple[str, ...]:
        """The scores that stand beside it where there is room for more than one."""

    @property
    def form(self) -> type[BaseModel]:
        """What a frame's numbers are, for those that come out of a table."""

    @property
    def higher_is_better(self) -> Mapping[str, bool]:
        """Every score's name, and which way is better."""

    @property
    def labels(self) -> Mapping[str, str]:
        """What every score is called, in the order in which they are shown."""

    def frame(self, *args: Any, **options: Any) -> Stats:
        """Keep what is needed of one frame: frame(truth, found or None, options of the task)."""

    def pool(self, frames: Sequence[Stats]) -> Pool:
        """Read the frames once, to score them under many weights."""

    def scores(self, frames: Sequence[Stats]) -> Scores:
        """Return the scores of the frames together; None where nothing counts."""

    def counts(self, frames: Sequence[Stats]) -> dict[str, int]:
        """Return `frames` (that count), `shown` (of those), and what else the task counts."""


TASKS: Mapping[str, Task] = MappingProxyType(
    {"segmentation": Segmentation(), "depth": Depth(), "detection": Detection()}
)
