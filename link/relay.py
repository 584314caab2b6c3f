"""Where processes meet: the link's socket (ROUTER). The other side of it, a sender's or receiver's, is `link.peer`.

The link holds the only clock. It tells an end "it is now t, here is what arrived" and the end answers with
packets, events and the time of its next event. In virtual time the link waits for each answer; against the
wall clock it does not, and what arrives meanwhile waits for the end, up to a limit.

Sockets bind to the loopback address; any other needs CURVE keys. Message size, queues and linger are bounded,
heartbeats find dead peers, and whoever does not speak the protocol is ignored.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping
from math import ceil
from pathlib import Path
from typing import IO, Any

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from link import messages
from link.config import Session
from link.errors import FarlinkError, FingerprintError, PartialError, UsageError
from link.events import Output
from link.inputs import Answer, Change, Note, Timing
from link.keys import USER, check_address, read_key
from link.packet import VERSION
from link.pages import Pages
from link.terminal import printable
from link.timing import Times

_QUEUE = 16  # messages per peer; with the size limit this bounds memory
_HEARTBEAT_MS = 1000
_HEARTBEAT_TIMEOUT_MS = 10_000
_PROBE_EVERY = 64  # messages
_FIRST_WORD_S = 5.0  # of waiting; then after twice as long each time
ROLES = ("sender", "receiver")


class StoppedError(PartialError):
    """The run was asked to stop."""


class PeerGoneError(PartialError):
    """A sender or receiver is not there any more."""


def max_message_bytes(session: Session) -> int:
    """Return the size that no message of the session reaches: two pictures and what goes with them."""
    per_pixel = 8 + (8 if session.analysis else 0)  # class ids and 16-bit depth beside each picture
    return (1 << 20) + per_pixel * session.camera.width * session.camera.height


def set_limits(socket: "zmq.Socket[Any]", size_bytes: int) -> None:
    """Bound messages, queues and waiting of *socket*, and have it notice dead peers."""
    socket.setsockopt(zmq.MAXMSGSIZE, size_bytes)
    socket.setsockopt(zmq.RCVHWM, _QUEUE)
    socket.setsockopt(zmq.SNDHWM, _QUEUE)
    socket.setsockopt(zmq.LINGER, 1000)
    socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, _HEARTBEAT_TIMEOUT_MS)


class Hub:
    """The link's side: waits for a sender and a receiver, then speaks to them.

    The end of *orders*, a pipe, or a line on it, asks the run to stop.
    """

    def __init__(
        self, address: str, session: Session, times: Times, fingerprint: str, *,
        curve: Path | None = None, token: str = "", orders: IO[bytes] | None = None,
    ) -> None:  # fmt: skip
        check_address(address, curve)
        self._session, self._times, self._fingerprint = session, times, fingerprint
        self._peers: dict[bytes, str] = {}
        self.pages = Pages(self._send_page)
        """Those who watch."""
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        set_limits(self._socket, max_message_bytes(session))
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.SNDTIMEO, 0)
        self._auth: ThreadAuthenticator | None = None
        if token or curve is not None:
            # Who has no password or key is turned away before it can send anything.
            self._auth = ThreadAuthenticator(self._context)
            self._auth.start()
        if token:
            assert self._auth is not None
            self._auth.configure_plain(domain="*", passwords={USER: token})
            self._socket.setsockopt(zmq.PLAIN_SERVER, 1)
        elif curve is not None:
            assert self._auth is not None
            self._auth.configure_curve(domain="*", location=curve)
            public, secret = read_key(curve, "link", secret=True)
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
        self._orders = None if orders is None else orders.fileno()
        if self._orders is not None:
            self._poller.register(self._orders, zmq.POLLIN)
        self._ready: set[str] = set()
        self._welcomed_s: dict[str, float] = {}
        self._asked: dict[
            str, tuple[int, list[int]]
        ] = {}  # the time and the packets of the step that is not answered
        self._unprobed = 0
        self.source: str | None = None
        """The camera that the sender says it has."""
        self.ignored = 0
        """Messages that were none of the protocol."""

    def meet(self, wait_s: float, load_s: float, tell: Callable[[str], None] = lambda _line: None) -> None:
        """Wait until a sender and a receiver are there, have loaded their models and agree with this end.

        Each has *wait_s* seconds to say hello, and *load_s* from its welcome to load: who loads is alive, and
        heartbeats notice who dies meanwhile. *tell* is given a line of what is being waited for now and then.
        Raise FingerprintError, PeerGoneError when time is up, or whatever error an end reports.
        """
        started = time.monotonic()
        word_s = _FIRST_WORD_S
        told: tuple[dict[str, str], int] = {}, 0
        while missing := [role for role in ROLES if role not in self._ready]:
            now = time.monotonic()
            absent = [role for role in missing if role not in self._welcomed_s]
            limits = [started + wait_s] if absent else []
            limits += [self._welcomed_s[role] + load_s for role in missing if role not in absent]
            for role in missing:
                if role not in absent and now >= self._welcomed_s[role] + load_s:
                    raise PeerGoneError(
                        f"the {role} was still loading its models after {load_s:g} s; "
                        "give it longer by profile.load_s"
                    )
            if absent and now >= started + wait_s:
                raise PeerGoneError(f"no {' and '.join(absent)} came within {wait_s:g} s")
            if now - started >= word_s:
                word_s *= 2.0
                tell("; ".join(self._waiting_for(role, now, started, wait_s, load_s) for role in missing))
            self.receive(min(min(limits) - now, started + word_s - now))
            if told != (told := (self._standing(), len(self.pages))):
                self.pages.broadcast(messages.pack(b"ends", told[0]))

    def _standing(self) -> dict[str, str]:
        """Return how each end stands, as `messages.EndsTold` has it."""
        return {
            role: "ready" if role in self._ready else "loading" if role in self._welcomed_s else "absent"
            for role in ROLES
        }

    def _waiting_for(self, role: str, now: float, started: float, wait_s: float, load_s: float) -> str:
        since = self._welcomed_s.get(role)
        if since is None:
            return f"waiting for the {role} to connect: {now - started:.0f} s of at most {wait_s:g} s"
        return f"waiting for the {role} to load its models: {now - since:.0f} s of at most {load_s:g} s"

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

    def _send_page(self, peer: bytes, parts: list[bytes]) -> bool | None:
        """See `link.pages.Send`."""
        try:
            self._socket.send_multipart([peer, *parts])
        except zmq.Again:
            return None
        except zmq.ZMQError:
            return False
        return True

    def ask(
        self, role: str, now: int, arrivals: list[tuple[int, bytes]], news: Mapping[str, Any] | None = None
    ) -> None:
        """Tell the peer that plays *role* the time and what arrived, with the *news* of `describe_session` if any.

        Raise PeerGoneError as `send` does.
        """
        numbers = [number for number, _ in arrivals]
        self._asked[role] = now, numbers
        fields = {"now": now, "packets": numbers, **(news or {})}
        self.send(role, messages.pack(b"step", fields, [data for _, data in arrivals]))

    def adjust(self, session: Session, times: Times) -> None:
        """Take note of how the session was changed; who comes from now on is told so."""
        self._session, self._times = session, times

    def receive(self, timeout_s: float | None) -> Answer | Change | Note | Timing | None:
        """Take one message; return what an end answers or a page wishes, None for nothing of the kind.

        Raise what an end reports, StoppedError, or PeerGoneError.
        """
        ready = dict(self._poller.poll(None if timeout_s is None else max(0, ceil(timeout_s * 1000))))
        if self._orders is not None and self._orders in ready:
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
        self.pages.probe()

    def _handle(
        self, peer: bytes, verb: bytes, fields: dict[str, Any], blobs: list[bytes]
    ) -> Answer | Change | Note | Timing | None:
        role = self._peers.get(peer)
        if verb == b"hello":
            self._greet(peer, fields)
        elif peer in self.pages:
            return self.pages.handle(peer, verb, fields)
        elif role is None:
            raise ValueError("a message from a stranger")
        elif verb == b"ready":
            ready = messages.Ready.read(fields)
            if ready.fingerprint != self._fingerprint:
                strange = FingerprintError(self._fingerprint, ready.fingerprint, where="link")
                self.send(
                    role, messages.pack(b"bye", {"error": str(strange), "exit_code": strange.exit_code})
                )
                raise strange
            self._ready.add(role)
            if ready.source is not None:
                self.source = ready.source
        elif verb == b"error":
            failure = messages.Failure.read(fields)
            error = FarlinkError(failure.message)
            error.exit_code = failure.exit_code
            raise error
        elif verb == b"done" and role in self._asked:
            out = messages.unpack_output(fields, blobs)
            return Answer(role, messages.check_answer(role, out, *self._asked.pop(role), self._session))
        else:
            raise ValueError(f"a {verb.decode()} that nobody asked for")
        return None

    def _greet(self, peer: bytes, fields: dict[str, Any]) -> None:
        hello = messages.Hello.read(fields)
        role = hello.role
        if peer in self._peers or peer in self.pages:
            raise ValueError("a second hello")
        if role == "page":
            self.pages.greet(peer, hello.wire, describe_session(self._session, self._times))
            return
        refusal = None
        if hello.wire != VERSION:
            refusal = f"the link speaks wire version {VERSION}, the {role} {hello.wire}"
        elif role in self._peers.values():
            refusal = f"there is a {role} already"
        if refusal is not None:
            bye = messages.pack(b"bye", {"error": refusal, "exit_code": 2})
            with contextlib.suppress(zmq.ZMQError):
                self._socket.send_multipart([peer, *bye])
            return
        self._peers[peer] = role
        self.send(role, messages.pack(b"welcome", describe_session(self._session, self._times)))
        self._welcomed_s[role] = time.monotonic()

    def close(self, error: FarlinkError | None = None) -> None:
        """Say goodbye and close the sockets. Does nothing a second time."""
        if self._context.closed:
            return
        code = 0 if error is None else 3 if error.exit_code == 130 else error.exit_code
        reason = {"error": printable(str(error)) if error else None, "exit_code": code}
        for peer in self._peers:
            try:
                self._socket.send_multipart([peer, *messages.pack(b"bye", reason)])
            except zmq.ZMQError:
                continue
        self.pages.close(reason)
        self._socket.disable_monitor()
        if self._auth is not None:
            self._auth.stop()
        self._context.destroy(linger=1000)


def describe_session(session: Session, times: Times) -> dict[str, Any]:
    """Return *session* and *times* as messages carry them."""
    return {
        "session": session.model_dump(mode="json", by_alias=True),
        "times": dataclasses.asdict(times),
    }


class RemoteEnd:
    """A sender or receiver at the other end of a socket. *wait*: whether `step` waits for the answer."""

    def __init__(self, hub: Hub, role: str) -> None:
        self._hub, self.role = hub, role
        self.wait = True
        self._news: dict[str, Any] = {}  # what the next step brings besides

    def step(self, now: int, arrivals: list[tuple[int, bytes]]) -> Output | None:
        """Tell the end the time and what arrived; return its answer, or None where it comes later."""
        self._hub.ask(self.role, now, arrivals, self._news)
        self._news = {}
        while self.wait:
            answer = self._hub.receive(None)
            if isinstance(answer, Answer) and answer.role == self.role:
                return answer.output
        return None

    def adjust(self, session: Session, times: Times) -> None:
        """Tell the end with its next step."""
        self._news = describe_session(session, times)
        self._hub.adjust(session, times)
