"""Runs a conductor against the wall clock: sleeps until the next event, wakes for what arrives before it."""

from collections.abc import Callable

from link.conductor import RECEIVER, SENDER, Conductor
from link.events import Output

_NAP_S = 0.5  # so that a stop or a dead peer is noticed

Receive = Callable[[float], tuple[str, Output] | None]
"""Waits for at most so many seconds and returns (role, output) if an end answered."""


def run(conductor: Conductor, clock: Callable[[], float], receive: Receive, factor: float = 1.0) -> None:
    """Run until nothing is left to happen. *factor* run seconds pass in one second of *clock*."""
    started = clock()

    def now_ns() -> int:
        # A clock that stands still or steps back must not turn the run's time back.
        return max(conductor.now, int((clock() - started) * factor * 1e9))

    while not conductor.finished:
        due = conductor.next_ns
        now = now_ns()
        if due is not None and due <= now:
            conductor.advance(now)
            continue
        nap = _NAP_S if due is None else min(_NAP_S, (due - now) / 1e9 / factor)
        answer = receive(nap)
        if answer is not None:
            conductor.answer(SENDER if answer[0] == "sender" else RECEIVER, answer[1], now_ns())
    conductor.finish("finished")
