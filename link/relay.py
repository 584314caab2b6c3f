"""Where processes meet: the link's socket (ROUTER), and the loop of a sender or receiver (DEALER).

The link holds the only clock. It tells an end "it is now t, here is what arrived" and the end answers with
packets, events and the time of its next event. In virtual time the link waits for each answer; against the
wall clock it does not, and what arrives meanwhile waits for the end, up to a limit.

Sockets bind to the loopback address; any other needs CURVE keys. Message size, queues and linger are bounded,
heartbeats find dead peers, and whoever does not speak the protocol is ignored.
"""

import contextlib
import dataclasses
import ipaddress
import os
import sys
import tempfile
import time
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any, NoReturn, Protocol

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from link import messages
from link.config import Session
from link.errors import FarlinkError, FingerprintError, PartialError, UsageError
from link.events import Output
from link.packet import VERSION
from link.timing import Times

_QUEUE = 16  # messages per peer; with the size limit this bounds memory
_HEARTBEAT_MS = 1000
_HEARTBEAT_TIMEOUT_MS = 10_000
_PROBE_EVERY = 64  # messages
_USER = "farlink"
ROLES = ("sender", "receiver")


class StoppedError(PartialError):
    """The run was asked to stop."""


class PeerGoneError(PartialError):
    """A sender or receiver is not there any more."""


def max_message_bytes(session: Session) -> int:
    """Return the size that no message of the session reaches: two pictures and what goes with them."""
    per_pixel = 8 + (8 if session.analysis else 0)  # class ids and 16-bit depth beside each picture
    return (1 << 20) + per_pixel * session.camera.width * session.camera.height


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


def _key(folder: Path, name: str, *, secret: bool) -> tuple[bytes, bytes | None]:
    path = folder / f"{name}.key{'_secret' if secret else ''}"
    try:
        return zmq.auth.load_certificate(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: no CURVE key: {error}; make keys with `farlink keys {folder}`") from None


def _bound(socket: "zmq.Socket[bytes]", size_bytes: int) -> None:
    socket.setsockopt(zmq.MAXMSGSIZE, size_bytes)
    socket.setsockopt(zmq.RCVHWM, _QUEUE)
    socket.setsockopt(zmq.SNDHWM, _QUEUE)
    socket.setsockopt(zmq.LINGER, 1000)
    socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, _HEARTBEAT_TIMEOUT_MS)


class Hub:
    """The link's side: waits for a sender and a receiver, then speaks to them.

    With *supervised*, the end of standard input, or a line on it, asks the run to stop.
    """

    def __init__(
        self, address: str, session: Session, times: Times, fingerprint: str, *,
        curve: Path | None = None, token: str = "", supervised: bool = False,
    ) -> None:  # fmt: skip
        check_address(address, curve)
        self._session, self._times, self._fingerprint = session, times, fingerprint
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        _bound(self._socket, max_message_bytes(session))
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.SNDTIMEO, 0)
        self._auth: ThreadAuthenticator | None = None
        if token or curve is not None:
            # Who has no password or key is turned away before it can send anything.
            self._auth = ThreadAuthenticator(self._context)
            self._auth.start()
        if token:
            assert self._auth is not None
            self._auth.configure_plain(domain="*", passwords={_USER: token})
            self._socket.setsockopt(zmq.PLAIN_SERVER, 1)
        elif curve is not None:
            assert self._auth is not None
            self._auth.configure_curve(domain="*", location=curve)
            public, secret = _key(curve, "link", secret=True)
            self._socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
            self._socket.setsockopt(zmq.CURVE_SECRETKEY, secret or b"")
            self._socket.setsockopt(zmq.CURVE_SERVER, 1)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            raise UsageError(f"{address}: cannot listen there: {error.strerror}") from None
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        """Where peers connect."""
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        self._stdin = sys.stdin.fileno() if supervised else None
        if self._stdin is not None:
            self._poller.register(self._stdin, zmq.POLLIN)
        self._peers: dict[bytes, str] = {}
        self._ready: set[str] = set()
        self._unprobed = 0
        self.source: str | None = None
        """The camera that the sender says it has."""
        self.ignored = 0
        """Messages that were none of the protocol."""

    def meet(self, timeout_s: float) -> None:
        """Wait until a sender and a receiver are there and agree with this end.

        Raise FingerprintError, PeerGoneError after *timeout_s*, or whatever error an end reports.
        """
        deadline = time.monotonic() + timeout_s
        while self._ready != set(ROLES):
            left = deadline - time.monotonic()
            if left <= 0:
                missing = " and ".join(role for role in ROLES if role not in self._ready)
                raise PeerGoneError(f"no {missing} came within {timeout_s:g} s")
            self.receive(left)

    def remote(self, role: str) -> "RemoteEnd":
        """Return the end that plays *role*."""
        return RemoteEnd(self, role)

    def send(self, role: str, parts: list[bytes]) -> None:
        """Send to the peer that plays *role*. Raise PeerGoneError where it is not there or takes nothing."""
        peer = next((peer for peer, name in self._peers.items() if name == role), None)
        try:
            if peer is None:
                raise PeerGoneError(f"the {role} is gone")
            self._socket.send_multipart([peer, *parts])
        except zmq.ZMQError as error:
            raise PeerGoneError(f"the {role} is gone") from error

    def receive(self, timeout_s: float | None) -> tuple[str, Output] | None:
        """Take one message; return (role, output) where it is an answer of an end, else None.

        Raise what an end reports, StoppedError, or PeerGoneError.
        """
        ready = dict(self._poller.poll(None if timeout_s is None else max(0, ceil(timeout_s * 1000))))
        if self._stdin is not None and self._stdin in ready:
            raise StoppedError("the run was stopped")
        self._unprobed += 1
        if self._monitor in ready and (self._socket not in ready or self._unprobed >= _PROBE_EVERY):
            # What a peer said before it went comes first, but strangers must not keep us from noticing.
            self._probe()
        if self._socket not in ready:
            return None
        peer, *parts = self._socket.recv_multipart()
        try:
            verb, fields, blobs = messages.unpack(parts)
            return self._handle(peer, verb, fields, blobs)
        except (ValueError, TypeError, OverflowError) as error:
            self.ignored += 1
            if (role := self._peers.get(peer)) is not None:
                raise PartialError(f"the {role} sent what is no message of farlink's: {error}") from None
            return None

    def _probe(self) -> None:
        """Find out whether one of the peers went: a send to it fails at once."""
        self._unprobed = 0
        while self._monitor.poll(0):
            self._monitor.recv_multipart()
        for peer, role in self._peers.items():
            try:
                self._socket.send_multipart([peer, *messages.pack(b"ping", {})])
            except zmq.Again:
                continue  # there, and busy
            except zmq.ZMQError as error:
                raise PeerGoneError(f"the {role} is gone") from error

    def _handle(
        self, peer: bytes, verb: bytes, fields: dict[str, Any], blobs: list[bytes]
    ) -> tuple[str, Output] | None:
        role = self._peers.get(peer)
        if verb == b"hello":
            self._greet(peer, fields)
        elif role is None:
            raise ValueError("a message from a stranger")
        elif verb == b"ready":
            if fields.get("fingerprint") != self._fingerprint:
                strange = FingerprintError(self._fingerprint, str(fields.get("fingerprint")), where="link")
                self.send(
                    role, messages.pack(b"bye", {"error": str(strange), "exit_code": strange.exit_code})
                )
                raise strange
            self._ready.add(role)
            if isinstance(source := fields.get("source"), str):
                self.source = source
        elif verb == b"error":
            error = FarlinkError(str(fields.get("message")))
            error.exit_code = int(fields.get("exit_code", 1))
            raise error
        elif verb == b"done":
            return role, messages.unpack_output(fields, blobs)
        return None

    def _greet(self, peer: bytes, fields: dict[str, Any]) -> None:
        role = fields.get("role")
        if role not in ROLES:
            raise ValueError("a stranger says hello")
        refusal = None
        if fields.get("wire") != VERSION:
            refusal = f"the link speaks wire version {VERSION}, the {role} {fields.get('wire')}"
        elif role in self._peers.values():
            refusal = f"there is a {role} already"
        if refusal is not None:
            bye = messages.pack(b"bye", {"error": refusal, "exit_code": 2})
            with contextlib.suppress(zmq.ZMQError):
                self._socket.send_multipart([peer, *bye])
            return
        self._peers[peer] = str(role)
        welcome = {
            "session": self._session.model_dump(mode="json", by_alias=True),
            "times": dataclasses.asdict(self._times),
        }
        self.send(str(role), messages.pack(b"welcome", welcome))

    def close(self, error: FarlinkError | None = None) -> None:
        """Say goodbye and close the sockets. Does nothing a second time."""
        if self._context.closed:
            return
        for peer in getattr(self, "_peers", {}):
            code = 0 if error is None else 3 if error.exit_code == 130 else error.exit_code
            reason = {"error": str(error) if error else None, "exit_code": code}
            try:
                self._socket.send_multipart([peer, *messages.pack(b"bye", reason)])
            except zmq.ZMQError:
                continue
        self._socket.disable_monitor()
        if self._auth is not None:
            self._auth.stop()
        self._context.destroy(linger=1000)


class RemoteEnd:
    """A sender or receiver at the other end of a socket. *wait*: whether `step` waits for the answer."""

    def __init__(self, hub: Hub, role: str) -> None:
        self._hub, self.role = hub, role
        self.wait = True

    def step(self, now: int, arrivals: list[tuple[int, bytes]]) -> Output | None:
        """Tell the end the time and what arrived; return its answer, or None where it comes later."""
        fields = {"now": now, "packets": [number for number, _ in arrivals]}
        self._hub.send(self.role, messages.pack(b"step", fields, [data for _, data in arrivals]))
        while self.wait:
            answer = self._hub.receive(None)
            if answer is not None and answer[0] == self.role:
                return answer[1]
        return None


class Core(Protocol):
    """See `link.conductor.End`."""

    def step(self, now: int, arrivals: list[tuple[int, bytes]]) -> Output:
        """Take what arrived and do what is due."""


Build = Callable[[Session, Times], tuple[Core, str]]
"""Makes an end's core from what the link says, with its fingerprint."""


def serve(
    role: str, address: str, build: Build, *,
    curve: Path | None = None, token: str = "", supervised: bool = False, timeout_s: float = 60.0,
    source: str | None = None, tell: Callable[[str], None] = lambda _line: None,
) -> None:  # fmt: skip
    """Play *role* for the link at *address* until it says goodbye. *tell* is given a line when something changes.

    *source* is a sender's camera, for the journal, where it is not the scenario's.

    Raise PartialError where the link is not there within *timeout_s* or goes away, and the error that the link
    says goodbye with.
    """
    check_address(address, curve)
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    try:
        _bound(socket, 64 << 20)
        if curve is not None:
            public, secret = _key(curve, "peer", secret=True)
            socket.setsockopt(zmq.CURVE_SERVERKEY, _key(curve, "link", secret=False)[0])
            socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
            socket.setsockopt(zmq.CURVE_SECRETKEY, secret or b"")
        elif token:
            socket.setsockopt_string(zmq.PLAIN_USERNAME, _USER)
            socket.setsockopt_string(zmq.PLAIN_PASSWORD, token)
        monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        socket.connect(address)
        socket.send_multipart(messages.pack(b"hello", {"role": role, "wire": VERSION}))
        tell(f"waiting for the link at {address}")
        hint = "; or it does not know our key" if curve is not None else ""
        _Peer(role, socket, monitor, build, supervised, timeout_s, source, tell, hint).loop()
        tell("the run is over")
    finally:
        socket.disable_monitor()
        context.destroy(linger=1000)


class _Peer:
    """The loop of one sender or receiver process."""

    def __init__(
        self, role: str, socket: "zmq.Socket[bytes]", monitor: "zmq.Socket[bytes]", build: Build,
        supervised: bool, timeout_s: float, source: str | None, tell: Callable[[str], None], hint: str,
    ) -> None:  # fmt: skip
        self._source, self._tell, self._hint = source, tell, hint
        self._role, self._socket, self._build, self._timeout_s = role, socket, build, timeout_s
        self._monitor = monitor
        self._core: Core | None = None
        self._poller = zmq.Poller()
        self._poller.register(socket, zmq.POLLIN)
        self._poller.register(monitor, zmq.POLLIN)
        self._stdin = sys.stdin.fileno() if supervised else None
        if self._stdin is not None:
            self._poller.register(self._stdin, zmq.POLLIN)

    def loop(self) -> None:
        deadline = time.monotonic() + self._timeout_s
        while True:
            waiting = None if self._core is not None else max(0, ceil((deadline - time.monotonic()) * 1000))
            ready = dict(self._poller.poll(waiting))
            if self._socket in ready:
                if self._answer(self._socket.recv_multipart()):
                    return
                continue
            if not ready:
                self._nobody()
            if self._stdin is not None and self._stdin in ready:
                raise StoppedError(f"the {self._role} was stopped")
            self._monitor.recv_multipart()
            if self._core is not None:
                raise PeerGoneError("the link is gone")
            if time.monotonic() >= deadline:
                self._nobody()

    def _nobody(self) -> NoReturn:
        raise PeerGoneError(f"no link answered within {self._timeout_s:g} s{self._hint}")

    def _answer(self, parts: list[bytes]) -> bool:
        """Answer one message of the link; return whether it was goodbye."""
        verb, fields, blobs = messages.unpack(parts)
        if verb == b"bye":
            if fields.get("error") and int(fields.get("exit_code", 0)):
                error = FarlinkError(str(fields["error"]))
                error.exit_code = int(fields["exit_code"])
                raise error
            return True
        try:
            if verb == b"welcome":
                session = Session.model_validate(fields["session"])
                self._core, fingerprint = self._build(session, Times(**fields["times"]))
                about = {"fingerprint": fingerprint, "source": self._source}
                self._socket.send_multipart(messages.pack(b"ready", about))
                self._tell(f"connected: scenario {session.name}, codec {session.codec.name}")
            elif verb == b"step" and self._core is not None:
                arrivals = list(zip(map(int, fields["packets"]), blobs, strict=True))
                self._socket.send_multipart(
                    messages.pack_output(self._core.step(int(fields["now"]), arrivals))
                )
        except FarlinkError as error:
            words = {"exit_code": error.exit_code, "message": str(error)}
            self._socket.send_multipart(messages.pack(b"error", words))
            raise
        return False
