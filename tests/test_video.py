"""Videos as a source: time stamps, sampling, damage, turns, colours."""

from fractions import Fraction

import av
import numpy as np
import pytest
from shots import camera, items_of, level_of, noisy_video, refusal, shots_of, video

import sender.camera.picture
import sender.camera.video
from sender.camera import Shot, Skipped, open_source

IRREGULAR = [0, 33, 50, 133, 200, 1000]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("v.mp4", "libx264"), ("v.mkv", "mpeg4"), ("v.ts", "libx264"), ("v.webm", "libvpx-vp9")],
)
def test_video_keeps_its_time_stamps(tmp_path, name, codec):
    shots = shots_of(video(tmp_path / name, IRREGULAR, codec))
    assert [s.pts_ns for s in shots] == [ms * 1_000_000 for ms in IRREGULAR]
    assert [s.name for s in shots] == [f"{name}#{k}" for k in range(6)]
    assert [level_of(s) for s in shots] == list(range(6))
    assert {s.fitted for s in shots} == {"as is"}


def test_time_stamps_are_exact_in_odd_time_bases(tmp_path):
    path = video(tmp_path / "v.mp4", [5 * k for k in range(5)], "mpeg4", tick=Fraction(1, 150))
    assert [s.pts_ns for s in shots_of(path)] == [k * 10**9 // 30 for k in range(5)]


def test_times_count_from_the_first_frame(tmp_path):
    path = video(tmp_path / "v.mkv", [500, 540, 600], "mpeg4")
    assert [s.pts_ns for s in shots_of(path)] == [0, 40_000_000, 100_000_000]


def test_video_without_time_stamps_gives_all_frames(tmp_path):
    path = video(tmp_path / "v.h264", [0, 40, 80, 120])
    for period_s in (None, 0.1):
        shots = shots_of(path, period_s=period_s)
        assert [(level_of(s), s.pts_ns) for s in shots] == [(k, None) for k in range(4)]


def numbers(path, **fields):
    return [int(s.name.partition("#")[2]) for s in shots_of(path, **fields)]


def test_sampling_by_period(tmp_path):
    path = video(tmp_path / "v.mp4", range(91), "mpeg4", tick=Fraction(1, 30), level=lambda index: index)
    assert numbers(path, period_s=1.0) == [0, 30, 60, 90]
    assert numbers(path, period_s=1.0, frames=2) == [0, 30]
    assert numbers(path, period_s=0.5) == [0, 15, 30, 45, 60, 75, 90]
    assert numbers(path, period_s=1 / 30) == list(range(91))
    assert numbers(path, period_s=100.0) == [0]
    shot = shots_of(path, period_s=1.0)[2]
    assert (shot.pts_ns, shot.fitted) == (2_000_000_000, "as is")
    assert abs(float(shot.pixels.mean()) - 60) < 3


def test_sampling_takes_the_last_frame_before_and_repeats(tmp_path):
    path = video(tmp_path / "v.mkv", IRREGULAR, "mpeg4")
    assert numbers(path, period_s=0.1)[:11] == [0, 2, 4, 4, 4, 4, 4, 4, 4, 4, 5]
    assert numbers(path, period_s=0.049)[:3] == [0, 1, 2]
    repeated = shots_of(path, period_s=0.1)[2:4]
    assert [s.pts_ns for s in repeated] == [200_000_000] * 2


def test_sampling_allows_for_rounded_time_stamps(tmp_path):
    """Matroska writes 30 frames a second as 0, 33, 67, 100 ms; none may be lost or doubled."""
    stamps = [round(k * 1000 / 30) for k in range(31)]
    path = video(tmp_path / "v.mkv", stamps, "mpeg4", level=lambda index: 8 * index)
    assert numbers(path, period_s=1 / 30) == list(range(31))


def test_sampling_by_coarse_ticks_takes_no_frame_of_the_future(tmp_path):
    """In AVI a tick is a whole frame."""
    path = video(tmp_path / "v.avi", range(11), "mpeg4", tick=Fraction(1, 10))
    assert numbers(path, period_s=0.25) == [0, 2, 5, 7, 10]
    path = video(tmp_path / "slow.avi", range(2), "mpeg4", tick=Fraction(1, 2))
    assert numbers(path, period_s=0.2) == [0, 0, 0, 1, 1]  # the last frame lasts its half second


@pytest.mark.parametrize("name", ["v.mkv", "v.ts", "v.avi"])
def test_truncated_video_gives_what_it_has(tmp_path, name):
    path = noisy_video(tmp_path / name, "mpeg4")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    shots = [item for item in items_of(path) if isinstance(item, Shot)]
    assert 10 <= len(shots) <= 30
    assert [s.pts_ns for s in shots] == [k * 40_000_000 for k in range(len(shots))]


def packets(path):
    """Where each packet's bytes begin in a Matroska file, a little on, and how many there are."""
    with av.open(str(path)) as container:
        return [(packet.pos + 8, packet.size) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("codec", ["mjpeg", "mpeg4"])
def test_damaged_middle_is_skipped(tmp_path, codec, half):
    """Three frames are lost, or 200 bytes of each, which FFmpeg would patch up."""
    path = noisy_video(tmp_path / "v.mkv", codec, frames=30)
    data = bytearray(path.read_bytes())
    pieces = packets(path)
    assert len(pieces) == 30
    for start, size in pieces[10:13]:
        first, count = (start + size // 2, 200) if half else (start, size - 20)
        data[first : first + count] = bytes(count)
    path.write_bytes(data)
    items = items_of(path)
    assert [item.name for item in items] == [f"v.mkv#{k}" for k in range(30)]
    assert [k for k, item in enumerate(items) if isinstance(item, Skipped)] == [10, 11, 12]
    assert items[13].pts_ns == 520_000_000
    assert len([i for i in items_of(path, frames=12) if isinstance(i, Shot)]) == 12


def test_video_without_a_readable_frame_is_refused(tmp_path):
    path = noisy_video(tmp_path / "v.mkv", "mjpeg", frames=4)
    data = bytearray(path.read_bytes())
    for start, _ in packets(path):
        data[start : start + 600] = bytes(600)
    path.write_bytes(data)
    assert "not one frame of the video can be read" in refusal(path)
    headless = video(tmp_path / "v.mp4", [0, 40, 80])
    headless.write_bytes(headless.read_bytes()[:-300])  # its table of contents stands at the end
    assert "neither a picture nor a video" in refusal(headless)


def test_sound_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        out.mux(stream.encode(frame))
    assert "no video in this file" in refusal(tmp_path / "a.mkv")


def test_oversized_video_is_refused(tmp_path, monkeypatch):
    path = video(tmp_path / "v.mkv", [0, 40])
    monkeypatch.setattr(sender.camera.picture, "MAX_PIXELS", 64 * 48 - 1)
    monkeypatch.setattr(sender.camera.video, "decode_frames", lambda *_: pytest.fail("decoded"))
    assert "64x48" in refusal(path, width=16, height=16)


@pytest.mark.parametrize(
    ("name", "codec", "tag"), [("v.mp4", "libx264", b"avc1"), ("v.mkv", "mpeg4", b"V_MPEG4/ISO/ASP")]
)
def test_a_video_whose_codec_is_damaged_is_refused(tmp_path, name, codec, tag):
    path = video(tmp_path / name, [0, 40, 80], codec)
    path.write_bytes(path.read_bytes().replace(tag, tag[:-2] + b"XX"))
    assert "no decoder for the video in this file" in refusal(path)


def test_one_late_time_stamp_is_not_made_into_any_number_of_frames(tmp_path):
    path = video(tmp_path / "late.mkv", [0, 1000, 2000, 200_000_000], "mpeg4")
    found = items_of(path, period_s=1)
    assert [item.pts_ns for item in found if isinstance(item, Shot)] == [0, 10**9, 2 * 10**9]
    assert [item.reason for item in found if isinstance(item, Skipped)] == [
        "time stamp 200000 s is 199998 s after the frame before"
    ]
    # A picture that stands for hours is none that is damaged.
    path = video(tmp_path / "slow.mkv", [0, 9_000_000], "mpeg4")
    assert len(shots_of(path, period_s=1)) == 9001
    # What no run can reach is no time.
    path = video(tmp_path / "never.mkv", [0, 40, 10**12], "mpeg4")
    assert [type(item) for item in items_of(path)] == [Shot, Shot, Skipped]


@pytest.mark.parametrize(("turn", "corner"), [(90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_turned_video_stands_upright(tmp_path, turn, corner):
    """Telephones film as they are held and write into the file how far the player has to turn it."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:20, :20] = 255  # upper left as stored
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
    one, minus = (1 << 16).to_bytes(4, "big"), (2**32 - (1 << 16)).to_bytes(4, "big")
    a, b, c, d = {  # clockwise by *turn*
        90: (bytes(4), one, minus, bytes(4)),
        180: (minus, bytes(4), bytes(4), minus),
        270: (bytes(4), minus, one, bytes(4)),
    }[turn]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # the matrix of the track header, ISO 14496-12
    assert data[at : at + 4] == one
    data[at : at + 24] = a + b + bytes(4) + c + d + bytes(4)
    path.write_bytes(data)
    width, height = (64, 48) if turn == 180 else (48, 64)
    (shot,) = shots_of(path, width=width, height=height)
    assert shot.fitted.startswith("turned by ")
    assert shot.fitted.endswith("; as is")
    for y in (0, -1):
        for x in (0, -1):
            assert (int(shot.pixels[y, x, 0]) > 128) == ((y, x) == corner)


def test_oblong_pixels_become_square(tmp_path):
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")))
        out.mux(stream.encode())
    (shot,) = shots_of(path, width=128, height=48)
    assert shot.fitted == "pixels 2:1 made square; as is"
    assert shot.pixels.shape == (48, 128, 3)


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
def test_colours_follow_the_video_s_own_matrix(tmp_path, matrix):
    """Pure green differs by some 40 levels between the two when the wrong matrix is used."""
    path = tmp_path / "v.mkv"
    luma, cb, cr = {"bt709": (173, 42, 26), "smpte170m": (145, 54, 34)}[matrix]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"colorspace": matrix, "qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        planes = np.concatenate([np.full(64 * 48, luma), np.full(32 * 24, cb), np.full(32 * 24, cr)])
        frame = av.VideoFrame.from_ndarray(planes.astype(np.uint8).reshape(72, 64), format="yuv420p")
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    (shot,) = shots_of(path)
    assert np.abs(shot.pixels.astype(int) - [0, 255, 0]).max() <= 4


def test_video_is_decoded_only_as_far_as_it_is_asked_for(tmp_path, monkeypatch):
    path = video(tmp_path / "v.mkv", [40 * k for k in range(200)], "mpeg4", level=lambda index: index)
    asked = []
    real = sender.camera.video.stamp_times

    def counting(frames, name, gap_s):
        for item in real(frames, name, gap_s):
            asked.append(item)
            yield item

    monkeypatch.setattr(sender.camera.video, "stamp_times", counting)
    source = open_source(camera(path, frames=3), seed=1)
    assert len(asked) == 1
    assert len(list(source)) == 3
    assert len(asked) == 3
