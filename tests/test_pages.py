"""Pages at the link's socket: they hear what the journal holds, steer, and harm nothing when they misbehave."""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import zmq
from ports import free_address
from toys import ToyEncoder, kinds, no_clock, session, shots

from link import journal, messages
from link.__main__ import serve
from link.config import Session
from link.errors import FarlinkError
from link.events import Fate
from link.fingerprint import fingerprint
from link.packet import VERSION
from link.pages import MAX_PAGES
from link.peer import serve as play
from link.relay import Hub
from link.tap import LinkNews, pack_news, unpack_news
from link.timing import times
from receiver.receiver import Receiver
from sender.sender import Sender

HOP = {"name": "space", "rate_bps": 40_000, "delay_s": 0.2}
PLAN = session({"hops": [HOP], "mtu_bytes": 128}, frame_bytes=400, period_s=0.5).model_copy(
    update={"live": True}
)


class Running:
    """A live session of toy ends over sockets, ten run seconds a second."""

    def __init__(self, folder, frames: int = 60, factor: float = 10.0) -> None:
        self.path = folder / "run.mcap"
        self.address = ""
        self.error: Exception | None = None
        self._listening = threading.Event()
        self.begun = threading.Event()
        self._threads = [threading.Thread(target=self._link, args=(factor,))]
        self._threads[0].start()
        assert self._listening.wait(10)
        for role in ("sender", "receiver"):
            self._threads.append(threading.Thread(target=self._end, args=(role, frames)))
            self._threads[-1].start()
        assert self.begun.wait(10)

    def _tell(self, record: dict[str, Any]) -> None:
        if record["kind"] == "listening":
            self.address = record["address"]
            self._listening.set()
        elif record["kind"] == "captured":
            self.begun.set()

    def _link(self, factor: float) -> None:
        head = {"scenario": PLAN.model_dump(mode="json", by_alias=True), "seed": 1}
        try:
            serve(PLAN, head, self.path, "tcp://127.0.0.1:0", factor=factor, tell=self._tell)
        except Exception as error:
            self.error = error

    def _end(self, role: str, frames: int) -> None:
        from toys import ToyDecoder

        def build(plan: Session, times: Any) -> Any:
            own = fingerprint(plan)
            if role == "sender":
                return Sender(plan, times, shots(frames), ToyEncoder(3, 100), own, no_clock), own
            return Receiver(plan, times, ToyDecoder(), own, no_clock), own

        with contextlib.suppress(Exception):
            play(role, self.address, build, timeout_s=10.0)

    def end(self) -> journal.Run:
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()
        assert self.error is None
        return journal.read(self.path)


class Page:
    def __init__(self, address: str, wire: int = VERSION) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.RCVHWM, 4)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(address)
        self.say(b"hello", {"role": "page", "wire": wire})
        self.heard: list[LinkNews] = []
        self.told: dict[int, str | None] = {}
        self.verbs: list[bytes] = []
        self.ends: list[dict[str, str]] = []

    def say(self, verb: bytes, fields: dict[str, Any]) -> None:
        self.socket.send_multipart(messages.pack(verb, fields))

    def listen(self, seconds: float = 30.0) -> Iterator[bytes]:
        """Take what comes until goodbye, for so long at most."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not self.socket.poll(50):
                continue
            verb, fields, blobs = messages.unpack(self.socket.recv_multipart())
            self.verbs.append(verb)
            if verb == b"ends":
                self.ends.append(messages.EndsTold.read(fields).model_dump())
            elif verb == b"news":
                self.heard.append(unpack_news(fields, blobs))
            elif verb == b"told":
                self.told[fields["id"]] = fields["refused"]
            elif verb == b"welcome":
                self.welcome = messages.Welcome.read(fields)
            yield verb
            if verb == b"bye":
                return

    def close(self) -> None:
        self._context.destroy(linger=0)


class End(Page):
    """A sender or receiver that says only what a test has it say."""

    def __init__(self, address: str, role: str) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(address)
        self.say(b"hello", {"role": role, "wire": VERSION})


@pytest.fixture
def running(tmp_path):
    made = Running(tmp_path)
    yield made
    for thread in made._threads:
        thread.join(30)


def test_a_page_hears_what_the_journal_holds_and_steers(running):
    page = Page(running.address)
    asked = False
    for _ in page.listen():
        if len(page.heard) > 5 and not asked:
            asked = True
            page.say(b"change", {"paths": {"link.hops.0.rate_bps": 20_000}, "by": "page", "id": 1})
            page.say(b"change", {"paths": {"link.hops.0.rate_bps": -1}, "by": "page", "id": 2})
            page.say(b"change", {"paths": {"seed": 4}, "by": "page", "id": 3})
            page.say(b"pace", {"turn": None, "factor": 1e9, "id": 4})
            page.say(b"mark", {"text": "look here", "by": "page", "id": 6})
            page.say(b"mark", {"text": "x" * 201, "by": "page", "id": 7})
            page.say(b"pace", {"turn": None, "factor": 20.0, "id": 5})
    run = running.end()
    assert page.welcome.session == PLAN
    assert page.told[1] is None and page.told[5] is None
    assert "greater than or equal to 0.001" in str(page.told[2])
    assert "cannot be changed" in str(page.told[3]) and "run seconds a second" in str(page.told[4])
    assert kinds(run, "changed")[0]["paths"] == {"link.hops.0.rate_bps": [40_000.0, 20_000.0]}
    assert page.told[6] is None and 7 not in page.told
    assert [(event["text"], event["by"]) for event in kinds(run, "marked")] == [("look here", "page")]
    # From its first news on it heard every row and every event, in order.
    rows = [row for news in page.heard for row in news.rows]
    assert len(rows) > 500
    whole = [tuple(row) for row in run.rows.tolist()]
    first = whole.index(rows[0])
    assert sorted(rows)[: len(rows)] == sorted(whole[first : first + len(rows)])
    told = [(event.kind, event.time_ns, event.frame) for news in page.heard for event in news.events]
    wrote = [(event["kind"], event["time_ns"], event["frame"]) for event in run.events]
    assert told == wrote[wrote.index(told[0]) :][: len(told)]
    pictures = [event.picture for news in page.heard for event in news.events if event.kind == "captured"]
    assert pictures and all(picture is not None and picture.startswith(b"\x89PNG") for picture in pictures)
    assert page.heard[-1].factor == 20.0
    page.close()


def test_a_page_that_comes_later_is_told_the_session_as_it_is(running):
    first = Page(running.address)
    first.say(b"change", {"paths": {"link.hops.0.delay_s": 0.7}, "by": "page", "id": 1})
    for _ in first.listen():
        if first.told:
            break
    second = Page(running.address)
    for verb in second.listen():
        if verb == b"welcome":
            break
    assert second.welcome.session.link.hops[0].delay_s == 0.7
    second.say(b"pace", {"turn": "stop", "factor": None, "id": 1})
    assert running.end().events[-1]["stopped"] is True
    for page in (first, second):
        page.close()


def test_pages_that_misbehave_harm_nothing(running):
    silent = [Page(running.address) for _ in range(3)]  # read nothing
    dead = Page(running.address)
    for _ in dead.listen():
        if dead.heard:
            break
    dead.close()
    noisy = Page(running.address)
    for verb, fields in (
        (b"done", {}), (b"ready", {"fingerprint": "x"}), (b"error", {"exit_code": 1, "message": "no"}),
        (b"change", {}), (b"change", {"paths": [], "by": "x", "id": 1}), (b"change", {"paths": {}, "by": 3, "id": 1}),
        (b"pace", {"turn": "leap", "id": 1}), (b"pace", {"turn": "pause", "factor": "fast", "id": 1}),
        (b"pace", {"factor": float("nan"), "id": 1}), (b"hello", {"role": "page", "wire": VERSION}),
    ):  # fmt: skip
        noisy.say(verb, fields)
    noisy.socket.send_multipart([b"change", b"[" * 1000])
    old = Page(running.address, wire=1)
    for _ in old.listen(10):
        pass
    assert old.verbs == [b"bye"]
    run = running.end()
    assert run.complete and len(kinds(run, "captured")) + len(kinds(run, "skipped")) == 60
    assert len(kinds(run, "decoded")) > 40
    for page in [*silent, noisy, old]:
        page.close()


def test_a_page_is_told_how_the_ends_stand_before_a_run_begins():
    address = free_address()
    hub = Hub(address, PLAN, times(PLAN, {}), fingerprint(PLAN))
    page = Page(address)
    failure: list[FarlinkError] = []

    def meet() -> None:
        try:
            hub.meet(20.0, 20.0)
        except FarlinkError as error:
            failure.append(error)

    waiting = threading.Thread(target=meet)
    waiting.start()
    sender = receiver = None
    for _ in page.listen(20.0):
        if page.ends[-1:] == [{"sender": "absent", "receiver": "absent"}] and sender is None:
            sender = End(address, "sender")
        elif page.ends[-1:] == [{"sender": "loading", "receiver": "absent"}]:
            sender.say(b"ready", {"fingerprint": fingerprint(PLAN), "source": None})
        elif page.ends[-1:] == [{"sender": "ready", "receiver": "absent"}] and receiver is None:
            receiver = End(address, "receiver")
        elif page.ends[-1:] == [{"sender": "ready", "receiver": "loading"}]:
            receiver.say(b"ready", {"fingerprint": fingerprint(PLAN), "source": None})
        elif page.ends[-1:] == [{"sender": "ready", "receiver": "ready"}]:
            break
    waiting.join(20.0)
    assert not failure and page.ends[-1] == {"sender": "ready", "receiver": "ready"}
    hub.close()
    for one in (page, sender, receiver):
        one.close()


def test_there_is_room_for_so_many_pages(running):
    pages = [Page(running.address) for _ in range(MAX_PAGES + 1)]
    answers = []
    for page in pages:
        answers.append(next(page.listen(10)))
    assert sorted(answers) == [b"bye"] + [b"welcome"] * MAX_PAGES
    for page in pages:
        page.close()


def test_news_that_do_not_fit_together_are_a_value_error():
    verb, *_ = pack_news(LinkNews(5, 1.0, False, None))
    assert verb == b"news"
    news = LinkNews(
        9,
        60.0,
        True,
        "picture",
        (),
        [(1, 0, int(Fate.SENT), 0, 0, 0), (2, 0, int(Fate.CROSSED), 0, 1, 1)],
        [b"abc"],
        3,
    )
    _, fields, blobs = messages.unpack(pack_news(news))
    assert unpack_news(fields, blobs) == LinkNews(9, 60.0, True, "picture", [], list(news.rows), [b"abc"], 3)
    for broken in ([], [blobs[0], b"ab"], [blobs[0][:-8], blobs[1]], [*blobs, b"x"]):
        with pytest.raises(ValueError):
            unpack_news(fields, broken)
    with pytest.raises(ValueError, match="sizes"):
        unpack_news({**fields, "sizes": [-1]}, blobs)
