"""Hostile messages between processes, in both directions: one line and an exit code, whatever they say."""

import copy
import json
import os
import shlex
import subprocess
import sys
import time
from typing import Any

import numpy as np
import psutil
import pytest
import zmq
from PIL import Image
from ports import free_address
from toys import cores, session, shots

from link import journal, messages, timing
from link.conductor import Conductor
from link.config import ProfileConfig
from link.end import Core
from link.errors import FarlinkError, PartialError, UsageError
from link.fingerprint import fingerprint
from link.marks import Affects, fields_marked
from link.packet import VERSION
from link.peer import _Peer
from link.relay import Hub
from receiver.__main__ import build as build_receiver
from scenarios import run as runs
from scenarios import schema
from scenarios.commands.trust import OPENED, with_own_models
from scenarios.processes import Processes
from sender.__main__ import build as build_sender
from sender.camera import is_allowed

LINK = {
    "mtu_bytes": 128,
    "hops": [{"name": "air", "rate_bps": 20000, "delay_s": 1, "loss": {"model": "bernoulli", "loss": 0.1}}],
    "return": {"rate_bps": 1000},
    "repair": {"arq": True, "fec": 0.2},
}
PLAN = session(LINK, frame_bytes=400)
TIMES = timing.times(PLAN, {})
SEED = int(os.environ.get("FARLINK_SEED", "1"))
SMALL, LARGE = 250, int(os.environ.get("FARLINK_MESSAGES", "20000"))


DEEP = {f"@{levels}@": "[" * levels + "]" * levels for levels in (50, 900, 100_000)}
"""Lists within lists, which stand under a name until the message is written: Python's own tools stumble over them."""

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 255, 256, 1 << 31, 1 << 62, 1 << 63, -(1 << 63), 1 << 64, 10**400, 0.5, -0.5, 1e308,
    float("nan"), float("inf"), float("-inf"), "", "0", "x", "jpeg2000", "gsc", "\ud800", "\x1b]0;owned\x07\nfarlink: x",
    "../../etc/passwd", "x" * 100_000, [], {}, [[]], [None], {"": None}, [0] * 5000, *DEEP,
)  # fmt: skip


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path to everything in *tree*."""
    found = [path] if path else []
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        found += places(value, (*path, key))
    return found


def change(fields: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Return *fields* with one thing in it replaced, removed, renamed or doubled."""
    made = copy.deepcopy(fields)
    found = places(made)
    if not found:
        return {"x": VALUES[int(rng.integers(len(VALUES)))]}
    *way, last = found[int(rng.integers(len(found)))]
    holder: Any = made
    for key in way:
        holder = holder[key]
    how = rng.integers(6)
    if how < 4:
        value = VALUES[int(rng.integers(len(VALUES)))]
        old = holder[last]
        if how == 3 and type(old) in (int, float):
            value = old * (-1, 2, 1000, 10**12)[int(rng.integers(4))]
        holder[last] = value
    elif how == 4:
        del holder[last]
    elif isinstance(holder, dict):
        holder[f"{last}x"] = holder.pop(last)
    else:
        holder.append(holder[last])
    return made


def harm(parts: list[bytes], rng: np.random.Generator) -> list[bytes]:
    """Return a message that is not *parts*: other fields, other bytes, other parts, another verb."""
    verb, text, *blobs = parts
    how = rng.integers(12)
    if how < 8:
        fields = json.loads(text)
        for _ in range(int(rng.integers(1, 4))):
            fields = change(fields, rng)
        written = json.dumps(fields)
        for name, nested in DEEP.items():
            written = written.replace(f'"{name}"', nested)
        text = written.encode()
    elif how == 8:
        found = bytearray(text)
        for _ in range(int(rng.integers(1, 4))):
            found[int(rng.integers(len(found)))] = int(rng.integers(256))
        text = bytes(found)
    elif how == 9:
        verb = sorted(messages.VERBS)[int(rng.integers(len(messages.VERBS)))]
    elif how == 10:
        blobs = [*blobs, rng.bytes(int(rng.integers(300)))] if rng.integers(2) else blobs[1:]
    else:
        whole = [verb, text, *blobs]
        whole[int(rng.integers(len(whole)))] = rng.bytes(int(rng.integers(60)))
        return whole
    return [verb, text, *blobs]


def welcome() -> list[bytes]:
    fields = {"session": PLAN.model_dump(mode="json", by_alias=True), "times": TIMES.__dict__}
    return messages.pack(b"welcome", fields)


def builder(role: str) -> Any:
    def build(plan, times):
        if role == "sender":
            return build_sender(plan, times, shots=shots(4, (plan.camera.height, plan.camera.width)))
        return build_receiver(plan, times)

    return build


class Wire:
    """An end's loop, and the link's side of its socket, in this thread."""

    def __init__(self, role: str) -> None:
        self._context = zmq.Context()
        link, end, monitor = (self._context.socket(kind) for kind in (zmq.ROUTER, zmq.DEALER, zmq.PAIR))
        link.setsockopt(zmq.ROUTER_HANDOVER, 1)
        link.bind("inproc://link")
        end.connect("inproc://link")
        self._link = link
        self.peer = _Peer(role, end, monitor, builder(role), None, 1.0, None, lambda _line: None, "")

    def say(self, parts: list[bytes]) -> list[bytes] | None:
        """Have the end answer *parts*; return what it says. Raise as it does."""
        self.peer._answer(parts)
        return self._link.recv_multipart()[1:] if self._link.poll(0) else None

    def close(self) -> None:
        self._context.destroy(linger=0)


def attack_end(role: str, number: int) -> str:
    """Say hostile things to an end, one of them at a random place of a run; return what it ended with."""
    rng = np.random.default_rng([SEED, number, role == "sender"])
    feed = cores(PLAN, 6)[0]
    wire = Wire(role)
    try:
        turn, bad = 0, int(rng.integers(4))
        if turn == bad:
            wire.say(harm(welcome(), rng))
        if wire.peer._core is None:
            wire.say(welcome())
        for turn in range(1, 5):
            now = turn * 60 * 10**9
            packets = feed.step(now, []).packets if role == "receiver" else []
            fields = {"now": now, "packets": list(range(len(packets)))}
            if rng.integers(3) == 0:  # something was changed while the run goes on
                fields |= json.loads(welcome()[1])
                fields["session"]["codec"]["frame_bytes"] = 300 + turn
            step = messages.pack(b"step", fields, packets)
            wire.say(harm(step, rng) if turn == bad else step)
        wire.say(messages.pack(b"bye", {"error": None, "exit_code": 0}))
    except FarlinkError as error:
        return f"{error.exit_code}: {error}"
    finally:
        wire.close()
    return "ok"


class Faked:
    """Takes the place of a hub's socket and poller: real ends, whose answers somebody changes on the way."""

    def __init__(self, rng: np.random.Generator, frames: int) -> None:
        self._rng = rng
        self._cores: dict[bytes, Core] = dict(zip((b"s", b"r"), cores(PLAN, frames), strict=True))
        self._bad = int(rng.integers(14))
        self._count = 0
        self.inbox: list[list[bytes]] = []

    def put(self, peer: bytes, parts: list[bytes]) -> None:
        self._count += 1
        self.inbox.append([peer, *(harm(parts, self._rng) if self._count == self._bad else parts)])

    def send_multipart(self, parts: list[bytes]) -> None:
        peer, verb, text, *blobs = parts
        if verb == b"welcome":
            self.put(peer, messages.pack(b"ready", {"fingerprint": fingerprint(PLAN), "source": "x"}))
        elif verb == b"step":
            fields = json.loads(text)
            out = self._cores[peer].step(fields["now"], list(zip(fields["packets"], blobs, strict=True)))
            self.put(peer, messages.pack_output(out))

    def recv_multipart(self) -> list[bytes]:
        return self.inbox.pop(0)

    def poll(self, _timeout: Any) -> dict[Any, int]:
        if not self.inbox:
            raise PartialError("the end is silent")
        return {self: zmq.POLLIN}


def attack_link(number: int, folder: Any) -> str:
    """Change one answer of an end on its way to the link; return what the run ended with."""
    rng = np.random.default_rng([SEED, number])
    hub = Hub("tcp://127.0.0.1:0", PLAN, TIMES, fingerprint(PLAN))
    hub.close()
    fake: Any = Faked(rng, 3)
    hub._socket, hub._poller = fake, fake
    path = folder / "run.mcap"
    path.unlink(missing_ok=True)
    for peer, role in ((b"s", "sender"), (b"r", "receiver")):
        fake.put(peer, messages.pack(b"hello", {"role": role, "wire": VERSION}))
    ended = "ok"
    try:
        hub.meet(0.5, 0.5)
        with journal.Journal(path, {"scenario": {}}) as book:
            conductor = Conductor(PLAN, {}, hub.remote("sender"), hub.remote("receiver"), book)
            try:
                conductor.run()
            except FarlinkError as error:
                conductor.finish("aborted", reason=str(error))
                raise
    except FarlinkError as error:
        ended = f"{error.exit_code}: {error}"
    if path.is_file():
        journal.read(path)
    return ended


def campaign(attack: Any, count: int) -> None:
    print(f"FARLINK_SEED={SEED}")
    ended = []
    slowest = (0.0, 0)
    for number in range(count):
        started = time.thread_time()
        try:
            ended.append(attack(number))
        except Exception as error:
            raise AssertionError(f"seed {SEED}, number {number}: {type(error).__name__}: {error}") from error
        slowest = max(slowest, (time.thread_time() - started, number))
    assert slowest[0] < 2.0, slowest
    assert all(line == "ok" or 1 <= int(line.partition(":")[0]) <= 255 for line in ended)
    refused = sum("no message of farlink's" in line for line in ended)
    print(f"{count} runs: {refused} refused, {ended.count('ok')} whole, {slowest[0]:.2f} s at most")
    assert refused > count / 10
    assert ended.count("ok") > count / 20


@pytest.mark.parametrize("role", ["sender", "receiver"])
def test_no_link_breaks_an_end(role):
    campaign(lambda number: attack_end(role, number), SMALL)


def test_no_end_breaks_the_link(tmp_path):
    campaign(lambda number: attack_link(number, tmp_path), SMALL)


@pytest.mark.exhaustive
@pytest.mark.timeout(6000)
@pytest.mark.parametrize("role", ["sender", "receiver"])
def test_no_link_breaks_an_end_at_length(role):
    gsc = PLAN.model_copy(update={"codec": PLAN.codec.model_copy(update={"name": "gsc"})})
    builder(role)(gsc, TIMES)  # what is imported once counts for none
    campaign(lambda number: attack_end(role, number), LARGE)


@pytest.mark.exhaustive
@pytest.mark.timeout(6000)
def test_no_end_breaks_the_link_at_length(tmp_path):
    campaign(lambda number: attack_link(number, tmp_path), LARGE)


# --- real processes --------------------------------------------------------------------------------------------------


def talk(role: str, *said: list[bytes], arguments: tuple[str, ...] = ()) -> tuple[int, str]:
    """Have `farlink send` or `farlink receive` meet a link that says *said*; return its exit code and stderr."""
    context = zmq.Context()
    link = context.socket(zmq.ROUTER)
    port = link.bind_to_random_port("tcp://127.0.0.1")
    command = [sys.executable, "-P", "-c", "from scenarios.cli import main; main()"]
    address = ["--connect", f"tcp://127.0.0.1:{port}"]
    end = subprocess.Popen(
        [*command, role, *address, *arguments], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    try:
        assert link.poll(60_000), "it never came"
        peer, *hello = link.recv_multipart()
        assert messages.unpack(hello)[1]["wire"] == VERSION
        for parts in said:
            link.send_multipart([peer, *parts])
        return end.wait(60), end.stderr.read()
    finally:
        end.kill()
        end.communicate()
        context.destroy(linger=0)


def told(err: str) -> list[str]:
    """Return what an end says, besides that it waits and is connected."""
    lines = [line for line in err.splitlines() if "waiting for the link" not in line]
    return [line for line in lines if "connected: scenario" not in line]


def welcome_with(**changes: Any) -> list[bytes]:
    """Return a welcome of another camera, codec or profile."""
    tree = PLAN.model_dump(mode="json", by_alias=True)
    for group, fields in changes.items():
        tree[group] = {**tree[group], **fields}
    return messages.pack(b"welcome", {"session": tree, "times": TIMES.__dict__})


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("camera.width", 8192, "camera.width"),
        ("camera.source", "/etc/passwd", "camera.source"),
        ("codec.name", "gsc", "codec.name"),
        ("profile.generator", "/srv/secret", "profile.generator"),
        ("link.mtu_bytes", 60_000, "link.mtu_bytes"),
        ("link.framing", "ccsds", "link.framing"),
        ("link.hops.0.name", "other", "link.hops.0.name"),
    ],
)
def test_a_link_changes_what_is_steered_and_nothing_else(path, value, words):
    wire = Wire("receiver")
    try:
        wire.say(welcome())
        fields = json.loads(welcome()[1])
        fields["session"]["link"]["hops"][0]["rate_bps"] = 500
        wire.say(messages.pack(b"step", {"now": 1, "packets": [], **fields}))
        node = fields["session"]
        *keys, last = path.split(".")
        for key in keys:
            node = node[int(key)] if isinstance(node, list) else node[key]
        node[last] = value
        with pytest.raises(PartialError, match=f"step: {words} cannot be changed while the run goes on"):
            wire.say(messages.pack(b"step", {"now": 2, "packets": [], **fields}))
    finally:
        wire.close()


HOSTILE = "\x1b]0;owned\x07\nfarlink: the run is over\u202e"


@pytest.mark.parametrize("role", ["send", "receive"])
@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        (messages.pack(b"bye", {"error": HOSTILE, "exit_code": 5}), 5, r"\x1b]0;owned\x07"),
        (messages.pack(b"bye", {"error": HOSTILE, "exit_code": "x"}), 3, "what is no message of farlink's: bye.exit"),
        (messages.pack(b"bye", {"error": [HOSTILE], "exit_code": 2}), 3, "what is no message of farlink's: bye.error"),
        (messages.pack(b"bye", {"error": "x", "exit_code": 256}), 3, "what is no message of farlink's: bye.exit_code"),
        ([b"welcome", b'{"session": ' + b"[" * 90_000], 3, "what is no message of farlink's"),
        (messages.pack(b"welcome", {"session": {}, "times": {}}), 3, "what is no message of farlink's: welcome"),
        (messages.pack(b"step", {"now": 0, "packets": []}), 3, "a step that is out of place"),
        ([b"x", b"y"], 3, "what is no message of farlink's"),
        (welcome_with(codec={"name": HOSTILE}), 3, r"there is no codec '\x1b]0;owned\x07\n"),
    ],
)  # fmt: skip
def test_a_hostile_link_is_told_in_one_line(role, said, code, words):
    found, err = talk(role, said)
    assert (found, len(told(err))) == (code, 1), err
    assert words in told(err)[0]
    assert "\x1b" not in err and "\u202e" not in err and "Traceback" not in err


PLACES = [(role, field) for role, fields in OPENED.items() for field in fields if field != "caption_model"]


def test_every_place_of_a_model_is_some_ends():
    assert {field for fields in OPENED.values() for field in fields} == fields_marked(
        ProfileConfig, Affects.PLACE
    )


@pytest.mark.parametrize(("role", "field"), PLACES)
def test_a_link_names_no_file_or_address_of_an_end(role, field):
    mine = PLAN.model_copy(update={"profile": PLAN.profile.model_copy(update={field: "/srv/secret"})})
    with pytest.raises(UsageError, match=f"the link names '/srv/secret' for profile.{field}"):
        with_own_models(mine, role, [])
    assert getattr(with_own_models(mine, role, [f"profile.{field}=mine"]).profile, field) == "mine"
    assert getattr(with_own_models(mine, role, [f"profile.{field}=null"]).profile, field) is None
    other = {"sender": "receiver", "receiver": "sender"}[role]
    if field not in OPENED[other]:
        assert getattr(with_own_models(mine, other, []).profile, field) is None


@pytest.mark.parametrize(
    "name", ["flux/../../secret", "flux/a/../b", "secret", "./depth-world", "flux/", "depth.pt"]
)
def test_a_link_names_models_and_no_paths(name):
    def named(value):
        return PLAN.model_copy(update={"profile": PLAN.profile.model_copy(update={"depth": value})})

    with pytest.raises(UsageError, match=r"for profile\.depth"):
        with_own_models(named(name), "receiver", [])
    for good in ("depth-world", "flux/depth"):
        assert with_own_models(named(good), "receiver", []).profile.depth == good


@pytest.mark.parametrize(
    ("source", "patterns", "allowed"),
    [
        ("testcard", [], True),
        ("world:mars", [], True),
        ("world:mars:7", [], True),
        ("webcam:0", [], False),
        ("webcam:0", ["webcam:0"], True),
        ("webcam:1", ["webcam:0"], False),
        ("/etc/passwd", [], False),
        ("survey/a/b.png", ["survey/*"], True),
        ("survey/../secret", ["survey/*"], False),
        ("survey/../secret", ["survey/../secret"], True),
        ("camvid:../secret", ["camvid:*"], False),
        ("camvid:data", ["camvid:*"], True),
        ("testcards", [], False),
        ("rtsp://198.51.100.7/x", ["survey/*"], False),
        ("anything", ["*"], True),
        ("", [], False),
    ],
)
def test_which_source_a_link_may_choose(source, patterns, allowed):
    assert is_allowed(source, patterns) is allowed


def test_a_sender_opens_a_links_choice_only_where_it_is_allowed(tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "secret.png")
    asked = welcome_with(camera={"source": str(tmp_path / "secret.png")})
    bye = messages.pack(b"bye", {"error": None, "exit_code": 0})
    code, err = talk("send", asked, bye)
    assert code == 2
    assert told(err) == [
        f"farlink: the link chooses the source '{tmp_path}/secret.png', which this sender does not allow; "
        "give --source, or --allow-source PATTERN"
    ]
    allow = ("--allow-source", f"{tmp_path}/*")
    for allowed in (allow, ("--source", "testcard")):
        assert talk("send", asked, bye, arguments=allowed)[0] == 0
    assert talk("send", welcome_with(camera={"source": "world:mars"}), bye)[0] == 0


def test_a_refusal_is_one_line_at_both_ends(tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "secret.png")
    address = free_address()
    command = [sys.executable, "-P", "-c", "from scenarios.cli import main; main()"]
    where = ["--bind", address, "--out", str(tmp_path / "run"), "--codec", "webp"]
    link = subprocess.Popen(
        [*command, "link", *where, "--set", f"camera.source={tmp_path / 'secret.png'}", "--set", "analysis=[]"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    send = subprocess.Popen([*command, "send", "--connect", address], stderr=subprocess.PIPE, text=True)
    assert (send.wait(60), link.wait(60)) == (2, 2)
    for err in (told(send.stderr.read()), link.stderr.read().splitlines()):
        assert "the link chooses the source" in err[-1]
        assert not any("Traceback" in line for line in err)


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        (messages.pack(b"ready", {"fingerprint": [1]}), 3, "the sender sent what is no message of farlink's: ready.fing"),
        (messages.pack(b"ready", {"fingerprint": HOSTILE}), 5, r"packets carry \x1b]0;owned\x07 farlink"),
        (messages.pack(b"error", {"exit_code": 2, "message": HOSTILE}), 2, r"\x1b]0;owned\x07 farlink"),
        (messages.pack(b"error", {"exit_code": 0, "message": "x"}), 3, "no message of farlink's: failure.exit_code"),
        (messages.pack(b"done", {}), 3, "a done that nobody asked for"),
        ([b"done", b"[" * 90_000], 3, "the sender sent what is no message of farlink's"),
    ],
)  # fmt: skip
def test_a_hostile_end_is_told_in_one_line(said, code, words, tmp_path):
    address = free_address()
    command = [sys.executable, "-P", "-c", "from scenarios.cli import main; main()"]
    where = ["--bind", address, "--out", str(tmp_path / "run"), "--codec", "webp", "--set", "analysis=[]"]
    link = subprocess.Popen(
        [*command, "link", *where], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    context = zmq.Context()
    end = context.socket(zmq.DEALER)
    end.connect(address)
    try:
        end.send_multipart(messages.pack(b"hello", {"role": "sender", "wire": VERSION}))
        assert end.poll(60_000), "no welcome"
        end.send_multipart(said)
        out, err = link.communicate(timeout=60)
    finally:
        link.kill()
        context.destroy(linger=0)
    lines = [line for line in err.splitlines() if "loading models" not in line]
    assert (link.returncode, len(lines)) == (code, 1), err
    assert words in lines[0]
    assert "\x1b" not in err and "\u202e" not in err and out == ""


def test_nothing_can_be_asked_on_standard_input(tmp_path):
    """Whatever loads models finds /dev/null there; orders come by another way."""
    scenario = schema.load(
        "mars-relay", [], {"camera.source": "testcard", "camera.frames": 500, "codec.name": "webp"}
    )
    running = Processes(
        runs.prepare(tmp_path / "run", scenario), scenario.session(), runs.head(scenario), None
    )
    seen: dict[str, str] = {}

    def look(record: dict[str, Any]) -> None:
        if record["kind"] == "decoded" and not seen:
            for child in psutil.Process().children(recursive=True):
                name = next((part for part in child.cmdline() if part in WATCHED), "")
                seen[name] = os.readlink(f"/proc/{child.pid}/fd/0")
            running.children["sender"].kill()

    with pytest.raises(PartialError):
        running.watch(look)
    assert seen == dict.fromkeys(WATCHED, os.devnull)


WATCHED = ("link", "sender", "receiver", "receiver.child")


@pytest.mark.parametrize("closed", [False, True])
def test_the_command_line_has_nothing_to_ask_either(closed, tmp_path):
    code = (
        "import sys; from scenarios import cli\n"
        "def ask(*_, **__):\n"
        "    try: print('asked', input('run it? '))\n"
        "    except (EOFError, OSError, RuntimeError) as error: print(type(error).__name__)\n"
        "cli.app = ask\ncli.main()"
    )
    command = [sys.executable, "-P", "-c", code]
    line = " ".join(map(shlex.quote, command)) + (" <&-" if closed else "")
    done = subprocess.run(["sh", "-c", line], input="yes\n", capture_output=True, text=True, check=False)
    assert "asked" not in done.stdout and "Error" in done.stdout, done.stderr
