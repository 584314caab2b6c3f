"""Sources that are recorded elsewhere or seen now: journals, ROS bags, cameras at addresses, the screen."""

import contextlib
import io
import socket
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import toys
from PIL import Image

from link import journal, png
from link.config import Camera, Session
from link.errors import UsageError
from sender.camera import Shot, Skipped, is_allowed, is_live, open_source, place_of
from sender.camera import screen as screens
from sender.camera import stream as streams
from sender.camera.picture import PictureError, read_rgb

SECOND = 10**9


def camera(source, **fields):
    return Camera(**{"source": str(source), "width": 64, "height": 48, **fields})


def items_of(source, **fields):
    return list(open_source(camera(source, **fields), seed=1))


def stream_of(shots: Any) -> Any:
    """What reads on until it is closed."""
    return shots._source


def refusal(source, **fields):
    with pytest.raises(UsageError) as caught:
        open_source(camera(source, **fields), seed=1)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("camera.source ")
    return str(caught.value)


# journals


@pytest.fixture
def run(tmp_path):
    toys.run(
        toys.session({"hops": [{"name": "air", "rate_bps": 9000, "delay_s": 1.0}]}, period_s=5.0),
        tmp_path / "run.mcap",
        4,
    )
    return tmp_path


def test_journal_gives_what_was_sent_at_its_own_times(run):
    sent = journal.read(run / "run.mcap").pictures["sent"]
    for source in (f"journal:{run}", f"journal:{run}/run.mcap"):
        shots = items_of(source)
        assert [shot.pts_ns for shot in shots] == [0, 5 * SECOND, 10 * SECOND, 15 * SECOND]
        assert all((shot.pixels == png.decode(sent[k])).all() for k, shot in enumerate(shots))
        assert {shot.fitted for shot in shots} == {"as is"}
    assert items_of(f"journal:{run}", width=32, height=24)[0].pixels.shape == (24, 32, 3)


def test_journal_is_sampled_like_a_video(run):
    names = [shot.name.partition("#")[2] for shot in items_of(f"journal:{run}/run.mcap", period_s=3.0)]
    assert names == ["0", "0", "1", "1", "2", "3"]  # at 0, 3, 6, 9, 12, 15 s


def test_what_is_no_journal_is_refused(tmp_path, run):
    assert "expected journal:RUN" in refusal("journal:")
    assert "no such journal" in refusal(f"journal:{tmp_path}/none")
    (tmp_path / "text.mcap").write_text("text")
    with pytest.raises(UsageError, match=r"not one frame of the journal"):
        open_source(camera(f"journal:{tmp_path}/text.mcap"), seed=1)
    assert place_of(f"journal:{run}") == run


# ROS bags


def picture(number, size=(64, 48)):
    return np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), np.uint8)


def write_bag(folder, plugin, topics=("/front",), encodings=("rgb8",), count=5):
    """Write a bag of *count* pictures a topic, a tenth of a second apart; the last topic's are JPEG files."""
    rosbag2 = pytest.importorskip("rosbags.rosbag2")
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.LATEST)
    types = store.types
    Header, Time = types["std_msgs/msg/Header"], types["builtin_interfaces/msg/Time"]
    raw, packed = types["sensor_msgs/msg/Image"], types["sensor_msgs/msg/CompressedImage"]
    with rosbag2.Writer(folder, version=9, storage_plugin=rosbag2.StoragePlugin[plugin]) as writer:
        channels = {}
        for topic in topics:
            kind = packed if topic.endswith("compressed") else raw
            channels[topic] = kind, writer.add_connection(topic, kind.__msgtype__, typestore=store)
        writer_text = writer.add_connection("/talk", "std_msgs/msg/String", typestore=store)
        for number in range(count):
            at = 1_700_000_000 * SECOND + number * SECOND // 10
            text = types["std_msgs/msg/String"](data="hello")
            writer.write(writer_text, at, store.serialize_cdr(text, "std_msgs/msg/String"))
            for kind, connection in channels.values():
                header = Header(stamp=Time(sec=0, nanosec=0), frame_id="camera")
                pixels = picture(number)
                if kind is packed:
                    out = io.BytesIO()
                    Image.fromarray(pixels).save(out, "PNG")
                    said = kind(header=header, format="png", data=np.frombuffer(out.getvalue(), np.uint8))
                else:
                    encoding = encodings[number % len(encodings)]
                    cells, step = encoded(pixels, encoding)
                    said = kind(
                        header=header, height=48, width=64, encoding=encoding, is_bigendian=0, step=step, data=cells
                    )  # fmt: skip
                writer.write(connection, at, store.serialize_cdr(said, kind.__msgtype__))
    return folder


def encoded(pixels, encoding):
    if encoding in ("mono8", "mono16"):
        grey = pixels[:, :, 0]
        cells = grey if encoding == "mono8" else grey.astype("<u2") * 256 + 7
    else:
        order = [2, 1, 0] if encoding.startswith("bgr") else [0, 1, 2]
        cells = pixels[:, :, order]
        if encoding.endswith("a8"):
            cells = np.concatenate([cells, np.full((48, 64, 1), 9, np.uint8)], axis=2)
    lines = np.ascontiguousarray(cells).view(np.uint8).reshape(48, -1)
    padded = np.concatenate(
        [lines, np.zeros((48, 6), np.uint8)], axis=1
    )  # lines may be longer than their pixels
    return np.ascontiguousarray(padded).reshape(-1), padded.shape[1]


@pytest.mark.parametrize("plugin", ["SQLITE3", "MCAP"])
def test_bag_gives_its_pictures_at_its_own_times(tmp_path, plugin):
    bag = write_bag(tmp_path / "bag", plugin)
    for source in (f"rosbag:{bag}", f"rosbag:{bag}:/front", f"rosbag:{bag}:front"):
        shots = items_of(source)
        assert [shot.pts_ns for shot in shots] == [k * SECOND // 10 for k in range(5)]
        assert all((shot.pixels == picture(k)).all() for k, shot in enumerate(shots))
    assert [shot.name for shot in items_of(f"rosbag:{bag}", period_s=0.2)] == ["bag#0", "bag#2", "bag#4"]


def test_bag_pixels_of_every_kind_come_in_right(tmp_path):
    kinds = ("rgb8", "bgr8", "rgba8", "bgra8", "mono8", "mono16")
    shots = items_of(f"rosbag:{write_bag(tmp_path / 'bag', 'MCAP', encodings=kinds, count=6)}")
    for number, (kind, shot) in enumerate(zip(kinds, shots, strict=True)):
        expected = picture(number)
        if kind.startswith("mono"):
            expected = expected[:, :, [0, 0, 0]]
        assert (shot.pixels == expected).all(), kind


def test_bag_with_several_topics_lists_them(tmp_path):
    bag = write_bag(tmp_path / "bag", "SQLITE3", ("/left", "/right/compressed"))
    text = refusal(f"rosbag:{bag}")
    assert "several topics" in text and "/left, /right/compressed" in text and "/talk" not in text
    assert (items_of(f"rosbag:{bag}:/right/compressed")[3].pixels == picture(3)).all()
    assert "those with pictures are /left" in refusal(f"rosbag:{bag}:/talk")
    assert place_of(f"rosbag:{bag}:/left") == bag  # what a sweep's cache looks at


def test_bags_that_are_none_are_refused(tmp_path, monkeypatch):
    pytest.importorskip("rosbags")
    assert "expected rosbag:DIR" in refusal("rosbag:")
    assert "no ROS 2 bag there" in refusal(f"rosbag:{tmp_path}/none")
    assert "no ROS 2 bag there" in refusal(f"rosbag:{tmp_path}")
    bag = write_bag(tmp_path / "bag", "MCAP")
    (whole,) = bag.glob("*.mcap")
    whole.write_bytes(whole.read_bytes()[:200])
    assert "camera.source" in refusal(f"rosbag:{bag}")
    assert "no topic of the bag has pictures" in refusal(f"rosbag:{write_bag(tmp_path / 'talk', 'MCAP', ())}")
    monkeypatch.setitem(sys.modules, "rosbags.rosbag2", None)
    assert "pip install 'farlink[rosbag]'" in refusal(f"rosbag:{bag}")


def test_bag_messages_that_lie_are_left_out(tmp_path):
    rosbag2 = pytest.importorskip("rosbags.rosbag2")
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.LATEST)
    kind = store.types["sensor_msgs/msg/Image"]
    header = store.types["std_msgs/msg/Header"](
        stamp=store.types["builtin_interfaces/msg/Time"](sec=0, nanosec=0), frame_id=""
    )
    cells = np.zeros(48 * 64 * 3, np.uint8)
    forms = [
        (64, 48, "rgb8", 192),
        (64, 480, "rgb8", 192),
        (1 << 31, 1 << 31, "rgb8", 1),
        (64, 48, "bayer_rggb8", 64),
    ]
    with rosbag2.Writer(tmp_path / "bag", version=9) as writer:
        connection = writer.add_connection("/front", kind.__msgtype__, typestore=store)
        for at, (width, height, encoding, step) in enumerate(forms):
            said = kind(
                header=header,
                height=height,
                width=width,
                encoding=encoding,
                is_bigendian=0,
                step=step,
                data=cells,
            )
            writer.write(connection, at, store.serialize_cdr(said, kind.__msgtype__))
        writer.write(connection, 9, b"\x00\x01\x00\x00" + bytes(3))
    first, *rest = items_of(f"rosbag:{tmp_path}/bag")
    assert isinstance(first, Shot) and all(isinstance(item, Skipped) for item in rest)
    reasons = [item.reason for item in rest]
    assert (
        "480 lines" in reasons[0]
        and "pixels" in reasons[1]
        and "bayer_rggb8" in reasons[2]
        and "damaged" in reasons[3]
    )


# cameras at addresses


class Mpegts:
    """Sends MPEG-TS to whoever connects: so many frames, then it hangs up; the last connection goes on for ever."""

    def __init__(self, *bursts):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self.socket.getsockname()[1]}"
        self.stop = threading.Event()
        self.sent = 0
        self.thread = threading.Thread(target=self._serve, args=(bursts,), daemon=True)
        self.thread.start()

    def _serve(self, bursts):
        for frames in bursts:
            with contextlib.suppress(OSError):
                connection, _ = self.socket.accept()
                with connection, connection.makefile("wb") as file, contextlib.suppress(Exception):
                    self._send(file, frames)

    def _send(self, file, frames):
        with av.open(file, "w", format="mpegts") as out:
            stream = out.add_stream("mpeg2video", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            sent = 0
            while (frames is None or sent < frames) and not self.stop.is_set():
                pixels = np.full((48, 64, 3), min(255, self.sent * 2), np.uint8)
                for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                    out.mux(packet)
                file.flush()
                sent += 1
                self.sent += 1
                self.stop.wait(0.01)
            for packet in stream.encode(None):
                out.mux(packet)

    def close(self):
        self.stop.set()
        self.socket.close()
        self.thread.join(10)


@pytest.fixture
def opened():
    made = []

    def add(thing):
        made.append(thing)
        return thing

    yield add
    for thing in made[::-1]:
        thing.close()


def test_stream_goes_on_after_a_loss_and_the_newest_picture_wins(opened):
    server = opened(Mpegts(40, None))
    shots = open_source(camera(server.address, period_s=1.0), seed=1)
    stream = opened(stream_of(shots))
    first = next(shots)
    assert isinstance(first, Shot) and first.pixels.std() < 3 and first.name.endswith("#0")
    deadline = time.monotonic() + 40
    given = []
    # It hangs up after 40 pictures, the lightest of which has 78; each is lighter than the one before.
    while not given or given[-1].pixels.mean() < 150:
        assert time.monotonic() < deadline
        item = next(shots)
        if isinstance(item, Shot):
            given.append(item)
        time.sleep(0.1)
    assert stream.opened >= 2
    times = [shot.pts_ns or 0 for shot in given]
    assert times == sorted(times) and times[-1] > (first.pts_ns or 0)
    assert len(given) < server.sent / 2  # ten came for each that was asked for, and none of them waits


def test_stream_that_falls_silent_is_waited_for_within_bounds(opened, monkeypatch):
    monkeypatch.setattr(streams, "WAIT_S", 0.1)
    server = opened(Mpegts(30))
    stream = opened(streams.Stream(server.address, "tcp:here", camera("testcard"), give_up=4))
    assert stream.await_first(10) is None
    server.socket.close()
    deadline = time.monotonic() + 20
    items = []
    for item in stream:
        assert time.monotonic() < deadline
        items.append(item)
    missed = [item for item in items if isinstance(item, Skipped)]
    assert len(missed) >= 4 and all(isinstance(item, Skipped) for item in items[-4:])
    assert "no picture came" in missed[-1].reason
    assert [item.name for item in items] == [f"tcp:here#{k}" for k in range(len(items))]


def test_addresses_that_are_none_are_refused(monkeypatch):
    monkeypatch.setattr(streams, "OPEN_S", 0.3)
    for source in (
        "tcp:",
        "tcp://host",
        "tcp://127.0.0.1:99999",
        "tcp://0.0.0.0:5000?listen=1",
        "http://",
        "rtsp:camera",
    ):
        assert "expected " in refusal(source), source
    assert "expected http://HOST/PATH" in refusal("http://a b/c")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    text = refusal(f"http://user:secret@127.0.0.1:{port}/video")
    assert "no picture comes" in text and "secret" not in text
    assert "for farlink live alone" in refusal("browser")
    assert "nothing may follow" in refusal("browser:1")


def test_stream_opens_no_playlist(opened, tmp_path, monkeypatch):
    """What comes over an address names no other address, though a player would show what lies there."""
    monkeypatch.setattr(streams, "OPEN_S", 1.0)
    with av.open(str(tmp_path / "a.ts"), "w") as out:
        made = out.add_stream("mpeg2video", rate=25)
        made.width, made.height, made.pix_fmt = 64, 48, "yuv420p"
        for number in range(25):
            for packet in made.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")):
                out.mux(packet)
        for packet in made.encode(None):
            out.mux(packet)
    listed = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n"
    answers = {
        b"/list.m3u8": (b"application/vnd.apple.mpegurl", listed),
        b"/a.ts": (b"video/mp2t", (tmp_path / "a.ts").read_bytes()),
    }
    asked = []

    def answer():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    path = connection.recv(4096).split()[1]
                    asked.append(path)
                    kind, body = answers[path]
                    connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: " + kind + b"\r\n\r\n" + body)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, daemon=True).start()
        base = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert "no picture comes" in refusal(f"{base}/list.m3u8")
        assert set(asked) == {b"/list.m3u8"}
        shots = open_source(camera(f"{base}/a.ts"), seed=1)
        opened(stream_of(shots))
        assert isinstance(next(shots), Shot)


# the screen


class Grabber:
    """What mss gives: monitors, the first of which stands for all, and pictures in BGRA."""

    def __init__(self, *, broken=False):
        self.monitors = [{}, {"left": 0}, {"left": 64}]
        self.broken = broken

    def grab(self, monitor):
        if self.broken:
            raise RuntimeError("the screen is locked")
        pixels = np.zeros((48, 64, 4), np.uint8)
        pixels[:, :, 0], pixels[:, :, 2] = 200, monitor["left"] + 1
        return SimpleNamespace(size=(64, 48), bgra=pixels.tobytes())

    def close(self):
        pass


def test_screen_shows_the_monitor_that_is_named(monkeypatch):
    monkeypatch.setattr(screens, "BREATH_S", 0.0)
    for rest, red in (("", 1), ("1", 1), ("2", 65)):
        source = screens.open_screen(rest, camera("screen"), 1, grabber=Grabber)
        shots = [next(source) for _ in range(3)]
        assert [shot.name for shot in shots] == [f"screen:{rest or 1}#{k}" for k in range(3)]
        assert all((shot.pixels == [red, 0, 200]).all() for shot in shots)
    broken = screens.open_screen("1", camera("screen"), 1, grabber=lambda: Grabber(broken=True))
    assert next(broken) == Skipped("screen:1#0", "the screen is locked")


def test_screens_that_are_none_are_refused(monkeypatch):
    assert "expected the number of a monitor" in refusal("screen:0")
    assert "expected the number of a monitor" in refusal("screen:front")
    monkeypatch.setattr(screens, "_grabber", Grabber)
    assert "this machine has 2 monitors" in refusal("screen:3")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "mss", None)
    assert "pip install 'farlink[screen]'" in refusal("screen")


def test_screen_without_a_display_says_so(monkeypatch):
    pytest.importorskip("mss")
    if sys.platform != "linux":
        pytest.skip("a display is always there")
    monkeypatch.delenv("DISPLAY", raising=False)
    assert "no screen can be read here" in refusal("screen")


# who may open what


@pytest.mark.parametrize(
    ("source", "patterns", "allowed"),
    [
        ("http://10.0.0.1/admin", [], False),
        ("http://10.0.0.1/admin", ["*"], False),
        ("tcp://127.0.0.1:22", ["*", "t*"], False),
        ("rtsp://camera.local/1", ["rtsp://camera.local/*"], True),
        ("rtsp://other.local/1", ["rtsp://camera.local/*"], False),
        ("https://a/b", ["http*"], False),
        ("screen", ["*"], False),
        ("screen:1", ["screen:*"], True),
        ("browser", ["*"], False),
        ("journal:runs/one", [], False),
        ("journal:runs/one", ["journal:runs/*"], True),
        ("rosbag:bags/../../etc", ["rosbag:bags/*"], False),
    ],
)
def test_link_has_a_sender_open_nothing_that_is_not_allowed(source, patterns, allowed):
    assert is_allowed(source, patterns) is allowed


def test_what_is_seen_now_cannot_be_had_again():
    assert all(
        is_live(one) for one in ("webcam:0", "screen", "rtsp://a/b", "tcp://a:1", "https://a", "browser")
    )
    assert not any(is_live(one) for one in ("testcard", "journal:a", "rosbag:a", "video.mp4", "camvid:a"))


def test_camera_with_nothing_to_show_keeps_no_request_waiting():
    """A sender asks it once a period, and answers meanwhile."""
    from link import timing
    from link.fingerprint import fingerprint
    from scenarios import schema
    from sender.sender import Sender

    tree = toys.session({"hops": [{"name": "air", "rate_bps": 9000}]}, period_s=2.0).model_dump(
        mode="json", by_alias=True
    )
    tree["camera"]["source"] = "tcp://127.0.0.1:1"
    tree["live"] = True
    plan = Session.model_validate(tree)
    asked = []

    def shots():
        for number in range(6):
            asked.append(number)
            yield Skipped(f"tcp#{number}", "no picture came") if number % 3 else next(toys.shots(1))

    sender = Sender(
        plan,
        timing.times(plan, schema.traces(plan)),
        shots(),
        toys.ToyEncoder(),
        fingerprint(plan),
        toys.no_clock,
    )
    seen = []
    now: int | None = 0
    while now is not None:
        out = sender.step(now, [])
        seen.append((now // SECOND, [event.kind for event in out.events if event.kind != "encoded"]))
        now = out.next_ns
    assert seen == [
        (0, ["captured"]), (2, ["skipped"]), (4, ["skipped"]), (6, ["captured"]), (8, ["skipped"]), (10, ["skipped"]),
        (12, ["exhausted"]),
    ]  # fmt: skip


def test_pictures_in_memory_are_bounded_as_files_are(tmp_path):
    with pytest.raises(PictureError, match="not between 1 and 100 pixels"):
        out = io.BytesIO()
        Image.new("RGB", (64, 48)).save(out, "JPEG")
        read_rgb(out.getvalue(), ("JPEG",), 100)
    with pytest.raises(PictureError, match="not a picture"):
        read_rgb(out.getvalue(), ("PNG",))
