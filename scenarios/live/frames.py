"""What becomes of each frame of a session, and what it was made of: the newest 300 whole, of others their status."""

import contextlib
import io
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from link import fragment, packet, png
from link.annotations import least_shown
from link.events import Event
from scenarios.live.boxes import choose_drawn
from scenarios.live.crossing import Account, Passing, known_uses
from scenarios.report.sections import COLUMNS, TILE, Held, SectionReader, tile
from scenarios.words import plain

KEPT = 300
"""Frames that are kept whole."""
_MOST_BODIES_BYTES = 4_000_000
_DRAWN = np.zeros((0, 0), np.int32)
FINAL = ("complete", "partial", "lost", "superseded")


@dataclass(slots=True)
class FrameView:
    """A frame of the ring."""

    number: int
    name: str
    captured_ns: int
    version: int = 0
    """When anything about it was last changed."""
    status: str = "captured"
    closed_ns: int | None = None
    drawn_ns: int | None = None
    """When a picture of it was first there to be seen."""
    complete: bool = False
    refined: bool = False
    had: list[bool] | None = None
    """Which sections the receiver had."""
    reason: str = ""
    """Why nothing was sent."""
    bodies: dict[int, bytes] = field(default_factory=dict)
    """Of its data packets, by index, until its sections are read for good."""
    packets: dict[int, int] = field(default_factory=dict)
    """Numbers of these packets, where their bytes can be had again."""
    held: Held | None = None
    scores: dict[str, float | None] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)
    records: dict[str, tuple[Mapping[str, Any], bytes | None]] = field(default_factory=dict)
    """What `found` was read from, by task, for who compares it with the truth; of the newest frame alone."""
    true_boxes: list[Any] | None = None
    """Those of the truth, as `found` has them."""

    def as_json(self, account: Account | None) -> dict[str, Any]:
        """Return the frame as pages take it; *account* is what its packets came to."""
        uses = known_uses({} if account is None else account.uses)
        held = self.held
        judged = self.had is not None
        channels = None
        if held is not None and held.maps:
            channels = [
                {"channel": int(number), "bytes": size, "arrived": number in held.arrived if judged else None}
                for number, size in zip(held.maps, held.lengths, strict=True)
            ]
        caption = None if held is None else held.caption
        return {
            "frame": self.number,
            "name": plain(self.name),
            "captured_ns": self.captured_ns,
            "status": "refined" if self.refined and self.complete else self.status,
            "closed_ns": self.closed_ns,
            "drawn_ns": self.drawn_ns,
            "sections": self.had,
            "bytes": uses,
            "on_air": 0 if account is None else account.on_air,
            "caption": None if caption is None else plain(caption),
            "caption_arrived": held.caption_arrived
            if held is not None and caption is not None and judged
            else None,
            "channels": channels,
            "scores": dict(self.scores),
            "found": dict(self.found),
            "true_boxes": self.true_boxes,
            **({"reason": plain(self.reason)} if self.reason else {}),
        }


class Frames:
    """The frames of a session. *reader* None: the codec's sections cannot be shown.

    *packet_of* gives the bytes of a packet again, where they are at hand.
    """

    def __init__(
        self,
        framing: str,
        reader: SectionReader | None,
        packet_of: Callable[[int], bytes | None] | None = None,
    ) -> None:
        self._framing, self.reader, self._packet_of = framing, reader, packet_of
        self.reads = True
        """Whether sections are read as they come; else all at once by `read_all`."""
        self.ring: OrderedDict[int, FrameView] = OrderedDict()
        self._statuses: OrderedDict[int, str] = OrderedDict()
        self.counts: Counter[str] = Counter()
        """Frames by status, of the whole session."""
        self.sent = 0
        """Frames that were encoded."""
        self.looked: FrameView | None = None
        """The frame that models looked at last."""
        self._bodies = 0

    def capture(self, event: Event) -> FrameView:
        """A frame was captured."""
        number = int(event.frame or 0)
        frame = FrameView(number, str(event.fields.get("name", "")), event.time_ns)
        self.ring[number] = frame
        self._set(number, "captured")
        while len(self.ring) > KEPT:
            _, old = self.ring.popitem(last=False)
            self._drop_bodies(old)
        return frame

    def _set(self, number: int, status: str) -> None:
        before = self._statuses.get(number)
        if before is not None:
            self.counts[before] -= 1
        self._statuses[number] = status
        self.counts[status] += 1
        if (frame := self.ring.get(number)) is not None:
            frame.status = status
        while len(self._statuses) > packet.FRAMES:
            self._statuses.popitem(last=False)

    def status(self, number: int) -> str:
        """Return what became of frame *number*, empty where that is not known."""
        return self._statuses.get(number, "")

    def encode(self, event: Event) -> FrameView | None:
        """A frame was encoded: all its data packets are on record."""
        self.sent += 1
        frame = self.ring.get(int(event.frame or 0))
        if not event.fields.get("sections"):
            self._set(int(event.frame or 0), "lost")
            if frame is not None:
                frame.reason = str(event.fields.get("reason", ""))
            return frame
        self._set(int(event.frame or 0), "sent")
        if frame is not None:
            self._read(frame)
        return frame

    def keep_body(self, passing: Passing, data: bytes) -> None:
        """A data packet was sent; its body is kept until the frame's sections are read for good."""
        frame = self.ring.get(passing.frame if passing.frame is not None else -1)
        if (
            frame is None
            or self.reader is None
            or frame.closed_ns is not None
            or passing.index in frame.bodies
        ):
            return
        if self._packet_of is not None:
            frame.packets.setdefault(passing.index, passing.number)
        if self.reads:
            self._keep(frame, passing.index, data)

    def _keep(self, frame: FrameView, index: int, data: bytes) -> None:
        body = self._body(data)
        frame.bodies[index] = body
        self._bodies += len(body)
        while self._bodies > _MOST_BODIES_BYTES:
            oldest = next((one for one in self.ring.values() if one.bodies), None)
            if oldest is None or oldest is frame:
                return
            self._drop_bodies(oldest)

    def _body(self, data: bytes) -> bytes:
        return packet.unwrap(data, self._framing)[packet.HEADER_BYTES :]

    def _drop_bodies(self, frame: FrameView) -> None:
        self._bodies -= sum(map(len, frame.bodies.values()))
        frame.bodies = {}

    def _read(self, frame: FrameView) -> None:
        """Read the sections of *frame*, as they were sent, with what is known of their arrival."""
        if self.reader is None or not frame.bodies:
            return
        payload = fragment.reassemble(frame.bodies, len(frame.bodies))
        try:
            frame.held = self.reader.read(payload, frame.had or ())
        except ValueError:
            frame.held = None  # packets of another codec

    def read_all(self) -> None:
        """Read the sections of all frames that are kept, as they have come by now."""
        self.reads = True
        for frame in self.ring.values():
            for index, data in self._bytes_of(frame):
                self._keep(frame, index, data)
            self._read(frame)
            if frame.closed_ns is not None:
                self._forget(frame)

    def _bytes_of(self, frame: FrameView) -> list[tuple[int, bytes]]:
        packet_of = self._packet_of
        if packet_of is None:
            return []
        had = ((index, packet_of(number)) for index, number in frame.packets.items())
        return [(index, data) for index, data in had if data is not None]

    def tiles(self, number: int) -> bytes | None:
        """Return the `atlas` of frame *number* out of its packets, where their bytes can be had again."""
        frame = self.ring.get(number)
        sent = [] if frame is None else self._bytes_of(frame)
        if not sent or self.reader is None:
            return None
        try:
            bodies = {index: self._body(data) for index, data in sent}
            held = self.reader.read(fragment.reassemble(bodies, len(bodies)), ())
        except ValueError:
            return None
        return atlas(held) if held.maps else None

    def arrive(self, number: int) -> FrameView | None:
        """A packet of a frame was delivered."""
        if self.status(number) == "sent":
            self._set(number, "arriving")
            return self.ring.get(number)
        return None

    def lose(self, number: int) -> FrameView | None:
        """Nothing of a frame can come any more."""
        if self.status(number) in ("sent", "arriving"):
            self._set(number, "lost")
            return self.ring.get(number)
        return None

    def close(self, event: Event, *, drawn: bool) -> FrameView | None:
        """The receiver waits for nothing more of a frame; *drawn*: a picture of it was, or is, shown."""
        number = int(event.frame or 0)
        complete = bool(event.fields.get("complete"))
        if self.status(number) in ("complete", "partial"):
            self._set(number, "complete" if complete else "partial")
        elif not drawn:
            self._set(number, "lost")
        frame = self.ring.get(number)
        if frame is None:
            return None
        frame.closed_ns, frame.complete = event.time_ns, complete
        frame.had = [bool(one) for one in event.fields.get("sections", ())]
        self._read(frame)
        self._forget(frame)
        return frame

    def _forget(self, frame: FrameView) -> None:
        """Let go of a closed frame's maps: its tiles were drawn, and numbers are all that is still asked for."""
        if frame.held is not None:
            frame.held = replace(frame.held, maps=dict.fromkeys(frame.held.maps, _DRAWN))
        self._drop_bodies(frame)

    def draw(self, event: Event, at_ns: int) -> tuple[FrameView | None, bool]:
        """A picture was drawn at *at_ns*; return its frame, and whether it is the frame's first."""
        number = int(event.frame or 0)
        first = self.status(number) not in ("complete", "partial")
        frame = self.ring.get(number)
        complete = frame is not None and frame.closed_ns is not None and frame.complete
        if frame is None:
            complete = bool(event.fields.get("complete"))
        self._set(number, "complete" if complete else "partial")
        if frame is None:
            return None, first
        frame.refined = frame.refined or bool(event.fields.get("refines"))
        if frame.drawn_ns is None:
            frame.drawn_ns = at_ns
        if "sections" in event.fields and frame.closed_ns is None:
            frame.had = [bool(one) for one in event.fields["sections"]]
            self._read(frame)
        return frame, first

    def supersede(self, number: int) -> FrameView | None:
        """A newer frame was drawn in its place."""
        if self.status(number) not in ("complete", "partial"):
            self._set(number, "superseded")
        return self.ring.get(number)

    def finish(self) -> list[FrameView]:
        """The session is over: what was not drawn will not be. Return the frames that are lost by that."""
        lost = [number for number, status in self._statuses.items() if status in ("sent", "arriving")]
        return [frame for number in lost if (frame := self.lose(number)) is not None]

    def find(self, event: Event) -> FrameView | None:
        """A model looked at a picture."""
        frame = self.ring.get(int(event.frame if event.frame is not None else -1))
        if frame is None:
            return None
        task = str(event.fields.get("task", ""))[:40]
        if event.kind == "found":
            frame.found[task] = seen(event.fields, event.picture)
            if self.looked is not None and self.looked is not frame:
                self.looked.records = {}
            self.looked = frame
            frame.records[task] = event.fields, event.picture
        else:
            frame.found.pop(task, None)
        return frame


def seen(fields: Mapping[str, Any], picture: bytes | None) -> dict[str, Any]:
    """Return what a `found` event says, for a page: the model, what it found, boxes that are drawn, how many are not.

    *picture* is the PNG of a map of classes, which are named in the order of their areas.
    """
    names = [str(plain(str(name))) for name in fields.get("names", ())]
    boxes, left_out = None, 0
    words: list[str] = []
    if "boxes" in fields:
        found = zip(fields["boxes"], fields["kinds"], fields["scores"], strict=True)
        boxes = choose_drawn(
            [[*box, names[kind], score] for box, kind, score in found if score >= least_shown(fields)]
        )
        left_out = len(fields["boxes"]) - len(boxes)
        words = list(dict.fromkeys(box[4] for box in boxes))
    elif names and picture is not None:
        with (
            contextlib.suppress(OSError, ValueError),
            Image.open(io.BytesIO(picture), formats=["PNG"]) as labels,
        ):
            areas = labels.histogram()[: len(names)]
            words = [names[at] for at in sorted(range(len(areas)), key=lambda at: -areas[at]) if areas[at]]
    return {
        "model": plain(str(fields.get("model", ""))),
        "words": words or None,
        "boxes": boxes,
        "left_out": left_out,
    }


def atlas(held: Held) -> bytes:
    """Return a PNG of the channels that were sent, each at the top of its square cell, `COLUMNS` in a row."""
    side = max(TILE)
    rows = max(held.maps) // COLUMNS + 1
    sheet = Image.new("RGBA", (COLUMNS * side, rows * side), (0, 0, 0, 0))
    for channel, values in held.maps.items():
        sheet.paste(tile(values), (channel % COLUMNS * side, channel // COLUMNS * side))
    return png.encode(np.asarray(sheet))
