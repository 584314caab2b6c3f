"""What every budget of a hop is: where the far end is and when, what is wanted, and what it comes to.

A medium is a file beside this one with a class of `LinkBudget`, and a row of `link.physics.media.MEDIA`.
"""

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated

from pydantic import Field, model_validator

from link.fields import Model, Rate, Seconds

MAX_KNOTS = 20_000
"""Of a table of distances or elevations: a day in steps of five seconds."""
Km = Annotated[float, Field(ge=1e-6, le=1e12)]
LossDb = Annotated[float, Field(ge=0.0, le=400.0)]
GainDbi = Annotated[float, Field(ge=-60.0, le=200.0)]
Watts = Annotated[float, Field(ge=1e-12, le=1e9)]
Metres = Annotated[float, Field(ge=1e-6, le=1e6)]
Kelvin = Annotated[float, Field(ge=0.1, le=1e6)]
Degrees = Annotated[float, Field(ge=0.0, le=90.0)]
ErrorShare = Annotated[float, Field(ge=1e-12, lt=0.5)]


@dataclass(frozen=True)
class Term:
    """A line of a budget."""

    label: str
    detail: str
    value: float
    unit: str
    running: float | None = None
    """The sum so far, where the line is one of a sum's."""
    is_sum: bool = False
    """Whether *value* is what the lines above come to."""


@dataclass(frozen=True)
class Assessment:
    """What a budget comes to at one distance."""

    terms: tuple[Term, ...]
    rate_bps: float
    """What the hop's packets have."""
    margin_db: float
    """Above what the wanted error rate takes."""
    error_rate: float
    """Of bits, or of blocks of *block_bits*, 0 to 1."""
    block_bits: int | None
    """Information bits that fail together; None: bits fail one by one."""
    c_n0_dbhz: float | None = None
    eb_n0_db: float | None = None
    required_db: float | None = None
    """Of Eb/N0, for the wanted error rate."""
    notes: tuple[str, ...] = ()
    """What to know about these figures, in sentences."""


@dataclass
class Sheet:
    """Terms as they are added up."""

    terms: list[Term] = field(default_factory=list)
    total: float = 0.0

    def add(self, label: str, detail: str, db: float, unit: str = "dB") -> None:
        """Add a term to the sum."""
        self.total += db
        self.terms.append(Term(label, detail, db, unit, self.total))

    def sum(self, label: str, unit: str, detail: str = "") -> float:
        """Write the sum down under a name of its own, and return it."""
        self.terms.append(Term(label, detail, self.total, unit, self.total, True))
        return self.total

    def say(self, label: str, detail: str, value: float, unit: str) -> None:
        """Write a figure down that is no part of the sum."""
        self.terms.append(Term(label, detail, value, unit))


class LinkBudget(Model):
    """A hop's physics, which its rate and its errors follow from. Subclasses say which *medium* by a Literal."""

    medium: str
    distance_km: Km | None = None
    distance_at_km: Annotated[tuple[tuple[Seconds, Km], ...], Field(max_length=MAX_KNOTS)] | None = None
    """(time in s, distance in km) pairs, linear in between, held before the first and after the last."""
    wanted_error_rate: ErrorShare = 1e-5
    """Of bits, or with a code that has words of its words: what the margin is above, and a rate is chosen for."""
    implementation_db: LossDb = 0.0
    """What a real receiver loses against theory."""
    damaged_ratio: Annotated[float, Field(gt=0.0, le=0.5)] | None = None
    """The share of wrong bits in a block that its code could not mend, which is delivered so; None: it is lost."""

    @model_validator(mode="after")
    def _has_distance(self) -> "LinkBudget":
        if (self.distance_km is None) == (self.distance_at_km is None):
            raise ValueError("give distance_km or distance_at_km, one of the two")
        if self.distance_at_km is not None:
            require_rising("distance_at_km", self.distance_at_km)
        return self

    @abstractmethod
    def assess(self, distance_km: float, elevation_deg: float | None = None) -> Assessment:
        """Return what it comes to at *distance_km*, seen at *elevation_deg* where the air is reckoned with.

        Raise UsageError, in one line, where it cannot be reckoned.
        """

    def elevations(self) -> tuple[tuple[float, float], ...]:
        """Return (time in s, elevation in degrees) pairs; none where no elevation matters."""
        return ()

    def distances(self) -> tuple[tuple[float, float], ...]:
        """Return (time in s, distance in km) pairs, one where it does not change."""
        if self.distance_km is not None:
            return ((0.0, self.distance_km),)
        return self.distance_at_km or ()

    def at(self, time_s: float) -> Assessment:
        """Return what it comes to at *time_s* of the run."""
        elevations = self.elevations()
        return self.assess(
            interpolate(self.distances(), time_s),
            interpolate(elevations, time_s) if elevations else None,
        )

    def times_s(self) -> Iterator[float]:
        """Yield the times of the distances' and elevations' pairs, in order, each once."""
        yield from sorted({time for time, _ in (*self.distances(), *self.elevations())})


class RatedBudget(LinkBudget):
    """Of a medium whose rate is chosen: given, the highest step of a ladder, or whatever the margin leaves."""

    rate_bps: Rate | None = None
    rates_bps: Annotated[tuple[Rate, ...], Field(min_length=1, max_length=256)] | None = None
    """Rates that rise: the highest that leaves *margin_db* is used, and the lowest where none does."""
    margin_db: Annotated[float, Field(ge=-20.0, le=100.0)] = 3.0
    """What a rate is to leave, where it is not given."""

    @model_validator(mode="after")
    def _one_way_to_a_rate(self) -> "RatedBudget":
        if self.rate_bps is not None and self.rates_bps is not None:
            raise ValueError("give rate_bps or rates_bps, or neither for what margin_db leaves")
        if self.rates_bps is not None and any(low >= high for low, high in pairwise(self.rates_bps)):
            raise ValueError("rates_bps must rise")
        return self


def require_rising(name: str, pairs: tuple[tuple[float, float], ...]) -> None:
    """Raise ValueError where the times of *pairs* do not rise, or there are none."""
    if not pairs:
        raise ValueError(f"{name} needs at least one pair")
    if any(one[0] >= other[0] for one, other in pairwise(pairs)):
        raise ValueError(f"{name}: the times must rise")


def interpolate(pairs: tuple[tuple[float, float], ...], time_s: float) -> float:
    """Return the value of *pairs* (time, value), in order, at *time_s*: linear, held beyond both ends."""
    if time_s <= pairs[0][0]:
        return pairs[0][1]
    if time_s >= pairs[-1][0]:
        return pairs[-1][1]
    after = bisect_right(pairs, (time_s, float("inf")))
    (start, low), (end, high) = pairs[after - 1], pairs[after]
    return low + (high - low) * (time_s - start) / (end - start)


def in_hz(frequency_hz: float) -> str:
    """Return a frequency as people say it."""
    for least, unit in ((1e9, "GHz"), (1e6, "MHz"), (1e3, "kHz")):
        if frequency_hz >= least:
            return f"{frequency_hz / least:.6g} {unit}"
    return f"{frequency_hz:g} Hz"
