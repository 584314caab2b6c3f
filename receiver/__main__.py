"""The receiver's process: `python -m receiver --connect ADDRESS`. Decoder and
analysis models for the link at ADDRESS.
"""

import sys
import time

from link.config import Session
from link.entry import end_main
from link.fingerprint import fingerprint
from link.timing import Times
from receiver.analysis.analyst import Analyst
from receiver.codecs import DECODERS
from receiver.decoder import Decoder, Onlooker
from receiver.receiver import Receiver


def build(
    session: Session, times: Times, *, decoder: Decoder | None = None, analyst: Onlooker | None = None
) -> tuple[Receiver, str]:
    """Return the receiver's core and its fingerprint.

    *decoder* and *analyst* take the place of those that *session* asks for.
    """
    own = fingerprint(session)
    if decoder is None:
        decoder = DECODERS[session.codec.name](session)
    if analyst is None:
        analyst = Analyst.from_session(session)
    return Receiver(session, times, decoder, own, time.perf_counter, analyst), own


def main(argv: list[str] | None = None) -> int:
    """Receive frames until the link says goodbye; return the exit code."""
    return end_main("receiver", build, argv)


if __name__ == "__main__":
    sys.exit(main())
