"""GSC, receiving end: what arrived of caption and channels steers the generator."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from link import transform
from link.bitstream import latent
from link.codecs import SYNTAXES, gsc
from link.codecs.gsc import Transmission
from link.config import Codec, Session
from link.frame import Payload, Pixels, scale
from link.models import transform_folder
from link.transform import Size, grid
from receiver.conditioning import Conditioning
from receiver.diffusion import Diffusion
from receiver.folders import part_folders
from receiver.generator import Generator
from receiver.generators import open_generator, sampling
from receiver.transform import Synthesis

__all__ = ["BATCH", "GscDecoder", "part_folders"]
BATCH = 8
"""Pictures that `decode_many` draws at a time where memory allows; more gain nothing."""


class GscDecoder:
    """Draws at *coded* (width, height), which its models are made for, and shows at *size*.

    Any section may be missing.
    """

    def __init__(
        self,
        codec: Codec,
        size: tuple[int, int],
        coded: tuple[int, int],
        tables: latent.LatentTables,
        generator: Generator | Diffusion,
    ) -> None:
        self._codec, self._tables, self._generator = codec, tables, generator
        self._size, self._coded = size, coded
        self._batch: int | None = None

    @classmethod
    def from_session(cls, session: Session) -> "GscDecoder":
        """Return the decoder that *session* asks for. Raise ModelMissingError where a model is not here."""
        folder = transform_folder(session)
        tables = gsc.load_tables(folder, transform.channels(folder))
        gsc.load_caption_tables(session.codec)
        codec = session.codec
        size = (session.camera.width, session.camera.height)
        coded = SYNTAXES[codec.name].coded_size(session)
        return cls(codec, size, coded, tables, open_generator(session, Synthesis.from_pretrained(folder)))

    def adjust(self, session: Session) -> None:
        """See `receiver.decoder.SteeredPart.adjust`."""
        self._codec = session.codec
        self._generator.adjust(sampling(session.codec))

    def decode(self, payload: Payload) -> Pixels | None:
        """Return the picture that the sections at hand steer to; None where none of them can be used.

        Sections that hold no caption or no channel count as lost, and so do channels whose ids were lost.
        """
        arrived = self.received(payload)
        if arrived.caption is None and not arrived.channels:
            return None
        return self._shown(self._generator.generate([self.condition(arrived)])[0])

    def decode_many(self, payloads: Sequence[Payload]) -> list[Pixels | None]:
        """Return what `decode` does for each of *payloads*, several drawn together: faster on a GPU.

        As many as the device's memory has room for, at most `BATCH`. A picture differs from that of `decode` by
        rounding (up to 3 of 255 in bfloat16), but not with what is drawn beside it: the last batch is filled up. For
        `strength` 1 alone, where no picture depends on others.
        """
        arrived = [self.received(payload) for payload in payloads]
        drawn = [at for at, item in enumerate(arrived) if item.caption is not None or item.channels]
        pictures: list[Pixels | None] = [None] * len(payloads)
        start = 0
        while start < len(drawn):
            batch = drawn[start : start + self._batch_size()]
            filled = [*batch, *[batch[-1]] * (self._batch_size() - len(batch))]
            try:
                made = self._generator.generate([self.condition(arrived[at]) for at in filled])
            except torch.OutOfMemoryError:
                if self._batch_size() == 1:
                    raise
                self._batch = self._batch_size() // 2  # for good: it would not fit the next time either
                continue
            for at, picture in zip(batch, made, strict=False):
                pictures[at] = self._shown(picture)
            start += len(batch)
        return pictures

    def _batch_size(self) -> int:
        if self._batch is None:
            self._batch = self._generator.most_at_once(*grid(*self._coded), BATCH)
        return self._batch

    def _shown(self, drawn: Pixels) -> Pixels:
        """Return what was *drawn* in whole cells without what fills the last ones up, at the frame's size."""
        width, height = self._coded
        return scale(drawn[:height, :width], self._size)

    def received(self, payload: Payload) -> Transmission:
        """Return what the sections at hand say."""
        return gsc.read(self._codec, payload, grid(*self._coded), self._tables)

    def condition(self, arrived: Transmission) -> Conditioning:
        """Return what *arrived* tells the generator."""
        maps, there = spread_channels(arrived, self._tables.n, self._coded)
        return Conditioning(maps, there, arrived.caption or "")


def spread_channels(
    sent: Transmission, channels: int, size: Size
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return all *channels* of a picture of *size* (width, height), zeros for what did not arrive, and which did."""
    maps = np.zeros((channels, *grid(*size)), np.int32)
    there = np.zeros(channels, np.bool_)
    for channel, channel_map in zip(sent.channels, sent.maps, strict=True):
        maps[channel] = channel_map
        there[channel] = True
    return maps, there
