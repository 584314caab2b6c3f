"""What stands beside a picture, and is made by helpers: a rival of the same bytes, and what is true of it."""

from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from typing import Any
from weakref import WeakKeyDictionary

from scenarios.live.helper import Helper
from scenarios.live.news import News
from scenarios.live.showing import Showing

_KEPT = 64
"""Answers that are kept, for viewers of a replay who come to the same frame."""
_Offered = tuple[int | None, tuple[int, bool] | None]


class Beside:
    """Has the newest frames of *showings*() encoded and judged, and tells their rooms, which it holds meanwhile."""

    def __init__(self, showings: Callable[[], Iterable[Showing]], clock: Callable[[], float]) -> None:
        self._showings, self._clock = showings, clock
        self._rival = Helper("scenarios.live.rival", self._tell_rival)
        self._referee = Helper("scenarios.live.referee", self._tell_truth, rest_share=1.0)
        # To the rival, to the referee.
        self._offered: WeakKeyDictionary[Showing, _Offered] = WeakKeyDictionary()
        self._rivals: OrderedDict[int, tuple[dict[str, Any], bytes | None]] = OrderedDict()

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """Return what is to be run."""
        return [self._rival.run(), self._referee.run()]

    def offer(self, showing: Showing, news: News, *, changed: bool) -> None:
        """Give the rival the newest frame that was sent, the referee the newest that was looked at.

        *changed*: it is another session than before.
        """
        if changed:
            self._rivals.clear()
        room = showing.room
        sent, judged = (None, None) if news.fresh else self._offered.get(showing, (None, None))
        if room.encoded is not None and room.encoded[0] != sent:
            sent, size = room.encoded
            if sent in self._rivals:
                about, made = self._rivals[sent]
                room.tell_rival(about, made, self._clock())
            elif (picture := room.pictures.get(f"sent-{sent}")) is not None and picture.png is not None:
                about = {"frame": sent, "budget_bytes": size, "codec": room.session.codec.name}
                self._rival.offer(about, [picture.png])
        looked = room.frames.looked
        if looked is not None and looked.records and (looked.number, looked.refined) != judged:
            judged = looked.number, looked.refined
            found = {task: dict(fields) for task, (fields, _) in looked.records.items()}
            maps = [data for _, data in looked.records.values() if data is not None]
            camera = room.first.camera.model_dump(mode="json")
            about = {"frame": looked.number, "camera": camera, "seed": room.first.seed, "name": looked.name}
            self._referee.offer({**about, "found": found}, maps)
        self._offered[showing] = sent, judged

    async def _tell_rival(self, task: dict[str, Any], made: dict[str, Any], blobs: list[bytes]) -> None:
        about, picture = {**made, "frame": task["frame"]}, blobs[0] if blobs else None
        for showing in self._showings():
            async with showing.hold:
                if showing.room.encoded is None or task["frame"] not in showing.room.frames.ring:
                    continue
                showing.room.tell_rival(about, picture, self._clock())
                if showing.source.mode == "replay":
                    self._rivals[task["frame"]] = about, picture
        while len(self._rivals) > _KEPT:
            self._rivals.popitem(last=False)

    async def _tell_truth(self, task: dict[str, Any], made: dict[str, Any], blobs: list[bytes]) -> None:
        for showing in self._showings():
            async with showing.hold:
                frame = showing.room.frames.ring.get(task["frame"])
                if frame is not None and frame.name == task["name"]:
                    showing.room.tell_truth(task["frame"], made, blobs, self._clock())
