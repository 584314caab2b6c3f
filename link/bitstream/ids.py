"""Which channels a frame sends: a set as its rank among all sets of its size."""

from collections.abc import Sequence
from itertools import pairwise
from math import comb


def _id_bytes(n: int, count: int) -> int:
    if not 0 <= count <= n <= 4096:
        raise ValueError(f"{count} of {n} channels; expected at most {n}, of at most 4096")
    return ((comb(n, count) - 1).bit_length() + 7) // 8


def encode_ids(ids: Sequence[int], n: int) -> bytes:
    """Return which of *n* channels are sent, in ceil(log2 C(n, len(ids))) bits padded to bytes.

    The set's rank in the combinatorial number system. Raise `ValueError` unless *ids* ascend within 0 to n - 1.
    """
    size = _id_bytes(n, len(ids))
    if any(not 0 <= one < n for one in ids) or any(a >= b for a, b in pairwise(ids)):
        raise ValueError(f"expected ascending channels of 0 to {n - 1}, got {list(ids)}")
    return sum(comb(one, at) for at, one in enumerate(ids, 1)).to_bytes(size, "big")


def decode_ids(data: bytes, n: int, count: int) -> tuple[int, ...]:
    """Return the *count* channels of *n* that `encode_ids()` made *data* of; raise `ValueError` for other bytes."""
    size, rank = _id_bytes(n, count), int.from_bytes(data, "big")
    if len(data) != size or rank >= comb(n, count):
        raise ValueError(f"expected {size} bytes below {comb(n, count)}, got {len(data)} bytes")
    ids: list[int] = []
    for left in range(count, 0, -1):
        below = ids[0] if ids else n
        ids.insert(0, next(one for one in reversed(range(below)) if comb(one, left) <= rank))
        rank -= comb(ids[0], left)
    return tuple(ids)
