"""Which class of a truth a model means: data sets and models call the same things differently.

A name that both have stands for itself; else the names in `OTHERS` are tried in turn. A class that the truth has no
word for stands for none: in a map it is no answer, and a box of it is not counted.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

NONE = 255

OTHERS: Mapping[str, tuple[str, ...]] = {
    # CamVid's 11 classes (Badrinarayanan et al. 2017) and Cityscapes' 19 (Cordts et al. 2016), both ways
    "pavement": ("sidewalk",),
    "sidewalk": ("pavement",),
    "tree": ("vegetation",),
    "vegetation": ("tree",),
    "terrain": ("tree",),
    "sign": ("traffic sign",),
    "traffic sign": ("sign",),
    "traffic light": ("sign",),
    "wall": ("fence",),
    "truck": ("car",),
    "bus": ("car",),
    "pedestrian": ("person",),
    "person": ("pedestrian",),
    "cyclist": ("rider", "bicycle"),
    "rider": ("cyclist",),
    "bicycle": ("cyclist",),
    "motorcycle": ("cyclist",),
    # COCO's categories as PASCAL VOC and some detectors spell them
    "motorbike": ("motorcycle",),
    "aeroplane": ("airplane",),
    "sofa": ("couch",),
    "pottedplant": ("potted plant",),
    "diningtable": ("dining table",),
    "tvmonitor": ("tv",),
}
"""What a class of a model may be called in a truth that does not have its own name."""


def normalise_name(name: str) -> str:
    """Return *name* without what spellings differ in."""
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def match_classes(model: Sequence[str], truth: Sequence[str]) -> NDArray[np.uint8]:
    """Return the number in *truth* of each class of *model*, `NONE` where there is none; shape (256,)."""
    known = {normalise_name(name): number for number, name in enumerate(truth)}
    found = np.full(256, NONE, np.uint8)
    for number, name in enumerate(map(normalise_name, model)):
        for word in (name, *OTHERS.get(name, ())):
            if word in known:
                found[number] = known[word]
                break
    return found
