"""Sessions that run on this machine, one at a time: who steers may go over to another preset, story or codec."""

import dataclasses
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from link.codecs import SYNTAXES
from link.errors import FarlinkError, UsageError
from scenarios import run as runs
from scenarios import schema
from scenarios.live.linked import Linked
from scenarios.live.news import News, Source
from scenarios.live.start import Means, begin, prepare
from scenarios.live.stories import Story, plan_of, read_story
from scenarios.schema import Scenario


class Own(Source):
    """Follows the session of *plan*; what is opened in its place gets a folder of its own."""

    def __init__(
        self, plan: Scenario, story: Story | None, first: Linked, held: ExitStack, means: Means
    ) -> None:
        self._plan, self.story, self._current, self._held = plan, story, first, held
        self._means = means

    @classmethod
    async def begin(
        cls,
        plan: Scenario,
        story: Story | None,
        factor: float | None,
        out: Path | None,
        *,
        overwrite: bool,
        means: Means | None = None,
    ) -> "Own":
        """Start the processes of *plan* and hold the folder of its journal until it is closed.

        Raise FarlinkError where it cannot begin.
        """
        means = means or Means()
        with ExitStack() as held:
            started = await _start(plan, story, factor, out, held, means, overwrite=overwrite)
            return cls(plan, story, started, held.pop_all(), means)

    @property
    def head(self) -> Mapping[str, Any]:  # type: ignore[override]
        """See `Source.head`."""
        return self._current.head

    @property
    def traces(self) -> Any:  # type: ignore[override]
        """See `Source.traces`."""
        return self._current.traces

    @property
    def keeps_up(self) -> bool | None:  # type: ignore[override]
        """See `Source.keeps_up`."""
        return self._current.keeps_up

    async def news(self) -> AsyncIterator[News]:
        """See `Source.news`; the first of a session that was opened in another's place is fresh."""
        fresh = False
        while True:
            current = self._current
            async for news in current.news():
                if self._current is not current:
                    break
                yield dataclasses.replace(news, fresh=True) if fresh else news
                fresh = False
            if self._current is current:
                return
            fresh = True

    async def change(self, paths: Mapping[str, Any], by: str) -> str | None:
        """See `Source.change`."""
        return await self._current.change(paths, by)

    async def pace(self, turn: str | None, factor: float | None) -> str | None:
        """See `Source.pace`."""
        return await self._current.pace(turn, factor)

    async def mark(self, text: str, by: str) -> str | None:
        """See `Source.mark`."""
        return await self._current.mark(text, by)

    async def open(self, what: str, name: str) -> str | None:
        """See `Source.open`."""
        held = ExitStack()
        try:
            plan, story = self._chosen(what, name)
            runs.check_source(plan)
            started = await _start(plan, story, None, None, held, self._means, overwrite=False)
        except FarlinkError as error:
            held.close()
            return str(error)
        before, self._current = self._current, started
        self._plan, self.story = plan, story
        await before.close()
        self._held.close()
        self._held = held
        return None

    def _chosen(self, what: str, name: str) -> tuple[Scenario, Story | None]:
        """Return the scenario that *name* stands for in the list of *what*. Raise UsageError where it is on none."""
        if what == "story":
            story = read_story(name)
            return prepare(plan_of(story)), story
        if what == "preset" and name in schema.preset_names():
            return prepare(schema.load(name, [], {"live": True, "camera.frames": None})), None
        if what == "codec" and name in SYNTAXES:
            codec = self._plan.codec.model_copy(update={"name": name})
            tree = self._plan.model_copy(update={"codec": codec}).model_dump(mode="json", by_alias=True)
            return prepare(schema.from_tree(tree, "codec")), None
        raise UsageError(f"there is no {what} {name!r} to be opened")

    async def close(self) -> None:
        """See `Source.close`."""
        await self._current.close()
        self._held.close()


async def _start(
    plan: Scenario,
    story: Story | None,
    factor: float | None,
    out: Path | None,
    held: ExitStack,
    means: Means,
    *,
    overwrite: bool,
) -> Linked:
    folder = held.enter_context(runs.claim(out, plan, overwrite=overwrite))
    own = story.factor if story is not None else plan.camera.period_s or 1.0
    return await begin(plan, folder, factor or own, means)
