"""The end of a CFDP transaction that has the file (CCSDS 727.0-B-5, 4.6.1, 4.6.3), without I/O and without a clock.

    while (item := sender.take(now)):    what to put on the air next
        sender.sent(item, end)           its last bit left at *end*
    sender.receive(data, now)            take what arrived
    sender.wake(now)                     do what is due, at `next_ns` at the latest

Metadata first, then the file in pieces, then its end. Class 1 is over with that, or with Finished where the metadata
asks for it. In class 2 the end is sent until somebody acknowledges it, gaps are sent again as they are asked for, and
Finished is acknowledged, again and again if need be. Whatever is lost, a transaction ends with a `condition`.
"""

from collections import deque

from link.cfdp.pdus import (
    AckPdu,
    CfdpCondition,
    CfdpDirective,
    CfdpError,
    EndPdu,
    FileDataPdu,
    FinishedPdu,
    MetadataPdu,
    NakPdu,
    PduHead,
    file_checksum,
    most_data,
    pack,
    parse,
)
from link.cfdp.waits import CfdpOutgoing, CfdpSettings, CfdpTimers
from link.repair.ltp_segments import Spans

_ENDED = 2
_MOST_NAKS = 1 << 14
"""A receiver that asks more often is broken: it would have been content with the tries of gaps long before."""


class CfdpSender:
    """Sends one file. Raise ValueError where the PDUs of *settings* hold nothing of it."""

    def __init__(self, file: bytes, metadata: MetadataPdu, head: PduHead, settings: CfdpSettings) -> None:
        if metadata.size != len(file) or metadata.checksum is None:
            raise ValueError("the metadata are of another file")
        self._room = most_data(settings.pdu_bytes, head)
        meta = pack(head, metadata)
        if self._room < 1 or len(meta) > settings.pdu_bytes:
            least = max(len(meta), settings.pdu_bytes - self._room + 1)
            raise ValueError(f"a PDU of {settings.pdu_bytes} bytes is too small; at least {least}")
        self._file, self._head, self._settings = file, head, settings
        self._closure = metadata.closure
        self._metadata = CfdpOutgoing(meta)
        end = EndPdu(CfdpCondition.NO_ERROR, file_checksum(file, metadata.checksum), len(file))
        self._end = CfdpOutgoing(pack(head, end), "end")
        self._urgent: deque[CfdpOutgoing] = deque([self._metadata])
        self._again = Spans([])
        self._next, self._ended = 0, False
        self._naks = 0
        self._timers = CfdpTimers()
        self.condition: CfdpCondition | None = None
        """How it ended; None: it goes on."""
        self.finished: FinishedPdu | None = None
        """What the receiver said of the file."""
        self.again_bytes = 0
        """Of the file, sent more than once."""

    @property
    def next_ns(self) -> int | None:
        """When something is due; None: nothing is."""
        return self._timers.next_ns

    def take(self, now: int) -> CfdpOutgoing | None:
        """Return what goes next, None where nothing does: what was lost before what is new."""
        if self._urgent:
            return self._urgent.popleft()
        if self.condition is not None:
            return None
        if self._again.ranges:
            (first, end), *rest = self._again.ranges
            cut = min(end, first + self._room)
            self._again.ranges = [(cut, end), *rest] if cut < end else rest
            self.again_bytes += cut - first
            return self._piece(first, cut)
        if self._next < len(self._file):
            first, self._next = self._next, min(len(self._file), self._next + self._room)
            return self._piece(first, self._next)
        if not self._ended:
            self._ended = True
            return self._end
        return None

    def _piece(self, first: int, end: int) -> CfdpOutgoing:
        timer = "silence" if self._ended else ""
        return CfdpOutgoing(pack(self._head, FileDataPdu(first, self._file[first:end])), timer)

    def sent(self, item: CfdpOutgoing, end: int) -> None:
        """Note that the last bit of *item* left at *end*."""
        if self.condition is not None or not item.timer:
            return
        if item.timer == "silence":
            self._listen(end)
        elif self._head.acknowledged:
            self._wait("end", end)
        elif self._closure:
            self._timers.plan("check", self._silence(end))
        else:
            self._close(CfdpCondition.NO_ERROR)

    def _wait(self, name: str, end: int) -> None:
        due = self._settings.sight.answer_by(end)
        if due is None:
            self._close(CfdpCondition.ACK_LIMIT)
        else:
            self._timers.plan(name, due)

    def _silence(self, now: int) -> int:
        """Return until when a receiver that tries everything as often as it may must have been heard."""
        span = (self._settings.tries + 2) * self._settings.sight.round_trip_ns(now)
        return self._settings.sight.after(now, span)

    def _listen(self, now: int) -> None:
        self._timers.plan("silence", self._silence(now))

    def wake(self, now: int) -> None:
        """Do what is due at *now*."""
        while self.condition is None and (name := self._timers.take_due(now)) is not None:
            if name == "end" and self._timers.count("end") < self._settings.tries:
                self._urgent.append(self._end)
            else:
                ends = {"end": CfdpCondition.ACK_LIMIT, "check": CfdpCondition.CHECK_LIMIT}
                self._close(ends.get(name, CfdpCondition.INACTIVITY))

    def receive(self, data: bytes, now: int) -> None:
        """Take what arrived. Raise CfdpError where it is no PDU, or not one for this transaction."""
        head, body = parse(data, must_check=self._settings.must_check)
        names = (head.source, head.sequence, head.destination)
        if not head.toward_sender or names != (
            self._head.source,
            self._head.sequence,
            self._head.destination,
        ):
            raise CfdpError("a PDU of another transaction")
        match body:
            case FinishedPdu():
                if self._head.acknowledged:
                    ack = AckPdu(CfdpDirective.FINISHED, body.condition, _ENDED)
                    self._urgent.append(CfdpOutgoing(pack(self._head, ack)))
                if self.condition is None:
                    self.finished = body
                    self._close(body.condition)
            case AckPdu(CfdpDirective.END) if self.condition is None and self._ended:
                self._timers.stop("end")
                self._listen(now)
            case NakPdu() if self.condition is None and self._head.acknowledged:
                self._resend(body, now)
            case _:
                pass

    def _resend(self, nak: NakPdu, now: int) -> None:
        self._naks += 1
        if self._naks > _MOST_NAKS:
            self._close(CfdpCondition.NAK_LIMIT)
            return
        for first, end in nak.missing:
            if first == end == 0:
                if self._metadata not in self._urgent:
                    self._urgent.append(self._metadata)
            else:  # what was not sent yet comes by itself
                self._again.add(first, min(end, self._next))
        if self._ended and not self._timers.waits("end"):
            self._listen(now)

    def _close(self, condition: CfdpCondition) -> None:
        self.condition = condition
        self._timers.clear()
        self._again.ranges = []
