"""What a link's figures say about waiting: round trips, frame times, deadlines. All in nanoseconds."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from link import packet
from link.channel import NS, to_ns
from link.channel.delay import TAIL, longest_down_ns, tail_ns
from link.channel.path import exchange_loss, hop_rate_bps, path_rate_bps
from link.channel.rate import Trace
from link.codecs import SYNTAXES
from link.config import Session
from link.errors import UsageError
from link.hops import HopConfig, Link, Outage, ReturnHop
from link.nodes import longest_wait_s
from link.repair.ltp_segments import HEADER_BYTES
from link.repair.ltp_sessions import tries
from link.retransmit import LtpRetransmit

SHARE = 0.8
"""Of what the narrowest hop carries, for frames: the rest is for repairs and for frames larger than most."""

LONGEST_S = 1e9
"""Of a run, 31 years. Nanoseconds leave 64 bits after 292: what is random may come to more than is reckoned here."""
LIKELY_FRAMES = 30
"""Of a source that the scenario gives no number for: what farlink's own show then."""


@dataclass(frozen=True)
class Times:
    """The waits of one session."""

    bottleneck_bps: float
    """Mean rate of the narrowest hop on the way out, its regular outages counted in."""
    frame_ns: int
    """A frame of the codec's budget, with headers and repair, on the narrowest hop."""
    round_trip_ns: int
    """From a request's sending to the first packet that answers it, with empty queues."""
    jitter_ns: int
    """How much later than others a packet may come."""
    deadline_ns: int
    """How long the receiver keeps a frame open after its first packet."""
    in_order: bool
    """Whether no packet can overtake another."""
    fec_span_ns: int
    """How long after a frame the last frame of its block of the erasure code may be taken."""


def _hold_ns(hop: HopConfig | ReturnHop) -> int:
    """Return how long a packet may be held up by an outage of *hop*, or until a contact."""
    wait_ns = to_ns(longest_wait_s(hop.contacts_s)) if isinstance(hop, HopConfig) else 0
    return wait_ns + _outage_ns(hop.outage)


def longest_hold_ns(link: Link) -> int:
    """Return how long a packet and its answer may be held up in all by outages, or until contacts."""
    ways: list[HopConfig | ReturnHop] = [*link.way, *([] if link.return_ is None else [link.return_])]
    return sum(map(_hold_ns, ways))


def _outage_ns(outage: Outage | None) -> int:
    return longest_down_ns(outage) if outage is not None and outage.hold else 0


def _turn_ns(link: Link) -> int:
    """Return how long a packet may wait for its turn on a shared channel, besides the duty cycle's silence."""
    medium, hop = link.medium, link.shared_hop
    if medium is None or hop is None or medium.access == "aloha":
        return 0
    own_s = medium.slot_s if medium.access == "slotted" else medium.backoff_s
    turn_s = own_s if own_s is not None else link.mtu_bytes * 8 / (hop.rate_bps or 1.0)
    return to_ns(turn_s * (1.0 if medium.access == "slotted" else TAIL["exponential"]))


def body_bytes(link: Link) -> int:
    """Return how many bytes of chunks a data packet holds."""
    return packet.body_bytes(link.mtu_bytes, link.framing, repair_bytes=link.repair.extra_bytes)


def air_bytes(link: Link, payload_bytes: int) -> int:
    """Return about how many bytes a frame of *payload_bytes* puts on the air, headers and repair included."""
    return packet.air_bytes(payload_bytes, body_bytes(link), link.framing, link.repair.fec)


def likely_bytes(session: Session) -> int:
    """Return how large a frame's payload gets, by what its codec says."""
    return SYNTAXES[session.codec.name].likely_bytes(session)


def times(session: Session, traces: Mapping[str, Trace]) -> Times:
    """Return the waits that follow from *session*, whose codec.frame_bytes is set: of several senders the longest."""
    found = [_times(session, session.link.seen_from(node), traces) for node in dict.fromkeys(session.origins)]
    if len(found) == 1:
        return found[0]
    rows = list(zip(*map(dataclasses.astuple, found), strict=True))
    frame_ns, round_trip_ns, jitter_ns, deadline_ns = (max(row) for row in rows[1:5])
    return Times(
        min(rows[0]), frame_ns, round_trip_ns, jitter_ns, deadline_ns, all(rows[5]), fec_span_ns=max(rows[6])
    )


def path_share_bps(session: Session, traces: Mapping[str, Trace]) -> float:
    """Return what a sender has of its way's mean rate, in bit/s, as if several shared the narrowest hop of each way."""
    ways = [session.link.seen_from(node) for node in dict.fromkeys(session.origins)]
    return min(path_rate_bps(link, traces) for link in ways) / max(1, len(session.senders))


def _times(session: Session, link: Link, traces: Mapping[str, Trace]) -> Times:
    rate = path_rate_bps(link, traces) / max(1, len(session.senders))
    frame_ns = to_ns(air_bytes(link, likely_bytes(session)) * 8 / rate)
    jitter_ns = sum(tail_ns(hop.jitter) + _repeats_ns(hop, link, traces) for hop in link.way)
    jitter_ns += _turn_ns(link)
    round_trip_ns = 0
    if link.return_ is not None:
        out = sum(hop.delay_s for hop in link.way)
        feedback_s = packet.request_bytes(link.framing) * 8 / link.return_.known_bps
        round_trip_ns = to_ns(out + link.back_delay_s + feedback_s + link.mtu_bytes * 8 / rate)
        round_trip_ns += tail_ns(link.return_.jitter) + jitter_ns
    hold_ns = longest_hold_ns(link)
    fec_span_ns = 0
    if link.repair.fec:
        frames = link.repair.fec_frames - 1 + link.repair.fountain  # which repairs until the next frame comes
        fec_span_ns = to_ns(frames * (session.camera.period_s or 1.0))
    wait = 3 * frame_ns + jitter_ns + hold_ns + fec_span_ns
    if link.repair.arq:
        wait += link.repair.arq_rounds * (round_trip_ns + 2 * frame_ns)
    deadline_ns = to_ns(link.deadline_s) if link.deadline_s is not None else wait
    if deadline_ns < wait:
        fec_span_ns = min(fec_span_ns, deadline_ns // 2)  # what comes after the deadline mends nothing
    overtaking = any(
        (hop.jitter is not None and hop.jitter.reorder) or (hop.queue.classes > 1 and link.repair.priorities)
        for hop in link.hops
    )
    overtaking = overtaking or bool(link.nodes)  # by another route, or a higher class of a store
    overtaking = overtaking or link.has_ltp  # what is sent again comes after what is not
    return Times(rate, frame_ns, round_trip_ns, jitter_ns, deadline_ns, not overtaking, fec_span_ns)


def check_span(session: Session, traces: Mapping[str, Trace]) -> None:
    """Raise UsageError, naming what takes longest, where a run of *session* may last over `LONGEST_S`.

    Reckoned are the camera's frames, all queues full at the end, each packet as late as it may be, and the deadline.
    """
    camera, link = session.camera, session.link
    frames = camera.frames or LIKELY_FRAMES
    period_s = camera.period_s or 1.0
    spans = {f"{frames} frames of camera.period_s {period_s:g}": frames * period_s}
    spans["link.deadline_s"] = times(session, traces).deadline_ns / NS
    for hop in link.hops:
        repeats_s = 0.0
        if isinstance(hop.retransmit, LtpRetransmit):
            repeats_s = _repeats_ns(hop, link, traces) / NS  # of all that waits at a time
        elif hop.retransmit is not None:
            repeats_s = hop.queue.limit_bytes / link.mtu_bytes * _repeats_ns(hop, link, traces) / NS
        spans |= _hop_spans(f"hop {hop.name}", hop, hop_rate_bps(hop, traces), hop.delay_s, repeats_s)
    if link.return_ is not None:
        back = link.return_
        rate = back.known_bps * (back.outage.share_up if back.outage is not None else 1.0)
        spans |= _hop_spans("the return", back, rate, back.delay_s or 0.0)
    if sum(spans.values()) > LONGEST_S:
        what, span_s = max(spans.items(), key=lambda pair: pair[1])
        raise UsageError(
            f"the run may last {sum(spans.values()):.3g} s, of which {span_s:.3g} s are {what}; at most {LONGEST_S:g} s"
        )


def _hop_spans(
    name: str, hop: HopConfig | ReturnHop, rate_bps: float, delay_s: float, repeats_s: float = 0.0
) -> dict[str, float]:
    """Return for how long *hop* may keep its last packet, in seconds, by what keeps it."""
    limit = hop.queue.limit_bytes
    spans = {
        f"a full queue of {limit} bytes (queue.limit_bytes) at {name}'s {rate_bps:.3g} bit/s": limit
        * 8
        / rate_bps,
        f"{name}'s delay and jitter": delay_s + tail_ns(hop.jitter) / NS,
        f"{name}'s outages": _hold_ns(hop) / NS,
    }
    if repeats_s:
        spans[f"a full queue (queue.limit_bytes) sent again by {name} (retransmit.tries)"] = repeats_s
    return spans


def _repeats_ns(hop: HopConfig, link: Link, traces: Mapping[str, Trace]) -> int:
    """Return how long a packet of a full MTU may take a hop that sends again, besides once."""
    if hop.retransmit is None:
        return 0
    if isinstance(hop.retransmit, LtpRetransmit):
        return _ltp_repeats_ns(hop, hop.retransmit, link, traces)
    sizes = link.mtu_bytes + 2 * hop.retransmit.report_bytes
    once_s = 2 * hop.delay_s + sizes * 8 / hop_rate_bps(hop, traces)
    return to_ns((hop.retransmit.tries - 1) * once_s)


def _ltp_repeats_ns(hop: HopConfig, about: LtpRetransmit, link: Link, traces: Mapping[str, Trace]) -> int:
    """Return how long a red packet of a full MTU may take a hop with LTP, besides once."""
    rate_bps = hop_rate_bps(hop, traces)
    back_bps = about.report_rate_bps or rate_bps
    size = link.mtu_bytes + HEADER_BYTES
    most = tries(exchange_loss(hop, about, size, back_bps)) - 1
    once_s = 2 * hop.delay_s + size * 8 / rate_bps + 2 * link.mtu_bytes * 8 / back_bps
    return most * (to_ns(once_s) + _outage_ns(hop.outage))
