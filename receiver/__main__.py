"""The receiver's process: `python -m receiver --connect ADDRESS`. Decoder for the link at ADDRESS."""

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
from receiver.codecs import DECODERS
from receiver.receiver import Receiver


def build(session: Session, times: Times) -> tuple[Receiver, str]:
    """Return the receiver's core and its fingerprint."""
    own = fingerprint(session)
    decoder = DECODERS[session.codec.name](session)
    return Receiver(session, times, decoder, own, time.perf_counter), own


def main(argv: list[str] | None = None) -> int:
    """Receive frames until the link says goodbye."""
    parser = argparse.ArgumentParser(prog="python -m receiver", description=__doc__)
    parser.add_argument("--connect", metavar="ADDRESS", help="the link's address, as tcp://127.0.0.1:5555")
    parser.add_argument("--curve", type=Path, help="folder with CURVE keys")
    parser.add_argument(
        "--supervised", action="store_true", help="address and token on standard input; stop at its end"
    )
    options = parser.parse_args(argv)
    if options.connect is None and not options.supervised:
        parser.error("--connect ADDRESS is needed")

    def work() -> None:
        address, token = options.connect, ""
        if options.supervised:
            address, _, token = sys.stdin.readline().strip().partition(" ")
            if not address:
                raise PartialError("the run ended before the link was there")
        serve("receiver", address, build, curve=options.curve, token=token, supervised=options.supervised)

    return end_with(work, "receiver")


if __name__ == "__main__":
    sys.exit(main())
