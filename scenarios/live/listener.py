"""Where the page's server listens, and under which certificate."""

import socket
import ssl

from link.errors import UsageError


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """Return the context of a server with these files. Raise UsageError where they are not usable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"--tls {certificate} {key}: {error}") from None
    return context


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at *host*:*port*; 0 is any port that is free. Raise UsageError where it cannot."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=64)
    except OSError as error:
        raise UsageError(f"--bind {host}:{port}: {error.strerror or error}") from None
