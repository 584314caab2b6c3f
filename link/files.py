"""Files that somebody names: read whole within a bound, and told apart from what is no file, in one line."""

import stat
from pathlib import Path

from link.errors import UsageError
from link.terminal import escape


def check_file(path: Path) -> int:
    """Return the bytes of the regular file at *path*. Raise UsageError where there is none.

    A device or a pipe has no end that could be known before it is read, and may never have one.
    """
    try:
        about = path.stat()
    except OSError as error:
        raise UsageError(f"{brief(path)}: cannot be read: {error.strerror}") from None
    except ValueError:  # a NUL, or half of a surrogate pair that stands for no byte
        raise UsageError(f"{brief(path)}: no name that a file can have") from None
    if not stat.S_ISREG(about.st_mode):
        raise UsageError(f"{brief(path)}: not a file")
    return about.st_size


def read_within(path: Path, most_bytes: int) -> bytes:
    """Return what is in the file at *path*. Raise UsageError where that cannot be read, or is over *most_bytes*."""
    if check_file(path) > most_bytes:
        raise UsageError(f"{brief(path)}: over {most_bytes} bytes")
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)  # it may grow meanwhile
    except OSError as error:
        raise UsageError(f"{brief(path)}: cannot be read: {error.strerror}") from None
    if len(data) > most_bytes:
        raise UsageError(f"{brief(path)}: over {most_bytes} bytes")
    return data


def brief(text: object, most: int = 300) -> str:
    """Return *text* as a line of an error shows it: what is no plain letter spelled out; of one over *most*
    characters its beginning and its end."""
    whole = escape(str(text))
    return whole if len(whole) <= most else f"{whole[: most // 2]}...{whole[-most // 2 :]}"
