"""Marks on the configuration's fields: what each has a say in. Keys of caches and fingerprints are made of them.

    steps: Annotated[int, Field(ge=1), Affects.DECODING, Steers.RECEIVER] = 8

`Steers` marks those that may be changed while a run goes on. A field without a mark holds a model whose fields have
marks. Below a marked field they may have their own.
"""

from collections.abc import Iterator
from enum import Flag, auto

from pydantic import BaseModel
from pydantic.fields import FieldInfo


class Affects(Flag):
    """What a field has a say in."""

    FRAMES = auto()
    """Which pictures the camera gives, and when."""
    ENCODING = auto()
    """What the encoder makes of a picture."""
    DECODING = auto()
    """What the decoder makes of the sections that arrived."""
    SYNTAX = auto()
    """What both ends must agree on to read each other: in the fingerprint."""
    PACKETS = auto()
    """How much a packet holds, which some encoders fill."""
    CHANNEL = auto()
    """What becomes of packets, and when; when what arrived is shown."""
    FINDINGS = auto()
    """What is looked for in the pictures."""
    PLACE = auto()
    """Where a model lies: what lies there counts, not what its place is called."""
    RUNNING = auto()
    """How models run, which pictures depend on."""
    PROCESSOR = auto()
    """What computes: the kind of processor and the number format that it comes to count."""
    MACHINE = auto()
    """What each end's own machine says, not the link and not a file."""
    NOTHING = auto()
    """No result depends on it."""


class Steers(Flag):
    """Who goes on differently where a field is changed while a run goes on (`link.steering`)."""

    LINK = auto()
    """The channel, with the next packet."""
    SENDER = auto()
    """The sender, with the next frame."""
    RECEIVER = auto()
    """The receiver, with the next picture."""


def steers(field: FieldInfo) -> Steers | None:
    """Return whom *field* steers, None where it stays as it is for the whole of a run."""
    return next((item for item in field.metadata if isinstance(item, Steers)), None)


def mark_of(field: FieldInfo) -> Affects | None:
    """Return the mark of *field*, None where it has none."""
    return next((item for item in field.metadata if isinstance(item, Affects)), None)


def fields_marked(model: type[BaseModel], mark: Affects) -> frozenset[str]:
    """Return the names of the fields of *model* with *mark* among theirs."""
    return frozenset(
        name
        for name, field in model.model_fields.items()
        if (marks := mark_of(field)) is not None and mark in marks
    )


def fields_unmarked(model: type[BaseModel], mark: Affects) -> frozenset[str]:
    """Return the names of the fields of *model* without *mark*."""
    return frozenset(model.model_fields) - fields_marked(model, mark)


def values(model: BaseModel, mark: Affects) -> Iterator[tuple[str, object]]:
    """Yield (dotted path, value) of all fields with *mark*, those of the models within *model* included."""
    for name, field in type(model).model_fields.items():
        value, marks = getattr(model, name), mark_of(field)
        if marks is not None and mark in marks:
            yield name, value
        elif marks is None and isinstance(value, BaseModel):
            yield from ((f"{name}.{path}", item) for path, item in values(value, mark))
