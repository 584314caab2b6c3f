"""What is to be seen of a session: pictures as they come, how near they are to those sent, what was found in them.

Of a replay no picture is kept for long: what a viewer is shown is read from the journal when it is wanted.
"""

from collections import deque
from typing import TYPE_CHECKING

from link.events import Event
from scenarios.live import frames as framing
from scenarios.live.curves import Curves
from scenarios.live.frames import Frames
from scenarios.live.pictures import PictureRing, ShownPicture, psnr, shown_depth
from scenarios.words import plain

if TYPE_CHECKING:
    from scenarios.live.recording import Recording

LENT_BYTES = 1_500_000
"""Of pictures that a room of a replay holds at once."""
_MADE = ("sent", "received")


def drawn_ns(event: Event) -> int:
    """Return when a picture was there to be seen."""
    return int(event.fields.get("drawn_ns", event.time_ns))


class Gallery:
    """The pictures of *frames*. *library* has them all, where the session is a replay; *local* as for `Room`."""

    def __init__(self, frames: Frames, curves: Curves, library: "Recording | None", *, local: bool) -> None:
        self._frames, self._curves, self._library = frames, curves, library
        self.pictures = (
            PictureRing(local=local) if library is None else LentPictures(library, frames, local=local)
        )
        self.new: deque[tuple[int, str]] = deque(maxlen=3 * framing.KEPT)
        """(version of the room, id of a picture), in the order in which they came."""

    @property
    def until_ns(self) -> int:
        """The run's time, after which nothing of a replay is shown."""
        return self.pictures.until_ns

    @until_ns.setter
    def until_ns(self, now_ns: int) -> None:
        self.pictures.until_ns = now_ns

    def hang(self, kind: str, frame: int, data: bytes, version: int, wall_s: float) -> None:
        """Show a PNG that was drawn, beside what was sent and received."""
        picture = self.pictures.add(kind, frame, data, wall_s, always=True)
        self.new.append((version, picture.name))

    def look(self, event: Event, at_ns: int, version: int, wall_s: float, *, past: bool = False) -> None:
        """See what there is to be seen beside *event*, which counts from *at_ns*.

        *past*: it happened long ago, when its frame was still kept.
        """
        kind = event.kind
        if kind == "captured":
            self._show("sent", event, at_ns, version, wall_s)
        elif kind == "encoded":
            self._draw_tiles(int(event.frame or 0), version, wall_s)
        elif kind == "decoded":
            self._compare(event, at_ns, version, past=past)
            self._show("received", event, at_ns, version, wall_s)
        elif kind in ("found", "not_found"):
            self._frames.find(event)
            if kind == "found" and event.picture is not None:
                self._overlay(event, event.picture, version, wall_s)

    def _lent(self, name: str, version: int) -> None:
        """There is a picture *name*, or another than before."""
        self.pictures.forget(name)
        self.new.append((version, name))

    def _show(self, kind: str, event: Event, at_ns: int, version: int, wall_s: float) -> None:
        number = event.frame
        if number is None or number not in self._frames.ring:
            return
        if self._library is not None:
            if self._library.has(kind, number, at_ns):
                self._lent(f"{kind}-{number}", version)
        elif event.picture is not None:
            self.new.append((version, self.pictures.add(kind, number, event.picture, wall_s).name))

    def _compare(self, event: Event, at_ns: int, version: int, *, past: bool) -> None:
        """Set the picture that was drawn against the one that was sent."""
        number, library = int(event.frame or 0), self._library
        frame = self._frames.ring.get(number)
        if frame is None and not past:
            return
        if library is not None:
            if not (library.has("sent", number, at_ns) and library.has("received", number, at_ns)):
                return
            value = library.psnr(number, at_ns)
        else:
            sent = self.pictures.get(f"sent-{number}")
            if event.picture is None or sent is None or sent.png is None:
                return
            value = psnr(sent.png, event.picture)
        if frame is not None:
            frame.scores["psnr_db"] = value
        self._curves.add("psnr", version, drawn_ns(event), value)

    def _draw_tiles(self, number: int, version: int, wall_s: float) -> None:
        frame = self._frames.ring.get(number)
        if frame is None or frame.held is None or not frame.held.maps:
            return
        if self._library is not None:
            self._lent(f"tiles-{number}", version)
        else:
            self.hang("tiles", number, framing.atlas(frame.held), version, wall_s)

    def _overlay(self, event: Event, data: bytes, version: int, wall_s: float) -> None:
        kind = str(plain(str(event.fields.get("task", ""))))[:40]
        if self._library is not None:
            self._lent(f"{kind}-{event.frame}", version)
            return
        if "scale" in event.fields:
            try:
                data = shown_depth(data, metric=bool(event.fields.get("metric")))
            except Exception:  # Pillow's reader raises a dozen types for damaged files
                return
        self.hang(kind, int(event.frame or 0), data, version, wall_s)


class LentPictures(PictureRing):
    """The pictures of a replay's room: what it does not hold it reads from the journal.

    What a frame was made of is drawn again out of its packets.
    """

    def __init__(self, library: "Recording", frames: Frames, *, local: bool) -> None:
        super().__init__(local=local, most_bytes=LENT_BYTES)
        self._library, self._frames = library, frames

    def get(self, name: str) -> ShownPicture | None:
        """Return the picture *name*; None where there is none, or not yet."""
        if (held := super().get(name)) is not None:
            return held
        kind, _, number = name.rpartition("-")
        if not (number.isascii() and number.isdigit() and len(number) < 10):
            return None
        frame = int(number)
        if kind == "tiles":
            data = self._frames.tiles(frame)
        else:
            data = self._library.picture(kind, frame, self.until_ns)
        return (
            None
            if data is None
            else self.add(kind, frame, data, 0.0, always=self._local or kind not in _MADE)
        )

    def _shrink(self, newest: ShownPicture) -> None:
        """Let go of whole pictures: they can be had again as they were."""
        while self._bytes > self._most and len(self._held) > 1:
            _, gone = self._held.popitem(last=False)
            self._bytes -= gone.size_bytes
