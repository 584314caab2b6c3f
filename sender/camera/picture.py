"""One picture file: read in any mode that Pillow knows, made RGB, and fitted to the scenario's size.

```
file -> header check -> decode -> EXIF rotation -> 8-bit RGB -> fit -> pixels (height, width, 3) uint8
```

Nothing is decoded before its header's size is known to be within `link.frame.MAX_PIXELS`, and what else makes a
small file dear to be within bounds too: the scans of a JPEG, the tiles of a TIFF. Transparent
pictures are laid on black, because black is also what `pad` adds. Deep greys keep their upper 8 bits.
Colour profiles are ignored.
"""

import re
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from link.frame import MAX_PIXELS, Pixels

EXTENSIONS = frozenset(
    ".png .jpg .jpeg .webp .avif .bmp .tif .tiff .gif .jp2 .ppm .pgm".split()
)  # lower case; of an animation the first frame
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "TIFF", "GIF", "JPEG2000", "PPM")
"""Pillow's readers for these; its others (EPS runs Ghostscript) see no byte of a user's file."""

MAX_SCANS = 32
"""Of a JPEG: a progressive one has about ten; each is a pass over the whole picture, whatever its bytes."""
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # among entropy-coded data; RST0 to RST7 belong to these
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # TIFF's tags

Fit = Literal["crop", "pad", "stretch"]


@dataclass(frozen=True)
class Shot:
    """One picture of a source, ready for the encoder."""

    name: str
    """`kodim01.png`, `drive.mp4#17`, `testcard#3`, `webcam:0#5`."""
    pixels: Pixels
    """(height, width, 3) uint8 RGB, at the scenario's size."""
    pts_ns: int | None
    """The source's own time stamp relative to its first frame, in nanoseconds; None where it has none."""
    fitted: str
    """How the original became this: `as is`, `768x512 -> crop 682x512 -> 256x192`."""


@dataclass(frozen=True)
class Skipped:
    """Something in a source that should have been a picture and could not be read."""

    name: str
    reason: str
    """One line."""


@runtime_checkable
class Skippable(Protocol):
    """A source that can leave a picture out without making it."""

    def skip(self) -> str | None:
        """Leave out the next picture and return its name; None at the end of the source."""


@dataclass(frozen=True)
class Window:
    """Which part of a picture is shown, and where: what a picture and the truth about it share.

    Both are (left, top, right, bottom) in pixels, right and bottom exclusive.
    """

    part: tuple[int, int, int, int]
    """In the original."""
    place: tuple[int, int, int, int]
    """In the fitted picture; what lies outside is black."""

    @property
    def inner_width(self) -> int:
        """The width of *place* in pixels."""
        return self.place[2] - self.place[0]

    @property
    def inner_height(self) -> int:
        """The height of *place* in pixels."""
        return self.place[3] - self.place[1]


class PictureError(ValueError):
    """A picture that cannot be used, with one line that says why."""


def read_shot(path: Path, width: int, height: int, how: Fit) -> Shot:
    """Read the picture at *path* and fit it to *width* x *height*. Raises PictureError."""
    image, changes = read_rgb(path)
    pixels, fitted = fit(image, width, height, how)
    return Shot(path.name, pixels, None, "; ".join([*changes, fitted]))


def is_picture(path: Path) -> bool:
    """Whether the file at *path* is meant as a picture: by its extension, or by what it begins with."""
    if path.suffix.lower() in EXTENSIONS:
        return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(path, formats=FORMATS).close()
    except (UnidentifiedImageError, OSError):
        return False
    except Exception:  # it began as a picture; read_rgb will say what is wrong with it
        return True
    return True


def read_rgb(
    path: Path | bytes, formats: tuple[str, ...] = FORMATS, most_pixels: int | None = None
) -> tuple[Image.Image, list[str]]:
    """Return the picture at *path*, or in the bytes of a file, as 8-bit RGB, upright, and what was changed for that.

    Raises PictureError where it is broken, over `MAX_PIXELS`, or of a kind without a meaning as RGB.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(path) if isinstance(path, bytes) else path, formats=formats) as image:
                check_size(*image.size, most_pixels)
                _check_cost(path, image)
                image.load()
                upright = ImageOps.exif_transpose(image)
                changes = ["turned by EXIF"] if image.getexif().get(0x0112, 1) != 1 else []
                rgb, change = to_rgb(upright)
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError("not a picture in a known format") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError(f"larger than {MAX_PIXELS} pixels") from None
    except Exception as error:  # Pillow's readers raise a dozen types for damaged files
        raise PictureError(one_line(error)) from None
    return rgb, changes + ([change] if change else [])


def size_of(path: Path) -> tuple[int, int]:
    """Return (width, height) of the picture at *path* as `read_rgb` would give it, from its header alone.

    Raises PictureError where there is none, or it is over `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                size, turned = image.size, image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    except UnidentifiedImageError:
        raise PictureError("not a picture in a known format") from None
    except Exception as error:  # as in read_rgb
        raise PictureError(one_line(error)) from None
    check_size(*size)
    return (size[1], size[0]) if turned else size


def check_size(width: int, height: int, most_pixels: int | None = None) -> None:
    """Raise PictureError unless a picture of *width* x *height* may be allocated; None: `MAX_PIXELS`."""
    most_pixels = MAX_PIXELS if most_pixels is None else most_pixels
    if width < 1 or height < 1 or width * height > most_pixels:
        raise PictureError(f"{width}x{height} is not between 1 and {most_pixels} pixels")


def _check_cost(path: Path | bytes, image: Image.Image) -> None:
    """Raise PictureError where decoding *image*, of the file at *path*, would cost far more than its pixels do."""
    if image.format in ("JPEG", "MPO"):
        scans = count_scans(path if isinstance(path, bytes) else path.read_bytes())
        if scans > MAX_SCANS:
            raise PictureError(f"{scans} scans; a JPEG of at most {MAX_SCANS} is read")
    elif isinstance(image, TiffImageFile):
        tags = image.tag_v2
        check_size(int(tags.get(_TILE_WIDTH, 1)), int(tags.get(_TILE_LENGTH, 1)))


def count_scans(data: bytes) -> int:
    """Return how many scans the first picture of the JPEG file *data* has; 0 where its markers lead nowhere."""
    at, scans = 2, 0
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xD9:  # EOI
        kind, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if kind == 0xFF:  # fill
            at += 1
            continue
        at += 2 + length
        if kind == 0xDA:  # SOS, and the entropy-coded data that follow it
            scans += 1
            found = _MARKER.search(data, at)
            at = len(data) if found is None else found.start()
    return scans


def to_rgb(image: Image.Image) -> tuple[Image.Image, str]:
    """Return *image* in mode RGB and a word on how, empty where nothing is worth telling.

    Alpha is composited on black; 16-bit greys (I, I;16 and its byte orders) are shifted right by 8;
    floats must lie in 0 to 1. Raises PictureError for other floats and for integers beyond 16 bits.
    """
    if image.mode == "I" or image.mode.startswith("I;16"):
        deep = np.asarray(image)
        low, high = int(deep.min()), int(deep.max())
        if low < 0 or high > 0xFFFF:
            raise PictureError(f"integers from {low} to {high}; expected 0 to 65535")
        return Image.fromarray((deep >> 8).astype(np.uint8)).convert("RGB"), "16 bit to 8"
    if image.mode == "F":
        real = np.asarray(image)
        least, most = float(real.min()), float(real.max())
        if not (least >= 0.0 and most <= 1.0):  # so that NaN is refused as well
            raise PictureError(f"floats from {least:g} to {most:g}; expected 0 to 1")
        return Image.fromarray(np.rint(real * 255.0).astype(np.uint8)).convert("RGB"), "float to 8 bit"
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (0, 0, 0, 255))
        return Image.alpha_composite(ground, layer).convert("RGB"), "alpha on black"
    return image.convert("RGB"), ""


def fit(image: Image.Image, width: int, height: int, how: Fit) -> tuple[Pixels, str]:
    """Return the RGB *image* at *width* x *height* as (height, width, 3) uint8, and how it got there.

    `crop` cuts the centre with the new aspect ratio, `pad` shrinks to fit and adds black bars,
    `stretch` distorts. Lanczos resampling; anything much larger is averaged down by whole numbers first.
    """
    check_size(*image.size)
    size = f"{image.width}x{image.height}"
    if image.size == (width, height):
        return np.array(image, dtype=np.uint8), "as is"
    view = window(image.size, width, height, how)
    shown = _resized(image, view.inner_width, view.inner_height, view.part)
    if image.width * height == width * image.height:
        return shown, f"{size} -> {width}x{height}"
    if how == "stretch":
        return shown, f"{size} -> stretch {width}x{height}"
    if how == "crop":
        part = (view.part[2] - view.part[0], view.part[3] - view.part[1])
        note = f"{size} -> crop {part[0]}x{part[1]}"
        return shown, note if part == (width, height) else f"{note} -> {width}x{height}"
    padded = np.zeros((height, width, 3), np.uint8)
    left, top, right, bottom = view.place
    padded[top:bottom, left:right] = shown
    inner = (view.inner_width, view.inner_height)
    note = size if image.size == inner else f"{size} -> {inner[0]}x{inner[1]}"
    return padded, f"{note} -> pad {width}x{height}"


def window(size: tuple[int, int], width: int, height: int, how: Fit) -> Window:
    """Return which part of a picture of *size*, (width, height), `fit` shows at *width* x *height*, and where."""
    wide, high = size
    whole, everywhere = (0, 0, wide, high), (0, 0, width, height)
    if how == "stretch" or wide * height == width * high:
        return Window(whole, everywhere)
    if how == "crop":
        part_width = max(1, min(wide, high * width // height))
        part_height = max(1, min(high, wide * height // width))
        left, top = (wide - part_width) // 2, (high - part_height) // 2
        return Window((left, top, left + part_width, top + part_height), everywhere)
    inner_width = max(1, min(width, round(wide * height / high)))
    inner_height = max(1, min(height, round(high * width / wide)))
    left, top = (width - inner_width) // 2, (height - inner_height) // 2
    return Window(whole, (left, top, left + inner_width, top + inner_height))


def _resized(image: Image.Image, width: int, height: int, part: tuple[int, int, int, int]) -> Pixels:
    """Resample *part* of *image*, (left, top, right, bottom)."""
    resized = image.resize((width, height), Image.Resampling.LANCZOS, box=part, reducing_gap=3.0)
    return np.array(resized, dtype=np.uint8)


def one_line(error: BaseException) -> str:
    """Return what *error* says in one line of at most 200 characters, its type where it says nothing."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
