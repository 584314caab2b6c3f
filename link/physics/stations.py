"""Ground stations: the named ones, and where a site is on its body."""

import math

from link.physics.bodies import FIGURES
from link.places import GroundSite

# Metres, ITRF: table 1 of the KPLO orbit determination paper (Journal of Astronomy and Space Sciences 40(2), 79-88,
# 2023); the IAU's list agrees to 0.15 m.
STATIONS_M = {
    "dss-14": (-2353621.420, -4641341.472, 3677052.318),
    "dss-24": (-2354906.711, -4646840.095, 3669242.325),
    "dss-34": (-4461147.093, 2682439.239, -3674393.133),
    "dss-43": (-4460894.917, 2682361.507, -3674748.152),
    "dss-63": (4849092.518, -360180.348, 4115109.251),
    "dss-65": (4849339.634, -360427.664, 4114750.733),
}
"""Of the Deep Space Network: 14 and 24 at Goldstone, 34 and 43 at Canberra, 63 and 65 at Madrid."""
ALIASES = {"goldstone": "dss-14", "canberra": "dss-43", "madrid": "dss-63"}
"""A complex by its 70 m antenna."""
MASK_DEG = 10.0
_FLATTENING = 1.0 / 298.257223563  # WGS 84

Vector = tuple[float, float, float]


def site_km(site: GroundSite) -> tuple[Vector, Vector]:
    """Return (place in km from the centre, unit vector upwards) of *site*, in axes that turn with its body."""
    latitude, longitude = math.radians(site.latitude_deg), math.radians(site.longitude_deg)
    up = _up(latitude, longitude)
    radius, height = FIGURES[site.body].radius_km, site.altitude_m / 1000.0
    squeeze = (1.0 - _FLATTENING) ** 2 if site.body == "earth" else 1.0
    normal = radius / math.sqrt(math.cos(latitude) ** 2 + squeeze * math.sin(latitude) ** 2)
    flat, high = normal + height, squeeze * normal + height
    return (flat * up[0], flat * up[1], high * up[2]), up


def station_km(name: str) -> tuple[Vector, Vector]:
    """Return (place in km, unit vector upwards) of a named station. Raise KeyError where there is none."""
    x, y, z = (metres / 1000.0 for metres in STATIONS_M[ALIASES.get(name, name)])
    flat = math.hypot(x, y)
    squared = _FLATTENING * (2.0 - _FLATTENING)
    latitude = math.atan2(z, flat * (1.0 - squared))
    for _ in range(6):  # Bowring's fixed point: each step gains a factor of 150
        normal = FIGURES["earth"].radius_km / math.sqrt(1.0 - squared * math.sin(latitude) ** 2)
        latitude = math.atan2(z + squared * normal * math.sin(latitude), flat)
    return (x, y, z), _up(latitude, math.atan2(y, x))


def _up(latitude: float, longitude: float) -> Vector:
    return (
        math.cos(latitude) * math.cos(longitude),
        math.cos(latitude) * math.sin(longitude),
        math.sin(latitude),
    )
