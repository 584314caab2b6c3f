"""Who may look on, and who may steer: tokens, hosts, origins, and the headers of every answer.

A page on this machine is within reach of every web site that its user visits. So each request must name a host that
is ours (a site that has its name point here does not), a websocket must come from our own page, and both need a token
that only the link on the terminal has; it becomes a cookie that scripts cannot read and other sites cannot send.
"""

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from link.errors import UsageError

Role = Literal["steer", "watch"]
CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' blob:",
        "media-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), display-capture=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer, refusals included."""

WITH_CAMERA = {
    **HEADERS,
    "Permissions-Policy": HEADERS["Permissions-Policy"].replace("camera=()", "camera=(self)"),
}
"""Of a session whose source is a viewer's camera: our own page may ask for it."""


def parse_address(text: str) -> tuple[str, int]:
    """Return (host, port) of HOST:PORT; port 0 is any that is free. Raise UsageError."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535 or not host.strip("[]"):
        raise UsageError(f"--bind {text}: HOST:PORT was expected, as in 127.0.0.1:8765")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Return whether *host* is this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_bind(host: str, port: int, *, tls: bool) -> None:
    """Raise UsageError where pages would cross a network in the clear; it shows what to do instead."""
    if is_loopback(host) or tls:
        return
    port = port or 8765
    raise UsageError(
        f"--bind {host}:{port} is not this machine alone, and without --tls CERT KEY whoever is on the way could read "
        f"and steer the session. Leave --bind out here, and on the other machine run "
        f"`ssh -L {port}:127.0.0.1:{port} {socket.gethostname()}`; the links then work there as they are"
    )


@dataclass(frozen=True)
class Gate:
    """What is asked of each request to the server at *host*:*port*."""

    host: str
    port: int
    tls: bool
    watch_only: bool = False
    """Whether nobody may steer."""
    tokens: Mapping[Role, str] = field(
        default_factory=lambda: {"steer": secrets.token_urlsafe(24), "watch": secrets.token_urlsafe(24)}
    )

    @property
    def cookie(self) -> str:
        """The cookie's name: cookies know no ports, and several pages may run on one machine."""
        return f"farlink_live_{self.port}"

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return "https" if self.tls else "http"

    def link(self, role: Role) -> str:
        """Return what a person opens."""
        host = self.host if self.host not in ("0.0.0.0", "::") else socket.gethostname()
        host = f"[{host}]" if ":" in host else host
        return f"{self.scheme}://{host}:{self.port}/?token={self.tokens[role]}"

    def role(self, token: str | None) -> Role | None:
        """Return what *token* lets one do; None: nothing."""
        if token is None:
            return None
        given = token.encode("utf-8", "replace")
        for role, own in self.tokens.items():
            if hmac.compare_digest(given, own.encode()):
                return "watch" if self.watch_only else role
        return None

    def knows_host(self, host: str | None) -> bool:
        """Whether a request's Host is this server: an address, or a name of this machine."""
        name = (host or "").lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        if not name:
            return False
        if is_loopback(self.host):
            return is_loopback(name)
        try:
            ipaddress.ip_address(name)
        except ValueError:
            # With TLS a browser has checked the name against the certificate already.
            own = {self.host.lower(), socket.gethostname().lower(), socket.getfqdn().lower(), "localhost"}
            return name in own
        return True

    def knows_origin(self, origin: str | None, host: str | None) -> bool:
        """Whether a websocket comes from a page of this server: its origin is where it asks to connect to."""
        return origin is not None and host is not None and origin.lower() == f"{self.scheme}://{host.lower()}"
