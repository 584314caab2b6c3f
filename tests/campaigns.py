"""What campaigns of damaged and hostile input share: a seed that is printed, mutations, and bounds on time and memory.

CI runs small ones under a fixed seed. `pytest -m exhaustive` runs those of a release under a new seed each time;
`FARLINK_SEED=N` runs one again.
"""

import os
import random
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

MIB = 1 << 10
"""In the unit of `ru_maxrss`."""


def sizes(small: int, large: int) -> Any:
    """Parametrise a test by `size`: *small* in CI, *large* in the exhaustive campaign."""
    marks = (pytest.mark.exhaustive, pytest.mark.timeout(3600))
    return pytest.mark.parametrize(
        "size", [pytest.param(small, id="small"), pytest.param(large, id="large", marks=marks)]
    )


def seed(request: pytest.FixtureRequest) -> int:
    """Return the seed of the test that asks, and print it: 1 in CI, a new one in an exhaustive campaign."""
    number = 1
    if request.node.get_closest_marker("exhaustive"):
        number = int(os.environ.get("FARLINK_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"{request.node.name}: FARLINK_SEED={number}")
    return number


class Meter:
    """Counts inputs and the slowest of them, in seconds of this thread's processor time."""

    def __init__(self) -> None:
        self.inputs = 0
        self.slowest_s = 0.0
        self.slowest = b""

    @contextmanager
    def input(self, data: bytes = b"", count: int = 1) -> Iterator[None]:
        """Measure what is done with *data*, which stands for *count* inputs."""
        started = time.thread_time()
        yield
        self.add(time.thread_time() - started, data, count)

    def add(self, took_s: float, data: bytes, count: int = 1) -> None:
        self.inputs += count
        if took_s > self.slowest_s:
            self.slowest_s, self.slowest = took_s, data


@contextmanager
def bounded(seconds: float, mib: int) -> Iterator[Meter]:
    """Fail where an input takes longer than *seconds* or all together need more than *mib* MiB more memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.thread_time()
    meter = Meter()
    yield meter
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / MIB
    print(
        f"{meter.inputs:,} inputs in {time.thread_time() - started:.0f} s, the slowest {meter.slowest_s:.4f} s, "
        f"{grown:.0f} MiB more"
    )
    assert meter.slowest_s < seconds, f"{meter.slowest_s:.3f} s for {meter.slowest.hex()}"
    assert grown < mib


Mutation = Callable[[bytearray, random.Random, Sequence[bytes]], None]


def _flip(found: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    for _ in range(1 + int(rng.random() * 5)):
        at = int(rng.random() * 8 * len(found))
        found[at >> 3] ^= 1 << (at & 7)


def _cut(found: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    del found[int(rng.random() * len(found)) :]


def _extend(found: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    found += rng.randbytes(1 + int(rng.random() * 40))


def _replace(found: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    at = int(rng.random() * len(found))
    found[at : at + 1 + int(rng.random() * 12)] = rng.randbytes(int(rng.random() * 12))


def _repeat(found: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    at, to = sorted((int(rng.random() * len(found)), int(rng.random() * len(found))))
    found[at:to] = found[: to - at]


def _splice(found: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    other = others[int(rng.random() * len(others))]
    found[int(rng.random() * len(found)) :] = other[int(rng.random() * len(other)) :]


def _extreme(found: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    """Put a byte or two there with which lengths and counts go wrong."""
    at = int(rng.random() * len(found))
    found[at : at + 2] = rng.choice((b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff", b"\xff\x7f", b"\x80\x80"))


_WAYS: tuple[Mutation, ...] = (_flip, _cut, _extend, _replace, _repeat, _splice, _extreme)


def mutate(data: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Return *data* flipped, cut, extended, replaced, repeated in part, or spliced with one of *others*; or noise."""
    way = int(rng.random() * (len(_WAYS) + 1))
    if way == len(_WAYS) or not data:
        return rng.randbytes(int(rng.random() * 200))
    found = bytearray(data)
    _WAYS[way](found, rng, others or (data,))
    return bytes(found)
