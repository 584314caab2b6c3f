"""The process of the receiver's models with a decoder and an analyst that end it on demand: `python toy_child.py PID`."""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from link.errors import FarlinkError, ModelMissingError


def end(how: str) -> None:
    """End this process in the way *how*."""
    if how == "segfault":
        ctypes.string_at(0)
    elif how == "abort":
        os.abort()
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif how == "exit":
        os._exit(7)
    elif how == "raise":
        raise RuntimeError("CUDA error: an illegal memory access\nwas encountered")
    elif how == "memory":
        held = []
        while True:
            held.append(np.empty(1 << 22))
    elif how == "hang":
        while True:
            time.sleep(1)
    elif how == "grip":  # hangs without letting another thread of Python's run
        ctypes.PyDLL(None).sleep(1000)
    elif how == "nonsense":
        os.write(int(os.environ["TOY_OUT"]), b"\xff" * 100)
        time.sleep(1000)
    elif how == "trickle":
        os.write(int(os.environ["TOY_OUT"]), b"\x00\xff\xff\xff")
        while True:
            os.write(int(os.environ["TOY_OUT"]), b" ")
            time.sleep(0.01)
    elif how == "refuse":
        error = FarlinkError("this session is over")
        error.exit_code = 5
        raise error


class Toy:
    """Shows a picture of the first section's first byte; a section that names an end ends the process."""

    def decode(self, payload: Any) -> Any:
        print("what a library prints")
        first = payload.sections[0]
        if first is None:
            return None
        if first.isalpha():
            end(first.decode())
        return np.full((48, 64, 3), first[0], np.uint8)


class Looker:
    """Finds nothing in pictures; those of a bright colour end the process."""

    def __init__(self) -> None:
        self.about = [{"task": "depth", "model": "toy", "stamp": "0"}]

    def look(self, pixels: Any) -> Any:
        if pixels[0, 0, 0] > 200:
            end("segfault")
        return [("found", {**self.about[0], "mean": float(pixels.mean())}, b"map")]


class Counting:
    """A real decoder that ends its process at the pictures that `TOY_ENDS` names, as in `2:segfault,5:hang`.

    They are counted over all processes, in the file `TOY_COUNT`.
    """

    def __init__(self, real: Any) -> None:
        self._real = real

    def decode(self, payload: Any) -> Any:
        count = Path(os.environ["TOY_COUNT"])
        number = len(count.read_bytes()) if count.is_file() else 0
        with count.open("ab") as file:
            file.write(b".")
        ends = dict(item.split(":") for item in os.environ["TOY_ENDS"].split(","))
        end(ends.get(str(number), ""))
        return self._real.decode(payload)


def install() -> None:
    """Have the decoders of this process be `Counting`."""
    from receiver import codecs

    for name, row in list(codecs.DECODERS.items()):
        codecs.DECODERS[name] = codecs.DecoderRow(lambda session, row=row: Counting(row(session)))  # type: ignore[misc]


def make(session: Any) -> Toy:
    """Return the toy, or fail to in the way that the session's name says."""
    if session.name == "missing":
        raise ModelMissingError("no such model")
    if session.name == "once" and (marker := Path(os.environ["TOY_COUNT"])).exists():
        end("segfault" if marker.read_text() == "" else marker.read_text())
        raise ModelMissingError("it is gone")
    if session.name == "once":
        marker.touch()
    if session.name in ("segfault", "raise", "hang"):
        end(session.name)
    return Toy()


if __name__ == "__main__":
    from receiver import child, codecs

    os.environ["TOY_OUT"] = str(os.dup(1))
    codecs.DECODERS["jpeg2000"] = codecs.DecoderRow(make)
    child.Analyst.from_session = lambda session: Looker() if session.analysis else None  # type: ignore
    sys.exit(child.main())
