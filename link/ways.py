"""What a way out and a way back of a link both say: jitter, outages, a queue, where the ends are, a budget.

Frozen; unknown keys are refused. Numbers carry their unit in the name.
"""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from link.channel.loss import Loss
from link.fields import MAX_SECONDS, Bytes, Model, Rate, Ratio, Seconds, is_none
from link.marks import Steers
from link.nodes import check_windows
from link.physics.media import MAX_STEPS, Budget
from link.physics.medium import require_rising
from link.places import Contacts, Delay

MAX_HOPS = 64
"""Each costs memory and an event a packet; no path in use has ten."""
MAX_WINDOWS = 5000
"""Of an outage: a pass an orbit for a year."""

MAX_KNOTS = 2000
"""Of a delay that changes: 33 hours at a minute's distance."""


class Jitter(Model):
    """Extra random delay per packet."""

    model: Literal["uniform", "normal", "exponential", "pareto"] = "uniform"
    scale_s: Annotated[float, Field(gt=0.0, le=3600.0)]
    """uniform: 0 to scale; normal: half-normal of this deviation; exponential, pareto (shape 3): this mean."""
    reorder: bool = False
    """Whether a later packet may overtake an earlier one."""


def _in_a_list(given: object) -> object:
    return [given] if isinstance(given, dict) else given


_Knots = Annotated[
    tuple[tuple[Annotated[int, Field(ge=0, le=10**17)], Annotated[int, Field(ge=0, le=10**17)]], ...],
    Field(min_length=1, max_length=MAX_KNOTS),
]


class Moving(Model):
    """What the two ways of a link have in common where their ends move: derived before a run by `link.physics`."""

    delay: Delay | None = Field(default=None, exclude_if=is_none)
    """In place of delay_s, which then is the longest of the run: from where the ends are."""
    delay_knots_ns: _Knots | None = Field(default=None, exclude_if=is_none)
    """(sent, delay) pairs, rising; linear in between, beyond them as at the nearest. Derived from `delay`."""
    contacts: Annotated[
        Annotated[tuple[Contacts, ...], Field(min_length=1, max_length=MAX_HOPS)] | None,
        BeforeValidator(_in_a_list),
    ] = Field(default=None, exclude_if=is_none)
    """When the ends see each other, in place of `outage`, which then holds what waits; of several one is enough."""

    @model_validator(mode="after")
    def _rising(self) -> "Moving":
        knots = self.delay_knots_ns
        if knots is not None and any(late[0] <= early[0] for early, late in pairwise(knots)):
            raise ValueError("delay_knots_ns must be rising in time")
        if knots is not None and any(
            late[0] + late[1] < early[0] + early[1] for early, late in pairwise(knots)
        ):
            raise ValueError("delay_knots_ns: a delay cannot shrink faster than time goes on")
        return self


_OutageSeconds = Annotated[float, Field(ge=1e-3, le=MAX_SECONDS)]
"""What is down for less than a millisecond loses single packets: that is what loss models are for."""


class Outage(Model):
    """Times when the hop is down: a list of windows, or on and off in turn."""

    windows_s: Annotated[tuple[tuple[Seconds, Seconds], ...], Field(max_length=MAX_WINDOWS)] = ()
    """(start, end) pairs in seconds of run time."""
    up_s: _OutageSeconds | None = None
    down_s: _OutageSeconds | None = None
    random: bool = False
    """Whether up_s and down_s are means of exponential times rather than fixed."""
    hold: bool = False
    """Whether packets wait for the end (a contact plan) rather than being lost (a blackout)."""

    @model_validator(mode="after")
    def _one_kind(self) -> "Outage":
        if (self.up_s is None) != (self.down_s is None):
            raise ValueError("up_s and down_s go together")
        check_windows(self.windows_s, "windows_s")
        if self.windows_s and self.up_s is not None:
            raise ValueError("give windows_s or up_s with down_s, not both")
        return self

    @property
    def share_up(self) -> float:
        """The mean share of time, 0 to 1, that a regular outage leaves; 1 for given windows, which are known gaps."""
        if self.up_s is None or self.down_s is None:
            return 1.0
        return self.up_s / (self.up_s + self.down_s)


class QueueConfig(Model):
    """The drop-tail queue in front of a hop's transmitter."""

    limit_bytes: Bytes = 1 << 20
    classes: Annotated[int, Field(ge=1, le=4)] = 1
    """Priority classes served strictly in order; 1: first in, first out."""


# Fields of both, each in its own place among the others: scenarios are written in their order.
Budgeted = Annotated[Budget | None, Field(exclude_if=is_none)]
BudgetSteps = Annotated[
    tuple[tuple[Seconds, Rate, Ratio], ...] | None,
    Field(min_length=2, max_length=MAX_STEPS + 1, exclude_if=is_none),
]
Jittered = Annotated[Jitter | None, Steers.LINK]
Lossy = Annotated[Loss | None, Steers.LINK]
BitErrorRate = Annotated[float, Field(ge=0.0, le=0.5), Steers.LINK]
Copies = Annotated[Ratio, Steers.LINK]
Outages = Annotated[Outage | None, Steers.LINK]


def check_steps(
    budget: Budget | None, rate_bps: float | None, steps: tuple[tuple[float, float, float], ...] | None
) -> None:
    """Raise ValueError where *steps*, which a budget comes to, are none of its."""
    if steps is None:
        return
    if budget is None or rate_bps is None:
        raise ValueError("budget_steps are derived from a budget: leave them out")
    require_rising("budget_steps", tuple((time, rate) for time, rate, _ in steps))
    if steps[0][0] != 0.0:
        raise ValueError("budget_steps must begin at 0")
