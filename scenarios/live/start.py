"""How a live session begins: its three processes on this machine, or a link that runs elsewhere.

`begin` and `join` give the source that the page's server follows (`scenarios.live.news.Source`).
"""

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from link.codecs import SYNTAXES
from link.errors import FarlinkError
from link.watch import Watcher
from scenarios import run as runs
from scenarios import schema
from scenarios.live.linked import Linked
from scenarios.processes import Processes
from scenarios.schema import Scenario
from sender.camera import draws

MOST_FRAMES = 10**6
"""Of a source that is drawn and never ends: two weeks at a picture a second."""
_ANSWER_S = 30.0


def prepare(plan: Scenario) -> Scenario:
    """Return *plan* as a session that is to be steered.

    All channels of the transform are agreed on, so that any number of them may be sent; what was asked for is how many
    are at first. A world that is driven through goes on.
    """
    codec, camera = plan.codec, plan.camera
    if (most := SYNTAXES[codec.name].most_channels(plan)) is not None:
        codec = codec.model_copy(update={"channels": most, "max_channels": codec.sent_channels})
    if camera.frames is None and draws(camera.source):
        camera = camera.model_copy(update={"frames": MOST_FRAMES})
    return plan.model_copy(update={"codec": codec, "camera": camera, "live": True})


@dataclass(frozen=True)
class Means:
    """What sessions of one page have in common."""

    keep_bytes: int | None = None
    """The most that a session's journal takes (`link.segments`); None: all of it is kept."""
    surroundings: Mapping[str, str] = field(default_factory=dict)
    """Variables that the sender finds in its environment."""


class _Run:
    """The processes of a session, watched by a thread of their own."""

    def __init__(self, plan: Scenario, folder: Path, factor: float, means: Means) -> None:
        self._loop = asyncio.get_running_loop()
        self.address: asyncio.Future[str] = self._loop.create_future()
        self._ended: asyncio.Future[str | None] = self._loop.create_future()
        self._processes = Processes(
            folder, plan.session(), runs.head(plan), factor,
            keep_bytes=means.keep_bytes, surroundings=means.surroundings,
        )  # fmt: skip
        self.token = self._processes.token
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        error: FarlinkError | None = None
        try:
            self._processes.watch(self._tell)
        except FarlinkError as failure:
            error = failure
        self._loop.call_soon_threadsafe(self._end, error)

    def _tell(self, record: dict[str, Any]) -> None:
        if record["kind"] == "listening":
            self._loop.call_soon_threadsafe(self.address.set_result, record["address"])

    def _end(self, error: FarlinkError | None) -> None:
        if not self.address.done():
            self.address.set_exception(error or FarlinkError("the link ended before it listened"))
        if not self._ended.done():
            self._ended.set_result(None if error is None else str(error))

    async def ended(self) -> str | None:
        """Wait for the end of the processes; return why the session was cut short."""
        return await asyncio.shield(self._ended)


async def begin(plan: Scenario, folder: Path, factor: float, means: Means) -> Linked:
    """Start sender, link and receiver of *plan*, whose journal goes to *folder*, and return what the link tells.

    Closing the source ends the session. Raise FarlinkError where it cannot begin.
    """
    run = _Run(plan, folder, factor, means)
    watcher = Watcher(await run.address, token=run.token)
    await watcher.meet(_ANSWER_S)
    return Linked(runs.head(plan), schema.traces(plan), watcher, run.ended, owns=True, factor=factor)


async def join(address: str, curve: Path | None) -> Linked:
    """Return what the link at *address* tells; *curve* is a folder with keys (`farlink keys`).

    Raise UsageError for an address that needs keys, PartialError where there is no link.
    """
    watcher = Watcher(address, curve=curve)
    try:
        session = await watcher.meet(_ANSWER_S)
    except BaseException:
        watcher.close()
        raise

    async def ended() -> str | None:
        return None

    head = {"scenario": session.model_dump(mode="json", by_alias=True), "seed": session.seed}
    return Linked(head, {}, watcher, ended, owns=False)
