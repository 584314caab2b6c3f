"""How many packets wait and how many fly, hop by hop, while the rows about them are still to come.

A row about a packet that crossed a hop comes when it arrives at the far side, after the light time. Until then this
says when it left the transmitter if the hop served packets one after the other at the rate that it had last.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from link.channel.path import hop_rate_bps
from link.channel.rate import Trace
from link.hops import HopConfig

_MOST = 1 << 15
"""Packets that are remembered of each kind."""


class HopLoad:
    """What is before and on one hop. Times never decrease."""

    def __init__(self, rate_bps: float | None) -> None:
        self._ns_per_byte = 0.0
        self.set_rate(rate_bps)
        self._free_ns = 0
        # By packet: (entered, bytes, when its last bit leaves). They leave in the order in which they entered.
        self._waiting: OrderedDict[int, tuple[int, int, int]] = OrderedDict()
        self._flying: OrderedDict[int, tuple[int, int, int]] = OrderedDict()

    def set_rate(self, rate_bps: float | None) -> None:
        """Serve at *rate_bps* from now on; None: as what was last seen to cross."""
        if rate_bps:
            self._ns_per_byte = 8e9 / rate_bps
        self._traced = rate_bps is None

    def enter(self, number: int, now_ns: int, size_bytes: int) -> None:
        """A packet came to the hop."""
        self._free_ns = max(self._free_ns, now_ns) + int(size_bytes * self._ns_per_byte)
        self._waiting[number] = now_ns, size_bytes, self._free_ns
        if len(self._waiting) > _MOST:
            self._waiting.popitem(last=False)

    def leave(self, number: int, waited_ns: int, transmitted_ns: int) -> None:
        """A packet is seen to have crossed the hop, or to have been lost there."""
        known = self._waiting.pop(number, None) or self._flying.pop(number, None)
        if known is None:
            return
        entered, size, _ = known
        if transmitted_ns:
            self._free_ns = max(self._free_ns, entered + waited_ns + transmitted_ns)
            if self._traced and size:
                self._ns_per_byte = transmitted_ns / size

    def forget(self, number: int) -> None:
        """A packet ended elsewhere."""
        self._waiting.pop(number, None)
        self._flying.pop(number, None)

    def counts(self, now_ns: int) -> tuple[int, int]:
        """Return how many packets wait or are being transmitted, and how many are under way, at *now_ns*."""
        while self._waiting and next(iter(self._waiting.values()))[2] <= now_ns:
            number, about = self._waiting.popitem(last=False)
            self._flying[number] = about
            if len(self._flying) > _MOST:
                self._flying.popitem(last=False)
        return len(self._waiting), len(self._flying)


def count_packets(hops: Sequence[HopLoad], now_ns: int) -> tuple[list[int], int]:
    """Return how many packets wait before each hop, and how many fly on all of them."""
    counts = [hop.counts(now_ns) for hop in hops]
    return [waiting for waiting, _ in counts], sum(flying for _, flying in counts)


def find_narrowest(hops: Sequence[HopConfig], traces: Mapping[str, Trace]) -> tuple[int, float | None]:
    """Return the number and rate in bit/s of the hop that carries least; None: its trace is not at hand."""
    rates = []
    for at, hop in enumerate(hops):
        if hop.rate_bps is None and hop.name not in traces:
            return at, None
        rates.append((hop_rate_bps(hop, traces), at))
    rate, at = min(rates)
    return at, rate


def find_onward(ends: Sequence[tuple[int, int]]) -> list[int | None]:
    """Return the hop that packets are on after each, by *ends*: from which node to which each leads.

    None where there is none, or more than one to choose from.
    """
    after = [[at for at, (start, _) in enumerate(ends) if start == end] for _, end in ends]
    return [hops[0] if len(hops) == 1 else None for hops in after]
