"""The part of a scenario that says who shares a hop's channel, and where packets are kept between contacts."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from link.fields import Model, PositiveSeconds, Seconds

MAX_SENDERS = 1000
"""On one channel: each costs an event a packet of ours."""


def is_none(value: object) -> bool:
    """Whether a field is not given: then it is not written either, so that files and journals without it stay equal."""
    return value is None


def is_empty(value: object) -> bool:
    """The same of a list."""
    return not value


class SharedMedium(Model):
    """A channel that senders share with a hop: who may send when, and what comes through (`link.channel.medium`)."""

    hop: Annotated[str, Field(max_length=64)] | None = None
    """Which hop's; None: the first one's."""
    access: Literal["aloha", "slotted", "csma"] = "aloha"
    """aloha: at once; slotted: at the next slot; csma: at once where nobody is heard, else some time later (non-persistent
    carrier sense)."""
    senders: Annotated[int, Field(ge=1, le=MAX_SENDERS)] = 1
    """How many there are, this one included. The others send what this one sends, up to `spread_s` later."""
    spread_s: PositiveSeconds | None = None
    """Over how long the others' packets spread, usually the camera's period; drawn anew for each."""
    duty_cycle: Annotated[float, Field(gt=1e-6, le=1.0)] = 1.0
    """Share of time, 0 to 1, that each may send: a transmission of T seconds is followed by T (1 / duty_cycle - 1) of
    silence."""
    slot_s: PositiveSeconds | None = None
    """Of `slotted`; None: a packet of a full MTU."""
    backoff_s: PositiveSeconds | None = None
    """Of `csma`: the mean wait before it listens again; None: a packet of a full MTU."""
    capture_db: Annotated[float, Field(ge=0.0, le=100.0)] | None = None
    """How much stronger than each other that it overlaps with a packet must be to be received; None: none ever is."""
    power_spread_db: Annotated[float, Field(ge=0.0, le=40.0)] = 0.0
    """Standard deviation of packets' power at the receiver (log-normal shadowing)."""
    duplex: Literal["full", "half"] = "full"
    """half: the return channel is this one too, and who sends is deaf."""
    turnaround_s: Seconds = 0.0
    """How long before and after it sends a node is deaf, with `half`."""

    @model_validator(mode="after")
    def _whole(self) -> "SharedMedium":
        if self.senders > 1 and self.spread_s is None:
            raise ValueError("senders above 1 need spread_s: over how long the others' packets spread")
        if self.turnaround_s and self.duplex == "full":
            raise ValueError("turnaround_s belongs to duplex: half")
        return self
