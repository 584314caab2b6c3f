"""Pictures for viewers: as they are where there are few, else re-coded once; the last hundred or two within 3 MB.

A demo that adds its own artefacts lies: up to two pictures of a kind in a second go to a viewer on this machine
losslessly, others as JPEG 95 with full colour, and each says which it is.
"""

import io
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from link import png
from link.frame import MAX_PIXELS
from scenarios.scoring.quality import psnr_db

MOST_BYTES = 3_000_000
LOSSLESS_EACH_S = 2
"""Pictures of a kind in a second up to which they are left as they are."""
_JPEG: Mapping[str, Any] = {"quality": 95, "subsampling": "4:4:4"}
# Dark violet to light yellow in even steps of lightness, near is light: corners of matplotlib's "magma".
_DEPTH_CORNERS = np.array(
    [
        [0, 0, 4],
        [41, 17, 90],
        [114, 31, 129],
        [183, 55, 121],
        [241, 96, 93],
        [254, 176, 120],
        [252, 253, 191],
    ],
    np.float64,
)
_STEPS = np.linspace(0.0, len(_DEPTH_CORNERS) - 1.0, 256)
_DEPTH = np.stack(
    [np.interp(_STEPS, np.arange(len(_DEPTH_CORNERS)), part) for part in _DEPTH_CORNERS.T], axis=-1
)
_DEPTH_COLOURS = np.vstack([_DEPTH.round(), [[128, 128, 128]]]).astype(np.uint8)
"""256 steps from far to near, then what is not known."""


@dataclass(slots=True)
class ShownPicture:
    """A picture that viewers may be shown."""

    kind: str
    """`sent`, `received`, `rival`, `tiles`, or the task of what was found."""
    frame: int
    png: bytes | None
    """The file as the journal has it; None where only the re-coded one was kept."""
    keeps: bool
    """Whether viewers get it losslessly."""
    coded: bytes | None = None
    """As JPEG, made when it is first asked for."""

    @property
    def name(self) -> str:
        """Its id among viewers: `sent-12`."""
        return f"{self.kind}-{self.frame}"

    @property
    def size_bytes(self) -> int:
        """Bytes that are kept."""
        return len(self.png or b"") + len(self.coded or b"")

    def file(self, *, lossless: bool = False) -> tuple[str, bytes, bool]:
        """Return (MIME type, bytes, whether it is lossless) for a viewer; *lossless*: if it can be had."""
        if self.png is not None and (lossless or self.keeps or not self.recode()):
            return "image/png", self.png, True
        assert self.coded is not None
        return "image/jpeg", self.coded, False

    def recode(self) -> bool:
        """Make the JPEG; return whether there is one: a damaged file is passed on as it is."""
        if self.coded is None and self.png is not None:
            try:
                self.coded = _encode_jpeg(self.png)
            except Exception:  # Pillow's reader raises a dozen types for damaged files
                return False
        return True


def _encode_jpeg(data: bytes) -> bytes:
    out = io.BytesIO()
    Image.fromarray(png.decode(data)).save(out, "JPEG", **_JPEG)
    return out.getvalue()


class PictureRing:
    """The newest pictures of each frame, within `MOST_BYTES`; of old ones only what was re-coded is kept.

    *local*: viewers are on this machine, so that a picture may be large.
    """

    def __init__(self, *, local: bool, most_bytes: int = MOST_BYTES) -> None:
        self._local, self._most = local, most_bytes
        self._held: OrderedDict[str, ShownPicture] = OrderedDict()
        self._bytes = 0
        self._times: dict[str, deque[float]] = {}

    def add(self, kind: str, frame: int, data: bytes, wall_s: float, *, always: bool = False) -> ShownPicture:
        """Keep a PNG file that came at second *wall_s*; *always*: it is small and drawn, and stays lossless."""
        times = self._times.setdefault(kind, deque(maxlen=LOSSLESS_EACH_S))
        few = len(times) < LOSSLESS_EACH_S or wall_s - times[0] >= 1.0
        times.append(wall_s)
        picture = ShownPicture(kind, frame, data, always or (self._local and few))
        if (before := self._held.pop(picture.name, None)) is not None:
            self._bytes -= before.size_bytes
        self._held[picture.name] = picture
        self._bytes += picture.size_bytes
        self._shrink(picture)
        return picture

    def get(self, name: str) -> ShownPicture | None:
        """Return the picture *name*, None where it is not kept."""
        return self._held.get(name)

    def file(self, picture: ShownPicture, *, lossless: bool = False) -> tuple[str, bytes, bool]:
        """Return `ShownPicture.file`, and account for what that makes."""
        before = picture.size_bytes
        made = picture.file(lossless=lossless)
        if picture.name in self._held:
            self._bytes += picture.size_bytes - before
            self._shrink(picture)
        return made

    @property
    def size_bytes(self) -> int:
        """Bytes of all that is kept."""
        return self._bytes

    def _shrink(self, newest: ShownPicture) -> None:
        """Let go: first of lossless files from the oldest on, then of pictures."""
        if self._bytes <= self._most:
            return
        for picture in list(self._held.values()):
            if self._bytes <= self._most * 3 // 4:  # so that it is not looked for at every picture
                return
            if picture is not newest and picture.png is not None:
                before = picture.size_bytes
                if picture.recode():
                    picture.png = None
                self._bytes += picture.size_bytes - before
        while self._bytes > self._most and len(self._held) > 1:
            _, gone = self._held.popitem(last=False)
            self._bytes -= gone.size_bytes


def psnr(sent: bytes, received: bytes) -> float | None:
    """Return the PSNR in dB of two PNG files as `farlink run` gives it.

    None: they are equal, of two sizes, or damaged.
    """
    if png.size(sent) != png.size(received):
        return None
    try:
        return psnr_db(png.decode(sent), png.decode(received))
    except Exception:  # Pillow's reader raises a dozen types for damaged files
        return None


def shown_depth(data: bytes, *, metric: bool) -> bytes:
    """Return a depth map (PNG of 16 bits, `link.analysis.findings`) in colours, near is light."""
    with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError("too large a picture")
        values = np.asarray(picture, np.float32)
    is_known = values > 0
    logs = np.log(np.maximum(values, 1.0))
    known = logs[is_known]
    share = np.zeros_like(logs)
    if known.size:
        low, high = np.percentile(known, (1, 99))
        share = np.clip((logs - low) / max(high - low, 1e-9), 0.0, 1.0)
    near = 1.0 - share if metric else share
    steps = np.where(is_known, np.rint(255.0 * near), 256).astype(np.intp)
    return png.encode(_DEPTH_COLOURS[steps])
