"""What viewers see of a session, made of its news. Pure state: no socket, no clock, no file.

    News -> Room.take -> version + 1       Room.tick(version) -> all that is new since, Room.state() -> everything

Whatever changes carries the version at which it did, so one store serves viewers of every pace: who is slow asks from
an older version and gets fewer pictures and merged rows, but the same figures, since counters are totals. All that is
kept is bounded, so a session may go on for hours.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from link.channel.path import hop_rate_bps
from link.channel.rate import Trace
from link.config import Session
from link.errors import UsageError
from link.events import WITH_BYTES, Event, Fate, Row
from link.steering import lay
from scenarios.live import frames as framing
from scenarios.live import keep_up
from scenarios.live.controls import control_values, words_of
from scenarios.live.crossing import Crossing, Ended
from scenarios.live.curves import Curves
from scenarios.live.frames import Frames, FrameView
from scenarios.live.news import News
from scenarios.live.order import Order
from scenarios.live.pictures import PictureRing, psnr, shown_depth
from scenarios.live.queues import HopLoad, count_packets
from scenarios.report.sections import SectionReader
from scenarios.results.traffic import section_kind
from scenarios.words import plain

MOST_ROWS = 2000
"""Rows, and packets, that a message holds at most."""
_MOST_VERSIONS = 6000  # ten minutes of ticks: who is further behind gets the state anew
_LINES = {"warned", "skipped", "aborted", "gave_up", "not_found"}
_FATES = {int(fate): fate.name.lower() for fate in Fate}


class Room:
    """One session. *local*: viewers are on this machine. Raise UsageError for a head of another version."""

    def __init__(
        self,
        head: Mapping[str, Any],
        traces: Mapping[str, Trace] | None = None,
        *,
        local: bool,
        version: int = 0,
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
        self._local = local
        self.version = version
        """Grows by one with each news."""
        self._begin()

    def _begin(self) -> None:
        session = self.session = self.first
        wire, kinds = session.link.framing, section_kind(self.head["scenario"])
        self.crossing = Crossing(wire, kinds)
        self.frames = Frames(wire, SectionReader.of(self.head))
        self.pictures = PictureRing(local=self._local)
        self.curves = Curves(session.camera.period_s or 1.0)
        self.marks: deque[tuple[int, dict[str, Any]]] = deque(maxlen=100)
        self.log: deque[tuple[int, str]] = deque(maxlen=200)
        self.packets: deque[tuple[int, list[Any]]] = deque(maxlen=MOST_ROWS)
        self.rows: deque[tuple[int, list[Any]]] = deque(maxlen=MOST_ROWS)
        self.rows_seen = 0
        """Rows of the whole session."""
        # (version, rows until then)
        self._versions: deque[tuple[int, int]] = deque([(self.version, 0)], maxlen=_MOST_VERSIONS)
        self.values: dict[str, tuple[int, Any]] = {}
        self.pictures_new: deque[tuple[int, str]] = deque(maxlen=3 * framing.KEPT)  # (version, id)
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
        self._hops = [HopLoad(hop.rate_bps) for hop in session.link.hops]
        self._touched: dict[int, FrameView] = {}
        self.began = self.version
        """The version with which this session began: who knows an older one needs the state."""
        self._note_values()

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
        if news.ends != self.ends[1]:
            self.ends = (self.version, news.ends)
        self._bytes.update(news.data)
        for time, _, row, event in self._order.sort(news):
            self._draw_points(time)
            if row is not None:
                self._take_row(row)
            elif event is not None:
                self._take_event(event, wall_s)
        self._draw_points(news.now_ns)
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
            if fate == Fate.CROSSED and hop + 1 < len(self._hops):
                self._hops[hop + 1].enter(number, time, passing.size_bytes or self.session.link.mtu_bytes)
        if ended.end:
            for one in self._hops:
                one.forget(number)
        frame = self.frames.ring.get(passing.frame if passing.frame is not None else -1)
        self._touch(frame)
        if not (ended.end and passing.forward and passing.by_end):
            return
        self.curves.ended(lost=fate.is_drop and fate not in (Fate.DUPLICATE, Fate.DEADLINE))
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

    def _take_event(self, event: Event, wall_s: float) -> None:
        kind, number = event.kind, event.frame
        if kind == "captured":
            self.crossing.capture(int(number or 0), event.time_ns)
            self._touch(self.frames.capture(event))
            self._picture("sent", event, wall_s)
        elif kind == "encoded":
            frame = self.frames.encode(event)
            self._touch(frame)
            self._draw_tiles(frame, wall_s)
            if event.fields.get("sections"):
                self.encoded = int(number or 0), sum(event.fields["sections"])
        elif kind == "closed":
            frame = self.frames.close(event, drawn=False)
            self._touch(frame)
        elif kind == "decoded":
            self._decoded(event, wall_s)
        elif kind in ("found", "not_found"):
            self._touch(self.frames.find(event))
            if kind == "found" and event.picture is not None:
                self._overlay(event, wall_s)
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
        if kind in _LINES:
            self._say(event)

    def _say(self, event: Event) -> None:
        of = f" frame {event.frame}" if event.frame is not None else ""
        why = event.fields.get("reason") or event.fields.get("name") or ""
        self.log.append((self.version, str(plain(f"{event.kind}{of}{': ' if why else ''}{why}"))[:300]))

    def _picture(self, kind: str, event: Event, wall_s: float) -> None:
        if event.picture is not None and event.frame is not None and event.frame in self.frames.ring:
            picture = self.pictures.add(kind, event.frame, event.picture, wall_s)
            self.pictures_new.append((self.version, picture.name))

    def _decoded(self, event: Event, wall_s: float) -> None:
        number, at = int(event.frame or 0), int(event.fields.get("drawn_ns", event.time_ns))
        frame, first = self.frames.draw(event, at)
        self._touch(frame)
        account = self.crossing.accounts.get(number)
        if account is not None and first:
            if self._shown is None or account.captured_ns > self._shown[0]:
                self._shown = (account.captured_ns, number)
            self.curves.add("latency", self.version, at, (at - account.captured_ns) / 1e9)
        if "drawn_ns" in event.fields:
            self.draw_s = max(0.0, (at - event.time_ns) / 1e9 / self.news.factor)
        sent = self.pictures.get(f"sent-{number}")
        if frame is not None and event.picture is not None and sent is not None and sent.png is not None:
            value = psnr(sent.png, event.picture)
            frame.scores["psnr_db"] = value
            self.curves.add("psnr", self.version, at, value)
        self._picture("received", event, wall_s)

    def _draw_tiles(self, frame: FrameView | None, wall_s: float) -> None:
        if frame is not None and frame.held is not None and frame.held.maps:
            self._drawn("tiles", frame.number, framing.atlas(frame.held), wall_s)

    def _overlay(self, event: Event, wall_s: float) -> None:
        data = event.picture
        assert data is not None
        if "scale" in event.fields:
            try:
                data = shown_depth(data, metric=bool(event.fields.get("metric")))
            except Exception:  # Pillow's reader raises a dozen types for damaged files
                return
        self._drawn(str(plain(str(event.fields.get("task", ""))))[:40], int(event.frame or 0), data, wall_s)

    def _drawn(self, kind: str, frame: int, data: bytes, wall_s: float) -> None:
        picture = self.pictures.add(kind, frame, data, wall_s, always=True)
        self.pictures_new.append((self.version, picture.name))

    def _changed(self, event: Event) -> None:
        paths: dict[str, Any] = dict(event.fields.get("paths", {}))
        for path, (old, new) in paths.items():
            self.mark(words_of(self.session, path, old, new), str(event.fields.get("by", "")), event.time_ns)
        try:
            self.session, _ = lay(self.session, {path: new for path, (_, new) in paths.items()})
        except UsageError as error:
            self.log.append((self.version, str(plain(f"a change of another version: {error}"))[:300]))
        for hop, one in zip(self._hops, self.session.link.hops, strict=True):
            hop.set_rate(one.rate_bps)
        self._note_values()

    def mark(self, text: str, by: str, at_ns: int) -> None:
        """Put a mark beside run time *at_ns*."""
        said = {"t_s": at_ns / 1e9, "text": str(plain(text))[:200], "by": str(plain(by))[:40]}
        self.marks.append((self.version, said))

    def note(self, text: str, by: str) -> None:
        """Put a mark of a viewer's own beside the present moment."""
        self.version += 1
        self.mark(text, by, self.news.now_ns)
        self._versions.append((self.version, self.rows_seen))

    def lose(self, reason: str) -> None:
        """The session can tell no more."""
        self.version += 1
        self.news = replace(self.news, done=True, lost=reason)
        self._versions.append((self.version, self.rows_seen))

    def tell_rival(self, about: dict[str, Any], picture: bytes | None, wall_s: float) -> None:
        """What another codec made of the same bytes; *picture* is a PNG file."""
        self.version += 1
        self.rival = (self.version, about)
        if picture is not None:
            self._drawn("rival", int(about["frame"]), picture, wall_s)
        self._versions.append((self.version, self.rows_seen))

    def tell_truth(self, number: int, told: Mapping[str, Any], maps: Sequence[bytes], wall_s: float) -> None:
        """What is true of frame *number*, and what its findings are worth (`scenarios.live.referee`)."""
        frame = self.frames.ring.get(number)
        if frame is None:
            return
        self.version += 1
        frame.version, frame.true_boxes = self.version, told["boxes"]
        frame.scores |= told["scores"]
        at_ns = self.news.now_ns if frame.drawn_ns is None else frame.drawn_ns
        if "miou" in told["scores"]:
            self.curves.add("miou", self.version, at_ns, told["scores"]["miou"])
        for kind, data in zip(told["kinds"], maps, strict=True):
            self._drawn(kind, number, data, wall_s)
        self._versions.append((self.version, self.rows_seen))

    def set_keeps_up(self, on: bool) -> None:
        """Set `keeps_up`."""
        self.version += 1
        self.keeps_up = on
        self._note_values()
        self._versions.append((self.version, self.rows_seen))

    def tell_story(self, told: dict[str, Any]) -> None:
        """What the session's story says now (`scenarios.live.stories.Teller.tell`)."""
        if told != self.story[1]:
            self.version += 1
            self.story = (self.version, told)
            self._versions.append((self.version, self.rows_seen))

    def _note_values(self) -> None:
        values = control_values(self.session, self.loaded)
        if self.keeps_up is not None:
            values[keep_up.PATH] = self.keeps_up
        for path, value in values.items():
            if path not in self.values or self.values[path][1] != value:
                self.values[path] = (self.version, value)

    def narrowest(self) -> tuple[int, float | None]:
        """Return the number and rate in bit/s of the hop that carries least; None: its trace is not at hand."""
        rates = []
        for at, hop in enumerate(self.session.link.hops):
            if hop.rate_bps is None and hop.name not in self._traces:
                return at, None
            rates.append((hop_rate_bps(hop, self._traces), at))
        rate, at = min(rates)
        return at, rate

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


def newer(held: Iterable[tuple[int, Any]], since: int) -> list[Any]:
    """Return the items of *held* (version, item), which is in the order of versions, after *since*."""
    items = held if isinstance(held, Sequence) else list(held)
    found = []
    for version, item in reversed(items):
        if version <= since:
            break
        found.append(item)
    return found[::-1]
