"""What the process entries share: exit codes, one line on stderr, the arguments of a sender or receiver."""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from link.errors import FarlinkError, PartialError
from link.memory import keep_blocks
from link.peer import Build, serve
from link.terminal import escape


def end_with(work: Callable[[], None], name: str) -> int:
    """Run *work*; return the exit code, after one line on stderr where it failed."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise PartialError(f"the {name} was stopped")

    signal.signal(signal.SIGTERM, stop)
    try:
        work()
    except FarlinkError as error:
        print(f"farlink {name}: {escape(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 3
    return 0


def end_main(role: str, build: Build, argv: list[str] | None) -> int:
    """Play *role*, made by *build*, for the link that *argv* or standard input names; return the exit code.

    With --supervised the parent writes the address and a password to standard input, and closes it to stop us.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {role}")
    parser.add_argument("--connect", metavar="ADDRESS", help="the link's address, as tcp://127.0.0.1:5555")
    parser.add_argument("--supervised", action="store_true", help="address and password on standard input")
    options = parser.parse_args(argv)
    if options.connect is None and not options.supervised:
        parser.error("--connect ADDRESS is needed")

    keep_blocks()

    def work() -> None:
        address, token = options.connect, ""
        if options.supervised:
            address, _, token = sys.stdin.readline().strip().partition(" ")
            if not address:
                raise PartialError("the run ended before the link was there")
        serve(role, address, build, token=token, supervised=options.supervised)

    return end_with(work, role)
