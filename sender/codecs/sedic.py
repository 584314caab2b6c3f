"""SEDIC, sending end: texts, a reference picture, masks of the objects that are really there (arXiv 2503.00399)."""

import numpy as np

from link.analysis import analyst
from link.bitstream import latent
from link.codecs import sedic
from link.codecs.sedic import MaskedObject
from link.config import Codec, Session
from link.device import pick_device
from link.errors import BudgetError
from link.frame import Frame, Payload, scale
from sender.captioner import Pixels
from sender.codecs.objectwise import ObjectwiseEncoder, open_describer, open_transform
from sender.folders import DETECTOR, finds_any_name, grounder_place
from sender.grounding import ClassGrounder, Grounder, Mask, RememberingFinder
from sender.objects import Describer, Description
from sender.segmenter import Segmenter
from sender.transform import AnalysisTransform

_WHOLE = 0.98
"""A mask of more of the picture than this says nothing that the overall pass does not."""


class SedicEncoder(ObjectwiseEncoder):
    """Encodes a frame as texts, channels and masked objects within `codec.frame_bytes`, at *size* (width, height)."""

    def __init__(
        self,
        codec: Codec,
        analysis: AnalysisTransform,
        tables: latent.LatentTables,
        describer: Describer | None,
        grounder: Grounder | None,
        size: tuple[int, int],
    ) -> None:
        super().__init__(codec, analysis, tables, describer, size)
        self._grounder = grounder

    @classmethod
    def from_session(cls, session: Session) -> "SedicEncoder":
        """Return the encoder that *session* asks for.

        Raise ModelMissingError where a model is not on this machine, UsageError where more channels are asked for
        than the transform has, or masks would be too large.
        """
        analysis, tables, size = open_transform(session)
        sedic.check_masks(session.codec, size)
        describer, finder = open_describer(session)
        grounder = None if describer is None else _open_grounder(session, finder)
        return cls(session.codec, analysis, tables, describer, grounder, size)

    def encode(self, frame: Frame) -> Payload:
        """Return the sections of *frame*.

        Raise BudgetError where not even the overall text fits, PartialError where who describes gives no answer.
        """
        pixels = scale(frame.pixels, self._size)
        said, things = self._verify(self._describe(frame, pixels), pixels)
        reference, priority = self._refer(pixels)
        try:
            return sedic.write(self._codec, said.overall, reference, things, self._tables, priority)
        except ValueError as error:
            raise BudgetError(f"frame {frame.number} ({frame.name}): {error}") from None

    def _verify(self, said: Description, pixels: Pixels) -> tuple[Description, list[MaskedObject]]:
        """Return *said* without what is not there, and the objects with their masks on the cells that are sent."""
        if self._describer is None or self._grounder is None:
            return said, []
        masks = {item.name: self._grounder.find(pixels, item.name) for item in said.objects}
        kept = self._describer.strike(said, [item for item in said.objects if masks[item.name] is None])
        things = []
        for item in kept.objects:
            found = masks[item.name]
            mask = None if found is None else shrink_mask(found, self._codec.mask_px)
            if mask is not None and 0 < mask.mean() < _WHOLE:
                things.append(MaskedObject(item, mask))
        return kept, things


def shrink_mask(mask: Mask, px: int) -> Mask:
    """Return *mask* on cells of *px* pixels a side: those of which it covers half or more."""
    height, width = mask.shape
    rows, columns = -(-height // px), -(-width // px)
    cell = ((np.arange(height) // px)[:, None] * columns + (np.arange(width) // px)[None, :]).ravel()
    covered = np.bincount(cell, mask.ravel(), rows * columns)
    return np.asarray(2 * covered >= np.bincount(cell, minlength=rows * columns)).reshape(rows, columns)


def _open_grounder(session: Session, finder: RememberingFinder | None) -> Grounder | None:
    """Return who finds what is named, with *finder* where the describer has one; None for nobody."""
    where, device = grounder_place(session), pick_device(session.profile.device)
    if where is None:
        return None
    if finds_any_name(session):
        from sender.grounding_dino import DinoGrounder

        return DinoGrounder(where, device)
    detector = analyst.load(analyst.choose("detection", DETECTOR), device)
    return ClassGrounder(finder or RememberingFinder(Segmenter(where)), detector)
