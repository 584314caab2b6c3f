"""What a caption says of a picture, from the class of each pixel and its colour.

    labels (H, W)    --> which classes, how large, where --+
    pixels (H, W, 3) --> which colours, in what light -----+--> Caption

Nothing is imagined: a caption names a class only where it covers at least `LEAST_SHARE` of the picture.
"""

from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from link.bitstream.grammar import COLOURS, LEVELS, PLACES, SCENES, SIZE_FROM, SIZES, Caption, Item, arrange

Pixels = NDArray[np.uint8]
"""Shape (height, width, 3)."""
Labels = NDArray[np.uint8]
"""Shape (height, width): class numbers, those of `CLASSES`; others are unknown."""

CLASSES = {
    "street": range(11),
    "card": range(11, 12),
    "picture": range(12, 13),
    "planet": range(13, 22),
}
"""The class numbers of each scene: one for each noun, or one for all pixels of a scene without sizes."""
CARD, PICTURE, UNKNOWN = CLASSES["card"].start, CLASSES["picture"].start, 255
PLANET = CLASSES["planet"].start

LEAST_SHARE = 0.004
"""The share of the picture that a class must cover to be named."""
_WORK = 256 * 192  # pixels looked at: more tell nothing more
_LUMA_FROM = (0, 55, 95, 150)  # of 255, for each of LEVELS
_TINT = 10  # mean red over mean blue, of 255, from which on light is warm or cool
_VIVID = 2.0  # a pixel of colour counts more than a grey one: a red car is red between its black windows
_BINS = 16  # levels of red, green and blue in the table of colour names


def describe(labels: Labels, pixels: Pixels, words: int) -> Caption:
    """Return what *labels* and *pixels* show in at most *words* words.

    A caption has two words at least, three for a test card, whatever *words* is.
    Raise `ValueError` where the two do not have one size.
    """
    if pixels.shape != (*labels.shape, 3) or not labels.size:
        raise ValueError(f"expected pixels and labels of one size, got {pixels.shape} and {labels.shape}")
    step = int(np.ceil(np.sqrt(labels.size / _WORK)))
    labels, pixels = labels[::step, ::step], pixels[::step, ::step]
    counts = np.bincount(labels.ravel(), minlength=256)
    pixels_of = {scene: int(counts[numbers].sum()) for scene, numbers in CLASSES.items()}
    scene = max(pixels_of, key=lambda scene: (pixels_of[scene], scene == "picture"))
    named = _names(pixels)
    if SCENES[scene].sized:
        items = _things(scene, labels, counts, named)
    elif scene == "card":
        items = [Item("ground", _colour(np.bincount(named.ravel(), minlength=len(COLOURS)), 1.0))]
    else:
        thirds = np.array_split(named, 3)
        items = [
            Item(noun, _colour(np.bincount(third.ravel(), minlength=len(COLOURS)), 1.2))
            for noun, third in zip(SCENES["picture"].nouns, thirds, strict=True)
        ]
    level, tint = _light(pixels)
    return Caption(scene, level, tint, arrange(scene, tuple(items))).cut(words)


def _things(scene: str, labels: Labels, counts: NDArray[np.int64], named: NDArray[np.uint8]) -> list[Item]:
    """Return which of the scene's nouns cover enough of the picture."""
    width = labels.shape[1]
    third = (np.arange(width) * 3 // width).astype(np.int64)
    flat = labels.astype(np.int64)
    where = np.bincount((flat * 3 + third).ravel(), minlength=256 * 3).reshape(256, 3)
    colours = np.bincount((flat * 16 + named).ravel(), minlength=256 * 16).reshape(256, 16)
    items = []
    for number, noun in zip(CLASSES[scene], SCENES[scene].nouns, strict=True):
        share = counts[number] / labels.size
        if share >= LEAST_SHARE:
            size = SIZES[sum(share >= least for least in SIZE_FROM) - 1]
            place = _place(where[number] / counts[number])
            items.append(Item(noun, _colour(colours[number, : len(COLOURS)]), size, place))
    return items


def _place(thirds: NDArray[np.float64]) -> str:
    """Return where a thing is that has these shares of itself in the left, middle and right third."""
    most = int(thirds.argmax())
    if thirds[most] < 0.6:
        if thirds.min() >= 0.15:
            return PLACES[4]
        if thirds[1] < 0.15:
            return PLACES[3]
    return PLACES[most]


def _colour(votes: NDArray[np.int64], vivid: float = _VIVID) -> str:
    """Return the colour with most *votes*, those of real colours weighted by *vivid*."""
    weights = np.full(len(COLOURS), vivid)
    weights[:3] = 1.0
    return COLOURS[int((votes * weights).argmax())]


def _names(pixels: Pixels) -> NDArray[np.uint8]:
    """Return the number of each pixel's colour name."""
    coarse = (pixels >> 4).astype(np.int64)
    return _lookup()[(coarse[..., 0] * _BINS + coarse[..., 1]) * _BINS + coarse[..., 2]]


@cache
def _lookup() -> NDArray[np.uint8]:
    """Return the colour name of each coarse colour."""
    steps = np.arange(_BINS) * 16 + 8
    names = [COLOURS.index(_name(int(r), int(g), int(b))) for r in steps for g in steps for b in steps]
    return np.array(names, np.uint8)


def _name(red: int, green: int, blue: int) -> str:
    """Return what a colour of three numbers up to 255 is called."""
    high, low = max(red, green, blue), min(red, green, blue)
    chroma = high - low
    if high < 40:
        return "black"
    least = 0.14 * high
    if blue > green >= red:  # under a blue sky shadows are bluish and yet called grey, and a pale sky is blue
        least = (0.42 if high < 100 else 0.28 if high < 190 else 0.1) * high
    if chroma < max(12, least):
        return "black" if high < 56 else "grey" if high < 195 else "white"
    if high == red:
        hue = 60 * (green - blue) / chroma % 360
    elif high == green:
        hue = 60 * (blue - red) / chroma + 120
    else:
        hue = 60 * (red - green) / chroma + 240
    pale = chroma < 0.45 * high
    if hue < 48 and (high < 150 or (pale and high < 200)) and not (hue < 12 and not pale):
        return "brown"
    if 48 <= hue < 68 and high < 130:
        return "green"
    for name, until in (
        ("red", 14),
        ("orange", 42),
        ("yellow", 68),
        ("green", 165),
        ("blue", 258),
        ("purple", 300),
        ("pink", 344),
    ):
        if hue < until:
            return "pink" if name == "red" and pale else name
    return "pink" if pale else "red"


def _light(pixels: Pixels) -> tuple[str, str]:
    """Return how bright the picture is and whether its light is warm or cool."""
    red, green, blue = (float(pixels[..., channel].mean()) for channel in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    level = LEVELS[sum(luma >= least for least in _LUMA_FROM) - 1]
    tint = "warm" if red - blue >= _TINT else "cool" if blue - red >= _TINT else "neutral"
    return level, tint


class Captioner(Protocol):
    """Says in words what a picture shows."""

    def caption(self, pixels: Pixels) -> str:
        """Return a caption of *pixels*, at most 1 KiB of UTF-8."""


class Finder(Protocol):
    """Finds the class of each pixel, as `sender.segmenter.Segmenter` does."""

    def segment(self, pixels: Pixels) -> Labels:
        """Return the class numbers of *pixels*."""


class GrammarCaptioner:
    """Captions of the closed grammar, in at most *words* words, from what *finder* finds."""

    def __init__(self, finder: Finder, words: int) -> None:
        self._finder, self._words = finder, words

    def caption(self, pixels: Pixels) -> str:
        """Return the sentence; `link.bitstream.grammar.parse()` reads it."""
        return describe(self._finder.segment(pixels), pixels, self._words).sentence()
