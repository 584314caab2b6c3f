"""Bands, sending end."""

import numpy as np
from PIL import Image

from link.config import Session
from link.errors import BudgetError
from link.frame import Frame, Payload
from toy_codec.syntax import COLUMNS


class BandsEncoder:
    def __init__(self, bands: int, frame_bytes: int) -> None:
        self._bands, self._frame_bytes = bands, frame_bytes

    @classmethod
    def from_session(cls, session: Session) -> "BandsEncoder":
        return cls(session.codec.channels, session.codec.frame_bytes or 1 << 30)

    def encode(self, frame: Frame) -> Payload:
        if COLUMNS * self._bands > self._frame_bytes:
            raise BudgetError(
                f"codec bands: frame_bytes {self._frame_bytes} is too small for frame {frame.number} ({frame.name}): "
                f"{COLUMNS * self._bands} bytes are needed"
            )
        small = (
            Image.fromarray(frame.pixels).convert("L").resize((COLUMNS, self._bands), Image.Resampling.BOX)
        )
        return Payload(tuple(row.tobytes() for row in np.asarray(small)))
