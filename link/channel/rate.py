"""How long a packet is on the transmitter: a rate, constant or in steps, or a trace of delivery opportunities."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from link.errors import UsageError
from link.files import read_within

QUANTUM_BYTES = 1504
"""Bytes of one delivery opportunity where a trace names none (mahimahi, link_queue.hh: PACKET_SIZE)."""
MOST_BYTES, MOST_TIMES = 64 << 20, 5_000_000
"""Of a trace: an hour at 12 Mbit/s has 3.6 million opportunities of 1504 bytes."""
_MOST_MS = 10**11  # the longest time that a scenario may say, 1e8 s
_MOST_QUANTUM = 10**9
_MS = 1_000_000
_BYTE_WORK = 8 * 1000 * 1_000_000_000
"""Of a byte, in thousandths of a bit times nanoseconds."""


class Rate(Protocol):
    """A transmitter's pace. It serves packets one after the other."""

    def finish(self, now: int, size_bytes: int) -> tuple[int, int]:
        """Return (start, end) in ns of the next packet's transmission, offered at *now*, and keep them."""

    def preview(self, now: int, size_bytes: int) -> tuple[int, int]:
        """Return what `finish` would, and keep nothing."""

    def bits_by(self, now: int) -> int:
        """Return how many bits it would have sent by *now*, had it never been idle."""


class ConstantRate:
    """A constant bit rate, exact: fractions of a nanosecond are carried from packet to packet."""

    def __init__(self, rate_bps: float) -> None:
        byte_ns = 8_000_000_000 / Fraction(rate_bps).limit_denominator(1_000_000)
        # Time is counted in units of 1/scale ns, in which a byte takes a whole number of units: the largest such units,
        # since a time in small ones is a number of more than a machine word.
        self.scale, self.per_byte = byte_ns.denominator, byte_ns.numerator
        self.free = 0

    @property
    def rate_bps(self) -> float:
        """The rate in bit/s."""
        return 8e9 * self.scale / self.per_byte

    def at(self, rate_bps: float) -> "ConstantRate":
        """Return the same transmitter at another rate, free when this one is, rounded up to a nanosecond."""
        other = ConstantRate(rate_bps)
        if (other.scale, other.per_byte) == (self.scale, self.per_byte):
            return self
        other.free = -(-self.free // self.scale) * other.scale
        return other

    def finish(self, now: int, size_bytes: int) -> tuple[int, int]:
        """See `Rate.finish`."""
        scale = self.scale
        start = now * scale
        if self.free > start:
            start = self.free
        self.free = end = start + size_bytes * self.per_byte
        if scale == 1:  # as at most rates that people give
            return start, end
        return -(-start // scale), -(-end // scale)

    def preview(self, now: int, size_bytes: int) -> tuple[int, int]:
        """See `Rate.preview`."""
        start = max(now * self.scale, self.free)
        return -(-start // self.scale), -(-(start + size_bytes * self.per_byte) // self.scale)

    def bits_by(self, now: int) -> int:
        """See `Rate.bits_by`."""
        return now * self.scale * 8 // self.per_byte


class SteppedRate:
    """A rate that changes at given times: *steps* are (from when in ns, bit/s), the first from 0 on.

    Exact: what is counted is work, in thousandths of a bit times nanoseconds, and a byte takes a whole number of it. A
    packet that is on the transmitter when the rate changes goes on at the new one.
    """

    def __init__(self, steps: Sequence[tuple[int, float]]) -> None:
        if not steps or steps[0][0] != 0 or any(a[0] >= b[0] for a, b in pairwise(steps)):
            raise ValueError("the times of steps must rise from 0")
        self._times = [time for time, _ in steps]
        self._paces = [max(1, round(rate * 1000)) for _, rate in steps]
        self._work = [0]
        for pace, (start, end) in zip(self._paces, pairwise(self._times), strict=False):
            self._work.append(self._work[-1] + pace * (end - start))
        self._free = 0  # the work after which the transmitter is idle

    def _by(self, now: int) -> int:
        """Return the work done by *now*, had it never been idle."""
        at = bisect_right(self._times, now) - 1
        return self._work[at] + self._paces[at] * (now - self._times[at])

    def _when(self, work: int) -> int:
        """Return when so much work is done, rounded up to a nanosecond."""
        at = bisect_right(self._work, work) - 1
        return self._times[at] - (self._work[at] - work) // self._paces[at]

    def _serve(self, now: int, size_bytes: int) -> tuple[int, int]:
        start = max(self._by(now), self._free)
        return start, start + size_bytes * _BYTE_WORK

    def finish(self, now: int, size_bytes: int) -> tuple[int, int]:
        """See `Rate.finish`."""
        start, self._free = self._serve(now, size_bytes)
        return self._when(start), self._when(self._free)

    def preview(self, now: int, size_bytes: int) -> tuple[int, int]:
        """See `Rate.preview`."""
        start, end = self._serve(now, size_bytes)
        return self._when(start), self._when(end)

    def bits_by(self, now: int) -> int:
        """See `Rate.bits_by`."""
        return self._by(now) * 8 // _BYTE_WORK


@dataclass(frozen=True)
class Trace:
    """Delivery opportunities: at each of *times_ms*, *quantum_bytes* may leave; repeats every *period_ms*."""

    times_ms: tuple[int, ...]
    quantum_bytes: int = QUANTUM_BYTES

    @property
    def period_ms(self) -> int:
        """The last time: the trace starts again there."""
        return self.times_ms[-1]

    @property
    def mean_bps(self) -> float:
        """The trace's mean rate in bit/s."""
        return len(self.times_ms) * self.quantum_bytes * 8_000 / self.period_ms


def read_trace(path: Path) -> Trace:
    """Read a trace in mahimahi's format: one whole number of milliseconds a line, never decreasing.

    A line `# quantum_bytes: N` before the first time sets the bytes of an opportunity (1504 without it), so
    that narrow links can be said. Raise UsageError naming the line that is wrong.
    """
    quantum = QUANTUM_BYTES
    times: list[int] = []
    try:
        whole = read_within(path, MOST_BYTES).decode("ascii")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a trace file: {error}") from None
    if whole.count("\n") > MOST_TIMES:
        raise UsageError(f"{path}: over {MOST_TIMES} lines")
    lines = whole.splitlines()
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text.startswith("#"):
            key, _, value = text[1:].partition(":")
            if key.strip() == "quantum_bytes":
                quantum = _whole(value.strip(), _MOST_QUANTUM) or 0
                if times or quantum == 0:
                    raise UsageError(
                        f"{path}:{number}: quantum_bytes is a whole number from 1 to {_MOST_QUANTUM}, "
                        "before the first time"
                    )
            continue
        time = _whole(text, _MOST_MS)
        if time is None:
            expected = f"a time in whole milliseconds, at most {_MOST_MS}, was expected"
            raise UsageError(f"{path}:{number}: {expected}, not {text[:40]!r}")
        if times and time < times[-1]:
            raise UsageError(f"{path}:{number}: {text} ms is before the line above")
        times.append(time)
    if not times or times[-1] == 0:
        raise UsageError(f"{path}: a trace needs a last time above 0")
    return Trace(tuple(times), quantum)


def _whole(text: str, most: int) -> int | None:
    """Return the whole number in *text*, None where there is none or it is over *most*."""
    if not text.isdigit() or len(text) > 20:
        return None
    number = int(text)
    return number if number <= most else None


class TraceRate:
    """Replays a trace: packets use the opportunities in order, whole or in part; unused ones are lost."""

    def __init__(self, trace: Trace) -> None:
        self._times = [time * _MS for time in trace.times_ms]
        self._period = trace.period_ms * _MS
        self._quantum = trace.quantum_bytes
        self._cursor = 0  # number of the opportunity in use, counted over all repetitions
        self._left = self._quantum  # bytes that it may still carry
        self._end = 0

    def _time(self, number: int) -> int:
        return number // len(self._times) * self._period + self._times[number % len(self._times)]

    def _first_at(self, now: int) -> int:
        turn, rest = divmod(now, self._period)
        number = turn * len(self._times) + bisect_left(self._times, rest)
        # The last opportunities of a turn and time 0 of the next coincide.
        while number > 0 and self._time(number - 1) >= now:
            number -= 1
        return number

    def _serve(self, now: int, size_bytes: int) -> tuple[int, int, int, int]:
        cursor, left = self._cursor, self._left
        first = self._first_at(now)
        if first > cursor:
            cursor, left = first, self._quantum
        elif left == 0:
            cursor, left = cursor + 1, self._quantum
        opening = cursor
        more = max(0, -(-(size_bytes - left) // self._quantum))
        left += more * self._quantum - size_bytes
        start = max(now, self._end, self._time(opening))
        return start, max(start, self._time(cursor + more)), cursor + more, left

    def finish(self, now: int, size_bytes: int) -> tuple[int, int]:
        """See `Rate.finish`."""
        start, end, self._cursor, self._left = self._serve(now, size_bytes)
        self._end = end
        return start, end

    def preview(self, now: int, size_bytes: int) -> tuple[int, int]:
        """See `Rate.preview`."""
        return self._serve(now, size_bytes)[:2]

    def bits_by(self, now: int) -> int:
        """See `Rate.bits_by`."""
        return self._first_at(now) * self._quantum * 8
