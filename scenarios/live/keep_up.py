"""Keeps a receiver up with its pictures: fewer steps while drawing takes too much of a period, more again later.

    8 -> 4 -> 2 -> 1      two pictures in a row took over 80 % of a period
    1 -> 2 -> 4 -> 8      five in a row would have taken under 70 % at twice the steps, never over what somebody set

Twice the steps take twice the time at most, so what was raised is not lowered for that. Each change is one like any
other, made by "keep up": it is in the journal, and the session can be had again with it.
"""

import asyncio
from collections.abc import Awaitable, Callable

from link.codecs import SYNTAXES
from link.config import Session
from scenarios.live.news import News, Source

PATH = "keep_up"
"""Of the page's control, which is no field of the session."""
BY = "keep up"
_STEPS = "codec.steps"
_TOO_MUCH, _ROOM = 0.8, 0.35
_LOWER_AFTER, _RAISE_AFTER = 2, 5


def can_keep_up(session: Session) -> bool:
    """Return whether there is anything to be lowered: a codec that draws in steps, at a pace of its own."""
    return SYNTAXES[session.codec.name].facts.reads("steps") and session.camera.period_s is not None


class StepRule:
    """How many steps there should be, by how much of a period each picture took to draw. Pure state."""

    def __init__(self, steps: int) -> None:
        self._most = self._now = steps
        self._since_ns = 0  # pictures that were begun before are of other steps
        self._busy = self._idle = 0
        self._warm = False  # the first picture takes longer than any other

    def set(self, steps: int, at_ns: int, *, by: str) -> None:
        """The session has *steps* from run time *at_ns* on."""
        self._now, self._since_ns = steps, at_ns
        self._busy = self._idle = 0
        if by != BY:
            self._most = steps

    def take(self, begun_ns: int, share: float) -> int | None:
        """A picture that was begun at *begun_ns* took *share* of a period; return other steps where there should be."""
        if begun_ns < self._since_ns:
            return None
        if not self._warm:
            self._warm = True
            return None
        self._busy = self._busy + 1 if share > _TOO_MUCH else 0
        self._idle = self._idle + 1 if share < _ROOM else 0
        if self._busy >= _LOWER_AFTER and self._now > 1:
            return _floor_power(self._now - 1)
        if self._idle >= _RAISE_AFTER and self._now < self._most:
            return min(2 * self._now, self._most)
        return None


def _floor_power(number: int) -> int:
    return 1 << (number.bit_length() - 1)


class KeepUp:
    """Watches the news of *source* and changes its steps while it is `on`; *refused* is told where one is not taken."""

    def __init__(self, source: Source, refused: Callable[[str], Awaitable[None]]) -> None:
        self._source, self._refused = source, refused
        self._rule: StepRule | None = None
        self._steps: int | None = None  # to be asked for
        self._wake = asyncio.Event()
        self._still = True
        self.on = False

    def begin(self, session: Session, *, on: bool) -> None:
        """Watch a session from its beginning."""
        self.on = on
        self._rule = StepRule(session.codec.steps) if can_keep_up(session) else None
        self._steps, self._still = None, True

    def hear(self, news: News, session: Session) -> None:
        """Take *news*, after which the session is *session*."""
        if self._rule is None:
            return
        # A run that waits for its pictures, or stands still, says nothing of how long they take.
        still, self._still = self._still, news.paused or news.jumping is not None
        for event in news.events:
            if event.kind == "changed" and _STEPS in event.fields["paths"]:
                self._rule.set(event.fields["paths"][_STEPS][1], event.time_ns, by=event.fields["by"])
            elif event.kind == "decoded" and "drawn_ns" in event.fields and not (still or self._still):
                took_s = (event.fields["drawn_ns"] - event.time_ns) / 1e9
                steps = self._rule.take(event.time_ns, took_s / (session.camera.period_s or 1.0))
                if steps is not None and self.on:
                    self._steps = steps
                    self._wake.set()

    async def run(self) -> None:
        """Ask for the changes, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            steps, self._steps = self._steps, None
            if steps is not None and (why := await self._source.change({_STEPS: steps}, BY)):
                await self._refused(f"keep up: {steps} steps were refused: {why}")
