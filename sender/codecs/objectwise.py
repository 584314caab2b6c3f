"""What the sending ends of SEDIC and SGGIC share: who says what there is, and the reference picture's channels."""

from pathlib import Path

from link.bitstream import latent
from link.codecs import SYNTAXES, gsc, objects
from link.codecs.gsc import Transmission
from link.config import Codec, Session
from link.errors import PartialError, UsageError
from link.frame import Frame
from link.models import transform_folder
from sender.captioner import Pixels
from sender.codecs.gsc import choose, open_captioner
from sender.folders import captioner_place
from sender.grounding import RememberingFinder
from sender.objects import Asked, Describer, Description, FreeDescriber, GrammarDescriber, WordLimits
from sender.segmenter import Segmenter
from sender.transform import AnalysisTransform


class ObjectwiseEncoder:
    """What encoders of a whole and of objects in it do alike, on pictures scaled to *size* (width, height)."""

    def __init__(
        self,
        codec: Codec,
        analysis: AnalysisTransform,
        tables: latent.LatentTables,
        describer: Describer | None,
        size: tuple[int, int],
    ) -> None:
        self._codec, self._analysis, self._tables = codec, analysis, tables
        self._describer, self._size = describer, size

    def adjust(self, codec: Codec) -> None:
        """See `sender.encoder.SteeredEncoder.adjust`; bytes and words are all that can change."""
        self._codec = codec
        if self._describer is not None:
            self._describer.adjust(word_limits(codec))

    def _describe(self, frame: Frame, pixels: Pixels) -> Description:
        """Return what is said of *pixels*, nothing where nobody is asked. Raise PartialError where no answer comes."""
        if self._describer is None:
            return Description("", ())
        try:
            return self._describer.describe(pixels, self._codec.objects)
        except (OSError, UsageError) as error:
            raise PartialError(f"frame {frame.number} ({frame.name}): no description: {error}") from None

    def _refer(self, pixels: Pixels) -> tuple[Transmission, list[int]]:
        """Return the channels of *pixels* that are sent, and which of them come first."""
        maps = self._analysis(pixels)
        priority = choose(self._codec, maps, pixels)
        channels = tuple(sorted(priority))
        return Transmission(None, channels, maps[list(channels)]), priority


def open_transform(session: Session) -> tuple[AnalysisTransform, latent.LatentTables, tuple[int, int]]:
    """Return g_a, the tables of its channels, and the size of the coded pictures.

    Raise ModelMissingError where a model is not on this machine, UsageError where more channels are asked for than the
    transform has.
    """
    codec, folder = session.codec, transform_folder(session)
    analysis = AnalysisTransform.from_pretrained(folder)
    if codec.channels > analysis.channels:
        raise UsageError(
            f"codec.channels {codec.channels}: the transform in {folder.name} has {analysis.channels}"
        )
    tables = gsc.load_tables(folder, analysis.channels)
    objects.load_text_tables(codec)
    return analysis, tables, SYNTAXES[codec.name].coded_size(session)


def open_describer(session: Session) -> tuple[Describer | None, RememberingFinder | None]:
    """Return who describes the pictures of *session*, None for nobody, and the model that the grammar's asks.

    Raise ModelMissingError, UsageError where that cannot be.
    """
    codec, own = session.codec, captioner_place(session)
    if own is None:
        return None, None
    limits = word_limits(codec)
    if codec.caption == "grammar":
        finder = RememberingFinder(Segmenter(Path(own)))
        return GrammarDescriber(finder, limits), finder
    captioner = open_captioner(session)
    if not isinstance(captioner, Asked):
        raise UsageError(f"codec.caption {codec.caption}: its captioner answers no questions")
    return FreeDescriber(captioner, limits), None


def word_limits(codec: Codec) -> WordLimits:
    """Return how long texts may be."""
    return WordLimits(codec.caption_words, codec.name_words, codec.object_words)
