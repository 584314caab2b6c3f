"""The loop of a sender or receiver process at the link's socket (DEALER)."""

import time
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import IO, NoReturn

import zmq

from link import messages
from link.codecs import SYNTAXES
from link.config import Session
from link.end import Core
from link.errors import FarlinkError, PartialError
from link.keys import check_address, show_credentials
from link.messages import Bye, Step, Welcome
from link.packet import VERSION
from link.relay import PeerGoneError, StoppedError, set_limits
from link.steering import find_fixed
from link.terminal import printable
from link.timing import Times

Build = Callable[[Session, Times], tuple[Core, str]]
"""Makes an end's core from what the link says, with its fingerprint."""


def serve(
    role: str, address: str, build: Build, *,
    curve: Path | None = None, token: str = "", orders: IO[bytes] | None = None, timeout_s: float = 60.0,
    source: str | None = None, tell: Callable[[str], None] = lambda _line: None,
) -> None:  # fmt: skip
    """Play *role* for the link at *address* until it says goodbye. *tell* is given a line when something changes.

    *source* is a sender's camera, for the journal, where it is not the scenario's. The end of *orders*, a pipe, or a
    line on it, asks us to stop.

    Raise PartialError where the link is not there within *timeout_s*, goes away, or says what no link says, and the
    error that the link says goodbye with.
    """
    check_address(address, curve)
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    try:
        set_limits(socket, 64 << 20)
        show_credentials(socket, curve, token)
        monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        socket.connect(address)
        socket.send_multipart(messages.pack(b"hello", {"role": role, "wire": VERSION}))
        tell(f"waiting for the link at {address}")
        hint = "; or it does not know our key" if curve is not None else ""
        _Peer(role, socket, monitor, build, orders, timeout_s, source, tell, hint).loop()
        tell("the run is over")
    finally:
        socket.disable_monitor()
        context.destroy(linger=1000)


class _Peer:
    """The loop of one sender or receiver process."""

    def __init__(
        self, role: str, socket: "zmq.Socket[bytes]", monitor: "zmq.Socket[bytes]", build: Build,
        orders: IO[bytes] | None, timeout_s: float, source: str | None, tell: Callable[[str], None], hint: str,
    ) -> None:  # fmt: skip
        self._source, self._tell, self._hint = source, tell, hint
        self._role, self._socket, self._build, self._timeout_s = role, socket, build, timeout_s
        self._monitor = monitor
        self._core: Core | None = None
        self._poller = zmq.Poller()
        self._poller.register(socket, zmq.POLLIN)
        self._poller.register(monitor, zmq.POLLIN)
        self._orders = None if orders is None else orders.fileno()
        if self._orders is not None:
            self._poller.register(self._orders, zmq.POLLIN)
        self._now = 0
        self._session: Session | None = None

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
            if self._orders is not None and self._orders in ready:
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
        try:
            asked, arrivals = self._read(parts)
        except ValueError as error:
            strange = PartialError(f"the link sent what is no message of farlink's: {error}")
            self._report(strange)
            raise strange from None
        if isinstance(asked, Bye):
            if asked.error and asked.exit_code:
                told = FarlinkError(asked.error)
                told.exit_code = asked.exit_code
                raise told
            return True
        try:
            if isinstance(asked, Welcome):
                self._session = session = asked.session
                self._core, fingerprint = self._build(session, asked.times)
                about = {"fingerprint": fingerprint, "source": self._source and printable(self._source)}
                self._socket.send_multipart(messages.pack(b"ready", about))
                self._tell(f"connected: scenario {session.name}, codec {session.codec.name}")
            elif self._core is not None and asked is not None:
                self._now = asked.now
                if asked.session is not None and asked.times is not None:  # changed since the last step
                    self._core.adjust(asked.session, asked.times)
                out = self._core.step(asked.now, arrivals)
                self._socket.send_multipart(messages.pack_output(out))
        except FarlinkError as error:
            self._report(error)
            raise
        return False

    def _read(self, parts: list[bytes]) -> tuple[Welcome | Step | Bye | None, list[tuple[int, bytes]]]:
        """Return what the link says, None for nothing, and the packets that came with it.

        Raise ValueError where it is no message, or not its turn.
        """
        verb, fields, blobs = messages.unpack(parts)
        if verb == b"ping":
            return None, []
        if verb == b"bye":
            return Bye.read(fields), []
        if verb == b"welcome" and self._core is None:
            return Welcome.read(fields), []
        if verb == b"step" and self._core is not None:
            step = Step.read(fields)
            if step.now < self._now:
                raise ValueError(f"step: the time goes back, from {self._now} to {step.now} ns")
            if step.session is not None:
                self._check_change(step.session)
            return step, step.arrivals(blobs)
        raise ValueError(f"a {verb.decode()} that is out of place")

    def _check_change(self, session: Session) -> None:
        """Raise ValueError where *session* is not the one that we were welcomed with, but for what is steered."""
        assert self._session is not None
        if (path := find_fixed(self._session, session)) is not None:
            raise ValueError(f"step: {path} cannot be changed while the run goes on")
        SYNTAXES[session.codec.name].check(session.codec)

    def _report(self, error: FarlinkError) -> None:
        """Tell the link of *error*, which ends us."""
        words = {"exit_code": error.exit_code, "message": printable(str(error))}
        self._socket.send_multipart(messages.pack(b"error", words))
