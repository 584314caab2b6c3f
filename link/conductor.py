"""One clock for sender, channel and receiver: whichever has the earliest next event is advanced.

The same conductor runs a sweep in one process, three processes in lockstep, and three against the wall clock;
an end may be a socket (`link.relay`) and it cannot tell, which is why all write the same journal. Against the
wall clock an end's answer may come later: what arrives meanwhile waits for it, up to a limit.

The journal of a live session (`session.live`) says when each end answered and what was changed, so that the same run
can be had again (`link.again`). One rule makes that exact: what is due up to a time happens before the answer or the
change that has this time (`catch_up`).
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from link.channel.channel import BACKWARD, FORWARD, Channel
from link.channel.rate import Trace
from link.config import Session
from link.end import End
from link.errors import UsageError
from link.events import DRAWN, Event, Fate, Output, Row
from link.steering import lay
from link.timing import times

SENDER, RECEIVER = 0, 1
ROLES = ("sender", "receiver")
_BACKLOG = 1024  # packets that wait for a slow end before more are dropped


class RunWriter(Protocol):
    """What writes down a run: `link.journal.Journal`, or what stands before it."""

    def packets(self, rows: list[Row], data: list[bytes]) -> None:
        """Add fates, in order, and the bytes of those in `link.events.WITH_BYTES`. Both lists are emptied."""

    def event(self, event: Event) -> None:
        """Add an event."""

    def flush(self) -> None:
        """Make sure that what was added is kept."""


class Conductor:
    """Runs one session to its end and writes its journal. *progress* is told each event."""

    def __init__(
        self,
        session: Session,
        traces: Mapping[str, Trace],
        sender: End,
        receiver: End,
        journal: RunWriter,
        progress: Callable[[Event], None] | None = None,
    ) -> None:
        self._data: list[bytes] = []
        self._session, self._traces = session, traces
        self._loaded = set(session.analysis)
        self._channel = Channel(
            session.link, session.seed, traces, self._data, steered=session.live, origins=session.origins
        )
        self._ends = (sender, receiver)
        self._next: list[int | None] = [0, None]
        self._busy = [False, False]
        self._asked = [0, 0]
        self._adjusted = [False, False]  # ends that have yet to look at a changed session
        self._changes = 0
        self._waiting: tuple[list[tuple[int, bytes]], list[tuple[int, bytes]]] = ([], [])
        self._journal = journal
        self._progress = progress
        self.now = 0
        """Time of the last step, in nanoseconds."""
        self.timings: dict[str, float] = {}
        """Wall-clock seconds that the ends spent, by name."""
        self.drawn = 0
        """How many pictures the receiver made."""

    @property
    def session(self) -> Session:
        """The session as it is now."""
        return self._session

    @property
    def busy(self) -> bool:
        """Whether an end has not answered yet."""
        return any(self._busy)

    @property
    def next_ns(self) -> int | None:
        """When anything happens next without an answer from a busy end; None: nothing does."""
        dues = [
            time for time, busy in zip(self._next, self._busy, strict=True) if not busy and time is not None
        ]
        if (time := self._channel.next_ns) is not None:
            dues.append(time)
        for end in (SENDER, RECEIVER):
            if not self._busy[end] and (self._waiting[end] or self._adjusted[end]):
                dues.append(self.now)
        return min(dues, default=None)

    @property
    def finished(self) -> bool:
        """Whether nothing will happen any more."""
        return not any(self._busy) and self.next_ns is None

    def advance(self, now: int) -> None:
        """Let everything that is due at *now* happen. Times never decrease."""
        self.now = now
        for packet, direction, data in self._channel.advance(now):
            waiting = self._waiting[RECEIVER if direction == FORWARD else SENDER]
            if len(waiting) >= _BACKLOG and self._busy[RECEIVER if direction == FORWARD else SENDER]:
                self._journal.packets([(now, packet, int(Fate.PEER_SLOW), -direction, 0, 0)], [])
            else:
                waiting.append((packet, data))
        self._record()
        # The receiver goes first: what it asks for at this instant is on its way before new frames are.
        for end in (RECEIVER, SENDER):
            due = self._next[end]
            waiting = self._waiting[end]
            called = waiting or self._adjusted[end] or (due is not None and due <= now)
            if called and not self._busy[end]:
                arrivals = waiting[:]
                waiting.clear()
                self._busy[end], self._asked[end], self._adjusted[end] = True, now, False
                out = self._ends[end].step(now, arrivals)
                if out is not None:
                    self.answer(end, out, now)

    def catch_up(self, now: int) -> None:
        """Let everything happen that is due up to *now*, each thing at its own time."""
        while (due := self.next_ns) is not None and due <= now:
            self.advance(max(due, self.now))

    def asked_ns(self, end: int) -> int | None:
        """When *end* was given the step that it has not answered yet; None where it has."""
        return self._asked[end] if self._busy[end] else None

    def change(self, asked: Mapping[str, Any], by: str, now: int) -> None:
        """Change steered fields of the session at *now*; all that was due before must have happened.

        Raise UsageError where the change is refused (`link.steering.lay`) or the session is not a live one.
        """
        if not self._session.live:
            raise UsageError("only a live session can be changed while it runs")
        session, values = lay(self._session, asked)
        if not values:
            return
        if missing := set(session.analysis) - self._loaded:
            raise UsageError(f"analysis: the model for {min(missing)} was not loaded when the run began")
        waits = times(session, self._traces)
        self.now = now
        self._session = session
        self._changes += 1
        self._journal.event(Event("changed", now, None, {"paths": values, "by": by}))
        self._channel.adjust(session.link, self._changes, now)
        self._record()
        for end in (SENDER, RECEIVER):
            self._ends[end].adjust(session, waits)
            self._adjusted[end] = True
        if self._progress is not None:
            self._progress(Event("changed", now, None, {"paths": values, "by": by}))

    def mark(self, text: str, by: str, now: int) -> None:
        """Write *text* down as what somebody noted at *now*. Raise UsageError where the session is not a live one."""
        if not self._session.live:
            raise UsageError("only a live session can be marked while it runs")
        self.now = now
        self._journal.event(Event("marked", now, None, {"text": text, "by": by}))

    def answer(self, end: int, out: Output, now: int) -> None:
        """Take an end's answer to the step it was given."""
        self.now = now
        self._busy[end] = False
        self._next[end] = out.next_ns
        if self._session.live:
            about = {"end": ROLES[end], "asked_ns": self._asked[end]}
            self._journal.event(Event("answered", now, None, about))
            for event in out.events:
                if event.kind in DRAWN:
                    event.fields["drawn_ns"] = now
        self.drawn += sum(event.kind == "decoded" for event in out.events)
        hop = -1 if end == SENDER else 0  # the feedback's way, or the frames'
        self._journal.packets([(now, number, int(fate), hop, 0, 0) for number, fate in out.verdicts], [])
        for data in out.packets:
            self._data.append(data)
            self._channel.send(data, now, FORWARD if end == SENDER else BACKWARD)
        self._record()
        for event in out.events:
            self._journal.event(event)
        if any(event.kind in ("closed", "decoded") for event in out.events):
            self._journal.flush()
        if self._progress is not None:
            for event in out.events:
                self._progress(event)
        for name, seconds in out.timings.items():
            self.timings[name] = self.timings.get(name, 0.0) + seconds

    def _record(self) -> None:
        if self._channel.rows:
            self._journal.packets(self._channel.rows, self._data)

    def run(self) -> None:
        """Run in virtual time until nothing is left to happen, then say `finished`."""
        while (now := self.next_ns) is not None:
            self.advance(now)
        self.finish("finished")

    def finish(self, kind: str, **fields: Any) -> None:
        """Write the run's last event: `finished`, or `aborted` with a reason."""
        self._record()
        self._journal.event(Event(kind, self.now, None, fields))
