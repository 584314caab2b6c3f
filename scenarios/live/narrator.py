"""Tells a session's story as its time comes, and ends the session with it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from scenarios.live.news import Source
from scenarios.live.stories import Story, Teller

_LOOK_S = 0.25  # between two looks at whether the next step is due


class Narrator:
    """Hands the changes of a story to *source*, and its cards to *tell*; *now_ns* gives the run's time.

    *refused* is told where a change is not taken.
    """

    def __init__(
        self,
        source: Source,
        now_ns: Callable[[], int],
        tell: Callable[[dict[str, Any]], Awaitable[None]],
        refused: Callable[[str], Awaitable[None]],
    ) -> None:
        self._source, self._now_ns, self._tell, self._refused = source, now_ns, tell, refused
        self._teller: Teller | None = None

    def begin(self, story: Story | None) -> None:
        """Tell *story* from its beginning; None: nothing."""
        self._teller = None if story is None else Teller(story)

    async def run(self) -> None:
        """Go on for ever."""
        while True:
            await asyncio.sleep(_LOOK_S)
            teller, now_ns = self._teller, self._now_ns()
            if teller is None:
                continue
            for step in teller.take_due(now_ns):
                if step.change and (why := await self._source.change(step.change, "story")):
                    await self._refused(f"the story's change at {step.at_s:g} s was refused: {why}")
            await self._tell(teller.tell(now_ns))
            if teller.take_end(now_ns):
                await self._source.pace("stop", None)
