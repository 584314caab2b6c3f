"""Bands, receiving end: lost ones are black."""

import numpy as np
from PIL import Image

from link.config import Session
from link.frame import Payload, Pixels
from toy_codec.syntax import COLUMNS, bands_of


class BandsDecoder:
    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size

    @classmethod
    def from_session(cls, session: Session) -> "BandsDecoder":
        return cls((session.camera.width, session.camera.height))

    def decode(self, payload: Payload) -> Pixels | None:
        if not bands_of(payload):
            return None
        rows = [
            np.frombuffer(band if band and len(band) == COLUMNS else bytes(COLUMNS), np.uint8)
            for band in payload.sections
        ]
        grey = Image.fromarray(np.stack(rows)).resize(self._size, Image.Resampling.NEAREST)
        return np.array(grey.convert("RGB"), np.uint8)
