"""What takes the page too long, or too much memory, in a process of its own: one task at a time, the newest wins."""

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from scenarios.live.wire import pack

_MOST_S = 120.0
"""A task that takes longer is given up, and the process with it."""
_MOST_REST_S = 5.0
_MOST_FAILURES = 3
"""In a row, after which no more is tried."""

Told = Callable[[dict[str, Any], dict[str, Any], list[bytes]], Awaitable[None]]
"""Is told the task, what came of it, and the blobs beside that."""


class Helper:
    """Has the newest task that it is offered done by `python -m` *module* (`scenarios.live.wire.serve`).

    After each it rests for *rest_share* of the time that it took. *command* stands in for the module in tests.
    """

    def __init__(
        self, module: str, tell: Told, *, rest_share: float = 0.0, command: Sequence[str] | None = None
    ) -> None:
        self._command = command or (sys.executable, "-P", "-m", module)
        self._tell, self._rest_share = tell, rest_share
        self._task: tuple[dict[str, Any], Sequence[bytes]] | None = None
        self._wake = asyncio.Event()
        self._child: Process | None = None

    def offer(self, about: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
        """Do this next, in place of what waits."""
        self._task = about, blobs
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled, or until it failed too often."""
        clock, failures = asyncio.get_running_loop().time, 0
        try:
            while failures < _MOST_FAILURES:
                await self._wake.wait()
                self._wake.clear()
                task, self._task = self._task, None
                if task is None:
                    continue
                began_s = clock()
                try:
                    # Not `wait_for`, which loses a cancellation that comes with the answer.
                    async with asyncio.timeout(_MOST_S):
                        made, blobs = await self._ask(*task)
                except (TimeoutError, OSError, ValueError, EOFError):  # of this task nothing comes
                    failures += 1
                    await self._end()
                    continue
                failures = 0
                await self._tell(task[0], made, blobs)
                await asyncio.sleep(min(_MOST_REST_S, self._rest_share * (clock() - began_s)))
        finally:
            await self._end()

    async def _ask(self, about: dict[str, Any], blobs: Sequence[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        if self._child is None:
            self._child = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True
            )  # Ctrl-C is the page's to handle
        writer, reader = self._child.stdin, self._child.stdout
        assert writer is not None and reader is not None
        writer.write(pack(about, blobs))
        await writer.drain()
        length = int.from_bytes(await reader.readexactly(4), "little")
        made: dict[str, Any] = json.loads(await reader.readexactly(length))
        return made, [await reader.readexactly(size) for size in made.pop("blobs", ())]

    async def _end(self) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()
            await self._child.wait()
            self._child = None
