"""A wire between two CFDP entities, with losses by pattern, and cfdp-py's handlers as entities of farlink's kind."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from link.cfdp.pdus import CfdpChecksum, MetadataPdu, PduHead
from link.cfdp.receiving import CfdpReceiver
from link.cfdp.sending import CfdpSender
from link.cfdp.waits import CfdpOutgoing, CfdpSettings
from link.repair.sight import AnswerTimes

S = 1_000_000_000
RATE_BPS = 8000
DELAY_NS = 2 * S
FILE = bytes(range(256)) * 40  # of 10,240 bytes
HEAD = PduHead(1, 7, 2)


def settings(delay_ns: int = DELAY_NS, pdu_bytes: int = 1024, **more: Any) -> CfdpSettings:
    air_ns = pdu_bytes * 8 * S // RATE_BPS
    return CfdpSettings(pdu_bytes, AnswerTimes(delay_ns, delay_ns, 4 * air_ns), quiet_ns=4 * air_ns, **more)


def sender(file: bytes = FILE, head: PduHead = HEAD, *, closure: bool = False, **more: Any) -> CfdpSender:
    kind, name = more.pop("checksum", CfdpChecksum.CRC32), more.pop("name", "earth.png")
    metadata = MetadataPdu(len(file), b"rover.png", name.encode(), kind, closure)
    return CfdpSender(file, metadata, head, settings(**more))


class Exchange:
    """Runs two entities until both are at rest; *lost* are the numbers of PDUs (from 0, by direction) that are lost."""

    def __init__(
        self, near: Any, far: Any, lost: Collection[tuple[int, int]] = (), delay_ns: int = DELAY_NS
    ) -> None:
        self.ends, self._lost, self._delay = (near, far), lost, delay_ns
        self.sent: tuple[list[bytes], list[bytes]] = ([], [])
        self.now = 0
        self._flying: list[tuple[int, int, bytes]] = []  # (arrival, direction, PDU), in order of arrival
        self._free = [0, 0]
        self.closed_ns: list[int | None] = [None, None]
        """When each end had its condition."""

    def run(self, until_s: float = 20_000) -> int:
        """Return when the last thing happened, in ns; fail where it goes on after *until_s*."""
        while True:
            for direction, end in enumerate(self.ends):
                while self._free[direction] <= self.now and (item := end.take(self.now)) is not None:
                    self._put(direction, item)
            dues = [arrival for arrival, _, _ in self._flying[:1]]
            dues += [end.next_ns for end in self.ends if end.next_ns is not None]
            dues += [free for free in self._free if free > self.now]
            if not dues:
                return self.now
            self.now = max(self.now, min(dues))
            assert self.now < until_s * S, "it does not end"
            while self._flying and self._flying[0][0] <= self.now:
                _, direction, data = self._flying.pop(0)
                self.ends[1 - direction].receive(data, self.now)
            for number, end in enumerate(self.ends):
                end.wake(self.now)
                if self.closed_ns[number] is None and getattr(end, "condition", None) is not None:
                    self.closed_ns[number] = self.now

    def _put(self, direction: int, item: CfdpOutgoing) -> None:
        end = self.now + len(item.data) * 8 * S // RATE_BPS
        self._free[direction] = end
        number = len(self.sent[direction])
        self.sent[direction].append(item.data)
        self.ends[direction].sent(item, end)
        if (direction, number) not in self._lost:
            self._flying.append((end + self._delay, direction, item.data))
            self._flying.sort(key=lambda flying: flying[0])


class Peer:
    """A handler of cfdp-py; *clock* sets the time that its countdowns read, in ms."""

    def __init__(self, handler: Any, clock: Callable[[int], None]) -> None:
        self.handler, self._clock = handler, clock
        self._out: list[bytes] = []
        self._next: int | None = 0

    @property
    def idle(self) -> bool:
        from cfdppy import CfdpState

        return bool(self.handler.state == CfdpState.IDLE) and not self._out

    def _step(self, now: int, pdu: Any = None) -> None:
        self._clock(now // 1_000_000)
        self.handler.state_machine(pdu)
        while self.handler.packets_ready:
            self._out.append(bytes(self.handler.get_next_packet().pdu.pack()))
        self._next = None if self.idle else now + S // 4  # nothing says when its timers are due

    @property
    def next_ns(self) -> int | None:
        return None if self._out else self._next

    def take(self, now: int) -> CfdpOutgoing | None:
        if not self._out and self._next is not None:
            self._step(now)
        return CfdpOutgoing(self._out.pop(0)) if self._out else None

    def sent(self, item: CfdpOutgoing, end: int) -> None:
        pass

    def wake(self, now: int) -> None:
        if not self._out and self.next_ns is not None and self.next_ns <= now:
            self._step(now)

    def receive(self, data: bytes, now: int) -> None:
        from cfdppy.exceptions import PduIgnoredForDest, PduIgnoredForSource
        from spacepackets.cfdp.pdu.helper import PduFactory

        pdu = PduFactory.from_raw(data)
        assert pdu is not None
        try:
            self._step(now, pdu)
        except (PduIgnoredForDest, PduIgnoredForSource):  # what comes late
            self._step(now)


def _silent(base: type) -> Any:
    """Return an instance of *base* whose abstract methods do nothing."""
    names = getattr(base, "__abstractmethods__", ())
    return type("Silent", (base,), {name: lambda *_args, **_more: None for name in names})()


def peer(
    kind: str, folder: Path, clock: Callable[[int], None], file: bytes, *, acknowledged: bool, **more: Any
) -> Peer:
    """Return cfdp-py's end `source`, about to send *file*, or `dest`."""
    from cfdppy import IndicationConfig, LocalEntityConfig, RemoteEntityConfig, RemoteEntityConfigTable
    from cfdppy.handler import DestHandler, SourceHandler
    from cfdppy.mib import CheckTimerProvider, DefaultFaultHandlerBase
    from cfdppy.request import PutRequest
    from cfdppy.user import CfdpUserBase
    from spacepackets.cfdp import ChecksumType, TransmissionMode
    from spacepackets.countdown import Countdown
    from spacepackets.seqcount import SeqCountProvider
    from spacepackets.util import ByteFieldU8

    mode = TransmissionMode.ACKNOWLEDGED if acknowledged else TransmissionMode.UNACKNOWLEDGED
    own, other = (1, 2) if kind == "source" else (2, 1)
    remote = RemoteEntityConfig(
        entity_id=ByteFieldU8(other), max_file_segment_len=None, max_packet_len=1024, closure_requested=False,
        crc_on_transmission=True, default_transmission_mode=mode, crc_type=more.get("checksum", ChecksumType.CRC_32),
        positive_ack_timer_interval_seconds=12.0, positive_ack_timer_expiration_limit=8,
        nak_timer_interval_seconds=12.0, nak_timer_expiration_limit=8, immediate_nak_mode=False, check_limit=4,
    )  # fmt: skip
    local = LocalEntityConfig(ByteFieldU8(own), IndicationConfig(), _silent(DefaultFaultHandlerBase))
    user, checks = _silent(CfdpUserBase), _silent(CheckTimerProvider)
    checks.provide_check_timer = lambda *_args, **_more: Countdown.from_seconds(5)
    table = RemoteEntityConfigTable([remote])
    if kind == "dest":
        return Peer(DestHandler(local, user, table, checks), clock)
    handler = SourceHandler(local, user, table, checks, SeqCountProvider(16))
    path = folder / "rover.png"
    path.write_bytes(file)
    handler.put_request(
        PutRequest(ByteFieldU8(other), path, folder / "ours.png", mode, more.get("closure", False))
    )
    return Peer(handler, clock)


def receiver(**more: Any) -> CfdpReceiver:
    return CfdpReceiver(2, settings(**more))
