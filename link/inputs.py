"""What comes to a live run from outside: answers of its ends, and wishes of those who steer it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from link.errors import FarlinkError
from link.events import Output


class Turn(Enum):
    """What can be asked of a run's pace."""

    PAUSE = "pause"
    RESUME = "resume"
    EVENT = "event"
    """Let the next thing that is due happen, then pause."""
    PICTURE = "picture"
    """Go on as fast as the ends can until the next picture is drawn; then as before."""
    STOP = "stop"
    """End the run."""


@dataclass(frozen=True)
class Answer:
    """What an end answers to its step."""

    role: str
    output: Output
    error: FarlinkError | None = None
    """What the end failed with; the output is empty then."""


@dataclass(frozen=True)
class Change:
    """A wish to change fields of the session."""

    paths: Mapping[str, Any]
    by: str
    tell: Callable[[str | None], None] = lambda _refusal: None
    """Is told None when it is done, or why it is refused."""


@dataclass(frozen=True)
class Note:
    """A wish to have this moment marked in the journal."""

    text: str
    by: str
    tell: Callable[[str | None], None] = lambda _refusal: None
    """As that of `Change`."""


@dataclass(frozen=True)
class Timing:
    """A wish about the run's pace."""

    turn: Turn | None = None
    factor: float | None = None
    """Run seconds in a second from now on."""
    tell: Callable[[str | None], None] = lambda _refusal: None
    """As that of `Change`."""
