"""How many packets wait and how many fly, hop by hop, while the rows about them are still to come.

A row about a packet that crossed a hop comes when it arrives at the far side, after the light time. Until then this
says when it left the transmitter if the hop served packets one after the other at the rate that it had last.
"""

from collections.abc import Sequence


class HopLoad:
    """What is before and on one hop."""

    def __init__(self, rate_bps: float | None, delay_s: float) -> None:
        self.set_rate(rate_bps)
        self.delay_ns = int(delay_s * 1e9)
        self._free_ns = 0
        self._leaves: dict[int, tuple[int, int, int]] = {}  # (entered, bytes, when its last bit leaves)

    def set_rate(self, rate_bps: float | None) -> None:
        """Serve at *rate_bps* from now on; None: as what was last seen to cross."""
        self._ns_per_byte = 8e9 / rate_bps if rate_bps else 0.0
        self._traced = rate_bps is None

    def enter(self, number: int, now_ns: int, size_bytes: int) -> None:
        """A packet came to the hop."""
        self._free_ns = max(self._free_ns, now_ns) + int(size_bytes * self._ns_per_byte)
        self._leaves[number] = now_ns, size_bytes, self._free_ns

    def leave(self, number: int, waited_ns: int, transmitted_ns: int) -> None:
        """A packet is seen to have crossed the hop, or to have been lost there."""
        if (known := self._leaves.pop(number, None)) is None:
            return
        entered, size, _ = known
        if transmitted_ns:
            self._free_ns = max(self._free_ns, entered + waited_ns + transmitted_ns)
            if self._traced and size:
                self._ns_per_byte = transmitted_ns / size

    def counts(self, now_ns: int) -> tuple[int, int]:
        """Return how many packets wait or are being transmitted, and how many are under way, at *now_ns*."""
        waiting = sum(leaves > now_ns for _, _, leaves in self._leaves.values())
        return waiting, len(self._leaves) - waiting

    def forget(self, number: int) -> None:
        """A packet ended elsewhere."""
        self._leaves.pop(number, None)

    @property
    def known(self) -> int:
        """How many packets are remembered."""
        return len(self._leaves)

    def drop_oldest(self, most: int) -> None:
        """Forget the oldest packets over *most*."""
        while len(self._leaves) > most:
            del self._leaves[next(iter(self._leaves))]


def totals(hops: Sequence[HopLoad], now_ns: int) -> tuple[list[int], int]:
    """Return how many packets wait before each hop, and how many fly on all of them."""
    counts = [hop.counts(now_ns) for hop in hops]
    return [waiting for waiting, _ in counts], sum(flying for _, flying in counts)
