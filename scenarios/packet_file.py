"""A file of packets: what `farlink encode` writes and `farlink decode` reads.

bytes 0-3   b"FLNK"
bytes 4-7   length of the JSON that follows (big-endian): the session and its fingerprint
then, for each packet: two bytes of length, and the packet as it would go on the air
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from PIL import Image
from pydantic import Field

from link import fragment, packet
from link.codecs import SYNTAXES
from link.config import LEAST_SIDE, MOST_SIDE, Session
from link.errors import FingerprintError, PartialError, StorageError, UsageError
from link.files import read_within
from link.fingerprint import fingerprint, short
from link.frame import Frame
from link.marks import Affects, fields_marked
from link.packet import MAX_PACKETS, Kind, Packet
from link.records import Recorded, Text, check, parse_json
from link.timing import body_bytes
from scenarios.schema import with_local_models

_MAGIC = b"FLNK"
_MAX_BYTES = 64 << 20
_MAX_PACKETS = 4 * MAX_PACKETS
MOST_PIXELS = 16_000_000
"""Of the picture that a file may ask for, where nobody allowed it more: a few bytes are enough to ask for any size."""
_LOCAL = fields_marked(Session, Affects.MACHINE)  # which models load is not a file's to say


@dataclass(frozen=True)
class Encoded:
    """What `encode` made."""

    payload_bytes: int
    packets: int
    fitted: str
    """How the picture became the camera's: `as is`, `4000x3000 -> 2000x1500`."""
    coded_size: tuple[int, int]
    """Width and height at which it was coded; the decoder scales it back to the camera's."""


def own_size(source: str) -> tuple[int, int] | None:
    """Return the size of the picture *source*, within the camera's limits; None for sources of any other kind.

    Raise UsageError where it is a picture that cannot be used.
    """
    from sender.camera.picture import PictureError, is_picture, size_of

    path = Path(source)
    try:
        if not path.is_file() or not is_picture(path):
            return None
        size = size_of(path)
    except OSError:  # no name that a file can have: opening it says what is wrong
        return None
    except PictureError as error:
        raise UsageError(f"{source}: {error}") from None
    shrink = min(1.0, MOST_SIDE / max(size))
    width, height = (min(MOST_SIDE, max(LEAST_SIDE, round(side * shrink))) for side in size)
    return width, height


def encode(session: Session, out: Path) -> Encoded:
    """Encode the first frame of the session's source into *out*; return what was made.

    Raise UsageError where there is no picture or it does not fit, StorageError where *out* cannot be written.
    """
    from sender.camera import Shot, open_source
    from sender.codecs import ENCODERS

    shot = next(open_source(session.camera, seed=session.seed), None)
    if not isinstance(shot, Shot):
        raise UsageError(f"{session.camera.source}: {shot.reason if shot else 'no picture'}")
    payload = ENCODERS[session.codec.name](session).encode(Frame(0, 0, shot.pixels, shot.name))
    bodies = fragment.fragment(
        [section for section in payload.sections if section is not None], body_bytes(session.link), 0
    )
    own = fingerprint(session)
    about = json.dumps(
        {
            "session": session.model_dump(mode="json", by_alias=True, exclude=set(_LOCAL)),
            "fingerprint": own,
            "sections": len(payload.sections),
        }
    ).encode()
    blob = _MAGIC + len(about).to_bytes(4, "big") + about
    for index, body in enumerate(bodies):
        data = Packet(Kind.DATA, 0, index, body, 0, index == len(bodies) - 1).pack(short(own))
        blob += len(data).to_bytes(2, "big") + data
    try:
        out.write_bytes(blob)
    except OSError as error:
        raise StorageError(f"cannot write {out}: {error.strerror}") from error
    coded = SYNTAXES[session.codec.name].coded_size(session)
    return Encoded(payload.size_bytes, len(bodies), shot.fitted, coded)


class _PacketFileHead(Recorded):
    session: dict[str, Any]
    fingerprint: Text
    sections: Annotated[int, Field(ge=0, le=fragment.MAX_SECTIONS)]


def _read_head(file: Path, blob: bytes, settings: Sequence[str]) -> tuple[Session, str, int, int]:
    """Return session, fingerprint and number of sections that *blob* names, and where its packets begin."""
    length = int.from_bytes(blob[4:8], "big")
    if blob[:4] != _MAGIC or len(blob) < 8 + length:
        raise UsageError(f"{file}: not a file of `farlink encode`")
    try:
        about = parse_json(blob[8 : 8 + length])
        check(_PacketFileHead, about, "its head")
        session = Session.model_validate(about["session"])
        defaults = {name: Session.model_fields[name].get_default() for name in _LOCAL}
        session = session.model_copy(update=defaults)
        if session.codec.name not in SYNTAXES:
            raise ValueError("of another version's codec")
        SYNTAXES[session.codec.name].check(session.codec)
    except ValueError:
        raise UsageError(f"{file}: its head is damaged") from None
    return with_local_models(session, settings), about["fingerprint"], about["sections"], 8 + length


def decode(
    file: Path, out: Path, settings: Sequence[str] = (), most_pixels: int = MOST_PIXELS
) -> tuple[int, int]:
    """Decode *file* into the picture *out*; return (sections at hand, sections).

    *settings* are `profile.KEY=VALUE`: this machine's models, of which the file says nothing.
    Raise UsageError where it is no such file or asks for a picture of over *most_pixels*, PartialError where nothing
    can be shown, FingerprintError where it was made with other tables.
    """
    from receiver.codecs import DECODERS

    blob = read_within(file, _MAX_BYTES)
    session, theirs, total, at = _read_head(file, blob, settings)
    try:
        own = fingerprint(session)
    except ValueError:
        raise UsageError(f"{file}: its head is damaged") from None
    width, height = session.camera.width, session.camera.height
    if width * height > most_pixels:
        raise UsageError(
            f"{file}: asks for a picture of {width}x{height}; at most {most_pixels} pixels are drawn: "
            f"--most-pixels {width * height} allows it"
        )
    if own != theirs:
        raise FingerprintError(own, theirs, where="decoder")
    decoder = DECODERS[session.codec.name](session)
    bodies: dict[int, bytes] = {}
    count = None
    for _ in range(_MAX_PACKETS):
        if at + 2 > len(blob):
            break
        size = int.from_bytes(blob[at : at + 2], "big")
        data, at = blob[at + 2 : at + 2 + size], at + 2 + size
        try:
            parsed = packet.parse(data, short(own))
        except packet.PacketError:
            continue
        bodies[parsed.index] = parsed.body
        count = parsed.index + 1 if parsed.last else count
    payload = fragment.reassemble(bodies, count)
    if payload.complete and not (count and fragment.verify(payload, bodies[count - 1], 0)):
        raise UsageError(f"{file}: its packets are not those of one picture")
    pixels = decoder.decode(payload)
    if pixels is None:
        raise PartialError(f"{file}: too little of the picture is left to show anything")
    try:
        Image.fromarray(pixels).save(
            out, compress_level=3
        )  # as `link.png`: three times faster than Pillow's own
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot write {out}: {error}") from error
    return sum(section is not None for section in payload.sections), total
