"""The receiver's process: `python -m receiver --connect ADDRESS`. Decoder for the link at ADDRESS."""

import sys
import time

from link.config import Session
from link.entry import end_main
from link.fingerprint import fingerprint
from link.timing import Times
from receiver.codecs import DECODERS
from receiver.receiver import Receiver


def build(session: Session, times: Times) -> tuple[Receiver, str]:
    """Return the receiver's core and its fingerprint."""
    own = fingerprint(session)
    decoder = DECODERS[session.codec.name](session)
    return Receiver(session, times, decoder, own, time.perf_counter), own


def main(argv: list[str] | None = None) -> int:
    """Receive frames until the link says goodbye; return the exit code."""
    return end_main("receiver", build, argv)


if __name__ == "__main__":
    sys.exit(main())
