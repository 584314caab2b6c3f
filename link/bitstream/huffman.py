"""Text by a Huffman code of its own, whose table is sent: what SEDIC says it uses (arXiv 2503.00399, Section 3.1).

    [characters - 1: 2 bytes] [longest code: 1 byte] [how many codes of each length: 1 byte each] [the bytes that have
    codes, the shortest first] [the codes of the text, then zeros up to a whole byte]

The paper does not say whose table it takes; its public code builds one from each message and neither sends nor counts
it. Here the table travels, as JPEG's do (ITU-T T.81, Annex C): codes are canonical, so their lengths are enough. Codes
are of the bytes of the text's UTF-8.
"""

import heapq
from collections import Counter

from link.bitstream.text import MAX_BYTES

_MOST_BITS = 24
"""Of a code. A Huffman code of 25 bits needs a text of 196,418 bytes (Fibonacci's numbers), more than `MAX_BYTES`."""


def encode(text: str) -> bytes:
    """Return *text* and its table. Raise ValueError for more than `MAX_BYTES` of UTF-8."""
    raw = text.encode()
    if len(raw) > MAX_BYTES:
        raise ValueError(f"expected at most {MAX_BYTES} bytes of text, got {len(raw)}")
    if not raw:
        return b""
    lengths = _lengths(Counter(raw))
    order = sorted(lengths, key=lambda byte: (lengths[byte], byte))
    counts = Counter(lengths.values())
    longest = max(counts)
    head = [*(len(raw) - 1).to_bytes(2, "big"), longest, *(counts[bits] for bits in range(1, longest + 1))]
    codes = dict(zip(order, _codes([lengths[byte] for byte in order]), strict=True))
    bits = "".join(codes[byte] for byte in raw)
    bits += "0" * (-len(bits) % 8)
    return bytes([*head, *order]) + int(bits, 2).to_bytes(len(bits) // 8, "big")


def decode(data: bytes) -> str:
    """Return the text that `encode` made *data* of; any other bytes give some text or ValueError."""
    if not data:
        return ""
    if len(data) < 4:
        raise ValueError(f"{len(data)} bytes are no Huffman table")
    left, longest = int.from_bytes(data[:2], "big") + 1, data[2]
    counts = data[3 : 3 + longest]
    table = 3 + longest + sum(counts)
    if left > MAX_BYTES or not 1 <= longest <= _MOST_BITS or len(data) < table or not sum(counts):
        raise ValueError("no Huffman table of a text")
    lengths = [bits for bits, count in enumerate(counts, 1) for _ in range(count)]
    if sum(2 ** (longest - bits) for bits in lengths) > 2**longest:
        raise ValueError("more Huffman codes than there can be")
    known = dict(zip(_codes(lengths), data[3 + longest : table], strict=True))
    bits = "".join(f"{byte:08b}" for byte in data[table:])
    raw, code, at = bytearray(), "", 0
    while len(raw) < left:
        if at == len(bits) or len(code) > longest:
            raise ValueError("bits that are no Huffman code of the table")
        code += bits[at]
        at += 1
        if code in known:
            raw.append(known[code])
            code = ""
    if len(bits) - at >= 8:
        raise ValueError(f"{(len(bits) - at) // 8} bytes beyond the text")
    return raw.decode()


def _lengths(counts: Counter[int]) -> dict[int, int]:
    """Return the bits of each byte's code."""
    if len(counts) == 1:
        return dict.fromkeys(counts, 1)
    heap: list[tuple[int, int, tuple[int, ...]]] = [
        (count, byte, (byte,)) for byte, count in sorted(counts.items())
    ]
    heapq.heapify(heap)
    lengths = dict.fromkeys(counts, 0)
    while len(heap) > 1:
        (first, at, ones), (second, _, others) = heapq.heappop(heap), heapq.heappop(heap)
        for byte in (*ones, *others):
            lengths[byte] += 1
        heapq.heappush(heap, (first + second, at, (*ones, *others)))
    return lengths


def _codes(lengths: list[int]) -> list[str]:
    """Return canonical codes of *lengths*, ascending, as strings of bits."""
    codes: list[str] = []
    code = before = 0
    for bits in lengths:
        code <<= bits - before
        codes.append(f"{code:0{bits}b}")
        code, before = code + 1, bits
    return codes
