"""The fingerprint of what both ends must share: wire version, codec, its settings, tables and weights."""

import hashlib

from link.codecs import SYNTAXES
from link.config import Codec, Session
from link.errors import FingerprintError
from link.marks import Affects, fields_unmarked
from link.packet import VERSION

_MISMATCHES = 3  # packets under one other fingerprint, where none was under the own, are not chance
_REMEMBERED = 32  # packets that failed the check, among which they are looked for


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


class MismatchWatch:
    """Tells damage from another fingerprint: it fails the checksum by another amount in each packet, that by the same.

    Copies of one damaged packet fail by the same amount, so packets count and not arrivals. Those of another end may be
    damaged besides, so they need not come in a row.
    """

    def __init__(self, own: int) -> None:
        self._own = own
        self._failed: dict[bytes, int] = {}
        self._trusted = False

    def trust(self) -> None:
        """Note that a packet's checksum held: the ends agree, and what fails from now on is damage."""
        self._trusted = True
        self._failed.clear()

    def suspect(self, implied: int, packet: bytes) -> None:
        """Note *packet*, whose checksum would hold under the short fingerprint *implied*.

        Raise FingerprintError, which names both, where that is the other end's.
        """
        if self._trusted:
            return
        self._failed[packet] = implied
        if len(self._failed) > _REMEMBERED:
            del self._failed[next(iter(self._failed))]
        if list(self._failed.values()).count(implied) >= _MISMATCHES:
            raise FingerprintError(f"{self._own:08x}", f"{implied:08x}")
