"""What the page's server is told of a session, and what it may ask: a link elsewhere, a journal, a test.

    source -> server   News: what happened since the last one
    server -> source   change, pace, seek: each answered by None, or by why it is refused

The room (`scenarios.live.room`) makes of the news what viewers see. It cannot tell where they come from.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from link.channel.rate import Trace
from link.events import Event, Row
from scenarios.live.stories import Story

Mode = Literal["live", "replay"]


@dataclass(frozen=True)
class News:
    """What happened in a session since the last news."""

    now_ns: int
    """The run's time."""
    factor: float
    """Run seconds in a second."""
    paused: bool
    jumping: str | None
    """`event` or `picture` while the run is on its way there (`link.live.Turn`)."""
    events: list[Event] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    data: dict[int, bytes] = field(default_factory=dict)
    """Bytes of each packet that *rows* says was born with some (`link.events.WITH_BYTES`), by its number."""
    fresh: bool = False
    """Whether all that was told before is void: another session, or a journal that was wound back."""
    done: bool = False
    """Whether nothing will happen any more."""
    lost: str | None = None
    """Why the session ended early."""
    limit_factor: float | None = None
    """The most that the ends keep up with."""
    ends: Mapping[str, str] = field(default_factory=dict)
    """How sender and receiver stand, by role: `absent`, `loading`, `ready`; empty: not known."""
    draw_s: float | None = None
    """Seconds that the newest picture took to draw."""


class Source(ABC):
    """Where news come from. Nothing here blocks the event loop."""

    head: Mapping[str, Any]
    """The first record of the session's journal: `scenario`, `fingerprint`, `versions`."""
    traces: Mapping[str, Trace] = {}
    """Of the hops that have one and whose trace is at hand."""
    mode: Mode = "live"
    duration_ns: int | None = None
    """How long a journal is; None for a live session."""
    keeps_up: bool | None = None
    """Whether steps are lowered for a receiver that is too slow (`scenarios.live.keep_up`) unless a viewer says
    otherwise; None: that cannot be."""
    story: Story | None = None
    """What is told of it, with changes of its own."""

    @abstractmethod
    def news(self) -> AsyncIterator[News]:
        """Yield what happens, as it happens, ten times a second at most, the first at once; end with the session."""

    async def change(self, paths: Mapping[str, Any], by: str) -> str | None:
        """Lay values over the session (`link.steering.lay`); return why not."""
        return "this session cannot be changed"

    async def pace(self, turn: str | None, factor: float | None) -> str | None:
        """Pause, go on, step or speed up (`link.live.Timing`); return why not."""
        return "this session keeps its own pace"

    async def seek(self, ns: int) -> str | None:
        """Go to a time of the run, forwards or back; return why not."""
        return "only a replay can be wound"

    async def mark(self, text: str, by: str) -> str | None:
        """Keep *text* beside the present moment, in the journal; return why not."""
        return "this session keeps no marks"

    async def open(self, what: str, name: str) -> str | None:
        """Go over to another session, which is *name* of a list, never a path; return why not."""
        return "this session cannot be exchanged for another"

    def fork(self) -> "Source | None":
        """Return a source of the same session, as it stands, that one viewer winds alone; None: there is one clock."""
        return None

    async def furnish(self, now_ns: int, *, local: bool) -> Any:
        """Return a `scenarios.live.room.Room` as the session stands at *now_ns*; None: fresh news say it all."""
        return None

    def picture(self, kind: str, frame: int) -> bytes | None:
        """Return the PNG file of a picture that the room has let go of; None where it is not at hand."""
        return None

    async def close(self) -> None:
        """Let go of everything. Does nothing a second time."""
        return None
