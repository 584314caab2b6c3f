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
from link.stdin import take_stdin
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
    """Play *role*, made by *build*, for the link that standard input names; return the exit code.

    The parent writes the address and a password there, and closes it to stop us. Who has no such parent uses
    `farlink send` and `farlink receive`, which trust their link less.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {role}")
    parser.add_argument(
        "--supervised", action="store_true", required=True, help="what to do is on standard input"
    )
    parser.parse_args(argv)
    orders = take_stdin()
    keep_blocks()

    def work() -> None:
        line = b"" if orders is None else orders.readline()
        address, _, token = line.decode().strip().partition(" ")
        if not address:
            raise PartialError("the run ended before the link was there")
        serve(role, address, build, token=token, orders=orders)

    return end_with(work, role)
