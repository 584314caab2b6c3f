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
            bands = {
                number: np.frombuffer(section, np.uint8).astype(np.int32).reshape(1, -1)
                for number, section in enumerate(payload.sections)
                if section is not None
            }
            return Contents(None, bands)

        return contents
