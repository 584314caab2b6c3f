"""The receiver's core: packets and time in, pictures, requests and events out. No sockets, no clock of its own."""

from collections.abc import Callable
from heapq import heappop, heappush

from link import fragment, packet
from link.codecs import SYNTAXES
from link.config import Session
from link.events import Event, Fate, Output
from link.fingerprint import MismatchWatch, short
from link.packet import Kind, Packet
from link.repair import arq, fec
from link.timing import Times
from receiver.blocks import Block, Blocks
from receiver.decoder import Decoder, Onlooker, SectionOnlooker
from receiver.drawing import Drawer, Wish
from receiver.frames import ClosedFrame, OpenFrame
from receiver.window import AHEAD, FrameWindow

_REMEMBERED = 512  # closed frames whose late packets are still told apart
_GAP = AHEAD  # frames that may be missed altogether and still be asked for


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
        analyst: Onlooker | SectionOnlooker | None = None,
    ) -> None:
        self._link, self._profile = session.link, session.profile
        self._times = times
        self._drawer = Drawer(decoder, analyst, clock, live=session.live)
        self._fingerprint = fingerprint
        self._short = short(fingerprint)
        self._open: dict[int, OpenFrame] = {}
        self._closed: dict[int, ClosedFrame] = {}
        self._agenda: list[tuple[int, int]] = []  # a heap of (time, frame)
        self._window = FrameWindow()
        self._blocks = Blocks()
        self._coded = session.link.repair.fec > 0.0
        self._codec, self._syntax = session.codec, SYNTAXES[session.codec.name]
        self._repaired = -1  # all repair packets for the frames up to this one have gone by
        self._wrapper = packet.Wrapper(
            session.link.framing, feedback=True, lifetime_s=session.link.lifetime_s
        )
        self._watch = MismatchWatch(self._short)

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

    def _plan(self, frame: int, state: OpenFrame) -> None:
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
            inner = packet.unwrap(data, self._link.framing)
            parsed = packet.parse(inner, self._short)
            if parsed.kind == Kind.FEC:
                fec.split(parsed.body)
        except packet.ChecksumError as error:
            self._watch.suspect(error.implied, inner)
            return Fate.BAD_CHECKSUM
        except packet.DamagedError:
            return Fate.BAD_CHECKSUM
        except packet.VersionError:
            return Fate.VERSION
        except ValueError:
            return Fate.MALFORMED
        self._watch.trust()
        if parsed.kind == Kind.FEEDBACK:
            return Fate.MALFORMED
        if (placed := self._window.place(parsed)) is None:
            return Fate.DUPLICATE
        fate = Fate.DELIVERED  # also of a packet that waits: it is taken with the next, which speaks for it
        for item in placed:
            frame = self._window.number(item)
            if item.kind == Kind.DATA:
                fate = self._take(frame, item, now, out)
            else:
                fate = self._take_repair(frame, item, *fec.split(item.body), now, out)
        return fate

    def _take(self, frame: int, parsed: Packet, now: int, out: Output) -> Fate:
        """Take an intact data packet of *frame*."""
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
            self._finish(frame, state, now, out)
        self._mend(self._blocks.of(frame), now, out)
        if frame not in self._open or not state.data:
            return Fate.DELIVERED
        end = frame <= self._repaired if self._coded else parsed.index + 1 == state.count
        if self._link.repair.arq:
            state.timer.heard(now, end_seen=end)
            self._plan(frame, state)
        elif end and self._times.in_order:
            self._close(frame, now, out)  # nothing more will come
        return Fate.DELIVERED

    def _late(self, frame: int, now: int) -> OpenFrame | None:
        """Open *frame*, of which all that was sent was overtaken by a later one; None: so old that it is forgotten."""
        if frame <= self._window.newest - _GAP:
            return None
        state = self._open[frame] = self._fresh(now)
        self._plan(frame, state)
        return state

    def _take_repair(
        self,
        last: int,
        parsed: Packet,
        counts: tuple[int, ...],
        symbol: bytes,
        window: int | None,
        now: int,
        out: Output,
    ) -> Fate:
        """Take an intact repair packet of a block of frames of *counts* data packets, of which *last* is the last."""
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
        block.symbols[number], block.windows[number] = symbol, window
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
        for (
            frame
        ) in block.frames:  # all of one is here where less is expected now than the frame itself had told
            if (state := self._open.get(frame)) is not None and state.complete:
                self._finish(frame, state, now, out)
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

    def _notice(self, frame: int, now: int, out: Output) -> None:
        """Open the state of *frame* and, where it is new, of those before it that never showed up."""
        if frame <= self._window.newest:
            return
        arq_on = self._link.repair.arq
        first = max(self._window.newest + 1, frame - _GAP) if arq_on else frame
        for number in range(first, frame + 1):
            self._open[number] = self._fresh(now)
            self._plan(number, self._open[number])
        if self._coded:
            # A block reaches over so many frames, and its repair packets come before those of the next.
            self._window.newest = frame
            self._pass(frame - self._link.repair.fec_frames, now, out)
            return
        # Those before were passed when the newest came.
        for number in (self._window.newest, *range(first, frame)):
            if (state := self._open.get(number)) is None:
                continue
            if arq_on:
                state.timer.passed(now)
                self._plan(number, state)
            elif self._times.in_order:
                self._close(number, now, out)
        self._window.newest = frame

    def _fresh(self, now: int) -> OpenFrame:
        times = self._times
        timer = arq.AskTimer(
            hold_ns=times.jitter_ns,
            again_ns=times.round_trip_ns + 2 * times.frame_ns,
            quiet_ns=2 * times.frame_ns + times.jitter_ns + times.fec_span_ns,
            rounds=self._link.repair.arq_rounds if self._link.repair.arq else 0,
        )
        return OpenFrame(timer, now + times.deadline_ns)

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
                closed.data = {} if block.done else closed.data | bodies
            elif (state := self._open.get(frame)) is not None and bodies:
                state.data.update(bodies)
                state.count = block.counts[frame - block.first]
                if state.complete:
                    self._finish(frame, state, now, out)

    def _ask(self, frame: int, state: OpenFrame, now: int, out: Output) -> None:
        block = self._blocks.of(frame)
        request = state.request(None if block is None else block.count_lacking(self._bodies))
        self._feedback(frame, request, state.timer.asked, now, out)
        state.timer.fired(now)
        wish = {"missing": list(request.missing), "open_from": request.open_from, "enough": request.enough}
        out.events.append(Event("nak", now, frame, wish))
        if self._link.repair.show_early and state.drawn is None:
            state.show_ns = now + 1  # in the next step: the request does not wait for the decoder

    def _show_early(self, frame: int, state: OpenFrame, now: int, out: Output) -> None:
        """Draw what is there of an open frame, once, where its codec finds that worth showing."""
        state.show_ns = None
        payload = fragment.reassemble(state.data, state.count)
        if self._syntax.worth_showing(self._codec, payload):
            state.drawn = payload
            have = [section is not None for section in payload.sections]
            self._drawer.show(
                Wish(frame, payload, {"complete": False, "sections": have}, state.mark_shown), now, out
            )

    def _feedback(self, frame: int, request: arq.RepairRequest, turn: int, now: int, out: Output) -> None:
        room = packet.body_bytes(self._link.mtu_bytes, self._link.framing)
        body = Packet(Kind.FEEDBACK, frame % packet.FRAMES, turn, request.pack(room))
        out.packets.append(self._wrapper.wrap(body.pack(self._short), now))

    def _finish(self, frame: int, state: OpenFrame, now: int, out: Output) -> None:
        """Close *frame*, all of whose packets are here, or begin it anew where they are not what was sent."""
        assert state.count is not None
        payload = fragment.reassemble(state.data, state.count)
        last = state.data[state.count - 1]
        if fragment.verify(payload, last, frame):
            self._close(frame, now, out, whole=True)
            return
        if (number := self._window.renumber(payload, last, frame)) is not None:
            del self._open[frame]
            self._repaired = min(self._repaired, number - 1)
            for index in range(state.count):
                end = index + 1 == state.count
                again = Packet(Kind.DATA, number % packet.FRAMES, index, state.data[index], last=end)
                self._take(number, again, now, out)
            return
        about = {"packets": len(state.data), "reason": "the hash over its sections does not hold"}
        out.events.append(Event("damaged", now, frame, about))
        # Which of them is wrong nobody knows.
        state.data.clear()
        state.count = None
        if state.timer.asked < state.timer.rounds:
            state.timer.heard(now, end_seen=True)
            self._plan(frame, state)
        else:
            self._close(frame, now, out)

    def _close(self, frame: int, now: int, out: Output, *, whole: bool = False) -> None:
        """Decode *frame* with what is there, for good; *whole*: that is all that was sent."""
        state = self._open.pop(frame)
        block = self._blocks.of(frame)
        kept = dict(state.data) if self._coded and not (block is not None and block.done) else {}
        self._closed[frame] = ClosedFrame(set(state.data), whole, kept)
        while len(self._closed) > _REMEMBERED:
            self._closed.pop(next(iter(self._closed)))
        payload = fragment.reassemble(state.data, state.count)
        have = [section is not None for section in payload.sections]
        about = {
            "complete": whole,
            "sections": have,
            "packets": len(state.data),
        }
        out.events.append(Event("closed", now, frame, about))
        if payload != state.drawn:
            drawn = {"complete": about["complete"], **({"refines": True} if state.shown else {})}
            self._drawer.show(Wish(frame, payload, drawn, state.mark_shown), now, out)
        if self._link.repair.arq and about["complete"]:
            self._feedback(frame, arq.RepairRequest(()), 0, now, out)
            out.events.append(Event("ack", now, frame))
