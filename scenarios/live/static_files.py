"""The page's own files, in a fixed table: what is asked for is a name in it, or there is nothing."""

from importlib import resources

from link.errors import UsageError

_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
}


def read_static() -> dict[str, tuple[str, bytes]]:
    """Return (type, bytes) of the page's own files by name: all that is ever served."""
    folder = resources.files("scenarios") / "live" / "static"
    table = {}
    for item in folder.iterdir():
        kind = _TYPES.get("." + item.name.rpartition(".")[2])
        if kind is not None and item.is_file():
            table[item.name] = kind, item.read_bytes()
    if "index.html" not in table:
        raise UsageError("this installation lacks the live page's own files (scenarios/live/static)")
    return table
