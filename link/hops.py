"""The part of a scenario that says what packets cross: hops in a row, the way back, what is done about loss.

Frozen; unknown keys are refused. Numbers carry their unit in the name.
"""

from math import fsum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from link import packet
from link.fields import (
    MAX_SECONDS,
    Model,
    PositiveSeconds,
    Rate,
    Ratio,
    Seconds,
    Text,
    is_none,
    is_plain,
)
from link.marks import Affects, Steers
from link.nodes import (
    NodeConfig,
    SharedMedium,
    Windows,
    check_windows,
    find_ends,
    find_widest,
    share_open,
)
from link.repair.ltp_segments import HEADER_BYTES
from link.retransmit import HopRepair, LtpRetransmit
from link.ways import MAX_HOPS as MAX_HOPS
from link.ways import MAX_KNOTS as MAX_KNOTS
from link.ways import MAX_WINDOWS as MAX_WINDOWS
from link.ways import (
    BitErrorRate,
    Budgeted,
    BudgetSteps,
    Copies,
    Jittered,
    Lossy,
    Moving,
    Outages,
    QueueConfig,
    check_steps,
)
from link.ways import Jitter as Jitter
from link.ways import Outage as Outage

_ENDS = Steers.SENDER | Steers.RECEIVER
_PACKETS = Affects.CHANNEL | Affects.PACKETS


class HopConfig(Moving):
    """One link of the path: a queue, a transmitter, losses, a propagation delay.

    With a `budget`, rate and losses are what its physics come to: `link.physics.media.come_to` says, and `resolve` of
    scenarios fills in `rate_bps`, `loss` or `bit_error_rate`, and `budget_steps`.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
    rate_bps: Annotated[Rate | None, Steers.LINK] = None
    trace: Text | None = None
    """A file of delivery opportunities in mahimahi's format, instead of a constant rate."""
    budget: Budgeted = None
    """The hop's physics, in place of a rate and of losses."""
    budget_steps: BudgetSteps = None
    """Derived from a budget whose distance changes: (from when, bit/s, error rate). `rate_bps` and the error rate of
    `loss` or `bit_error_rate` are then the means over them."""
    delay_s: Annotated[Seconds, Steers.LINK] = 0.0
    jitter: Jittered = None
    loss: Lossy = None
    bit_error_rate: BitErrorRate = 0.0
    duplicate_ratio: Copies = 0.0
    outage: Outages = None
    queue: QueueConfig = QueueConfig()
    retransmit: HopRepair | None = None
    """Whether the hop sends again by itself what was lost on it: fields of packets in sequence (COP-P), or `ltp`, which
    also has fields; None: what is lost is lost."""
    between: tuple[str, str] | None = Field(default=None, exclude_if=is_none)
    """From which of `link.nodes` to which; None: the nodes and hops are in a row."""
    contacts_s: Windows | None = Field(default=None, exclude_if=is_none)
    """When the hop is there, as its nodes know beforehand (a contact plan); None: always. They know of no outage."""

    @model_validator(mode="after")
    def _one_rate(self) -> "HopConfig":
        check_steps(self.budget, self.rate_bps, self.budget_steps)
        if self.budget is not None and self.trace is not None:
            raise ValueError("give budget or trace, one of the two")
        if self.budget is None and (self.rate_bps is None) == (self.trace is None):
            raise ValueError("give rate_bps, trace or budget, one of them")
        return self


class ReturnHop(Moving):
    """The way back, for ACKs and NAKs; lossless where nothing else is said. A `budget` is as a hop's."""

    rate_bps: Annotated[Rate | None, Steers.LINK] = None
    budget: Budgeted = None
    """The physics of the way back, in place of a rate and of losses."""
    budget_steps: BudgetSteps = None
    """Derived, as a hop's."""
    delay_s: Annotated[Seconds | None, Steers.LINK] = None
    """None: the sum of the forward delays."""
    jitter: Jittered = None
    loss: Lossy = None
    bit_error_rate: BitErrorRate = 0.0
    duplicate_ratio: Copies = 0.0
    outage: Outages = None
    queue: QueueConfig = QueueConfig()

    @property
    def known_bps(self) -> float:
        """The rate in bit/s. Raise ValueError where a budget's is not reckoned."""
        if self.rate_bps is None:
            raise ValueError("return: its budget was not reckoned (scenarios.schema.resolve)")
        return self.rate_bps

    @model_validator(mode="after")
    def _one_pace(self) -> "ReturnHop":
        check_steps(self.budget, self.rate_bps, self.budget_steps)
        if self.budget is None and self.rate_bps is None:
            raise ValueError("give rate_bps or budget, one of them")
        return self


class Repair(Model):
    """What is done about loss."""

    fec: Annotated[float, Field(ge=0.0, le=4.0), _PACKETS, _ENDS] = 0.0
    """Bytes of repair packets per byte of data packets, headers included (RaptorQ)."""
    fec_frames: Annotated[int, Field(ge=1, le=127), Affects.CHANNEL, _ENDS] = 8
    """Over how many frames at most a block of the code reaches where a frame is too small to pay for a repair packet:
    1 sends one with each frame, whatever it costs."""
    fec_spread: Annotated[int, Field(ge=1, le=127), Affects.CHANNEL] = Field(default=1, exclude_if=is_plain)
    """Over how many frames at least, so that a burst of losses is shared by so many; a hole waits as long."""
    protection: Annotated[Literal["equal", "unequal"], _PACKETS] = Field(default="equal", exclude_if=is_plain)
    """unequal: repair packets of windows over the first packets of each frame as well, split by what the codec says its
    sections are worth (`link.repair.windows`); codecs that say nothing of it are protected equally."""
    fountain: Annotated[bool, Affects.CHANNEL] = Field(default=False, exclude_if=is_plain)
    """Whether repair packets follow a frame until the next is due, whatever `fec` says beyond sizing the frame: for
    links without requests."""
    arq: Annotated[bool, Affects.CHANNEL] = False
    """Whether the receiver asks for what is missing (NAK) and confirms what is complete (ACK)."""
    arq_rounds: Annotated[int, Field(ge=1, le=32), Affects.CHANNEL, _ENDS] = 4
    """How often the receiver asks for one frame before it makes do."""
    show_early: Annotated[bool, Affects.CHANNEL, Steers.RECEIVER] = True
    """With arq: whether a picture is shown of what is there when the rest is asked for, and refined when that comes."""
    priorities: Annotated[bool, Affects.CHANNEL] = False
    """Whether the first sections of a frame travel in a higher class (needs queue.classes above 1)."""
    red: Annotated[Ratio | None, Affects.CHANNEL] = Field(default=None, exclude_if=is_none)
    """Of hops with `retransmit: ltp`: the first packets of a frame that have this share of what it is worth to its
    codec (of its packets, where that says nothing) are red, sent until they are across; the rest is green, sent once.
    None: 0.8."""

    @property
    def extra_bytes(self) -> int:
        """How much longer than data bodies repair bodies may be."""
        if not self.fec:
            return 0
        return packet.FEC_BYTES + (packet.WINDOW_BYTES if self.protection == "unequal" else 0)

    @model_validator(mode="after")
    def _coded(self) -> "Repair":
        if self.fec_spread > self.fec_frames:
            raise ValueError(f"fec_spread {self.fec_spread} is more than fec_frames {self.fec_frames}")
        for name in ("protection", "fountain"):
            if not self.fec and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} says how repair packets are sent: it needs fec above 0")
        if self.fountain and self.arq:
            raise ValueError("fountain is for links without requests: give it or arq")
        return self


class Link(Model):
    """The path from sender to receiver and back."""

    framing: Annotated[packet.Framing, _PACKETS | Affects.SYNTAX] = "compact"
    mtu_bytes: Annotated[int, Field(gt=0, le=packet.MAX_BYTES), _PACKETS] = 128
    hops: Annotated[tuple[HopConfig, ...], Field(min_length=1, max_length=MAX_HOPS), Affects.CHANNEL]
    return_: Annotated[ReturnHop | None, Affects.CHANNEL] = Field(default=None, alias="return")
    """None: a one-way link."""
    medium: Annotated[SharedMedium | None, Affects.CHANNEL] = Field(default=None, exclude_if=is_none)
    """Who else is on the channel of a hop; None: nobody."""
    nodes: Annotated[tuple[NodeConfig, ...], Field(max_length=MAX_HOPS + 1), Affects.CHANNEL] = Field(
        default=(), exclude_if=is_plain
    )
    """What is at the ends of hops and stores bundles until a contact: the first sends, the last receives. None: what is
    between hops forwards at once."""
    lifetime_s: Annotated[PositiveSeconds | None, Affects.CHANNEL] = Field(default=None, exclude_if=is_none)
    """How long after it was sent a bundle is of use to anybody: then nodes drop it. None: for ever."""
    repair: Repair = Repair()
    deadline_s: Annotated[PositiveSeconds | None, Affects.CHANNEL, _ENDS] = None
    """How long after the first packet of a frame the receiver waits for the rest; None: derived."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    @model_validator(mode="after")
    def _consistent(self) -> "Link":
        least = packet.least_mtu_bytes(self.framing, repair_bytes=self.repair.extra_bytes)
        if self.mtu_bytes < least:
            raise ValueError(
                f"mtu_bytes {self.mtu_bytes} is smaller than a packet with its header: "
                f"at least {least} with {self.framing} framing{' and fec' if self.repair.fec else ''}"
            )
        if self.repair.red is not None and not self.has_ltp:
            raise ValueError("repair.red needs a hop with retransmit: ltp")
        if self.repair.arq and self.return_ is None:
            raise ValueError("repair.arq needs a return channel: give link.return")
        ways: dict[str, HopConfig | ReturnHop] = {hop.name: hop for hop in self.hops}
        if self.return_ is not None:
            ways["return"] = self.return_
        for name, hop in ways.items():
            outage = hop.outage
            if outage is not None and outage.hold and outage.up_s is not None and hop.rate_bps is not None:
                air_s = self._air_bytes(hop) * 8 / hop.rate_bps
                if air_s > outage.up_s:
                    raise ValueError(
                        f"hop {name}: a packet of {self._air_bytes(hop)} bytes takes {air_s:.3g} s, "
                        f"longer than outage.up_s {outage.up_s:g}, and would wait for ever"
                    )
            if hop.queue.limit_bytes < self.mtu_bytes:
                raise ValueError(f"hop {name}: queue.limit_bytes is smaller than the MTU")
        if self.repair.priorities and all(hop.queue.classes == 1 for hop in self.hops):
            raise ValueError("repair.priorities needs a hop with queue.classes of 2 or more")
        self._check_network()
        delay_s = fsum(hop.delay_s for hop in self.way)
        if delay_s > MAX_SECONDS:
            raise ValueError(f"the hops' delays add up to {delay_s:.3g} s; at most {MAX_SECONDS:g} s")
        names = [hop.name for hop in self.hops]
        if len(set(names)) != len(names) or "return" in names:
            raise ValueError("hops need different names, none of them 'return'")
        self._check_medium()
        return self

    def _check_network(self) -> None:
        """Raise ValueError where nodes, and what hops say of them, do not fit together."""
        if not self.nodes:
            if self.lifetime_s is not None or any(hop.between or hop.contacts_s for hop in self.hops):
                raise ValueError("lifetime_s, and a hop's between and contacts_s, need link.nodes")
            return
        ends = self.ends
        for hop in self.hops:
            if hop.rate_bps is None:
                raise ValueError(
                    f"hop {hop.name}: a hop between nodes has a rate_bps, which routes are reckoned by"
                )
            if hop.contacts_s is not None:
                check_windows(hop.contacts_s, f"hop {hop.name}: contacts_s")
            if hop.retransmit and hop.outage and not hop.outage.hold:
                raise ValueError(
                    f"hop {hop.name}: between nodes, an outage of a hop with retransmit must hold"
                )
        if self.medium is not None and len(ends) > len(self.nodes) - 1:
            raise ValueError("medium: not with several routes")

    def _air_bytes(self, hop: HopConfig | ReturnHop) -> int:
        """Return the most that *hop* sends in one piece."""
        ltp = isinstance(hop, HopConfig) and isinstance(hop.retransmit, LtpRetransmit)
        return self.mtu_bytes + (HEADER_BYTES if ltp else 0)

    @property
    def has_ltp(self) -> bool:
        """Whether a hop sends blocks with red parts."""
        return any(isinstance(hop.retransmit, LtpRetransmit) for hop in self.hops)

    @property
    def red(self) -> float:
        """Which share of a frame is red, 0 to 1; 0 where no hop knows of that."""
        own = self.repair.red
        return 0.0 if not self.has_ltp else 0.8 if own is None else own

    @property
    def ends(self) -> list[tuple[int, int]]:
        """From which of `nodes` to which each hop leads, by number."""
        if not self.nodes:
            return [(at, at + 1) for at in range(len(self.hops))]
        return find_ends(tuple(node.name for node in self.nodes), tuple(hop.between for hop in self.hops))

    @property
    def way(self) -> tuple[HopConfig, ...]:
        """The hops that waits are reckoned by: all where they are in a row, else the route of the highest mean rate."""
        if not self.nodes:
            return self.hops
        rates = [(hop.rate_bps or 0.0) * share_open(hop.contacts_s) for hop in self.hops]
        return tuple(self.hops[at] for at in find_widest(self.ends, rates, len(self.nodes)))

    @property
    def back_delay_s(self) -> float:
        """The delay of the way back: its own, or the sum of the way's where it has none."""
        own = self.return_.delay_s if self.return_ is not None else None
        return own if own is not None else sum(hop.delay_s for hop in self.way)

    def seen_from(self, node: int) -> "Link":
        """Return the link as a sender at *node*, by number, has it: that node first, without hops that lead there.

        Raise ValueError where no hops lead from it to the last.
        """
        if node == 0:
            return self
        first = self.nodes[node]
        hops = tuple(hop for hop in self.hops if hop.between is None or hop.between[1] != first.name)
        if any(hop.between is None for hop in hops):
            raise ValueError(f"a sender at node {first.name}: say of each hop which nodes it is between")
        nodes = (first, *(one for one in self.nodes if one is not first))
        find_ends(tuple(one.name for one in nodes), tuple(hop.between for hop in hops))
        return self.model_copy(update={"nodes": nodes, "hops": hops})

    def _check_medium(self) -> None:
        """Raise ValueError where the hop that shares its channel is none, or cannot."""
        if self.medium is None:
            return
        hop = self.shared_hop
        if hop is None:
            raise ValueError(f"medium.hop: there is no hop {self.medium.hop!r}")
        for other in self._check_others(hop):
            if (other.rate_bps is None and other.budget is None) or other.retransmit or other.budget_steps:
                raise ValueError(f"medium: hop {other.name} needs a rate_bps of its own, and no retransmit")
        if (hop.rate_bps is None and hop.budget is None) or hop.retransmit is not None:
            raise ValueError(f"medium: hop {hop.name} needs a rate_bps of its own, and no retransmit")
        half = self.return_ if self.medium.duplex == "half" else None
        if hop.budget_steps is not None or (half is not None and half.budget_steps is not None):
            raise ValueError(f"medium: hop {hop.name} must keep its distance, and with half the return too")
        backoff_s = self.medium.backoff_s
        # What a budget comes to is not known until it is reckoned.
        air_s = None if hop.rate_bps is None else self.mtu_bytes * 8 / hop.rate_bps
        if backoff_s is not None and air_s is not None and backoff_s < 0.01 * air_s:
            raise ValueError(
                f"medium.backoff_s {backoff_s:g} is under a hundredth of a packet's {air_s:.3g} s"
            )
        if self.medium.duplex == "half" and self.return_ is None:
            raise ValueError("medium.duplex: half needs a return channel to share: give link.return")

    def _check_others(self, hop: HopConfig) -> tuple[HopConfig, ...]:
        """Return the hops that are on *hop*'s channel besides. Raise ValueError where one is none, or elsewhere."""
        if self.medium is None or not self.medium.hops:
            return ()
        ends = {one.name: end for one, (_, end) in zip(self.hops, self.ends, strict=True)}
        names = (hop.name, *self.medium.hops)
        if len(set(names)) != len(names):
            raise ValueError("medium.hops: each once, and not the hop whose channel it is")
        for name in self.medium.hops:
            if name not in ends:
                raise ValueError(f"medium.hops: there is no hop {name!r}")
            if ends[name] != ends[hop.name]:
                raise ValueError(f"medium.hops: {name} does not lead to where {hop.name} does")
        others = self.shared_hops[1:]
        if any(other.delay_s != hop.delay_s for other in others):
            raise ValueError(f"medium.hops: all need the delay_s of {hop.name}")
        return others

    @property
    def shared_hops(self) -> tuple[HopConfig, ...]:
        """All hops on the channel of `medium`, `shared_hop` first; empty where there is none."""
        if self.medium is None or (hop := self.shared_hop) is None:
            return ()
        by_name = {one.name: one for one in self.hops}
        return (hop, *(by_name[name] for name in self.medium.hops if name in by_name))

    @property
    def shared_hop(self) -> HopConfig | None:
        """The hop on whose channel `medium` has others; None where there is none."""
        if self.medium is None:
            return None
        wanted = self.medium.hop
        return next((hop for hop in self.hops if wanted in (None, hop.name)), None)
