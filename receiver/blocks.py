"""The blocks of the erasure code that a receiver has heard of, and what their repair packets can make up for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from link.packet import MAX_PACKETS
from link.repair import fec

_REMEMBERED = 512  # blocks

Bodies = Callable[[int], Mapping[int, bytes]]
"""Returns the data bodies at hand of a frame, by index."""


@dataclass
class Block:
    """Frames that share repair packets."""

    first: int
    counts: tuple[int, ...]
    """Data packets of each frame, from `first` on."""
    symbols: dict[int, bytes] = field(default_factory=dict)
    """Repair symbols by number."""
    windows: dict[int, int | None] = field(default_factory=dict)
    """What each of them is over, as in `link.repair.fec.head`."""
    done: bool = False
    """Whether nothing of it is missing."""

    @property
    def frames(self) -> range:
        """The numbers of its frames."""
        return range(self.first, self.first + len(self.counts))

    def count_lacking(self, bodies: Bodies) -> int:
        """Return how many packets more are needed to restore all; below 1 where there should be enough."""
        whole = sum(self.windows[number] is None for number in self.symbols)
        return sum(self.counts) - len(self._have(bodies)) - whole

    def restore(self, bodies: Bodies) -> dict[int, dict[int, bytes]]:
        """Return the bodies at hand of each frame, where all are there or some could be restored; else nothing.

        The smallest window is tried first: what it gives helps the larger ones.
        """
        have = self._have(bodies)
        before = len(have)
        for window in sorted(set(self.windows.values()), key=lambda window: window or MAX_PACKETS):
            self._solve(window, have)
        self.done = len(have) == sum(self.counts)
        if not self.done and len(have) == before:
            return {}
        whole: dict[int, dict[int, bytes]] = {}
        at = 0
        for frame, count in zip(self.frames, self.counts, strict=True):
            whole[frame] = {index: have[at + index] for index in range(count) if at + index in have}
            at += count
        return whole

    def _solve(self, window: int | None, have: dict[int, bytes]) -> None:
        """Add to the bodies that are at hand by their place what the repair packets of *window* make up for."""
        places = fec.places(self.counts, window)
        known = {at: have[place] for at, place in enumerate(places) if place in have}
        if len(known) == len(places):
            return
        symbols = {
            number: symbol for number, symbol in self.symbols.items() if self.windows[number] == window
        }
        restored = fec.decode(len(places), known, symbols)
        if restored is not None:
            have |= {places[at]: body for at, body in restored.items()}

    def _have(self, bodies: Bodies) -> dict[int, bytes]:
        """Return the data bodies at hand by their place in the block."""
        have: dict[int, bytes] = {}
        at = 0
        for frame, count in zip(self.frames, self.counts, strict=True):
            have |= {at + index: body for index, body in bodies(frame).items() if index < count}
            at += count
        return have


class Blocks:
    """The newest blocks, by any of their frames."""

    def __init__(self) -> None:
        self._blocks: dict[int, Block] = {}  # by the last frame
        self._last: dict[int, int] = {}  # of the block that a frame is in

    def of(self, frame: int) -> Block | None:
        """Return the block that *frame* is in, where a repair packet told of it."""
        return self._blocks.get(self._last.get(frame, -1))

    def learn(self, last: int, counts: tuple[int, ...]) -> Block | None:
        """Return the block that ends with frame *last*, made where it is new; None where *counts* contradict it."""
        if (known := self._blocks.get(last)) is not None:
            return known if known.counts == counts else None
        block = self._blocks[last] = Block(last - len(counts) + 1, counts)
        for frame in block.frames:
            self._last.setdefault(frame, last)
        while len(self._blocks) > _REMEMBERED:
            old = self._blocks.pop(next(iter(self._blocks)))
            for frame in old.frames:
                self._last.pop(frame, None)
        return block
