"""What the classes of data sets are called, and which of their numbers stand for them.

Names are spelled as the standard models spell them (Mask2Former's Cityscapes, COCO's categories), so that
findings and truth meet by name.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from link.bitstream.grammar import SCENES

UNLABELLED = 255
"""Of a pixel about which nothing is known."""

CAMVID = tuple(SCENES["street"].nouns)
"""CamVid's 11 classes (Badrinarayanan et al. 2017, SegNet) in the order of their numbers; 11 is unlabelled."""

CITYSCAPES = (
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
)
"""The 19 classes that are evaluated, by train id (Cordts et al. 2016; cityscapesScripts, helpers/labels.py)."""

_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The id in `labelIds.png` of each of `CITYSCAPES`; the others up to 33 are not evaluated."""

COCO = tuple(
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, "
    "parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, "
    "handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, "
    "surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, "
    "broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, "
    "laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, "
    "scissors, teddy bear, hair drier, toothbrush".split(", ")
)
"""The 80 categories of COCO 2017 in order of their ids, which is how YOLO files number them."""

Table = NDArray[np.int16]
"""Shape (256,): the class that each value of a label picture stands for, -1 where it stands for none."""


def table(classes: Mapping[int, int], unlabelled: tuple[int, ...]) -> Table:
    """Return the table that maps each key of *classes* to its class and *unlabelled* values to `UNLABELLED`."""
    made = np.full(256, -1, np.int16)
    for value in unlabelled:
        made[value] = UNLABELLED
    for value, number in classes.items():
        made[value] = number
    return made


def plain_table(count: int, *unlabelled: int) -> Table:
    """Return the table of *count* classes that are numbered from 0; 255 and *unlabelled* are unlabelled."""
    return table({number: number for number in range(count)}, (UNLABELLED, *unlabelled))


def camvid_table() -> Table:
    """Return the table of CamVid's label pictures."""
    return plain_table(len(CAMVID), len(CAMVID))


def cityscapes_table() -> Table:
    """Return the table of Cityscapes' `labelIds.png`: 19 of the ids 0 to 33 are classes."""
    others = tuple(value for value in range(34) if value not in _CITYSCAPES_IDS)
    return table({value: number for number, value in enumerate(_CITYSCAPES_IDS)}, (*others, UNLABELLED))
