"""How a hop repairs its own losses: packets in sequence, or blocks with a red part (LTP)."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from link import packet
from link.channel.loss import Loss
from link.fields import Model, Rate


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


class LtpRetransmit(Model):
    """Repair on a hop by the Licklider Transmission Protocol (RFC 5326): `link.channel.ltp_hop`.

    Packets that wait together are a block, those of `repair.red` its red part. How often something is sent follows from
    the loss, how long an answer is waited for from the hop's delay and from what is known of its outages.
    """

    protocol: Literal["ltp"]
    block_bytes: Annotated[int, Field(gt=0, le=1 << 24)] = 1 << 16
    """Of packets in a block at most; one that is longer is a block of its own."""
    report_rate_bps: Rate | None = None
    """Of the way back of this hop; None: the hop's own."""
    loss: Loss | None = None
    """Of reports and whatever else goes back."""


def _spell(given: object) -> object:
    return {"protocol": given} if isinstance(given, str) else given


def _tell(given: Any) -> str:
    protocol = given.get("protocol") if isinstance(given, Mapping) else getattr(given, "protocol", None)
    return Retransmit.__name__ if protocol is None else LtpRetransmit.__name__


HopRepair = Annotated[
    Annotated[Retransmit, Tag(Retransmit.__name__)] | Annotated[LtpRetransmit, Tag(LtpRetransmit.__name__)],
    Discriminator(_tell),
    BeforeValidator(_spell),
]
"""`ltp`, or the fields of one of the two."""
HOP_REPAIRS = (Retransmit.__name__, LtpRetransmit.__name__)
"""What errors call the two."""
