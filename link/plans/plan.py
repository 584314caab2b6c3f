"""A contact plan: rows that say who can send to whom, from when to when, at what rate, with what delay.

Times are seconds of run time. A row is one direction. Rows of one pair may overlap: they are contacts in parallel,
each with a transmitter of its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from link.channel import NS, to_ns
from link.fields import Model, Rate, Seconds

MAX_CONTACTS = 200_000
"""Of a plan: ten nodes that see each other every orbit for a year."""


def _named(node: object) -> object:
    """ION and HDTN number nodes; a number is a name here."""
    return str(node) if isinstance(node, int) and not isinstance(node, bool) else node


NodeName = Annotated[
    str, BeforeValidator(_named), Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)
]
"""A node of a network: letters, digits, dot, dash, underscore."""


class Contact(Model):
    """A row of a contact plan: from *start_s* to *end_s*, `from` can send to `to` at *rate_bps*.

    What is sent arrives *delay_s* later, also where that is after the end.
    """

    from_: Annotated[NodeName, Field(alias="from")]
    to: NodeName
    start_s: Seconds
    end_s: Seconds
    rate_bps: Rate
    delay_s: Seconds = 0.0

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    @model_validator(mode="after")
    def _somewhere_and_somewhen(self) -> "Contact":
        if self.end_s <= self.start_s:
            raise ValueError(f"end_s {self.end_s:g} must be after start_s {self.start_s:g}")
        if self.from_ == self.to:
            raise ValueError(f"a contact leads from one node to another, not from {self.from_} to itself")
        return self

    @property
    def volume_bytes(self) -> float:
        """How much it can carry."""
        return (self.end_s - self.start_s) * self.rate_bps / 8.0

    @property
    def window_ns(self) -> tuple[int, int]:
        """Its start and its end in whole nanoseconds."""
        return to_ns(self.start_s), to_ns(self.end_s)

    @property
    def delay_ns(self) -> int:
        """Its delay in whole nanoseconds."""
        return to_ns(self.delay_s)


@dataclass(frozen=True)
class ContactPlan:
    """The rows of a plan; a contact's number is its place among them, from 0."""

    contacts: tuple[Contact, ...]

    def __post_init__(self) -> None:
        """Raise ValueError where the plan is too long to be one."""
        if len(self.contacts) > MAX_CONTACTS:
            raise ValueError(f"{len(self.contacts)} contacts; a plan has at most {MAX_CONTACTS}")

    @classmethod
    def of(cls, rows: Iterable[tuple[str | int, str | int, float, float, float, float]]) -> "ContactPlan":
        """Return the plan of *rows* (from, to, start_s, end_s, rate_bps, delay_s).

        Raise ValueError (pydantic's) where one is out of range.
        """
        names = ("from", "to", "start_s", "end_s", "rate_bps", "delay_s")
        return cls(tuple(Contact.model_validate(dict(zip(names, row, strict=True))) for row in rows))

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """The names of all nodes, numbers in their order before words in theirs."""
        names = {name for row in self.contacts for name in (row.from_, row.to)}
        return tuple(
            sorted(names, key=lambda name: (not name.isdecimal(), len(name) * name.isdecimal(), name))
        )

    @cached_property
    def span_s(self) -> tuple[float, float]:
        """The first start and the last end; (0, 0) of an empty plan."""
        if not self.contacts:
            return 0.0, 0.0
        return min(row.start_s for row in self.contacts), max(row.end_s for row in self.contacts)

    def between(self, from_: str, to: str) -> tuple[tuple[int, Contact], ...]:
        """Return (number, contact) of all contacts from one node to another, in the order of their start."""
        rows = [
            (number, row) for number, row in enumerate(self.contacts) if (row.from_, row.to) == (from_, to)
        ]
        return tuple(sorted(rows, key=lambda item: (item[1].start_s, item[0])))

    def gaps_s(self, from_: str, to: str, until_s: float) -> tuple[tuple[float, float], ...]:
        """Return the times from 0 to *until_s* at which no contact leads from one node to another, as (start, end)."""
        gaps, open_until = [], 0
        limit = to_ns(until_s)
        for _, row in self.between(from_, to):
            start, end = row.window_ns
            if start > open_until and open_until < limit:
                gaps.append((open_until / NS, min(start, limit) / NS))
            open_until = max(open_until, end)
        if open_until < limit:
            gaps.append((open_until / NS, until_s))
        return tuple(gaps)


@dataclass(frozen=True)
class PlanText:
    """What a file of contacts came to."""

    plan: ContactPlan
    notes: tuple[str, ...] = ()
    """What was left out or taken for something, a line each."""
    zero: str | None = None
    """What second 0 is, as in 2026-11-20T00:00:00Z; None: the file does not say."""
