"""From the sections of a frame to the events that show it: decoded, and looked at by the analysis models."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from link import png
from link.config import Session
from link.events import Event, Output
from link.frame import Payload, Pixels
from receiver.decoder import Decoder, Onlooker, PictureLostError, SectionOnlooker, SteeredPart


@dataclass(frozen=True)
class Wish:
    """A picture that is to be drawn."""

    frame: int
    payload: Payload
    about: dict[str, Any]
    """What its event says."""
    shown: Callable[[], None]
    """Called where there is a picture."""


class Drawer:
    """Draws pictures as soon as they are wished for; in a *live* session only the newest of those of a step.

    *clock* measures decoding and analysis for `timings.json`; it decides nothing.
    """

    def __init__(
        self,
        decoder: Decoder,
        analyst: Onlooker | SectionOnlooker | None,
        clock: Callable[[], float],
        *,
        live: bool,
    ) -> None:
        self._decoder, self._analyst, self._clock = decoder, analyst, clock
        self._wishes: list[Wish] | None = [] if live else None

    def adjust(self, session: Session) -> None:
        """Go on as *session* says with the next picture."""
        for part in (self._decoder, self._analyst):
            if isinstance(part, SteeredPart):
                part.adjust(session)

    def show(self, wish: Wish, now: int, out: Output) -> None:
        """Draw a picture, or remember that one is wanted where others of this step may be newer."""
        if self._wishes is None:
            self._draw(wish, now, out)
        else:
            self._wishes.append(wish)

    def end_step(self, now: int, out: Output) -> None:
        """Draw the newest of the pictures that are remembered, and say that it supersedes the others."""
        if not self._wishes:
            return
        newest_frame = max(wish.frame for wish in self._wishes)
        newest = [wish for wish in self._wishes if wish.frame == newest_frame][-1]
        for wish in self._wishes:
            if wish is not newest:
                out.events.append(Event("superseded", now, wish.frame, {"by": newest.frame}))
        self._wishes.clear()
        self._draw(newest, now, out)

    def _draw(self, wish: Wish, now: int, out: Output) -> None:
        started = self._clock()
        try:
            pixels = self._decoder.decode(wish.payload)
        except PictureLostError as error:
            lost = {"by": "decoder", "reason": f"frame {wish.frame} is not shown: {error}"}
            out.events.append(Event("warned", now, wish.frame, lost))
            pixels = None
        out.timings["decode_s"] = out.timings.get("decode_s", 0.0) + self._clock() - started
        if pixels is None:
            return
        wish.shown()
        out.events.append(Event("decoded", now, wish.frame, wish.about, png.encode(pixels)))
        self._analyse(wish, pixels, now, out)

    def _analyse(self, wish: Wish, pixels: Pixels, now: int, out: Output) -> None:
        if self._analyst is None:
            return
        started = self._clock()
        analyst = self._analyst
        seen = analyst.find(wish.payload) if isinstance(analyst, SectionOnlooker) else analyst.look(pixels)
        for kind, fields, picture in seen:
            out.events.append(Event(kind, now, wish.frame, fields, picture))
        out.timings["analyse_s"] = out.timings.get("analyse_s", 0.0) + self._clock() - started
