"""A session that a link tells of: the link of processes that were started here, or one that runs elsewhere."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from link.channel.rate import Trace
from link.errors import FarlinkError
from link.events import WITH_BYTES, Event
from link.messages import EndsTold
from link.tap import LinkNews
from link.watch import Watcher
from scenarios.live.news import News, Source

_STOP_S = 10.0
_READY = {"sender": "ready", "receiver": "ready"}


class Linked(Source):
    """What *watcher* hears of the session of *head*. *ended* is awaited when it is over, and says why it was cut short.

    *traces* are those at hand, by hop; *factor* is what the run begins with.
    """

    def __init__(
        self,
        head: Mapping[str, Any],
        traces: Mapping[str, Trace],
        watcher: Watcher,
        ended: Callable[[], Awaitable[str | None]],
        *,
        owns: bool,
        factor: float = 1.0,
    ) -> None:
        self.head, self.traces = head, traces
        self._watcher, self._ended, self._owns = watcher, ended, owns
        self.keeps_up = owns  # at a link elsewhere somebody else's page may do so already
        self._over = False
        self._factor = factor

    async def news(self) -> AsyncIterator[News]:
        """See `Source.news`."""
        factor, period_s = self._factor, self.head["scenario"]["camera"]["period_s"]
        yield News(0, factor, False, None)
        now_ns = 0
        ends: dict[str, str] = {}
        while True:
            try:
                heard = await self._watcher.hear()
            except FarlinkError as error:
                yield News(now_ns, factor, True, None, done=True, lost=str(error))
                return
            if isinstance(heard, EndsTold):
                yield News(0, factor, False, None, ends=(ends := heard.model_dump()))
                continue
            if not isinstance(heard, LinkNews):
                break
            ends = ends and _READY  # the run goes on: whoever was waited for is there
            now_ns, factor = heard.now_ns, heard.factor
            draw_s = _draw_s(heard.events, factor)
            yield News(
                now_ns, factor, heard.paused, heard.jumping, list(heard.events), list(heard.rows), _data(heard),
                ends=ends, draw_s=draw_s, limit_factor=period_s / draw_s if draw_s and period_s else None,
            )  # fmt: skip
        self._over = True
        lost = heard.error or await self._ended()
        yield News(now_ns, factor, True, None, done=True, lost=lost)

    async def mark(self, text: str, by: str) -> str | None:
        """See `Source.mark`."""
        return "the session is over" if self._over else await self._watcher.mark(text, by)

    async def change(self, paths: Mapping[str, Any], by: str) -> str | None:
        """See `Source.change`."""
        return "the session is over" if self._over else await self._watcher.change(paths, by)

    async def pace(self, turn: str | None, factor: float | None) -> str | None:
        """See `Source.pace`."""
        if turn == "stop" and not self._owns:
            return "who only looks on does not end the session"
        return "the session is over" if self._over else await self._watcher.pace(turn, factor)

    async def close(self) -> None:
        """End a session that was begun here, and let go of the link."""
        if self._owns and not self._over:
            self._over = True
            await self._watcher.pace("stop", None)
            try:
                await asyncio.wait_for(self._ended(), _STOP_S)
            except TimeoutError:
                pass
        self._watcher.close()


def _data(heard: LinkNews) -> dict[int, bytes]:
    born = [row[1] for row in heard.rows if row[2] in WITH_BYTES]
    return dict(zip(born, heard.data, strict=True))


def _draw_s(events: Any, factor: float) -> float | None:
    """Return how many seconds of the wall clock the newest picture of *events* took, None where there is none."""
    drawn: list[Event] = [event for event in events if event.kind == "decoded" and "drawn_ns" in event.fields]
    if not drawn:
        return None
    return float((drawn[-1].fields["drawn_ns"] - drawn[-1].time_ns) / 1e9 / factor)
