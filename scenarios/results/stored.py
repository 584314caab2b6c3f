"""A run out of its journal, checked: what figures, reports and listings rely on, beyond the records' own types.

`link.journal.read` vouches for each record, and this for the scenario in the first one and for how records belong
together. A journal of another version may say more than this one knows; what it leaves out that readers need, or says
in another form, ends in one line.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from link import fragment, journal, packet, png
from link.config import MOST_SIDE
from link.events import BIRTHS, Fate
from link.journal import Run
from link.packet import Kind
from link.records import Recorded, Text, check, refusing
from link.repair import arq

_MOST_HOPS = 10_000
_Seconds = Annotated[float, Field(ge=0.0, le=1e8)]
_Share = Annotated[float, Field(ge=0.0, le=1.0)]
_Rate = Annotated[float, Field(gt=0.0, le=1e12)]
_Side = Annotated[int, Field(ge=1, le=MOST_SIDE)]


class _CameraRecord(Recorded):
    source: Text
    width: _Side
    height: _Side
    period_s: _Seconds | None = None


class _CodecRecord(Recorded):
    name: Text
    profile: Text
    caption: Text
    channels: Annotated[int, Field(ge=0, le=4096)]
    frame_bytes: Annotated[int, Field(gt=0, lt=1 << 63)] | None = None


class _JitterRecord(Recorded):
    model: Text
    scale_s: _Seconds


class _OutageRecord(Recorded):
    hold: bool
    random: bool = False
    up_s: _Seconds | None = None
    down_s: _Seconds | None = None
    windows_s: list[Annotated[list[_Seconds], Field(min_length=2, max_length=2)]] = Field(default=[])

    @model_validator(mode="after")
    def _in_turn(self) -> "_OutageRecord":
        if bool(self.up_s) != bool(self.down_s):
            raise ValueError("up_s and down_s go together")
        return self


class _RetransmitRecord(Recorded):
    tries: Annotated[int | None, Field(ge=0, lt=1 << 31)] = None
    protocol: Text | None = None

    @model_validator(mode="after")
    def _some_kind(self) -> "_RetransmitRecord":
        if (self.tries is None) == (self.protocol is None):
            raise ValueError("retransmit has tries or a protocol")
        return self


class _WayRecord(Recorded):
    rate_bps: _Rate | None = None
    jitter: _JitterRecord | None = None
    loss: dict[str, Any] | None = None
    bit_error_rate: _Share = 0.0
    duplicate_ratio: _Share = 0.0
    outage: _OutageRecord | None = None
    retransmit: _RetransmitRecord | None = None


class _HopRecord(_WayRecord):
    name: Text
    delay_s: _Seconds = 0.0
    trace: Text | None = None

    @model_validator(mode="after")
    def _has_pace(self) -> "_HopRecord":
        if self.rate_bps is None and not self.trace:
            raise ValueError("neither rate_bps nor trace")
        return self


class _ReturnRecord(_WayRecord):
    rate_bps: _Rate
    delay_s: _Seconds | None = None


class _RepairRecord(Recorded):
    fec: Annotated[float, Field(ge=0.0, le=1e3)]
    arq: bool
    arq_rounds: Annotated[int, Field(ge=0, lt=1 << 31)]
    priorities: bool
    show_early: bool = False


class _LinkRecord(Recorded):
    framing: packet.Framing
    mtu_bytes: Annotated[int, Field(gt=0, le=packet.MAX_BYTES)]
    hops: Annotated[list[_HopRecord], Field(min_length=1, max_length=_MOST_HOPS)]
    return_: _ReturnRecord | None = Field(default=None, alias="return")
    repair: _RepairRecord


class _SenderRecord(Recorded):
    name: Text
    source: Text | None = None
    node: Text | None = None


class _ScenarioRecord(Recorded):
    name: Text
    title: Text | None = None
    seed: Annotated[int, Field(ge=0, lt=1 << 64)]
    camera: _CameraRecord
    senders: Annotated[list[_SenderRecord], Field(max_length=64)] = Field(default=[])
    codec: _CodecRecord
    link: _LinkRecord
    profile: dict[str, Any] = Field(default={})
    analysis: Annotated[list[Text], Field(max_length=16)] = Field(default=[])


class _SidesRecord(Recorded):
    width: _Side
    height: _Side


class _HeadRecord(Recorded):
    scenario: _ScenarioRecord
    coded_size: _SidesRecord | None = None
    versions: dict[str, Text] = Field(default={})
    fingerprint: Text | None = None


def open_run(path: Path, *, pictures: bool = True) -> Run:
    """Read the journal at *path*, and check what it says.

    Raise UsageError where it is none of farlink's, or one that this version cannot read, with what is wrong.
    """
    run = journal.read(path, pictures=pictures)
    with refusing(path):
        check(_HeadRecord, run.head, "the first record")
        _check_rows(run)
        _check_packets(run)
        _check_frames(run)
        _check_pictures(run)
    return run


def _check_rows(run: Run) -> None:
    numbers, hops = run.rows[:, 1], run.rows[:, 3]
    count = len(run.head["scenario"]["link"]["hops"])
    if len(hops) and not (hops.min() >= -1 and hops.max() < count):
        raise ValueError(f"rows of hops {hops.min()} to {hops.max()}; the scenario has {count}")
    born, times = np.unique(numbers[np.isin(run.rows[:, 2], BIRTHS)], return_counts=True)
    if (times > 1).any():
        raise ValueError(f"packet {born[times > 1][0]} is sent more than once under one number")
    unborn = ~np.isin(numbers, born)
    if unborn.any():
        raise ValueError(f"packet {numbers[unborn][0]} has a fate and was never sent")


def _check_packets(run: Run) -> None:
    """Raise ValueError for a packet of the ends that is none, or whose body is not what its kind's is."""
    framing = run.head["scenario"]["link"]["framing"]
    for number in run.rows[run.rows[:, 2] == Fate.SENT, 1].tolist():
        try:
            parsed = packet.peek(packet.unwrap(run.data[number], framing))
            if parsed.kind == Kind.DATA:
                fragment.sizes(parsed.body, last=parsed.last)
            elif parsed.kind == Kind.FEEDBACK:
                arq.parse(parsed.body)
        except ValueError as error:
            raise ValueError(f"packet {number}: {error}") from None


def _check_frames(run: Run) -> None:
    captured = {event["frame"] for event in run.events if event["kind"] == "captured"}
    for event in run.events:
        if event["kind"] == "encoded" and event["frame"] not in captured:
            raise ValueError(f"frame {event['frame']} was encoded and never captured")


def _check_pictures(run: Run) -> None:
    for side, held in run.pictures.items():
        for frame, picture in held.items():
            try:
                png.decode(picture)
            except Exception:  # Pillow's reader raises a dozen types for damaged files
                raise ValueError(f"the {side} picture of frame {frame} is damaged") from None
