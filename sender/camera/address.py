"""Addresses of cameras, as they are written and shown; nothing is opened here, and no library is loaded for it."""

from urllib.parse import urlsplit

from link.errors import UsageError
from link.terminal import shorten

SCHEMES = ("rtsp", "http", "https", "tcp")
BROWSER_URL = "FARLINK_BROWSER_CAMERA"
"""The variable in which `farlink live` tells the sender where it finds the camera of a viewer."""


def check_address(scheme: str, rest: str) -> None:
    """Raise UsageError where `SCHEME:REST` is no address: a host, and for tcp a port and nothing else."""
    url = f"{scheme}:{rest}"
    try:
        parts = urlsplit(url)
        port, whole = parts.port, bool(parts.hostname)
    except ValueError:
        port, whole = None, False
    bare = (
        port is not None and not (parts.query or parts.fragment or parts.path.strip("/")) if whole else False
    )
    # FFmpeg splits what follows a space or a bar in its own ways.
    strange = any(letter.isspace() or not letter.isprintable() for letter in url)
    if not whole or strange or (scheme == "tcp" and not bare):
        like = "tcp://HOST:PORT" if scheme == "tcp" else f"{scheme}://HOST/PATH"
        raise UsageError(f"camera.source {shorten(repr(hide_password(url)))}: expected {like}")


def hide_password(url: str) -> str:
    """Return *url* without the name and password that may stand in it."""
    before, at, after = url.rpartition("@")
    return f"{before.partition('//')[0]}//...@{after}" if at and "//" in before else url


def host_of(url: str) -> str:
    """Return the host that *url* names."""
    return urlsplit(url).hostname or ""


def check_browser(rest: str) -> None:
    """Raise UsageError where anything follows `browser`."""
    if rest:
        raise UsageError(f"camera.source {shorten(repr('browser:' + rest))}: nothing may follow browser")
