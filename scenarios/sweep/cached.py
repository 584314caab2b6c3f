"""Camera, encoder and decoder of a run with caches in front: each makes what it is asked for once on a machine.

Nothing is loaded before it is needed, so a cell whose payloads and pictures are all known loads no model. On a
CPU pictures are drawn one by one, as in every other run: batches win a tenth there (0.56 s a picture, 0.50 s in
batches of 4 to 9, tiny models, one thread) and change the pictures. On a GPU a first pass over the cell, which shows
nothing and writes nothing, finds out what will arrive, and this is drawn in batches.
"""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from link import png
from link.codecs import SYNTAXES
from link.config import Session
from link.frame import Frame, Payload, Pixels
from receiver.codecs import DECODERS
from scenarios.run import Ends
from scenarios.sweep import stamps
from scenarios.sweep.caches import Shelf, Store
from sender.camera import Shot, Skipped, open_source
from sender.codecs import ENCODERS
from sender.encoder import Quality

_KEPT_MODELS = 4
"""Encoders, decoders and analysts of as many sessions are kept loaded by a worker, the last ones used."""


@dataclass
class Workbench:
    """What a worker keeps from cell to cell."""

    store: Store
    loaded: dict[tuple[str, str], Any] = field(default_factory=dict)

    def shelf(self, kind: str, base: str) -> Shelf:
        """Return the entries of *kind* that depend on *base*, a stamp."""
        return Shelf(self.store, kind, base)

    def load(self, what: str, stamp: str, make: Callable[[], Any]) -> Any:
        """Return what *make* makes, or has made before for the same *stamp*."""
        tool = self.loaded.pop((what, stamp), None)
        if tool is None:
            tool = make()
        self.loaded[what, stamp] = tool
        same = [key for key in self.loaded if key[0] == what]
        for key in same[:-_KEPT_MODELS]:
            del self.loaded[key]
        return tool


class CachedShots:
    """The camera's frames, read or rendered at most once. Iterate it once."""

    def __init__(self, session: Session, shelf: Shelf) -> None:
        self._session, self._shelf = session, shelf
        self._source: Iterator[Shot | Skipped] | None = None
        self._at = self._read = 0

    def __iter__(self) -> "CachedShots":
        return self

    def __next__(self) -> Shot | Skipped:
        number = self._at
        self._at += 1
        kept = self._shelf.get(str(number))
        item = None if kept is None else _unpack_shot(kept)
        if kept is None:
            item = self._make(number)
            self._shelf.put(str(number), _pack_shot(item))
        if item is None:
            raise StopIteration
        return item

    def _make(self, number: int) -> Shot | Skipped | None:
        if self._source is None:
            self._source = open_source(self._session.camera, seed=self._session.seed)
        while self._read < number:
            next(self._source, None)
            self._read += 1
        self._read += 1
        return next(self._source, None)


def _pack_shot(item: Shot | Skipped | None) -> bytes:
    if item is None:
        return b"null\n"
    if isinstance(item, Skipped):
        return json.dumps({"name": item.name, "reason": item.reason}).encode() + b"\n"
    about = {"name": item.name, "pts_ns": item.pts_ns, "fitted": item.fitted}
    return json.dumps(about).encode() + b"\n" + png.encode(item.pixels)


def _unpack_shot(data: bytes) -> Shot | Skipped | None:
    head, _, picture = data.partition(b"\n")
    about = json.loads(head)
    if about is None:
        return None
    if "reason" in about:
        return Skipped(about["name"], about["reason"])
    return Shot(about["name"], png.decode(picture), about["pts_ns"], about["fitted"])


class CachedEncoder:
    """An encoder whose payloads are known by the frame's pixels."""

    def __init__(self, make: Callable[[], Any], shelf: Shelf) -> None:
        self._make, self._shelf = make, shelf

    def encode(self, frame: Frame) -> Payload:
        """Return the sections of *frame*. Raise what the encoder raises."""
        return self._known(frame, "", lambda encoder: encoder.encode(frame))

    def _known(self, frame: Frame, how: str, encode: Callable[[Any], Payload]) -> Payload:
        key = stamps.digest(frame.pixels.shape, frame.pixels.tobytes(), how)
        kept = self._shelf.get(key)
        if kept is not None:
            return unpack_payload(kept)
        payload = encode(self._make())
        self._shelf.put(key, pack_payload(payload))
        return payload


class CachedAdjustableEncoder(CachedEncoder):
    """The same for an encoder that rate control adjusts frame by frame."""

    def encode_at(self, frame: Frame, quality: Quality) -> Payload:
        """Return the sections of *frame* with at most *quality* of it."""
        how = f"{quality.channels} {quality.words}"
        return self._known(frame, how, lambda encoder: encoder.encode_at(frame, quality))


class CachedWeighedEncoder(CachedAdjustableEncoder):
    """The same for one that knows what its sections are worth, which *worths* reads without its models."""

    def __init__(
        self,
        make: Callable[[], Any],
        shelf: Shelf,
        worths: Callable[[], Callable[[int], tuple[float, ...]]],
    ) -> None:
        super().__init__(make, shelf)
        self._read = worths
        self._worths: Callable[[int], tuple[float, ...]] | None = None

    def gains(self, sections: int) -> tuple[float, ...]:
        """See `sender.encoder.Weighed`. Raise what reading its table raises."""
        if self._worths is None:
            self._worths = self._read()
        return self._worths(sections)


def pack_payload(payload: Payload) -> bytes:
    """Return *payload* as bytes: the sections' lengths, None for lost ones, and the sections."""
    lengths = [None if section is None else len(section) for section in payload.sections]
    whole = b"".join(section for section in payload.sections if section is not None)
    return json.dumps(lengths).encode() + b"\n" + whole


def unpack_payload(data: bytes) -> Payload:
    """Undo `pack_payload`."""
    head, _, whole = data.partition(b"\n")
    rest = io.BytesIO(whole)
    return Payload(tuple(None if size is None else rest.read(size) for size in json.loads(head)))


class CachedDecoder:
    """A decoder whose pictures are known by the sections that arrived.

    A *batched* one draws all pictures by `decode_many`, in batches of one size, whether one is missing or many:
    pictures depend on the size of a batch, by 3 of 255 at most, and on nothing else in it.
    """

    def __init__(self, make: Callable[[], Any], shelf: Shelf, batched: bool = False) -> None:
        self._make, self._shelf, self.batched = make, shelf, batched

    def decode(self, payload: Payload) -> Pixels | None:
        """Return the picture, or None where nothing can be shown."""
        sections = pack_payload(payload)
        kept = self._shelf.get(stamps.digest(sections))
        if kept is not None:
            return png.decode(kept) if kept else None
        return self.decode_all([payload])[0]

    def decode_all(self, payloads: list[Payload]) -> list[Pixels | None]:
        """Return the picture of each of *payloads*, none of them drawn from what is kept."""
        pictures: list[Pixels | None] = self._decode(payloads)
        for payload, picture in zip(payloads, pictures, strict=True):
            encoded = b"" if picture is None else png.encode(picture)
            self._shelf.put(stamps.digest(pack_payload(payload)), encoded)
        return pictures

    def _decode(self, payloads: list[Payload]) -> list[Pixels | None]:
        decoder = self._make()
        if self.batched:
            pictures: list[Pixels | None] = decoder.decode_many(payloads)
            return pictures
        return [decoder.decode(payload) for payload in payloads]

    def missing(self, payloads: list[Payload]) -> list[Payload]:
        """Return those of *payloads* whose pictures are not known, each once."""
        fresh = {pack_payload(payload): payload for payload in payloads}
        return [item for data, item in fresh.items() if self._shelf.get(stamps.digest(data)) is None]


class Recorder:
    """A decoder for the first pass: keeps what arrived and shows nothing."""

    def __init__(self) -> None:
        self.payloads: list[Payload] = []

    def decode(self, payload: Payload) -> None:
        """Keep *payload*."""
        self.payloads.append(payload)


class Blind:
    """An analyst for the first pass: finds nothing."""

    def look(self, _pixels: Pixels) -> list[Any]:
        """Return no findings."""
        return []


def ends(session: Session, bench: Workbench) -> Ends:
    """Return the parts of a run of *session* with the caches of *bench* in front."""
    coding, decoding = stamps.encoding(session), stamps.decoding(session)
    name, profile = session.codec.name, session.profile
    syntax = SYNTAXES[name]

    def make_encoder() -> Any:
        return bench.load("encoder", coding, lambda: ENCODERS[name](session))

    def make_decoder() -> Any:
        return bench.load("decoder", decoding, lambda: DECODERS[name](session))

    encoder: Any
    if not syntax.repeatable(session):
        encoder = make_encoder()
    elif (worths := ENCODERS[name].worths) is not None:
        encoder = CachedWeighedEncoder(
            make_encoder, bench.shelf("payloads", coding), partial(worths, session)
        )
    else:
        kind = CachedAdjustableEncoder if syntax.facts.adjustable else CachedEncoder
        encoder = kind(make_encoder, bench.shelf("payloads", coding))
    decoder: Any
    if syntax.stateful(session):
        decoder = DECODERS[name](session)
    else:
        on_gpu = syntax.facts.neural and not stamps.processor(profile.device, profile.dtype).startswith("cpu")
        batched = on_gpu and syntax.batched(session)
        decoder = CachedDecoder(make_decoder, bench.shelf("pictures", decoding), batched)
    shots = CachedShots(session, bench.shelf("shots", stamps.shots(session)))
    return Ends(shots, encoder, decoder, _analyst(session, bench))


def _analyst(session: Session, bench: Workbench) -> Any:
    if not session.analysis or DECODERS[session.codec.name].onlooker is not None:
        return None
    from link.analysis.analyst import Analyst

    stamp = stamps.analysing(session)
    who = stamps.digest(stamp, stamps.analysis_models(session), session.profile.device)
    return bench.load("analyst", who, lambda: Analyst.from_session(session, bench.shelf("findings", stamp)))
