"""What a configured path comes to on average: the share of packets it loses, the rate it carries."""

from collections.abc import Mapping
from math import prod

from link.channel.rate import Trace
from link.hops import HopConfig, Link, ReturnHop
from link.nodes import share_open
from link.retransmit import LtpRetransmit, Retransmit


def hop_loss(hop: HopConfig | ReturnHop, packet_bytes: int) -> float:
    """Return the mean share, 0 to 1, of packets of *packet_bytes* that *hop* loses.

    That is its loss model, bit errors anywhere in the packet, and regular outages that hold nothing; the three are
    taken as independent. Where the hop sends again what it lost, it loses what is hit at
    every try. With LTP it is what its segments lose, and its green packets with them.
    Windows of outage are left out: they are known gaps.
    """
    about = hop.retransmit if isinstance(hop, HopConfig) else None
    tries = about.tries if isinstance(about, Retransmit) else 1
    kept = 1.0 - (1.0 - (1.0 - hop.bit_error_rate) ** (8 * packet_bytes)) ** tries
    if hop.loss is not None:
        air_s = packet_bytes * 8 / hop.rate_bps if hop.rate_bps is not None else 0.0  # a trace's packets vary
        kept *= 1.0 - hop.loss.lost_of(tries, packet_bytes, air_s)
    if hop.outage is not None and not hop.outage.hold:
        kept *= hop.outage.share_up
    return 1.0 - kept


def exchange_loss(hop: HopConfig, about: LtpRetransmit, packet_bytes: int, back_bps: float) -> float:
    """Return the mean share, 0 to 1, of packets of *packet_bytes* on *hop* that are lost, or whose answer is.

    The way back has *back_bps* and the hop's own outages.
    """
    kept = 1.0 - hop_loss(hop, packet_bytes)
    if about.loss is not None:
        kept *= 1.0 - about.loss.lost_of(1, packet_bytes, packet_bytes * 8 / back_bps)
    if hop.outage is not None and not hop.outage.hold:
        kept *= hop.outage.share_up
    return 1.0 - kept


def path_loss(link: Link) -> float:
    """Return the mean share, 0 to 1, of packets of a full MTU that the way out of *link* loses, hops' own
    repair counted in, that of the ends not.

    Hops are independent, so 1 - prod(1 - loss of a hop). Hops with LTP lose nothing where all of a frame is red; else
    this is what green packets are lost by, more than the mean.
    """
    mended = link.red == 1.0
    losses = [
        0.0 if mended and isinstance(hop.retransmit, LtpRetransmit) else hop_loss(hop, link.mtu_bytes)
        for hop in link.way
    ]
    return 1.0 - prod(1.0 - loss for loss in losses)


def hop_rate_bps(hop: HopConfig, traces: Mapping[str, Trace]) -> float:
    """Return the mean rate of *hop* in bit/s, its regular outages and its contacts counted in; *traces* by hop name."""
    rate = hop.rate_bps if hop.rate_bps is not None else traces[hop.name].mean_bps
    return rate * (hop.outage.share_up if hop.outage is not None else 1.0) * share_open(hop.contacts_s)


def path_rate_bps(link: Link, traces: Mapping[str, Trace]) -> float:
    """Return the mean rate in bit/s of the narrowest hop on the way out, its regular outages counted in.

    A hop whose channel is shared has the share of its rate that the duty cycle leaves.
    """
    return min(hop_rate_bps(hop, traces) * duty_share(link, hop) for hop in link.way)


def duty_share(link: Link, hop: HopConfig) -> float:
    """Return the share of the time, 0 to 1, that the duty cycle of a shared channel leaves a sender on *hop*."""
    shared = any(hop is one for one in link.shared_hops)
    return link.medium.duty_cycle if link.medium is not None and shared else 1.0
