"""The sockets: who may connect, what is ignored, and that floods and giants harm nobody."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import zmq
from ports import free_port
from toys import cores, session

from link import messages, relay, timing
from link.config import Session
from link.errors import FarlinkError, FingerprintError, PartialError, UsageError
from link.events import Event, Output
from link.fingerprint import fingerprint
from link.journal import read
from link.keys import make_keys
from link.packet import VERSION
from link.peer import serve
from link.relay import Hub, PeerGoneError, max_message_bytes

LINK = {"mtu_bytes": 128, "hops": [{"name": "air", "rate_bps": 20000, "delay_s": 1}]}
PLAN = session(LINK)
TIMES = timing.times(PLAN, {})


@pytest.fixture
def hub():
    hubs = []

    def make(**changes):
        hubs.append(
            Hub("tcp://127.0.0.1:0", PLAN, TIMES, changes.pop("fingerprint", fingerprint(PLAN)), **changes)
        )
        return hubs[-1]

    yield make
    for made in hubs:
        made.close()


def peer(role, address, results, frames=2, loads_s=0.0, **options):
    def build(plan, times):
        time.sleep(loads_s)
        core = cores(plan, frames)[0 if role == "sender" else 1]
        return core, fingerprint(plan)

    def work():
        try:
            serve(role, address, build, timeout_s=2.0, **options)
            results[role] = None
        except FarlinkError as error:
            results[role] = error

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_messages_round_trip():
    out = Output(
        [b"p1", b"p2"],
        [
            Event("captured", 5, 0, {"name": "x"}, b"png"),
            Event("nak", 6, 1, {"missing": [1]}),
            Event("decoded", 7, 0, {}, b"png2"),
        ],
        [(3, 3), (4, 18)],
        12,
        {"encode_s": 0.5},
    )
    verb, fields, blobs = messages.unpack(messages.pack_output(out))
    assert verb == b"done"
    assert messages.unpack_output(fields, blobs) == out


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"done"],
        [b"dance", b"{}"],
        [b"done", b"[1]"],
        [b"done", b"\xff\xfe"],
        [b"done", b"[" * 100_000],
        [b"done", b"{}", *[b""] * 5000],
    ],
)
def test_what_is_no_message_is_a_value_error(parts):
    with pytest.raises(ValueError):
        messages.unpack(parts)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"packets": 1},
        {"packets": "x"},
        {"packets": 0, "events": [{}], "verdicts": [], "next_ns": None, "timings": {}},
    ],
)
def test_what_is_no_output_is_a_value_error(fields):
    with pytest.raises(ValueError):
        messages.unpack_output(fields, [])


def test_ends_meet_and_part(hub):
    made = hub()
    results = {}
    threads = [peer(role, made.address, results) for role in ("sender", "receiver")]
    made.meet(5.0, 5.0)
    out = made.remote("sender").step(0, [])
    assert out is not None
    assert len(out.packets) == 16
    made.close()
    for thread in threads:
        thread.join(5.0)
    assert results == {"sender": None, "receiver": None}


def test_other_fingerprints_stop_both_ends_and_are_named(hub):
    made = hub(fingerprint="0123456789abcdef")
    results = {}
    threads = [peer("sender", made.address, results)]
    with pytest.raises(FingerprintError) as error:
        made.meet(5.0, 5.0)
    made.close(error.value)
    threads[0].join(5.0)
    assert error.value.exit_code == results["sender"].exit_code == 5
    for text in (str(error.value), str(results["sender"])):
        assert "0123456789abcdef" in text
        assert fingerprint(PLAN) in text


def test_an_end_that_does_not_come_is_named(hub):
    made = hub()
    thread = peer("sender", made.address, {})
    with pytest.raises(PeerGoneError, match="no receiver came"):
        made.meet(0.5, 5.0)
    made.close()
    thread.join(5.0)


def test_an_end_that_takes_long_to_load_is_waited_for(hub):
    """Each end has its own time from its welcome on; only who has not come yet is bound by the wait for that."""
    made = hub()
    results, told = {}, []
    threads = [peer("sender", made.address, results), peer("receiver", made.address, results, loads_s=1.5)]
    made.meet(1.0, 20.0, told.append)
    assert made.remote("receiver").step(0, []) is not None
    made.close()
    for thread in threads:
        thread.join(5.0)
    assert results == {"sender": None, "receiver": None}


def test_it_is_said_what_is_waited_for_and_loading_has_a_limit_of_its_own(hub, monkeypatch):
    monkeypatch.setattr(relay, "_FIRST_WORD_S", 0.2)
    made = hub()
    told = []
    thread = peer("receiver", made.address, {}, loads_s=1.5)
    with pytest.raises(
        PeerGoneError, match=r"receiver was still loading its models after 1 s.*profile\.load_s"
    ):
        made.meet(60.0, 1.0, told.append)
    made.close()
    thread.join(5.0)
    assert re.fullmatch(
        r"waiting for the sender to connect: \d s of at most 60 s; "
        r"waiting for the receiver to load its models: \d s of at most 1 s",
        told[-1],
    )
    assert 2 <= len(told) <= 4


def test_a_second_sender_and_a_stranger_are_refused(hub):
    made = hub(token="secret")
    first, second, stranger = {}, {}, {}
    threads = [
        peer("sender", made.address, first, token="secret"),
        peer("receiver", made.address, first, token="secret"),
        peer("sender", made.address, stranger, token="guess"),
    ]
    made.meet(5.0, 5.0)
    threads.append(peer("sender", made.address, second, token="secret"))
    for _ in range(20):
        made.receive(0.1)
    assert "a sender already" in str(second["sender"])
    made.close()
    for thread in threads:
        thread.join(7.0)
    assert first == {"sender": None, "receiver": None}
    assert isinstance(stranger["sender"], PeerGoneError)


@pytest.mark.parametrize(
    "address", ["tcp://0.0.0.0:5555", "tcp://192.0.2.1:5555", "tcp://[::]:5555", "tcp://example.org:1"]
)
def test_addresses_of_other_machines_need_keys(address):
    with pytest.raises(UsageError, match="--curve"):
        Hub(address, PLAN, TIMES, "x")

    def build(_plan, _times):
        raise AssertionError("nobody was let in")

    with pytest.raises(UsageError, match="--curve"):
        serve("sender", address, build)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:5555", "tcp://127.0.0.1", "ipc:///tmp/x", "tcp://127.0.0.1:x"]
)
def test_addresses_of_another_form_are_refused(address):
    with pytest.raises(UsageError, match="an address like"):
        Hub(address, PLAN, TIMES, "x")


def test_curve_lets_in_only_those_with_a_key(hub, tmp_path):
    make_keys(tmp_path / "keys")
    make_keys(tmp_path / "others")
    assert (tmp_path / "keys" / "link.key_secret").stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="not overwritten"):
        make_keys(tmp_path / "keys")
    # The outsider knows the link's public key, but its own is on no list.
    (tmp_path / "others" / "link.key").write_bytes((tmp_path / "keys" / "link.key").read_bytes())
    made = hub(curve=tmp_path / "keys")
    inside, outside = {}, {}
    threads = [peer("sender", made.address, outside, curve=tmp_path / "others")]
    time.sleep(0.3)
    threads += [peer(role, made.address, inside, curve=tmp_path / "keys") for role in ("sender", "receiver")]
    made.meet(5.0, 5.0)
    assert made.remote("sender").step(0, []) is not None
    made.close()
    for thread in threads:
        thread.join(8.0)
    assert inside == {"sender": None, "receiver": None}
    assert isinstance(outside["sender"], PeerGoneError)


def test_keys_are_their_owners_alone_from_the_start(tmp_path, monkeypatch):
    before = os.umask(0)
    seen = []
    write = os.open

    def watch(path, flags, mode=0o777, **options):
        made = write(path, flags, mode, **options)
        if flags & os.O_CREAT and str(path).startswith(str(tmp_path)):
            seen.append((Path(path).name, os.fstat(made).st_mode & 0o777))
        return made

    monkeypatch.setattr(os, "open", watch)
    try:
        make_keys(tmp_path / "keys")
    finally:
        os.umask(before)
    names = ["link.key", "link.key_secret", "peer.key", "peer.key_secret"]
    assert sorted(seen) == [(name, 0o600) for name in names]
    assert sorted(os.listdir(tmp_path / "keys")) == names
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()} == {0o600}


def test_keys_follow_no_planted_link(tmp_path):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "peer.key_secret").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"peer\.key_secret is there already"):
        make_keys(tmp_path / "keys")
    assert not (tmp_path / "elsewhere").exists()


def test_a_peer_that_goes_is_noticed(hub):
    made = hub()
    results = {}
    context = zmq.Context()
    fake = context.socket(zmq.DEALER)
    fake.connect(made.address)
    fake.send_multipart(messages.pack(b"hello", {"role": "receiver", "wire": VERSION}))
    thread = peer("sender", made.address, results)
    fake_ready = messages.pack(b"ready", {"fingerprint": fingerprint(PLAN)})
    fake.send_multipart(fake_ready)
    made.meet(5.0, 5.0)
    context.destroy(linger=0)
    with pytest.raises(PeerGoneError, match="receiver is gone"):
        made.remote("receiver").step(0, [])
    made.close()
    thread.join(5.0)


def test_strangers_that_come_and_go_end_nothing(hub):
    made = hub()
    results = {}
    threads = [peer(role, made.address, results) for role in ("sender", "receiver")]
    made.meet(5.0, 5.0)
    port = int(made.address.rpartition(":")[2])
    for _ in range(200):
        with socket.create_connection(("127.0.0.1", port), timeout=2) as raw:
            raw.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48))
    assert made.remote("sender").step(0, []) is not None
    made.close()
    for thread in threads:
        thread.join(5.0)
    assert results == {"sender": None, "receiver": None}


@pytest.mark.parametrize(
    "parts",
    [
        [b"hello", b'{"role": "sender", "wire": 99}'],
        [b"hello", b'{"role": {"a": 1}}'],
        [b"hello", '{"role": "é"}'.encode()],
        [b"error", b"{}"],
        [b"done", b'{"packets": Infinity}'],
    ],
)
def test_what_strangers_say_is_ignored(hub, parts):
    made = hub()
    context = zmq.Context()
    fake = context.socket(zmq.DEALER)
    fake.connect(made.address)
    for _ in range(50):
        fake.send_multipart(parts)
    for _ in range(60):
        made.receive(0.01)
    context.destroy(linger=0)
    made.receive(0.05)


def test_a_peer_that_talks_nonsense_ends_the_run_instead_of_hanging_it(hub):
    made = hub()
    context = zmq.Context()
    fakes = {}
    for role in ("sender", "receiver"):
        fakes[role] = context.socket(zmq.DEALER)
        fakes[role].connect(made.address)
        fakes[role].send_multipart(messages.pack(b"hello", {"role": role, "wire": VERSION}))
        fakes[role].send_multipart(messages.pack(b"ready", {"fingerprint": fingerprint(PLAN)}))
    made.meet(5.0, 5.0)
    fakes["sender"].send_multipart([b"done", b'{"packets": Infinity}'])
    with pytest.raises(PartialError, match="sender sent what is no message"):
        made.remote("sender").step(0, [])
    context.destroy(linger=0)


def test_the_reason_a_peer_gave_comes_before_its_going(hub):
    made = hub()
    context = zmq.Context()
    fake = context.socket(zmq.DEALER)
    fake.connect(made.address)
    fake.send_multipart(messages.pack(b"hello", {"role": "sender", "wire": VERSION}))
    while not made._peers:
        made.receive(0.1)
    fake.send_multipart(messages.pack(b"error", {"exit_code": 2, "message": "no such camera"}))
    context.destroy(linger=500)
    time.sleep(0.2)
    with pytest.raises(FarlinkError, match="no such camera") as error:
        for _ in range(10):
            made.receive(0.1)
    assert error.value.exit_code == 2


# --- hostile peers against a real link process ---------------------------------------------------------------


def attack_flood(port, stop):
    """Send valid frames of garbage as fast as they are taken."""
    context = zmq.Context()
    sockets = [context.socket(zmq.DEALER) for _ in range(4)]
    for item in sockets:
        item.setsockopt(zmq.SNDHWM, 10)
        item.connect(f"tcp://127.0.0.1:{port}")
    count = 0
    while not stop.is_set() and count < 200_000:
        for item in sockets:
            try:
                item.send_multipart([b"done", b"x" * 100_000], zmq.NOBLOCK)
                count += 1
            except zmq.Again:
                time.sleep(0.001)
    context.destroy(linger=0)


def attack_malformed(port, stop):
    """Send bytes that are no ZMTP, and ZMTP that is no message."""
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.connect(f"tcp://127.0.0.1:{port}")
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
    number = 0
    while not stop.is_set() and number < 3000:
        number += 1
        noise = os.urandom(200)
        with socket.create_connection(("127.0.0.1", port), timeout=2) as raw:
            try:
                raw.sendall(
                    (noise, greeting + noise, greeting[: number % 64], b"GET / HTTP/1.1\r\n\r\n")[number % 4]
                )
            except OSError:
                continue
        for parts in ([b"hello", b'{"role": []}'], [b"ready", noise], [noise], [b"", b"", b""]):
            dealer.send_multipart(parts, zmq.NOBLOCK)
    context.destroy(linger=0)


def attack_giant(port, stop):
    """Announce a message of 1 GB and send its beginning."""
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
    command = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00"
    ready = b"\x04" + bytes([len(command)]) + command
    number = 0
    while not stop.is_set() and number < 200:
        number += 1
        with socket.create_connection(("127.0.0.1", port), timeout=2) as raw:
            try:
                raw.sendall(greeting + ready + b"\x02" + (1 << 30).to_bytes(8, "big") + bytes(100_000))
                raw.settimeout(0.2)
                while raw.recv(4096):
                    pass
            except OSError:
                pass


def attack_slow(port, stop):
    """Say hello as a receiver and then read nothing, one byte at a time before that."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as raw:
        for byte in b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48):
            if stop.is_set():
                return
            raw.sendall(bytes([byte]))
            time.sleep(0.05)
        stop.wait(30)


@pytest.mark.slow
@pytest.mark.parametrize("attack", [attack_flood, attack_malformed, attack_giant, attack_slow])
def test_hostile_peers_neither_fill_memory_nor_harm_the_run(attack, tmp_path):
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    command = [sys.executable, "-c", "from scenarios.cli import main; main()"]
    small = ["--codec", "jpeg2000", "--set", "camera.width=64", "--set", "camera.height=48", "--frames", "60"]
    small += ["--set", "camera.source=testcard", "--set", "analysis=[]"]
    link = subprocess.Popen(
        [*command, "link", "--bind", address, "--out", str(tmp_path / "run"), *small, "--json"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    stop = threading.Event()
    ends = []
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        process = psutil.Process(link.pid)
        before = process.memory_info().rss
        attacker = threading.Thread(target=attack, args=(port, stop), daemon=True)
        attacker.start()
        time.sleep(1.0)
        peak = process.memory_info().rss
        ends = [subprocess.Popen([*command, role, "--connect", address]) for role in ("send", "receive")]
        for _ in range(1200):
            try:
                peak = max(peak, process.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            if all(end.poll() is not None for end in ends):
                break
            time.sleep(0.05)
        codes = [end.wait(60) for end in ends]
        stop.set()
        assert codes == [0, 0]
        assert link.wait(120) == 0, link.stderr.read().decode()
    finally:
        stop.set()
        for child in (*ends, link):
            if child.poll() is None:
                child.kill()
                child.wait()
    assert peak - before < 300e6, f"{(peak - before) / 1e6:.0f} MB more"
    found = read(tmp_path / "run" / "run.mcap")
    assert found.complete
    assert len(found.pictures["received"]) == 60


def test_the_size_limit_is_under_a_few_pictures():
    assert 1 << 20 < max_message_bytes(PLAN) < 2 << 20
    big = Session.model_validate(
        {**PLAN.model_dump(by_alias=True), "camera": {"width": 4000, "height": 3000}}
    )
    assert max_message_bytes(big) < 100 << 20
