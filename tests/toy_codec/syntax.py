"""Bands: the picture's brightness in horizontal bands, a section of eight bytes each."""

from collections.abc import Callable

import numpy as np

from link.codecs.syntax import CodecFacts, Contents, PayloadSyntax
from link.config import Codec, Session
from link.frame import Payload

COLUMNS = 8


class BandsSyntax(PayloadSyntax):
    facts = CodecFacts(
        title="the brightness of horizontal bands",
        kinds={"band": "bands of grey"},
        tiles="band",
        settings=frozenset({"channels"}),
        fills_packets=False,
    )

    def tables(self, session: Session) -> bytes:
        return b"bands/1"

    def kind(self, codec: Codec, number: int) -> str:
        return "band"

    def check(self, codec: Codec) -> None:
        if codec.channels == 0:
            raise ValueError("channels 0: no band would be sent")

    def likely_bytes(self, session: Session) -> int:
        return COLUMNS * session.codec.channels

    def reader(self, session: Session) -> Callable[[Payload], Contents]:
        def contents(payload: Payload) -> Contents:
            rows = {
                number: np.frombuffer(band, np.uint8).astype(np.int32).reshape(1, -1)
                for number, band in bands_of(payload).items()
            }
            return Contents(None, rows)

        return contents


def bands_of(payload: Payload) -> dict[int, bytes]:
    """Return the bands at hand by number; sections of another length count as lost."""
    return {at: band for at, band in enumerate(payload.sections) if band is not None and len(band) == COLUMNS}
