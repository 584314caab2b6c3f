"""Captions in few bytes: `encode(text) -> bytes` and `decode(data) -> str`, for any Unicode text up to 1 KiB.

        text -> symbols (lower case, shift marks) -> path in a Huffman tree -> bits -> range coder
                                                                                 ^
        shipped table of contexts (static) --- states --> learned inputs -> mixer +
        this message so far (adaptive)     --- states -->

Context mixing as in PAQ (Mahoney 2005, "Adaptive weighing of context models for lossless data compression"),
with the contexts of PPM (Cleary and Witten 1984) and of words. Each context looks up a 6-bit state of
what followed it in training; within a message, bit histories, a match model and a pointer into the lines
above ("Lake" among the objects, "Lake: Calm, ..." among the details) learn what repeats. A learned table
turns each state into a logit, the mixer adds them up with weights chosen by the node and by the number of
contexts found. All of it is integers, fixed beforehand, so both ends agree on every machine.

The table of contexts is a Bloomier filter (Chazelle et al. 2004): the state and a 10-bit check of a key are the
exclusive or of three cells; a context that was not stored passes for another once in 1024 times.

A text that the model would make longer travels as the byte 0xFF and its UTF-8: at most one byte more. So does one that
says next to nothing (a thousand zeros): a few bytes that somebody made up must not cost as much time as a long caption.
"""

from functools import cache
from operator import mul
from typing import Any

import numpy.typing as npt

from link.bitstream.entropy import ONE, BitCoder, BitReader, BitWriter
from link.weights import read

MAX_BYTES = 1024
"""The longest text, in bytes of UTF-8."""
SYMBOLS_A_BYTE = 64
"""Coded text has at most so many symbols for each of its bytes and one byte more; captions have about five."""

TABLE = "text.safetensors"

CHARACTERS = "\n abcdefghijklmnopqrstuvwxyz0123456789,.'\"-:;()&*/!?%#$+=_@[]’“”—–é°"
END, SHIFT, BYTE = 0, 1, 2
"""Symbols that are no characters: end of text, other case, and a byte of UTF-8 follows."""
FIRST = 3
SYMBOLS = FIRST + len(CHARACTERS)
CODES = {character: FIRST + at for at, character in enumerate(CHARACTERS)}
NEWLINE, SPACE, COLON, HYPHEN, APOSTROPHE = (CODES[character] for character in "\n :-'")
LETTERS = frozenset(CODES[letter] for letter in "abcdefghijklmnopqrstuvwxyzé")
STOPS = frozenset(CODES[stop] for stop in ".!?")
QUOTES = frozenset(CODES[quote] for quote in '"“(*')
LOWER = {character.upper(): character for character in "abcdefghijklmnopqrstuvwxyzé"}

STATIC = ("1", "2", "3", "4", "6", "word", "word+1", "word+2", "word+skip", "line")
"""Contexts in the shipped table: 1 to 6 symbols; the word so far, with words before it; 2 symbols and the line."""
RECENT = (1, 2, 5, 6)
"""Which of them also keep bit histories within the message: 2 and 3 symbols, word, and word with the one before."""
INPUTS = len(STATIC) + len(RECENT) + 2
"""Inputs to the mixer: the contexts, then the match model, then the pointer into lines."""
STATES = 192
"""Rows of the input table per input: 64 static states, 32 histories, 34 of matches, 169 of lines at most."""

_M32 = (1 << 32) - 1
_M64 = (1 << 64) - 1
_HASH = 0x9E3779B97F4A7C15
_MATCH = 5  # symbols that must agree before a match is followed
_RAW = 0xFF
_NOT_RAW = ONE - ONE // 256  # the model's streams lie below the byte 0xFF
_HALF = ONE // 2


def slot(context: int, node: int) -> int:
    """Return the 64-bit key of the tree's *node* under the 32-bit *context*."""
    key = ((context << 8 | node) * _HASH) & _M64
    return ((key ^ key >> 32) * 0xD6E8FEB86659FD93) & _M64


class Case:
    """Where a capital is expected: at the start of the text, of a line and of a sentence."""

    def __init__(self) -> None:
        self.capital = True
        self._last = NEWLINE

    def push(self, symbol: int) -> None:
        """Follow the text by one symbol."""
        if symbol == NEWLINE or (symbol == SPACE and self._last in STOPS):
            self.capital = True
        elif symbol != SPACE and symbol != SHIFT and symbol not in QUOTES:
            self.capital = False
        self._last = symbol


def to_symbols(text: str) -> list[tuple[int, int]]:
    """Return *text* as pairs (symbol, byte); the byte is 0 but for `BYTE`."""
    case, symbols = Case(), []
    for character in text:
        lower = LOWER.get(character, character)
        symbol = CODES.get(lower)
        if symbol is None:
            symbols += [(BYTE, byte) for byte in character.encode()]
            case.push(BYTE)
            continue
        if symbol in LETTERS and (lower != character) != case.capital:
            symbols.append((SHIFT, 0))
        symbols.append((symbol, 0))
        case.push(symbol)
    return [*symbols, (END, 0)]


class Context:
    """The text so far, as one 32-bit hash for each context in `STATIC`."""

    def __init__(self) -> None:
        self._recent = (NEWLINE,) * 6
        self._word = 0
        self._before = (1, 2)
        self._line = 0
        self._colon = 0
        self.hashes: tuple[int, ...] = ()
        self._hash()

    def push(self, symbol: int) -> None:
        """Follow the text by one symbol."""
        word = self._word
        if symbol in LETTERS or (symbol == APOSTROPHE and word):
            self._word = (word * 0x2C1B3C6D + symbol) & _M32
        elif symbol != SHIFT:
            if word:
                self._before = (word, self._before[0])
                self._word = 0
            if symbol != SPACE and symbol != HYPHEN:
                self._before = (symbol, self._before[0])
            if symbol == NEWLINE:
                self._line = min(self._line + 1, 7)
                self._colon = 0
            elif symbol == COLON:
                self._colon = 1
        self._recent = (symbol, *self._recent[:5])
        self._hash()

    def _hash(self) -> None:
        s1, s2, s3, s4, s5, s6 = self._recent
        one, two = self._before
        word = (self._word * 0x85EBCA6B + (s1 == SHIFT)) & _M32
        pair = s1 << 7 | s2
        four = pair << 14 | s3 << 7 | s4
        self.hashes = (
            s1,
            pair | 1 << 20,
            pair << 7 | s3 | 1 << 22,
            four | 1 << 30,
            ((four << 14 | s5 << 7 | s6) * 0x9E3779B97F4A7C15 & _M64) >> 32,
            (word + 0x165667B1) & _M32,
            (word * 0xC2B2AE35 + one * 0x27D4EB2F + 6) & _M32,
            (word * 0x9E3779B1 + one * 0x85EBCA77 + two * 0x2C1B3C6D + 7) & _M32,
            (word * 0x27D4EB2F + two * 0x9E3779B1 + 8) & _M32,
            pair << 4 | self._line << 1 | self._colon | 1 << 24,
        )


class Repeats:
    """What this message repeats: bit histories, the longest recent match, and the lines above.

    `guesses` holds for the next symbol what the match and the line foretell (-1: nothing), and the
    first of the two input states that say how far to trust them (for a 0; a 1 follows).
    """

    def __init__(self) -> None:
        self.histories: dict[int, int] = {}
        self._text: list[int] = []
        self._seen: dict[tuple[int, ...], int] = {}
        self._match = -1
        self._length = 0
        self._lines = [0]
        self._pointer = -1
        self._agreed = 0
        self._model = 0
        self._follows = 0
        self.guesses = ((-1, 0), (-1, 0))

    def push(self, symbol: int) -> None:
        """Follow the text by one symbol."""
        text = self._text
        if self._pointer >= 0:
            if symbol == self._foretold():
                self._agreed += 1
                self._pointer = -1 if text[self._pointer] == NEWLINE else self._pointer + 1
            else:
                self._pointer = -1
        if self._match >= 0 and text[self._match] == symbol:
            self._match, self._length = self._match + 1, self._length + 1
        else:
            self._match = -1
        text.append(symbol)
        if len(text) >= _MATCH:
            last = tuple(text[-_MATCH:])
            if self._match < 0 and last in self._seen:
                self._match = self._seen[last]
                self._length = self._common(self._match)
            self._seen[last] = len(text)
        if symbol == NEWLINE:
            self._start_line()
        match = -1 if self._match < 0 else text[self._match]
        line = min(self._agreed, 5) + 6 * (min(len(self._lines) - 1, 6) + 7 * self._follows)
        self.guesses = ((match, 1 + 2 * min(self._length, 15)), (self._foretold(), 1 + 2 * line))

    def _foretold(self) -> int:
        if self._pointer < 0:
            return -1
        symbol = self._text[self._pointer]
        return COLON if symbol == NEWLINE else symbol

    def _common(self, at: int) -> int:
        text, length = self._text, 0
        while length < min(at, 20) and text[at - 1 - length] == text[-1 - length]:
            length += 1
        return length

    def _start_line(self) -> None:
        """Point at the line after the one that this line began like, else at the first."""
        self._follows = int(self._agreed >= 3)
        self._model = self._model + 1 if self._follows else 0
        if self._model >= len(self._lines):
            self._model = 0
        self._lines.append(len(self._text))
        self._pointer, self._agreed = self._lines[self._model], 0


class TextTables:
    """The shipped table, as Python's own sequences: they are read one number at a time."""

    def __init__(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        self.tree = paths(arrays["tree"].tolist())
        self.children: list[list[int]] = arrays["tree"].tolist()
        self.cells: list[int] = arrays["cells"].tolist()
        self.inputs: list[list[int]] = arrays["inputs"].tolist()
        self.by_count: list[list[int]] = arrays["by_count"].tolist()
        self.by_node: list[list[int]] = arrays["by_node"].tolist()
        self.squash: list[int] = arrays["squash"].tolist()
        self.shift = int(arrays["shift"][0])


def paths(tree: list[list[int]]) -> list[dict[int, int]]:
    """Return the bit each symbol takes at each node; *tree* has two children a node, -1 - symbol for a leaf."""
    paths_of: list[dict[int, int]] = [{} for _ in range(SYMBOLS)]

    def walk(node: int, path: dict[int, int]) -> None:
        for bit, child in enumerate(tree[node]):
            if child < 0:
                paths_of[-1 - child] = {**path, node: bit}
            else:
                walk(child, {**path, node: bit})

    walk(0, {})
    return paths_of


@cache
def tables() -> TextTables:
    """Return the shipped table, read once; raise `ValueError` if it is damaged."""
    return TextTables(read(TABLE))


def history_keys(context: Context) -> list[int]:
    """Return the keys of the bit histories at the next symbol; a node is added to each."""
    return [(context.hashes[at] << 4 | at) << 8 for at in RECENT]


def remember(history: int, bit: int) -> int:
    """Add *bit* to a history: a 1, then up to four bits, the latest last."""
    return history << 1 | bit if history < 16 else 16 | (history << 1 | bit) & 15


class TextModel:
    """Codes symbols through a `BitCoder`, writing or reading alike."""

    def __init__(self, coder: BitCoder, shipped: TextTables) -> None:
        self._coder = coder
        self._tables = shipped
        self._context = Context()
        self._repeats = Repeats()

    def code(self, symbol: int) -> int:
        """Code one symbol and return it; when reading, *symbol* is ignored."""
        shipped, repeats, coder = self._tables, self._repeats, self._coder
        inputs, cells, squash, shift = shipped.inputs, shipped.cells, shipped.squash, shipped.shift
        third = len(cells) // 3
        contexts = [(context << 8, row) for context, row in zip(self._context.hashes, inputs, strict=False)]
        keys = history_keys(self._context)
        histories, recent_rows = repeats.histories, inputs[len(STATIC) :]
        (match, match_base), (line, line_base) = repeats.guesses
        match_path = shipped.tree[match] if match >= 0 else None
        line_path = shipped.tree[line] if line >= 0 else None
        match_row, line_row = inputs[-2:]
        path = shipped.tree[symbol]
        top, half = len(squash) - 1, len(squash) // 2
        node = 0
        while node >= 0:
            logits = []
            contexts_known = 0
            for context, row in contexts:
                key = ((context | node) * _HASH) & _M64
                key = ((key ^ key >> 32) * 0xD6E8FEB86659FD93) & _M64
                cell = (
                    cells[key % third]
                    ^ cells[third + (key >> 21) % third]
                    ^ cells[2 * third + (key >> 42) % third]
                )
                if cell >> 6 == key >> 54:
                    contexts_known += 1
                    logits.append(row[cell & 63])
                else:
                    logits.append(row[64])
            for recent, row in zip(keys, recent_rows, strict=False):
                logits.append(row[histories.get(recent | node, 1)])
            logits.append(match_row[0 if match_path is None else match_base + match_path[node]])
            logits.append(line_row[0 if line_path is None else line_base + line_path[node]])
            total = sum(map(mul, logits, shipped.by_count[contexts_known])) + sum(
                map(mul, logits, shipped.by_node[node])
            )
            bit = coder.code(squash[max(0, min(top, (total >> shift) + half))], path.get(node, 0))
            for recent in keys:
                histories[recent | node] = remember(histories.get(recent | node, 1), bit)
            if match_path and match_path[node] != bit:
                match_path = None
            if line_path and line_path[node] != bit:
                line_path = None
            node = shipped.children[node][bit]
        symbol = -1 - node
        self._context.push(symbol)
        repeats.push(symbol)
        return symbol


def encode(text: str, shipped: TextTables | None = None) -> bytes:
    """Return *text* in as few bytes as the model can, at most one more than its UTF-8.

    Raise `ValueError` for more than `MAX_BYTES` of UTF-8, or for text that has none (lone surrogates).
    """
    raw = text.encode()
    if len(raw) > MAX_BYTES:
        raise ValueError(f"expected at most {MAX_BYTES} bytes of text, got {len(raw)}")
    if not raw:
        return b""
    writer = BitWriter()
    writer.code(_NOT_RAW, 1)
    model = TextModel(writer, shipped or tables())
    symbols = to_symbols(text)
    for symbol, byte in symbols:
        model.code(symbol)
        if symbol == BYTE:
            for at in range(7, -1, -1):
                writer.code(_HALF, byte >> at & 1)
    coded = writer.finish() or b"\0"
    fits = len(coded) <= len(raw) and len(symbols) <= _most_symbols(coded)
    return coded if fits else bytes([_RAW]) + raw


def _most_symbols(coded: bytes) -> int:
    return SYMBOLS_A_BYTE * (len(coded) + 1)


def decode(data: bytes, shipped: TextTables | None = None) -> str:
    """Return the text that `encode()` made *data* of; any other bytes give some text or `ValueError`."""
    if len(data) > MAX_BYTES + 1:
        raise ValueError(f"expected at most {MAX_BYTES + 1} bytes, got {len(data)}")
    if not data:
        return ""
    if data[0] == _RAW:
        return data[1:].decode()
    reader = BitReader(data)
    reader.code(_NOT_RAW)
    model, case, raw = TextModel(reader, shipped or tables()), Case(), bytearray()
    shifted = False
    left = _most_symbols(data)
    while (symbol := model.code(END)) != END:
        left -= 1
        if left < 1:
            raise ValueError(f"expected at most {_most_symbols(data)} symbols in {len(data)} bytes of text")
        if shifted and symbol not in LETTERS:
            raise ValueError("expected a letter after a shift")
        if symbol == SHIFT:
            shifted = True
            continue
        if symbol == BYTE:
            raw.append(sum(reader.code(_HALF) << at for at in range(7, -1, -1)))
        else:
            character = CHARACTERS[symbol - FIRST]
            upper = symbol in LETTERS and case.capital != shifted
            raw += (character.upper() if upper else character).encode()
        case.push(symbol)
        shifted = False
        if len(raw) > MAX_BYTES:
            raise ValueError(f"expected at most {MAX_BYTES} bytes of text, got more")
    reader.finish()
    return raw.decode()
