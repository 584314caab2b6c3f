"""Bands, sending end."""

import numpy as np
from PIL import Image

from link.config import Session
from link.frame import Frame, Payload
from toy_codec.syntax import COLUMNS


class BandsEncoder:
    def __init__(self, bands: int) -> None:
        self._bands = bands

    @classmethod
    def from_session(cls, session: Session) -> "BandsEncoder":
        return cls(session.codec.channels)

    def encode(self, frame: Frame) -> Payload:
        small = (
            Image.fromarray(frame.pixels).convert("L").resize((COLUMNS, self._bands), Image.Resampling.BOX)
        )
        return Payload(tuple(row.tobytes() for row in np.asarray(small)))
