"""How the surfaces and the air of a rendered world look: what each hit is made of, its class, and the light it sends.

Reflection is Lambert's law blended with Lommel and Seeliger's, times an opposition surge after Hapke (1981); haze
follows Koschmieder's law of extinction and in-scattering. Light is linear RGB until `film` develops it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sender.camera.world.bodies import CLOTH, FOIL, HULL, PANEL, STONE
from sender.camera.world.cast import GROUND, SKY, BodyParts, Cameras, Hits
from sender.camera.world.placing import GAUGE_M, TRACK_WAVES, WHEEL_M
from sender.camera.world.terrain import PERIOD_M, WINDING, Terrain, rise
from sender.camera.world.themes import Colour, Theme

SKY_CLASS, SAND, BEDROCK, ROCK, TRACK = range(5)
LUG_M = 0.14
"""Distance between the prints of a wheel's lugs."""


@dataclass(frozen=True)
class Surface:
    """What N hits are made of."""

    albedo: Tensor
    """(N, 3)."""
    normal: Tensor
    """(N, 3), unit vectors."""
    lit: Tensor
    """(N,): share of the sun that the ground leaves."""
    open: Tensor
    """(N,): share of the sky's light that gets there."""
    label: Tensor
    """(N,): class."""


class SurfaceLook:
    """The appearance of one drive: its theme, its ground, its sun."""

    def __init__(self, theme: Theme, terrain: Terrain, sun: tuple[float, float, float], device: str) -> None:
        self.theme, self.terrain, self.device = theme, terrain, device
        self.sun = torch.tensor(sun, dtype=torch.float32, device=device)

    def colour(self, value: Colour) -> Tensor:
        """Return *value* as a tensor (3,)."""
        return torch.tensor(value, dtype=torch.float32, device=self.device)

    def surface(self, cameras: Cameras, parts: BodyParts, hits: Hits) -> Surface:
        """Return what *hits* are made of. In the sky, all is zero and the normal is up."""
        count = len(hits.view)
        albedo = torch.zeros((count, 3), device=self.device)
        normal = torch.zeros((count, 3), device=self.device)
        normal[:, 2] = 1.0
        lit, open_ = torch.ones(count, device=self.device), torch.ones(count, device=self.device)
        label = torch.full((count,), SKY_CLASS, dtype=torch.int64, device=self.device)
        on_ground = torch.nonzero(hits.part == GROUND).squeeze(1)
        if len(on_ground):
            found = self._ground(cameras, hits, on_ground)
            albedo[on_ground], normal[on_ground] = found.albedo, found.normal
            lit[on_ground], open_[on_ground], label[on_ground] = found.lit, found.open, found.label
        on_part = torch.nonzero(hits.part >= 0).squeeze(1)
        if len(on_part):
            found = self._parts(cameras, parts, hits, on_part)
            albedo[on_part], normal[on_part], label[on_part] = found.albedo, found.normal, found.label
            lit[on_part], open_[on_part] = found.lit, found.open
        return Surface(albedo, normal, lit, open_, label)

    def _ground(self, cameras: Cameras, hits: Hits, some: Tensor) -> Surface:
        view, direction, depth = hits.view[some], hits.direction[some], hits.depth_m[some]
        place = direction[:, :2] * depth[:, None] + cameras.origin[view]
        x, y = place[:, 0], place[:, 1]
        distance = depth * direction.norm(dim=1)
        across = distance / cameras.focal_px
        graze = (-direction[:, 2] / direction.norm(dim=1)).clamp_min(0.02)
        # a pixel covers a long ellipse of ground; between its axes, nearer the longer one, lies what must be averaged
        print_m = across / graze**0.62

        def level(cell_m: float) -> Tensor:
            return torch.log2(print_m / cell_m)

        paint = self.theme.paint
        far = self.terrain.far.sample(x, y, level(8.0))
        mid = self.terrain.mid.sample(x, y, level(2.0))
        near = self.terrain.near.sample(x, y, level(0.25))
        slab = self.terrain.slab.sample(x, y, level(0.04))
        fine = self.terrain.fine.sample(x, y, level(0.032))
        self._add_grit(fine, x, y, print_m)
        # bedrock's edge is frayed by the plates' relief, as far as that can be told
        edge = near[:, 1] + 0.20 * slab[:, 3] * (1.0 - (print_m / 0.6).clamp(0, 1))
        stone = (edge * 9.0 + 0.5).clamp(0.0, 1.0)
        filled = (slab[:, 4] > 0.5) & (near[:, 1] < 0.35)
        rock = (edge > 0.0) & ~filled
        stone = torch.where(filled, torch.zeros_like(stone), stone)
        step = rise(near[:, 1])
        sandy = 1.0 - stone
        slope_x = far[:, 2] + mid[:, 2] + far[:, 1] * mid[:, 4] + near[:, 2] + slab[:, 1] * step
        slope_y = far[:, 3] + mid[:, 3] + far[:, 1] * mid[:, 5] + near[:, 3] + slab[:, 2] * step
        slope_x = slope_x + sandy * (near[:, 6] * fine[:, 0] + fine[:, 2]) + 0.6 * stone * fine[:, 2]
        slope_y = slope_y + sandy * (near[:, 6] * fine[:, 1] + fine[:, 3]) + 0.6 * stone * fine[:, 3]
        track, press_x, press_y, tread = self._tracks(x, y, print_m)
        track = track * sandy
        slope_x, slope_y = slope_x + press_x * sandy, slope_y + press_y * sandy
        normal = torch.stack([-slope_x, -slope_y, torch.ones_like(slope_x)], 1)
        normal = normal / normal.norm(dim=1, keepdim=True)

        broad = 0.35 * far[:, 5] + 0.35 * mid[:, 7] + 0.4 * near[:, 5]
        patch = (0.5 + 0.42 * broad).clamp(0, 1)[:, None]
        sand = torch.lerp(self.colour(paint.sand[0]), self.colour(paint.sand[1]), patch)
        sand = sand * (1.0 + 0.10 * fine[:, 4] + 0.07 * near[:, 5])[:, None]
        shade = (0.5 + 0.40 * slab[:, 3] + 0.2 * mid[:, 7]).clamp(0, 1)[:, None]
        plates = torch.lerp(self.colour(paint.bedrock[0]), self.colour(paint.bedrock[1]), shade)
        plates = plates * (1.0 + 0.12 * fine[:, 4])[:, None] * (1.0 - 0.62 * slab[:, 4] * step)[:, None]
        # slopes too steep for sand are bare
        steep = ((slope_x**2 + slope_y**2).sqrt() * far[:, 1] * 2.4 - 0.75).clamp(0, 1)
        bare = torch.maximum(stone, 0.8 * steep)[:, None]
        albedo = torch.lerp(sand, plates, bare)
        albedo = albedo * (1.0 - track * (1.0 - paint.track) * (0.72 + 0.28 * tread))[:, None]
        label = torch.where(rock, BEDROCK, SAND)
        label = torch.where((track > 0.5) & ~rock, TRACK, label)
        lit = far[:, 4] * mid[:, 6] * near[:, 4]
        open_ = (1.0 - 0.5 * slab[:, 4] * step) * (1.0 - 0.25 * track)
        return Surface(albedo.clamp(0.01, 0.95), normal, lit, open_, label)

    def _add_grit(self, fine: Tensor, x: Tensor, y: Tensor, print_m: Tensor) -> None:
        """Add the fine tile's grain to *fine* once more, turned and a fifth as large, for what is close."""
        close = torch.nonzero(print_m < 0.05).squeeze(1)
        if len(close):
            a, b = x[close], y[close]
            level = torch.log2(print_m[close] / 0.0066)
            grit = 0.7 * self.terrain.fine.sample(4.1 * a + 2.6 * b, 4.1 * b - 2.6 * a, level)[:, 2:]
            grit[:, :2] *= 0.9
            fine[close, 2:] += grit

    def _tracks(self, x: Tensor, y: Tensor, print_m: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return how much of each place is wheel track, the slope it adds in x and y, and its lugs, 0 to 1."""
        path, slope = _sum_of_waves(x, WINDING, self.terrain.phases)
        best = torch.zeros_like(x)
        press_x, press_y, tread = torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x)
        soft = (0.5 * print_m).clamp(0.02, 0.6)
        told = (1.0 - print_m / 0.16).clamp(0.0, 1.0)
        for number, waves in enumerate(TRACK_WAVES):
            first = self.terrain.track_phases[number]
            phases = tuple(first * (1 + turn) + turn for turn in range(len(waves)))
            offset, turn = _sum_of_waves(x, waves, phases)
            lean = slope + turn
            scale = torch.rsqrt(1.0 + lean * lean)
            across = (y - path - offset) * scale
            wheel = across.abs() - GAUGE_M
            inside = ((WHEEL_M - wheel.abs()) / soft + 0.5).clamp(0.0, 1.0)
            # a rut of 3 cm between low banks: the slope across it
            bank = (wheel / WHEEL_M).clamp(-2.0, 2.0)
            dip = 0.34 * bank * torch.exp(-((bank.abs() - 1.0) ** 2) / 0.12) * across.sign()
            along = (x + lean * across * scale) / scale
            phase = 2.0 * math.pi / LUG_M * along + 1.1 * bank.abs()
            lugs = 0.22 * torch.sin(phase) * inside * told
            fade = (1.0 - print_m / 0.4).clamp(0.0, 1.0)
            down = dip * fade
            # across the track is (-lean, 1) * scale, along it (1, lean) * scale
            press_x = press_x + (-lean * down + lugs) * scale
            press_y = press_y + (down + lean * lugs) * scale
            tread = torch.maximum(tread, inside * (0.5 + 0.5 * torch.cos(phase) * told))
            best = torch.maximum(best, inside)
        return best, press_x, press_y, tread

    def _parts(self, cameras: Cameras, parts: BodyParts, hits: Hits, some: Tensor) -> Surface:
        part, view, direction, depth = (
            hits.part[some],
            hits.view[some],
            hits.direction[some],
            hits.depth_m[some],
        )
        eye = torch.zeros_like(direction)
        eye[:, 2] = cameras.height_m[view]
        point = eye + direction * depth[:, None] - parts.centre[part]
        inverse = parts.inverse[part]
        inner = (inverse @ point.unsqueeze(2)).squeeze(2)
        normal = _part_normal(parts, part, inner, parts.pattern[part] == STONE)
        normal = (inverse.transpose(1, 2) @ normal.unsqueeze(2)).squeeze(2)
        normal = normal / normal.norm(dim=1, keepdim=True).clamp_min(1e-9)
        size, pattern = parts.size[part], parts.pattern[part]
        first, second = parts.colours[part, 0], parts.colours[part, 1]
        metres = inner * size
        distance = depth * direction.norm(dim=1)
        print_m = distance / cameras.focal_px
        thing = parts.thing[part].to(torch.float32)
        stone = pattern == STONE
        scale = torch.where(stone, (0.45 / size.amax(1)).clamp(0.5, 4.0), torch.full_like(print_m, 0.5))
        u = (metres[:, 0] + 0.7 * metres[:, 2]) * scale + 0.377 * thing
        v = (metres[:, 1] - 0.6 * metres[:, 2]) * scale + 0.731 * thing
        fine = self.terrain.fine.sample(u, v, torch.log2(print_m * scale / 0.032))
        rough = torch.where(stone, 1.7, torch.where(pattern == FOIL, 2.6, 0.06))[:, None]
        normal = normal + rough * torch.stack([fine[:, 2], fine[:, 3], -fine[:, 2] + fine[:, 3]], 1)
        normal = normal / normal.norm(dim=1, keepdim=True)
        tone = torch.where(stone, 0.20, torch.where(pattern == FOIL, 0.12, 0.03)) * fine[:, 4]
        albedo = torch.lerp(first, second, self._pattern(pattern, inner, metres, print_m)[:, None])
        albedo = albedo * (1.0 + tone)[:, None]
        # dust on top of stones, and a little on all that was built
        settled = ((normal[:, 2] - 0.55) * 2.2 + 0.35 * fine[:, 4]).clamp(0.0, 1.0)
        amount = torch.where(stone, 0.55, torch.where(pattern == CLOTH, 0.0, 0.18)) * settled
        albedo = torch.lerp(albedo, self.colour(self.theme.paint.dust).expand_as(albedo), amount[:, None])
        # the foot of a thing is dusty and sees less sky
        foot = ((inner[:, 2] + 1.0) * 1.2).clamp(0.0, 1.0)
        open_ = torch.where(stone, 0.5 + 0.5 * foot, torch.full_like(foot, 0.95))
        place = point[:, :2] + parts.centre[part][:, :2] + cameras.origin[view]
        lit = (
            self.terrain.far.sample(place[:, 0], place[:, 1])[:, 4]
            * self.terrain.mid.sample(place[:, 0], place[:, 1])[:, 6]
        )
        return Surface(albedo.clamp(0.01, 0.95), normal, lit, open_, parts.label[part])

    def _pattern(self, pattern: Tensor, inner: Tensor, metres: Tensor, print_m: Tensor) -> Tensor:
        """Return how much of the second colour shows at points of parts, 0 to 1: seams of hulls, cells of panels."""
        width = (0.012 + 0.5 * print_m)[:, None]
        around = torch.atan2(inner[:, 1], inner[:, 0])[:, None] * metres[:, :2].norm(
            dim=1, keepdim=True
        ).clamp_min(0.2)
        seams = torch.cat([_line(metres[:, 2:3], 0.62, width), _line(around, 0.9, width)], 1).amax(1)
        cells = torch.cat([_line(metres[:, 0:1], 0.2, width), _line(metres[:, 1:2], 0.2, width)], 1).amax(1)
        thin = (0.024 / (0.024 + print_m)).clamp(0, 1)
        return torch.where(
            pattern == HULL, 0.55 * seams * thin, torch.where(pattern == PANEL, 0.6 * cells * thin, 0.0)
        )

    def light(self, hits: Hits, surface: Surface, dark: Tensor, closed: Tensor) -> Tensor:
        """Return the light that reaches the camera, linear RGB (N, 3); *dark*, *closed* as from `cast.shaded`."""
        light = self.theme.light
        length = hits.direction.norm(dim=1)
        ray = hits.direction / length[:, None]
        sky = self._sky(ray)
        there = hits.part != SKY
        distance = torch.where(there, hits.depth_m * length, torch.zeros_like(length))
        normal = surface.normal
        mu0 = normal @ self.sun
        mu = -(normal * ray).sum(1)
        facing = mu0.clamp_min(0.0)
        seeliger = 2.0 * facing / (facing + mu.clamp_min(0.02) + 0.02)
        law = torch.lerp(facing, seeliger * facing.sqrt().clamp(0.0, 1.0), light.lommel)
        phase = torch.acos((-(ray @ self.sun)).clamp(-0.9999, 0.9999))
        surge = 1.0 + light.backscatter / (1.0 + torch.tan(phase / 2.0) / 0.30)
        direct = law * surge * surface.lit * (1.0 - dark)
        open_ = surface.open * (1.0 - 0.65 * closed)
        up = 0.5 + 0.5 * normal[:, 2]
        falling = direct[:, None] * self.colour(light.sun) + (open_ * up)[:, None] * self.colour(
            light.ambient
        )
        falling = falling + (open_ * (1.0 - up))[:, None] * self.colour(light.bounce)
        haze = self.colour(light.haze_per_m)
        through = torch.exp(-haze * distance[:, None])
        if any(light.lamp):
            lamp = mu.clamp_min(0.0) / (1.0 + (distance / 1.5) ** 2)
            centre = torch.exp(-2.2 * (1.0 - 1.0 / length))
            falling = falling + (lamp * centre)[:, None] * self.colour(light.lamp) * through
        seen = surface.albedo * falling
        if any(light.haze_per_m):
            level = ray.clone()
            level[:, 2] = 0.0
            level = level / level.norm(dim=1, keepdim=True).clamp_min(1e-6)
            veil = torch.lerp(self._sky(level), self.colour(light.veil), light.veil_mix)
            seen = seen * through + veil * (1.0 - through)
        return torch.where(there[:, None], seen, sky)

    def _sky(self, ray: Tensor) -> Tensor:
        """Return the light of the sky along *ray* (N, 3), unit vectors."""
        light = self.theme.light
        up = ray[:, 2].clamp_min(0.0)
        climb = (1.0 - torch.exp(-3.2 * up))[:, None]
        sky = torch.lerp(self.colour(light.horizon), self.colour(light.zenith), climb)
        off = (1.0 - ray @ self.sun).clamp_min(0.0)
        glow = 0.55 * torch.exp(-off * 9.0) + 0.8 * torch.exp(-off * 90.0)
        disc = ((2.2e-4 - off) / 4e-5).clamp(0.0, 1.0) * (0.0 if light.veil_mix > 0.5 else 12.0)
        return sky + glow[:, None] * self.colour(light.glow) + disc[:, None]

    def film(self, light: Tensor) -> Tensor:
        """Return *light* developed: (N, 3), 0 to 1, gamma-coded; bright light saturates softly."""
        exposed = 1.0 - torch.exp(-self.theme.light.exposure * light.clamp_min(0.0))
        coded: Tensor = exposed.clamp(0.0, 1.0) ** (1.0 / 2.2)
        return coded


def _part_normal(parts: BodyParts, part: Tensor, inner: Tensor, round_: Tensor) -> Tensor:
    """Return the outward normal (N, 3) of unit shapes at *inner*; edges of stones are worn round."""
    planes, quadric = parts.planes[part], parts.quadric[part][:, [0, 0, 1]]
    inside = (planes[:, :, :3] @ inner.unsqueeze(2)).squeeze(2) - planes[:, :, 3]
    curve = ((quadric * inner * inner).sum(1) - 1.0) * 0.5
    sharp = torch.where(round_, 16.0, 400.0)[:, None]
    weight = torch.softmax(torch.cat([inside, curve[:, None]], 1) * sharp, 1)
    ball = quadric * inner
    ball = ball / ball.norm(dim=1, keepdim=True).clamp_min(1e-6)
    normal: Tensor = (planes[:, :, :3] * weight[:, :-1, None]).sum(1) + ball * weight[:, -1:]
    return normal


def _line(place: Tensor, pitch: float, width: Tensor) -> Tensor:
    """Return 1 where *place* is within half *width* of a multiple of *pitch*, 0 elsewhere, with soft edges."""
    off = (torch.remainder(place / pitch + 0.5, 1.0) - 0.5).abs() * pitch
    seam: Tensor = (1.5 - off / width).clamp(0.0, 1.0)
    return seam


def _sum_of_waves(
    x: Tensor, waves: tuple[tuple[int, float], ...], phases: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    value, slope = torch.zeros_like(x), torch.zeros_like(x)
    for (count, amplitude), phase in zip(waves, phases, strict=True):
        k = 2.0 * math.pi * count / PERIOD_M
        value = value + amplitude * torch.sin(k * x + phase)
        slope = slope + amplitude * k * torch.cos(k * x + phase)
    return value, slope
