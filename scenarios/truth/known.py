"""What a data set may know of its pictures: the interface of its class, and a base that knows nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from scenarios.scoring.boxes import Boxes
from scenarios.truth.files import Depth, Labels, Size


@dataclass(frozen=True)
class Found:
    """What is known of one picture, at its own size."""

    depth_m: Depth | None = None
    labels: Labels | None = None
    boxes: Boxes | None = None


class Known(Protocol):
    """What a data set knows of its pictures."""

    label_names: tuple[str, ...] | None
    box_names: tuple[str, ...] | None

    def needed(self, picture: Path) -> list[Path]:
        """Return the files that must be there for *picture*."""
        ...

    def read(self, picture: Path, size: Size) -> Found:
        """Return what is known of *picture*, which has *size*. Raise UsageError."""
        ...

    def sequence(self, name: str) -> str:
        """Return the sequence that the picture *name* is a frame of."""
        ...


class Alone:
    """Pictures that have nothing to do with each other, and no truth: what the sets share."""

    label_names: tuple[str, ...] | None = None
    box_names: tuple[str, ...] | None = None

    def needed(self, picture: Path) -> list[Path]:
        """Return no files: none must be there."""
        return []

    def sequence(self, name: str) -> str:
        """Return *name*: the picture stands alone."""
        return name
