"""What viewers see of a session, made of its news. Pure state: no socket, no clock, no file.

    News -> Room.take -> version + 1       Room.tick(version) -> all that is new since, Room.state() -> everything

Whatever changes carries the version at which it did, so one store serves viewers of every pace: who is slow asks from
an older version and gets fewer pictures and merged rows, but the same figures, since counters are totals. All that is
kept is bounded, so a session may go on for hours.
"""

import copy
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from link.channel.rate import Trace
from link.config import Session
from link.errors import UsageError
from link.events import WITH_BYTES, Event, Fate, Row
from link.steering import lay
from scenarios.live import keep_up
from scenarios.live.controls import control_values, words_of
from scenarios.live.crossing import Crossing, Ended
from scenarios.live.curves import Curves
from scenarios.live.frames import Frames, FrameView
from scenarios.live.gallery import Gallery, drawn_ns
from scenarios.live.log import LOGGED, tell
from scenarios.live.moving import MovingFigures
from scenarios.live.news import News
from scenarios.live.order import Order
from scenarios.live.pictures import PictureRing
from scenarios.live.queues import HopLoad, count_packets, find_narrowest, find_onward
from scenarios.report.sections import SectionReader
from scenarios.results.traffic import USELESS, first_hops, section_kind
from scenarios.words import plain

if TYPE_CHECKING:
    from scenarios.live.recording import Recording

MOST_ROWS = 2000
"""Rows, and packets, that a message holds at most."""
_MOST_VERSIONS = 1800  # three minutes of ticks: who is further behind gets the state anew
_FATES = {int(fate): fate.name.lower() for fate in Fate}


class Room:
    """One session. *local*: viewers are on this machine; *library* has its pictures and packets, where it is a replay.

    Raise UsageError for a head of another version.
    """

    def __init__(
        self,
        head: Mapping[str, Any],
        traces: Mapping[str, Trace] | None = None,
        *,
        local: bool,
        version: int = 0,
        library: "Recording | None" = None,
    ) -> None:
        about = head["scenario"]
        try:
            known = {key: about[key] for key in Session.model_fields if key in about}
            self.session = self.first = Session.model_validate(known)
        except ValueError as error:
            raise UsageError(f"a session that this farlink does not understand: {str(error)[:200]}") from None
        self.head = head
        self.keeps_up: bool | None = None
        """As that of `Source`."""
        self._traces = dict(traces or {})
        self._local, self._library = local, library
        self.version = version
        """Grows by one with each news."""
        self._begin()

    def _begin(self) -> None:
        session = self.session = self.first
        wire, kinds = session.link.framing, section_kind(self.head["scenario"])
        self.crossing = Crossing(wire, kinds, first_hops(self.head["scenario"]))
        library = self._library
        self.frames = Frames(wire, SectionReader.of(self.head), library.packet if library else None)
        self.curves = Curves(session.camera.period_s or 1.0)
        self.gallery = Gallery(self.frames, self.curves, library, local=self._local)
        self.marks: deque[tuple[int, dict[str, Any]]] = deque(maxlen=100)
        self.log: deque[tuple[int, str]] = deque(maxlen=200)
        self.packets: deque[tuple[int, list[Any]]] = deque(maxlen=MOST_ROWS)
        self.rows: deque[tuple[int, list[Any]]] = deque(maxlen=MOST_ROWS)
        self.rows_seen = 0
        """Rows of the whole session."""
        # (version, rows until then)
        self._versions: deque[tuple[int, int]] = deque([(self.version, 0)], maxlen=_MOST_VERSIONS)
        self.values: dict[str, tuple[int, Any]] = {}
        self.rival: tuple[int, dict[str, Any] | None] = (self.version, None)
        self.skipped = 0
        self.encoded: tuple[int, int] | None = None
        """The newest frame that was sent, and the bytes of its sections."""
        self.news = News(0, 1.0, True, None)
        self.story: tuple[int, dict[str, Any] | None] = (self.version, None)
        self.ends: tuple[int, Mapping[str, str]] = (self.version, {})
        self.draw_s: float | None = None
        self._order = Order()
        self._bytes: dict[int, bytes] = {}
        self._shown: tuple[int, int] | None = None  # (captured, frame) of the newest picture shown
        self.moving = MovingFigures(session)
        # A rate that changes by itself is learned from what crosses the hop, as a trace's is.
        self._hops = [HopLoad(None if hop.budget_steps else hop.rate_bps) for hop in session.link.hops]
        self._onward = find_onward(session.link.ends)
        self._touched: dict[int, FrameView] = {}
        self.began = self.version
        """The version with which this session began: who knows an older one needs the state."""
        self._note_values()

    @property
    def pictures(self) -> PictureRing:
        """The pictures that viewers may be shown."""
        return self.gallery.pictures

    def blind(self) -> "Room":
        """Leave all that is to be seen to `look`, from now on; return the room."""
        self.frames.reads = False
        return self

    def look(self, seen: Iterable[tuple[int, Event]]) -> None:
        """See what there is to be seen by now: *seen* are the times and events of `Recording.seen`."""
        self._step()
        self.frames.read_all()
        for at_ns, event in seen:
            self.gallery.look(event, at_ns, self.version, 0.0, past=True)
        self.curves.prune()
        for frame in self.frames.ring.values():
            frame.version = self.version
        self._touched.clear()

    def resume(self, news: News) -> None:
        """Stand still or go on as *news* say, which tell nothing else."""
        self._step()
        self.news = news

    def copy(self) -> "Room":
        """Return a room in the same state that goes its own way; of a `blind` one, which has no pictures yet."""
        memo: dict[int, Any] = {
            id(one): one
            for one in (self.head, self.first, self.session, self._library, self.frames.reader, self.news)
        }
        room = Room.__new__(Room)
        room.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return room

    @property
    def loaded(self) -> tuple[str, ...]:
        """Tasks whose models the receiver has."""
        return self.first.analysis

    def take(self, news: News, wall_s: float) -> None:
        """Take *news* that came at second *wall_s* of any clock."""
        self.version += 1
        if news.fresh:
            self._begin()
        self.news = news
        self.gallery.until_ns = news.now_ns
        if news.ends != self.ends[1]:
            self.ends = (self.version, news.ends)
        self._bytes.update(news.data)
        for time, _, row, event in self._order.sort(news):
            self._draw_points(time)
            if row is not None:
                self._take_row(row)
            elif event is not None:
                self._take_event(event)
                if self.frames.reads:
                    self.gallery.look(event, time, self.version, wall_s)
        self._draw_points(news.now_ns)
        if self.moving:
            self._note_values()
        for frame in self._touched.values():
            frame.version = self.version
        self._touched.clear()
        awaited = self._order.awaited
        self._bytes = {number: data for number, data in self._bytes.items() if number in awaited}
        self._versions.append((self.version, self.rows_seen))

    def _draw_points(self, until_ns: int) -> None:
        for at in self.curves.due(until_ns):
            add = self.curves.add
            if self._shown is not None:
                add("age", self.version, at, (at - self._shown[0]) / 1e9)
            add("bit_rate", self.version, at, self.curves.bit_rate())
            if (loss := self.curves.loss()) is not None:
                add("loss", self.version, at, 100.0 * loss)
            add("queue", self.version, at, float(sum(count_packets(self._hops, at)[0])))
            self.curves.close_step()

    def _take_row(self, row: Row) -> None:
        time, number, fate, hop, waited, transmitted = row
        self.rows_seen += 1
        data = self._bytes.pop(number, None) if fate in WITH_BYTES else None
        if (header := self.crossing.header_of(row, data)) is not None:
            self.curves.sent(header)
            return
        self.rows.append((self.version, [time, number, _FATES.get(fate, "?"), hop, waited, transmitted]))
        born = self.crossing.born(row, data)
        if born is not None:
            way = 0 if born.forward else 1
            about = [number, born.frame, born.kind, born.section, born.size_bytes, way, time]
            self.packets.append((self.version, about))
            if born.forward and fate in (Fate.SENT, Fate.DUPLICATED):
                size = born.size_bytes or self.session.link.mtu_bytes
                at = hop if fate == Fate.SENT else hop + 1
                if at < len(self._hops):
                    self._hops[at].enter(number, time, size)
            if born.by_end and born.forward and born.kind == "data" and data is not None:
                self.frames.keep_body(born, data)
            if not born.by_end and fate != Fate.DUPLICATED:
                self.curves.sent(born.size_bytes)
            self._touch(self.frames.ring.get(born.frame if born.frame is not None else -1))
            return
        ended = self.crossing.follow(row)
        if ended is not None:
            self._follow(ended, row)

    def _follow(self, ended: Ended, row: Row) -> None:
        time, number, _, hop, waited, transmitted = row
        passing, fate = ended.passing, ended.fate
        if ended.first_air:
            self.curves.sent(passing.size_bytes)
        if passing.forward and 0 <= hop < len(self._hops):
            if fate in (Fate.CROSSED, Fate.CHANNEL_LOSS, Fate.OUTAGE, Fate.QUEUE_FULL):
                self._hops[hop].leave(number, waited, transmitted)
                if hop == self.narrowest()[0]:
                    self.curves.busy(transmitted)
            if fate == Fate.CROSSED and (onward := self._onward[hop]) is not None:
                self._hops[onward].enter(number, time, passing.size_bytes or self.session.link.mtu_bytes)
        if ended.end:
            for one in self._hops:
                one.forget(number)
        frame = self.frames.ring.get(passing.frame if passing.frame is not None else -1)
        self._touch(frame)
        if not (ended.end and passing.forward and passing.by_end):
            return
        self.curves.ended(lost=fate.is_drop and fate not in USELESS)
        if passing.frame is None:
            return
        if fate == Fate.DELIVERED:
            self._touch(self.frames.arrive(passing.frame))
        account = self.crossing.accounts.get(passing.frame)
        gone = account is not None and account.without_end <= 0 and not account.delivered
        if gone and not self.session.link.repair.arq:
            self._touch(self.frames.lose(passing.frame))

    def _touch(self, frame: FrameView | None) -> None:
        if frame is not None:
            self._touched[frame.number] = frame

    def _take_event(self, event: Event) -> None:
        kind, number = event.kind, event.frame
        if kind == "captured":
            self.crossing.capture(int(number or 0), event.time_ns)
            self._touch(self.frames.capture(event))
        elif kind == "encoded":
            self._touch(self.frames.encode(event))
            if event.fields.get("sections"):
                self.encoded = int(number or 0), sum(event.fields["sections"])
        elif kind == "closed":
            self._touch(self.frames.close(event, drawn=False))
        elif kind == "decoded":
            self._decoded(event)
        elif kind in ("found", "not_found"):
            self._touch(self.frames.ring.get(int(number or 0)))
        elif kind == "superseded":
            self._touch(self.frames.supersede(int(number or 0)))
        elif kind == "changed":
            self._changed(event)
        elif kind == "marked":
            self.mark(str(event.fields.get("text", "")), str(event.fields.get("by", "")), event.time_ns)
        elif kind == "skipped":
            self.skipped += 1
        elif kind in ("finished", "aborted"):
            for lost in self.frames.finish():
                self._touch(lost)
        if kind in LOGGED:
            self.log.append((self.version, tell(event)))

    def _decoded(self, event: Event) -> None:
        number, at = int(event.frame or 0), drawn_ns(event)
        frame, first = self.frames.draw(event, at)
        self._touch(frame)
        account = self.crossing.accounts.get(number)
        if account is not None and first:
            if self._shown is None or account.captured_ns > self._shown[0]:
                self._shown = (account.captured_ns, number)
            self.curves.add("latency", self.version, at, (at - account.captured_ns) / 1e9)
        if "drawn_ns" in event.fields and self._library is None:
            self.draw_s = max(0.0, (at - event.time_ns) / 1e9 / self.news.factor)

    def _drawn(self, kind: str, frame: int, data: bytes, wall_s: float) -> None:
        self.gallery.hang(kind, frame, data, self.version, wall_s)

    def _changed(self, event: Event) -> None:
        paths: dict[str, Any] = dict(event.fields.get("paths", {}))
        for path, (old, new) in paths.items():
            self.mark(words_of(self.session, path, old, new), str(event.fields.get("by", "")), event.time_ns)
        try:
            self.session, _ = lay(self.session, {path: new for path, (_, new) in paths.items()})
        except UsageError as error:
            self.log.append((self.version, str(plain(f"a change of another version: {error}"))[:300]))
        for hop, one in zip(self._hops, self.session.link.hops, strict=True):
            hop.set_rate(None if one.budget_steps else one.rate_bps)
        self.moving.hold(paths)
        self._note_values()

    def _step(self) -> None:
        """Go on to the next version, without rows."""
        self.version += 1
        self._versions.append((self.version, self.rows_seen))

    def mark(self, text: str, by: str, at_ns: int) -> None:
        """Put a mark beside run time *at_ns*."""
        said = {"t_s": at_ns / 1e9, "text": str(plain(text))[:200], "by": str(plain(by))[:40]}
        self.marks.append((self.version, said))

    def note(self, text: str, by: str) -> None:
        """Put a mark of a viewer's own beside the present moment."""
        self._step()
        self.mark(text, by, self.news.now_ns)

    def lose(self, reason: str) -> None:
        """The session can tell no more."""
        self._step()
        self.news = replace(self.news, done=True, lost=reason)

    def tell_rival(self, about: dict[str, Any], picture: bytes | None, wall_s: float) -> None:
        """What another codec made of the same bytes; *picture* is a PNG file."""
        self._step()
        self.rival = (self.version, about)
        if picture is not None:
            self._drawn("rival", int(about["frame"]), picture, wall_s)

    def tell_truth(self, number: int, told: Mapping[str, Any], maps: Sequence[bytes], wall_s: float) -> None:
        """What is true of frame *number*, and what its findings are worth (`scenarios.live.referee`)."""
        frame = self.frames.ring.get(number)
        if frame is None:
            return
        self._step()
        frame.version, frame.true_boxes = self.version, told["boxes"]
        frame.scores |= told["scores"]
        at_ns = self.news.now_ns if frame.drawn_ns is None else frame.drawn_ns
        if "miou" in told["scores"]:
            self.curves.add("miou", self.version, at_ns, told["scores"]["miou"])
        for kind, data in zip(told["kinds"], maps, strict=True):
            self._drawn(kind, number, data, wall_s)

    def set_keeps_up(self, on: bool) -> None:
        """Set `keeps_up`."""
        self._step()
        self.keeps_up = on
        self._note_values()

    def tell_story(self, told: dict[str, Any]) -> None:
        """What the session's story says now (`scenarios.live.stories.Teller.tell`)."""
        if told != self.story[1]:
            self._step()
            self.story = (self.version, told)

    def _note_values(self) -> None:
        values = control_values(self.session, self.loaded) | self.moving.at(self.news.now_ns)
        if self.keeps_up is not None:
            values[keep_up.PATH] = self.keeps_up
        for path, value in values.items():
            if path not in self.values or self.values[path][1] != value:
                self.values[path] = (self.version, value)

    def narrowest(self) -> tuple[int, float | None]:
        """Return the number and rate in bit/s of the hop that carries least; None: its trace is not at hand."""
        return find_narrowest(self.session.link.hops, self._traces)

    def knows(self, version: int) -> bool:
        """Whether what is new since *version* can be told; else a viewer needs the state."""
        return version >= self.began and bool(self._versions) and version >= self._versions[0][0]

    def rows_since(self, version: int) -> int:
        """Return how many rows there are after *version*."""
        at = bisect_right(self._versions, version, key=lambda item: item[0]) - 1
        return self.rows_seen - (self._versions[at][1] if at >= 0 else 0)

    def waiting(self) -> tuple[list[int], int]:
        """Return how many packets wait at each hop, and how many fly."""
        return count_packets(self._hops, self.news.now_ns)

    def frame_json(self, since: int) -> list[dict[str, Any]]:
        """Return the frames that changed after *since*."""
        accounts = self.crossing.accounts
        return [
            frame.as_json(accounts.get(frame.number))
            for frame in self.frames.ring.values()
            if frame.version > since
        ]
