"""Masks and class maps: what was written is read by every coder, the smallest is chosen, and bad bytes are harmless."""

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from campaigns import bounded, mutate, seed, sizes
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from link.bitstream import maps
from link.bitstream.maps import decode, decode_mask, encode, encode_mask

WAYS = [name for name, _ in maps.WAYS]
SHARED = Path(__file__).parents[2] / "shared" / "data"


def things(height=48, width=64, classes=6):
    """Return a map as of a street: a ground with a wavy edge, a sky, and things of one class each upon them."""
    rng = np.random.default_rng(height * width)
    y, x = np.mgrid[0:height, 0:width]
    labels = (y > height * (0.55 + 0.06 * np.sin(x / 9.0))).astype(np.uint8)
    for kind in range(2, classes):
        top, left = rng.uniform(0.2, 0.8, 2) * (height, width)
        tall, wide = rng.uniform(0.08, 0.3, 2) * (height, width)
        labels[((y - top) / tall) ** 2 + ((x - left) / wide) ** 2 < 1.0] = kind
    return labels


def noise(height, width, classes, number=1):
    return np.random.default_rng(number).integers(0, classes, (height, width)).astype(np.uint8)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("classes", [2, 3, 12, 256])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 37), (29, 1), (2, 2), (17, 33), (48, 64)])
def test_every_coder_reads_what_it_wrote(way, classes, height, width):
    if way == "contours" and classes > 2:
        return
    flat = np.zeros((height, width), np.uint8)
    board = np.indices((height, width)).sum(0).astype(np.uint8) % 2
    for labels in (flat, flat + classes - 1, board, noise(height, width, classes),
                   things(height, width, min(classes, 6)) % classes):  # fmt: skip
        data = encode(labels.astype(np.uint8), classes, (way,))
        assert maps.name_way(data) == way
        assert np.array_equal(decode(data, (height, width), classes), labels)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(2, 5), st.data())
def test_any_map_comes_back(height, width, classes, data):
    flat = data.draw(st.lists(st.integers(0, classes - 1), min_size=height * width, max_size=height * width))
    labels = np.array(flat, np.uint8).reshape(height, width)
    for way in WAYS if classes == 2 else [name for name in WAYS if name != "contours"]:
        assert np.array_equal(decode(encode(labels, classes, (way,)), (height, width), classes), labels)


def test_the_smallest_is_chosen():
    chosen = set()
    for labels in (things(), noise(16, 16, 2), np.zeros((9, 9), np.uint8), things(7, 9), things(96, 128)):
        mask = labels == labels.max()
        data = encode_mask(mask)
        each = {way: len(encode(mask.astype(np.uint8), 2, (way,))) for way in WAYS}
        assert len(data) == min(each.values())
        assert each[maps.name_way(data)] == len(data)
        chosen.add(maps.name_way(data))
        assert np.array_equal(decode_mask(data, mask.shape), mask)
    assert len(chosen) > 1


def raw_run_bytes(mask):
    """Return what the lengths of the runs take as varints of seven bits a byte."""
    flat = mask.ravel()
    edges = [0, *(np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist(), flat.size]
    return sum(max(1, -(-(b - a).bit_length() // 7)) for a, b in pairwise(edges))


def test_masks_take_less_than_half_of_raw_run_lengths():
    coded = raw = 0
    for height, width in ((48, 64), (96, 128), (192, 256)):
        labels = things(height, width)
        for kind in range(6):
            mask = labels == kind
            coded += len(encode_mask(mask))
            raw += raw_run_bytes(mask)
    assert 0.1 < coded / raw < 0.4


def largest_masks(path, void, cell):
    """Return the masks of the three largest classes of a labelled picture, every *cell*-th pixel of it."""
    labels = np.array(Image.open(path))[::cell, ::cell]
    counts = np.bincount(labels.ravel(), minlength=256)
    counts[list(void)] = 0
    return [labels == kind for kind in np.argsort(-counts)[:3] if counts[kind] >= 0.005 * labels.size]


@pytest.mark.parametrize(
    ("folder", "void", "cell", "expected"),
    [
        ("coco128/masks", (0, 255), 4, 0.28),
        ("coco128/masks", (0, 255), 8, 0.37),
        ("camvid/val_labels", (11,), 4, 0.29),
        ("camvid/val_labels", (11,), 8, 0.35),
    ],
)
def test_masks_of_real_things_take_less_than_half_of_raw_run_lengths(folder, void, cell, expected):
    """COCO128's and CamVid's, at a quarter of their sides and on the latents' grid."""
    if not (SHARED / folder).is_dir():
        pytest.skip(f"no shared {folder}")
    coded = raw = 0
    for path in sorted((SHARED / folder).iterdir())[5 :: 40 if cell == 4 else 20]:
        for mask in largest_masks(path, void, cell):
            data = encode_mask(mask)
            assert np.array_equal(decode_mask(data, mask.shape), mask)
            coded += len(data)
            raw += raw_run_bytes(mask)
    assert expected - 0.06 < coded / raw < min(0.5, expected + 0.06)


def test_a_blank_mask_is_next_to_nothing_and_noise_is_not_blown_up():
    assert len(encode_mask(np.zeros((48, 64), np.bool_))) <= 6
    assert len(encode_mask(noise(48, 64, 2).astype(np.bool_))) < 1.2 * 48 * 64 / 8


def test_bytes_are_those_of_this_version():
    """A change here is a change of the wire format."""
    labels = things(12, 16, 4)
    golden = {
        "contexts": "c342e440f5f0af909eeb3e",
        "runs": "70272465206014cdf2c3a0a4",
        "quadtree": "0f11bf0879d61af90539c3cb323499",
    }
    assert {way: encode(labels, 4, (way,)).hex() for way in golden} == golden
    mask = (labels == 1).astype(np.uint8)
    assert encode(mask, 2, ("contours",)).hex() == "91e0d5e1a6aaaa738e"
    assert encode(mask, 2, ("contexts",)).hex() == "cf23fa5cd59246"


@pytest.mark.parametrize(
    ("labels", "classes", "said"),
    [
        (np.full((2, 2), 3, np.uint8), 3, "a label 3 of 3 classes"),
        (np.zeros((0, 4), np.uint8), 2, r"a map of \(0, 4\)"),
        (np.zeros((2, 2), np.uint8), 1, "in 1 classes"),
        (np.zeros((2, 2), np.uint8), 257, "in 257 classes"),
        (np.zeros((4096, 4096), np.uint8), 2, "at most 4194304 pixels"),
    ],
)
def test_what_is_no_map_is_refused(labels, classes, said):
    with pytest.raises(ValueError, match=said):
        encode(labels, classes)


def test_bytes_beyond_the_map_are_refused():
    data = encode_mask(things() == 1)
    with pytest.raises(ValueError, match="coded bytes"):
        decode_mask(data + b"x" * 9, (48, 64))


@sizes(1200, 1_000_000)
def test_any_bytes_are_a_map_or_refused(request, size):
    rng = random.Random(seed(request))
    good = [(encode(things(24, 32, min(classes, 6)) % classes, classes, (way,)), classes)
            for classes in (2, 3, 12) for way in WAYS if way != "contours" or classes == 2]  # fmt: skip
    others = [data for data, _ in good]
    read = refused = 0
    with bounded(1.0, 64) as meter:
        for number in range(size):
            data, classes = good[number % len(good)]
            bad = mutate(data, rng, others)
            with meter.input(bad):
                try:
                    labels = decode(bad, (24, 32), classes)
                except ValueError:
                    refused += 1
                    continue
            assert labels.shape == (24, 32) and labels.max() < classes
            read += 1
    assert read > size // 10 and refused > size // 10


def test_no_bytes_take_long():
    """The worst that a map can ask for: noise, in which every pixel has a border of its own."""
    board = (np.indices((96, 128)).sum(0) % 2).astype(np.uint8)
    with bounded(3.0, 64) as meter:
        for way in WAYS:
            for labels in (board, noise(96, 128, 2)):
                data = encode(labels, 2, (way,))
                with meter.input(data):
                    decode(data, (96, 128), 2)
                with meter.input():
                    try:
                        decode(data[:1] + random.Random(1).randbytes(4000), (96, 128), 2)
                    except ValueError:
                        pass
