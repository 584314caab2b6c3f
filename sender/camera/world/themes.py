"""The worlds that one renderer knows, as rows of numbers: the shape of the ground, light and air, and paint.

Colours are linear RGB; albedos lie in 0 to 1, lights are in units of a white surface under the Martian noon sun.
"""

from collections.abc import Mapping
from dataclasses import dataclass

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class GroundTheme:
    """The shape of the ground and what it is covered with."""

    hill_m: float
    """Height of the hills beside the valley that the drive follows."""
    valley_m: tuple[float, float]
    """Distance from the drive at which hills begin, and at which they have their full height."""
    sharp: float
    """How much of the hills is ridges rather than domes, 0 to 1."""
    rolling_m: float
    """Standard deviation of the rolling ground: wavelengths of 20 to 120 m."""
    dunes_m: float
    """Height of dunes: wavelengths of 2 to 6 m."""
    rough_m: float
    """Standard deviation of what lies between: wavelengths of 1 to 16 m."""
    ripples_m: float
    """Height of wind or current ripples: wavelengths of about 0.3 m."""
    craters: tuple[int, int]
    """Craters of 0.9 to 6 m radius on 256 x 256 m, and of 8 to 32 m radius on 1024 x 1024 m."""
    bedrock: tuple[float, float]
    """Share of the ground that is bedrock; each drive draws its own from this range."""
    rocks: tuple[float, float]
    """Factor on the number of rocks; each drive draws its own from this range."""


@dataclass(frozen=True)
class Light:
    """Sun, sky, air or water, and the rover's own lamps."""

    sun: Colour
    sun_elevation_deg: tuple[float, float]
    ambient: Colour
    """Light from above, on level ground."""
    bounce: Colour
    """Light from the ground, on what looks down."""
    zenith: Colour
    horizon: Colour
    glow: Colour
    """Around the sun."""
    haze_per_m: Colour
    """Extinction of what is seen, per metre."""
    veil: Colour
    """What haze looks like where it is thick, away from the horizon's own colour."""
    veil_mix: float
    """0: haze takes the colour of the sky at the horizon; 1: that of `veil`."""
    lamp: Colour
    """The rover's lamps at 1 m; falls off with distance."""
    backscatter: float
    """Height of the opposition surge, after Hapke (1981)."""
    lommel: float
    """0: Lambert's law; 1: Lommel and Seeliger's, which keeps dusty ground bright to the limb."""
    exposure: float
    reach_m: float
    """Ground farther away is not drawn."""
    stars: bool = False
    snow: int = 0
    """Drifting specks in front of the camera."""


@dataclass(frozen=True)
class Paint:
    """Albedos of ground, rocks and built things."""

    sand: tuple[Colour, Colour]
    """Two between which patches vary."""
    bedrock: tuple[Colour, Colour]
    rocks: tuple[Colour, ...]
    dust: Colour
    """Settles on rocks that look up."""
    track: float
    """Albedo of a wheel track against that of the sand around it."""
    hull: Colour
    foil: Colour
    dark: Colour
    panel: Colour
    glass: Colour
    flags: tuple[tuple[Colour, Colour], ...]


@dataclass(frozen=True)
class Theme:
    """A world, and the words for it in captions."""

    ground: GroundTheme
    light: Light
    paint: Paint
    plain: str
    """As in "a sandy plain under a dusty sky"."""
    sky: str


_FLAGS: tuple[tuple[Colour, Colour], ...] = (
    ((0.72, 0.04, 0.04), (0.85, 0.85, 0.82)),
    ((0.03, 0.10, 0.55), (0.90, 0.72, 0.05)),
    ((0.03, 0.35, 0.10), (0.85, 0.85, 0.82)),
    ((0.80, 0.30, 0.02), (0.85, 0.85, 0.82)),
    ((0.03, 0.30, 0.60), (0.80, 0.80, 0.78)),
)

TABLE: Mapping[str, Theme] = {
    "mars": Theme(
        GroundTheme(
            hill_m=105.0,
            valley_m=(35.0, 520.0),
            sharp=0.75,
            rolling_m=0.9,
            dunes_m=0.11,
            rough_m=0.035,
            ripples_m=0.022,
            craters=(14, 7),
            bedrock=(0.10, 0.34),
            rocks=(0.8, 2.0),
        ),
        Light(
            sun=(1.50, 1.27, 1.02),
            sun_elevation_deg=(17.0, 48.0),
            ambient=(0.145, 0.115, 0.10),
            bounce=(0.10, 0.055, 0.03),
            zenith=(0.30, 0.20, 0.135),
            horizon=(0.66, 0.47, 0.31),
            glow=(0.75, 0.72, 0.70),
            haze_per_m=(0.00032, 0.00037, 0.00044),
            veil=(0.62, 0.44, 0.29),
            veil_mix=0.3,
            lamp=(0.0, 0.0, 0.0),
            backscatter=0.25,
            lommel=0.35,
            exposure=1.75,
            reach_m=7000.0,
        ),
        Paint(
            sand=((0.385, 0.178, 0.080), (0.245, 0.102, 0.045)),
            bedrock=((0.42, 0.29, 0.20), (0.28, 0.18, 0.12)),
            rocks=((0.17, 0.12, 0.095), (0.24, 0.15, 0.105), (0.13, 0.105, 0.095), (0.34, 0.235, 0.17)),
            dust=(0.38, 0.185, 0.088),
            track=0.62,
            hull=(0.74, 0.72, 0.70),
            foil=(0.62, 0.40, 0.10),
            dark=(0.045, 0.045, 0.05),
            panel=(0.035, 0.055, 0.14),
            glass=(0.03, 0.06, 0.09),
            flags=_FLAGS,
        ),
        "plain",
        "a dusty sky",
    ),
    "moon": Theme(
        GroundTheme(
            hill_m=150.0,
            valley_m=(60.0, 700.0),
            sharp=0.12,
            rolling_m=0.75,
            dunes_m=0.0,
            rough_m=0.03,
            ripples_m=0.0,
            craters=(190, 60),
            bedrock=(0.06, 0.20),
            rocks=(0.7, 1.7),
        ),
        Light(
            sun=(1.35, 1.33, 1.28),
            sun_elevation_deg=(13.0, 36.0),
            ambient=(0.018, 0.019, 0.022),
            bounce=(0.05, 0.049, 0.047),
            zenith=(0.0, 0.0, 0.0),
            horizon=(0.0, 0.0, 0.0),
            glow=(0.10, 0.10, 0.10),
            haze_per_m=(0.0, 0.0, 0.0),
            veil=(0.0, 0.0, 0.0),
            veil_mix=0.0,
            lamp=(0.0, 0.0, 0.0),
            backscatter=0.75,
            lommel=0.6,
            exposure=1.9,
            reach_m=7000.0,
            stars=True,
        ),
        Paint(
            sand=((0.205, 0.199, 0.190), (0.150, 0.147, 0.142)),
            bedrock=((0.40, 0.395, 0.385), (0.29, 0.285, 0.28)),
            rocks=((0.30, 0.295, 0.285), (0.22, 0.215, 0.21), (0.38, 0.375, 0.365), (0.15, 0.15, 0.148)),
            dust=(0.20, 0.195, 0.19),
            track=0.58,
            hull=(0.76, 0.76, 0.75),
            foil=(0.70, 0.46, 0.10),
            dark=(0.04, 0.04, 0.045),
            panel=(0.03, 0.05, 0.15),
            glass=(0.02, 0.04, 0.07),
            flags=_FLAGS,
        ),
        "cratered plain",
        "a black sky",
    ),
    "seafloor": Theme(
        GroundTheme(
            hill_m=15.0,
            valley_m=(9.0, 70.0),
            sharp=0.55,
            rolling_m=0.55,
            dunes_m=0.09,
            rough_m=0.04,
            ripples_m=0.034,
            craters=(10, 0),
            bedrock=(0.10, 0.30),
            rocks=(0.7, 1.7),
        ),
        Light(
            sun=(0.13, 0.36, 0.38),
            sun_elevation_deg=(50.0, 80.0),
            ambient=(0.03, 0.105, 0.13),
            bounce=(0.02, 0.05, 0.05),
            zenith=(0.030, 0.275, 0.40),
            horizon=(0.008, 0.105, 0.165),
            glow=(0.05, 0.22, 0.26),
            haze_per_m=(0.085, 0.031, 0.026),
            veil=(0.004, 0.066, 0.105),
            veil_mix=0.75,
            lamp=(4.6, 4.3, 3.5),
            backscatter=0.1,
            lommel=0.2,
            exposure=2.5,
            reach_m=400.0,
            snow=150,
        ),
        Paint(
            sand=((0.46, 0.42, 0.32), (0.34, 0.31, 0.24)),
            bedrock=((0.22, 0.23, 0.21), (0.13, 0.14, 0.13)),
            rocks=((0.12, 0.12, 0.11), (0.20, 0.18, 0.14), (0.09, 0.10, 0.10), (0.28, 0.24, 0.20)),
            dust=(0.30, 0.29, 0.20),
            track=0.6,
            hull=(0.80, 0.56, 0.06),
            foil=(0.70, 0.24, 0.04),
            dark=(0.05, 0.05, 0.055),
            panel=(0.30, 0.31, 0.33),
            glass=(0.30, 0.55, 0.52),
            flags=_FLAGS,
        ),
        "sea floor",
        "dim blue water",
    ),
}
"""The themes by name."""
