"""Which packets the erasure code protects more: what their sections are worth, and what the link loses."""

from collections import deque
from collections.abc import Sequence

from link import fragment, packet
from link.channel import NS, to_ns
from link.channel.loss import LossModel
from link.channel.loss.gilbert_elliott import GilbertElliottLoss
from link.channel.path import hop_loss, path_loss
from link.hops import Link
from link.repair import windows
from link.repair.windows import Law
from link.timing import Times
from sender.encoder import Encoder, Weighed

_MEMORY_PACKETS = 512.0  # of what the far end says it missed
_MOST_LOSS = 0.95


class Protection:
    """Splits the repair packets of a block over windows, by the larger of the configured and the measured loss.

    What is measured is the share of packets that first answers name as missing. What the erasure code mended nobody
    hears of, so that is a lower bound; hence the larger of the two.
    """

    def __init__(self, link: Link, encoder: Weighed) -> None:
        self._encoder = encoder
        self._configured = configured_law(link)
        self._lost = self._heard = 0.0

    @classmethod
    def from_link(cls, link: Link, encoder: Encoder) -> "Protection | None":
        """Return what protects the frames of *encoder* on *link*; None: they are protected equally."""
        if link.repair.protection == "equal" or not isinstance(encoder, Weighed):
            return None
        return cls(link, encoder)

    @property
    def law(self) -> Law:
        """How packets are lost, by what is known by now; in whole percents, so that few splits are sought."""
        measured = self._lost / self._heard if self._heard >= 1.0 else 0.0
        loss = min(_MOST_LOSS, max(self._configured.loss, round(measured, 2)))
        return Law(loss, self._configured.mean_burst)

    def heard(self, packets: int, missing: int) -> None:
        """Note that of a frame's *packets* the far end missed *missing* at least."""
        kept = max(0.0, 1.0 - packets / _MEMORY_PACKETS)
        self._lost = kept * self._lost + missing
        self._heard = kept * self._heard + packets

    def gains(self, sections: int, bodies: Sequence[bytes]) -> tuple[float, ...]:
        """Return what each of a frame's *bodies* adds to its quality: that of the sections that are whole with it."""
        return worths(self._encoder, sections, bodies)

    def assign(
        self, counts: Sequence[int], gains: Sequence[Sequence[float]], repairs: int
    ) -> Sequence[int | None]:
        """See `link.repair.fec.Protect`."""
        return windows.assign(counts, gains, repairs, self.law, alone=ALONE)


def worths(encoder: Weighed, sections: int, bodies: Sequence[bytes]) -> tuple[float, ...]:
    """Return what each of a frame's *bodies* adds to its quality: that of the sections that are whole with it."""
    worth = encoder.gains(sections)
    gains = []
    for at, body in enumerate(bodies):
        whole = {item.section for item in fragment.chunks(body, last=at + 1 == len(bodies)) if item.final}
        gains.append(sum(worth[section] for section in whole))
    return tuple(gains)


def count_red(encoder: Encoder, share: float, sections: int, bodies: Sequence[bytes]) -> int:
    """Return how many of a frame's *bodies*, the first ones, have *share* of what it is worth to its codec.

    Where the codec says nothing of that, each is worth the same. A share above 0 is one at least, 1 is all of them.
    """
    if share in (0.0, 1.0):
        return len(bodies) if share else 0
    gains = worths(encoder, sections, bodies) if isinstance(encoder, Weighed) else ()
    if not sum(gains):
        gains = (1.0,) * len(bodies)
    wanted, had = share * sum(gains) * (1.0 - 1e-9), 0.0  # less what sums of floats are off by
    for count, gain in enumerate(gains, 1):
        had += gain
        if had >= wanted:
            return count
    return len(bodies)


def classes(encoder: Encoder, link: Link, sections: int, bodies: Sequence[bytes]) -> list[int]:
    """Return the class of service of each of a frame's *bodies*: the first ones go before the others.

    With `repair.priorities` that is a third of them. A hop with LTP takes them for red, and how many says `count_red`.
    """
    if not (link.repair.priorities or link.has_ltp):
        return [0] * len(bodies)
    urgent = count_red(encoder, link.red, sections, bodies) if link.has_ltp else -(-len(bodies) // 3)
    return [1 if index < urgent else 2 for index in range(len(bodies))]


def class_of_repairs(link: Link) -> int:
    """Return the class of service of repair packets."""
    return 3 if link.repair.priorities or link.has_ltp else 0


class Fountain:
    """Spreads the repair packets of a frame over the time until the next, as fast as the narrowest hop takes them."""

    def __init__(self) -> None:
        self._later: deque[tuple[int, bytes]] = deque()

    def room_bytes(self, bodies: Sequence[bytes], period_ns: int, link: Link, times: Times) -> int:
        """Return how many bytes the narrowest hop carries after a frame of *bodies* until the next, 0 or more."""
        header = packet.overhead(link.framing, link.mtu_bytes)
        period = int(times.bottleneck_bps * period_ns / 8 / NS)
        return max(0, period - sum(len(body) + header for body in bodies))

    def pour(
        self, packets: Sequence[bytes], spare: Sequence[bytes], now: int, link: Link, times: Times
    ) -> None:
        """Have *spare* follow the *packets* of a frame, which are sent *now*; what is left of the last frame's goes."""
        self._later.clear()
        more = packet.overhead(link.framing, link.mtu_bytes) - packet.HEADER_BYTES
        ahead = sum(len(data) + more for data in packets)
        for data in spare:
            self._later.append((now + to_ns(ahead * 8 / times.bottleneck_bps), data))
            ahead += len(data) + more

    def due(self, now: int) -> list[bytes]:
        """Return the packets whose time has come by *now*."""
        found = []
        while self._later and self._later[0][0] <= now:
            found.append(self._later.popleft()[1])
        return found

    @property
    def next_ns(self) -> int | None:
        """When the next packet is due; None: none is left."""
        return self._later[0][0] if self._later else None


ALONE = False
"""Whether a packet is taken to be worth something without those before it (`link.repair.windows.PacketClasses`)."""


def configured_law(link: Link) -> Law:
    """Return the loss that the scenario says *link* has, in the bursts of the hop that loses most in bursts."""
    loss = min(_MOST_LOSS, path_loss(link))
    longest = 1.0
    most = 0.0
    for hop in link.hops:
        model: LossModel | None = hop.loss
        own = hop_loss(hop, link.mtu_bytes)
        if isinstance(model, GilbertElliottLoss) and own > most and hop.retransmit is None:
            most, longest = own, model.mean_burst
    # Where little of the loss comes in bursts, and where bursts of that length would leave no packet between them.
    bursty = most > loss / 2 and loss / (1.0 - loss) <= longest
    return Law(round(loss, 3), longest if bursty else 1.0)
