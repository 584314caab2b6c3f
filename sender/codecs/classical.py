"""Classical still-picture codecs, sending end: the best picture within the budget, at any size.

At a few hundred bytes a picture sent smaller and scaled up by the receiver is better than one of full size at
the codec's lowest quality. So both are searched: the scale by climbing, the quality within each scale.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from link import packet
from link.codecs import classical
from link.codecs.classical import NAMES
from link.config import Codec, Session
from link.errors import BudgetError, UsageError
from link.frame import Frame, Payload, Pixels

_LEAST_SIDE = 8
"""Pictures are not sent smaller than this many pixels."""

_START_BPP = 0.3
"""The search begins at the first scale with this many bits per pixel: near the best of all four codecs."""

_ENOUGH = 0.985
"""A search ends when this share of the budget is used: the rest is worth less than 0.1 dB."""

_LAYERS = 8
"""Most layers asked of JPEG 2000: 8 cost about 0.25 dB against one, 16 up to 1.4 dB."""

_LEAST_LAYER_BYTES = 40
"""A first layer with fewer bytes shows next to nothing."""

_LL_SIDE = 12
"""Decompositions go on until the low band's shorter side would fall below this (best PSNR on Kodak)."""

_ASKS = 3
"""How often OpenJPEG is asked per scale, twice as often where nothing fitted: a fourth wins 0.02 dB."""

_LEFT_OUT_BYTES = 41
"""What OpenJPEG writes and `jpeg2000_sections` drops: COM and EOC."""

_PROGRESSIVE_WORTH = 10 ** (0.25 / 10)
"""Progressive JPEG, which survives a lost tail, may cost 0.25 dB against sequential JPEG."""

Cut = Callable[[Image.Image], "tuple[bytes, ...] | None"]


@dataclass(frozen=True)
class _Attempt:
    sections: tuple[bytes, ...]
    error: int
    """Sum of squared differences to the original, after scaling up."""


class ClassicalEncoder:
    """Encodes as JPEG 2000, WebP, AVIF or JPEG: at most *frame_bytes*, in sections of about *section_bytes*.

    What is sent depends on the frame alone, not on frames before it.
    """

    def __init__(self, name: str, frame_bytes: int, section_bytes: int) -> None:
        if name not in NAMES:
            raise UsageError(f"codec {name} is none of {', '.join(NAMES)}")
        self._name = name
        self._budget = frame_bytes
        self._section_bytes = max(1, section_bytes)

    @classmethod
    def from_session(cls, session: Session) -> "ClassicalEncoder":
        """Return the encoder that *session* asks for; a section fills the payload of a packet."""
        link = session.link
        section = packet.section_bytes(link.mtu_bytes, link.framing, repair_bytes=link.repair.extra_bytes)
        frame_bytes = session.codec.frame_bytes
        assert frame_bytes is not None, "the scenario was not resolved"
        return cls(session.codec.name, frame_bytes, section)

    def adjust(self, codec: Codec) -> None:
        """See `sender.encoder.SteeredEncoder.adjust`; the bytes of a frame are all that can change."""
        self._budget = codec.frame_bytes or self._budget

    def encode(self, frame: Frame) -> Payload:
        """Return the sections of the best picture that fits. Raise BudgetError where none fits."""
        picture = Image.fromarray(frame.pixels)
        search = _Search(self._name, picture, frame.pixels, self._budget)
        if self._name == "jpeg2000":
            best = search.climb(lambda small: search.jpeg2000(small, self._section_bytes))
        elif self._name == "jpeg":
            best = search.climb(lambda small: self._jpeg(search.file(small, progressive=True)))
            flat = search.climb(lambda small: self._jpeg(search.file(small, progressive=False)))
            if best is None or (flat is not None and flat.error * _PROGRESSIVE_WORTH < best.error):
                best = flat
        else:
            best = search.climb(lambda small: None if (data := search.file(small)) is None else (data,))
        if best is None:
            error = BudgetError(
                f"codec {self._name}: frame_bytes {self._budget} is too small for frame {frame.number} "
                f"({frame.name}): about {search.least} bytes are needed"
            )
            error.least_bytes = search.least
            raise error
        return Payload(best.sections)

    def _jpeg(self, data: bytes | None) -> tuple[bytes, ...] | None:
        return None if data is None else classical.jpeg_sections(data, self._section_bytes)


class _Search:
    """The search for the best encoding of one picture."""

    def __init__(self, name: str, picture: Image.Image, pixels: Pixels, budget: int) -> None:
        self._name = name
        self._picture = picture
        self._original = pixels.astype(np.int16)
        self._budget = budget
        self.least = 0
        """Bytes of the smallest file that did not fit; 0 where none was tried."""

    def climb(self, cut: Cut) -> _Attempt | None:
        """Return the best attempt over the scales, from a likely one up and down until it gets worse."""
        sizes = list(_sizes(*self._picture.size))
        tried: dict[int, _Attempt | None] = {}

        def at(index: int) -> _Attempt | None:
            if not 0 <= index < len(sizes):
                return None
            if index not in tried:
                tried[index] = self._attempt(sizes[index], cut)
            return tried[index]

        likely = [i for i, (w, h) in enumerate(sizes) if self._budget * 8 >= _START_BPP * w * h]
        start = likely[0] if likely else len(sizes) - 1
        while at(start) is None and start + 1 < len(sizes):
            start += 1
        best = at(start)
        if best is None:
            return None
        for step in (1, -1):
            index = start + step
            while (other := at(index)) is not None and other.error < best.error:
                best = other
                index += step
        return best

    def _attempt(self, size: tuple[int, int], cut: Cut) -> _Attempt | None:
        full = self._picture.size
        small = self._picture if size == full else self._picture.resize(size, Image.Resampling.LANCZOS)
        sections = cut(small)
        if sections is None:
            return None
        data = classical.rebuild(self._name, sections)
        if classical.picture_size(self._name, data) != size:
            raise RuntimeError(f"the library's {self._name} files are not of the form that receivers take")
        shown = _open(self._name, data)
        if size != full:
            shown = shown.resize(full, Image.Resampling.LANCZOS)
        difference = np.asarray(shown, np.int16) - self._original
        return _Attempt(sections, int(np.square(difference, dtype=np.int32).sum(dtype=np.int64)))

    def _fits(self, size: int) -> bool:
        if size <= self._budget:
            return True
        self.least = min(self.least or size, size)
        return False

    def file(self, picture: Image.Image, *, progressive: bool = False) -> bytes | None:
        """Return the file of the highest quality that fits; None where the lowest does not."""
        low, high, best = 1, 101, None
        quality = low
        while low < high:
            data = _save(self._name, picture, quality, progressive=progressive)
            if self._fits(len(data)):
                if best is None or len(data) >= len(best):
                    best = data
                if len(data) >= _ENOUGH * self._budget:
                    break
                low = quality + 1
            elif best is None:
                break
            else:
                high = quality
            quality = (low + high) // 2
            if self._name == "avif" and high - low < 2:
                break  # 100 qualities are 64 quantizers: the last probe mostly repeats one
        return best

    def jpeg2000(self, picture: Image.Image, section_bytes: int) -> tuple[bytes, ...] | None:
        """Return header and layers that fill the budget; None where they cannot be made to fit it."""
        side = min(picture.size)
        levels = max(n for n in range(classical.MAX_LEVELS + 1) if n == 0 or side >> n >= _LL_SIDE)
        header = classical.jpeg2000_header_bytes(levels)
        count = max(1, min(_LAYERS, self._budget // section_bytes))
        shares = [
            share
            for n in range(1, count + 1)
            if (share := n / count) == 1 or share * self._budget >= header + _LEAST_LAYER_BYTES
        ]
        empty = header + 3 * (levels + 1) * len(shares)
        best: tuple[bytes, ...] | None = None
        used = 0
        # OpenJPEG meets a rate to some bytes only: ask, see what came, ask again between the bounds.
        ask, fitted, missed = float(self._budget), 0.0, math.inf
        for attempt in range(2 * _ASKS):
            if attempt >= _ASKS and best is not None:
                break
            sections = _jpeg2000(picture, levels, [ask * share for share in shares])
            size = sum(map(len, sections))
            if size <= empty:
                fitted = ask
                ask += max(abs(self._budget - size), header // 2)
            elif self._fits(size):
                fitted = ask
                if size > used:
                    best, used = sections, size
                if size >= _ENOUGH * self._budget:
                    break
                ask += self._budget - size
            else:
                missed = ask
                # At least 1 %: sizes move in steps, and single bytes less would ask for the same step again.
                ask -= max(size - self._budget, 0.01 * self._budget)
            if not fitted < ask < missed:
                ask = (fitted + missed) / 2
        return best


def _sizes(width: int, height: int) -> list[tuple[int, int]]:
    """Full size, then 1/2, 1/3, 1/4, 1/6, 1/8, 1/12, ... of it in width and height."""
    sizes = [(width, height)]
    factors = [2, 3]
    while min(width, height) >= _LEAST_SIDE * factors[0]:
        sizes.append((round(width / factors[0]), round(height / factors[0])))
        factors = [factors[1], 2 * factors[0]]
    return sizes


def _open(name: str, data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=[name.upper()]) as picture:
        return picture.convert("RGB")


_OPTIONS: dict[str, dict[str, Any]] = {
    "webp": {"method": 4, "exact": True},
    # One thread: their number changes the bytes. Speeds 9 and 10 cost 0.3 to 0.7 dB, 6 takes thrice as long.
    "avif": {"speed": 8, "max_threads": 1, "subsampling": "4:2:0"},
    "jpeg": {"optimize": True, "subsampling": "4:2:0"},
}


def _save(name: str, picture: Image.Image, quality: int, *, progressive: bool) -> bytes:
    options = _OPTIONS[name] | ({"progressive": True} if progressive else {})
    file = io.BytesIO()
    picture.save(file, name.upper(), quality=quality, **options)
    return classical.jpeg_strip(file.getvalue()) if name == "jpeg" else file.getvalue()


def _jpeg2000(picture: Image.Image, levels: int, targets: list[float]) -> tuple[bytes, ...]:
    """Sections of a codestream whose layers end near *targets* bytes."""
    raw_bytes = 3 * picture.width * picture.height
    file = io.BytesIO()
    picture.save(
        file,
        "JPEG2000",
        no_jp2=True,
        irreversible=True,
        progression="LRCP",
        mct=1,
        plt=True,
        num_resolutions=levels + 1,
        quality_mode="rates",
        quality_layers=[raw_bytes / (target + _LEFT_OUT_BYTES) for target in targets],
    )
    return classical.jpeg2000_sections(file.getvalue())
