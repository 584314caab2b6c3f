"""Error rates that change during a run, as a hop's budget says (`link.physics.media`)."""

from collections.abc import Sequence

from link.channel import to_ns
from link.channel.bits import BitErrors
from link.channel.loss import Timed


class ErrorSteps:
    """Sets the error rate of a hop's bits or code blocks; *steps* are (from when in s, rate, error rate), rising."""

    def __init__(
        self, steps: Sequence[tuple[float, float, float]], bits: BitErrors | None, blocks: Timed | None
    ) -> None:
        self._steps = [(to_ns(time_s), error) for time_s, _, error in steps]
        self._bits, self._blocks = bits, blocks
        self._next = 0

    def go(self, now: int) -> None:
        """Set what holds at *now*, which never decreases."""
        if self._next == len(self._steps) or self._steps[self._next][0] > now:
            return
        while self._next < len(self._steps) and self._steps[self._next][0] <= now:
            self._next += 1
        error = self._steps[self._next - 1][1]
        if self._bits is not None:
            self._bits.set_ratio(error)
        if self._blocks is not None:
            self._blocks.set_error_rate(error)
