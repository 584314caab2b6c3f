"""Erasure code over the data packets of one or more frames: RaptorQ (RFC 6330), systematic, behind the checksum.

The data packets' bodies of the frames of a block, one frame after the other, are the source symbols, padded to one
width by 0x80 and zeros (ISO/IEC 7816-4), so data packets travel as they are and wait for nothing. A repair body is

    window      a byte 0 and a varint: how many packets of each frame the symbol is over; left out: over all
    byte 0      bit 7: counts as varints | number of frames in the block, 1 to 127
    counts      data packets of each frame: two a byte, the first in the high half; or varints where one is over 15
    the rest    repair symbol

In the packet's header stand the block's last frame and, as the index, that frame's data packets and the repair
packet's number; the last repair packet of a block is marked. The symbol's number (ESI) is the data packets that it
is over and the repair packet's number. RFC 6330 works on symbols whose width is a multiple of 8; the columns added
for that are zero in every symbol, so they are cut off here and put back there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import raptorq

from link import varint
from link.packet import FRAMES, MAX_PACKETS, Kind, Packet

MAX_FRAMES = 127
"""Frames of a block at most."""
_VARINTS = 0x80
_ALIGN = 8
_MAX_BYTES = 8 << 20  # above this the library would split the block into several source blocks


def head(counts: Sequence[int], window: int | None = None) -> bytes:
    """Return what a repair body begins with, for frames of *counts* data packets. Raise ValueError for too many.

    *window*: how many packets of each frame the symbol is over; None: all.
    """
    if window is not None:
        return b"\0" + varint.put(window) + head(counts)
    if not 0 < len(counts) <= MAX_FRAMES:
        raise ValueError(f"a block of {len(counts)} frames; 1 to {MAX_FRAMES} are possible")
    if max(counts) > 15:
        return bytes([_VARINTS | len(counts)]) + b"".join(map(varint.put, counts))
    pairs = [*counts, 0] if len(counts) % 2 else counts
    return bytes([len(counts), *(a << 4 | b for a, b in zip(pairs[::2], pairs[1::2], strict=True))])


def split(body: bytes) -> tuple[tuple[int, ...], bytes, int | None]:
    """Return (data packets of each frame, symbol, window) of a repair *body*; the window is as in `head`.

    Raise ValueError where it cannot be one.
    """
    if body[:1] == b"\0":
        window, at = varint.get(body, 1)
        if body[at : at + 1] == b"\0":
            raise ValueError("a window within a window")
        counts, symbol, _ = split(body[at:])
        if not 0 < window < max(counts):
            raise ValueError(f"a window of {window} packets of frames of at most {max(counts)}")
        return counts, symbol, window
    return *_split_all(body), None


def _split_all(body: bytes) -> tuple[tuple[int, ...], bytes]:
    frames = body[0] & ~_VARINTS if body else 0
    if frames == 0:
        raise ValueError(f"a repair body of {len(body)} bytes for no frames")
    at = 1
    counts: list[int] = []
    if body[0] & _VARINTS:
        for _ in range(frames):
            count, at = varint.get(body, at)
            counts.append(count)
    else:
        at += (frames + 1) // 2
        counts = [half for byte in body[1:at] for half in (byte >> 4, byte & 15)][:frames]
    if len(counts) < frames or len(body) <= at or not any(counts) or max(counts) > MAX_PACKETS:
        raise ValueError(f"a repair body of {len(body)} bytes for {frames} frames")
    return tuple(counts), body[at:]


def places(counts: Sequence[int], window: int | None) -> list[int]:
    """Return which packets of a block of frames of *counts* data packets a *window* is over, by place in the block."""
    if window is None:
        return list(range(sum(counts)))
    found: list[int] = []
    at = 0
    for count in counts:
        found += range(at, at + min(count, window))
        at += count
    return found


def encode(
    counts: Sequence[int], bodies: Sequence[bytes], number: int, windows: Sequence[int | None] = ()
) -> list[bytes]:
    """Return *number* repair bodies for a block: *bodies* are the data bodies of frames of *counts*, in order.

    *windows* has the window of each, as in `head`; empty: each is over all.
    Raise ValueError where the last frame's packets and these exceed what a frame may have, or the block is too large.
    """
    if not bodies or number <= 0:
        return []
    if counts[-1] + number > MAX_PACKETS:
        raise ValueError(f"{counts[-1]} data and {number} repair packets; at most {MAX_PACKETS} together")
    if not windows:
        return _encode_window(counts, bodies, None, range(number))
    made: dict[int, bytes] = {}
    for window in set(windows):
        numbers = [at for at, own in enumerate(windows) if own == window]
        own = [bodies[place] for place in places(counts, window)]
        made |= zip(numbers, _encode_window(counts, own, window, numbers), strict=True)
    return [made[at] for at in range(number)]


def _encode_window(
    counts: Sequence[int], bodies: Sequence[bytes], window: int | None, numbers: Sequence[int]
) -> list[bytes]:
    """Return the repair bodies of *numbers*, ascending, over *bodies*, those of a block's *window*."""
    width = max(map(len, bodies)) + 1
    padded = width + -width % _ALIGN
    if padded * len(bodies) > _MAX_BYTES:
        raise ValueError(
            f"a block of {padded * len(bodies)} bytes; the erasure code takes {_MAX_BYTES} at most"
        )
    encoder = raptorq.Encoder.with_defaults(b"".join(_pad(body, padded) for body in bodies), padded)
    repair = encoder.get_encoded_packets(numbers[-1] + 1)[len(bodies) :]
    front = head(counts, window)
    return [front + repair[number][4 : 4 + width] for number in numbers]


def decode(total: int, data: Mapping[int, bytes], repair: Mapping[int, bytes]) -> dict[int, bytes] | None:
    """Return all *total* data bodies of a block by place, from some of them and repair symbols by their number.

    Places count from 0 over the frames of the block, the numbers of repair symbols from 0. None where they do not
    suffice or do not fit together. Give only bodies whose checksum held: RaptorQ does not notice a changed symbol.
    """
    if not repair or len(data) + len(repair) < total:
        return None
    width = len(next(iter(repair.values())))
    padded = width + -width % _ALIGN
    if any(len(symbol) != width for symbol in repair.values()):
        return None
    if any(len(body) >= width for body in data.values()) or any(place >= total for place in data):
        return None
    zeros = bytes(padded - width)
    symbols = [(place, _pad(body, padded)) for place, body in data.items()]
    symbols += [(total + number, symbol + zeros) for number, symbol in repair.items()]
    decoder = raptorq.Decoder.with_defaults(total * padded, padded)
    whole = None
    for number, symbol in symbols:
        # Payload ID of RFC 6330, 3.2: source block number 0, encoding symbol ID.
        whole = _decode_one(decoder, number.to_bytes(4, "big") + symbol)
        if whole is not None:
            break
    if whole is None or len(whole) != total * padded:
        return None
    bodies = {}
    for place in range(total):
        body = whole[place * padded : (place + 1) * padded].rstrip(b"\0")
        if not body.endswith(b"\x80"):
            return None
        bodies[place] = body[:-1]
    return bodies


def _decode_one(decoder: raptorq.Decoder, packet: bytes) -> bytes | None:
    try:
        body: bytes | None = decoder.decode(packet)
    except BaseException as error:
        # The library panics with a class that is no Exception (pyo3's PanicException) on input it cannot use.
        if type(error).__name__ != "PanicException":
            raise
        return None
    return body


def _pad(body: bytes, width: int) -> bytes:
    return body + b"\x80" + bytes(width - len(body) - 1)


@dataclass(frozen=True)
class Repairs:
    """The repair bodies of a block, and where they belong on the wire."""

    frame: int
    """The block's last frame."""
    first_index: int
    bodies: list[bytes]

    def pack(self, level: int, fingerprint: int) -> list[bytes]:
        """Return them as packets of priority *level*, before framing."""
        low, end = self.frame % FRAMES, self.first_index + len(self.bodies) - 1
        return [
            Packet(Kind.FEC, low, index, body, level, index == end).pack(fingerprint)
            for index, body in enumerate(self.bodies, self.first_index)
        ]


Protect = Callable[[Sequence[int], Sequence[Sequence[float]], int], Sequence[int | None]]
"""Returns the window of each of a number of repair packets, of a block of frames with (data packets, what each of them
adds to the frame's quality)."""


class BlockBuilder:
    """Gathers frames into blocks and says when repair packets are due: as soon as their share pays for one.

    *share* is repair bytes for each byte of data packets on the air, both with *header_bytes*. A block ends with
    *frames* frames or when the next would come more than *span_ns* after its first, and then has one repair packet
    at least; what a block did not spend the next one may. A repair body never exceeds *room_bytes*. No block ends
    before it has *least* frames, but for its span or its room. *protect* says which window each repair packet is of;
    None: all are over the whole block.
    """

    def __init__(
        self,
        share: float,
        header_bytes: int,
        room_bytes: int,
        frames: int,
        span_ns: int,
        least: int = 1,
        protect: Protect | None = None,
    ) -> None:
        self._share, self._header, self._room = share, header_bytes, room_bytes
        self._frames, self._span_ns, self._least = frames, span_ns, least
        self._protect = protect
        self._gains: list[Sequence[float]] = []
        self._saved = 0.0
        self._counts: list[int] = []
        self._bodies: list[bytes] = []
        self._last, self._since_ns = 0, 0

    def add(
        self,
        frame: int,
        bodies: Sequence[bytes],
        now: int,
        next_ns: int | None,
        gains: Sequence[float] = (),
        fill_bytes: int | None = None,
    ) -> tuple[Repairs | None, Repairs | None]:
        """Take the data *bodies* of *frame*, sent at *now*; the next frame comes at *next_ns* (None: at once).

        *gains* is what each body adds to the frame's quality, for who protects them unequally. With *fill_bytes* a
        block that ends with this frame has as many repair packets as fit into that, whatever their share.

        Return the repairs of the block before, which go first where this frame did not fit into it, and those that
        follow this frame. Raise ValueError where a block cannot be encoded.
        """
        before = None
        if self._counts and not self._fits(bodies):
            before = self._end(max(1, self._affordable()))
        if not self._counts:
            self._since_ns = now
        self._counts.append(len(bodies))
        self._bodies += bodies
        self._gains.append(gains)
        self._last = frame
        self._saved += self._share * sum(len(body) + self._header for body in bodies)
        late = next_ns is not None and next_ns - self._since_ns > self._span_ns
        ends = late or len(self._counts) >= self._frames
        if len(self._counts) < self._least and not ends:
            return before, None
        if fill_bytes is not None and self._bodies:
            most = MAX_PACKETS - self._counts[-1]
            return before, self._end(max(1, min(most, fill_bytes // self._repair_bytes())))
        return before, self._end(max(int(ends), self._affordable()))

    def flush(self) -> Repairs | None:
        """End the block that is open, where one is: no frame follows."""
        return self._end(max(1, self._affordable()))

    def _fits(self, bodies: Sequence[bytes]) -> bool:
        counts = [*self._counts, len(bodies)]
        longest = max(map(len, [*self._bodies, *bodies]), default=0)
        window = None if self._protect is None else max(counts)
        return len(counts) <= MAX_FRAMES and len(head(counts, window)) + longest + 1 <= self._room

    def _affordable(self) -> int:
        """Return how many repair packets the open block's savings pay for."""
        if not self._bodies:
            return 0
        return int(self._saved / self._repair_bytes())

    def _repair_bytes(self) -> int:
        """Return how large a repair packet over all of the open block is."""
        return self._header + len(head(self._counts)) + max(map(len, self._bodies)) + 1

    def _end(self, number: int) -> Repairs | None:
        if number == 0:
            return None
        made = None
        if self._bodies:
            windows = self._protect(self._counts, self._gains, number) if self._protect is not None else ()
            repair = encode(self._counts, self._bodies, number, windows)
            made = Repairs(self._last, self._counts[-1], repair)
            self._saved = max(0.0, self._saved - sum(len(body) + self._header for body in repair))
        self._counts.clear()
        self._bodies.clear()
        self._gains.clear()
        return made
