"""The process of the receiver's models: `python -m receiver.child`, started and told by `receiver.isolated`.

Reads requests on standard input and answers each on standard output, as `receiver.pipe` has them:

    load    {session}                          -> loaded   {models}      or error {exit_code, message}
    decode  {sections, session?} + sections    -> picture  {shape} + its bytes, or nothing {}
    look    {shape} + a picture                -> seen     {items} + PNG files

What a model raises ends this process: who asked starts another, and nothing that is half done is used again.
"""

import ctypes
import os
import queue
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

from link.analysis.analyst import Analyst
from link.config import Session
from link.errors import FarlinkError
from link.frame import Payload
from link.memory import keep_blocks
from link.pretrained import first_line
from link.stdin import take_stdin
from receiver.codecs import DECODERS
from receiver.decoder import Decoder, SteeredPart
from receiver.pipe import Message, Reader, pack

_PR_SET_PDEATHSIG = 1
_BLOCK = 1 << 20


def _end_with(parent: int) -> None:
    """Have the system end this process when *parent* ends, even while a library computes or hangs."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # Where memory runs out, this process is the one to go: it costs a picture, the others the run.
        try:
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")
        except OSError:  # not this system's way
            pass
    if os.getppid() != parent:  # it ended before that
        os._exit(0)


class _Models:
    """Decoder and analyst of one session."""

    def __init__(self, session: Session) -> None:
        if session.profile.memory_bytes is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (session.profile.memory_bytes,) * 2)
        self._decoder: Decoder = DECODERS[session.codec.name](session)
        told = DECODERS[session.codec.name].onlooker is not None  # then no picture is looked at
        self._analyst = None if told else Analyst.from_session(session)
        self.about = [] if self._analyst is None else self._analyst.about

    def adjust(self, session: Session) -> None:
        """Go on as *session* says."""
        for part in (self._decoder, self._analyst):
            if isinstance(part, SteeredPart):
                part.adjust(session)

    def decode(self, sections: Sequence[bool], blobs: Sequence[bytes]) -> list[bytes]:
        """Return the answer for a payload with the *blobs* where *sections* says that one is there."""
        rest = iter(blobs)
        pixels = self._decoder.decode(Payload(tuple(next(rest) if there else None for there in sections)))
        if pixels is None:
            return pack({"is": "nothing"})
        return pack({"is": "picture", "shape": pixels.shape}, [pixels.tobytes()])

    def look(self, shape: Sequence[int], data: bytes) -> list[bytes]:
        """Return the answer for the picture of *shape* in *data*."""
        assert self._analyst is not None
        seen = self._analyst.look(np.frombuffer(data, np.uint8).reshape(shape).copy())
        items = [[kind, fields, picture is not None] for kind, fields, picture in seen]
        pictures = [picture for _, _, picture in seen if picture is not None]
        return pack({"is": "seen", "items": items}, pictures)


def _answer(
    models: _Models | None, fields: dict[str, Any], blobs: list[bytes]
) -> tuple[_Models, list[bytes]]:
    if models is None:
        models = _Models(Session.model_validate(fields["session"]))
        return models, pack({"is": "loaded", "models": models.about})
    if "session" in fields:  # changed since the last request
        models.adjust(Session.model_validate(fields["session"]))
    if fields["do"] == "decode":
        return models, models.decode(fields["sections"], blobs)
    return models, models.look(fields["shape"], blobs[0])


def main(argv: Sequence[str] | None = None) -> int:
    """Answer requests until standard input closes; *argv* is the parent's process id."""
    (parent,) = sys.argv[1:] if argv is None else argv
    orders = take_stdin()
    # What libraries print must not come between the answers.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _end_with(int(parent))
    keep_blocks()
    requests: queue.Queue[Message] = queue.Queue()
    threading.Thread(target=_listen, args=(orders, requests), daemon=True).start()
    models: _Models | None = None
    while True:
        try:
            models, answer = _answer(models, *requests.get())
        except FarlinkError as error:
            answer = pack({"is": "error", "exit_code": error.exit_code, "message": str(error)})
        except Exception as error:  # whatever models raise: the last line is what our parent tells of it
            traceback.print_exc()
            print(f"{type(error).__name__}: {first_line(error)}", file=sys.stderr, flush=True)
            return 1
        for part in answer:
            out.write(part)
        out.flush()


def _listen(orders: IO[bytes] | None, requests: "queue.Queue[Message]") -> None:
    """Put what comes on *orders* into *requests*; end this process when nothing more can come."""
    reader = Reader()
    while orders is not None and (block := os.read(orders.fileno(), _BLOCK)):
        for message in reader.take(block):
            requests.put(message)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
