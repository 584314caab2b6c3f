"""The receiver's core: packets and time in, pictures, requests and events out. No sockets, no clock of its own."""

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from link import fragment, packet
from link.codecs import SYNTAXES
from link.config import Session
from link.errors import FingerprintError
from link.events import Event, Fate, Output
from link.fingerprint import short
from link.frame import Payload
from link.packet import Kind, Packet
from link.repair import arq, fec
from link.timing import Times
from receiver.blocks import Block, Blocks
from receiver.decoder import Decoder, Onlooker
from receiver.drawing import Drawer, Wish

_MISMATCHES = 3  # equal wrong fingerprints in a row, with no right one ever, are not chance
_REMEMBERED = 512  # closed frames whose late packets are still told apart
_GAP = 64  # frames that may be missed altogether and still be asked for


@dataclass
class _Open:
    """A frame whose packets are coming in."""

    timer: arq.AskTimer
    deadline_ns: int
    data: dict[int, bytes] = field(default_factory=dict)
    count: int | None = None
    """Number of data packets, once the last of them or a repair packet told."""
    planned_ns: int | None = None
    """The frame's entry on the agenda."""
    show_ns: int | None = None
    """When to draw what is there, while the rest has been asked for."""
    drawn: Payload | None = None
    """What the decoder was given then."""
    shown: bool = False
    """Whether that made a picture."""

    def mark_shown(self) -> None:
        """Note that there is a picture."""
        self.shown = True

    @property
    def due_ns(self) -> int:
        """When the frame next wants something done."""
        wanted = (self.timer.due_ns, self.show_ns, self.deadline_ns)
        return min(due for due in wanted if due is not None)

    @property
    def complete(self) -> bool:
        return self.count is not None and len(self.data) >= self.count

    def request(self, lacking: int | None) -> arq.RepairRequest:
        """Return what to ask for, where *lacking* packets would do for the frame's block of the erasure code."""
        last = self.count if self.count is not None else max(self.data, default=-1) + 1
        missing = tuple(index for index in range(last) if index not in self.data)
        if self.count is None:
            return arq.RepairRequest(missing, last)
        enough = 0 if lacking is None else max(1, lacking)
        return arq.RepairRequest(missing, None, enough if enough < len(missing) else 0)


@dataclass
class _Closed:
    seen: set[int]
    complete: bool
    data: dict[int, bytes]
    """What other frames of its block may still need."""


class Receiver:
    """Puts frames together, asks for what is missing, decodes what arrived, looks at it.

    With requests on, a frame with holes is drawn when they are first asked for (`repair.show_early`) and once more
    when it is closed with more sections than that: two drawings at most. A decoder that starts from its last picture
    starts from the one that it drew last before, be that the same frame's first or a later frame's.

    In a live session (`session.live`) of the frames that are to be drawn in one step only the newest is: who draws
    too slowly shows fewer pictures, not older ones.

    *clock* measures decoding and analysis for `timings.json`; it decides nothing.
    """

    def __init__(
        self,
        session: Session,
        times: Times,
        decoder: Decoder,
        fingerprint: str,
        clock: Callable[[], float],
        analyst: Onlooker | None = None,
    ) -> None:
        self._link, self._profile = session.link, session.profile
        self._times = times
        self._drawer = Drawer(decoder, analyst, clock, live=session.live)
        self._fingerprint = fingerprint
        self._short = short(fingerprint)
        self._open: dict[int, _Open] = {}
        self._closed: dict[int, _Closed] = {}
        self._agenda: list[tuple[int, int]] = []  # a heap of (time, frame)
        self._newest = -1
        self._blocks = Blocks()
        self._coded = session.link.repair.fec > 0.0
        self._codec, self._syntax = session.codec, SYNTAXES[session.codec.name]
        self._repaired = -1  # all repair packets for the frames up to this one have gone by
        self._sequence = 0
        self._strange: list[int] = []
        self._known = False

    def step(self, now: int, arrivals: list[tuple[int, bytes]]) -> Output:
        """Take *arrivals* (packet number, bytes) and do what is due at *now*.

        Raise FingerprintError where the packets come from an end with other tables or settings.
        """
        out = Output()
        for number, data in arrivals:
            out.verdicts.append((number, self._receive(data, now, out)))
        while (due := self._settle()) is not None and due <= now:
            _, frame = heappop(self._agenda)
            state = self._open[frame]
            state.planned_ns = None
            if state.deadline_ns <= now:
                self._close(frame, now, out)
                continue
            if state.show_ns is not None and state.show_ns <= now:
                self._show_early(frame, state, now, out)
            else:
                self._ask(frame, state, now, out)
            self._plan(frame, state)
        self._drawer.end_step(now, out)
        out.next_ns = due
        return out

    def adjust(self, session: Session, times: Times) -> None:
        """See `link.end.End.adjust`. Open frames keep their deadlines."""
        session = session.model_copy(update={"profile": self._profile})  # the models are this end's own
        self._link, self._times, self._codec = session.link, times, session.codec
        self._coded = session.link.repair.fec > 0.0
        self._drawer.adjust(session)

    def _plan(self, frame: int, state: _Open) -> None:
        """Put the frame's next request or deadline on the agenda, unless something earlier stands there."""
        if state.planned_ns is None or state.due_ns < state.planned_ns:
            state.planned_ns = state.due_ns
            heappush(self._agenda, (state.due_ns, frame))

    def _settle(self) -> int | None:
        """Return when the first frame on the agenda is due, having mended entries that time has overtaken."""
        while self._agenda:
            when, frame = self._agenda[0]
            state = self._open.get(frame)
            if state is not None and when == state.due_ns:
                return when
            heappop(self._agenda)
            if state is not None and state.planned_ns == when:
                state.planned_ns = None
                self._plan(frame, state)
        return None

    def _receive(self, data: bytes, now: int, out: Output) -> Fate:
        """Take one packet, where it is one."""
        try:
            parsed = packet.parse(packet.unwrap(data, self._link.framing), self._short)
            coded = fec.split(parsed.body) if parsed.kind == Kind.FEC else None
        except packet.ChecksumError as error:
            self._suspect(error.implied)
            return Fate.BAD_CHECKSUM
        except packet.VersionError:
            return Fate.VERSION
        except ValueError:
            return Fate.MALFORMED
        self._known = True
        if parsed.kind == Kind.FEEDBACK:
            return Fate.MALFORMED
        return self._take(parsed, now, out) if coded is None else self._take_repair(parsed, *coded, now, out)

    def _take(self, parsed: Packet, now: int, out: Output) -> Fate:
        """Take an intact data packet."""
        frame = packet.frame_after(parsed.frame, self._newest)
        self._notice(frame, now, out)
        if (closed := self._closed.get(frame)) is not None:
            if parsed.index in closed.seen:
                return Fate.DUPLICATE
            closed.seen.add(parsed.index)
            if not closed.complete and self._coded:
                closed.data[parsed.index] = parsed.body
                self._mend(self._blocks.of(frame), now, out)
            return Fate.DELIVERED if closed.complete else Fate.DEADLINE
        if (state := self._open.get(frame)) is None:
            if (late := self._late(frame, now)) is None:
                return Fate.DEADLINE
            state = late
        if parsed.index in state.data:
            return Fate.DUPLICATE
        state.data[parsed.index] = parsed.body
        if parsed.last:
            state.count = state.count or parsed.index + 1
        if state.complete:
            self._close(frame, now, out)
        self._mend(self._blocks.of(frame), now, out)
        if frame not in self._open:
            return Fate.DELIVERED
        end = frame <= self._repaired if self._coded else parsed.index + 1 == state.count
        if self._link.repair.arq:
            state.timer.heard(now, end_seen=end)
            self._plan(frame, state)
        elif end and self._times.in_order:
            self._close(frame, now, out)  # nothing more will come
        return Fate.DELIVERED

    def _late(self, frame: int, now: int) -> _Open | None:
        """Open *frame*, of which all that was sent was overtaken by a later one; None: so old that it is forgotten."""
        if frame <= self._newest - _GAP:
            return None
        state = self._open[frame] = self._fresh(now)
        self._plan(frame, state)
        return state

    def _take_repair(
        self, parsed: Packet, counts: tuple[int, ...], symbol: bytes, now: int, out: Output
    ) -> Fate:
        """Take an intact repair packet of a block of frames of *counts* data packets."""
        last = packet.frame_after(parsed.frame, self._newest)
        first, number = last - len(counts) + 1, parsed.index - counts[-1]
        if first < 0 or number < 0:
            return Fate.MALFORMED
        self._notice(last, now, out)
        self._pass(first - 1, now, out)
        block = self._blocks.learn(last, counts)
        if block is None:
            return Fate.MALFORMED
        if number in block.symbols:
            return Fate.DUPLICATE
        block.symbols[number] = symbol
        for frame, count in zip(block.frames, counts, strict=True):
            if count and frame not in self._closed:
                state = self._open.get(frame) or self._late(frame, now)
                if state is not None:
                    state.count = count
        closed = [self._closed.get(frame) for frame, count in zip(block.frames, counts, strict=True) if count]
        too_late = all(state is not None for state in closed) and not all(
            state is not None and state.complete for state in closed
        )
        self._mend(block, now, out)
        if parsed.last:
            self._pass(last, now, out)
        return Fate.DEADLINE if too_late else Fate.DELIVERED

    def _pass(self, frame: int, now: int, out: Output) -> None:
        """Note that no repair packet for *frame* or those before it is to be expected unasked."""
        first = max(self._repaired + 1, frame - _GAP)
        self._repaired = max(self._repaired, frame)
        for number in range(first, frame + 1):
            if (state := self._open.get(number)) is None:
                continue
            if self._link.repair.arq:
                state.timer.passed(now)
                self._plan(number, state)
            elif self._times.in_order:
                self._close(number, now, out)

    def _suspect(self, implied: int) -> None:
        """Tell damage, which differs from packet to packet, from another fingerprint, which does not."""
        if self._known:
            return
        if self._strange and self._strange[-1] != implied:
            self._strange.clear()
        self._strange.append(implied)
        if len(self._strange) >= _MISMATCHES:
            raise FingerprintError(f"{self._short:08x}", f"{implied:08x}")

    def _notice(self, frame: int, now: int, out: Output) -> None:
        """Open the state of *frame* and, where it is new, of those before it that never showed up."""
        if frame <= self._newest:
            return
        arq_on = self._link.repair.arq
        first = max(self._newest + 1, frame - _GAP) if arq_on else frame
        for number in range(first, frame + 1):
            self._open[number] = self._fresh(now)
            self._plan(number, self._open[number])
        if self._coded:
            # A block reaches over so many frames, and its repair packets come before those of the next.
            self._newest = frame
            self._pass(frame - self._link.repair.fec_frames, now, out)
            return
        # Those before were passed when the newest came.
        for number in (self._newest, *range(first, frame)):
            if (state := self._open.get(number)) is None:
                continue
            if arq_on:
                state.timer.passed(now)
                self._plan(number, state)
            elif self._times.in_order:
                self._close(number, now, out)
        self._newest = frame

    def _fresh(self, now: int) -> _Open:
        times = self._times
        timer = arq.AskTimer(
            hold_ns=times.jitter_ns,
            again_ns=times.round_trip_ns + 2 * times.frame_ns,
            quiet_ns=2 * times.frame_ns + times.jitter_ns + times.fec_span_ns,
            rounds=self._link.repair.arq_rounds if self._link.repair.arq else 0,
        )
        return _Open(timer, now + times.deadline_ns)

    def _bodies(self, frame: int) -> dict[int, bytes]:
        """Return the data bodies at hand of a frame."""
        state = self._open.get(frame) or self._closed.get(frame)
        return {} if state is None else state.data

    def _mend(self, block: Block | None, now: int, out: Output) -> None:
        """Let the erasure code make up for what is missing of *block*, where it can."""
        if block is None or block.done:
            return
        for frame, bodies in block.restore(self._bodies).items():
            if (closed := self._closed.get(frame)) is not None:
                closed.data = {}
            elif (state := self._open.get(frame)) is not None and bodies:
                state.data.update(bodies)
                self._close(frame, now, out)

    def _ask(self, frame: int, state: _Open, now: int, out: Output) -> None:
        block = self._blocks.of(frame)
        request = state.request(None if block is None else block.count_lacking(self._bodies))
        self._feedback(frame, request, state.timer.asked, out)
        state.timer.fired(now)
        wish = {"missing": list(request.missing), "open_from": request.open_from, "enough": request.enough}
        out.events.append(Event("nak", now, frame, wish))
        if self._link.repair.show_early and state.drawn is None:
            state.show_ns = now + 1  # in the next step: the request does not wait for the decoder

    def _show_early(self, frame: int, state: _Open, now: int, out: Output) -> None:
        """Draw what is there of an open frame, once, where its codec finds that worth showing."""
        state.show_ns = None
        payload = fragment.reassemble(state.data, state.count)
        if self._syntax.worth_showing(self._codec, payload):
            state.drawn = payload
            have = [section is not None for section in payload.sections]
            self._drawer.show(
                Wish(frame, payload, {"complete": False, "sections": have}, state.mark_shown), now, out
            )

    def _feedback(self, frame: int, request: arq.RepairRequest, turn: int, out: Output) -> None:
        room = packet.body_bytes(self._link.mtu_bytes, self._link.framing)
        body = Packet(Kind.FEEDBACK, frame % packet.FRAMES, turn, request.pack(room))
        self._sequence += 1
        data = packet.wrap(body.pack(self._short), self._link.framing, self._sequence - 1, feedback=True)
        out.packets.append(data)

    def _close(self, frame: int, now: int, out: Output) -> None:
        """Decode *frame* with what is there, for good."""
        state = self._open.pop(frame)
        block = self._blocks.of(frame)
        kept = dict(state.data) if self._coded and not (block is not None and block.done) else {}
        self._closed[frame] = _Closed(set(state.data), state.complete, kept)
        while len(self._closed) > _REMEMBERED:
            self._closed.pop(next(iter(self._closed)))
        payload = fragment.reassemble(state.data, state.count)
        have = [section is not None for section in payload.sections]
        about = {
            "complete": state.complete and payload.complete,
            "sections": have,
            "packets": len(state.data),
        }
        out.events.append(Event("closed", now, frame, about))
        if payload != state.drawn:
            drawn = {"complete": about["complete"], **({"refines": True} if state.shown else {})}
            self._drawer.show(Wish(frame, payload, drawn, state.mark_shown), now, out)
        if self._link.repair.arq and about["complete"]:
            self._feedback(frame, arq.RepairRequest(()), 0, out)
            out.events.append(Event("ack", now, frame))
