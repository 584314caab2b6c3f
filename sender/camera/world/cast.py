"""Where rays end: on the ground, on a part of something that stands there, or in the sky.

The ground is met by way of a polar map around each camera. Along one bearing, the steepest line of sight up to range r
never falls with r, so the first ground that a ray meets is found by bisection in that running maximum, and then made
exact on the heights themselves. Parts are tried on the pixels alone that the boxes around them can cover.

Frames: x, y are metres east and north of the camera, z is the height above the datum, one such frame a view.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sender.camera.world.terrain import Terrain

NEAREST_M = 1.0
STEP = 1.025
"""Ratio of neighbouring ranges in the polar map."""
FINE_M, NEAR_M = 30.0, 500.0
"""Ranges up to which plates of bedrock, and dunes, change the heights."""
CENTRE = ((0.5, 0.5),)
"""One ray a pixel."""
SKY = -1
GROUND = -2


@dataclass(frozen=True)
class Cameras:
    """Pinhole cameras of one size; shapes are for V views."""

    axes: Tensor
    """(V, 3, 3): unit vectors forward, right, down."""
    yaw: Tensor
    """(V,): bearing of forward, rad."""
    height_m: Tensor
    """(V,): z of the camera."""
    origin: Tensor
    """(V, 2): where the camera is on the ground's tiles, metres."""
    focal_px: float
    width: int
    height: int

    def rays(self, pixels: Tensor, samples: Sequence[tuple[float, float]] = CENTRE) -> tuple[Tensor, Tensor]:
        """Return the views (S N,) and directions (S N, 3) of rays through *pixels* (N,), numbers in (V, height, width).

        *samples* say where in a pixel its S rays go, right and down in pixels; the first rays of all pixels come
        first. A direction has length 1 along the optical axis: what it meets at t times the direction is t m deep.
        """
        area = self.width * self.height
        view = torch.div(pixels, area, rounding_mode="floor")
        rest = pixels - view * area
        row = torch.div(rest, self.width, rounding_mode="floor")
        column = rest - row * self.width
        u = torch.cat([(column + (right - self.width / 2)) / self.focal_px for right, _ in samples])
        v = torch.cat([(row + (down - self.height / 2)) / self.focal_px for _, down in samples])
        view = view.repeat(len(samples))
        axes = self.axes[view] if len(self.axes) > 1 else self.axes
        return view, axes[:, 0] + u[:, None] * axes[:, 1] + v[:, None] * axes[:, 2]


@dataclass(frozen=True)
class BodyParts:
    """Convex parts that stand in the views, P of them."""

    view: Tensor
    """(P,): which view a part belongs to."""
    thing: Tensor
    """(P,): number of the thing it is a part of."""
    label: Tensor
    """(P,): class."""
    centre: Tensor
    """(P, 3), in the view's frame."""
    inverse: Tensor
    """(P, 3, 3): from the view's frame, around the centre, to the unit shape."""
    size: Tensor
    """(P, 3): half extents in metres."""
    planes: Tensor
    """(P, PLANES, 4): the unit shape's half spaces."""
    quadric: Tensor
    """(P, 2)."""
    corners: Tensor
    """(P, 8, 3): of the box around the part, in the view's frame."""
    colours: Tensor
    """(P, 2, 3): albedo, and the pattern's other."""
    pattern: Tensor
    """(P,)."""

    def __len__(self) -> int:
        """Return P."""
        return len(self.view)

    def spans(self, part: Tensor, start: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        """Return where rays enter and leave parts: t of both, (N,); a ray that misses leaves before it enters.

        *part* (N,) numbers them; *start* (N, 3) is relative to the part's centre, or (1, 3) for all.
        """
        inverse = self.inverse[part]
        towards = (inverse @ direction.unsqueeze(2)).squeeze(2)
        origin = (inverse @ start.unsqueeze(2)).squeeze(2)
        planes = self.planes[part]
        speed = (planes[:, :, :3] @ towards.unsqueeze(2)).squeeze(2)
        room = planes[:, :, 3] - (planes[:, :, :3] @ origin.unsqueeze(2)).squeeze(2)
        at = room / torch.where(speed.abs() < 1e-9, torch.full_like(speed, 1e-9), speed)
        enter = torch.where(speed < 0, at, torch.full_like(at, -1e9)).amax(1)
        leave = torch.where(speed > 0, at, torch.full_like(at, 1e9)).amin(1)
        weight = self.quadric[part][:, [0, 0, 1]]
        a = (weight * towards * towards).sum(1)
        b = (weight * towards * origin).sum(1)
        c = (weight * origin * origin).sum(1) - 1.0
        inside = b * b - a * c
        root = inside.clamp_min(0.0).sqrt()
        a = a.clamp_min(1e-12)
        enter, leave = torch.maximum(enter, (-b - root) / a), torch.minimum(leave, (-b + root) / a)
        return enter, torch.where(inside > 0, leave, torch.full_like(leave, -1e9))


@dataclass(frozen=True)
class Hits:
    """What N rays met."""

    pixels: Tensor
    """(N / samples,): which pixels the rays go through, numbers in (V, height, width)."""
    samples: int
    """Rays a pixel; the first rays of all pixels come first."""
    view: Tensor
    """(N,)."""
    direction: Tensor
    """(N, 3), length 1 along the optical axis."""
    depth_m: Tensor
    """(N,), along the optical axis; inf in the sky."""
    part: Tensor
    """(N,): a part's number, GROUND or SKY."""


class Ground:
    """The polar maps of the ground around the cameras of a batch."""

    def __init__(self, terrain: Terrain, cameras: Cameras, reach_m: float) -> None:
        self._terrain, self._cameras = terrain, cameras
        device = cameras.axes.device
        border = _border(cameras).to(device)
        _, direction = cameras.rays(border)
        view = torch.div(border, cameras.width * cameras.height, rounding_mode="floor")
        bearing = _bearing(direction, cameras.yaw[view])
        margin = 3.0 / cameras.focal_px
        self._first = float(bearing.min()) - margin
        count = int(1.25 * cameras.width) + 8
        self._gap = (float(bearing.max()) + margin - self._first) / (count - 1)
        steps = math.ceil(math.log(reach_m / NEAREST_M) / math.log(STEP))
        self._ranges = NEAREST_M * STEP ** torch.arange(steps + 1, device=device, dtype=torch.float32)
        relative = self._first + self._gap * torch.arange(count, device=device, dtype=torch.float32)
        around = cameras.yaw[:, None] + relative[None, :]
        across, along = torch.cos(around)[:, :, None], torch.sin(around)[:, :, None]
        heights = []
        for low, high, detail in ((0.0, FINE_M, 2), (FINE_M, NEAR_M, 1), (NEAR_M, math.inf, 0)):
            ranges = self._ranges[(self._ranges >= low) & (self._ranges < high)]
            if not len(ranges):
                continue
            x = across * ranges + cameras.origin[:, 0, None, None]
            y = along * ranges + cameras.origin[:, 1, None, None]
            heights.append(terrain.height(x, y, detail))
        self._heights = torch.cat(heights, 2)
        steep = (self._heights - cameras.height_m[:, None, None]) / self._ranges
        self._steepest = torch.cummax(steep, 2).values.contiguous()

    def meet(self, view: Tensor, direction: Tensor) -> Tensor:
        """Return the depth in metres at which rays meet the ground, inf where they meet none."""
        flat = torch.hypot(direction[:, 0], direction[:, 1]).clamp_min(1e-6)
        slope = direction[:, 2] / flat
        bearing = _bearing(direction, self._cameras.yaw[view])
        count, steps = self._steepest.shape[1], self._steepest.shape[2]
        column = ((bearing - self._first) / self._gap).round().clamp(0, count - 1).to(torch.int64)
        start = (view * count + column) * steps
        lines = self._steepest.view(-1)
        low, high = torch.full_like(start, -1), torch.full_like(start, steps)
        for _ in range(steps.bit_length()):
            middle = torch.div(low + high, 2, rounding_mode="floor")
            below = lines[start + middle.clamp(0, steps - 1)] < slope
            open_ = high - low > 1
            low, high = torch.where(open_ & below, middle, low), torch.where(open_ & ~below, middle, high)
        sky = high >= steps
        after = high.clamp(1, steps - 1)
        height = self._heights.view(-1)
        r0, r1 = self._ranges[after - 1], self._ranges[after]
        eye = self._cameras.height_m[view]
        g0 = height[start + after - 1] - eye - slope * r0
        g1 = height[start + after] - eye - slope * r1
        rise = (g1 - g0).clamp_min(1e-4)
        reach = r0 + (r1 - r0) * (-g0 / rise).clamp(-0.3, 1.3)
        found = torch.nonzero(~sky).squeeze(1)
        reach[found] = self._exact(
            view[found],
            direction[found] / flat[found, None],
            slope[found],
            reach[found],
            (rise / (r1 - r0))[found],
        )
        return torch.where(sky, torch.full_like(reach, math.inf), reach / flat)

    def _exact(self, view: Tensor, unit: Tensor, slope: Tensor, reach: Tensor, rate: Tensor) -> Tensor:
        """Return *reach* (horizontal metres) improved on the heights themselves: secant steps, kept in bounds."""
        origin, eye = self._cameras.origin[view], self._cameras.height_m[view]
        for low, high, detail in ((0.0, FINE_M, 2), (FINE_M, NEAR_M, 1), (NEAR_M, math.inf, 0)):
            some = torch.nonzero((reach >= low) & (reach < high)).squeeze(1)
            if not len(some):
                continue
            r, u, base, s, z = reach[some], unit[some], origin[some], slope[some], eye[some]
            most, gain = 0.06 * r, rate[some]
            last = None
            for _ in range(3):
                gap = (
                    self._terrain.height(base[:, 0] + u[:, 0] * r, base[:, 1] + u[:, 1] * r, detail)
                    - z
                    - s * r
                )
                if last is not None:
                    moved = r - last[0]
                    secant = (gap - last[1]) / torch.where(
                        moved.abs() < 1e-5, torch.full_like(moved, 1e-5), moved
                    )
                    gain = torch.where((moved.abs() > 1e-5) & (secant > 0.3 * gain), secant, gain)
                last = (r, gap)
                r = r - torch.maximum(torch.minimum(gap / gain, most), -most)
            reach[some] = r
        return reach


def cast(
    cameras: Cameras,
    ground: Ground,
    parts: BodyParts,
    pixels: Tensor,
    samples: Sequence[tuple[float, float]] = CENTRE,
) -> Hits:
    """Return what rays through *pixels* (numbers in (V, height, width), no two alike) meet first."""
    view, direction = cameras.rays(pixels, samples)
    depth = ground.meet(view, direction)
    part = torch.where(torch.isinf(depth), SKY, GROUND)
    if len(parts):
        ray, tried = _pairs(cameras, parts.corners, parts.view, pixels, len(samples))
        start = (
            torch.cat([torch.zeros_like(parts.centre[:, :2]), cameras.height_m[parts.view][:, None]], 1)
            - parts.centre
        )
        enter, leave = parts.spans(tried, start[tried], direction[ray])
        hit = (enter < leave) & (enter > 0.05)
        ray, tried, enter = ray[hit], tried[hit], enter[hit]
        nearest = depth.scatter_reduce(0, ray, enter, "amin")
        first = enter <= nearest[ray]
        first &= enter < depth[ray]
        # of two parts at the same depth the first is taken, whatever the order of the scatter
        number = torch.full_like(part, len(parts)).scatter_reduce(0, ray[first], tried[first], "amin")
        part = torch.where(number < len(parts), number, part)
        depth = nearest
    return Hits(pixels, len(samples), view, direction, depth, part)


def shade(
    cameras: Cameras, parts: BodyParts, hits: Hits, points: Tensor, sun: Tensor, reach_m: float
) -> tuple[Tensor, Tensor]:
    """Return which hits the parts keep from the *sun*, and how much they close them in, both 0 to 1, (N,).

    *points* (N, 3) are the hits in their views' frames, a little above the surface. Only parts up to *reach_m* away
    cast shadows.
    """
    dark, closed = torch.zeros_like(hits.depth_m), torch.zeros_like(hits.depth_m)
    casting = torch.nonzero(torch.hypot(parts.centre[:, 0], parts.centre[:, 1]) < reach_m).squeeze(1)
    if not len(casting):
        return dark, closed
    corners = parts.corners[casting]
    around = parts.centre[casting][:, None] + 1.35 * (corners - parts.centre[casting][:, None])
    # down below the part's foot, where the ground falls away
    tall = corners[:, :, 2].amax(1, keepdim=True) - corners[:, :, 2].amin(1, keepdim=True)
    drop = (corners[:, :, 2] - corners[:, :, 2].amin(1, keepdim=True) + 0.06 + 0.3 * tall).unsqueeze(2)
    length = drop / sun[2].clamp_min(0.05)
    swept = torch.cat([around, corners - length * sun], 1)
    ray, tried = _pairs(cameras, swept, parts.view[casting], hits.pixels, hits.samples)
    tried = casting[tried]
    own = hits.part[ray]
    other = (own != tried) & (own != SKY)
    ray, tried, own = ray[other], tried[other], own[other]
    start = points[ray] - parts.centre[tried]
    # most of a swept hull's box is far from the shadow: a ball around the part tells
    ball = (parts.corners - parts.centre[:, None]).norm(dim=2).amax(1)[tried] * 1.01
    along, square = start @ sun, (start * start).sum(1)
    close = square < (1.45 * ball) ** 2
    close |= (square - along * along < ball * ball) & (along < ball)
    ray, tried, own, start = ray[close], tried[close], own[close], start[close]
    enter, leave = parts.spans(tried, start, sun.expand(len(ray), 3))
    blocked = ((enter < leave) & (leave > 0.0)).to(dark.dtype)
    dark = dark.scatter_reduce(0, ray, blocked, "amax")
    inner = (parts.inverse[tried] @ start.unsqueeze(2)).squeeze(2)
    thing = parts.thing[tried]
    foreign = (own < 0) | (parts.thing[own.clamp_min(0)] != thing)
    near = (1.45 - inner.norm(dim=1)).clamp(0.0, 0.45) / 0.45 * foreign
    return dark, closed.scatter_reduce(0, ray, near * near, "amax")


def _pairs(
    cameras: Cameras, corners: Tensor, view: Tensor, pixels: Tensor, samples: int
) -> tuple[Tensor, Tensor]:
    """Return pairs of a ray and a hull that it may meet: the ray's number as in `Hits`, the hull's in *corners*.

    *corners* (P, corners, 3) are the hulls' in the views *view* (P,).
    """
    eye = torch.zeros_like(corners[:, :1])
    eye[:, 0, 2] = cameras.height_m[view]
    seen = (corners - eye) @ cameras.axes[view].transpose(1, 2)
    deep = seen[:, :, 0].clamp_min(0.12)
    across = seen[:, :, 1] / deep * cameras.focal_px + cameras.width / 2
    down = seen[:, :, 2] / deep * cameras.focal_px + cameras.height / 2
    left = across.amin(1).floor().clamp(0, cameras.width).to(torch.int64)
    right = across.amax(1).ceil().clamp(0, cameras.width).to(torch.int64)
    top = down.amin(1).floor().clamp(0, cameras.height).to(torch.int64)
    bottom = down.amax(1).ceil().clamp(0, cameras.height).to(torch.int64)
    visible = seen[:, :, 0].amax(1) > 0.12
    width = (right - left) * visible
    areas = width * (bottom - top)
    hull = torch.repeat_interleave(torch.arange(len(areas), device=areas.device), areas)
    place = torch.arange(len(hull), device=areas.device) - (torch.cumsum(areas, 0) - areas)[hull]
    wide = width[hull].clamp_min(1)
    row = torch.div(place, wide, rounding_mode="floor")
    column = left[hull] + place - row * wide
    pixel = (view[hull] * cameras.height + top[hull] + row) * cameras.width + column
    total = len(cameras.axes) * cameras.width * cameras.height
    if len(pixels) == total and samples == 1:
        return pixel, hull
    lookup = torch.full((total,), -1, dtype=torch.int64, device=pixels.device)
    lookup[pixels] = torch.arange(len(pixels), device=pixels.device)
    ray = lookup[pixel]
    known = ray >= 0
    ray, hull = ray[known], hull[known]
    turns = len(pixels) * torch.arange(samples, device=ray.device)
    return (ray + turns[:, None]).flatten(), hull.repeat(samples)


def _bearing(direction: Tensor, yaw: Tensor) -> Tensor:
    turn = torch.atan2(direction[:, 1], direction[:, 0]) - yaw
    return torch.remainder(turn + math.pi, 2.0 * math.pi) - math.pi


def _border(cameras: Cameras) -> Tensor:
    """Return the numbers of the pixels on the rims of all views."""
    grid = torch.arange(len(cameras.axes) * cameras.width * cameras.height)
    grid = grid.view(-1, cameras.height, cameras.width)
    return torch.cat(
        [grid[:, 0].flatten(), grid[:, -1].flatten(), grid[:, :, 0].flatten(), grid[:, :, -1].flatten()]
    )
