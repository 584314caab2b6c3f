"""The same bytes by a classical codec: what a viewer compares a picture with. Newest wins, in a process of its own."""

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

COMMAND = (sys.executable, "-P", "-m", "scenarios.live.rival_process")
_MOST_S = 20.0
"""A picture that takes longer is given up, and the process with it."""
_MOST_FAILURES = 3
"""In a row, after which no more is tried."""


@dataclass(frozen=True)
class RivalTask:
    """A picture, and the bytes that its frame cost."""

    frame: int
    png: bytes
    budget_bytes: int
    codec: str
    """The session's, which does not compete with itself."""


@dataclass(frozen=True)
class RivalPicture:
    """What came of it."""

    frame: int
    codec: str
    """Its title; empty where none can go so low."""
    size_bytes: int
    """0 where none can go so low."""
    words: str | None
    png: bytes | None


def pack(about: dict[str, Any], data: bytes) -> bytes:
    """Return the bytes of a message between the page and the rival's process."""
    text = json.dumps({**about, "size": len(data)}).encode()
    return b"".join((len(text).to_bytes(4, "little"), text, data))


class Rival:
    """Has the newest picture it is offered encoded, one at a time, and tells what came of it."""

    def __init__(
        self, tell: Callable[[RivalPicture], Awaitable[None]], command: Sequence[str] = COMMAND
    ) -> None:
        self._tell, self._command = tell, command
        self._task: RivalTask | None = None
        self._wake = asyncio.Event()
        self._child: Process | None = None

    def offer(self, task: RivalTask) -> None:
        """Encode *task* next, in place of what waits."""
        self._task = task
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled, or until it failed too often."""
        failures = 0
        try:
            while failures < _MOST_FAILURES:
                await self._wake.wait()
                self._wake.clear()
                task, self._task = self._task, None
                if task is None:
                    continue
                try:
                    made = await asyncio.wait_for(self._ask(task), _MOST_S)
                except (TimeoutError, OSError, ValueError, EOFError):  # this picture has none
                    failures += 1
                    await self._end()
                    continue
                failures = 0
                await self._tell(made)
        finally:
            await self._end()

    async def _ask(self, task: RivalTask) -> RivalPicture:
        if self._child is None:
            self._child = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True
            )  # Ctrl-C is the page's to handle
        writer, reader = self._child.stdin, self._child.stdout
        assert writer is not None and reader is not None
        about = {"budget_bytes": task.budget_bytes, "codec": task.codec}
        writer.write(pack(about, task.png))
        await writer.drain()
        length = int.from_bytes(await reader.readexactly(4), "little")
        made: dict[str, Any] = json.loads(await reader.readexactly(length))
        data = await reader.readexactly(made["size"])
        return RivalPicture(task.frame, made["codec"], made["bytes"], made["words"], data or None)

    async def _end(self) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()
            await self._child.wait()
            self._child = None
