"""When an answer may come: light time there and back, and the times at which the far end may send."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol


class Windows(Protocol):
    """The times, in nanoseconds, at which an end may send."""

    def after(self, at: int) -> Iterator[tuple[int, int]]:
        """Yield the (start, end) that end after *at*, in order."""

    def open_for(self, at: int, span: int) -> int:
        """Return when they have been open for *span* since *at*, or the end of the last one."""


class Listed:
    """Windows that are given one by one, in order."""

    def __init__(self, windows: Sequence[tuple[int, int]]) -> None:
        self._windows = list(windows)
        self._ends = [end for _, end in windows]

    def after(self, at: int) -> Iterator[tuple[int, int]]:
        """See `Windows.after`."""
        return iter(self._windows[bisect_right(self._ends, at) :])

    def open_for(self, at: int, span: int) -> int:
        """See `Windows.open_for`; 0 where there are none."""
        for start, end in self.after(at):
            start = max(start, at)
            if end - start >= span:
                return start + span
            span -= end - start
        return self._ends[-1] if self._ends else 0


class InTurn:
    """Up for *up_ns* from 0 on, then down for *down_ns*, and so on for ever."""

    def __init__(self, up_ns: int, down_ns: int) -> None:
        self._up, self._turn = up_ns, up_ns + down_ns

    def after(self, at: int) -> Iterator[tuple[int, int]]:
        """See `Windows.after`."""
        turn = max(0, (at - self._up) // self._turn + 1)
        while True:
            yield turn * self._turn, turn * self._turn + self._up
            turn += 1

    def open_for(self, at: int, span: int) -> int:
        """See `Windows.open_for`."""
        start, end = next(self.after(at))
        start = max(start, at)
        if end - start >= span:
            return start + span
        span -= end - start
        turns = (span - 1) // self._up  # that are used up before the last one
        return end - self._up + (turns + 1) * self._turn + span - turns * self._up


class AnswerTimes:
    """What a timer needs to know of the way to the far end and back. Times in nanoseconds.

    *out_ns* and *back_ns* give the delay of what leaves at a time, here and there. *windows* are those in which the far
    end may send; None: always. *answer_ns* is how long an answer may take to be made and sent.
    """

    def __init__(
        self,
        out_ns: Callable[[int], int] | int,
        back_ns: Callable[[int], int] | int,
        answer_ns: int,
        windows: Windows | Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self._out = (lambda _at: out_ns) if isinstance(out_ns, int) else out_ns
        self._back = (lambda _at: back_ns) if isinstance(back_ns, int) else back_ns
        self._answer = answer_ns
        self._windows: Windows | None = Listed(windows) if isinstance(windows, Sequence) else windows

    def opens(self, at: int) -> int | None:
        """Return when the far end may send, at *at* or next after it; None: never again."""
        if self._windows is None:
            return at
        window = next(self._windows.after(at), None)
        return None if window is None else max(at, window[0])

    def answer_by(self, end: int) -> int | None:
        """Return when the answer to what left by *end* should be here; None: it can never come.

        An answer that the far end cannot send before its window closes waits for the next one.
        """
        start = arrival = end + self._out(end)
        if self._windows is not None:
            coming = self._windows.after(arrival)
            window = next(coming, None)
            if window is not None and max(arrival, window[0]) + self._answer > window[1]:
                window = next(coming, None)
            if window is None:
                return None
            start = max(arrival, window[0])
        gone = start + self._answer
        return gone + self._back(gone)

    def round_trip_ns(self, at: int) -> int:
        """Return how long an answer to what leaves at *at* takes where the far end is in sight."""
        return self._out(at) + self._answer + self._back(at)

    def after(self, at: int, span: int) -> int:
        """Return when the far end will have been able to send for *span* since *at*, or for the last time.

        What it sends comes after its delay, so the clock begins with the light that is under way.
        """
        at += self._back(at)
        return at + span if self._windows is None else self._windows.open_for(at, span)
