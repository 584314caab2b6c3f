"""Tables and weights that both ends need. A table is checked against SHA256SUMS before it is used.

The transform in `tiny/` is hashed into the fingerprint instead; `farlink models verify` checks it as well.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors.numpy import load

FOLDER = Path(__file__).parent


def digest(name: str) -> str:
    """Return the SHA-256 that SHA256SUMS lists for the file *name*, in hexadecimal."""
    for line in (FOLDER / "SHA256SUMS").read_text().splitlines():
        listed, _, file = line.partition("  ")
        if file == name:
            return listed
    raise ValueError(f"{FOLDER / 'SHA256SUMS'} does not list {name}")


def read(name: str) -> dict[str, NDArray[Any]]:
    """Return the arrays in the safetensors file *name*; raise `ValueError` if it is not the listed one."""
    return load(_checked(name))


def read_json(name: str) -> Any:
    """Return what the JSON file *name* holds; raise `ValueError` if it is not the listed one."""
    return json.loads(_checked(name))


def _checked(name: str) -> bytes:
    expected = digest(name)
    data = (FOLDER / name).read_bytes()
    actual = hashlib.sha256(data).hexdigest()
    if actual != expected:
        raise ValueError(f"{FOLDER / name}: expected SHA-256 {expected}, got {actual}")
    return data
