"""How commands print: results to stdout, all else to stderr, and nothing from outside raw to a terminal."""

import errno
import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from link.errors import FarlinkError, StorageError, UsageError
from link.files import brief
from link.terminal import escape

_LINE = 1000
"""Characters of an error."""


def say(line: str) -> None:
    """Print *line* to stderr as one of farlink's: on a single line, whatever is in it, and harmless."""
    print(f"farlink: {escape(line)}", file=sys.stderr, flush=True)


def show(lines: Iterable[str]) -> None:
    """Print *lines* to stdout, each on a line of its own, whatever is in it, and harmless to a terminal."""
    for line in lines:
        print(escape(line))
    sys.stdout.flush()


def show_json(value: Any) -> None:
    """Print *value* to stdout as JSON, in ASCII, so that it is harmless to a terminal as well."""
    print(json.dumps(value, indent=1, default=str), flush=True)


def os_error(error: OSError) -> FarlinkError:
    """Return what *error* says to people: a name that no file can have is their mistake, all else is the disk's."""
    if error.errno == errno.ENAMETOOLONG:
        return UsageError(f"{brief(error.filename)}: {error.strerror}")
    return StorageError(f"cannot write: {error.strerror or error}")


def say_error(line: str, exit_code: int, as_json: bool) -> None:
    """Print the line of an error to stderr, and with *as_json* the object `{"error", "exit_code"}` to stdout.

    What is longer than a screen is cut in its middle: a name in it may have any length.
    """
    line = brief(line, _LINE)
    say(line)
    try:
        if as_json:
            show_json({"error": line, "exit_code": exit_code})
        sys.stdout.flush()
    except OSError:  # it is stdout that cannot be written; what is left in its buffer must not fail again
        drop_output()


def drop_output() -> None:
    """Send what is still to be printed nowhere: nobody reads it, or it does not fit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
