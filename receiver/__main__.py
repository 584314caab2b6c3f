"""The receiver's process: `python -m receiver`, told its link on standard input. Decoder and analysis models run in a
process of their own, `receiver.child`.
"""

import contextlib
import sys
import time
from collections.abc import Iterator

from link.analysis.analyst import Analyst
from link.config import Session
from link.end import Core
from link.entry import end_main
from link.fingerprint import fingerprint, short
from link.peer import Build
from link.team import Team
from link.timing import Times
from receiver.codecs import DECODERS
from receiver.decoder import Decoder, Onlooker, SectionOnlooker
from receiver.isolated import Isolated
from receiver.receiver import Receiver


def build(
    session: Session, times: Times, *, decoder: Decoder | None = None, analyst: Onlooker | None = None
) -> tuple[Core, str]:
    """Return the receiver's core and its fingerprint.

    *decoder* and *analyst* take the place of those that *session* asks for; a codec that sends findings needs none.
    Where the session has several senders the core is a `Team` of receivers, one of each, which draw by one decoder.
    """
    own = fingerprint(session)
    if decoder is None:
        decoder = DECODERS[session.codec.name](session)
    looks: Onlooker | SectionOnlooker | None = analyst
    if (onlooker := DECODERS[session.codec.name].onlooker) is not None:
        looks = onlooker(session)
    elif analyst is None:
        looks = Analyst.from_session(session)
    cores = [
        Receiver(session, times, decoder, own, time.perf_counter, looks) for _ in range(len(session.origins))
    ]
    return (Team(session, cores, short(own), None) if session.senders else cores[0]), own


@contextlib.contextmanager
def isolating() -> Iterator[Build]:
    """Give a `build` whose decoder and analysis models run in a child process, which ends with the context."""
    with Isolated(time.perf_counter) as models:

        def build_isolated(session: Session, times: Times) -> tuple[Core, str]:
            models.load(session)
            return build(session, times, decoder=models, analyst=models if session.analysis else None)

        yield build_isolated


def main(argv: list[str] | None = None) -> int:
    """Receive frames until the link says goodbye; return the exit code."""
    with isolating() as build_isolated:
        return end_main("receiver", build_isolated, argv)


if __name__ == "__main__":
    sys.exit(main())
