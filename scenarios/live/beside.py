"""What stands beside a picture, and is made by helpers: a rival of the same bytes, and what is true of it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from scenarios.live.helper import Helper
from scenarios.live.news import News
from scenarios.live.room import Room


class Beside:
    """Has the newest frames of *room*() encoded and judged, and tells the room while it has *hold*."""

    def __init__(self, room: Callable[[], Room], hold: asyncio.Lock, clock: Callable[[], float]) -> None:
        self._room, self._hold, self._clock = room, hold, clock
        self._rival = Helper("scenarios.live.rival", self._tell_rival)
        self._referee = Helper("scenarios.live.referee", self._tell_truth, rest_share=1.0)
        self._offered: tuple[int | None, tuple[int, bool] | None] = None, None  # to the rival, to the referee

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """Return what is to be run."""
        return [self._rival.run(), self._referee.run()]

    def offer(self, news: News) -> None:
        """Give the rival the newest frame that was sent, the referee the newest that was looked at."""
        if news.fresh:
            self._offered = None, None
        room, (sent, judged) = self._room(), self._offered
        if room.encoded is not None and room.encoded[0] != sent:
            sent, size = room.encoded
            picture = room.pictures.get(f"sent-{sent}")
            if picture is not None and picture.png is not None:
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
        self._offered = sent, judged

    async def _tell_rival(self, task: dict[str, Any], made: dict[str, Any], blobs: list[bytes]) -> None:
        async with self._hold:
            if task["frame"] in self._room().frames.ring:
                about = {**made, "frame": task["frame"]}
                self._room().tell_rival(about, blobs[0] if blobs else None, self._clock())

    async def _tell_truth(self, task: dict[str, Any], made: dict[str, Any], blobs: list[bytes]) -> None:
        async with self._hold:
            frame = self._room().frames.ring.get(task["frame"])
            if frame is not None and frame.name == task["name"]:
                self._room().tell_truth(task["frame"], made, blobs, self._clock())
