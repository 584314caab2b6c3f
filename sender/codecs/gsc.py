"""GSC, sending end: a caption, and the channels of the latent that say most (arXiv 2510.27324, Section 3.2)."""

from pathlib import Path

import numpy as np

from link.bitstream import grammar, latent
from link.codecs import SYNTAXES, gsc
from link.codecs.gsc import Transmission
from link.config import Codec, Session
from link.errors import BudgetError, PartialError, UsageError
from link.frame import Frame, Payload, Pixels, scale
from link.models import transform_folder
from sender import calibration
from sender.calibration import Calibration, table_path
from sender.captioner import Captioner, GrammarCaptioner
from sender.encoder import Quality
from sender.folders import captioner_place
from sender.segmenter import Segmenter
from sender.transform import AnalysisTransform, Maps, similarity


class GscEncoder:
    """Encodes a frame as a caption and at most `codec.channels` channels, within `codec.frame_bytes`.

    Channels are those of the frame scaled to *size* (width, height), which its models are made for.
    Under `codec.rate_control: fixed` it is all of them, whatever they cost.
    """

    def __init__(
        self,
        codec: Codec,
        analysis: AnalysisTransform,
        tables: latent.LatentTables,
        captioner: Captioner | None,
        size: tuple[int, int],
        table: Calibration | None = None,
    ) -> None:
        self.adjust(codec)
        self._table = table
        self._analysis, self._tables, self._captioner = analysis, tables, captioner
        self._size = size

    @classmethod
    def from_session(cls, session: Session) -> "GscEncoder":
        """Return the encoder that *session* asks for.

        Raise ModelMissingError where a model is not on this machine, UsageError where more channels are
        asked for than the transform has.
        """
        folder = transform_folder(session)
        analysis = AnalysisTransform.from_pretrained(folder)
        if session.codec.channels > analysis.channels:
            raise UsageError(
                f"codec.channels {session.codec.channels}: the transform in {folder.name} has {analysis.channels}"
            )
        tables = gsc.load_tables(folder, analysis.channels)
        gsc.load_caption_tables(session.codec)
        size = SYNTAXES[session.codec.name].coded_size(session)
        table = None
        if session.link.repair.protection == "unequal" or 0.0 < session.link.red < 1.0:
            table = calibration.read(table_path(session))
        return cls(session.codec, analysis, tables, open_captioner(session), size, table)

    def gains(self, sections: int) -> tuple[float, ...]:
        """See `sender.encoder.Weighed`: from the rate table, as `calibration.section_worths` says.

        Raise UsageError where the encoder was made without a table.
        """
        if self._table is None:
            raise UsageError("link.repair.protection unequal, or red: the encoder has no rate table")
        return calibration.section_worths(self._codec, self._table, sections)

    def adjust(self, codec: Codec) -> None:
        """See `sender.encoder.SteeredEncoder.adjust`."""
        fixed = codec.rate_control == "fixed"
        self._codec = codec.model_copy(update={"frame_bytes": None}) if fixed else codec

    def encode(self, frame: Frame) -> Payload:
        """Return the sections of *frame*: caption, ids where the order needs them, channels.

        Raise UsageError where the budget cannot be met, PartialError where an endpoint gives no caption.
        """
        return self.encode_at(frame, Quality(self._codec.sent_channels, self._codec.caption_words))

    def encode_at(self, frame: Frame, quality: Quality) -> Payload:
        """Return the sections of *frame* with at most so many channels and words, and no more than the codec's.

        Raise as `encode` does.
        """
        caption = None
        if self._captioner is not None:
            caption = shorten(self._codec, self._caption(self._captioner, frame), quality.words)
        pixels = scale(frame.pixels, self._size)
        maps = self._analysis(pixels)
        priority = choose(self._codec, maps, pixels)[: quality.channels]
        channels = tuple(sorted(priority))
        sent = Transmission(caption, channels, maps[list(channels)])
        try:
            return gsc.write(self._codec, sent, self._tables, priority)
        except ValueError as error:
            raise BudgetError(f"frame {frame.number} ({frame.name}): {error}") from None

    def _caption(self, captioner: Captioner, frame: Frame) -> str:
        try:
            return captioner.caption(frame.pixels)
        except (OSError, UsageError) as error:
            # What was sent before is in the journal: the run ends with that, not as if it had never begun.
            raise PartialError(f"frame {frame.number} ({frame.name}): no caption: {error}") from None


def shorten(codec: Codec, caption: str, words: int) -> str:
    """Return *caption* in at most *words* words: its first items, or its first words; the scene always stays."""
    if len(caption.split()) <= words:
        return caption
    if codec.caption == "grammar":
        return grammar.parse(caption).cut(words).sentence()
    from sender.vlm import trim

    return trim(caption, words)


def choose(codec: Codec, maps: Maps, pixels: Pixels) -> list[int]:
    """Return the channels to send, the most important first."""
    count = min(codec.channels, len(maps))
    if codec.order == "nested":
        return list(range(count))
    scores = similarity(maps, pixels)
    return [int(channel) for channel in np.argsort(-scores, kind="stable")[:count]]


def open_captioner(session: Session) -> Captioner | None:
    """Return who writes the captions of *session*. Raise ModelMissingError, UsageError where that cannot be."""
    codec, profile = session.codec, session.profile
    where = captioner_place(session)
    if where is None:
        return None
    if codec.caption == "grammar":
        return GrammarCaptioner(Segmenter(Path(where)), codec.caption_words)
    from sender.vlm import EndpointCaptioner, QwenCaptioner

    if codec.caption == "vlm":
        return QwenCaptioner(str(where), codec.caption_words, _device(profile.device))
    if profile.caption_url is None:
        raise UsageError("codec.caption endpoint needs profile.caption_url, as in http://127.0.0.1:8000/v1")
    return EndpointCaptioner(profile.caption_url, profile.caption_model, codec.caption_words)


def _device(name: str) -> str:
    import torch

    return name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
