"""What the three process entries share: exit codes, one line on stderr."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from link.errors import FarlinkError, PartialError


def end_with(work: Callable[[], None], name: str) -> int:
    """Run *work*; return the exit code, after one line on stderr where it failed."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise PartialError(f"the {name} was stopped")

    signal.signal(signal.SIGTERM, stop)
    try:
        work()
    except FarlinkError as error:
        print(f"farlink {name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 3
    return 0
