"""Where the ends of a hop are, as scenarios say it: a body's centre, a station, a site, an orbit, a table of places.

What follows from them (light times, passes) is reckoned before a run, by `link.physics`.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from link.fields import MAX_SECONDS, Model, Text

_FIRST, _LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
Degrees = Annotated[float, Field(ge=-360.0, le=360.0)]
Kilometres = Annotated[float, Field(ge=0.0, le=1e7)]
World = Literal["earth", "moon", "mars"]
"""What sites are on and orbits go around: bodies whose rotation and gravity are known here."""


def _date(value: Any) -> Any:
    """Read an ISO date with its zone; YAML gives the text that stands there."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(
                f"a UTC date was expected, as in 2026-11-20T00:00:00Z, not {value[:40]!r}"
            ) from None
    return value


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a date needs its zone: Z is UTC, as in 2026-11-20T00:00:00Z")
    value = value.astimezone(UTC)
    if not _FIRST <= value < _LAST:
        raise ValueError("a date between 1900 and 2100 was expected")
    return value


def iso(value: datetime) -> str:
    """Return a UTC date as it is written: 2026-11-20T00:00:00Z."""
    return value.isoformat().replace("+00:00", "Z")


Utc = Annotated[datetime, BeforeValidator(_date), AfterValidator(_in_utc), PlainSerializer(iso, str)]


class GroundSite(Model):
    """A place on a body, which turns with it."""

    body: World = "earth"
    latitude_deg: Annotated[float, Field(ge=-90.0, le=90.0)]
    """North of the equator; geodetic (WGS 84) on the Earth, on a sphere elsewhere."""
    longitude_deg: Degrees
    """East of the prime meridian."""
    altitude_m: Annotated[float, Field(ge=-12_000.0, le=50_000.0)] = 0.0
    mask_deg: Annotated[float, Field(ge=-5.0, lt=90.0)] = 10.0
    """The elevation below which nothing is seen."""


class Orbit(Model):
    """An orbit by Kepler, turned by the body's flattening (J2), from its heights or its elements.

    Angles hold at the run's start, about the body's pole; the node is counted from where the prime meridian then is.
    """

    body: World
    periapsis_km: Kilometres | None = None
    """The lowest height above the body's mean radius; with apoapsis_km the highest, alone: a circle."""
    apoapsis_km: Kilometres | None = None
    semi_major_km: Annotated[float, Field(gt=0.0, le=1e7)] | None = None
    """The other way to say it: half the long axis, from the centre, and the eccentricity."""
    eccentricity: Annotated[float, Field(ge=0.0, le=0.95)] | None = None
    inclination_deg: Annotated[float, Field(ge=0.0, le=180.0)]
    node_deg: Degrees = 0.0
    """The ascending node."""
    argument_deg: Degrees = 0.0
    """Of the pericentre, from the node."""
    anomaly_deg: Degrees = 0.0
    """The mean anomaly."""

    @model_validator(mode="after")
    def _one_size(self) -> "Orbit":
        if (self.periapsis_km is None) == (self.semi_major_km is None):
            raise ValueError("give periapsis_km (and apoapsis_km), or semi_major_km (and eccentricity)")
        if self.periapsis_km is not None and self.eccentricity is not None:
            raise ValueError("eccentricity goes with semi_major_km")
        if self.semi_major_km is not None and self.apoapsis_km is not None:
            raise ValueError("apoapsis_km goes with periapsis_km")
        if self.apoapsis_km is not None and self.apoapsis_km < (self.periapsis_km or 0.0):
            raise ValueError("apoapsis_km is under periapsis_km")
        return self


class Table(Model):
    """A file of lines `UTC, x, y, z`: kilometres from a body's centre in ICRS axes; between them straight lines."""

    file: Text
    body: Literal[
        "sun", "earth", "moon", "mars", "jupiter", "saturn", "uranus", "neptune", "venus", "mercury"
    ] = "sun"


class Place(Model):
    """One end of a hop. A bare name stands for `name`: `mars`, `dss-14`."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)] | None = None
    """A body of the ephemeris, that is its centre, or one of the named stations (`link.physics.stations`)."""
    site: GroundSite | None = None
    orbit: Orbit | None = None
    table: Table | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _one_kind(self) -> "Place":
        if sum(kind is not None for kind in (self.name, self.site, self.orbit, self.table)) != 1:
            raise ValueError("a name (mars, dss-14), or one of site, orbit and table was expected")
        return self


class Delay(Model):
    """A delay that follows from where the ends are, at each time of the run."""

    ephemeris: tuple[Place, Place]
    """From where to where: `[mars, earth]`."""
    at: Utc
    """The run's start."""


class Contacts(Model):
    """When the ends of a hop see each other, from where they are, or by a contact plan. Else packets wait."""

    ephemeris: tuple[Place, Place] | None = None
    """From where to where: `[{orbit: {...}}, dss-14]`."""
    at: Utc | None = None
    """The run's start, with `ephemeris`."""
    sun_deg: Annotated[float, Field(ge=0.0, le=90.0)] = 2.0
    """Between planets: how near the Sun the other end may be in the sky of the receiving end (its noise)."""
    plan: Text | None = None
    """A file of contacts, ION's or HDTN's or farlink's own (`farlink scenarios contacts`)."""
    nodes: tuple[str | int, str | int] | None = None
    """With `plan`: from which node of it to which."""
    for_s: Annotated[float, Field(gt=0.0, le=MAX_SECONDS)] | None = None
    """For how long contacts are looked for; None: the frames of the run, and a day. After the last one found the hop
    stays as it is then."""

    @model_validator(mode="after")
    def _one_source(self) -> "Contacts":
        if (self.ephemeris is None) == (self.plan is None):
            raise ValueError("give ephemeris with at, or plan with nodes")
        if (self.ephemeris is None) != (self.at is None) or (self.plan is None) != (self.nodes is None):
            raise ValueError("give ephemeris with at, or plan with nodes")
        return self
