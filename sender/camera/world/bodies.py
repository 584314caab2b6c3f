"""What stands on the ground of a rendered world, built of convex parts: rocks, landers, habitats, rovers, flags.

Every part is the image of a shape of unit size under an affine map: half spaces and one quadric, so that a ray meets it
in one interval whatever it is. `models` builds things in their own frame (x forward, y left, z up, metres).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from link.seeds import generator
from sender.camera.world.themes import Colour, Paint

Real = NDArray[np.float64]

PLANES = 10
"""Half spaces of a shape: n . p <= d."""
BOX, CYLINDER, BALL, DOME, PRISM, FRUSTUM = range(6)
FIRST_ROCK = 6
ROCKS = 40
"""Shapes of rocks; size, stretch and turn make more of them."""
PLAIN, HULL, FOIL, PANEL, STONE, CLOTH = range(6)
"""Patterns on a part's surface."""


@dataclass(frozen=True)
class Shapes:
    """The unit shapes. Row s: p is inside where planes[s] hold and ax(x^2 + y^2) + az z^2 <= 1."""

    planes: NDArray[np.float32]
    """(shapes, PLANES, 4): a normal of unit length and d."""
    quadric: NDArray[np.float32]
    """(shapes, 2): ax and az."""
    bound: NDArray[np.float32]
    """(shapes, 3): half extents of the box around the shape."""


@dataclass(frozen=True)
class BodyPart:
    """One convex piece of a thing, in the thing's frame."""

    shape: int
    centre: Real
    """(3,), metres."""
    frame: Real
    """(3, 3): columns are the images of the unit shape's axes, metres."""
    colour: Colour
    second: Colour
    """The other colour of the pattern."""
    pattern: int

    def placed(self, turn: Real, at: Real) -> "BodyPart":
        """Return the part moved by the rotation *turn* (3, 3), then by *at* (3,)."""
        return BodyPart(
            self.shape, turn @ self.centre + at, turn @ self.frame, self.colour, self.second, self.pattern
        )


def shapes(seed: int) -> Shapes:
    """Return the unit shapes; the rocks among them are drive *seed*'s."""
    planes = np.tile(np.array([0.0, 0.0, 1.0, 9.0]), (FIRST_ROCK + ROCKS, PLANES, 1))
    quadric = np.full((FIRST_ROCK + ROCKS, 2), 1e-3)
    bound = np.ones((FIRST_ROCK + ROCKS, 3))
    axes = np.concatenate([np.eye(3), -np.eye(3)])
    planes[BOX, :6] = np.concatenate([axes, np.ones((6, 1))], 1)
    planes[[CYLINDER, PRISM, FRUSTUM], 0] = (0, 0, 1, 1)
    planes[[CYLINDER, PRISM, FRUSTUM], 1] = (0, 0, -1, 1)
    quadric[CYLINDER] = (1.0, 1e-9)
    quadric[[BALL, DOME]] = (1.0, 1.0)
    planes[DOME, 0] = (0, 0, -1, 0)
    for side in range(8):
        angle = 2.0 * math.pi * side / 8
        around = np.array([math.cos(angle), math.sin(angle)])
        planes[PRISM, 2 + side] = (*around, 0.0, math.cos(math.pi / 8))
        lean = 0.30
        planes[FRUSTUM, 2 + side] = np.array([*around, lean, 0.70]) / math.hypot(1.0, lean)
    rng = generator(seed, "world/rocks")
    for rock in range(FIRST_ROCK, FIRST_ROCK + ROCKS):
        normals = rng.normal(size=(PLANES, 3))
        for _ in range(12):  # push apart, so that facets lie all around
            normals /= np.linalg.norm(normals, axis=1, keepdims=True)
            gap = normals[:, None] - normals[None]
            normals += 0.10 * (gap / (0.05 + (gap**2).sum(-1, keepdims=True))).sum(1)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        planes[rock] = np.concatenate([normals, rng.uniform(0.50, 0.86, (PLANES, 1))], 1)
        quadric[rock] = (1.0, 1.0)
    return Shapes(planes.astype(np.float32), quadric.astype(np.float32), bound.astype(np.float32))


def rotation(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> Real:
    """Return the rotation by *roll* about x, *pitch* about y, then *yaw* about z, in rad."""
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    cr, sr = math.cos(roll), math.sin(roll)
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    result: Real = about_z @ about_y @ about_x
    return result


def part(
    shape: int,
    centre: Sequence[float] | Real,
    half: Sequence[float],
    colour: Colour,
    second: Colour | None = None,
    pattern: int = PLAIN,
    turn: Real | None = None,
) -> BodyPart:
    """Return a part with half extents *half*, turned by *turn*."""
    frame = (np.eye(3) if turn is None else turn) * np.asarray(half, np.float64)[None, :]
    return BodyPart(shape, np.asarray(centre, np.float64), frame, colour, second or colour, pattern)


def rod(start: Sequence[float], end: Sequence[float], radius: float, colour: Colour) -> BodyPart:
    """Return a cylinder from *start* to *end*."""
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    along = (b - a) / 2.0
    length = float(np.linalg.norm(along))
    up = along / length
    side = np.cross(up, [1.0, 0.0, 0.0] if abs(up[0]) < 0.8 else [0.0, 1.0, 0.0])
    side /= np.linalg.norm(side)
    frame = np.stack([side * radius, np.cross(up, side) * radius, along], 1)
    return BodyPart(CYLINDER, (a + b) / 2.0, frame, colour, colour, PLAIN)


def lander(paint: Paint, rng: np.random.Generator) -> list[BodyPart]:
    """Return a lander of about 3 m: an octagonal body in foil on four legs, panels, a dish."""
    parts = [
        part(PRISM, (0, 0, 1.15), (1.05, 1.05, 0.42), paint.foil, paint.dark, FOIL),
        part(PRISM, (0, 0, 1.62), (0.92, 0.92, 0.06), paint.hull),
        part(FRUSTUM, (0, 0, 0.55), (0.42, 0.42, 0.26), paint.dark),
    ]
    height = float(rng.uniform(0.35, 0.75))
    parts.append(part(DOME, (0.1, 0.1, 1.66), (0.55, 0.55, height), paint.hull, paint.dark, HULL))
    for leg in range(4):
        angle = math.pi / 4 + leg * math.pi / 2
        x, y = math.cos(angle), math.sin(angle)
        foot = (1.85 * x, 1.85 * y, 0.06)
        parts.append(rod((0.95 * x, 0.95 * y, 1.35), foot, 0.06, paint.hull))
        parts.append(rod((0.95 * x, 0.95 * y, 0.78), foot, 0.04, paint.hull))
        parts.append(part(CYLINDER, (foot[0], foot[1], 0.02), (0.24, 0.24, 0.07), paint.hull))
    if rng.uniform() < 0.6:
        for side in (-1.0, 1.0):
            turn = rotation(0.0, 0.0, -0.25 * side)
            parts.append(
                part(PRISM, (0, 1.95 * side, 1.62), (0.95, 0.95, 0.025), paint.panel, paint.hull, PANEL, turn)
            )
            parts.append(rod((0, 0.8 * side, 1.4), (0, 1.9 * side, 1.58), 0.04, paint.hull))
    parts.append(rod((-0.5, -0.45, 1.6), (-0.5, -0.45, 2.55), 0.03, paint.hull))
    lean = rotation(float(rng.uniform(-3, 3)), 0.9)
    parts.append(part(BALL, (-0.5, -0.45, 2.6), (0.40, 0.40, 0.10), paint.hull, turn=lean))
    return parts


def habitat(paint: Paint, rng: np.random.Generator) -> list[BodyPart]:
    """Return a habitat of about 9 m: a dome, a lying cylinder, an airlock between, windows and a mast."""
    radius = float(rng.uniform(2.3, 3.0))
    height = float(rng.uniform(0.80, 1.0)) * radius
    length = float(rng.uniform(2.0, 3.0))
    across = rotation(0.0, math.pi / 2)
    away = radius + 1.2 + length
    parts = [
        part(DOME, (0, 0, 0.35), (radius, radius, height), paint.hull, paint.dark, HULL),
        part(CYLINDER, (0, 0, 0.0), (radius + 0.12, radius + 0.12, 0.5), paint.panel, paint.hull),
        part(CYLINDER, (away, 0, 1.25), (1.25, 1.25, length), paint.hull, paint.dark, HULL, across),
        part(CYLINDER, (radius + 0.5, 0, 1.05), (0.75, 0.75, 1.3), paint.foil, paint.dark, PLAIN, across),
        part(BOX, (away, 0, 0.1), (length * 0.9, 0.9, 0.35), paint.dark),
    ]
    for end in (-1.0, 1.0):
        parts.append(
            part(
                CYLINDER, (away + end * length * 0.98, 0, 1.25), (1.31, 1.31, 0.09), paint.panel, turn=across
            )
        )
    for place in np.linspace(-0.6, 0.6, 3):
        for side in (-1.0, 1.0):
            flat = rotation(0.0, 0.0, math.pi / 2)
            parts.append(
                part(
                    CYLINDER,
                    (away + place * length, side * 1.2, 1.45),
                    (0.24, 0.24, 0.1),
                    paint.glass,
                    turn=flat,
                )
            )
    for angle in (-2.2, -1.1, 1.1, 2.2):
        out = np.array([math.cos(angle), math.sin(angle), 0.0]) * radius * 0.93
        turn = rotation(angle, math.pi / 2 - 0.35)
        parts.append(
            part(CYLINDER, (out[0], out[1], 0.35 + 0.36 * height), (0.36, 0.36, 0.09), paint.glass, turn=turn)
        )
    parts.append(part(BOX, (-radius - 0.35, 0, 1.0), (0.55, 0.75, 1.0), paint.hull, paint.dark, HULL))
    parts.append(part(BOX, (-radius - 0.92, 0, 0.95), (0.03, 0.48, 0.85), paint.foil))
    parts.append(rod((away, 0, 2.4), (away, 0, 4.4), 0.05, paint.hull))
    lean = rotation(float(rng.uniform(-3, 3)), 0.8)
    parts.append(part(BALL, (away, 0, 4.4), (0.55, 0.55, 0.13), paint.hull, turn=lean))
    # the origin in the middle of it all
    return [piece.placed(np.eye(3), np.array([-0.42 * away, 0.0, 0.0])) for piece in parts]


def rover(paint: Paint, rng: np.random.Generator) -> list[BodyPart]:
    """Return a six-wheeled rover of about 2.5 m: body, deck with panels, rockers, mast with a camera head, dish."""
    parts = [
        part(BOX, (0, 0, 0.82), (0.85, 0.55, 0.24), paint.hull, paint.dark, HULL),
        part(BOX, (-0.05, 0, 1.09), (1.0, 0.72, 0.03), paint.panel, paint.hull, PANEL),
    ]
    for side in (-1.0, 1.0):
        for x in (-0.95, 0.0, 0.95):
            turn = rotation(0.0, 0.0, math.pi / 2)
            parts.append(
                part(
                    CYLINDER, (x, side * 0.85, 0.27), (0.29, 0.29, 0.16), paint.dark, paint.hull, PLAIN, turn
                )
            )
            parts.append(part(CYLINDER, (x, side * 0.93, 0.27), (0.13, 0.13, 0.10), paint.hull, turn=turn))
        parts.append(rod((0.95, side * 0.72, 0.35), (0.15, side * 0.66, 0.85), 0.045, paint.hull))
        parts.append(rod((0.15, side * 0.66, 0.85), (-0.5, side * 0.70, 0.55), 0.045, paint.hull))
        parts.append(rod((0.0, side * 0.72, 0.35), (-0.5, side * 0.70, 0.55), 0.04, paint.hull))
        parts.append(rod((-0.95, side * 0.72, 0.35), (-0.5, side * 0.70, 0.55), 0.04, paint.hull))
    mast = float(rng.uniform(1.7, 2.1))
    parts.append(rod((0.7, -0.35, 1.0), (0.7, -0.35, mast), 0.055, paint.hull))
    look = rotation(float(rng.uniform(-1.2, 1.2)), 0.1)
    parts.append(part(BOX, (0.72, -0.35, mast + 0.1), (0.14, 0.28, 0.13), paint.hull, turn=look))
    parts.append(
        part(
            BOX,
            look @ [0.13, 0.0, 0.0] + [0.72, -0.35, mast + 0.1],
            (0.04, 0.2, 0.07),
            paint.glass,
            turn=look,
        )
    )
    parts.append(
        part(BOX, (-1.12, 0, 0.95), (0.24, 0.3, 0.22), paint.foil, paint.dark, FOIL, rotation(0.0, 0.5))
    )
    lean = rotation(float(rng.uniform(-3, 3)), 0.7)
    parts.append(rod((-0.55, 0.4, 1.05), (-0.55, 0.4, 1.45), 0.03, paint.hull))
    parts.append(part(BALL, (-0.55, 0.4, 1.5), (0.27, 0.27, 0.07), paint.hull, turn=lean))
    return parts


def flag(paint: Paint, rng: np.random.Generator) -> list[BodyPart]:
    """Return a flag of about 2.4 m: a pole and a cloth of two colours that hangs in folds."""
    first, second = paint.flags[int(rng.integers(len(paint.flags)))]
    tall = float(rng.uniform(2.1, 2.7))
    parts = [
        rod((0, 0, -0.3), (0, 0, tall), 0.032, paint.hull),
        part(BALL, (0, 0, tall), (0.06, 0.06, 0.06), paint.foil),
    ]
    x, y, heading = 0.03, 0.0, 0.0
    kind = int(rng.integers(3))
    for fold in range(5):
        heading = 0.45 * math.sin(1.7 * fold + float(rng.uniform(-0.4, 0.4)))
        length = 0.27
        middle = (x + length / 2 * math.cos(heading), y + length / 2 * math.sin(heading))
        turn = rotation(heading)
        bands = ((0.612, 0.206), (0.206, 0.206)) if kind == 0 else ((0.41, 0.41),)
        for number, (low, half) in enumerate(bands):
            striped = (
                (first, second)[number] if kind == 0 else (second if kind == 1 and fold in (1, 2) else first)
            )
            centre = (*middle, tall - 0.86 + low)
            parts.append(part(BOX, centre, (length / 2 + 0.012, 0.012, half), striped, striped, CLOTH, turn))
        x, y = x + length * math.cos(heading), y + length * math.sin(heading)
    return parts


MODELS = {"lander": lander, "habitat": habitat, "rover": rover, "flag": flag}
"""By class: what builds one from paint and a generator."""
FOOTPRINT_M = {"lander": 2.2, "habitat": 6.6, "rover": 1.5, "flag": 0.4}
"""Radius around the model's place that stays free of rocks."""
