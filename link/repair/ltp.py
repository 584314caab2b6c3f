"""An engine of the Licklider Transmission Protocol (RFC 5326), both ends of it, without I/O and without a clock.

A block has a red part, which is repaired until all of it is there, and a green part, which is sent once. The last red
segment is a checkpoint: the far end answers with reports of what it has, each of which is acknowledged, and the gaps
are sent again, the last segment of them a checkpoint again.

    engine.send(block, red_bytes)        begin a session
    engine.receive(data, now)            take what arrived
    while (item := engine.take(now)):    what to put on the air next: control before data
        engine.sent(item, end)           its last bit left at *end*: from then on its answer is waited for
    engine.wake(now)                     do what is due, at `next_ns` at the latest
    engine.events                        what happened, each once

Timers know the light time and the plan (`link.repair.sight`): an answer is due at the last bit's end, the delay out,
the next time from then on that the far end may send, and the delay back. While it is out of sight nothing expires.
A session ends with all of its red part acknowledged or with a named fault (`Cancel`), and leaves nothing behind: what
nobody answers is sent so often that all being lost has a chance of one in a million at the loss that was measured.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

from link.repair.ltp_segments import (
    Cancel,
    CancelAck,
    CancelSegment,
    DataSegment,
    ReportAck,
    ReportSegment,
    Segment,
    SegmentType,
    SessionId,
    parse,
)
from link.repair.ltp_sessions import (
    MOST_TRIES,
    LtpEvent,
    LtpSettings,
    MeasuredLoss,
    Outgoing,
    Receiving,
    Sending,
    Timers,
    cut,
    split_report,
    tries,
)
from link.repair.sight import AnswerTimes

_CYCLES = 256  # how often gaps of one block are sent again at most
_REMEMBERED = 1024  # closed sessions that late segments are still answered for


class LtpEngine:
    """One end. *sight* says when answers of the far end may come."""

    def __init__(self, engine: int, settings: LtpSettings, sight: AnswerTimes) -> None:
        self._engine, self._settings, self.sight = engine, settings, sight
        self._numbers = 0
        self._sending: dict[SessionId, Sending] = {}
        self._receiving: dict[SessionId, Receiving] = {}
        # How sessions ended: red bytes, or why they were given up.
        self._closed: OrderedDict[SessionId, int | Cancel] = OrderedDict()
        self.timers = Timers()
        """What is waited for."""
        self._urgent: deque[Outgoing] = deque()
        self._again: deque[DataSegment] = deque()
        self._data: deque[DataSegment] = deque()
        self._measured = MeasuredLoss(settings.loss)
        self.events: list[LtpEvent] = []
        """Since the owner last took them away."""

    @property
    def sessions(self) -> int:
        """How many sessions are open, begun here or there."""
        return len(self._sending) + len(self._receiving)

    @property
    def loss(self) -> float:
        """The larger of the configured and the measured share of lost segments."""
        return self._measured.share

    @property
    def next_ns(self) -> int | None:
        """When something is due; None: nothing is."""
        return self.timers.next_ns

    def send(self, block: bytes, red_bytes: int, now: int, bounds: Sequence[int] = ()) -> SessionId:
        """Begin a session for *block*, the first *red_bytes* of which are repaired; return its name.

        No segment crosses one of the ascending *bounds*. Raise ValueError for an empty block, a red part over it.
        """
        if not block or not 0 <= red_bytes <= len(block):
            raise ValueError(f"{red_bytes} red bytes of a block of {len(block)}")
        self._numbers += 1
        session = (self._engine, self._numbers)
        state = Sending(block, red_bytes, tuple(bounds))
        self._queue(session, state, [(0, red_bytes)], report=0)
        self._queue(session, state, [(red_bytes, len(block))], report=None)
        self._sending[session] = state
        self._watch(session, now)
        return session

    def cancel(self, session: SessionId, reason: Cancel, now: int) -> None:
        """End *session* before its end and tell the far end, until it says that it knows."""
        ours = session in self._sending
        state = self._sending.get(session) or self._receiving.get(session)
        if state is None or state.failed is not None:
            return
        state.failed = reason
        self._forget(session)
        self._watch(session, now)
        self.events.append(LtpEvent("cancelled", session, reason=reason))
        self._enqueue("cancel", session, 0, CancelSegment(session, ours, reason))

    # The air

    def take(self, now: int) -> Outgoing | None:
        """Return what goes next, None where nothing does."""
        if self._urgent:
            return self._urgent.popleft()
        while self._again or self._data:
            # What is sent again goes first: a session is held open for it at both ends.
            segment = (self._again or self._data).popleft()
            state = self._sending.get(segment.session)
            if state is None or state.failed is not None:
                continue
            state.unsent -= 1
            key = None
            if segment.checkpoint:
                key = ("checkpoint", segment.session, segment.checkpoint)
                self.timers.begin(key, segment)
            elif state.unsent == 0 and (state.red == 0 or state.delivered):
                self._drop(segment.session)  # nothing of it is waited for
            return Outgoing(bytes(segment), key)
        return None

    def sent(self, item: Outgoing, end: int) -> None:
        """Note that the last bit of *item* left at *end*."""
        if item.timer is None or (timer := self.timers.get(item.timer)) is None:
            return
        timer.tries += 1
        if (due := self.sight.answer_by(end)) is None:
            self._give_up(item.timer, Cancel.UNREACHABLE, end)
        else:
            self.timers.plan(item.timer, due)

    def wake(self, now: int) -> None:
        """Do what is due at *now*."""
        while (due := self.next_ns) is not None and due <= now:
            key = self.timers.take()
            timer = self.timers.get(key)
            if timer is None or timer.segment is None:
                self._silent(key[1], now)
            elif timer.tries >= tries(self.loss):
                self._give_up(key, Cancel.RETRANSMISSIONS, now)
            else:
                self._urgent.append(Outgoing(bytes(timer.waiting), key))

    def receive(self, data: bytes, now: int) -> None:
        """Take a segment that arrived intact. Raise ValueError where it is none."""
        segment = parse(data)
        session, ours = segment.session, segment.session[0] == self._engine
        if (idle := self.timers.get(("idle", session, 0))) is not None:
            idle.tries = 0
        match segment:
            case DataSegment() if not ours:
                self._take_data(segment, now)
            case ReportSegment() if ours:
                self._take_report(segment, now)
            case ReportAck() if not ours:
                self.timers.end(("report", session, segment.serial))
                self._close_received(session)
            case CancelSegment() if segment.by_sender != ours:
                self._urgent.append(Outgoing(bytes(CancelAck(session, segment.by_sender))))
                self._cancelled(session, segment.reason)
            case CancelAck() if segment.by_sender == ours:
                self.timers.end(("cancel", session, 0))
                self._drop(session)
            case _:
                raise ValueError("a segment of the other end's kind")

    # The end that began

    def _queue(
        self, session: SessionId, state: Sending, ranges: Iterable[tuple[int, int]], report: int | None
    ) -> None:
        """Queue the segments of *ranges*, the last of all a checkpoint that answers *report*; None: they are green."""
        size = self._settings.segment_bytes
        pieces = [piece for first, end in ranges for piece in cut(first, end, state.bounds, size)]
        for number, (first, end) in enumerate(pieces, 1):
            last = number == len(pieces)
            kind, serial = SegmentType.RED if report is not None else SegmentType.GREEN, 0
            if last and report is None:
                kind = SegmentType.GREEN_END
            elif last:
                state.serial += 1
                serial, kind = state.serial, SegmentType.CHECKPOINT
                if end == state.red:
                    kind = SegmentType.BLOCK_END if end == len(state.block) else SegmentType.RED_END
            answers = report or 0 if serial else 0
            data = DataSegment(
                session, kind, self._settings.client, first, state.block[first:end], serial, answers
            )
            (self._again if report else self._data).append(data)
            state.unsent += 1

    def _take_report(self, report: ReportSegment, now: int) -> None:
        session = report.session
        self._urgent.append(Outgoing(bytes(ReportAck(session, report.serial))))
        state = self._sending.get(session)
        if state is None or state.failed is not None or state.delivered:
            return
        self.timers.end(("checkpoint", session, report.checkpoint))
        if report.serial in state.reports:
            return  # sent again because its acknowledgement was lost
        state.reports.add(report.serial)
        for first, end in report.claims:
            state.claimed.add(first, min(end, state.red))
        gaps = list(state.claimed.gaps(report.lower, min(report.upper, state.red)))
        self._count(state, report, gaps)
        if state.claimed.covers(0, state.red):
            self.events.append(LtpEvent("delivered", session))
            state.delivered = True
            if state.unsent == 0:
                self._drop(session)
            return
        if gaps:
            state.cycles += 1
            if state.cycles > _CYCLES:
                self.cancel(session, Cancel.CYCLES, now)
                return
            self._queue(session, state, gaps, report.serial)
        self._watch(session, now)

    def _count(self, state: Sending, report: ReportSegment, gaps: list[tuple[int, int]]) -> None:
        """Take what a report lacks into the measured loss."""
        size = self._settings.segment_bytes
        asked, missing = (
            sum(1 for first, end in ranges for _ in cut(first, end, state.bounds, size))
            for ranges in ([(report.lower, report.upper)], gaps)
        )
        self._measured.count(asked, missing)

    # The end that receives

    def _take_data(self, segment: DataSegment, now: int) -> None:
        session = segment.session
        if (closed := self._closed.get(session)) is not None:
            self._answer_late(segment, closed)
            return
        if (state := self._receiving.get(session)) is None:
            if len(self._receiving) >= self._settings.most_sessions:
                self._urgent.append(Outgoing(bytes(CancelSegment(session, False, Cancel.BY_SYSTEM))))
                return
            state = self._receiving[session] = Receiving()
        if state.failed is not None:
            return
        self._watch(session, now)
        if segment.end > self._settings.most_bytes:
            self.cancel(session, Cancel.BY_SYSTEM, now)
            return
        if state.miscolored(segment):
            self.cancel(session, Cancel.MISCOLORED, now)
            return
        if not segment.red:
            new = not state.have.covers(segment.offset, segment.end)
            state.have.add(segment.offset, segment.end)
            state.lowest_green = min(state.lowest_green, segment.offset)
            if segment.type == SegmentType.GREEN_END:
                state.end = segment.end
            if new:
                self.events.append(LtpEvent("green", session, segment.data, segment.offset))
            self._close_received(session)
            return
        if not state.have.covers(segment.offset, segment.end):
            self.events.append(LtpEvent("piece", session, segment.data, segment.offset))
            state.pieces[segment.offset] = segment.data
            state.have.add(segment.offset, segment.end)
        state.highest_red = max(state.highest_red, segment.end)
        if segment.type in (SegmentType.RED_END, SegmentType.BLOCK_END):
            state.red = segment.end
            if segment.type == SegmentType.BLOCK_END:
                state.end = segment.end
        if not state.delivered and state.whole:
            state.delivered = True
            self.events.append(LtpEvent("red", session, state.join()))
            state.pieces.clear()
        if segment.checkpoint:
            self._report(session, state, segment)

    def _report(self, session: SessionId, state: Receiving, segment: DataSegment) -> None:
        """Answer a checkpoint: by new reports, or by those that answered it before and are not acknowledged."""
        if (before := state.answered.get(segment.checkpoint)) is not None:
            for serial in before:
                timer = self.timers.get(("report", session, serial))
                if timer is not None and timer.due_ns is not None:  # else it is in the queue already
                    timer.due_ns = None
                    self._urgent.append(Outgoing(bytes(timer.waiting), ("report", session, serial)))
            return
        lower, upper = state.scopes.get(segment.report, (state.reported, segment.end))
        if segment.report not in state.scopes:
            state.reported, lower = max(state.reported, upper), lower if lower < upper else 0
        serials = state.answered[segment.checkpoint] = []
        size = self._settings.report_bytes
        for report in split_report(session, segment.checkpoint, lower, upper, state.have, size):
            state.serial += 1
            serials.append(state.serial)
            state.scopes[state.serial] = (report.lower, report.upper)
            self._enqueue("report", session, state.serial, replace(report, serial=state.serial))

    def _answer_late(self, segment: DataSegment, closed: int | Cancel) -> None:
        """Answer for a session that is closed here while the other end goes on with it."""
        session = segment.session
        if isinstance(closed, Cancel):
            self._urgent.append(Outgoing(bytes(CancelSegment(session, False, closed))))
        elif segment.checkpoint and closed:
            serial, claims = 1 << 20 | segment.checkpoint, ((0, closed),)
            report = ReportSegment(session, serial, segment.checkpoint, 0, closed, claims)
            self._urgent.append(Outgoing(bytes(report)))

    def _close_received(self, session: SessionId) -> None:
        """Close a session whose red part is here, with every report acknowledged, and whose end came."""
        state = self._receiving.get(session)
        if state is None or state.failed is not None or self.timers.of(session, "report"):
            return
        # Green pieces that are lost keep it open until nothing is heard any more.
        if state.end is not None and state.have.covers(0, state.end):
            self._drop(session)

    # Silence, faults, the end

    def _watch(self, session: SessionId, now: int) -> None:
        """Have the session looked after when nothing was heard of it for so long in contact."""
        span = max(self._settings.least_quiet_ns, (tries(self.loss) + 2) * self.sight.round_trip_ns(now))
        self.timers.begin(("idle", session, 0), None)
        self.timers.plan(("idle", session, 0), self.sight.after(now, span))

    def _silent(self, session: SessionId, now: int) -> None:
        """Give a session up of which nothing was heard, unless something of it is still under way here."""
        state = self._sending.get(session) or self._receiving.get(session)
        if state is None:
            return
        waits = self.timers.begin(("idle", session, 0), None)
        waits.tries += 1
        # No contact follows, or nobody puts on the air what waits here: nothing will be heard.
        over = self.sight.after(now, 1) <= now or waits.tries > MOST_TRIES
        waiting = self.timers.of(session) or (isinstance(state, Sending) and state.unsent)
        if waiting and not over:
            self._watch(session, now)
        elif state.delivered or (isinstance(state, Receiving) and not state.highest_red):
            self._drop(session)  # all that is repaired is there: what is missing is green
        elif over:
            if state.failed is None:
                state.failed = Cancel.UNREACHABLE
                self.events.append(LtpEvent("cancelled", session, reason=Cancel.UNREACHABLE))
            self._drop(session)
        else:
            self.cancel(session, Cancel.RETRANSMISSIONS, now)

    def _give_up(self, key: tuple[str, SessionId, int], reason: Cancel, now: int) -> None:
        kind, session, _serial = key
        self.timers.end(key)
        state = self._receiving.get(session)
        if kind == "cancel":
            self._drop(session)
        elif kind == "report" and state is not None and state.delivered:
            self._close_received(session)  # the other end may not know, and will be told when it asks
        else:
            self.cancel(session, reason, now)

    def _cancelled(self, session: SessionId, reason: int) -> None:
        """The other end cancelled *session*."""
        state = self._sending.get(session) or self._receiving.get(session)
        if state is not None and state.failed is None and not (session in self._sending and state.delivered):
            state.failed = Cancel(reason) if reason in tuple(Cancel) else Cancel.BY_SYSTEM
            self.events.append(LtpEvent("cancelled", session, reason=state.failed))
        self._drop(session)

    def _drop(self, session: SessionId) -> None:
        """Forget *session*, but for how it ended."""
        self._forget(session)
        self._sending.pop(session, None)
        state = self._receiving.pop(session, None)
        if state is not None:
            self._closed[session] = state.failed if state.failed is not None else (state.red or 0)
            while len(self._closed) > _REMEMBERED:
                self._closed.popitem(last=False)

    def _forget(self, session: SessionId) -> None:
        for key in self.timers.of(session, "checkpoint report cancel idle"):
            self.timers.end(key)

    def _enqueue(self, kind: str, session: SessionId, serial: int, segment: Segment) -> None:
        key = (kind, session, serial)
        self.timers.begin(key, segment)
        self._urgent.append(Outgoing(bytes(segment), key))
