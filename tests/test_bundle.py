"""Bundles: known bytes, another implementation of CBOR, sizes, and whatever else may come."""

import random

import cbor2
import pytest
from campaigns import bounded, mutate, seed, sizes

from link import bundle, cbor
from link.bundle import AGE, FRAGMENT, Bundle, BundleError, Crc, ExtensionBlock, checksum

PRIMARY = bytes.fromhex("89070401820282030182028201018202820100821b000000c570bd2000001a05265c0042adaf")


def known(payload=b"", **more):
    about = {"report_to": "ipn:1.0", "created_ms": 848_000_000_000, "lifetime_ms": 86_400_000, **more}
    return Bundle("ipn:3.1", "ipn:1.1", payload, **about)


def test_the_primary_block_is_the_known_one():
    assert known().pack()[1 : 1 + len(PRIMARY)] == PRIMARY and len(PRIMARY) == 38
    for crc, size in ((Crc.NONE, 35), (Crc.X25, 38), (Crc.CASTAGNOLI, 40)):
        packed = known(crc=crc).pack()
        assert cbor.parse(packed, 1)[1] - 1 == size


@pytest.mark.parametrize(
    ("size", "crc", "whole"),
    [(1000, Crc.X25, 1051), (1000, Crc.NONE, 1045), (1000, Crc.CASTAGNOLI, 1055), (100, Crc.X25, 150)],
)
def test_sizes(size, crc, whole):
    assert len(known(bytes(size), crc=crc).pack()) == whole


@pytest.mark.parametrize(
    ("size", "more"), [(23, 9), (24, 10), (255, 10), (256, 11), (65_535, 11), (65_536, 13)]
)
def test_what_a_payload_block_costs(size, more):
    assert len(known(bytes(size)).pack()) == 2 + 38 + size + more


def test_what_other_blocks_and_forms_cost():
    whole = len(known(bytes(1000)).pack())
    assert len(known(bytes(1000), report_to="dtn:none").pack()) == whole - 2
    assert len(known(bytes(1000), flags=FRAGMENT, fragment=(1000, 10_000)).pack()) == whole + 6
    blocks = [
        (AGE, cbor.pack(300_000), 14),
        (bundle.PREVIOUS_NODE, cbor.pack([2, [1, 0]]), 14),
        (bundle.HOP_COUNT, cbor.pack([30, 5]), 13),
    ]
    for kind, data, size in blocks:
        assert len(known(bytes(1000), blocks=(ExtensionBlock(kind, 2, data),)).pack()) == whole + size


def test_checksums_are_the_standards():
    assert checksum(b"123456789", Crc.X25).hex() == "906e"
    assert checksum(b"123456789", Crc.CASTAGNOLI).hex() == "e3069283"


def by_cbor2(item):
    """Return the same blocks by another implementation, checksums recomputed there too."""
    whole = b"\x9f"
    crc = item.crc

    def names(name):
        return [1, 0] if name == "dtn:none" else [2, [int(part) for part in name[4:].split(".")]]

    blocks = [
        [7, item.flags, int(crc), names(item.destination), names(item.source), names(item.report_to),
         [item.created_ms, item.sequence], item.lifetime_ms, *(item.fragment or ())],
        *([block.kind, block.number, block.flags, int(crc), block.data] for block in item.blocks),
        [1, 1, 0, int(crc), item.payload],
    ]  # fmt: skip
    for block in blocks:
        width = {Crc.NONE: 0, Crc.X25: 2, Crc.CASTAGNOLI: 4}[crc]
        raw = cbor2.dumps([*block, bytes(width)] if width else block)
        whole += (raw[:-width] + checksum(raw, crc)) if width else raw
    return whole + b"\xff"


def random_bundle(rng):
    crc = rng.choice(list(Crc))
    cut = rng.random() < 0.3
    names = [
        "dtn:none",
        *(f"ipn:{rng.choice([0, 1, 23, 24, 70_000, 1 << 40])}.{rng.randrange(300)}" for _ in range(3)),
    ]
    kinds = [AGE, bundle.PREVIOUS_NODE, bundle.HOP_COUNT, 192]
    return Bundle(
        rng.choice(names), rng.choice(names), rng.randbytes(rng.choice([0, 1, 23, 24, 300])),
        created_ms=rng.choice([0, 5, 848_000_000_000]), lifetime_ms=rng.choice([1, 86_400_000]),
        sequence=rng.randrange(1 << rng.choice([1, 8, 32])), report_to=rng.choice(names),
        flags=FRAGMENT if cut else rng.choice([0, 4]), crc=crc,
        fragment=(rng.randrange(100_000), rng.randrange(1 << 33)) if cut else None,
        blocks=tuple(ExtensionBlock(rng.choice(kinds), at + 2, rng.randbytes(rng.randrange(30)), rng.choice([0, 1]), crc) for at in range(rng.randrange(4))),
    )  # fmt: skip


@sizes(300, 20_000)
def test_bundles_are_cbor2s_and_come_back(request, size):
    rng = random.Random(seed(request))
    for _ in range(size):
        item = random_bundle(rng)
        packed = item.pack()
        assert packed == by_cbor2(item)
        assert bundle.parse(packed) == item
        assert cbor2.loads(packed)[0][0] == 7


@sizes(3000, 300_000)
def test_nothing_but_a_bundle_is_taken_for_one(request, size):
    rng = random.Random(seed(request))
    taken = 0
    with bounded(0.5, 64) as meter:
        for _ in range(size):
            item = random_bundle(rng)
            data = mutate(item.pack(), rng)
            with meter.input(data):
                try:
                    found = bundle.parse(data)
                except BundleError:
                    continue
            taken += 1
            assert bundle.parse(found.pack()) == found
    assert taken < size / 2


def test_a_flipped_bit_is_found():
    packed = known(b"picture" * 9).pack()
    for at in range(len(packed) * 8):
        damaged = bytearray(packed)
        damaged[at >> 3] ^= 0x80 >> (at & 7)
        with pytest.raises(BundleError):
            bundle.parse(bytes(damaged))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x9f",
        b"\x9f\xff",
        b"\x80",
        b"\x9f" * 5000,
        b"\x9f\x9b" + b"\xff" * 8,
        b"\x9f\x5b" + b"\x7f" * 8,
        b"\x9f" + b"\x81" * 100,
    ],
)
def test_what_is_none_is_refused_in_a_line(data):
    with pytest.raises(BundleError):
        bundle.parse(data)


def test_blocks_in_another_order_are_refused():
    whole = known(b"x", blocks=(ExtensionBlock(AGE, 2, b"\x00"),)).pack()
    _, end = cbor.parse(whole, 1)
    _, middle = cbor.parse(whole, end)
    with pytest.raises(BundleError, match="last"):
        bundle.parse(whole[:end] + whole[middle:-1] + whole[end:middle] + b"\xff")
    with pytest.raises(BundleError, match="once"):
        bundle.parse(
            known(b"x", blocks=(ExtensionBlock(AGE, 2, b"\x00"), ExtensionBlock(10, 2, b"\x00"))).pack()
        )
    with pytest.raises(BundleError, match="behind"):
        bundle.parse(whole + b"\x00")


@pytest.mark.parametrize(
    "more",
    [
        {"report_to": "http://x"},
        {"created_ms": -1},
        {"flags": FRAGMENT},
        {"fragment": (0, 1)},
        {"sequence": 1 << 64},
    ],
)
def test_what_cannot_be_a_bundle_is_not_packed(more):
    with pytest.raises(ValueError):
        known(**more).pack()


def test_dtn_names_come_back():
    item = known(b"x", report_to="dtn://rover/inbox")
    assert bundle.parse(item.pack()) == item
