"""The fingerprint of what both ends must share: wire version, codec, its settings, tables and weights."""

import hashlib

from link.codecs import SYNTAXES
from link.config import Codec, Session
from link.marks import Affects, fields_unmarked
from link.packet import VERSION


def fingerprint(session: Session) -> str:
    """Return 16 hexadecimal digits (64 bits of SHA-256); the first eight are the short form in packets."""
    codec, camera, link = session.codec, session.camera, session.link
    parts = (
        VERSION,
        codec.name,
        camera.width,
        camera.height,
        link.framing,
        codec.model_dump_json(exclude=set(fields_unmarked(Codec, Affects.SYNTAX))),
    )
    digest = hashlib.sha256(repr(parts).encode())
    digest.update(SYNTAXES[codec.name].tables(session))
    return digest.hexdigest()[:16]


def short(fingerprint: str) -> int:
    """Return the 32 bits that packets carry in their checksum."""
    return int(fingerprint[:8], 16)
