"""SGGIC, sending end: texts, and a reference picture at half size; where things are the far end finds out."""

from link.codecs import sggic
from link.config import Session
from link.errors import BudgetError
from link.frame import Frame, Payload, scale
from sender.codecs.objectwise import ObjectwiseEncoder, open_describer, open_transform


class SggicEncoder(ObjectwiseEncoder):
    """Encodes a frame as texts and channels within `codec.frame_bytes`."""

    @classmethod
    def from_session(cls, session: Session) -> "SggicEncoder":
        """Return the encoder that *session* asks for.

        Raise ModelMissingError where a model is not on this machine, UsageError where more channels are asked for
        than the transform has.
        """
        analysis, tables, size = open_transform(session)
        return cls(session.codec, analysis, tables, open_describer(session)[0], size)

    def encode(self, frame: Frame) -> Payload:
        """Return the sections of *frame*.

        Raise BudgetError where not even the overall text fits, PartialError where who describes gives no answer.
        """
        pixels = scale(frame.pixels, self._size)
        said = self._describe(frame, pixels)
        reference, priority = self._refer(scale(pixels, sggic.half_size(self._size)))
        try:
            return sggic.write(self._codec, said.overall, reference, said.objects, self._tables, priority)
        except ValueError as error:
            raise BudgetError(f"frame {frame.number} ({frame.name}): {error}") from None
