"""The same bytes by a classical codec: what a viewer compares a picture with. Newest wins, in a thread of its own."""

import asyncio
import io
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from link import png
from link.codecs import classical
from link.errors import BudgetError
from link.frame import Frame, Pixels
from scenarios.scoring.quality import psnr_db
from sender.codecs.classical import ClassicalEncoder

_TITLES = {"webp": "WebP", "jpeg2000": "JPEG 2000", "avif": "AVIF"}
"""Those that are tried; the first is what people know, the others where it cannot go so low. AVIF's encoder comes last:
it takes 40 MB and the most time."""


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
    size_bytes: int
    """0 where none can go so low."""
    words: str | None
    png: bytes | None


def encode(task: RivalTask) -> RivalPicture:
    """Return the picture of *task* within its bytes: by WebP, else by the better of the others.

    Where none can go so low it says how low each goes.
    """
    pixels = png.decode(task.png)
    names = [name for name in _TITLES if name != task.codec]
    unfit: list[str] = []
    found: dict[str, tuple[float, int, Pixels]] = {}
    for name in names:
        if found and name != names[0] and not unfit:
            break
        try:
            size, shown = _encode(name, pixels, task.budget_bytes)
        except BudgetError as error:
            unfit.append(f"{_TITLES[name]} cannot go under {error.least_bytes} bytes")
            continue
        found[name] = psnr_db(pixels, shown) or 1e9, size, shown
    words = ", ".join(unfit) or None
    if not found:
        return RivalPicture(task.frame, _TITLES[names[0]], 0, words, None)
    best = max(found, key=lambda name: found[name][0])
    _, size, shown = found[best]
    return RivalPicture(task.frame, _TITLES[best], size, words, png.encode(shown))


def _encode(name: str, pixels: Pixels, budget: int) -> tuple[int, Pixels]:
    """Return the bytes of *pixels* by *name*, and what is seen of them. Raise BudgetError where it does not fit."""
    payload = ClassicalEncoder(name, budget, budget).encode(Frame(0, 0, pixels, ""))
    sections = [section for section in payload.sections if section is not None]
    with Image.open(io.BytesIO(classical.rebuild(name, tuple(sections))), formats=[name.upper()]) as picture:
        shown = picture.convert("RGB")
    full = pixels.shape[1], pixels.shape[0]
    if shown.size != full:
        shown = shown.resize(full, Image.Resampling.LANCZOS)
    return payload.size_bytes, np.asarray(shown)


class Rival:
    """Encodes the newest picture it is offered, one at a time, and tells what came of it."""

    def __init__(self, tell: Callable[[RivalPicture], Awaitable[None]]) -> None:
        self._tell = tell
        self._task: RivalTask | None = None
        self._wake = asyncio.Event()
        self._hand = ThreadPoolExecutor(
            1, "rival"
        )  # one thread keeps what encoders leave in memory to one heap

    def offer(self, task: RivalTask) -> None:
        """Encode *task* next, in place of what waits."""
        self._task = task
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            task, self._task = self._task, None
            if task is not None:
                made = await asyncio.get_running_loop().run_in_executor(self._hand, encode, task)
                await self._tell(made)
