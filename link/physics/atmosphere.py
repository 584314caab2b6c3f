"""What the air takes, by station, band and elevation: a table that comes with farlink, or itur where it is installed.

The table (`weights/atmosphere.json`) is itur's (ITU-R P.618, P.676, P.838, P.840): the total attenuation that is
exceeded 1 % of an average year at the DSN's three complexes, in X (8.42 GHz), K (26 GHz) and Ka band (32 GHz).
"""

from functools import cache
from math import radians, sin
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from link import weights
from link.errors import UsageError
from link.fields import Model, Seconds
from link.physics.medium import MAX_KNOTS, Degrees, require_rising

LOW_DEG = 10.0
"""Below it the ITU's models are extrapolated."""
_BAND_SHARE = 0.08
"""How far from a band's frequency its table is taken for."""
PLACES: dict[str, tuple[float, float]] = {
    "goldstone": (35.4259, -116.8895),
    "canberra": (-35.4024, 148.9813),
    "madrid": (40.4313, -4.2480),
}
"""The DSN's complexes: latitude and longitude in degrees."""
_COMPLEX = {
    "1": "goldstone",
    "2": "goldstone",
    "3": "canberra",
    "4": "canberra",
    "5": "madrid",
    "6": "madrid",
}
"""By the first figure of a station's number."""


class Atmosphere(Model):
    """The air above a ground station."""

    station: Annotated[str, Field(pattern=r"^(goldstone|canberra|madrid|dss-[1-6][0-9])$")] | None = None
    """A DSN complex, or one of its stations, as in `dss-14`; None: the coordinates below."""
    latitude_deg: Annotated[float, Field(ge=-90.0, le=90.0)] | None = None
    longitude_deg: Annotated[float, Field(ge=-180.0, le=360.0)] | None = None
    elevation_deg: Degrees | None = None
    elevation_at_deg: Annotated[tuple[tuple[Seconds, Degrees], ...], Field(max_length=MAX_KNOTS)] | None = (
        None
    )
    """(time in s, elevation in degrees) pairs, linear in between."""
    model: Literal["table", "itur"] = "table"
    exceeded_ratio: Annotated[float, Field(ge=1e-5, le=0.5)] = 0.01
    """The share of an average year in which the air takes more."""
    antenna_m: Annotated[float, Field(gt=0.0, le=1000.0)] = 34.0
    """Diameter of the receiving antenna, over which scintillation averages; `itur` alone asks."""

    @model_validator(mode="after")
    def _one_place(self) -> "Atmosphere":
        has_place = self.latitude_deg is not None and self.longitude_deg is not None
        if (self.station is None) != has_place:
            raise ValueError("give station, or latitude_deg and longitude_deg")
        if (self.elevation_deg is None) == (self.elevation_at_deg is None):
            raise ValueError("give elevation_deg or elevation_at_deg, one of the two")
        if self.elevation_at_deg is not None:
            require_rising("elevation_at_deg", self.elevation_at_deg)
        if self.model == "table" and (self.station is None or self.exceeded_ratio != 0.01):
            raise ValueError(
                "the table has DSN stations and exceeded_ratio 0.01 alone; give model: itur for others"
            )
        return self

    @property
    def place(self) -> str:
        """The complex that the station is of, or the coordinates in words."""
        if self.station is None:
            return f"{self.latitude_deg:g}, {self.longitude_deg:g}"
        return self.station if self.station in PLACES else _COMPLEX[self.station[4]]

    def attenuation_db(self, frequency_hz: float, elevation_deg: float) -> float:
        """Return what the air takes at *frequency_hz*, seen at *elevation_deg*. Raise UsageError where nobody says."""
        if self.model == "table":
            return table_db(self.place, frequency_hz, elevation_deg)
        if self.latitude_deg is not None and self.longitude_deg is not None:
            where = self.latitude_deg, self.longitude_deg
        else:
            where = PLACES[self.place]
        return itur_db(where, frequency_hz, elevation_deg, self.exceeded_ratio, self.antenna_m)


def table_db(place: str, frequency_hz: float, elevation_deg: float) -> float:
    """Return the shipped table's attenuation at *place*, a key of `PLACES`; linear in the length of the way, 1/sin el.

    Raise UsageError for another band, and below the table's lowest elevation.
    """
    table = _table()
    band = next(
        (
            name
            for name, centre in table["bands_hz"].items()
            if abs(frequency_hz / centre - 1.0) <= _BAND_SHARE
        ),
        None,
    )
    if band is None:
        known = ", ".join(f"{hz / 1e9:g}" for hz in table["bands_hz"].values())
        raise UsageError(
            f"atmosphere: the table has bands at {known} GHz, none at {frequency_hz / 1e9:g} GHz: give model: itur, or "
            "atmosphere_db"
        )
    rows = table["stations"][place][band]
    if elevation_deg < rows[0][0]:
        raise UsageError(
            f"atmosphere: an elevation of {elevation_deg:g} deg is below the table's lowest, {rows[0][0]:g}"
        )
    ways = [(1.0 / sin(radians(deg)), db) for deg, db in rows]
    way = 1.0 / sin(radians(elevation_deg))
    after = next(at for at, (length, _) in enumerate(ways) if at and (way >= length or at == len(ways) - 1))
    (far, most), (near, least) = ways[after - 1], ways[after]
    return float(least + (most - least) * (way - near) / (far - near))


@cache
def _table() -> Any:
    return weights.read_json("atmosphere.json")


@cache
def itur_db(
    where: tuple[float, float],
    frequency_hz: float,
    elevation_deg: float,
    exceeded_ratio: float,
    antenna_m: float,
) -> float:
    """Return the attenuation that itur computes at *where*, (latitude, longitude). Raise UsageError without itur."""
    try:
        import itur
    except ImportError:
        raise UsageError(
            "atmosphere.model itur: itur is not installed; pip install 'farlink[physics]', or give model: table"
        ) from None
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # below 10 degrees it warns, and so does the budget
        found = itur.atmospheric_attenuation_slant_path(
            *where, frequency_hz / 1e9, elevation_deg, exceeded_ratio * 100.0, antenna_m
        )
    return float(found.value)
