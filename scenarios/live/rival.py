"""The same bytes by a classical codec: what a viewer compares a picture with. A process of its own (`helper.py`).

Encoders leave tens of megabytes behind, and a picture takes 20 to 50 ms: neither is the page's.
"""

import io
from typing import Any

import numpy as np
from PIL import Image

from link import png
from link.codecs import classical
from link.errors import BudgetError
from link.frame import Frame, Pixels
from scenarios.live.wire import serve
from scenarios.scoring.quality import psnr_db
from sender.codecs.classical import ClassicalEncoder

_TITLES = {"webp": "WebP", "jpeg2000": "JPEG 2000", "avif": "AVIF"}
"""Those that are tried; the first is what people know, the others where it cannot go so low. AVIF's encoder comes last:
it takes 40 MB and the most time."""
_NICE = 10  # whoever draws pictures goes first


def encode(data: bytes, budget_bytes: int, codec: str) -> tuple[dict[str, Any], bytes | None]:
    """Return what the picture in the PNG file *data* comes to within its bytes, and what is seen of it as a PNG file.

    By WebP, else by the better of the others; never by *codec*, the session's own. Where none can go so low it says
    how low each goes, under no name.
    """
    pixels = png.decode(data)
    names = [name for name in _TITLES if name != codec]
    unfit: list[str] = []
    found: dict[str, tuple[float, int, Pixels]] = {}
    for name in names:
        if found and name != names[0] and not unfit:
            break
        try:
            size, shown = _encode(name, pixels, budget_bytes)
        except BudgetError as error:
            unfit.append(f"{_TITLES[name]} cannot go under {error.least_bytes} bytes")
            continue
        found[name] = psnr_db(pixels, shown) or 1e9, size, shown
    words = ", ".join(unfit) or None
    if not found:
        return {"codec": "", "bytes": 0, "words": words}, None
    best = max(found, key=lambda name: found[name][0])
    _, size, shown = found[best]
    return {"codec": _TITLES[best], "bytes": size, "words": words}, png.encode(shown)


def _encode(name: str, pixels: Pixels, budget: int) -> tuple[int, Pixels]:
    """Return the bytes of *pixels* by *name*, and what is seen of them. Raise BudgetError where it does not fit."""
    payload = ClassicalEncoder(name, budget, budget).encode(Frame(0, 0, pixels, ""))
    sections = [section for section in payload.sections if section is not None]
    with Image.open(io.BytesIO(classical.rebuild(name, tuple(sections))), formats=[name.upper()]) as picture:
        shown = picture.convert("RGB")
    full = pixels.shape[1], pixels.shape[0]
    if shown.size != full:
        shown = shown.resize(full, Image.Resampling.LANCZOS)
    return payload.size_bytes, np.asarray(shown)


def answer(task: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    """Do the *task* of a page: its one blob is the picture."""
    made, shown = encode(blobs[0], task["budget_bytes"], task["codec"])
    return made, [] if shown is None else [shown]


if __name__ == "__main__":
    serve(answer, _NICE)
