"""SEDIC, sending end: texts, a reference picture, masks of the objects that are really there (arXiv 2503.00399)."""

from pathlib import Path

import numpy as np

from link.analysis import analyst
from link.bitstream import latent
from link.codecs import SYNTAXES, gsc, objects, sedic
from link.codecs.gsc import Transmission
from link.codecs.sedic import MaskedObject
from link.config import Codec, Session
from link.device import pick_device
from link.errors import BudgetError, PartialError, UsageError
from link.frame import Frame, Payload, scale
from link.models import transform_folder
from sender.captioner import Pixels
from sender.codecs.gsc import choose, open_captioner
from sender.folders import DETECTOR, captioner_place, finds_any_name, grounder_place
from sender.grounding import ClassGrounder, Grounder, Mask, RememberingFinder
from sender.objects import Asked, Describer, Description, FreeDescriber, GrammarDescriber, WordLimits
from sender.segmenter import Segmenter
from sender.transform import AnalysisTransform

_WHOLE = 0.98
"""A mask of more of the picture than this says nothing that the overall pass does not."""


class SedicEncoder:
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
        self._codec, self._analysis, self._tables = codec, analysis, tables
        self._describer, self._grounder, self._size = describer, grounder, size

    @classmethod
    def from_session(cls, session: Session) -> "SedicEncoder":
        """Return the encoder that *session* asks for.

        Raise ModelMissingError where a model is not on this machine, UsageError where more channels are asked for
        than the transform has, or masks would be too large.
        """
        codec, folder = session.codec, transform_folder(session)
        analysis = AnalysisTransform.from_pretrained(folder)
        if codec.channels > analysis.channels:
            raise UsageError(
                f"codec.channels {codec.channels}: the transform in {folder.name} has {analysis.channels}"
            )
        size = SYNTAXES[codec.name].coded_size(session)
        sedic.check_masks(codec, size)
        tables = gsc.load_tables(folder, analysis.channels)
        objects.load_text_tables(codec)
        return cls(codec, analysis, tables, *_open_eyes(session), size)

    def adjust(self, codec: Codec) -> None:
        """See `sender.encoder.SteeredEncoder.adjust`; bytes and words are all that can change."""
        self._codec = codec
        if self._describer is not None:
            self._describer.adjust(_limits(codec))

    def encode(self, frame: Frame) -> Payload:
        """Return the sections of *frame*.

        Raise BudgetError where not even the overall text fits, PartialError where who describes gives no answer.
        """
        pixels = scale(frame.pixels, self._size)
        said = Description("", ())
        things: list[MaskedObject] = []
        if self._describer is not None:
            said = self._describe(self._describer, frame, pixels)
            said, things = self._verify(self._describer, said, pixels)
        maps = self._analysis(pixels)
        priority = choose(self._codec, maps, pixels)
        channels = tuple(sorted(priority))
        reference = Transmission(None, channels, maps[list(channels)])
        try:
            return sedic.write(self._codec, said.overall, reference, things, self._tables, priority)
        except ValueError as error:
            raise BudgetError(f"frame {frame.number} ({frame.name}): {error}") from None

    def _describe(self, describer: Describer, frame: Frame, pixels: Pixels) -> Description:
        try:
            return describer.describe(pixels, self._codec.objects)
        except (OSError, UsageError) as error:
            raise PartialError(f"frame {frame.number} ({frame.name}): no description: {error}") from None

    def _verify(
        self, describer: Describer, said: Description, pixels: Pixels
    ) -> tuple[Description, list[MaskedObject]]:
        """Return *said* without what is not there, and the objects with their masks on the cells that are sent."""
        if self._grounder is None:
            return said, []
        masks = {item.name: self._grounder.find(pixels, item.name) for item in said.objects}
        kept = describer.strike(said, [item for item in said.objects if masks[item.name] is None])
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


def _open_eyes(session: Session) -> tuple[Describer | None, Grounder | None]:
    """Return who describes the pictures of *session*, and who finds what is named; None for nobody."""
    codec, where, own = session.codec, grounder_place(session), captioner_place(session)
    if own is None:
        return None, None
    limits = _limits(codec)
    if codec.caption == "grammar":
        finder = RememberingFinder(Segmenter(Path(own)))
        return GrammarDescriber(finder, limits), None if where is None else _own_grounder(session, finder)
    captioner = open_captioner(session)
    if not isinstance(captioner, Asked):
        raise UsageError(f"codec.caption {codec.caption}: its captioner answers no questions")
    describer = FreeDescriber(captioner, limits)
    if where is None:
        return describer, None
    if finds_any_name(session):
        from sender.grounding_dino import DinoGrounder

        return describer, DinoGrounder(where, pick_device(session.profile.device))
    return describer, _own_grounder(session, RememberingFinder(Segmenter(where)))


def _limits(codec: Codec) -> WordLimits:
    return WordLimits(codec.caption_words, codec.name_words, codec.object_words)


def _own_grounder(session: Session, finder: RememberingFinder) -> Grounder:
    device = pick_device(session.profile.device)
    return ClassGrounder(finder, analyst.load(analyst.choose("detection", DETECTOR), device))
