"""Which worker runs which cell: a group of cells that encode the same stays with one worker, until others are idle."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from scenarios.sweep.cells import Job, Outcome
from scenarios.sweep.plan import Cell

ATTEMPTS = 2
"""How often a cell is tried whose worker dies; it may have been somebody else's doing."""


class Executor(Protocol):
    """Workers, one cell each at a time."""

    slots: int
    """How many there are."""

    def start(self, slot: int, job: Job) -> None:
        """Have worker *slot*, which is idle, run *job*."""

    def wait(self) -> list[tuple[int, Outcome]]:
        """Wait until a worker is idle again; return what each such worker's job came to.

        `died`, one line, says that the worker did not survive it; there is a new one in its place.
        """

    def close(self) -> None:
        """Stop all workers at once."""


class Queue:
    """The cells that wait, by group."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._groups: dict[str, deque[Cell]] = {}
        for cell in cells:
            self._groups.setdefault(cell.group, deque()).append(cell)
        self._owner: dict[str, int] = {}

    def next(self, slot: int) -> Cell | None:
        """Return a cell for worker *slot*: of its own group, of one that nobody has, or the longest one's last."""
        for group, owner in self._owner.items():
            if owner == slot and self._groups.get(group):
                return self._groups[group].popleft()
        for group, cells in self._groups.items():
            if cells and group not in self._owner:
                self._owner[group] = slot
                return cells.popleft()
        longest = max(self._groups.values(), key=len, default=None)
        return longest.pop() if longest else None

    def again(self, cell: Cell) -> None:
        """Put *cell* back, before the others of its group."""
        self._groups[cell.group].appendleft(cell)


def drive(
    cells: Sequence[Cell],
    executor: Executor,
    job: Callable[[Cell], Job],
    done: Callable[[Cell, Outcome], bool],
) -> None:
    """Run *cells*; tell *done* of each what it came to. Where *done* returns False nothing new is begun."""
    queue, busy, tried = Queue(cells), dict[int, Cell](), dict[str, int]()
    going = True
    while True:
        for slot in range(executor.slots):
            if going and slot not in busy and (cell := queue.next(slot)) is not None:
                busy[slot] = cell
                tried[cell.key] = tried.get(cell.key, 0) + 1
                executor.start(slot, job(cell))
        if not busy:
            return
        for slot, outcome in executor.wait():
            cell = busy.pop(slot)
            if "died" in outcome:
                if tried[cell.key] < ATTEMPTS:
                    queue.again(cell)
                    continue
                outcome = {"failed": f"{outcome['died']}, {ATTEMPTS} times", "exit_code": 1}
            going = done(cell, outcome) and going
