"""Runs a conductor against the wall clock: sleeps until the next event, wakes for what arrives before it.

Events have the time at which they were due; only what an end answers, or somebody changes, has the time at which it
came (`link.conductor.Conductor.catch_up`).
"""

from collections import deque
from collections.abc import Callable

from link.conductor import ROLES, Conductor
from link.config import Session
from link.end import Core
from link.errors import FarlinkError, UsageError
from link.events import Output
from link.inputs import Answer, Change, Note, Timing, Turn
from link.timing import Times

_NAP_S = 0.5  # so that a stop or a dead peer is noticed
LEAST_FACTOR, MOST_FACTOR = 1e-3, 1e6
"""Run seconds in a second of the wall clock."""


Receive = Callable[[float], Answer | Change | Note | Timing | None]
"""Waits for at most so many seconds and returns what came."""


class Pace:
    """Turns a clock's seconds into run time, which never goes back. *clock* counts seconds from anywhere."""

    def __init__(self, clock: Callable[[], float], factor: float = 1.0) -> None:
        self._clock = clock
        self.factor = check_factor(factor)
        """Run seconds in a second."""
        self.paused = False
        self.jumping: Turn | None = None
        """EVENT or PICTURE, while the run is on its way there."""
        self._anchor_s, self._anchor_ns = clock(), 0

    def now_ns(self, reached_ns: int) -> int:
        """Return the run's time, where it has reached *reached_ns* already."""
        if self.paused or self.jumping is not None:
            return max(reached_ns, self._anchor_ns)
        elapsed = self._clock() - self._anchor_s
        return max(reached_ns, self._anchor_ns + int(elapsed * self.factor * 1e9))

    def seconds_until(self, due_ns: int, now_ns: int) -> float:
        """Return how long the clock takes until the run's time is *due_ns*."""
        return (due_ns - now_ns) / 1e9 / self.factor

    def take(self, wish: Timing, now_ns: int) -> None:
        """Go on as *wish* says from run time *now_ns* on. Raise UsageError for a factor that is out of range."""
        if wish.factor is not None:
            self.factor = check_factor(wish.factor)
        if wish.turn in (Turn.PAUSE, Turn.EVENT):
            self.paused = True
        elif wish.turn is Turn.RESUME:
            self.paused = False
        self.jumping = wish.turn if wish.turn in (Turn.EVENT, Turn.PICTURE) else None
        self.anchor(now_ns)

    def anchor(self, now_ns: int) -> None:
        """Count from here: the clock's present second is run time *now_ns*."""
        self._anchor_s, self._anchor_ns = self._clock(), now_ns

    def arrive(self, now_ns: int) -> None:
        """A jump has got where it was to get."""
        self.jumping = None
        self.anchor(now_ns)


def check_factor(factor: float) -> float:
    """Return *factor*. Raise UsageError where it is out of range."""
    if not LEAST_FACTOR <= factor <= MOST_FACTOR:
        raise UsageError(
            f"{factor:g} run seconds a second: {LEAST_FACTOR:g} to {MOST_FACTOR:g} were expected"
        )
    return factor


def run(conductor: Conductor, pace: Pace, receive: Receive) -> None:
    """Run until nothing is left to happen, or a STOP. *receive* brings answers, changes and wishes about the pace."""
    drawn = conductor.drawn
    while not conductor.finished:
        now = pace.now_ns(conductor.now)
        due = conductor.next_ns
        if pace.jumping is Turn.PICTURE and conductor.drawn > drawn:
            pace.arrive(conductor.now)
            continue
        # A jump waits for the ends, as virtual time does: nothing is left out for its speed.
        jumps = pace.jumping is not None and not conductor.busy
        if due is not None and (due <= now or jumps):
            conductor.advance(max(due, conductor.now))
            if pace.jumping is Turn.EVENT:
                pace.arrive(conductor.now)
            continue
        waits = due is None or pace.paused or pace.jumping is not None
        nap = _NAP_S if waits or due is None else min(_NAP_S, pace.seconds_until(due, now))
        came = receive(nap)
        if came is None:
            continue
        now = pace.now_ns(conductor.now)
        conductor.catch_up(now)
        if isinstance(came, Answer):
            if came.error is not None:
                raise came.error
            conductor.answer(ROLES.index(came.role), came.output, now)
        elif isinstance(came, Change):
            came.tell(_change(conductor, came, now))
        elif isinstance(came, Note):
            came.tell(_mark(conductor, came, now))
        else:
            if came.turn is Turn.STOP:
                conductor.now = now
                conductor.finish("finished", stopped=True)
                came.tell(None)
                return
            drawn = conductor.drawn
            came.tell(_pace(pace, came, now))
    conductor.finish("finished")


def _pace(pace: Pace, wish: Timing, now: int) -> str | None:
    """Return why *wish* is refused, None where it is done."""
    try:
        pace.take(wish, now)
    except UsageError as error:
        return str(error)
    return None


def _change(conductor: Conductor, wish: Change, now: int) -> str | None:
    """Return why *wish* is refused, None where it is done."""
    try:
        conductor.change(wish.paths, wish.by, now)
    except UsageError as error:
        return str(error)
    return None


def _mark(conductor: Conductor, wish: Note, now: int) -> str | None:
    """Return why *wish* is refused, None where it is done."""
    try:
        conductor.mark(wish.text, wish.by, now)
    except UsageError as error:
        return str(error)
    return None


class LateEnd:
    """A core in this process whose answer is held until *answers* is looked at, as if it came from elsewhere."""

    def __init__(self, role: str, core: Core, answers: deque[Answer]) -> None:
        self._role, self._core, self._answers = role, core, answers

    def step(self, now: int, arrivals: list[tuple[int, bytes]]) -> None:
        """Step the core; the answer comes later."""
        try:
            answer = Answer(self._role, self._core.step(now, arrivals))
        except FarlinkError as error:
            answer = Answer(self._role, Output(), error)
        self._answers.append(answer)

    def adjust(self, session: Session, times: Times) -> None:
        """See `link.end.End.adjust`."""
        self._core.adjust(session, times)
