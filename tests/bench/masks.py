"""Masks and class maps of labelled pictures: each coder's bytes beside raw run lengths.

    python tests/bench/masks.py ../shared/data/camvid/test_labels --size 256x192

Of each label file every class is a mask; raw run lengths are varints of seven bits a byte over the rows one after the
other, without anything that says how many there are.
"""

import argparse
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from link.bitstream import maps


def raw_run_bytes(mask: maps.Labels) -> int:
    """Return what the lengths of the runs take."""
    flat = mask.ravel()
    edges = [0, *(np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist(), flat.size]
    return sum(max(1, -(-(b - a).bit_length() // 7)) for a, b in pairwise(edges))


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--size", default="256x192")
    arguments.add_argument("--every", type=int, default=1, help="take every so manieth file")
    given = arguments.parse_args()
    width, height = map(int, given.size.split("x"))
    size: Counter[str] = Counter()
    chosen: Counter[str] = Counter()
    masks = files = 0
    for path in sorted(given.folder.iterdir())[:: given.every]:
        labels = np.array(Image.open(path).resize((width, height), Image.Resampling.NEAREST), np.uint8)
        assert labels.ndim == 2, f"{path}: class numbers are expected"
        files += 1
        names = np.unique(labels)
        for kind in names:
            mask = (labels == kind).astype(np.uint8)
            made = {name: maps.encode(mask, 2, (name,)) for name, _ in maps.WAYS}
            best = min(made, key=lambda name: len(made[name]))
            assert np.array_equal(maps.decode(made[best], mask.shape, 2), mask)
            size += Counter({name: len(data) for name, data in made.items()})
            size["chosen"] += len(made[best])
            size["raw runs"] += raw_run_bytes(mask)
            chosen[best] += 1
            masks += 1
        classes = len(names)
        dense = np.searchsorted(names, labels).astype(np.uint8)
        if classes >= 2:
            size["one class map"] += len(maps.encode(dense, classes))
    print(f"{files} files of {given.size}, {masks} masks; bytes a file")
    for name in ("raw runs", *(name for name, _ in maps.WAYS), "chosen", "one class map"):
        share = size[name] / size["raw runs"]
        print(f"{name:14}{size[name] / files:9.1f}{share:8.2f} of raw{chosen[name]:6} times the smallest")


if __name__ == "__main__":
    main()
