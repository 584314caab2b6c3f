"""Bodies that sites are on and orbits go around: size, gravity, rotation; and how large all bodies are that hide."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BodyFigures:
    """Of one body. Sources: NASA's planetary fact sheets, GMM-3 and GRAIL (gravity), IAU WGCCRE 2009 (rotation, the
    linear terms)."""

    radius_km: float
    """That heights and flattening are reckoned from (equatorial; the Moon's mean)."""
    mu_km3_s2: float
    j2: float
    day_s: float
    """One turn against the stars."""
    pole_deg: tuple[float, float]
    """Right ascension and declination of the pole (J2000)."""
    meridian_deg: tuple[float, float]
    """The prime meridian from the node of the equator on the ICRF's: at J2000, and a day."""


FIGURES = {
    # The Earth's rotation is reckoned exactly where it faces other bodies (`link.physics.tracks`).
    "earth": BodyFigures(
        6378.137, 398_600.4418, 1.08262668e-3, 86_164.0989037, (0.0, 90.0), (190.147, 360.9856235)
    ),
    "moon": BodyFigures(1737.4, 4902.8, 2.0323e-4, 2_360_591.5, (269.9949, 66.5392), (38.3213, 13.17635815)),
    "mars": BodyFigures(
        3396.19, 42_828.37, 1.96045e-3, 88_642.6632, (317.681, 52.887), (176.630, 350.89198226)
    ),
}
RADII_KM = {
    "sun": 695_700.0, "mercury": 2440.5, "venus": 6051.8, "jupiter": 71_492.0, "saturn": 60_268.0,
    "uranus": 25_559.0, "neptune": 24_764.0, **{name: body.radius_km for name, body in FIGURES.items()},
}  # fmt: skip
"""Equatorial radii, for what hides what."""
