"""What models find in a picture, and how it is written down: exactly, small, and so that any viewer shows it.

    Segments      PNG with a palette: a pixel's value is its class, its colour is for people
    DepthMap      PNG of 16 bits: value * scale is the depth, the scale stands beside it
    Detections    no picture: boxes to 0.01 pixels, kinds, scores to 0.0001, in fields

What is written is what is scored: a finding is read back from its record, so runs that are measured later,
elsewhere or from a cache give the same figures.
"""

import colorsys
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from link.annotations import SHOWN_FROM

FARTHEST_M = 1000.0
"""Metric depth beyond this is written as this."""
MOST_CLASSES = 255
"""Class ids are bytes, and 255 stands for none."""
_LAST = 65535
_COLOURS = {
    "sky": (135, 178, 214),
    "sand": (214, 168, 110),
    "bedrock": (156, 128, 112),
    "rock": (96, 66, 54),
    "track": (240, 214, 150),
    "lander": (230, 159, 0),
    "habitat": (0, 158, 115),
    "rover": (0, 114, 178),
    "flag": (204, 51, 102),
    "building": (110, 110, 120),
    "road": (128, 64, 128),
    "pavement": (244, 35, 232),
    "sidewalk": (244, 35, 232),
    "tree": (76, 140, 60),
    "vegetation": (76, 140, 60),
    "car": (0, 60, 180),
    "pedestrian": (220, 20, 60),
    "person": (220, 20, 60),
}
"""Colours that are expected of some classes; others get one by their number."""


class FindingError(ValueError):
    """What a model gave for a picture cannot be used, with one line that says why."""


@dataclass(frozen=True)
class Segments:
    """The class of each pixel."""

    labels: NDArray[np.uint8]
    """(height, width), numbers of *names*."""
    names: tuple[str, ...]


@dataclass(frozen=True)
class DepthMap:
    """The depth of each pixel."""

    values: NDArray[np.float32]
    """(height, width), finite and not negative: metres along the optical axis, or relative inverse depth."""
    metric: bool
    """Whether *values* are metres; else they are larger where it is nearer, by a scale and a shift."""


@dataclass(frozen=True)
class Detections:
    """Things in boxes, the surest first."""

    xyxy: NDArray[np.float64]
    """(things, 4): left, top, right, bottom in pixels, right and bottom exclusive."""
    kinds: NDArray[np.int64]
    """(things,), numbers of *names*."""
    scores: NDArray[np.float64]
    """(things,), 0 to 1."""
    names: tuple[str, ...]
    shown_from: float | None = field(default=None, kw_only=True)
    """The least score of a box that is drawn for people, 0 to 1; None: the model does not say one."""


Found = Segments | DepthMap | Detections


@dataclass(frozen=True)
class Record:
    """A finding as the journal and caches hold it."""

    fields: dict[str, Any]
    """What JSON holds as it is."""
    picture: bytes | None
    """A PNG file, for segments and depth."""


def write(finding: Found) -> Record:
    """Return the record of *finding*, the same bytes every time. Raise FindingError where it is not usable."""
    if isinstance(finding, Segments):
        if len(finding.names) > MOST_CLASSES:
            raise FindingError(f"{len(finding.names)} classes: at most {MOST_CLASSES} are written")
        return Record({"names": list(finding.names)}, _paletted(finding.labels, finding.names))
    if isinstance(finding, DepthMap):
        return _depth(finding)
    numbers = np.concatenate([finding.xyxy.ravel(), finding.scores])
    if not np.isfinite(numbers).all():
        raise FindingError(f"{int((~np.isfinite(numbers)).sum())} numbers of boxes and scores are not finite")
    told = {} if finding.shown_from is None else {SHOWN_FROM: finding.shown_from}
    return Record(
        {
            "names": list(finding.names),
            "boxes": np.round(finding.xyxy, 2).tolist(),
            "kinds": finding.kinds.tolist(),
            "scores": np.round(finding.scores, 4).tolist(),
            **told,
        },
        None,
    )


def read(record: Record) -> Found:
    """Return what *record* holds, the inverse of `write`. Raise FindingError where it is no record of ours."""
    fields = record.fields
    try:
        if "boxes" in fields:
            return _boxes(fields)
        if record.picture is None:
            raise FindingError("a finding without its picture")
        with Image.open(io.BytesIO(record.picture), formats=["PNG"]) as picture:
            if "scale" in fields:
                values = np.asarray(picture, np.float32) * np.float32(fields["scale"])
                if values.ndim != 2 or not np.isfinite(values).all() or values.min(initial=0.0) < 0.0:
                    raise FindingError("a damaged finding: depth that is none")
                return DepthMap(values, bool(fields["metric"]))
            labels, names = np.array(picture, np.uint8), _names(fields)
            if labels.ndim != 2 or len(names) > MOST_CLASSES:
                raise FindingError("a damaged finding: labels that are none")
            return Segments(labels, names)
    except FindingError:
        raise
    except Exception as error:  # Pillow's readers raise a dozen types for damaged files, numpy its own
        raise FindingError(f"a damaged finding: {error!r}") from None


def _boxes(fields: dict[str, Any]) -> Detections:
    names = _names(fields)
    xyxy = np.array(fields["boxes"], np.float64).reshape(-1, 4)
    kinds, scores = np.array(fields["kinds"], np.int64), np.array(fields["scores"], np.float64)
    if kinds.shape != xyxy.shape[:1] or scores.shape != kinds.shape:
        raise FindingError(
            f"a damaged finding: {len(xyxy)} boxes, {kinds.shape} kinds, {scores.shape} scores"
        )
    if kinds.size and not (kinds.min() >= 0 and kinds.max() < len(names)):
        raise FindingError(f"a damaged finding: kinds {kinds.min()} to {kinds.max()} of {len(names)}")
    if np.abs(xyxy).max(initial=0.0) > 1e6 or not np.isfinite(scores).all():
        raise FindingError("a damaged finding: numbers out of range")
    return Detections(xyxy, kinds, scores, names, shown_from=_shown_from(fields))


def _shown_from(fields: Mapping[str, Any]) -> float | None:
    told = fields.get(SHOWN_FROM)
    if told is not None and not (type(told) in (int, float) and 0.0 <= told <= 1.0):
        raise FindingError(f"a damaged finding: boxes shown from {told!r} on, 0 to 1 expected")
    return told


def _names(fields: dict[str, Any]) -> tuple[str, ...]:
    names = fields["names"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FindingError("a damaged finding: names that are none")
    return tuple(names)


def pack(record: Record) -> bytes:
    """Return *record* as bytes, for a cache: one line of JSON, then the picture."""
    return json.dumps(record.fields, sort_keys=True).encode() + b"\n" + (record.picture or b"")


def unpack(data: bytes) -> Record:
    """Return the record in *data*, the inverse of `pack`. Raise FindingError where there is none."""
    line, _, picture = data.partition(b"\n")
    try:
        fields = json.loads(line)
    except ValueError:
        raise FindingError("a damaged finding: its first line is no JSON") from None
    if not isinstance(fields, dict):
        raise FindingError("a damaged finding: its first line is no object")
    return Record(fields, picture or None)


def colours(names: Sequence[str]) -> NDArray[np.uint8]:
    """Return a colour for each of *names*, shape (names, 3), RGB."""
    return np.array([_colour(number, name) for number, name in enumerate(names)], np.uint8).reshape(-1, 3)


def _colour(number: int, name: str) -> tuple[int, int, int]:
    if name.lower() in _COLOURS:
        return _COLOURS[name.lower()]
    # Steps of the golden ratio keep hues of neighbours far apart, however many there are.
    red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1.0, 0.55 + 0.3 * (number % 2), 0.85)
    return round(red * 255), round(green * 255), round(blue * 255)


def _paletted(labels: NDArray[np.uint8], names: Sequence[str]) -> bytes:
    image = Image.fromarray(labels)
    image.putpalette(colours(names).tobytes())
    return _png(image)


def _depth(depth: DepthMap) -> Record:
    values = depth.values.astype(np.float64)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise FindingError(f"depth is not finite at {bad} of {values.size} pixels")
    if values.min(initial=0.0) < 0.0:
        raise FindingError(f"depth is negative at {int((values < 0.0).sum())} of {values.size} pixels")
    if depth.metric:
        values = np.minimum(values, FARTHEST_M)
    most = float(values.max(initial=0.0))
    scale = most / _LAST if most > 0.0 else 1.0
    codes = np.rint(values / scale).astype(np.uint16)
    return Record({"metric": depth.metric, "scale": scale}, _png(Image.fromarray(codes)))


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=6)
    return out.getvalue()
