"""One source as some viewers see it: its news are taken by a room, and what is new in the room is given to them.

A live session has one showing, for all. A replay has one for those who only look on, and one for each viewer who has
wound, paused or stepped: that one's clock is its own.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

from scenarios.live import messages
from scenarios.live.feed import BEAT_S, SILENT_S, Feed, Viewer
from scenarios.live.keep_up import can_keep_up
from scenarios.live.news import News, Source
from scenarios.live.room import Room

MOST_OWN = 16
"""Viewers of a replay who have a showing of their own, each of up to 6 MB; others look on at the one for all."""


class Showing:
    """Shows *source*. *hand* does what takes longer than a moment; *clock* counts seconds from anywhere.

    *described* is what states say besides; *heard* is told of news, with the room held.
    """

    def __init__(
        self,
        source: Source,
        hand: Executor,
        clock: Callable[[], float],
        described: Mapping[str, Any],
        heard: Callable[["Showing", News, bool], None],
        *,
        local: bool,
    ) -> None:
        self.source, self._hand, self._now, self._local = source, hand, clock, local
        self._described, self._heard = described, heard
        self.room = self._furnish(0)
        self.hold = asyncio.Lock()
        """The room's."""
        self.viewers: set[Viewer] = set()
        self.coming: set[Viewer] = set()
        """Who joins the viewers with the next news."""
        self.sought = False
        """With the next news the session has been wound, and viewers need the state."""
        self.failure: BaseException | None = None
        self._began_s = clock()
        self._feed = Feed(self.state, source.picture)
        self._tasks: list[asyncio.Task[None]] = []

    def _furnish(self, version: int) -> Room:
        """Return a room for the source's session."""
        room = Room(self.source.head, self.source.traces, local=self._local, version=version)
        if self.source.keeps_up is not None and can_keep_up(room.first):
            room.set_keeps_up(self.source.keeps_up)
        return room

    def state(self, may_steer: bool) -> tuple[dict[str, Any], list[bytes]]:
        """Return everything that a viewer is told, and the blobs beside it."""
        body, blobs = messages.state(
            self.room,
            mode=self.source.mode,
            duration_ns=self.source.duration_ns,
            may_steer=may_steer,
            wall_s=self._now() - self._began_s,
        )
        return {**body, **self._described}, blobs

    async def follow(self) -> None:
        """Take the source's news until there are no more."""
        try:
            async for news in self.source.news():
                async with self.hold:
                    await self._take(news)
        except Exception as error:
            self.failure = error
            async with self.hold:
                self.room.lose(str(error) or type(error).__name__)

    async def _take(self, news: News) -> None:
        changed = news.fresh and self.source.head is not self.room.head
        if changed:
            self.room = self._furnish(self.room.version + 1)
        wound = await self.source.furnish(news.now_ns, local=self._local) if news.fresh else None
        if wound is not None:
            self.room = wound
            wound.resume(news)
        elif news.events or news.rows:
            await asyncio.get_running_loop().run_in_executor(self._hand, self.room.take, news, self._now())
        else:
            self.room.take(news, self._now())
        self._heard(self, news, changed)
        if self.sought:
            self.sought = False
            self.coming |= self.viewers
        for viewer in self.coming:
            viewer.version = None
        self.viewers |= self.coming
        self.coming.clear()

    async def run(self) -> None:
        """Go on for ever: ten times a second give viewers what is new, and let go of those who are silent."""
        while True:
            await asyncio.sleep(BEAT_S)
            if self.viewers:
                await self._beat()

    async def _beat(self) -> None:
        async with self.hold:
            now = self._now()
            self._feed.beat(self.room, self.viewers, now - self._began_s, now)
        for viewer in list(self.viewers):
            if viewer.unacknowledged and now - viewer.heard_s > SILENT_S:
                self.leave(viewer)
                viewer.abort()

    def leave(self, viewer: Viewer) -> None:
        """*viewer* looks on here no more."""
        self.viewers.discard(viewer)
        self.coming.discard(viewer)

    @property
    def is_watched(self) -> bool:
        """Whether anybody looks on."""
        return bool(self.viewers or self.coming)

    def start(self) -> None:
        """Follow the source and give viewers what is new, until it is closed."""
        self._tasks += [asyncio.create_task(work) for work in (self.follow(), self.run())]

    async def close(self) -> None:
        """Let go of the source, and end what was started."""
        await self.source.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
