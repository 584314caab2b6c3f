"""What an LTP hop keeps of the packets in its blocks, and what it knows beforehand of when its ends may send."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from link.channel import to_ns
from link.channel.delay import longest_down_ns, tail_ns
from link.channel.outage import windows_up
from link.events import Fate
from link.hops import HopConfig
from link.repair.ltp_segments import HEADER_BYTES, Cancel
from link.repair.ltp_sessions import LEAST_TRIES
from link.repair.sight import AnswerTimes, InTurn, Listed, Windows

FAULTS: Mapping[Cancel | None, Fate] = {
    Cancel.UNREACHABLE: Fate.NO_ANSWER,
    Cancel.RETRANSMISSIONS: Fate.NO_ANSWER,
    Cancel.CYCLES: Fate.NO_ANSWER,
}
"""What becomes of packets that are not across when their session is cancelled; for other reasons they are CANCELLED."""


@dataclass(slots=True)
class Carried:
    """A packet in a block."""

    packet: int
    since: int
    red: bool
    size: int
    flying: int = 0
    """How many segments with it are on their way to the far side."""
    begun: bool = False
    """Whether it was on the air."""
    ended: bool = False
    """Whether it is across, or was dropped for good."""
    told: bool = False
    """Whether nothing more will be said of it to whoever has it in custody."""


@dataclass(slots=True)
class LtpBlock:
    """The packets of a session, by their place."""

    carried: dict[int, Carried] = field(default_factory=dict)
    fault: Fate | None = None
    """What its session was cancelled for."""

    @property
    def over(self) -> bool:
        """Whether nothing more will become of any packet."""
        return all(item.told and item.ended and not item.flying for item in self.carried.values())


def known_windows(config: HopConfig, *, nodes: bool) -> Windows | None:
    """Return when the ends of a hop may send, as far as that is known beforehand; None: always.

    That is by its contacts, or its outages where they hold what waits and are regular; *nodes* know of contacts alone.
    """
    outage = config.outage
    if config.contacts_s is not None:
        return Listed([(to_ns(start), to_ns(end)) for start, end in config.contacts_s])
    if outage is None or not outage.hold or (nodes and not config.contacts):
        return None
    if outage.up_s is not None and outage.down_s is not None:
        return None if outage.random else InTurn(to_ns(outage.up_s), to_ns(outage.down_s))
    return Listed(windows_up(outage))


def make_sights(
    config: HopConfig,
    delay_at: Callable[[int], int],
    out_bps: float,
    back_bps: float,
    mtu_bytes: int,
    *,
    nodes: bool,
) -> tuple[AnswerTimes, AnswerTimes]:
    """Return when answers come to the near side and to the far side, whose rates are given.

    *delay_at* gives the delay, in ns, of what is sent at a time. An answer waits for what is on the transmitter.
    """
    late, windows = tail_ns(config.jitter), known_windows(config, nodes=nodes)
    report_ns = to_ns(2 * mtu_bytes * 8 / back_bps)
    segment_ns = to_ns((mtu_bytes + 2 * HEADER_BYTES) * 8 / out_bps)
    if config.outage is not None and not config.outage.hold:
        # A blackout must not use up all tries.
        dark_ns = longest_down_ns(config.outage) // (LEAST_TRIES - 1)
        report_ns, segment_ns = report_ns + dark_ns, segment_ns + dark_ns
    return (
        AnswerTimes(lambda at: delay_at(at) + late, delay_at, report_ns, windows),
        AnswerTimes(delay_at, lambda at: delay_at(at) + late, segment_ns, windows),
    )
