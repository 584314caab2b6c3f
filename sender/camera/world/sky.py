"""What is in the sky and in the water of a rendered world: stars, the Earth, drifting specks."""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from link.frame import Pixels
from link.seeds import generator
from sender.camera.world.bodies import rotation
from sender.camera.world.cast import SKY, Hits

if TYPE_CHECKING:
    from sender.camera.world.view import Pose

STARS = 900
"""Over the upper half of the sky."""
EARTH_RAD = 0.034
"""Twice as large as it is: at 256 pixels the true one is a blot."""


def stars(pixels: Pixels, sky: NDArray[np.bool_], pose: "Pose", focal_px: float, seed: int) -> Pixels:
    """Return *pixels* with the stars of drive *seed* where *sky* (height, width) is; they stand still as one drives."""
    rng = generator(seed, "world/stars")
    places = rng.normal(size=(STARS, 3))
    places[:, 2] = np.abs(places[:, 2])
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    power = 45.0 + 210.0 * rng.uniform(size=STARS) ** 5
    height, width = sky.shape
    turn = rotation(pose.yaw_rad, -pose.pitch_rad, pose.roll_rad)
    seen = places @ turn  # forward, left, up
    seen, power = seen[seen[:, 0] > 0.1], power[seen[:, 0] > 0.1]
    across = width / 2 - focal_px * seen[:, 1] / seen[:, 0] - 0.5
    down = height / 2 - focal_px * seen[:, 2] / seen[:, 0] - 0.5
    column, row = np.floor(across).astype(np.int64), np.floor(down).astype(np.int64)
    light = np.zeros((height, width), np.float32)
    for right in (0, 1):
        for lower in (0, 1):
            weight = np.abs(1 - right - (across - column)) * np.abs(1 - lower - (down - row))
            x, y = column + right, row + lower
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            np.add.at(light, (y[inside], x[inside]), (power * weight)[inside])
    light *= sky & (pixels.max(2) < 40)  # not before the Earth
    return np.clip(pixels + light[:, :, None], 0.0, 255.0).astype(np.uint8)


def earth(light: Tensor, hits: Hits, sun: Tensor, seed: int) -> Tensor:
    """Return *light* (N, 3) with the Earth, on three drives of four, where *hits* are sky."""
    some = torch.nonzero(hits.part == SKY).squeeze(1)
    rng = generator(seed, "world/earth")
    bearing, high = rng.uniform(-0.7, 0.7), rng.uniform(0.10, 0.24)
    if not len(some) or rng.uniform() > 0.75:
        return light
    ray = hits.direction[some]
    ray = ray / ray.norm(dim=1, keepdim=True)
    light = light.clone()
    light[some] += _earth(ray, sun, bearing, high, seed)
    return light


def _earth(ray: Tensor, sun: Tensor, bearing: float, high: float, seed: int) -> Tensor:
    """Return the light of the Earth, lit from the sun's side, with oceans, lands and clouds."""
    axis = [math.cos(high) * math.cos(bearing), math.cos(high) * math.sin(bearing), math.sin(high)]
    front = torch.tensor(axis, dtype=torch.float32, device=ray.device)
    right = torch.tensor([math.sin(bearing), -math.cos(bearing), 0.0], device=ray.device)
    up = torch.linalg.cross(right, front)
    x, y = ray @ right / EARTH_RAD, ray @ up / EARTH_RAD
    inside = x * x + y * y
    z = (1.0 - inside).clamp_min(0.0).sqrt()
    normal = x[:, None] * right + y[:, None] * up - z[:, None] * front
    lit = (normal @ sun).clamp_min(0.0)
    phase = generator(seed, "world/earth/face").uniform(0.0, 6.0, 4)
    cloud = torch.sin(5.0 * y + 2.0 * torch.sin(3.0 * x + phase[0]) + phase[1]) + torch.sin(
        7.0 * x + 4.0 * y + phase[2]
    )
    land = torch.sin(3.1 * x + phase[3]) + torch.sin(2.3 * y - 2.0 * x + phase[0])
    colour = torch.where(
        (land > 0.7)[:, None], ray.new_tensor([0.16, 0.20, 0.07]), ray.new_tensor([0.03, 0.12, 0.38])
    )
    colour = torch.lerp(colour, ray.new_tensor([0.8, 0.84, 0.9]), (cloud * 0.5).clamp(0.0, 1.0)[:, None])
    disc = ((1.0 - inside) * 12.0).clamp(0.0, 1.0)
    shown = (ray @ front) > 0
    seen: Tensor = (disc * shown * (lit + 0.01))[:, None] * colour
    return seen


def snow(pixels: Pixels, seed: int, index: int, count: int) -> Pixels:
    """Return *pixels* with *count* specks that drift in front of the camera, lit by its lamps: blurred discs."""
    height, width = pixels.shape[:2]
    rng = generator(seed, f"world/snow/{index}")
    picture = pixels.astype(np.float32)
    unit = height / 192.0
    x, y = rng.uniform(0, width, count), rng.uniform(0, height, count)
    radius = unit * (0.45 + 1.7 * rng.uniform(size=count) ** 7)
    power = rng.uniform(10.0, 46.0, count) / np.maximum(1.0, radius / unit) ** 1.2
    tint = np.array([0.75, 1.0, 1.0], np.float32)
    for column, row, size, bright in zip(x, y, radius, power, strict=True):
        reach = math.ceil(2.5 * size)
        left, right = max(0, int(column) - reach), min(width, int(column) + reach + 1)
        top, bottom = max(0, int(row) - reach), min(height, int(row) + reach + 1)
        if left >= right or top >= bottom:
            continue
        across: NDArray[np.float64] = np.arange(left, right) + 0.5 - column
        down = np.arange(top, bottom) + 0.5 - row
        spot = np.exp(-((np.hypot(across[None, :], down[:, None]) / size) ** 2))
        picture[top:bottom, left:right] += (bright * spot)[:, :, None].astype(np.float32) * tint
    return np.clip(picture, 0.0, 255.0).astype(np.uint8)
