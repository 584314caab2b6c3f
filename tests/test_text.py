"""The caption coder: exact, small, the same everywhere, and unmoved by any bytes it is given."""

import hashlib
import os
import statistics
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import link.weights
from link.bitstream import text as text_model
from link.bitstream.entropy import ONE, BitReader, BitWriter
from link.bitstream.text import MAX_BYTES, SYMBOLS, SYMBOLS_A_BYTE, TABLE, decode, encode, tables, to_symbols
from link.seeds import generator

DATA = Path(__file__).parent / "data"
CAPTIONS = Path(__file__).parent.parent.parent / "shared" / "data" / "captions"
GOLDEN = ("text-street", "text-planet", "text-answer", "text-unicode", "text-raw")
TABLE_SHA256 = "ccb7ff80ee3e1466106fca8afa3605eae74442c86d9eba49cf4f743bb9f63ec5"
"""A new table changes every coded caption: it is a new format, and new golden files."""

SENTENCES = (
    "This image captures a quiet street at dusk, with parked cars and warm light in the windows.",
    "A wide shot of a rocky desert under a hazy orange sky, with a rover near the center.",
    "The scene shows a small wooden boat on a calm lake, surrounded by dense green forest.",
    "A close-up of a black cat sitting on a windowsill, looking out at the rain.",
    "A striking view of a modern bridge over a river, its lights reflecting on the water at night.",
)


def texts(alphabet):
    return st.text(alphabet, max_size=MAX_BYTES).map(
        lambda text: text.encode()[:MAX_BYTES].decode(errors="ignore")
    )


@settings(max_examples=60, deadline=None)
@given(texts(st.characters(exclude_categories=["Cs"])))
@example("")
@example("\0")
@example("a\r\n\tb\x7f\x85\u2028")
@example("👩‍🚀🪐 Ünïcödé ÉÉ éé İı K ſ ß ẞ ǅ")
@example("\ufeff\uffff\U0010ffff")
@example("A" * MAX_BYTES)
@example(" " * MAX_BYTES)
@example("é" * (MAX_BYTES // 2))
@example("🎉" * (MAX_BYTES // 4))
@example("\n" * 200)
@example("a. b. C. d\nE\nf \n g")
def test_any_text_comes_back(text):
    data = encode(text)
    assert decode(data) == text
    assert len(data) <= len(text.encode()) + 1


@settings(max_examples=60, deadline=None)
@given(texts("aAeEt \n.,:!?\"'-(1“é…"))
def test_case_and_punctuation_come_back(text):
    assert decode(encode(text)) == text


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(" ".join(SENTENCES).split()), max_size=80), st.sampled_from(" \n"))
def test_caption_like_texts_come_back(words, between):
    text = between.join(words)
    assert decode(encode(text)) == text


def test_too_long_texts_are_refused():
    assert decode(encode("x" * 1024)) == "x" * 1024
    for text in ("x" * 1025, "é" * 513, "🎉" * 257, "x" * 10_000_000):
        with pytest.raises(ValueError, match="at most 1024 bytes"):
            encode(text)
    with pytest.raises(ValueError):
        encode("\ud800")


def test_too_much_data_is_refused():
    with pytest.raises(ValueError, match="at most 1025 bytes"):
        decode(bytes(1026))
    with pytest.raises(ValueError, match="at most 1025 bytes"):
        decode(b"\xff" + bytes(10_000_000))


def test_a_few_bytes_cost_no_more_than_a_few_bytes_may(monkeypatch):
    """Those that read as a thousand characters are refused before they are read to the end."""
    work = 0
    code = text_model.TextModel.code

    def counted(self, symbol):
        nonlocal work
        work += 1
        return code(self, symbol)

    monkeypatch.setattr(text_model.TextModel, "code", counted)
    refused = 0
    rng = generator(1, "few bytes")
    for size in (1, 2, 3, 5, 8):
        for _ in range(60):
            work = 0
            try:
                decode(rng.bytes(size))
            except ValueError as error:
                refused += "symbols in" in str(error)
            assert work <= SYMBOLS_A_BYTE * (size + 1)
    assert refused > 20


def test_a_text_that_says_next_to_nothing_travels_as_it_is():
    assert encode("0" * 1024) == b"\xff" + b"0" * 1024
    said = "The image shows a street with a bus. " * 27
    assert len(encode(said)) < 40, "a model that repeats itself is still cheap"
    assert decode(encode(said)) == said


def read_or_refuse(data):
    try:
        text = decode(data)
    except ValueError:
        return
    assert isinstance(text, str)
    assert len(text.encode()) <= MAX_BYTES


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_bytes(name):
    data = (DATA / f"{name}.bin").read_bytes()
    text = (DATA / f"{name}.txt").read_bytes().decode()
    assert decode(data) == text
    assert encode(text) == data


def test_the_golden_bytes_are_of_this_table():
    data = (Path(link.weights.__file__).parent / TABLE).read_bytes()
    assert hashlib.sha256(data).hexdigest() == TABLE_SHA256 == link.weights.digest(TABLE)
    assert len(data) < 1_000_000


@pytest.mark.parametrize("name", GOLDEN)
def test_every_truncation_gives_a_text_or_an_error(name):
    data = (DATA / f"{name}.bin").read_bytes()
    for length in range(len(data)):
        read_or_refuse(data[:length])


def test_damaged_captions_give_a_text_or_an_error():
    data = (DATA / "text-planet.bin").read_bytes()
    for at in range(len(data)):
        read_or_refuse(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=MAX_BYTES + 2))
@example(bytes(MAX_BYTES))
@example(b"\0")
@example(b"\xfe" * MAX_BYTES)
@example(b"\xff")
@example(b"\xff\xff")
@example(b"\x80" * MAX_BYTES)
def test_any_bytes_give_a_text_or_an_error(data):
    read_or_refuse(data)


def test_bytes_after_the_end_are_refused():
    with pytest.raises(ValueError, match="coded bytes"):
        decode(encode(SENTENCES[0]) + b"12345678")


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_caption_is_small(sentence):
    bits = 8 * len(encode(sentence))
    assert 0.8 < bits / len(sentence) < 2.2
    assert bits < 8 * len(zlib.compress(sentence.encode(), 9)) / 3


def test_what_repeats_costs_little():
    names = "Old lighthouse\nRocky shore\nFishing boat\n"
    once = len(encode(names + "x"))
    again = len(encode(names + "Old lighthouse: x\nRocky shore: x\nFishing boat: x"))
    assert 3 < again - once < 14


def test_foreign_text_costs_at_most_a_byte():
    for text in ("夜の街並みと川", "zQ7#kX9@vB2", "\x01\x02\x03", "🎉🪐"):
        assert len(encode(text)) <= len(text.encode()) + 1


@pytest.mark.parametrize(("at", "most_bits", "least_bits"), [(1, 500, 330), (2, 1000, 550)])
def test_captions_held_back_from_training(at, most_bits, least_bits):
    if not CAPTIONS.exists():
        pytest.skip("the caption data is not here")
    from scenarios.training.captions import TEST, domain

    held_back = [row[at] for row in domain(CAPTIONS) if row[0] == TEST]
    coded = [encode(str(text)) for text in held_back]
    assert [decode(data) for data in coded] == held_back
    assert least_bits <= 8 * statistics.mean(map(len, coded)) <= most_bits


def test_the_same_bytes_in_any_process_and_thread():
    code = f"from link.bitstream.text import encode\nfor s in {SENTENCES!r}: print(encode(s).hex())"
    expected = [encode(sentence) for sentence in SENTENCES]
    for seed in ("0", "77"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "2"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert [bytes.fromhex(line) for line in done.stdout.split()] == expected
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(encode, SENTENCES * 2)) == expected * 2


def test_no_network_is_imported():
    code = "import sys, link.bitstream.text as t; t.decode(t.encode('A cat.')); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_damaged_table_is_refused(tmp_path, monkeypatch):
    folder = link.weights.FOLDER
    data = bytearray((folder / TABLE).read_bytes())
    data[-1] ^= 1
    (tmp_path / TABLE).write_bytes(data)
    (tmp_path / "SHA256SUMS").write_bytes((folder / "SHA256SUMS").read_bytes())
    monkeypatch.setattr(link.weights, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="expected SHA-256"):
        link.weights.read(TABLE)
    with pytest.raises(ValueError, match="does not list"):
        link.weights.read("other.safetensors")


def test_the_shipped_table_is_whole():
    shipped = tables()
    assert shipped is tables()
    assert len(shipped.tree) == SYMBOLS and all(shipped.tree)
    assert len(shipped.by_node) == len(shipped.children) == SYMBOLS - 1
    assert min(shipped.squash) >= 1 and max(shipped.squash) < ONE
    assert all(a <= b for a, b in zip(shipped.squash, shipped.squash[1:]))


def test_capitals_are_expected_where_sentences_start():
    assert len(to_symbols("A cat. The dog.\nIt runs.")) == len("A cat. The dog.\nIt runs.") + 1
    assert len(to_symbols("a cat. the Dog")) == len("a cat. the Dog") + 1 + 3


@pytest.mark.parametrize("odds", [1, 300, ONE // 2, ONE - 300, ONE - 1])
def test_the_range_coder_is_near_its_entropy(odds):
    rng = generator(3, f"bits{odds}")
    bits = (rng.random(20_000) < odds / ONE).astype(int).tolist()
    writer = BitWriter()
    for bit in bits:
        writer.code(odds, bit)
    data = writer.finish()
    reader = BitReader(data)
    assert [reader.code(odds) for _ in bits] == bits
    reader.finish()
    p = odds / ONE
    ideal = -sum(np.log2(p) if bit else np.log2(1 - p) for bit in bits)
    assert ideal - 1 <= 8 * len(data) <= ideal * 1.005 + 24


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, ONE - 1), st.integers(0, 1)), max_size=60))
def test_the_range_coder_returns_what_was_written(pairs):
    writer = BitWriter()
    for odds, bit in pairs:
        writer.code(odds, bit)
    data = writer.finish()
    assert not data.endswith(b"\0")
    reader = BitReader(data)
    assert [reader.code(odds) for odds, _ in pairs] == [bit for _, bit in pairs]
    reader.finish()
