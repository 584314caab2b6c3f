"""The camera sources: what comes in is what was in the file, and what cannot be read is said in one line."""

import resource
import struct
import sys
import tracemalloc
import zlib

import av
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from shots import camera, items_of, plain, refusal, shots_of, video

import sender.camera.picture
import sender.camera.testcard
from link.config import Camera
from sender.camera import PREFIXES, Shot, Skipped, open_source
from sender.camera.picture import MAX_SCANS, PictureError, count_scans, fit, read_rgb
from sender.camera.webcam import DEVICES

SHADES = [0x0000, 0x01FF, 0x0200, 0x7FFF, 0x8000, 0xFFFF]  # 8 bit: 0, 1, 2, 127, 128, 255


def png(path, width, height, bits, colour_type, rows=b""):
    """Write a PNG by hand: of kinds that Pillow does not write, or with a header that lies."""

    def chunk(kind, body):
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([bits, colour_type, 0, 0, 0])
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return path


# pictures: every mode


def rgb_of(path):
    image, _ = read_rgb(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def test_rgb_picture_is_itself(tmp_path):
    pixels = np.random.Generator(np.random.PCG64(1)).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (shot,) = shots_of(tmp_path / "a.png")
    assert np.array_equal(shot.pixels, pixels)
    assert (shot.name, shot.pts_ns, shot.fitted) == ("a.png", None, "as is")
    assert shot.pixels.dtype == np.uint8
    assert shot.pixels.flags.writeable  # torch warns about arrays that are not


@pytest.mark.parametrize("name", ["g.png", "g.tif", "g.jp2"])
def test_16_bit_grey_keeps_its_upper_bits(tmp_path, name):
    Image.fromarray(np.asarray([SHADES], np.uint16)).save(tmp_path / name)
    assert rgb_of(tmp_path / name)[0].tolist() == [[v >> 8] * 3 for v in SHADES]
    assert read_rgb(tmp_path / name)[1] == ["16 bit to 8"]


def test_big_endian_16_bit_grey(tmp_path):
    (tmp_path / "g.pgm").write_bytes(b"P5 6 1 65535\n" + np.asarray(SHADES, ">u2").tobytes())
    assert rgb_of(tmp_path / "g.pgm")[0, :, 0].tolist() == [v >> 8 for v in SHADES]


def test_32_bit_grey(tmp_path):
    Image.fromarray(np.asarray([SHADES], np.int32)).save(tmp_path / "i.tif")
    assert rgb_of(tmp_path / "i.tif")[0, :, 0].tolist() == [v >> 8 for v in SHADES]
    Image.fromarray(np.asarray([[0, 65536]], np.int32)).save(tmp_path / "wide.tif")
    with pytest.raises(PictureError, match="from 0 to 65536; expected 0 to 65535"):
        read_rgb(tmp_path / "wide.tif")


def test_16_bit_rgb(tmp_path):
    row = np.repeat(np.asarray(SHADES, ">u2"), 3).tobytes()
    png(tmp_path / "deep.png", 6, 1, 16, 2, b"\0" + row)
    assert rgb_of(tmp_path / "deep.png")[0].tolist() == [[v >> 8] * 3 for v in SHADES]


def test_float_grey(tmp_path):
    Image.fromarray(np.asarray([[0.0, 0.5, 1.0]], np.float32)).save(tmp_path / "f.tif")
    assert rgb_of(tmp_path / "f.tif")[0, :, 0].tolist() == [0, 128, 255]
    for name, values in (("wide.tif", [0.0, 300.0]), ("nan.tif", [0.0, np.nan]), ("low.tif", [-0.5, 1.0])):
        Image.fromarray(np.asarray([values], np.float32)).save(tmp_path / name)
        with pytest.raises(PictureError, match="expected 0 to 1"):
            read_rgb(tmp_path / name)


def test_alpha_is_laid_on_black(tmp_path):
    layers = [(200, 100, 50, 255), (200, 100, 50, 0), (200, 100, 50, 128)]
    image = Image.new("RGBA", (3, 1))
    for x, value in enumerate(layers):
        image.putpixel((x, 0), value)
    image.save(tmp_path / "rgba.png")
    expected = [[200, 100, 50], [0, 0, 0], [100, 50, 25]]
    assert np.abs(rgb_of(tmp_path / "rgba.png")[0].astype(int) - expected).max() <= 1
    plain(tmp_path / "la.png", (200, 128), (1, 1), "LA")
    assert abs(int(rgb_of(tmp_path / "la.png")[0, 0, 0]) - 100) <= 1
    assert read_rgb(tmp_path / "la.png")[1] == ["alpha on black"]


def test_palette_with_and_without_transparency(tmp_path):
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    for x in range(3):
        image.putpixel((x, 0), x)
    image.save(tmp_path / "p.png")
    assert rgb_of(tmp_path / "p.png")[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    image.save(tmp_path / "t.png", transparency=1)
    assert rgb_of(tmp_path / "t.png")[0].tolist() == [[255, 0, 0], [0, 0, 0], [0, 0, 255]]
    plain(tmp_path / "key.png", (9, 8, 7), (1, 1), transparency=(9, 8, 7))
    assert rgb_of(tmp_path / "key.png")[0].tolist() == [[0, 0, 0]]


def test_one_bit_and_eight_bit_grey(tmp_path):
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "1.png")
    assert rgb_of(tmp_path / "1.png")[0].tolist() == [[0, 0, 0], [255, 255, 255]]
    plain(tmp_path / "l.png", 77, (1, 1), "L")
    assert rgb_of(tmp_path / "l.png")[0].tolist() == [[77, 77, 77]]


def test_cmyk(tmp_path):
    for name in ("c.jpg", "c.tif"):
        plain(tmp_path / name, (255, 0, 0, 0), (16, 16), "CMYK")
        assert np.abs(rgb_of(tmp_path / name)[8, 8].astype(int) - [0, 255, 255]).max() <= 3


def test_animation_gives_its_first_frame(tmp_path):
    red, blue = (Image.new("RGB", (64, 48), colour) for colour in ((255, 0, 0), (0, 0, 255)))
    red.save(tmp_path / "a.gif", save_all=True, append_images=[blue])
    (shot,) = shots_of(tmp_path / "a.gif")
    assert shot.pixels[9, 9].tolist() == [255, 0, 0]


@pytest.mark.parametrize("extension", sorted(sender.camera.picture.EXTENSIONS))
def test_every_extension_in_capitals(tmp_path, extension):
    path = tmp_path / f"a{extension.upper()}"
    mode = "L" if extension == ".pgm" else "RGB"
    plain(path, 60 if mode == "L" else (60, 60, 60), mode=mode)
    (shot,) = shots_of(tmp_path)
    assert shot.name == path.name
    assert np.abs(shot.pixels.astype(int) - 60).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(tmp_path, orientation):
    """The red corner belongs at the upper left, however the camera was held."""
    upright = Image.new("RGB", (64, 32), (0, 0, 255))
    upright.paste((255, 0, 0), (0, 0, 16, 16))
    turn = Image.Transpose
    stored_by = {2: turn.FLIP_LEFT_RIGHT, 3: turn.ROTATE_180, 4: turn.FLIP_TOP_BOTTOM, 5: turn.TRANSPOSE}
    stored_by |= {6: turn.ROTATE_90, 7: turn.TRANSVERSE, 8: turn.ROTATE_270}
    stored = upright.transpose(stored_by[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "e.jpg", exif=exif, quality=95)
    image, changes = read_rgb(tmp_path / "e.jpg")
    assert image.size == (64, 32)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(upright)).mean() < 3
    assert changes == (["turned by EXIF"] if orientation > 1 else [])


# fit


def quarters(width, height, middle=0.5):
    """Red, then blue from *middle* of the width on."""
    image = Image.new("RGB", (width, height), (255, 0, 0))
    image.paste((0, 0, 255), (round(width * middle), 0, width, height))
    return image


def test_crop_keeps_the_centre():
    image = Image.new("RGB", (768, 512), (0, 255, 0))
    image.paste((255, 0, 0), (43, 0, 43 + 682, 512))
    pixels, note = fit(image, 256, 192, "crop")
    assert note == "768x512 -> crop 682x512 -> 256x192"
    assert pixels.shape == (192, 256, 3)
    assert np.abs(pixels[:, 1:-1].astype(int) - [255, 0, 0]).max() <= 2  # the filter looks over the edge
    assert (pixels[..., 0] > 230).all()
    image = Image.new("RGB", (100, 300), (0, 255, 0))
    image.paste((9, 9, 9), (0, 112, 100, 112 + 75))
    pixels, note = fit(image, 256, 192, "crop")
    assert note == "100x300 -> crop 100x75 -> 256x192"
    assert (pixels[8:-8] == 9).all()
    assert fit(image, 100, 200, "crop")[1] == "100x300 -> crop 100x200"


def test_pad_keeps_everything():
    pixels, note = fit(quarters(768, 512), 256, 192, "pad")
    assert note == "768x512 -> 256x171 -> pad 256x192"
    assert not pixels[:10].any()
    assert not pixels[181:].any()
    assert (pixels[10:181, :120] == [255, 0, 0]).all()
    assert (pixels[10:181, 136:] == [0, 0, 255]).all()
    pixels, note = fit(quarters(64, 192), 256, 192, "pad")
    assert note == "64x192 -> pad 256x192"
    assert not pixels[:, :96].any()
    assert (pixels[:, 96:128] == [255, 0, 0]).all()
    assert not pixels[:, 160:].any()


def test_stretch_distorts():
    pixels, note = fit(quarters(100, 400, 0.25), 256, 192, "stretch")
    assert note == "100x400 -> stretch 256x192"
    assert (pixels[:, :56] == [255, 0, 0]).all()
    assert (pixels[:, 72:] == [0, 0, 255]).all()


@pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (1, 5000), (3000, 2250), (17, 13)])
def test_fit_of_any_size(how, size):
    pixels, _ = fit(Image.new("RGB", size, (50, 60, 70)), 64, 48, how)
    assert pixels.shape == (48, 64, 3)
    drawn = pixels[pixels.any(axis=2)]
    assert len(drawn)
    assert (drawn == [50, 60, 70]).all()


def test_shrinking_much_is_an_average():
    """A fine checkerboard is grey, not one of its squares."""
    board = (np.indices((1200, 1600)).sum(axis=0) % 2 * 255).astype(np.uint8)
    pixels, note = fit(Image.fromarray(board).convert("RGB"), 64, 48, "crop")
    assert note == "1600x1200 -> 64x48"
    assert np.abs(pixels.astype(int) - 127).max() <= 1


# folders


def test_folder_is_read_in_order_of_name(tmp_path):
    for name, value in (("b.png", 20), ("a10.png", 12), ("a9.PNG", 13), ("B.png", 11)):
        plain(tmp_path / name, (value,) * 3)
    plain(tmp_path / ".hidden.png", 99, mode="L")
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "deeper.png").mkdir()
    plain(tmp_path / "deeper.png" / "a.png", 99, mode="L")
    shots = shots_of(tmp_path)
    assert [(s.name, int(s.pixels[0, 0, 0])) for s in shots] == [
        ("B.png", 11),
        ("a10.png", 12),
        ("a9.PNG", 13),
        ("b.png", 20),
    ]
    assert [s.name for s in shots_of(tmp_path, frames=2)] == ["B.png", "a10.png"]


def test_broken_pictures_are_skipped(tmp_path):
    plain(tmp_path / "a.png", (1, 2, 3))
    noise = np.random.Generator(np.random.PCG64(2)).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    (tmp_path / "whole.png").unlink()
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("hello")
    png(tmp_path / "bomb.png", 20000, 20000, 8, 2)
    plain(tmp_path / "z.png", (4, 5, 6))
    items = items_of(tmp_path, frames=2)
    assert [(type(item), item.name) for item in items] == [
        (Shot, "a.png"),
        (Skipped, "bomb.png"),
        (Skipped, "cut.png"),
        (Skipped, "empty.jpg"),
        (Skipped, "text.jpg"),
        (Shot, "z.png"),
    ]
    reasons = {item.name: item.reason for item in items if isinstance(item, Skipped)}
    assert "larger than 64000000 pixels" in reasons["bomb.png"]
    assert "truncated" in reasons["cut.png"]
    assert reasons["text.jpg"] == "not a picture in a known format"
    assert not any("\n" in reason for reason in reasons.values())


def test_folder_of_broken_pictures_still_runs(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("no")
    assert [type(item) for item in items_of(tmp_path)] == [Skipped, Skipped]


def test_picture_that_vanishes_is_skipped(tmp_path):
    plain(tmp_path / "a.png", (1, 1, 1))
    plain(tmp_path / "b.png", (2, 2, 2))
    source = open_source(camera(tmp_path), seed=1)
    (tmp_path / "a.png").unlink()
    assert [type(item) for item in source] == [Skipped, Shot]


@pytest.mark.parametrize(("width", "height"), [(20000, 20000), (8100, 8000)])
def test_bomb_is_refused_before_it_is_allocated(tmp_path, width, height):
    png(tmp_path / "bomb.png", width, height, 8, 2)
    tracemalloc.start()
    try:
        text = refusal(tmp_path / "bomb.png")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "64000000 pixels" in text
    assert peak_bytes < 4_000_000


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.gif", b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(3) + b",\0\0\0\0" + b"\xff" * 4 + b"\0\2\0;"),
        ("a.ppm", b"P6 20000 20000 255 "),
        ("a.bmp", b"BM" + struct.pack("<IIIIiiHHIIIIII", 99, 0, 54, 40, 20000, 20000, 1, 24, 0, 0, 0, 0, 0, 0)),
        (
            "a.tif",
            b"II*\0" + struct.pack("<IH", 8, 3)
            + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in ((256, 20000), (257, 20000), (258, 8)))
            + bytes(4),
        ),
        (
            "a.webp",
            b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4)
            + (16383).to_bytes(3, "little") * 2,
        ),
    ],
    ids=["gif", "ppm", "bmp", "tif", "webp"],
)  # fmt: skip
def test_no_format_is_allocated_by_a_header_alone(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PictureError):
        read_rgb(tmp_path / name)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_size_is_checked_before_the_pixels_are_decoded(tmp_path, monkeypatch):
    path = plain(tmp_path / "a.bmp", (1, 1, 1), (11, 10))
    monkeypatch.setattr(sender.camera.picture, "MAX_PIXELS", 109)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(PictureError, match="11x10"):
        read_rgb(path)


def test_a_jpeg_of_hundreds_of_scans_is_refused_before_they_are_decoded(tmp_path, monkeypatch):
    Image.new("RGB", (64, 48), (9, 100, 40)).save(tmp_path / "a.jpg", progressive=True, quality=50)
    data = (tmp_path / "a.jpg").read_bytes()
    scans = count_scans(data)
    assert 6 <= scans <= MAX_SCANS
    # A thumbnail, and what follows the end, are none of the picture's scans.
    hidden = b"\xff\xe1" + (2 + 4 * 99).to_bytes(2, "big") + b"\xff\xda\0\2" * 99
    (tmp_path / "b.jpg").write_bytes(data[:2] + hidden + data[2:] + b"\xff\xda" * 99)
    assert count_scans((tmp_path / "b.jpg").read_bytes()) == scans
    assert shots_of(tmp_path / "b.jpg")
    last = data[data.rfind(b"\xff\xda") : -2]
    (tmp_path / "bomb.jpg").write_bytes(data[:-2] + last * 400 + data[-2:])
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    assert f"{scans + 400} scans" in refusal(tmp_path / "bomb.jpg")


def test_a_tiff_of_huge_tiles_is_refused_before_one_is_allocated(tmp_path, monkeypatch):
    """Of 64x48 pixels, but each tile 40000x40000: libtiff would allocate 1.6 GB for it."""
    tags = [
        (256, 64),
        (257, 48),
        (258, 8),
        (259, 5),
        (262, 1),
        (277, 1),
        (322, 40000),
        (323, 40000),
        (324, 8),
        (325, 9),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    (tmp_path / "bomb.tif").write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    assert "40000x40000" in refusal(tmp_path / "bomb.tif")


# what is refused at once


def test_refusals_name_what_was_expected(tmp_path):
    wanted = f"expected {', '.join(row.usage for row in PREFIXES.values())} or a path"
    assert "testcard, webcam:N, " in wanted
    assert f"no such file or folder; {wanted}" in refusal(tmp_path / "no.png")
    (tmp_path / "folder").mkdir()
    assert "no pictures in this folder; expected .avif" in refusal(tmp_path / "folder")
    (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
    assert "neither a picture nor a video" in refusal(tmp_path / "text.mp4")
    (tmp_path / "nothing").write_bytes(b"")
    assert "neither a picture nor a video" in refusal(tmp_path / "nothing")
    (tmp_path / "broken.png").write_text("x")
    assert "cannot read the picture: not a picture in a known format" in refusal(tmp_path / "broken.png")
    assert f"unknown prefix 'foo'; {wanted}" in refusal("foo:bar")
    assert "unknown prefix 'ftp'" in refusal("ftp://example.org/a.mp4")
    assert "nothing may follow testcard" in refusal("testcard:2")
    assert "no such file" in refusal("")
    assert "too long" in refusal("x" * 4000)
    assert "neither a file nor a folder" in refusal("/dev/null")
    for fields in ({"source": "a\0b.png"}, {"source": "x" * 5000}, {"width": 8192, "height": 8192}):
        with pytest.raises(ValidationError, match=r"without NUL|at most 4096|8192x8192 is over"):
            Camera(**fields)


def test_path_with_a_colon_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain(tmp_path / "foo:bar.png", (1, 2, 3))
    assert shots_of("foo:bar.png")[0].name == "foo:bar.png"
    video(tmp_path / "concat:a|b.mkv", [0, 40])
    assert len(shots_of("concat:a|b.mkv")) == 2


def test_playlists_are_refused(tmp_path):
    """FFmpeg would follow them to other files and addresses."""
    video(tmp_path / "a.mkv", [0, 40, 80])
    (tmp_path / "list.m3u8").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.mkv\n#EXT-X-ENDLIST\n"
    )
    (tmp_path / "list.ffconcat").write_text("ffconcat version 1.0\nfile a.mkv\n")
    with av.open(str(tmp_path / "list.ffconcat")) as follows:
        assert follows.streams.video
    for name in ("list.m3u8", "list.ffconcat"):
        assert "neither a picture nor a video in a known format" in refusal(tmp_path / name)


def test_picture_without_extension_is_known_by_its_content(tmp_path):
    plain(tmp_path / "a.png", (1, 2, 3)).rename(tmp_path / "picture")
    assert shots_of(tmp_path / "picture")[0].pixels[0, 0].tolist() == [1, 2, 3]


# webcams


def test_webcam_refusals():
    assert "expected the number of a webcam: webcam:0" in refusal("webcam")
    assert "expected the number" in refusal("webcam:front")
    assert "expected the number" in refusal("webcam:-1")


@pytest.mark.skipif(sys.platform != "linux", reason="numbers of devices that surely do not exist")
def test_absent_webcam():
    text = refusal("webcam:987")
    assert "cannot open the webcam" in text
    assert "/dev/video987" in text


def test_webcam_frames(monkeypatch):
    """FFmpeg's own test source stands in for the device: 10 frames a second, endless."""
    monkeypatch.setitem(DEVICES, sys.platform, ("lavfi", "testsrc=size=64x48:rate=10"))
    shots = shots_of("webcam:0", frames=4)
    assert [(s.name, s.pts_ns) for s in shots] == [(f"webcam:0#{k}", k * 100_000_000) for k in range(4)]
    assert shots[0].pixels.std() > 20
    assert [s.pts_ns for s in shots_of("webcam:0", frames=3, period_s=0.25)] == [
        0,
        300_000_000,
        500_000_000,
    ]


def test_prefixes_say_how_they_are_written():
    assert all(row.usage.startswith(prefix) for prefix, row in PREFIXES.items())
