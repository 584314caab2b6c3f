"""When an answer may come: light time there and back, and the times at which the far end may send."""

from bisect import bisect_right
from collections.abc import Callable, Sequence


class AnswerTimes:
    """What a timer needs to know of the way to the far end and back. Times in nanoseconds.

    *out_ns* and *back_ns* give the delay of what leaves at a time, here and there. *windows* are the (start, end) in
    which the far end may send, in order; None: always. *answer_ns* is how long an answer may take to be made and sent.
    """

    def __init__(
        self,
        out_ns: Callable[[int], int] | int,
        back_ns: Callable[[int], int] | int,
        answer_ns: int,
        windows: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self._out = (lambda _at: out_ns) if isinstance(out_ns, int) else out_ns
        self._back = (lambda _at: back_ns) if isinstance(back_ns, int) else back_ns
        self._answer = answer_ns
        self._windows = None if windows is None else list(windows)
        self._ends = [end for _, end in windows or ()]

    def opens(self, at: int) -> int | None:
        """Return when the far end may send, at *at* or next after it; None: never again."""
        if self._windows is None:
            return at
        place = bisect_right(self._ends, at)  # the first window that ends after *at*
        return max(at, self._windows[place][0]) if place < len(self._windows) else None

    def answer_by(self, end: int) -> int | None:
        """Return when the answer to what left by *end* should be here; None: it can never come.

        An answer that the far end cannot send before its window closes waits for the next one.
        """
        arrival = end + self._out(end)
        start = self.opens(arrival)
        if start is None:
            return None
        if self._windows is not None:
            place = bisect_right(self._ends, start)
            if start + self._answer > self._windows[place][1]:
                if place + 1 == len(self._windows):
                    return None
                start = self._windows[place + 1][0]
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
        if self._windows is None:
            return at + span
        for start, end in self._windows[bisect_right(self._ends, at) :]:
            start = max(start, at)
            if end - start >= span:
                return start + span
            span -= end - start
        return max(self._ends[-1:] or [0])
