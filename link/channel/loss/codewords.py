"""Loss by blocks of a channel code: what lies in one that could not be mended is lost, and neighbours fall together."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from link.channel.bits import BitErrors
from link.channel.loss.model import BitsBy, TimedLossModel
from link.fields import Ratio


class CodewordLoss(TimedLossModel):
    """Blocks of a channel code fail independently. The transmitter sends them without a pause, filled where idle.

    So a packet's place among them follows from when it is sent, as in a stream of transfer frames.
    """

    model: Literal["codewords"]
    error_rate: Ratio
    """The share of blocks that fail."""
    block_bits: Annotated[int, Field(ge=1, le=1 << 24)]
    """Information bits that fail together."""
    damaged_ratio: Annotated[float, Field(gt=0.0, le=0.5)] | None = None
    """The share of wrong bits within a failed block, which is delivered so; None: packets over it are lost."""

    @property
    def mean_loss(self) -> float:
        """Mean share of blocks lost, which is that of packets much shorter than a block."""
        return self.error_rate

    def lost_after(self, tries: int) -> float:
        """See `LossModel.lost_after`, of packets much shorter than a block."""
        return float(self.error_rate**tries)

    def lost_of(self, tries: int, packet_bytes: int, air_s: float) -> float:
        """See `LossModel.lost_of`. A packet of L bits begins anywhere in a block; tries meet other blocks.

        Packets that are delivered damaged count as lost: their checksum fails.
        """
        bits = 8 * packet_bytes
        whole, rest = divmod(bits - 1, self.block_bits)
        longer = rest / self.block_bits
        kept = (1.0 - self.error_rate) ** (whole + 1)
        return float((1.0 - kept * (1.0 - longer * self.error_rate)) ** tries)

    def words(self) -> str:
        """See `LossModel.words`."""
        what = "damages" if self.damaged_ratio is not None else "loses"
        return f"{what} what lies in {self.error_rate:.2g} of its code blocks of {self.block_bits} bits"

    def draw_timed(self, rng: np.random.Generator, bits_by: BitsBy) -> "Codewords":
        """See `TimedLossModel.draw_timed`."""
        return Codewords(self, rng, bits_by)


class Codewords:
    """The blocks of one hop as they fail."""

    def __init__(self, about: CodewordLoss, rng: np.random.Generator, bits_by: BitsBy) -> None:
        self._size = about.block_bits
        self._rng = rng
        self._bits_by = bits_by
        self._rate = about.error_rate
        self._flip = BitErrors(about.damaged_ratio, rng) if about.damaged_ratio is not None else None
        self._last = -1  # the last block that a packet had a part in
        self._last_failed = False
        self._next = self._gap()  # the first block after it that fails

    def _gap(self) -> int:
        """Return how many blocks after the last one the next fails."""
        if self._rate <= 0.0:
            return 1 << 62
        return 1 if self._rate >= 1.0 else int(self._rng.geometric(self._rate))

    def set_error_rate(self, error_rate: float) -> None:
        """See `Timed.set_error_rate`. Blocks that no packet has had a part in fail at the new rate."""
        if error_rate != self._rate:
            self._rate = error_rate
            self._next = self._last + self._gap()

    def carry(self, data: bytes, start_ns: int, end_ns: int) -> bytes | None:
        """See `Timed.carry`."""
        bits = len(data) * 8
        place = self._bits_by(start_ns)
        first, last = place // self._size, (place + bits - 1) // self._size
        failed = [first] if first == self._last and self._last_failed else []
        if first < self._last:  # the rate was changed, and with it the count of bits
            self._last = first - 1
            self._next = self._last + self._gap()
        begin = max(first, self._last + 1)
        if self._next < begin:
            self._next = begin - 1 + self._gap()
        while self._next <= last:
            failed.append(self._next)
            self._next += self._gap()
        self._last_failed = bool(failed) and failed[-1] == last
        self._last = last
        if not failed:
            return data
        return None if self._flip is None else self._damage(data, place, failed)

    def _damage(self, data: bytes, place: int, failed: list[int]) -> bytes:
        """Return *data*, whose first bit is at *place*, with bits flipped in the blocks that *failed*."""
        assert self._flip is not None
        whole = np.unpackbits(np.frombuffer(data, np.uint8))
        for block in failed:
            start = max(0, block * self._size - place)
            end = min(len(whole), (block + 1) * self._size - place)
            count = end - start
            zeros = self._flip(bytes(-(-count // 8)))
            whole[start:end] ^= np.unpackbits(np.frombuffer(zeros, np.uint8))[:count]
        return np.packbits(whole).tobytes()
