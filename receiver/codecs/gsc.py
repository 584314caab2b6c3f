"""GSC, receiving end: what arrived of caption and channels steers the generator."""

from pathlib import Path

import numpy as np

from link import transform
from link.bitstream import latent
from link.codecs import gsc
from link.codecs.gsc import Transmission
from link.config import Codec, Session
from link.frame import Payload, Pixels
from link.models import place, transform_folder
from link.transform import grid
from receiver.conditioning import Conditioning
from receiver.generator import Generator, Sampling
from receiver.parts import Parts, pick_device, pick_dtype
from receiver.text_encoder import TextEncoder
from receiver.transform import Synthesis

WEIGHTS = Path(__file__).parent.parent / "weights"
TEXT = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")


class GscDecoder:
    """Decodes at *width* x *height* pixels. Any section may be missing."""

    def __init__(
        self, codec: Codec, size: tuple[int, int], tables: latent.Tables, generator: Generator
    ) -> None:
        self._codec, self._size, self._tables, self._generator = codec, size, tables, generator

    @classmethod
    def from_session(cls, session: Session) -> "GscDecoder":
        """Return the decoder that *session* asks for. Raise ModelMissingError where a model is not here."""
        folder = transform_folder(session)
        tables = gsc.load_tables(folder, transform.channels(folder))
        gsc.load_caption_tables(session.codec)
        synthesis = Synthesis.from_pretrained(folder)
        device = pick_device(session.profile.device)
        dtype = pick_dtype(session.profile.dtype, device)
        folders = part_folders(session)
        profile = session.profile
        parts = (
            Parts.from_pretrained(folders, dtype, profile).to(device, profile.offload).hasten(profile.compile)
        )
        text = TextEncoder.from_pretrained(folders, dtype).to(device, profile.offload)
        codec = session.codec
        sampling = Sampling(codec.steps, codec.guidance, codec.control_scale, codec.strength, session.seed)
        size = (session.camera.width, session.camera.height)
        return cls(codec, size, tables, Generator(parts, text, synthesis, sampling))

    def decode(self, payload: Payload) -> Pixels | None:
        """Return the picture that the sections at hand steer to; None where none of them can be used.

        Sections that hold no caption or no channel count as lost, and so do channels whose ids were lost.
        """
        arrived = self.received(payload)
        if arrived.caption is None and not arrived.channels:
            return None
        width, height = self._size
        return self._generator.generate([self.condition(arrived)])[0][:height, :width]

    def received(self, payload: Payload) -> Transmission:
        """Return what the sections at hand say."""
        return gsc.read(self._codec, payload, grid(*self._size), self._tables)

    def condition(self, arrived: Transmission) -> Conditioning:
        """Return what *arrived* tells the generator."""
        maps = np.zeros((self._tables.n, *grid(*self._size)), np.int32)
        there = np.zeros(self._tables.n, np.bool_)
        for channel, found in zip(arrived.channels, arrived.maps, strict=True):
            maps[channel] = found
            there[channel] = True
        return Conditioning(maps, there, arrived.caption or "")


def part_folders(session: Session) -> dict[str, Path]:
    """Return the folder of each of the generator's parts: the user's own, else the profile's."""
    name, profile = session.codec.profile, session.profile
    whole = place(name, "generator", profile.generator, WEIGHTS / "tiny")
    folders = {part: whole / part for part in ("transformer", "controlnet", "vae", "scheduler", *TEXT)}
    for part in ("transformer", "controlnet", "vae"):
        own = getattr(profile, part)
        if own is not None:
            folders[part] = Path(own)
    if profile.text is not None:
        folders |= {part: Path(profile.text) / part for part in TEXT}
    return folders
