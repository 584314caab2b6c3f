"""Messages between processes: a verb, a JSON object, and byte strings. No pickle, nothing executable.

peer -> link   hello   {role, wire}                link -> peer   welcome  {session, times}
               ready   {fingerprint, source}                      step     {now, packets, session?, times?} + packets
               done    {...} + packets + pictures                 bye      {error, exit_code}
               error   {exit_code, message}                       ping     {}

What pages say and hear stands in `link.pages`.

Neither side believes the other: a message is read here, by `unpack` and then the `read` of its verb's class, into
values whose types and ranges are known, or it is a ValueError in one line.
"""

import dataclasses
import json
from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from link.codecs import SYNTAXES
from link.config import Session, Task
from link.events import KINDS, VERDICTS, Event, Fate, Output
from link.records import check_event, parse_json
from link.timing import Times

MAX_PARTS = 4096
VERBS = frozenset(
    {
        b"hello",
        b"ready",
        b"done",
        b"error",
        b"welcome",
        b"step",
        b"bye",
        b"ping",
        b"news",
        b"change",
        b"pace",
        b"mark",
        b"ends",
        b"told",
    }
)
_PNG = b"\x89PNG\r\n\x1a\n"

Role = Literal["sender", "receiver", "page"]
_Ns = Annotated[int, Field(strict=True, ge=0, lt=1 << 63)]
_Count = Annotated[int, Field(strict=True, ge=0, lt=1 << 63)]
_Text = Annotated[str, Field(strict=True, max_length=1 << 16)]
_ExitCode = Annotated[int, Field(strict=True, ge=0, le=255)]
_Number = Annotated[float, Field(allow_inf_nan=False)]


def pack(verb: bytes, fields: dict[str, Any], blobs: Sequence[bytes] = ()) -> list[bytes]:
    """Return the parts of one message."""
    return [verb, json.dumps(fields).encode(), *blobs]


def unpack(parts: Sequence[bytes]) -> tuple[bytes, dict[str, Any], list[bytes]]:
    """Return (verb, fields, blobs). Raise ValueError for anything that is no message."""
    if not 2 <= len(parts) <= MAX_PARTS or parts[0] not in VERBS:
        raise ValueError("no message of farlink's")
    return parts[0], parse_json(parts[1]), list(parts[2:])


class Message(BaseModel):
    """The fields of one kind of message. What else stands beside them is of a later version, and not read."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    @classmethod
    def read(cls, fields: dict[str, Any]) -> Self:
        """Return the message of *fields*. Raise ValueError, which says what is wrong in one line."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise ValueError(_first(cls.__name__.lower(), error)) from None
        except RecursionError:
            raise ValueError(f"{cls.__name__.lower()}: nested too deep") from None


def _first(name: str, error: ValidationError) -> str:
    """Return the first thing that *error* says of the message *name*."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join([name, *map(str, found['loc'])])[:200]}: {found['msg'][:200].lower()}"


class Hello(Message):
    """An end comes."""

    role: Role
    wire: Annotated[int, Field(strict=True)]


class Ready(Message):
    """An end has loaded its models."""

    fingerprint: _Text
    source: _Text | None = None


class Failure(Message):
    """An end gives up."""

    exit_code: Annotated[_ExitCode, Field(ge=1)] = 1
    message: _Text


class Bye(Message):
    """The link ends the run; with an exit code other than 0 for *error*."""

    error: _Text | None = None
    exit_code: _ExitCode = 0


class Welcome(Message):
    """What an end is told of the run."""

    session: Session
    times: Times

    @model_validator(mode="after")
    def _known(self) -> Self:
        codec = self.session.codec
        if codec.name not in SYNTAXES:
            raise ValueError(f"there is no codec {codec.name!r} here")
        SYNTAXES[codec.name].check(codec)
        if codec.frame_bytes is None:
            raise ValueError("the session is not resolved: codec.frame_bytes is missing")
        return self


class Step(Message):
    """The time, and the numbers of the packets that arrived; the session, where it was changed since the last step."""

    now: _Ns
    packets: Annotated[list[_Count], Field(max_length=MAX_PARTS)]
    session: Session | None = None
    times: Times | None = None

    def arrivals(self, blobs: list[bytes]) -> list[tuple[int, bytes]]:
        """Return the packets with their numbers. Raise ValueError where there are not as many of both."""
        if len(blobs) != len(self.packets):
            raise ValueError(f"step: {len(self.packets)} packets are named, {len(blobs)} came")
        return list(zip(self.packets, blobs, strict=True))


class ChangeAsked(Message):
    """A page wants fields of the session changed."""

    paths: Annotated[dict[Annotated[str, Field(max_length=200)], Any], Field(max_length=64)]
    by: Annotated[str, Field(max_length=80)]
    id: _Count


class MarkAsked(Message):
    """A page wants this moment marked."""

    text: Annotated[str, Field(max_length=200)]
    by: Annotated[str, Field(max_length=80)]
    id: _Count


class EndsTold(Message):
    """How sender and receiver stand before a run begins."""

    sender: Literal["absent", "loading", "ready"]
    receiver: Literal["absent", "loading", "ready"]


class Told(Message):
    """What came of a page's wish."""

    id: _Count
    refused: _Text | None = None


class PaceAsked(Message):
    """A page wants the run's pace changed."""

    turn: Literal["pause", "resume", "event", "picture", "stop"] | None = None
    factor: _Number | None = None
    id: _Count


class _Boxes(Message):
    """What is read of the event of a finding in boxes."""

    boxes: list[tuple[_Number, _Number, _Number, _Number]]
    kinds: list[_Count]
    scores: list[_Number]
    names: list[_Text]

    @model_validator(mode="after")
    def _alike(self) -> Self:
        if not len(self.boxes) == len(self.kinds) == len(self.scores):
            raise ValueError("boxes, kinds and scores are not as many")
        if max(self.kinds, default=-1) >= len(self.names):
            raise ValueError("a kind has no name")
        return self


class _Finding(Message):
    """What is read of the event of any finding."""

    task: Task


class _Told(Message):
    """An event on its way to the link."""

    kind: _Text
    time_ns: _Ns
    frame: _Count | None
    fields: dict[str, Any]
    picture: Annotated[bool, Field(strict=True)]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if taken := {"kind", "time_ns", "frame"} & self.fields.keys():
            raise ValueError(f"the fields name {sorted(taken)[0]} once more")
        if self.kind in ("found", "not_found"):
            _Finding.model_validate(self.fields)
            if "boxes" in self.fields:
                _Boxes.model_validate(self.fields)
        return self


class NewsTold(Message):
    """What a page is told of a live session; with the bytes of its rows, packets and pictures (`link.tap`)."""

    now_ns: _Ns
    factor: _Number
    paused: bool
    jumping: Literal["event", "picture"] | None
    events: list[_Told]
    sizes: list[_Count]
    left_out: _Count


class Done(Message):
    """An end's answer to a step: how many of the byte strings are packets, the rest are pictures."""

    packets: Annotated[int, Field(strict=True, ge=0, le=MAX_PARTS)]
    events: list[_Told]
    verdicts: list[tuple[_Count, Fate]]
    next_ns: _Ns | None
    timings: Annotated[dict[_Text, Annotated[_Number, Field(ge=0.0)]], Field(max_length=64)]

    def output(self, blobs: list[bytes]) -> Output:
        """Return the output that this and *blobs* make up. Raise ValueError where they do not fit together."""
        pictures = iter(blobs[self.packets :])
        if len(blobs) != self.packets + sum(told.picture for told in self.events):
            raise ValueError(f"done: {len(blobs)} byte strings came, other than are named")
        events = [
            Event(told.kind, told.time_ns, told.frame, told.fields, next(pictures) if told.picture else None)
            for told in self.events
        ]
        verdicts = [(number, int(fate)) for number, fate in self.verdicts]
        return Output(blobs[: self.packets], events, verdicts, self.next_ns, self.timings)


def pack_output(out: Output) -> list[bytes]:
    """Return the `done` message that carries *out*."""
    pictures = [event.picture for event in out.events if event.picture is not None]
    events = [
        {**dataclasses.asdict(dataclasses.replace(event, picture=None)), "picture": event.picture is not None}
        for event in out.events
    ]
    fields = {
        "packets": len(out.packets),
        "events": events,
        "verdicts": [[number, int(fate)] for number, fate in out.verdicts],
        "next_ns": out.next_ns,
        "timings": out.timings,
    }
    return pack(b"done", fields, [*out.packets, *pictures])


def unpack_output(fields: dict[str, Any], blobs: list[bytes]) -> Output:
    """Return the output in a `done` message, the inverse of `pack_output`. Raise ValueError where it is none."""
    return Done.read(fields).output(blobs)


def check_answer(role: str, out: Output, now: int, given: Collection[int], session: Session) -> Output:
    """Return *out*, which the end that plays *role* answers to a step at *now* with the packets *given*.

    Raise ValueError for what no sender or receiver says: events of the other's, times before the step's, a packet
    without a verdict or with a second, one longer than the MTU, an event that readers of journals would refuse.
    """
    if sorted(number for number, _ in out.verdicts) != sorted(given):
        raise ValueError("done: the verdicts are not those of the packets that were given")
    if any(fate not in VERDICTS for _, fate in out.verdicts):
        raise ValueError("done: a verdict that no end gives")
    if any(not 0 < len(data) <= session.link.mtu_bytes for data in out.packets):
        raise ValueError(f"done: a packet is empty or longer than the MTU of {session.link.mtu_bytes} bytes")
    if out.next_ns is not None and out.next_ns < now:
        raise ValueError("done: the next step would be before this one")
    for event in out.events:
        if event.kind not in KINDS[role]:
            raise ValueError(f"done: a {role} says nothing like {event.kind[:40]!r}")
        if event.time_ns != now:
            raise ValueError("done: an event at another time than the step's")
        check_event({"kind": event.kind, "time_ns": event.time_ns, "frame": event.frame, **event.fields})
        if event.picture is not None and not event.picture.startswith(_PNG):
            raise ValueError("done: a picture is no PNG file")
    return out
