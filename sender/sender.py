"""The sender's core: time and feedback in, packets and events out. No sockets, no clock of its own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from typing import Protocol

from link import fragment, packet, png
from link.channel import NS, to_ns
from link.config import Session
from link.errors import UsageError
from link.events import Event, Fate, Output
from link.fingerprint import short
from link.frame import Frame, Payload
from link.packet import Kind, Packet
from link.repair import arq, fec
from link.timing import Times, body_bytes
from sender.camera.picture import Shot, Skipped


class Encoder(Protocol):
    """See `sender.codecs.Encoder`."""

    def encode(self, frame: Frame) -> Payload:
        """Return the frame's sections."""


@dataclass(frozen=True)
class _Due:
    shot: Shot
    at_ns: int


class Sender:
    """Captures a frame when it is due, encodes it, cuts it into packets, and answers requests.

    *clock* measures encoding for `timings.json`; it decides nothing.
    """

    def __init__(
        self,
        session: Session,
        times: Times,
        shots: Iterator[Shot | Skipped],
        encoder: Encoder,
        fingerprint: str,
        clock: Callable[[], float],
    ) -> None:
        self._link = session.link
        self._times = times
        self._shots = shots
        self._encoder = encoder
        self._short = short(fingerprint)
        self._clock = clock
        camera = session.camera
        self._period = to_ns(camera.period_s) if camera.period_s is not None else None
        self._room = body_bytes(session.link)
        self._frames = 0
        self._sequence = 0
        self._outboxes: dict[int, arq.Outbox] = {}
        self._skipped: list[Skipped] = []
        self._due: _Due | None = None
        self._started = False

    def step(self, now: int, arrivals: list[tuple[int, bytes]]) -> Output:
        """Do what is due at *now* and answer the feedback in *arrivals* (packet number, bytes).

        Raise UsageError where the codec cannot meet its budget at all.
        """
        out = Output()
        if not self._started:
            self._started = True
            self._fetch(now)
        for number, data in arrivals:
            out.verdicts.append((number, self._feedback(data, now, out)))
        while self._due is not None and self._due.at_ns <= now:
            self._capture(self._due, now, out)
            self._fetch(now)
        self._report_skipped(now, out)
        self._forget(now, out)
        waits = [box.deadline_ns for box in self._outboxes.values()]
        if self._due is not None:
            waits.append(self._due.at_ns)
        out.next_ns = min(waits, default=None)
        return out

    def _fetch(self, now: int) -> None:
        """Get the next shot from the camera and say when it is due."""
        self._due = None
        for item in self._shots:
            if isinstance(item, Skipped):
                self._skipped.append(item)
                continue
            if self._period is not None:
                at = self._frames * self._period
            elif item.pts_ns is not None:
                at = item.pts_ns
            else:
                at = self._frames * NS
            self._due = _Due(item, max(at, now))
            return

    def _report_skipped(self, now: int, out: Output) -> None:
        for item in self._skipped:
            out.events.append(Event("skipped", now, None, {"name": item.name, "reason": item.reason}))
        self._skipped.clear()

    def _capture(self, due: _Due, now: int, out: Output) -> None:
        number = self._frames
        self._frames += 1
        shot = due.shot
        frame = Frame(number, now, shot.pixels, shot.name)
        about = {"name": shot.name, "fitted": shot.fitted, "source_pts_ns": shot.pts_ns}
        out.events.append(Event("captured", now, number, about, png.encode(shot.pixels)))
        started = self._clock()
        payload = self._encoder.encode(frame)
        out.timings["encode_s"] = out.timings.get("encode_s", 0.0) + self._clock() - started
        sections = [section for section in payload.sections if section is not None]
        packets, data_count = self._packets(number, sections)
        box = arq.Outbox(packets, data_count, now + self._times.deadline_ns)
        if self._link.repair.arq:
            self._outboxes[number] = box
        out.packets += [self._wrap(data) for data in packets]
        sizes = {"sections": [len(section) for section in sections], "packets": len(packets)}
        out.events.append(Event("encoded", now, number, sizes))

    def _packets(self, number: int, sections: list[bytes]) -> tuple[list[bytes], int]:
        repair = self._link.repair
        try:
            bodies = fragment.fragment(sections, self._room)
            spare = fec.encode(bodies, ceil(len(bodies) * repair.fec)) if repair.fec else []
        except ValueError as error:
            raise UsageError(
                f"frame {number}: {error}; raise link.mtu_bytes or lower codec.frame_bytes"
            ) from None
        low = number % packet.FRAMES
        made = []
        for index, body in enumerate(bodies):
            urgent = 1 if 3 * index < len(bodies) else 2
            level = urgent if repair.priorities else 0
            made.append(Packet(Kind.DATA, low, index, body, level, index == len(bodies) - 1))
        for index, body in enumerate(spare, len(bodies)):
            made.append(Packet(Kind.FEC, low, index, body, 3 if repair.priorities else 0))
        return [item.pack(self._short) for item in made], len(bodies)

    def _wrap(self, data: bytes) -> bytes:
        self._sequence += 1
        return packet.wrap(data, self._link.framing, self._sequence - 1, feedback=False)

    def _feedback(self, data: bytes, now: int, out: Output) -> Fate:
        """Answer one feedback packet."""
        try:
            found = packet.parse(packet.unwrap(data, self._link.framing), self._short)
            request = arq.parse(found.body)
        except packet.ChecksumError:
            return Fate.BAD_CHECKSUM
        except packet.VersionError:
            return Fate.VERSION
        except ValueError:
            return Fate.MALFORMED
        if found.kind != Kind.FEEDBACK:
            return Fate.MALFORMED
        number = packet.unwrapped_frame(found.frame, max(0, self._frames - 1))
        box = self._outboxes.get(number)
        if box is None:
            return Fate.DEADLINE
        if request.complete:
            del self._outboxes[number]
            out.events.append(Event("acknowledged", now, number))
            return Fate.DELIVERED
        # A packet sent less than a round trip ago may have crossed the request on its way.
        indices = box.answer(request, now, not_before_ns=now - self._times.round_trip_ns + 1)
        for index in indices:
            again = packet.peek(box.packets[index])
            urgent = Packet(again.kind, again.frame, again.index, again.body, 0, again.last)
            out.packets.append(self._wrap(urgent.pack(self._short)))
        if indices:
            out.events.append(Event("resent", now, number, {"packets": indices}))
        return Fate.DELIVERED

    def _forget(self, now: int, out: Output) -> None:
        """Give up the frames that are too old to be mended in time."""
        for number in [number for number, box in self._outboxes.items() if box.deadline_ns <= now]:
            del self._outboxes[number]
            out.events.append(Event("gave_up", now, number))
