"""Findings in place of a picture: what the analysis models saw on board, each section decodable alone.

    [classes] [depth] [boxes] [boxes] ...

    classes   which grid, a byte; the class of each of its cells by `link.bitstream.maps`
    depth     which grid and which step, a byte; the level of the first cell, a byte; what each cell differs from what
              its neighbours foretell (the median predictor of LOCO-I, Weinberger et al. 2000), by `AdaptiveMap`
    boxes     up to four, the surest first: class, score, centre and size of each

A section of no bytes says that nothing of its kind is sent: its task was not asked for, or `codec.frame_bytes` has no
room. The tasks are those of the scenario's `analysis`. Both ends know the models' classes by name from the same
folders, whose stamps are in the fingerprint.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from link.analysis import analyst, loading
from link.analysis.analyst import Chosen
from link.analysis.findings import DepthMap, Detections, Found, Segments
from link.bitstream import maps
from link.bitstream.adaptive import AdaptiveMap
from link.bitstream.entropy import ONE, BitReader, BitWriter
from link.codecs.syntax import CodecFacts, Contents, PayloadSyntax
from link.config import Codec, ProfileConfig, Session, Task
from link.errors import UsageError
from link.frame import Payload

SYNTAX_VERSION = 1
LONG_SIDES = (2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128, 160, 192, 256)
"""Cells of a grid along the longer side of the picture; the shorter one has as many as keep them square."""
LOG_STEPS = (0.45, 0.3, 0.2, 0.12)
"""How far apart levels of metric depth are, in its logarithm: 0.22 is a quarter more, what delta1 allows."""
SHARE_STEPS = (1 / 8, 1 / 16, 1 / 32, 1 / 64)
"""The same of relative inverse depth, as shares of the nearest."""
NEAREST_M = 0.25
BOXES = 4
"""In a section at most: a lost packet costs few of them."""
_HALF = ONE // 2
_COARSE, _FINE = (6, 5, 4, 4), (10, 8, 20, 7)
"""Bits of a centre's coordinate and of a size; sizes to an octave; bits of a score."""


@dataclass(frozen=True)
class FindingsForm:
    """What both ends know beforehand of the findings."""

    size: tuple[int, int]
    """Width and height of the pictures that were looked at."""
    models: Mapping[Task, Chosen]
    """Who looked, by task."""
    names: Mapping[Task, tuple[str, ...]]
    """Their classes; none for depth."""


class FindingsSyntax(PayloadSyntax):
    """The payload syntax of findings."""

    facts = CodecFacts(
        title="no picture: what the analysis models find on board (class map, depth, boxes), each read alone",
        kinds={"classes": "class map", "depth": "depth", "boxes": "boxes"},
        settings=frozenset({"profile"}),
        fills_packets=False,
        draws=False,
    )

    def tables(self, session: Session) -> bytes:
        """Return the tasks, and what names their models and classes."""
        if not session.analysis:
            return f"findings/{SYNTAX_VERSION}/none".encode()
        own = form_of(session)
        parts = [f"{task}/{item.stamp}/{own.names.get(task, ())}" for task, item in own.models.items()]
        return f"findings/{SYNTAX_VERSION}/{parts}".encode()

    def kind(self, codec: Codec, number: int) -> str:
        """Return `classes`, `depth` or `boxes`."""
        return ("classes", "depth", "boxes")[min(number, 2)]

    def worth_showing(self, codec: Codec, payload: Payload) -> bool:
        """Return whether any finding is there."""
        return any(payload.sections)

    def describe(self, codec: Mapping[str, Any], way: str) -> str:
        """Return that no picture was sent."""
        return (
            f"not sent at all: what the analysis models found in them went over {way}, and what is shown is drawn "
            "from that."
        )

    def reader(self, session: Session) -> Callable[[Payload], Contents]:
        """Return what says in words what was found."""
        own = form_of(session)

        def contents(payload: Payload) -> Contents:
            words = [say(found) for found in read(payload, own).values()]
            return Contents("; ".join(words) if words else None, {})

        return contents


def form_of(session: Session) -> FindingsForm:
    """Return what both ends know.

    Raise UsageError where no task is asked for, ModelMissingError where a model is not on this machine.
    """
    if not session.analysis:
        raise UsageError(
            "codec findings: analysis names no task, so there is nothing to find; give analysis: all"
        )
    named = tuple(getattr(session.profile, task) for task in session.analysis)
    models, names = _models(session.analysis, named)
    return FindingsForm((session.camera.width, session.camera.height), models, names)


@lru_cache(maxsize=64)
def _models(
    tasks: tuple[Task, ...], named: tuple[str | None, ...]
) -> tuple[dict[Task, Chosen], dict[Task, tuple[str, ...]]]:
    profile = ProfileConfig.model_validate(dict(zip(tasks, named, strict=True)))
    models = {item.task: item for item in analyst.choose_all(tasks, profile)}
    by_task = {task: models[task] for task in tasks}
    names: dict[Task, tuple[str, ...]] = {
        task: loading.class_names(item.place, task) for task, item in by_task.items() if task != "depth"
    }
    return by_task, names


def grid(number: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of grid *number* over a picture of *size*. Raise ValueError where there is none."""
    if number >= len(LONG_SIDES):
        raise ValueError(f"grid {number} of {len(LONG_SIDES)}")
    width, height = size
    cells = min(LONG_SIDES[number], max(size))
    return max(1, round(cells * height / max(size))), max(1, round(cells * width / max(size)))


def places(cells: int, pixels: int) -> NDArray[np.int64]:
    """Return the cell of each pixel along one side."""
    return np.arange(pixels) * cells // pixels


# Classes


def shrink_labels(labels: NDArray[np.uint8], shape: tuple[int, int], classes: int) -> NDArray[np.uint8]:
    """Return the class that most pixels of each cell have, *shape* (rows, columns)."""
    rows, columns = shape
    down, across = places(rows, labels.shape[0]), places(columns, labels.shape[1])
    cell = down[:, None] * columns + across[None, :]
    flat = np.bincount((cell * classes + labels).ravel(), minlength=rows * columns * classes)
    most: NDArray[np.uint8] = flat.reshape(rows, columns, classes).argmax(2).astype(np.uint8)
    return most


def write_classes(found: Segments, size: tuple[int, int], number: int, ways: tuple[str, ...] = ()) -> bytes:
    """Return the section of *found*, of pictures of *size*, on grid *number*; *ways* are those of `maps.encode`."""
    small = shrink_labels(found.labels, grid(number, size), len(found.names))
    return bytes((number,)) + maps.encode(small, max(2, len(found.names)), ways)


def read_classes(data: bytes, size: tuple[int, int], names: tuple[str, ...]) -> Segments:
    """Return the classes at full size. Raise ValueError for other bytes than `write_classes` makes."""
    rows, columns = grid(data[0], size)
    small = maps.decode(data[1:], (rows, columns), max(2, len(names)))
    if small.max() >= len(names):
        raise ValueError(f"class {small.max()} of {len(names)}")
    return Segments(small[places(rows, size[1])][:, places(columns, size[0])], names)


# Depth


def write_depth(found: DepthMap, size: tuple[int, int], number: int, step: int) -> bytes:
    """Return the section of *found*, of pictures of *size*, on grid *number* with levels of *step*."""
    height, width = found.values.shape
    rows, columns = grid(number, size)
    if found.metric:
        values = np.log(np.maximum(found.values.astype(np.float64), NEAREST_M) / NEAREST_M) / LOG_STEPS[step]
    else:
        values = found.values / max(float(found.values.max()), 1e-9) / SHARE_STEPS[step]
    down, across = places(rows, height), places(columns, width)
    cell = (down[:, None] * columns + across[None, :]).ravel()
    sums, counts = np.bincount(cell, values.ravel()), np.bincount(cell)
    levels = np.clip(np.rint(sums / counts), 0, 255).astype(int).reshape(rows, columns)
    first = int(levels[0, 0])
    ahead = [[first] * (columns + 1)]
    errors = []
    for row in levels.tolist():
        line = [ahead[-1][1]]
        for x, level in enumerate(row, 1):
            line.append(level)
            row[x - 1] = level - _foretell(line[x - 1], ahead[-1][x], ahead[-1][x - 1])
        errors.append(row)
        ahead.append(line)
    writer = BitWriter()
    AdaptiveMap(writer).rows((rows, columns), errors)
    return bytes((number | step << 5 | found.metric << 7, first)) + writer.finish()


def read_depth(data: bytes, shown: tuple[int, int], size: tuple[int, int]) -> DepthMap:
    """Return the depth of a picture of *size*, at the size *shown*. Raise ValueError for bytes that hold none."""
    head, first = data[:2]
    rows, columns = grid(head & 31, size)
    step, metric = head >> 5 & 3, bool(head >> 7)
    reader = BitReader(data[2:])
    errors = AdaptiveMap(reader).rows((rows, columns))
    reader.finish()
    ahead = [[first] * (columns + 1)]
    for row in errors:
        line = [ahead[-1][1]]
        for x, error in enumerate(row, 1):
            level = error + _foretell(line[x - 1], ahead[-1][x], ahead[-1][x - 1])
            if not 0 <= level <= 255:
                raise ValueError(f"a level of depth of {level}")
            line.append(level)
        ahead.append(line)
    smooth = _widen(np.array([line[1:] for line in ahead[1:]], np.float64), shown)
    values = NEAREST_M * np.exp(smooth * LOG_STEPS[step]) if metric else smooth * SHARE_STEPS[step]
    return DepthMap(np.minimum(values, 1e6).astype(np.float32), metric)


def _foretell(west: int, north: int, corner: int) -> int:
    """Return LOCO-I's median of the neighbours and their plane."""
    return max(min(west, north), min(max(west, north), west + north - corner))


def _widen(levels: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """Return *levels* at *size* (width, height), bilinear between the middles of the cells."""
    for axis, pixels in ((0, size[1]), (1, size[0])):
        cells = levels.shape[axis]
        at = np.clip((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0, cells - 1)
        low = np.minimum(at.astype(int), max(0, cells - 2))
        part = (at - low) if axis else (at - low)[:, None]
        high = np.minimum(low + 1, cells - 1)
        levels = np.take(levels, low, axis) * (1 - part) + np.take(levels, high, axis) * part
    return levels


# Boxes


def write_boxes(
    found: Detections, size: tuple[int, int], first: int, *, fine: bool, most: int = BOXES
) -> bytes:
    """Return the section of at most *most*, up to `BOXES`, of *found*, from box number *first* on."""
    writer = BitWriter()
    writer.code(_HALF, 0)  # so that a section of no box is not one of no bytes
    places_of = range(first, min(first + most, len(found.kinds)))
    count, _ = _number(writer.code, len(places_of), BOXES + 1), writer.code(_HALF, int(fine))
    for at in places_of[:count]:
        left, top, right, bottom = found.xyxy[at].tolist()
        quantised = _quantise((left, top, right, bottom, float(found.scores[at])), size, fine)
        _box(writer.code, (int(found.kinds[at]), *quantised), len(found.names), fine)
    return writer.finish()


def read_boxes(sections: Sequence[bytes], size: tuple[int, int], names: tuple[str, ...]) -> Detections | None:
    """Return the boxes of those of *sections* that hold some, None where none of them can be read."""
    boxes: list[tuple[float, ...]] = []
    readable = False
    for data in sections:
        try:
            boxes += _read_boxes(data, size, len(names))
            readable = True
        except ValueError:
            continue
    if not readable:
        return None
    boxes.sort(key=lambda box: -box[5])
    array = np.array(boxes, np.float64).reshape(-1, 6)
    return Detections(array[:, :4], array[:, 4].astype(np.int64), array[:, 5], names)


def _read_boxes(data: bytes, size: tuple[int, int], classes: int) -> list[tuple[float, ...]]:
    reader = BitReader(data)
    if reader.code(_HALF):
        raise ValueError("no boxes")
    count, fine = _number(reader.code, 0, BOXES + 1), bool(reader.code(_HALF))
    centre, _, octave, sure = _FINE if fine else _COARSE
    boxes = []
    for _ in range(count):
        kind, x, y, wide, tall, score = _box(reader.code, (0,) * 6, classes, fine)
        middle = ((x + 0.5) / (1 << centre) * size[0], (y + 0.5) / (1 << centre) * size[1])
        width, height = size[0] * 2.0 ** (-wide / octave), size[1] * 2.0 ** (-tall / octave)
        box = (middle[0] - width / 2, middle[1] - height / 2, middle[0] + width / 2, middle[1] + height / 2)
        kept = [min(max(edge, 0.0), float(size[at % 2])) for at, edge in enumerate(box)]
        boxes.append((*kept, float(kind), (score + 0.5) / (1 << sure)))
    reader.finish()
    return boxes


def _quantise(box: tuple[float, ...], size: tuple[int, int], fine: bool) -> tuple[int, ...]:
    centre, length, octave, sure = _FINE if fine else _COARSE
    left, top, right, bottom, score = box
    numbers = []
    for low, high, side in ((left, right, size[0]), (top, bottom, size[1])):
        numbers.append(min(max(int((low + high) / 2 / side * (1 << centre)), 0), (1 << centre) - 1))
    for low, high, side in ((left, right, size[0]), (top, bottom, size[1])):
        share = min(max((high - low) / side, 1e-6), 1.0)
        numbers.append(min(round(-math.log2(share) * octave), (1 << length) - 1))
    return (*numbers, min(int(score * (1 << sure)), (1 << sure) - 1))


def _box(code: Callable[[int, int], int], box: tuple[int, ...], classes: int, fine: bool) -> tuple[int, ...]:
    """Code class, centre, size and score; a reader ignores *box*."""
    centre, length, _, sure = _FINE if fine else _COARSE
    counts = (classes, 1 << centre, 1 << centre, 1 << length, 1 << length, 1 << sure)
    return tuple(_number(code, value, count) for value, count in zip(box, counts, strict=True))


def _number(code: Callable[[int, int], int], value: int, count: int) -> int:
    """Code *value*, one of *count* that are alike, and return it."""
    number = 0
    for at in reversed(range((count - 1).bit_length())):
        number = number << 1 | code(_HALF, value >> at & 1)
    if number >= count:
        raise ValueError(f"{number} of {count}")
    return number


# All of them


def read(payload: Payload, own: FindingsForm) -> dict[Task, Found]:
    """Return what the sections that arrived hold, by task; those that are no findings count as lost."""
    found: dict[Task, Found] = {}
    sections = payload.sections
    if "segmentation" in own.models and sections and sections[0]:
        names = own.names["segmentation"]
        data = sections[0]
        _keep(found, "segmentation", lambda: read_classes(data, own.size, names))
    if "depth" in own.models and len(sections) > 1 and sections[1]:
        depth = sections[1]
        _keep(found, "depth", lambda: read_depth(depth, own.size, own.size))
    if "detection" in own.models:
        boxes = read_boxes([section for section in sections[2:] if section], own.size, own.names["detection"])
        if boxes is not None:
            found["detection"] = boxes
    return found


def _keep(found: dict[Task, Found], task: Task, attempt: Callable[[], Found]) -> None:
    try:
        found[task] = attempt()
    except ValueError:
        pass


def say(found: Found) -> str:
    """Return *found* in words."""
    if isinstance(found, Segments):
        counts = np.bincount(found.labels.ravel(), minlength=len(found.names))
        order = [int(at) for at in np.argsort(-counts, kind="stable") if counts[at]]
        return ", ".join(
            f"{found.names[at]} {100 * counts[at] / found.labels.size:.0f} %" for at in order[:6]
        )
    if isinstance(found, DepthMap):
        if not found.metric:
            return "relative depth"
        return f"{float(found.values.min()):.3g} to {float(found.values.max()):.3g} m"
    sure = [
        f"{found.names[kind]} ({score:.2f})"
        for kind, score in zip(found.kinds.tolist(), found.scores.tolist(), strict=True)
    ]
    return ", ".join(sure[:6]) or "no box"
