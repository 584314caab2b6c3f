"""The end of a CFDP transaction that gets the file (CCSDS 727.0-B-5, 4.6.2, 4.6.4), without I/O and without a clock.

Used as `link.cfdp.sending`. What is missing is asked for when the end of the file has come (deferred NAK), and again
when nothing of it comes any more; the metadata too, which may be lost like anything else. A transaction ends with a
condition, whatever is lost, and what there is of the file is kept: `data`, `missing`.
"""

from collections import deque
from dataclasses import replace

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
    PduBody,
    PduHead,
    file_checksum,
    most_requests,
    pack,
    parse,
)
from link.cfdp.waits import CfdpOutgoing, CfdpSettings, CfdpTimers
from link.repair.ltp_segments import Spans

_ACTIVE, _ENDED = 1, 2
_DISCARDED, _KEPT = 1, 2


class CfdpReceiver:
    """Receives one file for the entity *destination*: that of the first transaction it hears of."""

    def __init__(self, destination: int, settings: CfdpSettings) -> None:
        self._destination, self._settings = destination, settings
        self._head: PduHead | None = None
        self._file = bytearray()
        self._have = Spans([])
        self._end: EndPdu | None = None
        self._urgent: deque[CfdpOutgoing] = deque()
        self._timers = CfdpTimers()
        self._progress = False  # whether anything new came since gaps were asked for
        self.metadata: MetadataPdu | None = None
        self.condition: CfdpCondition | None = None
        """How it ended; None: it goes on, or has not begun."""
        self.open = False
        """Whether it began and waits for anything, the acknowledgement of its end included."""

    @property
    def next_ns(self) -> int | None:
        """When something is due; None: nothing is."""
        return self._timers.next_ns

    @property
    def size(self) -> int | None:
        """The file's size; None: nobody said."""
        said = self._end or self.metadata
        return None if said is None else said.size

    @property
    def data(self) -> bytes:
        """What there is of the file, zeros where it is missing."""
        size = self.size if self.size is not None and self.size <= self._settings.most_bytes else 0
        return bytes(self._file).ljust(size, b"\0")

    @property
    def missing(self) -> list[tuple[int, int]]:
        """The (first, end) that are missing, as far as the size is known."""
        return list(self._have.gaps(0, self.size or 0))

    @property
    def complete(self) -> bool:
        """Whether the file is here, and its checksum holds."""
        return self.condition == CfdpCondition.NO_ERROR

    def take(self, now: int) -> CfdpOutgoing | None:
        """Return what goes next, None where nothing does."""
        return self._urgent.popleft() if self._urgent else None

    def sent(self, item: CfdpOutgoing, end: int) -> None:
        """Note that the last bit of *item* left at *end*."""
        if not item.timer or not self.open:
            return
        due = self._settings.sight.answer_by(end)
        if due is None:
            self._finish(CfdpCondition.NAK_LIMIT if item.timer == "gaps" else CfdpCondition.ACK_LIMIT)
        else:
            self._timers.plan(item.timer, due)

    def wake(self, now: int) -> None:
        """Do what is due at *now*."""
        while (name := self._timers.take_due(now)) is not None:
            if name == "finished":
                if self._timers.count(name) < self._settings.tries:
                    self._say_finished()
                else:
                    self._leave()
            elif name == "gaps":
                if self._progress:
                    self._timers.stop("gaps")
                if self._timers.count("gaps") < self._settings.tries:
                    self._ask()
                else:
                    self._finish(CfdpCondition.NAK_LIMIT)
            else:  # silence, or in class 1 pieces that come no more
                self._finish(CfdpCondition.CHECK_LIMIT if name == "check" else CfdpCondition.INACTIVITY)

    def receive(self, data: bytes, now: int) -> None:
        """Take what arrived. Raise CfdpError where it is no PDU, or not one for this transaction."""
        head, body = parse(data, must_check=self._settings.must_check)
        if head.toward_sender or head.destination != self._destination:
            raise CfdpError("a PDU for another entity")
        if self._head is None:
            self._head, self.open = head, True
        elif (head.source, head.sequence) != (self._head.source, self._head.sequence):
            raise CfdpError("a PDU of another transaction")
        if self.condition is not None:
            self._answer_late(body)
            return
        self._listen(now)
        match body:
            case FileDataPdu():
                self._take_data(body, now)
            case MetadataPdu():
                if self.metadata is None:
                    self.metadata, self._progress = body, True
                    self._look(now)
            case EndPdu():
                self._take_end(body, now)
            case _:
                pass

    def _answer_late(self, body: PduBody) -> None:
        """Answer what comes after the end: the sender does not know of it yet."""
        assert self._head is not None and self.condition is not None
        if isinstance(body, EndPdu) and self._head.acknowledged:
            self._say(AckPdu(CfdpDirective.END, body.condition, _ENDED))
        elif isinstance(body, AckPdu) and body.directive == CfdpDirective.FINISHED:
            self._leave()

    def _listen(self, now: int) -> None:
        """Have silence from now on end it, once a sender that tries everything must have been heard."""
        span = (self._settings.tries + 2) * self._settings.sight.round_trip_ns(now)
        span = self._settings.row_ns + max(span, self._settings.quiet_ns)
        self._timers.plan("silence", self._settings.sight.after(now, span))

    def _take_data(self, piece: FileDataPdu, now: int) -> None:
        end = piece.offset + len(piece.data)
        if end > self._settings.most_bytes:
            self._finish(CfdpCondition.FILESTORE)
            return
        if self._end is not None and end > self._end.size:
            self._finish(CfdpCondition.FILE_SIZE)
            return
        if not self._have.covers(piece.offset, end):
            self._progress = True
            self._have.add(piece.offset, end)
            if len(self._file) < end:
                self._file.extend(bytes(end - len(self._file)))
            self._file[piece.offset : end] = piece.data
        self._look(now)

    def _take_end(self, end: EndPdu, now: int) -> None:
        assert self._head is not None
        if self._head.acknowledged:
            self._say(AckPdu(CfdpDirective.END, end.condition, _ACTIVE))
        if end.condition != CfdpCondition.NO_ERROR:
            self._finish(end.condition)
        elif self._end is None:
            self._end = end
            if end.size > self._settings.most_bytes:
                self._finish(CfdpCondition.FILESTORE)
            elif self._have.ranges and self._have.ranges[-1][1] > end.size:
                self._finish(CfdpCondition.FILE_SIZE)
            else:
                self._look(now)

    def _look(self, now: int) -> None:
        """End it where all is here; else have what is missing asked for, or waited for in class 1."""
        if self._end is None:
            return
        assert self._head is not None
        if self.metadata is not None and not self.missing:
            self._verify(self._end, self.metadata)
        elif not self._head.acknowledged:
            self._timers.plan("check", now + self._settings.quiet_ns)
        elif self._timers.waits("gaps"):
            # While anything comes, what was asked for is on its way.
            self._timers.plan_later("gaps", now + self._settings.quiet_ns)
        elif not self._asked:
            self._ask()

    def _verify(self, end: EndPdu, metadata: MetadataPdu) -> None:
        if metadata.checksum is None:
            self._finish(CfdpCondition.UNSUPPORTED_CHECKSUM)
        elif file_checksum(bytes(self._file), metadata.checksum) != end.checksum:
            self._finish(CfdpCondition.CHECKSUM)
        else:
            self._finish(CfdpCondition.NO_ERROR)

    @property
    def _asked(self) -> bool:
        """Whether requests are waiting to be sent."""
        return any(item.timer == "gaps" for item in self._urgent)

    def _ask(self) -> None:
        """Ask for all that is missing, in as many PDUs as it takes; the timer begins with the last."""
        assert self._head is not None and self._end is not None
        gaps = self.missing if self.metadata is not None else [(0, 0), *self.missing]
        room = most_requests(self._settings.pdu_bytes, self._head)
        parts = [tuple(gaps[at : at + room]) for at in range(0, len(gaps), room)]
        begin = 0
        for number, part in enumerate(parts):
            end = part[-1][1] if number + 1 < len(parts) else self._end.size
            self._say(NakPdu(begin, end, part), "gaps")
            begin = end
        self._progress = False

    def _say(self, body: PduBody, timer: str = "") -> None:
        assert self._head is not None
        self._urgent.append(CfdpOutgoing(pack(replace(self._head, toward_sender=True), body), timer))

    def _finish(self, condition: CfdpCondition) -> None:
        """End it with *condition* and tell the sender, where it wants to be told."""
        assert self._head is not None
        self.condition = condition
        self._timers.clear()
        self._urgent = deque(item for item in self._urgent if item.timer != "gaps")
        if self._head.acknowledged or (self.metadata is not None and self.metadata.closure):
            self._say_finished()
        if not self._head.acknowledged:
            self._leave()

    def _say_finished(self) -> None:
        assert self._head is not None and self.condition is not None
        kept = _KEPT if self._file or self.complete else _DISCARDED
        timer = "finished" if self._head.acknowledged else ""
        self._say(FinishedPdu(self.condition, self.complete, kept), timer)

    def _leave(self) -> None:
        self.open = False
        self._timers.clear()
