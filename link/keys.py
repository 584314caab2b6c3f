"""Who may come to a link: processes of this machine, holders of CURVE keys, a run's own children by their password."""

import ipaddress
import os
import tempfile
from pathlib import Path
from typing import Any

import zmq
import zmq.auth

from link.errors import UsageError

USER = "farlink"


def check_address(address: str, curve: Path | None) -> None:
    """Raise UsageError for an address that is not loopback, without keys."""
    scheme, _, rest = address.partition("://")
    host = rest.rpartition(":")[0].strip("[]")
    if scheme != "tcp" or not rest.rpartition(":")[2].replace("*", "0").isdigit():
        raise UsageError(f"{address}: an address like tcp://127.0.0.1:5555 was expected")
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if curve is not None and not (curve / "link.key").is_file():
        raise UsageError(
            f"{curve}: no CURVE keys there (link.key is missing); make them with `farlink keys {curve}`"
        )
    if not local and curve is None:
        raise UsageError(
            f"{address} is not on this machine alone: give --curve with keys from `farlink keys`"
        )


def make_keys(folder: Path) -> None:
    """Write CURVE keys for a link and its peers into *folder*: `link` stays there, `peer` goes to both ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # pyzmq writes a secret key as the umask has it: in a folder that nobody else may enter.
        with tempfile.TemporaryDirectory() as closed:
            made = [
                Path(path) for name in ("link", "peer") for path in zmq.auth.create_certificates(closed, name)
            ]
            for path in made:
                _create_private(folder / path.name, path.read_bytes())
    except FileExistsError as error:
        raise UsageError(f"{error.filename} is there already; keys are not overwritten") from None
    except OSError as error:
        raise UsageError(f"{folder}: cannot write keys: {error.strerror}") from error


def _create_private(path: Path, data: bytes) -> None:
    """Write *data* to a new file that is its owner's alone from the start. Raise FileExistsError where there is one."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def read_key(folder: Path, name: str, *, secret: bool) -> tuple[bytes, bytes | None]:
    """Return the public and, where *secret*, the secret CURVE key *name* of *folder*. Raise UsageError for none."""
    path = folder / f"{name}.key{'_secret' if secret else ''}"
    try:
        return zmq.auth.load_certificate(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: no CURVE key: {error}; make keys with `farlink keys {folder}`") from None


def show_credentials(socket: "zmq.Socket[Any]", curve: Path | None, token: str) -> None:
    """Have *socket* prove to a link that it may come: by the keys in *curve*, or by the password *token*."""
    if curve is not None:
        public, secret = read_key(curve, "peer", secret=True)
        socket.setsockopt(zmq.CURVE_SERVERKEY, read_key(curve, "link", secret=False)[0])
        socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, secret or b"")
    elif token:
        socket.setsockopt_string(zmq.PLAIN_USERNAME, USER)
        socket.setsockopt_string(zmq.PLAIN_PASSWORD, token)
