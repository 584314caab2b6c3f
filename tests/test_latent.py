"""The coder of latent channels: exact, each channel alone, short, and unmoved by any bytes it is given."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as np_arrays
from safetensors.numpy import load, save

from link.bitstream import latent
from link.bitstream.ids import decode_ids, encode_ids
from link.bitstream.latent import (
    BITS,
    CLIP,
    LEVELS,
    LIMIT,
    OFFSETS,
    LatentTables,
    decode,
    encode,
)
from link.codecs.gsc import load_tables
from link.seeds import generator
from link.weights import FOLDER as WEIGHTS
from scenarios.training.tables import fit, report

SHAPE = (12, 16)
N = 3
SKEWS, SPREADS = 5, 8


def made_arrays():
    """Tables by plain arithmetic, so that the golden bytes hang on nothing learned."""
    reach = np.array([1, 2, 5], np.uint8)
    neighbours = np.zeros((N, 2, 2 * CLIP + 1, len(OFFSETS)), np.int16)
    for value in range(-CLIP, CLIP + 1):
        for at, (down, across) in enumerate(OFFSETS):
            near = 6 - abs(down) - abs(across)
            neighbours[:, 0, value + CLIP, at] = 3 * near * (value > 0) - 3 * near * (value < 0)
            neighbours[:, 1, value + CLIP, at] = 5 * near * min(abs(value), 3)
    places = np.zeros((N, 2, *SHAPE), np.int16)
    places[:, 1] = 4 * np.arange(SHAPE[0])[:, None]
    levels = np.array([6 * size.bit_length() for size in range(LEVELS)], np.int16)
    rows = []
    for each in reach.tolist():
        for spread, skew in itertools.product(range(SPREADS), range(SKEWS)):
            weights = []
            for symbol in range(-each, each + 1):
                weight = (1 << 14) >> (abs(symbol) * (9 - spread) * 2 // 3)
                lean = symbol * (skew - SKEWS // 2)
                weights.append(max(1, weight * (4 + (lean > 0) - (lean < 0)) // 4))
            counts = [weight * 16000 // sum(weights) + 1 for weight in weights]
            rows += [*counts, (1 << BITS) - sum(counts)]
    return {
        "channels": np.array([N], np.int32),
        "neighbours": neighbours,
        "places": places,
        "levels": np.tile(levels, (N, 1)),
        "skew_edges": np.tile(np.array([-30, -5, 5, 30], np.int32), (N, 1)),
        "spread_edges": np.tile(np.arange(40, 40 + 25 * (SPREADS - 1), 25, dtype=np.int32), (N, 1)),
        "reach": reach,
        "frequencies": np.array(rows, np.uint16),
    }


TRAINED_GOLDEN = (
    "006673ecedc4a00ed5820e914347bd",
    "005a2e6c6bafa9a905a0f0676e",
    "01d02cb28544d3c3c4c2018a66fa34344810020514d9b433894b63cf9f5fdc2e74a0327c39ceada8c6f661b244a0",
)
GENERIC_GOLDEN = (
    "532e018c0d1c83dc19c951",
    "52f8ef84fdeca660",
    "64adc8120119db0da9cf1411d442b6a9a81e56a5",
)
"""Other bytes for `golden_maps()` are another format."""

ARRAYS = made_arrays()
MADE = LatentTables.from_arrays(ARRAYS)
GENERIC = LatentTables.generic(N)
KINDS = pytest.mark.parametrize("tables", [MADE, GENERIC], ids=["trained", "generic"])


def street(rng, count, n=2):
    """Correlated maps, busier below and in busier pictures, of a fifth of the symbols not 0."""
    height, width = SHAPE
    field = rng.standard_normal((count, n, height + 6, width + 6))
    for axis in (2, 3):
        for _ in range(2):
            field = field + 0.8 * np.roll(field, 1, axis)
    field = field[:, :, 6:, 6:] / field.std()
    busy = np.exp(0.5 * rng.standard_normal((count, n, 1, 1)))
    below = np.linspace(0.1, 1.3, height)[:, None] * np.linspace(0.7, 1, n)[:, None, None]
    return np.rint(0.7 * field * busy * below).astype(np.int32)


@pytest.fixture(scope="module")
def learned():
    rng = generator(5, "latent")
    train, held_out = street(rng, 120), street(rng, 60)
    return fit(train), train, held_out


def ideal_bits(symbols, arrays, channel, size):
    """The cost of a map by the definition: every neighbour of every symbol is looked at."""
    height, width = symbols.shape
    reach = int(arrays["reach"][channel])
    starts = np.cumsum([0, *(SKEWS * SPREADS * (2 * arrays["reach"].astype(int) + 2))])
    cells = arrays["frequencies"][starts[channel] : starts[channel + 1]].reshape(SPREADS, SKEWS, -1)
    bits = 0.0
    for y, x in np.ndindex(height, width):
        sums = arrays["places"][channel, :, y, x].astype(int)
        sums[1] += arrays["levels"][channel, min(size, LEVELS - 1)]
        for at, (down, across) in enumerate(OFFSETS):
            if 0 <= y + down and 0 <= x + across < width:
                value = np.clip(symbols[y + down, x + across], -CLIP, CLIP)
                sums += arrays["neighbours"][channel, :, value + CLIP, at]
        skew = (arrays["skew_edges"][channel] <= sums[0]).sum()
        spread = (arrays["spread_edges"][channel] <= sums[1]).sum()
        value = int(symbols[y, x])
        escaped = abs(value) > reach
        bits += BITS - np.log2(cells[spread, skew, -1 if escaped else value + reach])
        bits += 2 * (abs(value) - reach).bit_length() if escaped else 0
    return bits


sizes = st.tuples(st.just(N), st.integers(1, 9), st.integers(1, 9))
small = st.integers(-1, 1) | st.just(0) | st.integers(-9, 9)
any_symbol = small | st.integers(-LIMIT, LIMIT) | st.sampled_from([-LIMIT, LIMIT])


@KINDS
@settings(max_examples=80, deadline=None)
@given(maps=sizes.flatmap(lambda shape: np_arrays(np.int32, shape, elements=any_symbol)))
@example(maps=np.full((N, 1, 1), LIMIT))
@example(maps=np.full((N, 5, 40), -LIMIT))
@example(maps=np.zeros((N, 60, 60), np.int8))
def test_any_map_comes_back(tables, maps):
    found = decode(encode(maps, range(N), tables), range(N), maps.shape[1:], tables)
    assert found.dtype == np.int32
    assert np.array_equal(found, maps)


@KINDS
@pytest.mark.parametrize("shape", [(12, 16), (24, 32), (13, 7), (1, 200), (200, 1)])
def test_street_maps_come_back_at_other_sizes(tables, shape):
    rng = generator(1, f"latent{shape}")
    for scale in (0.2, 0.6, 3.0, 40.0):
        maps = np.rint(scale * rng.laplace(size=(N, *shape))).astype(np.int64)
        assert np.array_equal(decode(encode(maps, range(N), tables), range(N), shape, tables), maps)


def test_lengths_are_the_models_cost_and_less_than_a_byte():
    maps = np.concatenate([street(generator(2, "cost"), 10), street(generator(3, "cost"), 10)], 1)[:, :N]
    over = []
    for each in maps:
        for channel, data in enumerate(encode(each, range(N), MADE)):
            over.append(8 * len(data) - ideal_bits(each[channel], ARRAYS, channel, len(data)))
    assert -2.6 < min(over) and max(over) < 16
    assert 0 < np.mean(over) < 4.5


def test_zeros_cost_nothing():
    assert encode(np.zeros((N, *SHAPE), int), range(N), GENERIC) == [b""] * N
    for shape in (SHAPE, (24, 32), (5, 9)):
        zeros = np.zeros((N, *shape), int)
        assert encode(zeros, range(N), MADE) == [b""] * N
        assert not decode([b""] * N, range(N), shape, MADE).any()
    assert encode(np.zeros((0, *SHAPE), int), (), MADE) == []
    assert decode([], (), SHAPE, MADE).shape == (0, *SHAPE)


def golden_maps():
    y, x = np.indices(SHAPE)
    blob = ((y - 8) ** 2 + (x - 5) ** 2 < 9).astype(int)
    return np.stack([blob - (y == 10), 2 * blob * (x > 4) - blob, 9 * blob - 300 * (x == 15) * (y == 3)])


@KINDS
def test_golden_bytes(tables):
    golden = TRAINED_GOLDEN if tables.kind == "trained" else GENERIC_GOLDEN
    data = [bytes.fromhex(text) for text in golden]
    assert np.array_equal(decode(data, range(N), SHAPE, tables), golden_maps())
    assert encode(golden_maps(), range(N), tables) == data


def test_the_generic_coder_is_near_its_entropy():
    for odds in (0.02, 0.1, 0.4):
        rng = generator(4, f"generic{odds}")
        maps = (rng.random((1, 32, 48)) < odds) * rng.choice([-1, 1], (1, 32, 48))
        bits = 8 * len(encode(maps, [0], GENERIC)[0])
        entropy = 32 * 48 * (odds - odds * math.log2(odds) - (1 - odds) * math.log2(1 - odds))
        assert 0.7 * entropy < bits < 1.15 * entropy + 60


@KINDS
def test_channels_stand_alone(tables):
    maps = street(generator(6, "alone"), 1, N)[0]
    whole = encode(maps, range(N), tables)
    for some in ([0], [2], [0, 2], [2, 1], [1, 1]):
        assert encode(maps[some], some, tables) == [whole[at] for at in some]
        assert np.array_equal(decode([whole[at] for at in some], some, SHAPE, tables), maps[some])


def read_or_refuse(data, tables, shape=SHAPE):
    for channel in range(N):
        try:
            found = decode([data], [channel], shape, tables)
        except ValueError:
            continue
        assert found.shape == (1, *shape) and np.abs(found).max() <= LIMIT


@KINDS
@settings(max_examples=80, deadline=None)
@given(data=st.binary(max_size=80))
@example(data=b"\xff" * 1160)
@example(data=b"\xff" * 5)
@example(data=bytes(1000))
def test_any_bytes_give_a_map_or_an_error(tables, data):
    read_or_refuse(data, tables)


@KINDS
def test_every_truncation_and_damage_gives_a_map_or_an_error(tables):
    for data in encode(golden_maps(), range(N), tables):
        for at in range(len(data)):
            read_or_refuse(data[:at], tables)
            read_or_refuse(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :], tables)
            read_or_refuse(data[at:] * 20, tables, (3, 5))


@KINDS
def test_too_much_is_refused(tables):
    with pytest.raises(ValueError, match="at most 1160 bytes"):
        decode([bytes(1161)], [0], SHAPE, tables)
    for shape in ((0, 5), (5, -1), (1 << 12, 1 << 11), (1 << 40, 1 << 40)):
        with pytest.raises(ValueError, match="expected 1 to"):
            decode([b""], [0], shape, tables)
    for channels in ([N], [-1], [0, 1], []):
        with pytest.raises(ValueError, match="expected one for each"):
            decode([b""], channels, SHAPE, tables)
        with pytest.raises(ValueError, match="expected one for each"):
            encode(np.zeros((1, *SHAPE), int), channels, tables)
    for bad in (
        np.zeros((1, *SHAPE)),
        np.zeros((1, *SHAPE), bool),
        np.zeros(SHAPE, int),
        np.zeros((1, 0, 3), int),
    ):
        with pytest.raises(ValueError):
            encode(bad, [0], tables)
    for value in (LIMIT + 1, -LIMIT - 1, 2**40):
        with pytest.raises(ValueError, match="at most 32767"):
            encode(np.full((1, *SHAPE), value), [0], tables)


def test_tables_come_back_from_their_arrays():
    again = LatentTables.from_arrays({key: array.copy() for key, array in reversed(MADE.to_arrays().items())})
    assert again.kind == "trained" and again.n == N
    assert again.digest() == MADE.digest() and len(MADE.digest()) == 32
    assert (
        LatentTables.from_arrays(GENERIC.to_arrays()).digest()
        == GENERIC.digest()
        != LatentTables.generic(N + 1).digest()
    )
    assert LatentTables.from_arrays(GENERIC.to_arrays()).kind == "generic"
    other = {**ARRAYS, "levels": ARRAYS["levels"] + np.int16(1)}
    assert LatentTables.from_arrays(other).digest() != MADE.digest()


def test_the_type_of_a_table_is_no_part_of_it():
    wide = LatentTables.from_arrays({key: array.astype(np.int32) for key, array in ARRAYS.items()})
    assert wide.digest() == MADE.digest()
    assert encode(golden_maps(), range(N), wide) == encode(golden_maps(), range(N), MADE)


def changed(key, where, value):
    array = ARRAYS[key].copy()
    array[where] = value
    return {**ARRAYS, key: array}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "number of"),
        ({"channels": np.array([0])}, "number of"),
        ({"channels": np.array([5000])}, "number of"),
        ({key: ARRAYS[key] for key in ARRAYS if key != "reach"}, "expected"),
        ({**ARRAYS, "more": np.zeros(1, int)}, "expected"),
        ({**ARRAYS, "channels": np.array([N + 1])}, "shape"),
        ({**ARRAYS, "places": ARRAYS["places"].astype(float)}, "shape"),
        ({**ARRAYS, "places": ARRAYS["places"][:, :, :0]}, "shape"),
        ({**ARRAYS, "frequencies": ARRAYS["frequencies"][:-1]}, "frequencies"),
        (changed("frequencies", 3, 0), "adds up"),
        (changed("frequencies", 3, 5), "adds up"),
        (changed("reach", 0, 0), "reach"),
        (changed("reach", 0, 2), "frequencies"),
        (changed("skew_edges", (0, 0), 9), "ascending"),
        (changed("neighbours", (0, 0, CLIP), 1), "by a 0"),
        (changed("neighbours", (0, 0, 0), 32000), "spans"),
    ],
)
def test_tables_that_do_not_fit_together_are_refused(arrays, message):
    with pytest.raises(ValueError, match=message):
        LatentTables.from_arrays(arrays)


def test_ids_of_small_sets_are_all_different():
    for n in range(1, 9):
        for count in range(n + 1):
            size = (math.ceil(math.log2(math.comb(n, count))) + 7) // 8
            found = set()
            for ids in itertools.combinations(range(n), count):
                data = encode_ids(ids, n)
                assert len(data) == size and decode_ids(data, n, count) == ids
                found.add(data)
            assert len(found) == math.comb(n, count)


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(0, 319), max_size=40))
@example(set(range(320)))
@example(set(range(280, 320)))
def test_ids_of_large_sets_come_back(ids):
    ids = tuple(sorted(ids))
    assert decode_ids(encode_ids(ids, 320), 320, len(ids)) == ids


def test_four_of_32_channels_are_named_in_two_bytes_and_a_bit():
    assert math.ceil(math.log2(math.comb(32, 4))) == 16
    assert len(encode_ids((3, 9, 20, 31), 32)) == 2


def test_bad_ids_are_refused():
    for ids in ((1, 0), (3, 3), (-1,), (32,), tuple(range(33))):
        with pytest.raises(ValueError):
            encode_ids(ids, 32)
    for data, n, count in ((b"", 32, 4), (bytes(3), 32, 4), (b"\xff\xff", 32, 4), (b"", 4, 5), (b"", 1, -1)):
        with pytest.raises(ValueError):
            decode_ids(data, n, count)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=4))
def test_any_bytes_are_ids_or_an_error(data):
    try:
        ids = decode_ids(data, 32, 4)
    except ValueError:
        return
    assert encode_ids(ids, 32) == data


def test_learned_tables_save_a_quarter_on_laplace(learned):
    tables, train, held_out = learned
    found = report(tables, train, held_out)
    assert found["coded"].shape == (2,)
    assert np.all(found["histogram"] < 1.02 * found["laplace"])
    assert 0.5 < found["coded"].sum() / found["laplace"].sum() < 0.75
    for maps in held_out[:10]:
        assert np.array_equal(decode(encode(maps, range(2), tables), range(2), SHAPE, tables), maps)


def test_learned_tables_hold_at_other_sizes_and_for_odd_maps(learned):
    tables, _, _ = learned
    for shape in ((24, 32), (5, 9)):
        maps = np.rint(3 * generator(9, "odd").laplace(size=(2, *shape))).astype(int)
        assert np.array_equal(decode(encode(maps, range(2), tables), range(2), shape, tables), maps)


def test_learned_tables_are_integers_and_small(learned):
    arrays = learned[0].to_arrays()
    assert all(array.dtype.kind in "iu" for array in arrays.values())
    assert sum(array.nbytes for array in arrays.values()) * 16 < 1_500_000
    assert LatentTables.from_arrays(load(save(arrays))).digest() == learned[0].digest()


def test_learning_repeats_and_bears_flat_channels():
    maps = street(generator(7, "again"), 12)
    maps[:, 1] = 0
    tables = fit(maps)
    assert tables.digest() == fit(maps).digest()
    assert encode(maps[0], range(2), tables)[1] == b""
    for bad in (maps.astype(float), maps[0], maps[:0]):
        with pytest.raises(ValueError, match="expected integers"):
            fit(bad)


def test_an_empty_map_of_any_shipped_channel_costs_nothing_and_one_symbol_comes_back():
    tables = load_tables(WEIGHTS / "tiny", 32)
    assert tables.kind == "trained" and tables.n == 32
    zeros = np.zeros((tables.n, *SHAPE), int)
    assert encode(zeros, range(tables.n), tables) == [b""] * tables.n
    zeros[:, 5, 7] = 1
    sections = encode(zeros, range(tables.n), tables)
    assert min(map(len, sections)) >= 1
    assert np.array_equal(decode(sections, range(tables.n), SHAPE, tables), zeros)


def test_what_tables_find_likeliest_is_not_taken_for_an_empty_map():
    ones = np.ones((120, 1, *SHAPE), int)
    ones[:, :, 3:5] = generator(3, "ones").integers(0, 2, (120, 1, 2, SHAPE[1]))
    tables = fit(ones)
    whole = np.ones((1, *SHAPE), int)
    (section,) = encode(whole, [0], tables)
    assert len(section) >= 1 and np.array_equal(decode([section], [0], SHAPE, tables), whole)


def test_empty_maps_change_no_tables():
    """They never meet the tables; counted along they made the busy maps of their channel dearer."""
    busy = np.where(generator(4, "halves").random((60, 1, *SHAPE)) < 0.97, 1, 0)
    empty = np.zeros((200, 1, *SHAPE), int)
    assert fit(np.concatenate([busy, empty])).digest() == fit(busy).digest()
    assert encode(empty[0], [0], fit(empty)) == [b""]


def test_no_network_is_imported():
    code = f"import sys, {latent.__name__} as c; c.LatentTables.generic(2); assert not {{'torch', 'scipy'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
