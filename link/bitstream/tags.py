"""Tags of a picture as a set, under how often each of them is there.

    how many, k    unary, by the frequencies of the counts
    which          tag by tag in the vocabulary's order: is it one of those that are left?

Given k, a set is as likely as the product of its tags' weights (the conditional Bernoulli model, Chen and Liu 1997,
"Statistical applications of the Poisson-binomial and conditional Bernoulli distributions"). With weights that are all
alike every set of k tags costs log2 C(n, k) bits, which is what its rank would; where some tags are common and others
rare, usual sets cost less. The chance of each tag comes from sums of products in whole numbers of any length, and is
rounded once, to the coder's 16 bits: no float decides anything. A tag that cannot be is never asked about.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path

from link.bitstream.entropy import ONE, BitCoder, BitReader, BitWriter

MOST_TAGS = 32
"""In a set."""
MOST_NAMES = 8192
"""In a vocabulary: that of Recognize Anything has 4585."""
MOST_WEIGHT = 65535


@dataclass(frozen=True)
class Vocabulary:
    """The tags that both ends know. Raise ValueError where names, weights and counts do not fit together."""

    names: tuple[str, ...]
    weights: tuple[int, ...]
    """How likely each is beside the others, 1 to `MOST_WEIGHT`."""
    counts: tuple[int, ...]
    """How often a set has 0, 1, ... `MOST_TAGS` tags; at least 1 each."""

    def __post_init__(self) -> None:
        """Check the sizes."""
        if not 1 <= len(self.names) <= MOST_NAMES or len(set(self.names)) != len(self.names):
            raise ValueError(f"{len(self.names)} tags; expected 1 to {MOST_NAMES}, each once")
        if len(self.weights) != len(self.names) or not all(0 < one <= MOST_WEIGHT for one in self.weights):
            raise ValueError(f"expected a weight of 1 to {MOST_WEIGHT} for each of {len(self.names)} tags")
        if len(self.counts) != MOST_TAGS + 1 or not all(0 < one <= 1 << 30 for one in self.counts):
            raise ValueError(f"expected frequencies of the counts 0 to {MOST_TAGS}, 1 or more each")

    @classmethod
    def plain(cls, names: Sequence[str]) -> "Vocabulary":
        """Return the vocabulary of *names* of which nothing more is known."""
        return cls(tuple(names), (1,) * len(names), (1,) * (MOST_TAGS + 1))

    @classmethod
    def learned(cls, names: Sequence[str], sets: Sequence[Sequence[int]]) -> "Vocabulary":
        """Return the vocabulary whose weights are the odds of each tag in *sets* of numbers, half a time added."""
        total = len(sets)
        there = [0] * len(names)
        counts = [1] * (MOST_TAGS + 1)
        for one in sets:
            counts[len(one)] += 8
            for tag in one:
                there[tag] += 1
        weights = [(512 * (2 * seen + 1)) // (2 * (total - seen) + 1) for seen in there]
        return cls(tuple(names), tuple(min(max(1, weight), MOST_WEIGHT) for weight in weights), tuple(counts))

    @classmethod
    def read(cls, path: Path) -> "Vocabulary":
        """Return the vocabulary in *path*. Raise ValueError where it holds none, OSError where it cannot be read."""
        try:
            held = json.loads(path.read_text())
            numbers = [tuple(held[key]) for key in ("weights", "counts")]
            if not all(type(one) is int for row in numbers for one in row):
                raise ValueError("weights and counts are whole numbers")
            return cls(tuple(map(str, held["names"])), *numbers)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no vocabulary of tags: {error}") from None

    def write(self, path: Path) -> None:
        """Write what `read` reads."""
        held = {"names": self.names, "weights": self.weights, "counts": self.counts}
        path.write_text(json.dumps(held, indent=1) + "\n")

    @cached_property
    def most(self) -> int:
        """How many tags a set can have."""
        return min(MOST_TAGS, len(self.names))


@lru_cache(maxsize=8)
def _sums(weights: tuple[int, ...], count: int) -> list[list[int]]:
    """Return, for each place and number r up to *count*, the sum over sets of r from there on of their products."""
    rows = [[1] + [0] * count]
    for weight in reversed(weights):
        after = rows[-1]
        rows.append([1, *(after[r] + weight * after[r - 1] for r in range(1, count + 1))])
    return rows[::-1]


def encode(tags: Sequence[int], vocabulary: Vocabulary) -> bytes:
    """Return the set *tags*, ascending numbers of *vocabulary*. Raise ValueError for anything else, or too many."""
    if len(tags) > vocabulary.most or any(a >= b for a, b in pairwise(tags)):
        raise ValueError(f"expected at most {vocabulary.most} ascending tags, got {list(tags)}")
    if any(not 0 <= tag < len(vocabulary.names) for tag in tags):
        raise ValueError(f"expected tags below {len(vocabulary.names)}, got {list(tags)}")
    writer = BitWriter()
    _code(writer, vocabulary, tags)
    return writer.finish()


def decode(data: bytes, vocabulary: Vocabulary) -> tuple[int, ...]:
    """Return the set that `encode` made *data* of. Raise ValueError for bytes that nobody wrote."""
    reader = BitReader(data)
    tags = _code(reader, vocabulary, ())
    reader.finish()
    return tags


def _code(coder: BitCoder, vocabulary: Vocabulary, tags: Sequence[int]) -> tuple[int, ...]:
    """Code *tags*, writing or reading alike; a reader ignores them."""
    count, given = 0, set(tags)
    rest = sum(vocabulary.counts[: vocabulary.most + 1])
    while count < vocabulary.most:
        here = vocabulary.counts[count]
        if not coder.code(_chance(rest - here, rest), int(len(tags) > count)):
            break
        rest -= here
        count += 1
    sums = _sums(vocabulary.weights, count)
    found: list[int] = []
    for tag, weight in enumerate(vocabulary.weights):
        left = count - len(found)
        if left == 0:
            break
        if len(vocabulary.weights) - tag == left:
            found.append(tag)
        elif coder.code(_chance(weight * sums[tag + 1][left - 1], sums[tag][left]), int(tag in given)):
            found.append(tag)
    return tuple(found)


def _chance(part: int, whole: int) -> int:
    """Return part/whole as the coder takes it."""
    return min(max(1, (part * ONE + whole // 2) // whole), ONE - 1)
