"""The sender's core: time and feedback in, packets and events out. No sockets, no clock of its own."""

from collections.abc import Callable, Iterator
from typing import Any

from link import fragment, packet, png
from link.channel import NS, to_ns
from link.config import Session
from link.errors import BudgetError, PartialError, UsageError
from link.events import Event, Fate, Output
from link.fingerprint import short
from link.frame import Frame, Payload
from link.packet import Kind, Packet
from link.repair import arq, fec
from link.terminal import printable
from link.timing import LONGEST_S, Times, body_bytes
from sender.camera import is_live
from sender.camera.picture import Shot, Skippable, Skipped
from sender.encoder import Adjustable, Encoder, SteeredEncoder
from sender.protection import Fountain, Protection, class_of_repairs, classes
from sender.rate_control import Choice, RateControl, is_controlled

_MOST_LATE = 16


class Sender:
    """Captures a frame when it is due, encodes it, cuts it into packets, and answers requests.

    *clock* measures encoding for `timings.json`; it decides nothing. *control* says frame by frame how much the
    encoder, which must be `Adjustable` then, sends, and which frames are left out: those have no number on the wire.

    In a live session (`session.live`) a sender that has fallen behind by a period or more leaves the pictures out
    whose time has passed, and the camera's next one is due at the next full period.
    """

    def __init__(
        self,
        session: Session,
        times: Times,
        shots: Iterator[Shot | Skipped],
        encoder: Encoder,
        fingerprint: str,
        clock: Callable[[], float],
        control: RateControl | None = None,
    ) -> None:
        if control is not None and not isinstance(encoder, Adjustable):
            raise UsageError("codec.rate_control task: the encoder does not let itself be adjusted")
        self._session, self._link = session, session.link
        self._times = times
        self._shots = shots
        self._encoder = encoder
        self._adjustable = encoder if isinstance(encoder, Adjustable) else None
        self._control = control
        self._stops = session.codec.unfit == "stop"
        self._warnings = list(control.warnings) if control is not None else []
        self._short = short(fingerprint)
        self._clock = clock
        camera = session.camera
        self._waits = is_live(camera.source)
        self._paced_by_source = camera.period_s is None and not self._waits
        # A webcam without a period is asked again at once, and makes us wait for its next picture.
        self._period = to_ns(camera.period_s) if camera.period_s is not None else 0
        self._tick = 0  # when the next shot is due, whenever it may be taken
        self._limit = camera.frames
        self._room = body_bytes(session.link)
        self._taken = 0  # of the camera's frames; those that are sent are numbered by themselves
        self._frames = 0
        self._wrapper = packet.Wrapper(
            session.link.framing, feedback=False, lifetime_s=session.link.lifetime_s
        )
        self._outboxes: dict[int, arq.Outbox] = {}
        self._protection = Protection.from_link(session.link, encoder)
        self._blocks = self._block_builder()
        self._fountain = Fountain()
        self._ended: list[fec.Repairs] = []  # of blocks that a change ended
        self._told: set[int] = set()
        self._due_ns: int | None = 0
        self._ahead: Shot | None = None
        self._missed = False  # a source that shows what is to be seen now had nothing to show

    def step(self, now: int, arrivals: list[tuple[int, bytes]]) -> Output:
        """Do what is due at *now* and answer the feedback in *arrivals* (packet number, bytes).

        Raise UsageError where the codec cannot meet its budget at all.
        """
        out = Output()
        self._warn(now, out)
        for repairs in self._ended:
            out.packets += [self._wrapper.wrap(data, now) for data in self._repairs(repairs)]
        self._ended.clear()
        for number, data in arrivals:
            out.verdicts.append((number, self._feedback(data, now, out)))
        # One frame a step: a sender that has fallen behind must not answer with its whole backlog at once.
        if self._due_ns is not None and self._due_ns <= now:
            self._next_frame(now, out)
        out.packets += [self._wrapper.wrap(data, now) for data in self._fountain.due(now)]
        self._forget(now, out)
        waits = [] if self._due_ns is None else [self._due_ns]
        if self._fountain.next_ns is not None:
            waits.append(self._fountain.next_ns)
        for box in self._outboxes.values():  # in the order of their deadlines
            waits.append(box.deadline_ns)
            break
        out.next_ns = min(waits, default=None)
        return out

    def adjust(self, session: Session, times: Times) -> None:
        """See `link.end.End.adjust`. Frames that were sent are answered for until their deadlines."""
        was = self._session
        # The camera and the models are this end's own.
        camera = was.camera.model_copy(update={"period_s": session.camera.period_s})
        self._session = session = session.model_copy(update={"profile": was.profile, "camera": camera})
        self._link, self._times = session.link, times
        self._stops = session.codec.unfit == "stop"
        self._room = body_bytes(session.link)
        if (session.link.repair, session.link.mtu_bytes) != (was.link.repair, was.link.mtu_bytes):
            if self._blocks is not None and (repairs := self._blocks.flush()) is not None:
                self._ended.append(repairs)
            self._protection = Protection.from_link(session.link, self._encoder)
            self._blocks = self._block_builder()
        if isinstance(self._encoder, SteeredEncoder):
            self._encoder.adjust(session.codec)
        if self._control is not None or is_controlled(session):
            self._control = RateControl.from_session(session, times) if is_controlled(session) else None
        if session.camera.period_s != was.camera.period_s and session.camera.period_s is not None:
            period = to_ns(session.camera.period_s)
            self._tick += period - self._period
            self._period = period
            if self._due_ns is not None and not self._paced_by_source:
                self._due_ns = self._tick

    def _block_builder(self) -> fec.BlockBuilder | None:
        link, repair = self._link, self._link.repair
        if repair.fec == 0.0:
            return None
        room = packet.body_bytes(link.mtu_bytes, link.framing)
        header = packet.overhead(link.framing, link.mtu_bytes)
        return fec.BlockBuilder(
            repair.fec, header, room, repair.fec_frames, self._times.fec_span_ns, repair.fec_spread,
            self._protection.assign if self._protection is not None else None,
        )  # fmt: skip

    def _warn(self, now: int, out: Output) -> None:
        """Say once what rate control has to say of its table."""
        for line in self._warnings:
            about = {"by": "rate_control", "reason": printable(line)}
            out.events.append(Event("warned", now, None, about))
        self._warnings.clear()

    def _next_frame(self, now: int, out: Output) -> None:
        """Capture the frame that is due, and say when the next one is.

        A shot is taken from the camera when it is due and not before, since a camera may make us wait for it;
        only a source that is paced by its own time stamps must be looked into ahead.
        """
        if self._session.live and not self._paced_by_source:
            self._pass_over_late(now, out)
        shot = self._ahead or self._fetch(now, out)
        self._ahead = None
        if self._session.live and self._paced_by_source and shot is not None:
            shot = self._newest_due(shot, now, out)
        if shot is None and self._missed:
            self._tick += self._period
            self._due_ns = max(now, self._tick)
            return
        if shot is None:
            self._due_ns = None
            self._end(now, out)
            return
        if self._paced_by_source and shot.pts_ns is not None and shot.pts_ns > now:
            self._ahead, self._due_ns = shot, shot.pts_ns
            return
        self._capture(shot, now, out)
        if self._taken == self._limit:
            self._due_ns = None
        elif self._paced_by_source:
            self._ahead = self._ahead or self._fetch(now, out)
            self._due_ns = None
            if self._ahead is not None:
                pts = self._ahead.pts_ns
                self._due_ns = max(now, pts if pts is not None else self._taken * NS)
        else:
            self._tick += self._period
            self._due_ns = max(now, self._tick)
        if self._due_ns is None:
            self._end(now, out)
        elif self._due_ns > to_ns(LONGEST_S):
            raise PartialError(
                f"camera frame {self._taken} is due after {LONGEST_S:g} s, the longest that a run lasts"
            )

    def _pass_over_late(self, now: int, out: Output) -> None:
        """Leave out the shots that are late by a period or more, but for the last of all.

        At most `_MOST_LATE` at a time, and no more for the time that has passed: a source that takes longer than a
        period for a picture must come to give one.
        """
        late = (now - self._tick) // self._period if self._period else 0
        for _ in range(min(late, _MOST_LATE)):
            if self._taken + 1 == self._limit:
                break
            if isinstance(self._shots, Skippable):
                name, pts_ns = self._shots.skip(), None
            else:
                shot = self._fetch(now, out)
                name, pts_ns = (None, None) if shot is None else (shot.name, shot.pts_ns)
            if name is None:
                break  # at the end, or where a camera has nothing to show
            self._leave_out(name, pts_ns, now, out)
        self._tick += max(0, late) * self._period

    def _newest_due(self, shot: Shot, now: int, out: Output) -> Shot:
        """Return the last shot whose own time has come, *shot* where that is it, leaving out those before."""
        for _ in range(_MOST_LATE):
            if self._taken + 1 == self._limit or (shot.pts_ns or 0) > now:
                break
            following = self._ahead = self._fetch(now, out)
            if following is None:
                break
            own = following.pts_ns if following.pts_ns is not None else (self._taken + 1) * NS
            if own > now:
                break
            self._leave_out(shot.name, shot.pts_ns, now, out)
            shot, self._ahead = following, None
        return shot

    def _leave_out(self, name: str, pts_ns: int | None, now: int, out: Output) -> None:
        self._taken += 1
        late = {
            "name": printable(name),
            "by": "clock",
            "reason": "its time had passed",
            "source_pts_ns": pts_ns,
        }
        out.events.append(Event("skipped", now, None, late))

    def _end(self, now: int, out: Output) -> None:
        """Send what repairs the last frames: no other follows."""
        if self._session.live:
            out.events.append(Event("exhausted", now))
        if self._blocks is not None:
            out.packets += [self._wrapper.wrap(data, now) for data in self._repairs(self._blocks.flush())]

    def _fetch(self, now: int, out: Output) -> Shot | None:
        """Return the next shot of the camera, telling of those that could not be read.

        A camera that shows what is to be seen now and has nothing to show is not asked twice in a row: it has made us
        wait, and requests of the far end may have come meanwhile. `_missed` says so.
        """
        self._missed = False
        for item in self._shots:
            if isinstance(item, Shot):
                return item
            about = {"name": printable(item.name), "reason": printable(item.reason)}
            out.events.append(Event("skipped", now, None, about))
            if self._waits:
                self._missed = True
                return None
        return None

    def _capture(self, shot: Shot, now: int, out: Output) -> None:
        self._taken += 1
        choice = None
        if self._control is not None:
            choice = self._control.next()
            if choice is None:
                reason = f"rate control sends one frame in {self._control.choice.every}"
                left_out: dict[str, Any] = {
                    "name": printable(shot.name),
                    "by": "rate_control",
                    "reason": reason,
                }
                if self._session.live:  # whoever has the run again gives the shots anew
                    left_out["source_pts_ns"] = shot.pts_ns
                out.events.append(Event("skipped", now, None, left_out))
                return
        number = self._frames
        self._frames += 1
        frame = Frame(number, now, shot.pixels, shot.name)
        about = {"name": printable(shot.name), "fitted": shot.fitted, "source_pts_ns": shot.pts_ns}
        out.events.append(Event("captured", now, number, about, png.encode(shot.pixels)))
        started = self._clock()
        try:
            payload = self._encode(frame, choice)
        except BudgetError as error:
            if self._stops:
                raise
            nothing = {"sections": [], "packets": 0, "reason": printable(str(error))}
            out.events.append(Event("encoded", now, number, nothing))
            return
        finally:
            out.timings["encode_s"] = out.timings.get("encode_s", 0.0) + self._clock() - started
        sections = [section for section in payload.sections if section is not None]
        before, packets, spare = self._packets(number, sections, now)
        if self._link.repair.arq:
            self._outboxes[number] = arq.Outbox(packets, now + self._times.deadline_ns)
        spare_packets = len(spare)
        if self._link.repair.fountain:
            self._fountain.pour(packets, spare, now, self._link, self._times)
            spare = []
        out.packets += [self._wrapper.wrap(data, now) for data in (*before, *packets, *spare)]
        sizes = [len(section) for section in sections]
        made: dict[str, Any] = {"sections": sizes, "packets": len(packets) + spare_packets}
        if choice is not None:
            made["quality"] = choice.summary()
        out.events.append(Event("encoded", now, number, made))

    def _encode(self, frame: Frame, choice: Choice | None) -> Payload:
        if self._control is None or self._adjustable is None or choice is None:
            return self._encoder.encode(frame)
        payload = self._adjustable.encode_at(frame, choice.quality)
        self._control.sent(choice, payload.size_bytes)
        return payload

    def _packets(
        self, number: int, sections: list[bytes], now: int
    ) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """Return the repair packets of a block that ends before this frame, its own packets, and what repairs it."""
        before = after = None
        try:
            bodies = fragment.fragment(sections, self._room, number)
            if self._blocks is not None:
                next_ns = None if self._paced_by_source else now + self._period
                gains = self._protection.gains(len(sections), bodies) if self._protection is not None else ()
                fill = None
                if self._link.repair.fountain:
                    fill = self._fountain.room_bytes(bodies, self._period, self._link, self._times)
                before, after = self._blocks.add(number, bodies, now, next_ns, gains, fill)
        except ValueError as error:
            raise UsageError(
                f"frame {number}: {error}; raise link.mtu_bytes or lower codec.frame_bytes"
            ) from None
        low = number % packet.FRAMES
        levels = classes(self._encoder, self._link, len(sections), bodies)
        made = [
            Packet(Kind.DATA, low, index, body, level, index == len(bodies) - 1)
            for index, (body, level) in enumerate(zip(bodies, levels, strict=True))
        ]
        return self._repairs(before), [item.pack(self._short) for item in made], self._repairs(after)

    def _repairs(self, repairs: fec.Repairs | None) -> list[bytes]:
        return [] if repairs is None else repairs.pack(class_of_repairs(self._link), self._short)

    def _feedback(self, data: bytes, now: int, out: Output) -> Fate:
        """Answer one feedback packet."""
        try:
            parsed = packet.parse(packet.unwrap(data, self._link.framing), self._short)
            request = arq.parse(parsed.body)
        except (packet.ChecksumError, packet.DamagedError):
            return Fate.BAD_CHECKSUM
        except packet.VersionError:
            return Fate.VERSION
        except ValueError:
            return Fate.MALFORMED
        if parsed.kind != Kind.FEEDBACK:
            return Fate.MALFORMED
        number = packet.frame_until(parsed.frame, self._frames - 1)
        box = self._outboxes.get(number)
        if box is None:
            return Fate.DEADLINE
        self._count_missing(number, box, request)
        if request.complete:
            del self._outboxes[number]
            self._told.discard(number)
            out.events.append(Event("acknowledged", now, number))
            return Fate.DELIVERED
        # A packet sent less than a round trip ago may have crossed the request on its way.
        indices = box.answer(request, now, not_before_ns=now - self._times.round_trip_ns + 1)
        for index in indices:
            again = packet.peek(box.packets[index])
            urgent = Packet(again.kind, again.frame, again.index, again.body, 0, again.last)
            out.packets.append(self._wrapper.wrap(urgent.pack(self._short), now))
        if indices:
            out.events.append(Event("resent", now, number, {"packets": indices}))
        return Fate.DELIVERED

    def _count_missing(self, number: int, box: arq.Outbox, request: arq.RepairRequest) -> None:
        """Tell those who choose what the first answer for a frame says of the loss; later ones are about repeats."""
        if (self._control is None and self._protection is None) or number in self._told:
            return
        self._told.add(number)
        missing = 0 if request.complete else len(box.missing(request))
        if self._protection is not None:
            self._protection.heard(len(box.packets), missing)
        if self._control is not None and not self._link.repair.fec:
            # What the erasure code mended nobody hears of: the scenario's loss is the better guess.
            self._control.heard(len(box.packets), missing)

    def _forget(self, now: int, out: Output) -> None:
        """Give up the frames that are too old to be mended in time."""
        while self._outboxes:
            number = next(iter(self._outboxes))  # the oldest, whose deadline is first
            if self._outboxes[number].deadline_ns > now:
                return
            del self._outboxes[number]
            self._told.discard(number)
            out.events.append(Event("gave_up", now, number))
