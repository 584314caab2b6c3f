"""The rival's process (`scenarios.live.rival`): a picture and a budget in, what a classical codec makes of them out.

    u32 length | JSON | PNG      on standard input the task, on standard output what came of it

Encoders leave tens of megabytes behind, and a picture takes 20 to 50 ms: neither is the page's. It ends when its
standard input does.
"""

import io
import json
import os
from typing import IO, Any

import numpy as np
from PIL import Image

from link import png
from link.codecs import classical
from link.errors import BudgetError
from link.frame import Frame, Pixels
from link.stdin import take_stdin
from scenarios.live.rival import pack
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


def _read(pipe: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    head = pipe.read(4)
    if len(head) < 4:
        return None
    about: dict[str, Any] = json.loads(pipe.read(int.from_bytes(head, "little")))
    return about, pipe.read(about["size"])


def main() -> None:
    """Do one task after the other until standard input ends."""
    os.nice(_NICE)
    # What libraries print must not come between the answers.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    orders = take_stdin()
    while orders is not None and (task := _read(orders)) is not None:
        about, data = task
        made, shown = encode(data, about["budget_bytes"], about["codec"])
        out.write(pack(made, shown or b""))
        out.flush()


if __name__ == "__main__":
    main()
