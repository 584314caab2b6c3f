"""Classical still-picture codecs, receiving end: from sections to a picture at the scenario's size."""

import io

import numpy as np
from PIL import Image

from link.codecs import classical
from link.codecs.classical import NAMES
from link.config import Session
from link.errors import UsageError
from link.frame import Payload, Pixels


class ClassicalDecoder:
    """Decodes JPEG 2000, WebP, AVIF or JPEG at *width* x *height* pixels."""

    def __init__(self, name: str, width: int, height: int) -> None:
        if name not in NAMES:
            raise UsageError(f"codec {name} is none of {', '.join(NAMES)}")
        self._name = name
        self._size = (width, height)

    @classmethod
    def from_session(cls, session: Session) -> "ClassicalDecoder":
        """Return the decoder that *session* asks for."""
        return cls(session.codec.name, session.camera.width, session.camera.height)

    def decode(self, payload: Payload) -> Pixels | None:
        """Return the picture, scaled up where it was sent smaller; None where the sections hold none.

        Sections after a hole are not used. Size and form of the file are checked before a library sees it:
        what is larger than the scenario's picture, or of a form that our encoder never writes, is None.
        """
        try:
            data = classical.rebuild(self._name, payload.sections)
            width, height = classical.picture_size(self._name, data)
            if width > self._size[0] or height > self._size[1]:
                return None
            with Image.open(io.BytesIO(data), formats=[self._name.upper()]) as picture:
                if picture.size != (width, height):
                    return None
                whole = picture.convert("RGB")
        except Exception:
            # Four libraries' views of what bad bytes are: ValueError, OSError, SyntaxError, struct.error,
            # MemoryError, EOFError, RuntimeError, ... All mean that there is no picture.
            return None
        if whole.size != self._size:
            whole = whole.resize(self._size, Image.Resampling.LANCZOS)
        return np.array(whole, dtype=np.uint8)
