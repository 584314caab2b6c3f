"""The sender's process: `python -m sender --connect ADDRESS`. Camera and encoder for the link at ADDRESS."""

import sys
import time

from link.config import Session
from link.entry import end_main
from link.fingerprint import fingerprint
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
    """Send frames until the link says goodbye; return the exit code."""
    return end_main("sender", build, argv)


if __name__ == "__main__":
    sys.exit(main())
