"""Sets of tags: their bits against the closed form, golden bytes, prefixes and mutations."""

import math
import random
from pathlib import Path

import pytest
from campaigns import mutate, seed, sizes

from link.bitstream import tags
from link.bitstream.tags import MOST_TAGS, Vocabulary

NAMES = [f"tag {number}" for number in range(4585)]
GOLDEN = Path(__file__).parent / "data" / "tags.bin"


def zipf(n=4585):
    """A vocabulary whose tags are the rarer the later they stand, and sets drawn as they are."""
    counts = [1] * (MOST_TAGS + 1)
    counts[8] = 1000
    return Vocabulary(tuple(NAMES[:n]), tuple(60000 // (rank + 1) + 1 for rank in range(n)), tuple(counts))


def drawn(vocabulary, count, rng):
    """Draw a set of *count* tags as likely as its tags' product, by the same sums as the coder."""
    chosen, sums = [], tags._sums(vocabulary.weights, count)
    for tag, weight in enumerate(vocabulary.weights):
        left = count - len(chosen)
        if left and rng.randrange(sums[tag][left]) < weight * sums[tag + 1][left - 1]:
            chosen.append(tag)
    return chosen


@pytest.mark.parametrize("count", [0, 1, 2, 8, 10, 32])
def test_sets_of_equal_tags_cost_what_their_number_says(count):
    """log2 C(n, k), the count (about 5 bits) and at most a byte and a half of ending."""
    vocabulary, rng = Vocabulary.plain(NAMES), random.Random(count)
    least = math.log2(math.comb(len(NAMES), count))
    for _ in range(5):
        chosen = sorted(rng.sample(range(len(NAMES)), count))
        data = tags.encode(chosen, vocabulary)
        assert tags.decode(data, vocabulary) == tuple(chosen)
        assert least - 1 <= 8 * len(data) <= least + 0.3 * count + 5.1 + 12


def test_sets_drawn_by_the_prior_cost_its_entropy_and_less_than_their_rank():
    vocabulary, rng = zipf(), random.Random(1)
    bits, ideal = [], []
    for _ in range(60):
        chosen = drawn(vocabulary, 8, rng)
        data = tags.encode(chosen, vocabulary)
        assert tags.decode(data, vocabulary) == tuple(chosen)
        product = math.prod(vocabulary.weights[tag] for tag in chosen)
        ideal.append(math.log2(tags._sums(vocabulary.weights, 8)[0][8]) - math.log2(product))
        bits.append(8 * len(data))
    mean, entropy = sum(bits) / len(bits), sum(ideal) / len(ideal)
    assert entropy <= mean <= entropy + 10  # rounding to 16 bits, the count, whole bytes
    assert mean < 0.85 * math.log2(math.comb(4585, 8)) < 8 * 13


def test_every_set_of_a_small_vocabulary_comes_back_and_lengths_obey_kraft():
    vocabulary = Vocabulary(
        tuple(NAMES[:9]), (900, 300, 100, 30, 10, 5, 3, 2, 1), tuple([1, 5, 9, 5] + [1] * 29)
    )
    seen = set()
    for mask in range(1 << 9):
        chosen = tuple(at for at in range(9) if mask >> at & 1)
        data = tags.encode(chosen, vocabulary)
        assert tags.decode(data, vocabulary) == chosen
        seen.add(data)
    assert len(seen) == 1 << 9


def test_learned_weights_make_the_usual_short():
    rng = random.Random(2)
    sets = [sorted({0, 1, *rng.sample(range(2, 40), rng.randrange(3))}) for _ in range(300)]
    learned, plain = Vocabulary.learned(NAMES[:40], sets), Vocabulary.plain(NAMES[:40])
    cost = {
        vocabulary: sum(len(tags.encode(one, vocabulary)) for one in sets) for vocabulary in (learned, plain)
    }
    rank = sum(math.log2(math.comb(40, len(one))) for one in sets) / 8
    assert cost[learned] < rank < cost[plain]


def test_golden_bytes():
    assert tags.encode((0, 3, 17, 200, 1000, 4584), zipf()) == GOLDEN.read_bytes()
    assert tags.decode(GOLDEN.read_bytes(), zipf()) == (0, 3, 17, 200, 1000, 4584)


@sizes(300, 1_000_000)
def test_any_bytes_are_a_set_or_refused(request, size):
    rng, vocabulary = random.Random(seed(request)), zipf(300)
    others = [tags.encode(sorted(rng.sample(range(300), 7)), vocabulary) for _ in range(5)]
    read = refused = 0
    for number in range(size):
        data = mutate(others[number % 5], rng, others)
        try:
            chosen = tags.decode(data, vocabulary)
        except ValueError:
            refused += 1
            continue
        read += 1
        assert list(chosen) == sorted(set(chosen)) and len(chosen) <= MOST_TAGS
        assert tags.decode(tags.encode(chosen, vocabulary), vocabulary) == chosen
    assert read and refused


@pytest.mark.parametrize("bad", [(3, 3), (4, 1), (-1,), (9,), tuple(range(33))])
def test_no_set_is_refused(bad):
    with pytest.raises(ValueError, match="expected"):
        tags.encode(bad, Vocabulary.plain(NAMES[:9]) if len(bad) < 33 else Vocabulary.plain(NAMES))


def test_a_vocabulary_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "tags.json"
    zipf(20).write(path)
    assert Vocabulary.read(path) == zipf(20)
    for text in (
        "[]",
        "{}",
        '{"names": ["a"], "weights": [0], "counts": []}',
        '{"names": ["a"], "weights": [1.5]}',
    ):
        path.write_text(text)
        with pytest.raises(ValueError):
            Vocabulary.read(path)
