"""The sender's process: `python -m sender`, told its link on standard input. Camera and encoder for that link."""

import sys
import time
from collections.abc import Iterator

from link.config import Session
from link.entry import end_main
from link.fingerprint import fingerprint
from link.timing import Times
from sender.camera import Shot, Skipped, open_source
from sender.codecs import ENCODERS
from sender.encoder import Encoder
from sender.rate_control import RateControl, is_controlled
from sender.sender import Sender


def build(
    session: Session,
    times: Times,
    *,
    shots: Iterator[Shot | Skipped] | None = None,
    encoder: Encoder | None = None,
) -> tuple[Sender, str]:
    """Return the sender's core and its fingerprint. Raise UsageError where the source cannot be opened.

    *shots* and *encoder* take the place of those that *session* asks for.
    """
    if shots is None:
        shots = open_source(session.camera, seed=session.seed)
    own = fingerprint(session)
    if encoder is None:
        encoder = ENCODERS[session.codec.name](session)
    control = RateControl.from_session(session, times) if is_controlled(session) else None
    return Sender(session, times, shots, encoder, own, time.perf_counter, control), own


def main(argv: list[str] | None = None) -> int:
    """Send frames until the link says goodbye; return the exit code."""
    return end_main("sender", build, argv)


if __name__ == "__main__":
    sys.exit(main())
