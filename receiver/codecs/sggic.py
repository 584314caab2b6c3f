"""SGGIC, receiving end: the whole, then each object where its name is found in what arrived (Section 3)."""

from link.codecs import SYNTAXES, objects, sggic
from link.config import Session
from link.device import pick_device
from link.frame import Payload
from link.models import transform_folder
from receiver.codecs.gsc import spread_channels
from receiver.codecs.objectwise import ObjectwiseDecoder, open_tables
from receiver.dyndiff import DynDiff
from receiver.folders import dyndiff_place, finds_any_words, mask_finder_places
from receiver.generator import Generator
from receiver.generators import open_generator, sampling
from receiver.masking import ClassMaskFinder, MaskFinder
from receiver.refinement import Reanalysis, RefinementParts, RefinementWish, RefiningGenerator
from receiver.transform import Synthesis


class SggicDecoder(ObjectwiseDecoder[RefinementWish, RefiningGenerator]):
    """Draws at *coded* (width, height) and shows at *size*. Any section may be missing."""

    @classmethod
    def from_session(cls, session: Session) -> "SggicDecoder":
        """Return the decoder of *session*. Raise as `open_refining` does."""
        tables, size, coded = open_tables(session)
        return cls(session.codec, size, coded, tables, open_refining(session))

    @property
    def refining(self) -> RefiningGenerator:
        """What draws the pictures."""
        return self._generator

    def adjust(self, session: Session) -> None:
        """See `receiver.decoder.SteeredPart.adjust`."""
        self._codec = session.codec
        self._generator.adjust(sampling(session.codec), session.codec.object_steps)

    def wish(self, payload: Payload) -> RefinementWish | None:
        """Return what the sections at hand tell the generator; None where none of them can be used.

        Where the overall text was lost, what is said of the objects stands for it.
        """
        half = sggic.half_size(self._coded)
        heard = sggic.read(self._codec, payload, half, self._tables)
        if not heard.anything:
            return None
        maps, there = spread_channels(heard.reference, self._tables.n, half)
        said = objects.overall(self._codec, heard.overall, heard.texts)
        return RefinementWish(maps, there, said, heard.texts, payload.size_bytes)


def open_refining(session: Session) -> RefiningGenerator:
    """Return what draws the pictures of *session*.

    Raise ModelMissingError where a model is not here, UsageError where steps are to be foretold and nothing does.
    """
    codec, folder, foretold = session.codec, transform_folder(session), dyndiff_place(session)
    synthesis = Synthesis.from_pretrained(folder)
    generator = open_generator(session, synthesis)
    knows = isinstance(generator, Generator) and generator.parts.takes_channels()
    parts = RefinementParts(
        generator,
        synthesis,
        _open_finder(session),
        Reanalysis.from_pretrained(folder) if knows else None,
        None if foretold is None else DynDiff.from_pretrained(foretold),
    )
    coded = SYNTAXES[codec.name].coded_size(session)
    return RefiningGenerator(parts, coded, sggic.half_size(coded), sampling(codec), codec.object_steps)


def _open_finder(session: Session) -> MaskFinder | None:
    """Return who finds named objects in what arrived; None where none are named."""
    device = pick_device(session.profile.device)
    if not mask_finder_places(session):
        return None
    if not finds_any_words(session):
        return ClassMaskFinder.shipped(device)
    from receiver.clipseg import ClipSegFinder

    return ClipSegFinder(mask_finder_places(session)["mask_finder"], device)
