"""What models found, for people: classes and boxes drawn over the picture, depth in colours, scores in a table."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from link import png
from link.analysis.findings import DepthMap, Detections, Found, Segments, colours
from link.annotations import SHOWN
from link.frame import Pixels
from link.journal import Run
from scenarios.results.judge import REFERENCES, Sight
from scenarios.scoring.tasks import TASKS

TILE = 256
"""Width of a picture in pixels; smaller ones are shown as they are."""
HEADS = ("truth", "found in the sent picture", "found in the received picture")
ABSENT = ("not known", "not analysed", "nothing")
_GAP, _LINE = 6, 18
_INK, _SOFT, _EMPTY = (27, 31, 36), (87, 96, 106), (228, 231, 235)
_VEIL = 0.6  # how much of a class's colour covers the picture
_MAP = "magma"  # perceptually even, and readable in grey
_THICK = 2
_LETTERS = 10  # pixels
_BOXES = 5  # the surest: more would hide the picture behind them and their names


@dataclass(frozen=True)
class Row:
    """A line of the table of scores."""

    task: str
    """On a task's first line its name and model; else empty."""
    label: str
    values: tuple[str, ...]
    """Against the truth, against the original, on the original."""


def table(tasks: Mapping[str, Any]) -> list[Row]:
    """Return the scores of `farlink run --json` as lines of words; empty where there are none."""
    rows = []
    for task, figures in tasks.items():
        if not figures or not any(figures[reference] for reference in REFERENCES):
            continue
        head = f"{task} ({figures['model']})" if figures["model"] else task
        for key, label in TASKS[task].labels.items():
            values = tuple(_value(figures[reference], key) for reference in REFERENCES)
            rows.append(Row(head, label, values))
            head = ""
    return rows


def _value(scores: Mapping[str, Any] | None, key: str) -> str:
    if scores is None or scores.get(key) is None:
        return "–"
    low, high = scores.get(f"{key}_ci95_low"), scores.get(f"{key}_ci95_high")
    between = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
    return f"{scores[key]:.3f}{between}"


def sheet(run: Run, frame: int, sights: Mapping[str, Sight]) -> bytes | None:
    """Return a WebP with a row for each task of *frame*: truth, found in the sent, found in the received picture.

    None where there is nothing to see.
    """
    seen = {task: sight for task, sight in sights.items() if sight.truth or sight.original or sight.received}
    if not seen or frame not in run.pictures["sent"]:
        return None
    sent = png.decode(run.pictures["sent"][frame])
    came = run.pictures["received"].get(frame)
    received = None if came is None else png.decode(came)
    width = min(TILE, sent.shape[1])
    height = max(1, round(sent.shape[0] * width / sent.shape[1]))
    wide, high = width + _GAP, height + _LINE + _GAP
    page = Image.new("RGB", (3 * wide - _GAP, len(seen) * high - _GAP), (255, 255, 255))
    draw = ImageDraw.Draw(page)
    for line, (task, sight) in enumerate(seen.items()):
        span = _span(sight)
        under = (sent, sent, received)
        for column, finding in enumerate((sight.truth, sight.original, sight.received)):
            left, top = column * wide, line * high
            draw.text((left, top + 1), f"{task}: {HEADS[column]}", fill=_INK, font_size=11)
            picture = under[column]
            if finding is None or picture is None:
                draw.rectangle((left, top + _LINE, left + width - 1, top + high - _GAP - 1), fill=_EMPTY)
                draw.text((left + 8, top + _LINE + 6), ABSENT[column], fill=_SOFT, font_size=11)
            else:
                page.paste(_tile(finding, picture, (width, height), span), (left, top + _LINE))
    out = io.BytesIO()
    page.save(out, "WEBP", quality=85)
    return out.getvalue()


def _tile(finding: Found, picture: Pixels, size: tuple[int, int], span: tuple[float, float]) -> Image.Image:
    if isinstance(finding, Segments):
        return Image.fromarray(painted(finding, picture)).resize(size, Image.Resampling.BILINEAR)
    if isinstance(finding, DepthMap):
        return Image.fromarray(depth_colours(finding, span)).resize(size, Image.Resampling.NEAREST)
    return _boxed(finding, picture, size)


def painted(segments: Segments, picture: Pixels) -> Pixels:
    """Return *picture* under a veil of its classes' colours; what has no class stays as it is."""
    table = np.zeros((256, 3), np.float32)
    table[: len(segments.names)] = colours(segments.names)
    grey = picture.astype(np.float32)
    veiled = grey + _VEIL * (table[segments.labels] - grey)
    known = (segments.labels < len(segments.names))[..., None]
    return np.where(known, veiled, grey).round().astype(np.uint8)


def depth_colours(depth: DepthMap, span: tuple[float, float]) -> Pixels:
    """Return *depth* in colours: near is bright, *span* (nearest, farthest) is all of them, on a log scale.

    Grey where nothing is known.
    """
    share = _share(_far(depth), span)
    known = np.isfinite(share)
    painted = colormaps[_MAP](1.0 - np.where(known, share, 0.0))[..., :3] * 255
    return np.where(known[..., None], painted, np.array(_EMPTY)).round().astype(np.uint8)


def _far(depth: DepthMap) -> NDArray[np.float64]:
    """Return depth that grows with distance, nan where unknown: metres, or multiples of the median."""
    values = depth.values.astype(np.float64)
    values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    if depth.metric:
        return values
    inverse = 1.0 / values
    return np.asarray(inverse / (np.nanmedian(inverse) if np.isfinite(inverse).any() else 1.0))


def _span(sight: Sight) -> tuple[float, float]:
    """Return the range of depth that all pictures of a row are coloured by: that of the first there is."""
    for finding in (sight.truth, sight.original, sight.received):
        if isinstance(finding, DepthMap):
            known = _far(finding)
            known = known[np.isfinite(known)]
            if known.size:
                near, far = np.percentile(known, (1, 99)).tolist()
                return near, max(far, near * 1.01)
    return 1.0, 2.0


def _share(far: NDArray[np.float64], span: tuple[float, float]) -> NDArray[np.float64]:
    low, high = np.log(span[0]), np.log(span[1])
    return np.asarray(np.clip((np.log(far) - low) / (high - low), 0.0, 1.0))


def _boxed(detections: Detections, picture: Pixels, size: tuple[int, int]) -> Image.Image:
    scale = np.array([size[0] / picture.shape[1], size[1] / picture.shape[0]] * 2)
    tile = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(tile)
    shades = colours(detections.names)
    names: list[tuple[str, tuple[float, float, float], tuple[int, ...]]] = []
    order = np.argsort(-detections.scores, kind="stable")
    least = SHOWN if detections.shown_from is None else detections.shown_from
    shown = [at for at in order.tolist() if detections.scores[at] >= least]
    for at in reversed(shown[:_BOXES]):
        box, kind, score = detections.xyxy[at], detections.kinds[at], detections.scores[at]
        left, top, right, bottom = (box * scale).tolist()
        shade = tuple(min(255, int(part) // 2 + 110) for part in shades[kind])
        right, bottom = max(left, right - 1), max(top, bottom - 1)
        draw.rectangle((left, top, right, bottom), outline=shade, width=_THICK)
        words = detections.names[kind] + ("" if score == 1.0 else f" {score:.2f}")
        names.insert(0, (words, (left, top, bottom), shade))
    taken: list[tuple[float, float, float, float]] = []
    if len(shown) > _BOXES:
        names.insert(
            0, (f"the surest {_BOXES} of {len(shown)} boxes", (4, size[1], size[1]), (255, 255, 255))
        )
    # The surest first: of names that would lie over each other it is shown.
    for words, beside, shade in names:
        if (place := label_place(words, beside, size, taken)) is not None:
            draw.text(place, words, fill=shade, font_size=_LETTERS, stroke_width=1, stroke_fill=(0, 0, 0))
    return tile


def label_place(
    words: str,
    beside: tuple[float, float, float],
    size: tuple[int, int],
    taken: list[tuple[float, float, float, float]],
) -> tuple[float, float] | None:
    """Return where *words* stand beside a box (left, top, bottom) in a picture of *size*, and add that to *taken*.

    Above the box, within it or below it: the first place in the picture where no other name is; None: there is none.
    """
    left, top, bottom = beside
    width, height = ImageFont.load_default(_LETTERS).getbbox(words)[2], _LETTERS + 2
    left = max(1.0, min(left, size[0] - width - 2))
    for upper in (top - height, top + 1, bottom + 1):
        area = (left - 1, upper - 1, left + width + 1, upper + height)
        inside = area[1] >= -1 and area[3] <= size[1]
        if inside and not any(_overlap(area, other) for other in taken):
            taken.append(area)
            return left, upper
    return None


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
