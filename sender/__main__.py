"""The sender's process: `python -m sender`, told its link on standard input. Camera and encoder for that link."""

import sys
import time
from collections.abc import Iterator

from link.config import Session
from link.end import Core
from link.entry import end_main
from link.errors import UsageError
from link.fingerprint import fingerprint, short
from link.team import Team
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
) -> tuple[Core, str]:
    """Return the sender's core and its fingerprint. Raise UsageError where the source cannot be opened.

    *shots* and *encoder* take the place of those that *session* asks for; *shots* are one camera's. Where the session
    has several senders the core is a `Team` of them, each with a camera and an encoder of its own.
    """
    own = fingerprint(session)
    if session.senders and shots is not None:
        raise UsageError("senders: what shows one camera's frames again shows no others'")
    cores = []
    for place in range(len(session.origins)):
        camera, seed = session.camera_of(place)
        mine = session.model_copy(update={"camera": camera})
        seen = open_source(camera, seed=seed) if shots is None else shots
        coder = ENCODERS[session.codec.name](mine) if encoder is None else encoder
        control = RateControl.from_session(mine, times) if is_controlled(session) else None
        cores.append(Sender(mine, times, seen, coder, own, time.perf_counter, control))
    return (Team(session, cores, short(own), 0) if session.senders else cores[0]), own


def main(argv: list[str] | None = None) -> int:
    """Send frames until the link says goodbye; return the exit code."""
    return end_main("sender", build, argv)


if __name__ == "__main__":
    sys.exit(main())
