"""The part of a scenario that says what packets cross: hops in a row, the way back, what is done about loss.

Frozen; unknown keys are refused. Numbers carry their unit in the name.
"""

from math import fsum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from link import packet
from link.channel.loss import Loss
from link.fields import MAX_SECONDS, Bytes, Model, PositiveSeconds, Rate, Ratio, Seconds, Text
from link.marks import Affects, Steers

MAX_HOPS = 64
"""Each costs memory and an event a packet; no path in use has ten."""
MAX_WINDOWS = 5000
"""Of an outage: a pass an orbit for a year."""

_ENDS = Steers.SENDER | Steers.RECEIVER
_PACKETS = Affects.CHANNEL | Affects.PACKETS


class Jitter(Model):
    """Extra random delay per packet."""

    model: Literal["uniform", "normal", "exponential", "pareto"] = "uniform"
    scale_s: Annotated[float, Field(gt=0.0, le=3600.0)]
    """uniform: 0 to scale; normal: half-normal of this deviation; exponential, pareto (shape 3): this mean."""
    reorder: bool = False
    """Whether a later packet may overtake an earlier one."""


_OutageSeconds = Annotated[float, Field(ge=1e-3, le=MAX_SECONDS)]
"""What is down for less than a millisecond loses single packets: that is what loss models are for."""


class Outage(Model):
    """Times when the hop is down: a list of windows, or on and off in turn."""

    windows_s: Annotated[tuple[tuple[Seconds, Seconds], ...], Field(max_length=MAX_WINDOWS)] = ()
    """(start, end) pairs in seconds of run time."""
    up_s: _OutageSeconds | None = None
    down_s: _OutageSeconds | None = None
    random: bool = False
    """Whether up_s and down_s are means of exponential times rather than fixed."""
    hold: bool = False
    """Whether packets wait for the end (a contact plan) rather than being lost (a blackout)."""

    @model_validator(mode="after")
    def _one_kind(self) -> "Outage":
        if (self.up_s is None) != (self.down_s is None):
            raise ValueError("up_s and down_s go together")
        last = 0.0
        for start, end in self.windows_s:
            if start < last or end <= start:
                raise ValueError("windows_s must be in order, each ending after its start")
            last = end
        if self.windows_s and self.up_s is not None:
            raise ValueError("give windows_s or up_s with down_s, not both")
        return self

    @property
    def share_up(self) -> float:
        """The mean share of time, 0 to 1, that a regular outage leaves; 1 for given windows, which are known gaps."""
        if self.up_s is None or self.down_s is None:
            return 1.0
        return self.up_s / (self.up_s + self.down_s)


class QueueConfig(Model):
    """The drop-tail queue in front of a hop's transmitter."""

    limit_bytes: Bytes = 1 << 20
    classes: Annotated[int, Field(ge=1, le=4)] = 1
    """Priority classes served strictly in order; 1: first in, first out."""


class Retransmit(Model):
    """Repair on a hop alone: packets in sequence, go back N, as the COP-P of Proximity-1 (`link.channel.sequenced`).

    How long to wait for a report follows from the hop's own delay.
    """

    tries: Annotated[int, Field(ge=2, le=64)] = 16
    """How often a packet is sent at most before it is given up."""
    window: Annotated[int, Field(ge=1, le=127)] = 127
    """How many packets may be unconfirmed; COP-P numbers them by eight bits."""
    report_bytes: Annotated[int, Field(gt=0, le=packet.MAX_BYTES)] = 14
    """A report on the air: Proximity-1's 2 bytes in a transfer frame with marker and checksum."""
    report_rate_bps: Rate | None = None
    """Of the way back of this hop; None: the hop's own."""
    loss: Loss | None = None
    """Of reports."""


class HopConfig(Model):
    """One link of the path: a queue, a transmitter, losses, a propagation delay."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
    rate_bps: Annotated[Rate | None, Steers.LINK] = None
    trace: Text | None = None
    """A file of delivery opportunities in mahimahi's format, instead of a constant rate."""
    delay_s: Annotated[Seconds, Steers.LINK] = 0.0
    jitter: Annotated[Jitter | None, Steers.LINK] = None
    loss: Annotated[Loss | None, Steers.LINK] = None
    bit_error_rate: Annotated[float, Field(ge=0.0, le=0.5), Steers.LINK] = 0.0
    duplicate_ratio: Annotated[Ratio, Steers.LINK] = 0.0
    outage: Annotated[Outage | None, Steers.LINK] = None
    queue: QueueConfig = QueueConfig()
    retransmit: Retransmit | None = None
    """Whether the hop sends again by itself what was lost on it; None: what is lost is lost."""

    @model_validator(mode="after")
    def _one_rate(self) -> "HopConfig":
        if (self.rate_bps is None) == (self.trace is None):
            raise ValueError("give rate_bps or trace, one of the two")
        return self


class ReturnHop(Model):
    """The way back, for ACKs and NAKs; lossless where nothing else is said."""

    rate_bps: Annotated[Rate, Steers.LINK]
    delay_s: Annotated[Seconds | None, Steers.LINK] = None
    """None: the sum of the forward delays."""
    jitter: Annotated[Jitter | None, Steers.LINK] = None
    loss: Annotated[Loss | None, Steers.LINK] = None
    bit_error_rate: Annotated[float, Field(ge=0.0, le=0.5), Steers.LINK] = 0.0
    duplicate_ratio: Annotated[Ratio, Steers.LINK] = 0.0
    outage: Annotated[Outage | None, Steers.LINK] = None
    queue: QueueConfig = QueueConfig()


_LATER = ("fec_spread", "protection", "fountain")


class Repair(Model):
    """What is done about loss."""

    fec: Annotated[float, Field(ge=0.0, le=4.0), _PACKETS, _ENDS] = 0.0
    """Bytes of repair packets per byte of data packets, headers included (RaptorQ)."""
    fec_frames: Annotated[int, Field(ge=1, le=127), Affects.CHANNEL, _ENDS] = 8
    """Over how many frames at most a block of the code reaches where a frame is too small to pay for a repair packet:
    1 sends one with each frame, whatever it costs."""
    fec_spread: Annotated[int, Field(ge=1, le=127), Affects.CHANNEL] = 1
    """Over how many frames at least, so that a burst of losses is shared by so many; a hole waits as long."""
    protection: Annotated[Literal["equal", "unequal"], _PACKETS] = "equal"
    """unequal: repair packets of windows over the first packets of each frame as well, split by what the codec says its
    sections are worth (`link.repair.windows`); codecs that say nothing of it are protected equally."""
    fountain: Annotated[bool, Affects.CHANNEL] = False
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

    @property
    def extra_bytes(self) -> int:
        """How much longer than data bodies repair bodies may be."""
        if not self.fec:
            return 0
        return packet.FEC_BYTES + (packet.WINDOW_BYTES if self.protection == "unequal" else 0)

    @model_serializer(mode="wrap")
    def _without_unused(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what came later and is not used, so that what is written of older scenarios stays as it was."""
        tree: dict[str, Any] = write(self)
        unused = (name for name in _LATER if getattr(self, name) == type(self).model_fields[name].default)
        for name in unused:
            tree.pop(name, None)
        return tree

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

    framing: Annotated[Literal["compact", "ccsds"], _PACKETS | Affects.SYNTAX] = "compact"
    mtu_bytes: Annotated[int, Field(gt=0, le=packet.MAX_BYTES), _PACKETS] = 128
    hops: Annotated[tuple[HopConfig, ...], Field(min_length=1, max_length=MAX_HOPS), Affects.CHANNEL]
    return_: Annotated[ReturnHop | None, Affects.CHANNEL] = Field(default=None, alias="return")
    """None: a one-way link."""
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
        if self.repair.arq and self.return_ is None:
            raise ValueError("repair.arq needs a return channel: give link.return")
        ways: dict[str, HopConfig | ReturnHop] = {hop.name: hop for hop in self.hops}
        if self.return_ is not None:
            ways["return"] = self.return_
        for name, hop in ways.items():
            outage = hop.outage
            if outage is not None and outage.hold and outage.up_s is not None and hop.rate_bps is not None:
                air_s = self.mtu_bytes * 8 / hop.rate_bps
                if air_s > outage.up_s:
                    raise ValueError(
                        f"hop {name}: a packet of {self.mtu_bytes} bytes takes {air_s:.3g} s, "
                        f"longer than outage.up_s {outage.up_s:g}, and would wait for ever"
                    )
            if hop.queue.limit_bytes < self.mtu_bytes:
                raise ValueError(f"hop {name}: queue.limit_bytes is smaller than the MTU")
        if self.repair.priorities and all(hop.queue.classes == 1 for hop in self.hops):
            raise ValueError("repair.priorities needs a hop with queue.classes of 2 or more")
        delay_s = fsum(hop.delay_s for hop in self.hops)
        if delay_s > MAX_SECONDS:
            raise ValueError(f"the hops' delays add up to {delay_s:.3g} s; at most {MAX_SECONDS:g} s")
        names = [hop.name for hop in self.hops]
        if len(set(names)) != len(names) or "return" in names:
            raise ValueError("hops need different names, none of them 'return'")
        return self
