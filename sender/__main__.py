"""The sender's process: `python -m sender --connect ADDRESS`. Camera and encoder for the link at ADDRESS."""

import argparse
import sys
import time
from pathlib import Path

from link.config import Session
from link.entry import end_with
from link.errors import PartialError
from link.fingerprint import fingerprint
from link.relay import serve
from link.timing import Times
from sender.camera import open_source
from sender.codecs import ENCODERS
from sender.sender import Sender


def build(session: Session, times: Times) -> tuple[Sender, str]:
    """Return the sender's core and its fingerprint. Raise UsageError where the source cannot be opened."""
    shots = open_source(session.camera, seed=session.seed)
    own = fingerprint(session)
    encoder = ENCODERS[session.codec.name](session)
    return Sender(session, times, shots, encoder, own, time.perf_counter), own


def main(argv: list[str] | None = None) -> int:
    """Send frames until the link says goodbye."""
    parser = argparse.ArgumentParser(prog="python -m sender", description=__doc__)
    parser.add_argument("--connect", metavar="ADDRESS", help="the link's address, as tcp://127.0.0.1:5555")
    parser.add_argument("--source", help="camera, instead of the scenario's")
    parser.add_argument("--curve", type=Path, help="folder with CURVE keys")
    parser.add_argument(
        "--supervised", action="store_true", help="address and token on standard input; stop at its end"
    )
    options = parser.parse_args(argv)
    if options.connect is None and not options.supervised:
        parser.error("--connect ADDRESS is needed")

    def made(session: Session, times: Times) -> tuple[Sender, str]:
        if options.source is not None:
            camera = session.camera.model_copy(update={"source": options.source})
            session = session.model_copy(update={"camera": camera})
        return build(session, times)

    def work() -> None:
        address, token = options.connect, ""
        if options.supervised:
            address, _, token = sys.stdin.readline().strip().partition(" ")
            if not address:
                raise PartialError("the run ended before the link was there")
        serve(
            "sender",
            address,
            made,
            curve=options.curve,
            token=token,
            supervised=options.supervised,
            source=options.source,
        )

    return end_with(work, "sender")


if __name__ == "__main__":
    sys.exit(main())
