"""A journal as a session: any journal of `run`, `sweep` or live, at any pace, forwards and back.

Viewers share the recording; each who winds, pauses or steps has a replay of its own, with a clock of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from link.errors import UsageError
from link.inputs import Timing, Turn
from link.live import Pace
from scenarios.live.news import Mode, News, Source
from scenarios.live.recording import Recording
from scenarios.live.room import Room
from scenarios.live.winding import Winder

TICK_S = 0.1
_PACES = (1.0, 10.0, 60.0, 600.0, 3600.0)
_LONG_S = 180.0  # that a replay should take at most, where nobody says otherwise
_MOST_AT_ONCE = 4000  # rows, or events, that are played in one go; more are wound over


class Replay(Source):
    """The journal at *path*, or all segments of a run's folder. *clock* counts seconds from anywhere.

    Raise UsageError where there is none.
    *factor* None: such that it takes three minutes at most. *hand*, of one thread, winds.
    """

    mode: Mode = "replay"

    def __init__(
        self,
        path: Path | Recording,
        clock: Callable[[], float],
        factor: float | None = None,
        hand: Executor | None = None,
    ) -> None:
        self._owns = isinstance(path, Path)
        self.recording = Recording(path) if isinstance(path, Path) else path
        self.head = self.recording.head
        self.length_ns = self.duration_ns = self.recording.length_ns
        """Of the journal."""
        if factor is None:
            fitting = [pace for pace in _PACES if self.length_ns / 1e9 / pace <= _LONG_S]
            factor = fitting[0] if fitting else _PACES[-1]
        self._clock, self._pace = clock, Pace(clock, factor)
        self._reached = 0
        self._told: int | None = None  # run time of the last news
        self._winder: Winder | None = None
        self._hand = hand or ThreadPoolExecutor(1, "wind")  # starts no thread before it has something to do
        self._wake = asyncio.Event()
        self._closed = False

    async def furnish(self, now_ns: int, *, local: bool) -> Room:
        """See `Source.furnish`."""
        if self._winder is None:
            self._winder = Winder(self.recording, local=local)
        return await asyncio.get_running_loop().run_in_executor(self._hand, self._winder.room_at, now_ns)

    def fork(self) -> "Replay":
        """See `Source.fork`."""
        own = Replay(self.recording, self._clock, self._pace.factor, self._hand)
        own._winder = self._winder
        own._go(self._now(), pause=self._pace.paused)
        return own

    def picture(self, kind: str, frame: int) -> bytes | None:
        """See `Source.picture`: any picture of the journal, as it was drawn last."""
        return self.recording.picture(kind, frame, self._told or 0)

    async def news(self) -> AsyncIterator[News]:
        """See `Source.news`."""
        yield self._advance()
        while not self._closed:
            ended = self._told == self.length_ns
            wait = None if self._pace.paused or ended else TICK_S
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            if not self._closed:
                yield self._advance()

    def _now(self) -> int:
        return min(self.length_ns, self._pace.now_ns(self._reached))

    def _advance(self) -> News:
        """Return the news up to where the pace has got; where that is far away, that they begin anew."""
        now, before = self._now(), -1 if self._told is None else self._told
        fresh, recording = self._told is None, self.recording
        self._reached = self._told = now
        if now < before or now > recording.after(before, _MOST_AT_ONCE):
            news, fresh = News(now, 1.0, False, None), True
        else:
            news = recording.between(before, now, pictures=True)
        over = now == self.length_ns
        lost = recording.reason if over and not recording.whole else None
        return replace(
            news, factor=self._pace.factor, paused=self._pace.paused, fresh=fresh, done=over, lost=lost
        )

    async def pace(self, turn: str | None, factor: float | None) -> str | None:
        """See `Source.pace`; a step goes to the next event, or to the next picture that was drawn."""
        if turn == "stop":
            return "a replay goes on until it is closed"
        now = self._now()
        try:
            self._pace.take(Timing(Turn.RESUME if turn == "resume" else None, factor), now)
        except UsageError as error:
            return str(error)
        self._reached = now
        if turn == "pause":
            self._pace.take(Timing(Turn.PAUSE), now)
        elif turn in ("event", "picture"):
            kind = "decoded" if turn == "picture" else None
            self._go(self.recording.next_ns(now, kind), pause=turn == "event" or self._pace.paused)
        elif turn == "resume" and now == self.length_ns:
            self._go(0, pause=False)
        self._wake.set()
        return None

    async def seek(self, ns: int) -> str | None:
        """See `Source.seek`."""
        self._go(max(0, min(ns, self.length_ns)), pause=self._pace.paused)
        return None

    def _go(self, ns: int, *, pause: bool) -> None:
        self._reached = ns
        if pause:
            self._pace.take(Timing(Turn.PAUSE), ns)
        self._pace.anchor(ns)
        self._wake.set()

    async def close(self) -> None:
        """See `Source.close`."""
        self._closed = True
        self._wake.set()
        if self._owns:
            self._hand.shutdown(wait=False, cancel_futures=True)
            self.recording.close()
