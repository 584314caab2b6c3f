"""How commands print: results to stdout, all else to stderr, and nothing from outside raw to a terminal."""

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from link.terminal import escape


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


def say_error(line: str, exit_code: int, as_json: bool) -> None:
    """Print the line of an error to stderr, and with *as_json* the object `{"error", "exit_code"}` to stdout."""
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
