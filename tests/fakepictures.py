"""Pictures of a synthetic session: a landscape that the camera passes, and what is made of it."""

import functools
import io

import numpy as np
from PIL import Image, ImageFilter

SIZE = (256, 192)


@functools.cache
def file(kind: str, frame: int, lossless: bool = True) -> tuple[str, bytes]:
    """Return (MIME type, bytes) of the picture of *kind* of a frame: WebP for the rival, else PNG or JPEG."""
    made = {"sent": landscape, "received": drawn, "tiles": tiles, "rival": landscape}.get(kind)
    picture = made(frame) if made is not None else depth() if kind == "depth" else masks()
    out = io.BytesIO()
    if kind == "rival":
        picture.save(out, "WEBP", quality=1)
        return "image/webp", out.getvalue()
    if lossless:
        picture.save(out, "PNG", compress_level=1)
        return "image/png", out.getvalue()
    picture.save(out, "JPEG", quality=60)
    return "image/jpeg", out.getvalue()


@functools.cache
def landscape(frame: int) -> Image.Image:
    """A plain with dunes and rocks under a dusty sky, which the camera passes."""
    width, height = SIZE
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    picture = np.zeros((height, width, 3))
    picture[:] = np.array([214, 178, 140]) - (y / height)[..., None] * np.array([-10, 12, 34])
    for layer, (base, tall, tone) in enumerate(
        [(88, 16, (168, 112, 78)), (112, 12, (150, 92, 60)), (140, 9, (126, 74, 48))]
    ):
        phase = x / (34 + 9 * layer) + layer * 2 + frame * 0.05 * (layer + 1)
        line = base - tall * np.sin(phase) * np.cos(phase * 0.37 + layer)
        shade = 1 + 0.10 * np.cos(phase + y / 25)
        picture = np.where((y > line)[..., None], np.array(tone) * shade[..., None], picture)
    for rock in range(9):
        draw = np.random.default_rng(rock)
        cx, cy, r = (
            (draw.uniform(0, 300) - frame * 2.2) % 300 - 20,
            draw.uniform(140, 184),
            draw.uniform(4, 11),
        )
        inside = ((x - cx) / r) ** 2 + ((y - cy) / (0.7 * r)) ** 2
        picture = np.where(
            (inside < 1)[..., None], (np.array([92, 58, 42]) * (1.25 - 0.5 * inside[..., None])), picture
        )
    noise = np.random.default_rng(frame).normal(0, 4, (height, width, 1))
    return Image.fromarray(np.clip(picture + noise, 0, 255).astype(np.uint8))


@functools.cache
def drawn(frame: int) -> Image.Image:
    """What a generator makes of little: softer, other grain, the same scene."""
    small = (
        landscape(frame).resize((64, 48), Image.Resampling.BILINEAR).resize(SIZE, Image.Resampling.BICUBIC)
    )
    return small.filter(ImageFilter.UnsharpMask(3, 120)).point(lambda v: min(255, int(v * 1.04)))


def tiles(frame: int) -> Image.Image:
    draw = np.random.default_rng(frame)
    sheet = Image.new("RGBA", (8 * 96, 4 * 96), (0, 0, 0, 0))
    for channel in range(32):
        small = np.clip(draw.normal(128, 60, (6, 8)), 0, 255).astype(np.uint8)
        sheet.paste(
            Image.fromarray(small).resize((96, 72), Image.Resampling.NEAREST),
            (channel % 8 * 96, channel // 8 * 96),
        )
    return sheet


def masks() -> Image.Image:
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    picture = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    picture[:] = (86, 180, 233)
    picture[y > 96 - 12 * np.sin(x / 40)] = (213, 94, 0)
    picture[y > 140 - 8 * np.sin(x / 52)] = (0, 158, 115)
    return Image.fromarray(picture)


def depth() -> Image.Image:
    y = np.linspace(0, 255, SIZE[1]).astype(np.uint8)
    return Image.fromarray(np.repeat(y[:, None], SIZE[0], axis=1))
