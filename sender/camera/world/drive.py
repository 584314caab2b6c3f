"""A drive through a rendered world: from its seed to poses, from poses to views with their truth."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from link.seeds import generator
from sender.camera.world import bodies
from sender.camera.world.bodies import BodyPart
from sender.camera.world.caption import caption
from sender.camera.world.cast import SKY, BodyParts, Cameras, Ground, Hits, cast, shade
from sender.camera.world.light import SKY_CLASS, Surface, SurfaceLook
from sender.camera.world.placing import Placing, Site
from sender.camera.world.sky import earth, snow, stars
from sender.camera.world.terrain import PERIOD_M, build, winding
from sender.camera.world.themes import TABLE
from sender.camera.world.view import CLASSES, THINGS, Box, Pose, View

Real = NDArray[np.float64]

FOV_RAD = math.radians(46.0)
"""Vertical; a very wide picture has less, so that no picture is wider than `WIDEST_RAD`."""
WIDEST_RAD = math.radians(100.0)
MAST_M = 1.75
ROCK_PX = 40
"""Rocks of fewer visible pixels at 256x192 have no box; built things need half of that."""
SAMPLES = ((0.375, 0.125), (0.875, 0.375), (0.125, 0.625), (0.625, 0.875))
"""Where the rays of a pixel with an edge go: a rotated grid."""
EDGE = 0.07
"""Difference of brightness between neighbours, 0 to 1, that makes an edge."""
SHADOW_M = 90.0
BATCH = 8
"""Views rendered together on a GPU; more would only take more memory."""


class Drive:
    """The ground, the light and the things of one seed of one theme."""

    def __init__(self, theme: str, seed: int) -> None:
        self._name, self._seed, self._theme = theme, seed, TABLE[theme]
        rng = generator(seed, f"world/{theme}")
        light, ground = self._theme.light, self._theme.ground
        high = math.radians(rng.uniform(*light.sun_elevation_deg))
        # rarely from straight behind or ahead, where shadows hide or everything is one
        side = rng.uniform(0.35, 0.85) * math.pi * rng.choice([-1.0, 1.0])
        self._sun = (math.cos(high) * math.cos(side), math.cos(high) * math.sin(side), math.sin(high))
        wind = rng.uniform(-0.9, 0.9)
        bedrock, rocks = rng.uniform(*ground.bedrock), rng.uniform(*ground.rocks)
        self._step_m = rng.uniform(0.55, 0.72)
        self._start_m = rng.uniform(0.0, PERIOD_M)
        self._swing = rng.uniform(0.0, 2.0 * math.pi, 4)
        stream = int(rng.integers(2**31))
        self._terrain = build(ground, stream, bedrock, wind, self._sun)
        self._placing = Placing(stream, rocks, self._terrain.phases, self._terrain.track_phases)
        self._shapes = bodies.shapes(stream)
        self._looks: dict[str, SurfaceLook] = {}

    def pose(self, index: int, fov_rad: float) -> Pose:
        """Return the camera's pose at frame *index*."""
        x = self._start_m + self._step_m * index
        y, slope = winding(np.array([x]), self._terrain.phases)
        heading = math.atan(slope[0])
        along, across = (math.cos(heading), math.sin(heading)), (-math.sin(heading), math.cos(heading))
        wheels = [
            (a * along[0] + b * across[0], a * along[1] + b * across[1]) for a in (1, -1) for b in (0.8, -0.8)
        ]
        places = np.array([(x, y[0]), *((x + dx, y[0] + dy) for dx, dy in wheels)])
        ground = self._heights(places[:, 0], places[:, 1])
        level = max(float(ground[1:].mean()), float(ground[0]) - 0.3)
        rise = math.atan((ground[1] + ground[2] - ground[3] - ground[4]) / 4.0)
        lean = math.atan((ground[2] + ground[4] - ground[1] - ground[3]) / 3.2)
        a, b, c, d = self._swing
        pan = 0.34 * math.sin(index / 23.0 + a) + 0.16 * math.sin(index / 9.1 + b)
        nod = math.radians(-11.0) + 0.045 * math.sin(index / 17.0 + c) + 0.008 * math.sin(index * 0.9 + d)
        pitch = nod + 0.7 * (rise * math.cos(pan) + lean * math.sin(pan))
        roll = 0.7 * (lean * math.cos(pan) - rise * math.sin(pan)) + 0.006 * math.sin(index * 1.3 + a)
        return Pose(x, float(y[0]), level + MAST_M, heading + pan, pitch, roll, fov_rad)

    def views(self, indices: Sequence[int], width: int, height: int, device: str) -> list[View]:
        """Return the frames *indices* at *width* x *height*, rendered on *device*."""
        made: list[View] = []
        # on a CPU one by one: together is no faster, and a view's bytes stay its own
        batch = 1 if device == "cpu" else BATCH
        for start in range(0, len(indices), batch):
            made.extend(self._batch(indices[start : start + batch], width, height, device))
        return made

    @torch.no_grad()
    def _batch(self, indices: Sequence[int], width: int, height: int, device: str) -> list[View]:
        focal = max(0.5 * height / math.tan(FOV_RAD / 2.0), 0.5 * width / math.tan(WIDEST_RAD / 2.0))
        fov = 2.0 * math.atan(0.5 * height / focal)
        poses = [self.pose(index, fov) for index in indices]
        look = self._look(device)
        cameras = _cameras(poses, focal, width, height, device)
        parts = self._parts(poses, math.hypot(width, height) / 2.0 / focal, device)
        ground = Ground(look.terrain, cameras, self._theme.light.reach_m)
        every = torch.arange(len(poses) * width * height, device=device)
        hits = cast(cameras, ground, parts, every)
        surface = look.surface(cameras, parts, hits)
        film = self._film(look, cameras, parts, hits, surface)
        film = self._smooth(look, cameras, ground, parts, hits, film)
        shape = (len(poses), height, width)
        things = torch.where(hits.part >= 0, _at(parts.thing, hits.part), -1).view(shape).cpu().numpy()
        pixels = (film.view(*shape, 3) * 255.0 + 0.5).to(torch.uint8).cpu().numpy()
        depth = hits.depth_m.view(shape).cpu().numpy()
        labels = surface.label.to(torch.uint8).view(shape).cpu().numpy()
        made = []
        for number, (index, pose) in enumerate(zip(indices, poses, strict=True)):
            picture = pixels[number]
            if self._theme.light.snow:
                picture = snow(picture, self._seed, index, self._theme.light.snow)
            if self._theme.light.stars:
                picture = stars(picture, labels[number] == SKY_CLASS, pose, cameras.focal_px, self._seed)
            boxes = _boxes(things[number], labels[number], depth[number])
            words = caption(self._theme.plain, self._theme.sky, labels[number], boxes)
            made.append(View(picture, depth[number], labels[number], boxes, pose, words))
        return made

    def _film(
        self, look: SurfaceLook, cameras: Cameras, parts: BodyParts, hits: Hits, surface: Surface
    ) -> Tensor:
        eye = torch.zeros_like(hits.direction)
        eye[:, 2] = cameras.height_m[hits.view]
        there = hits.part != SKY
        depth = torch.where(there, hits.depth_m, torch.zeros_like(hits.depth_m))
        lift = (0.004 + 0.0015 * depth)[:, None]
        points = eye + hits.direction * depth[:, None] + surface.normal * lift
        dark, closed = shade(cameras, parts, hits, points, look.sun, SHADOW_M)
        light = look.light(hits, surface, dark, closed)
        if self._theme.light.stars:
            light = earth(light, hits, look.sun, self._seed)
        return look.film(light)

    def _smooth(
        self, look: SurfaceLook, cameras: Cameras, ground: Ground, parts: BodyParts, hits: Hits, film: Tensor
    ) -> Tensor:
        """Return *film* with more rays through the pixels at edges."""
        shape = (len(cameras.axes), cameras.height, cameras.width)
        bright = film.mean(1).view(shape)
        edges = torch.zeros(shape, dtype=torch.bool, device=film.device)
        for axis in (1, 2):
            step = bright.diff(dim=axis).abs() > EDGE
            low, high = step.shape[axis], shape[axis]
            edges.narrow(axis, 0, low).logical_or_(step)
            edges.narrow(axis, high - low, low).logical_or_(step)
        some = torch.nonzero(edges.view(-1)).squeeze(1)
        if not len(some):
            return film
        again = cast(cameras, ground, parts, some, SAMPLES)
        finer = self._film(look, cameras, parts, again, look.surface(cameras, parts, again))
        film = film.clone()
        film[some] = finer.view(len(SAMPLES), len(some), 3).mean(0)
        return film

    def _look(self, device: str) -> SurfaceLook:
        if device not in self._looks:
            self._looks[device] = SurfaceLook(self._theme, self._terrain.on(device), self._sun, device)
        return self._looks[device]

    def _heights(self, x: Real, y: Real) -> Real:
        place = torch.from_numpy(np.stack([np.mod(x, PERIOD_M), y]).astype(np.float32))
        heights: Real = self._terrain.height(place[0], place[1]).numpy().astype(np.float64)
        return heights

    def _parts(self, poses: Sequence[Pose], spread: float, device: str) -> BodyParts:
        """Return all that stands in the views of *poses*; *spread* is the tangent of half the diagonal's angle."""
        half = math.atan(spread) + 0.12
        gathered: list[tuple[int, int, int, BodyPart]] = []
        thing = 0
        for view, pose in enumerate(poses):
            sites = self._placing.sites(pose.x_m, min(260.0, self._theme.light.reach_m / 6.0))
            kept = [site for site in sites if _may_be_told(site, pose, half)]
            for site in kept:
                for piece in self._built(site):
                    gathered.append((view, thing, CLASSES.index(site.kind), _relative(piece, pose)))
                thing += 1
            clear = [(site, bodies.FOOTPRINT_M[site.kind]) for site in sites]
            rocks = self._placing.rocks(pose.x_m, pose.y_m, pose.yaw_rad, half, clear)
            base = self._heights(rocks.x, rocks.y) if len(rocks.x) else np.zeros(0)
            for number in range(len(rocks.x)):
                piece = self._rock(
                    rocks.x[number],
                    rocks.y[number],
                    base[number],
                    rocks.radius_m[number],
                    rocks.draws[number],
                )
                gathered.append((view, thing, CLASSES.index("rock"), _relative(piece, pose)))
                thing += 1
        return _parts(gathered, self._shapes, device)

    def _rock(self, x: float, y: float, base: float, radius: float, draw: Real) -> BodyPart:
        paint = self._theme.paint
        stretch = np.array([0.85 + 0.6 * draw[0], 0.75 + 0.35 * draw[1], 0.55 + 0.45 * draw[2]])
        turn = bodies.rotation(2.0 * math.pi * draw[3], 0.35 * (draw[4] - 0.5), 0.35 * (draw[5] - 0.5))
        shape = bodies.FIRST_ROCK + int(draw[6] * bodies.ROCKS)
        bright = 0.8 + 0.45 * ((draw[7] * 37.0) % 1.0)
        colour = paint.rocks[int(draw[7] * len(paint.rocks))]
        tinted = (colour[0] * bright, colour[1] * bright, colour[2] * bright)
        centre = np.array([x, y, base + radius * (0.12 + 0.32 * draw[1]) * stretch[2]])
        return BodyPart(shape, centre, turn * (radius * stretch)[None, :], tinted, tinted, bodies.STONE)

    def _built(self, site: Site) -> list[BodyPart]:
        rng = self._placing.model_generator(site)
        pieces = bodies.MODELS[site.kind](self._theme.paint, rng)
        free = 0.6 * bodies.FOOTPRINT_M[site.kind]
        corner = np.array([(0, 0), (free, 0), (-free, 0), (0, free), (0, -free)])
        ground = self._heights(site.x + corner[:, 0], site.y + corner[:, 1])
        turn = bodies.rotation(site.heading)
        if site.kind == "rover":
            up = np.array([-(ground[1] - ground[2]) / (2 * free), -(ground[3] - ground[4]) / (2 * free), 1.0])
            turn = _upright(up / np.linalg.norm(up)) @ turn
        low = (
            float(ground.mean())
            if site.kind in ("rover", "flag")
            else float(0.5 * ground.mean() + 0.5 * ground.min())
        )
        return [piece.placed(turn, np.array([site.x, site.y, low])) for piece in pieces]


def _upright(up: Real) -> Real:
    """Return the smallest rotation that takes z to *up*."""
    axis = np.array([-up[1], up[0], 0.0])
    cross = np.array([[0, 0, axis[1]], [0, 0, -axis[0]], [-axis[1], axis[0], 0]])
    result: Real = np.eye(3) + cross + cross @ cross / (1.0 + up[2])
    return result


def _may_be_told(site: Site, pose: Pose, half: float) -> bool:
    """Return whether what stands at *site* may be in view and is large enough to be told."""
    dx, dy = site.x - pose.x_m, site.y - pose.y_m
    away = math.hypot(dx, dy)
    size = bodies.FOOTPRINT_M[site.kind] + 1.5
    if away < size + 1.0:
        return True
    off = abs((math.atan2(dy, dx) - pose.yaw_rad + math.pi) % (2.0 * math.pi) - math.pi)
    # shadows reach into the view from outside it
    return off < half + math.asin(min(1.0, 2.5 * size / away)) and size / away > 0.012


def _relative(piece: BodyPart, pose: Pose) -> BodyPart:
    return piece.placed(np.eye(3), np.array([-pose.x_m, -pose.y_m, 0.0]))


def _cameras(poses: Sequence[Pose], focal: float, width: int, height: int, device: str) -> Cameras:
    axes = []
    for pose in poses:
        turn = bodies.rotation(pose.yaw_rad, -pose.pitch_rad, pose.roll_rad)
        axes.append(np.stack([turn[:, 0], -turn[:, 1], -turn[:, 2]]))
    yaw = np.array([pose.yaw_rad for pose in poses])
    up = np.array([pose.z_m for pose in poses])
    origin = np.array([(pose.x_m % PERIOD_M, pose.y_m) for pose in poses])
    turns, bearings, heights, places = (
        torch.from_numpy(item.astype(np.float32)).to(device) for item in (np.stack(axes), yaw, up, origin)
    )
    return Cameras(turns, bearings, heights, places, focal, width, height)


def _parts(gathered: list[tuple[int, int, int, BodyPart]], shapes: bodies.Shapes, device: str) -> BodyParts:
    pieces = [row[3] for row in gathered]
    count = len(pieces)
    shape = np.array([piece.shape for piece in pieces], np.int64)
    centre = np.array([piece.centre for piece in pieces]).reshape(count, 3)
    frame = np.array([piece.frame for piece in pieces]).reshape(count, 3, 3)
    size = np.linalg.norm(frame, axis=1)
    inverse = np.linalg.inv(frame) if count else frame
    ends = np.stack(np.meshgrid((-1.0, 1.0), (-1.0, 1.0), (-1.0, 1.0), indexing="ij"), -1).reshape(8, 3)
    corners = centre[:, None] + (ends[None] * shapes.bound[shape][:, None]) @ frame.transpose(0, 2, 1)
    colours = np.array([(piece.colour, piece.second) for piece in pieces]).reshape(count, 2, 3)
    numbers = np.array([row[:3] for row in gathered], np.int64).reshape(count, 3)
    pattern = np.array([piece.pattern for piece in pieces], np.int64)

    def real(values: NDArray[np.float64] | NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(device)

    view, thing, label, kind = (torch.from_numpy(item.copy()).to(device) for item in (*numbers.T, pattern))
    return BodyParts(
        view, thing, label, real(centre), real(inverse), real(size), real(shapes.planes[shape]),
        real(shapes.quadric[shape]), real(corners), real(colours), kind,
    )  # fmt: skip


def _at(values: Tensor, index: Tensor) -> Tensor:
    return values[index.clamp_min(0)] if len(values) else torch.zeros_like(index)


def _boxes(
    things: NDArray[np.int64], labels: NDArray[np.uint8], depth: NDArray[np.float32]
) -> tuple[Box, ...]:
    """Return the boxes around the visible pixels of *things* (height, width; -1: none), largest first."""
    least = ROCK_PX * (things.size / (256 * 192))
    rows, columns = np.nonzero(things >= 0)
    if not len(rows):
        return ()
    numbers = things[rows, columns]
    order = np.argsort(numbers, kind="stable")
    rows, columns, numbers = rows[order], columns[order], numbers[order]
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    found = []
    for start, end in zip(starts, [*starts[1:], len(numbers)], strict=True):
        y, x = rows[start:end], columns[start:end]
        kind = CLASSES[labels[y[0], x[0]]]
        if len(y) < (least if kind == "rock" else least / 2.0):
            continue
        middle = float(np.median(depth[y, x]))
        left, top, right, bottom = float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1)
        assert kind in THINGS
        found.append(Box(kind, left, top, right, bottom, len(y), middle))
    return tuple(sorted(found, key=lambda box: (-box.visible_px, box.left, box.top)))
