"""The classical codecs: how good their pictures are at a budget, and what reads their files.

What holds for every codec is in `test_every_codec.py`. A classical codec that joins needs a row in `EXPECTED`.
"""

import io
import re
import time
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sender.codecs.classical as classical_sender
from link.codecs import SYNTAXES, classical
from link.config import Session
from link.errors import UsageError
from link.frame import Frame, Payload, Pixels
from receiver.codecs import DECODERS
from receiver.codecs.classical import ClassicalDecoder
from sender.codecs import ENCODERS
from sender.codecs.classical import ClassicalEncoder

WIDTH, HEIGHT = 256, 192
BUDGETS = (150, 400, 1500, 6000)
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Expected:
    least_bytes: int
    """From here on every budget can be met."""
    band_db: dict[int, tuple[float, float]]
    """PSNR of the drawn picture by budget: not below, not above (above means that bytes go uncounted)."""


EXPECTED = {
    "jpeg2000": Expected(140, {150: (17.6, 19.6), 400: (23.6, 25.6), 1500: (26.6, 28.6), 6000: (31.9, 33.9)}),
    "webp": Expected(140, {150: (20.4, 22.4), 400: (24.5, 26.5), 1500: (26.9, 28.9), 6000: (31.8, 33.8)}),
    "avif": Expected(330, {400: (20.6, 22.6), 1500: (26.9, 28.9), 6000: (31.7, 33.7)}),
    "jpeg": Expected(300, {400: (20.5, 22.5), 1500: (25.7, 27.7), 6000: (28.6, 30.6)}),
}
CODECS = sorted(EXPECTED)


@cache
def picture(width: int = WIDTH, height: int = HEIGHT) -> Pixels:
    """Sky, sun, hills, a road with stripes, a house, and noise as of grass: edges, ramps and texture."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width])[:, None, None]
    rgb = np.stack([110 + 90 * y, 150 + 70 * y, 230 - 40 * y], axis=-1)
    rgb[(x - 0.8) ** 2 + (y - 0.15) ** 2 < 0.006] = (250, 240, 160)
    noise = np.random.default_rng(7).normal(0, 14, (height, width))
    hill = y > 0.55 + 0.08 * np.sin(7 * x) + 0.03 * np.sin(23 * x)
    rgb[hill] = np.stack([70 + 60 * y + noise, 120 + 30 * y + noise, 50 + noise], axis=-1)[hill]
    road = (y > 0.62) & (np.abs(x - 0.45) < 0.35 * (y - 0.55))
    rgb[road] = 90 + 0.3 * noise[road][:, None]
    rgb[road & (np.abs(x - 0.45) < 0.012) & (np.floor(y * 24) % 2 == 0)] = 235
    house = (np.abs(x - 0.2) < 0.09) & (np.abs(y - 0.52) < 0.1)
    rgb[house] = np.stack([175 + 25 * np.sin(180 * y), 80 + 0 * y, 60 + 0 * y], axis=-1)[house]
    rgb[(np.abs(x - 0.2) < 0.025) & (np.abs(y - 0.5) < 0.035)] = (30, 40, 60)
    drawn: Pixels = np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
    return drawn


def session(name: str, frame_bytes: int, **link: object) -> Session:
    return Session.model_validate(
        {
            "name": "test",
            "camera": {"width": WIDTH, "height": HEIGHT},
            "codec": {"name": name, "frame_bytes": frame_bytes},
            "link": {"hops": [{"name": "hop", "rate_bps": 1000}], **link},
        }
    )


def psnr_db(one: Pixels | None, other: Pixels) -> float:
    assert one is not None
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return float(10 * np.log10(255**2 / max(error, 1e-6)))


@cache
def encoded(name: str, frame_bytes: int) -> Payload:
    return ENCODERS[name](session(name, frame_bytes)).encode(Frame(3, 0, picture(), "drawn"))


def decoded(name: str, payload: Payload) -> Pixels | None:
    return DECODERS[name](session(name, 1000)).decode(payload)


def shown_db(name: str, payload: Payload) -> float:
    return psnr_db(decoded(name, payload), picture())


def first(payload: Payload, count: int) -> Payload:
    rest = (None,) * (len(payload.sections) - count)
    return Payload(payload.sections[:count] + rest)


def in_reach(name: str) -> list[int]:
    return [budget for budget in BUDGETS if budget >= EXPECTED[name].least_bytes]


# The tables


def test_a_codec_has_the_same_file_stem_everywhere() -> None:
    stems = [
        {path.stem for path in (ROOT / package / "codecs").glob("*.py")} - {"__init__", "syntax", "objects"}
        for package in ("link", "sender", "receiver")
    ]
    assert stems[0] == stems[1] == stems[2] != set()


@pytest.mark.parametrize("name", CODECS)
def test_the_syntax_names_every_section(name: str) -> None:
    for number in range(len(encoded(name, 1500).sections)):
        assert SYNTAXES[name].kind(session(name, 1500).codec, number).isidentifier()


# Round trip and budget


@pytest.mark.parametrize("name", CODECS)
def test_round_trip_keeps_to_budget_and_band(name: str) -> None:
    for budget in in_reach(name):
        payload = encoded(name, budget)
        assert payload.complete
        assert all(payload.sections)
        assert payload.size_bytes <= budget
        low, high = EXPECTED[name].band_db[budget]
        shown = decoded(name, payload)
        assert shown is not None
        assert shown.shape == (HEIGHT, WIDTH, 3)
        assert shown.dtype == np.uint8
        assert low <= psnr_db(shown, picture()) <= high, budget


@pytest.mark.parametrize("name", CODECS)
def test_more_budget_is_not_worse(name: str) -> None:
    budgets = [EXPECTED[name].least_bytes, 360, 400, 500, 650, 900, 1200, 1500, 2200, 3000, 4500, 6000]
    quality = [shown_db(name, encoded(name, budget)) for budget in budgets]
    for at, value in enumerate(quality):
        assert value >= max(quality[: at + 1]) - 0.3, (budgets[at], quality)
    assert quality[-1] > quality[0] + 3


@pytest.mark.parametrize("name", CODECS)
def test_a_large_budget_is_used(name: str) -> None:
    assert encoded(name, 6000).size_bytes > 0.9 * 6000


@pytest.mark.parametrize("name", CODECS)
def test_every_budget_above_the_least_can_be_met(name: str) -> None:
    least = EXPECTED[name].least_bytes
    for budget in (least, least + 7, least + 40):
        assert encoded(name, budget).size_bytes <= budget


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("frame_bytes", [1, 40])
def test_an_impossible_budget_is_a_usage_error(name: str, frame_bytes: int) -> None:
    with pytest.raises(UsageError, match=rf"{name}: frame_bytes {frame_bytes} .*drawn") as caught:
        encoded(name, frame_bytes)
    message = str(caught.value)
    assert "\n" not in message
    needed = int(re.findall(r"about (\d+) bytes", message)[0])
    assert 40 < needed <= EXPECTED[name].least_bytes
    assert encoded(name, round(1.1 * needed)).complete


@pytest.mark.parametrize("name", CODECS)
def test_the_same_frame_gives_the_same_bytes(name: str) -> None:
    encoder = ENCODERS[name](session(name, 1500))
    other = Frame(0, 0, picture()[::-1].copy(), "upside down")
    before = encoder.encode(Frame(1, 0, picture(), "one"))
    encoder.encode(other)
    assert encoder.encode(Frame(2, 9, picture(), "two")) == before == encoded(name, 1500)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize(("width", "height"), [(16, 16), (17, 33), (250, 16)])
def test_odd_sizes(name: str, width: int, height: int) -> None:
    pixels = picture(width, height)
    payload = ClassicalEncoder(name, 700, 116).encode(Frame(0, 0, pixels, "small"))
    shown = ClassicalDecoder(name, width, height).decode(payload)
    assert shown is not None
    assert shown.shape == pixels.shape
    assert psnr_db(shown, pixels) > 20


# Loss


@pytest.mark.parametrize("name", CODECS)
def test_each_section_lost_in_turn(name: str) -> None:
    for budget in in_reach(name):
        sections = encoded(name, budget).sections
        for lost in range(len(sections)):
            payload = Payload((*sections[:lost], None, *sections[lost + 1 :]))
            shown = decoded(name, payload)
            assert shown is None or shown.shape == (HEIGHT, WIDTH, 3)
            if name in classical.NAMES:
                assert (shown is None) == (lost == 0)


@pytest.mark.parametrize("name", CODECS)
def test_nothing_shown_from_nothing(name: str) -> None:
    for payload in (
        Payload(()),
        Payload((None,)),
        Payload((None, None)),
        Payload((b"",)),
        Payload((b"", b"")),
    ):
        assert decoded(name, payload) is None


# libjpeg smooths blocks between scans: a little of the next scan may look worse than none of it.
@pytest.mark.parametrize(("name", "dip_db"), [("jpeg2000", 0.1), ("jpeg", 0.6)])
def test_a_lost_tail_costs_detail_by_degrees(name: str, dip_db: float) -> None:
    payload = encoded(name, 6000)
    count = len(payload.sections)
    assert count >= 8
    quality = [shown_db(name, first(payload, n)) for n in range(1, count + 1)]
    for less, more in pairwise(quality):
        assert less - dip_db <= more <= less + 4, quality
    assert quality[0] > 12
    assert quality[-1] > quality[0] + 4


@pytest.mark.parametrize("name", ["jpeg2000", "jpeg"])
def test_what_follows_a_hole_is_not_used(name: str) -> None:
    sections = encoded(name, 6000).sections
    holed = decoded(name, Payload((*sections[:3], None, *sections[4:])))
    prefix = decoded(name, Payload(sections[:3]))
    assert holed is not None
    assert prefix is not None
    assert np.array_equal(holed, prefix)


# What is special to the classical codecs


def test_section_bytes_follow_the_link() -> None:
    wide = ENCODERS["jpeg2000"](session("jpeg2000", 1200, mtu_bytes=612)).encode(Frame(0, 0, picture(), "x"))
    narrow = ENCODERS["jpeg2000"](
        session("jpeg2000", 1200, mtu_bytes=217, framing="ccsds", repair={"fec": 0.5})
    ).encode(Frame(0, 0, picture(), "x"))
    # 600 and 196 bytes of payload in 1200
    assert len(wide.sections) == 2
    assert len(narrow.sections) == 6


@pytest.mark.parametrize(
    ("name", "budget"), [("jpeg2000", 600), ("webp", 1500), ("webp", 300), ("jpeg", 600)]
)
def test_the_climb_finds_the_best_scale(name: str, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = shown_db(name, encoded(name, budget))
    sizes = classical_sender._sizes(WIDTH, HEIGHT)
    assert sizes[:4] == [(256, 192), (128, 96), (85, 64), (64, 48)]
    assert sizes[-1] == (11, 8)
    for size in sizes[:6]:
        # One size alone, scaled by hand and searched for quality only.
        monkeypatch.setattr(classical_sender, "_sizes", lambda width, height, size=size: [size])
        try:
            alone = ClassicalEncoder(name, budget, 116).encode(Frame(0, 0, picture(), "x"))
        except UsageError:
            continue
        assert found >= shown_db(name, alone) - 0.05, size


@pytest.mark.parametrize("name", classical.NAMES)
def test_a_small_budget_sends_a_smaller_picture(name: str) -> None:
    widths = []
    for budget in (400, 6000):
        data = classical.rebuild(name, encoded(name, budget).sections)
        widths.append(classical.picture_size(name, data)[0])
    assert widths[0] < WIDTH == widths[1]


def jpeg2000_original(layers: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture()).save(
        file,
        "JPEG2000",
        no_jp2=True,
        irreversible=True,
        progression="LRCP",
        mct=1,
        plt=True,
        num_resolutions=4,
        quality_mode="rates",
        quality_layers=[WIDTH * HEIGHT * 3 / (300 * (n + 1)) for n in range(layers)],
    )
    return file.getvalue()


@pytest.mark.parametrize("count", range(1, 7))
def test_rebuilt_jpeg2000_is_what_openjpeg_makes_of_as_many_layers(count: int) -> None:
    original = jpeg2000_original(6)
    sections = classical.jpeg2000_sections(original)
    assert len(sections) == 6
    with Image.open(io.BytesIO(original)) as reference:
        tile = reference.tile[0]
        assert isinstance(tile.args, tuple)
        reference.tile = [tile._replace(args=(*tile.args[:2], count, *tile.args[3:]))]
        expected = np.asarray(reference)
    stream = classical.jpeg2000_rebuild(list(sections[:count]))
    # OpenJPEG forgives a wrong layer count in COD and a wrong Psot; other decoders need not.
    assert int.from_bytes(stream[57:59], "big") == count
    sot = stream.index(b"\xff\x90\x00\x0a")
    assert int.from_bytes(stream[sot + 6 : sot + 10], "big") == len(stream) - 2 - sot
    assert stream[-2:] == b"\xff\xd9"
    with Image.open(io.BytesIO(stream)) as rebuilt:
        assert np.array_equal(np.asarray(rebuilt), expected)


def test_jpeg2000_sections_are_the_codestream_without_com_plt_and_eoc() -> None:
    original = jpeg2000_original(3)
    joined = b"".join(classical.jpeg2000_sections(original))
    header = classical.jpeg2000_header_bytes(3)
    assert joined[:2] == b"\xff\x4f"
    assert joined[header - 2 : header] == b"\xff\x93"
    assert original.endswith(joined[header:] + b"\xff\xd9")
    assert b"OpenJPEG" not in joined
    assert header == 104


def test_jpeg2000_of_another_form_is_refused() -> None:
    original = jpeg2000_original(2)
    section = classical.jpeg2000_sections(original)[0]
    for at in range(classical.jpeg2000_header_bytes(3)):
        changed = bytearray(section)
        changed[at] ^= 0x80
        if 70 <= at < 90 or 96 <= at < 100:  # step sizes of QCD, Psot: any value is a codestream
            continue
        with pytest.raises(ValueError):
            classical.jpeg2000_rebuild([bytes(changed)])
    with pytest.raises(ValueError):
        classical.jpeg2000_sections(original.replace(b"\xff\x58", b"\xff\x64"))


def test_files_are_not_larger_than_they_need_be() -> None:
    for name in classical.NAMES:
        data = b"".join(section for section in encoded(name, 1500).sections if section)
        for needless in (b"JFIF", b"Exif", b"EXIF", b"ICCP", b"OpenJPEG", b"Adobe"):
            assert needless not in data


@pytest.mark.parametrize("name", classical.NAMES)
def test_a_picture_larger_than_the_session_is_refused(name: str) -> None:
    payload = ClassicalEncoder(name, 6000, 116).encode(Frame(0, 0, picture(), "x"))
    assert ClassicalDecoder(name, WIDTH, HEIGHT).decode(payload) is not None
    assert ClassicalDecoder(name, WIDTH - 1, HEIGHT).decode(payload) is None
    assert ClassicalDecoder(name, WIDTH, HEIGHT - 1).decode(payload) is None


def test_one_codec_never_decodes_another() -> None:
    for name in classical.NAMES:
        for other in set(classical.NAMES) - {name}:
            assert decoded(other, encoded(name, 1500)) is None


def test_a_size_that_only_the_inner_stream_claims_is_refused() -> None:
    # dav1d allocates what the AV1 sequence header asks for, whatever the container says.
    data = bytearray(encoded("avif", 6000).sections[0] or b"")
    at = data.index(b"mdat") + 4 + 4
    assert classical.avif_size(bytes(data)) == (WIDTH, HEIGHT)
    data[at + 2] ^= 0x10
    with pytest.raises(ValueError):
        classical.avif_size(bytes(data))


def test_a_jpeg_of_endless_scans_is_cut_short() -> None:
    data = b"".join(section for section in encoded("jpeg", 6000).sections if section)
    end = data.rindex(b"\xff\xda")
    form = classical.jpeg_form(data[:end] + data[end:-2] * 400 + b"\xff\xd9")
    assert form.usable < len(data) + classical.MAX_SCANS * (len(data) - end)


def test_a_large_jpeg_has_few_sections() -> None:
    payload = ClassicalEncoder("jpeg", 6000, 1).encode(Frame(0, 0, picture(), "x"))
    assert 30 < len(payload.sections) <= classical.MAX_PIECES + 1


# Bad bytes


def mutated(payload: Payload, generator: np.random.Generator) -> Payload:
    """Change some bytes, cut, repeat, swap or add at random."""
    sections = [bytearray(section or b"") for section in payload.sections]
    for _ in range(generator.integers(1, 4)):
        victim = sections[0 if generator.random() < 0.5 else generator.integers(len(sections))]
        kind = generator.integers(6)
        at = int(generator.integers(len(victim) + 1))
        if kind <= 2 and at < len(victim):
            victim[at] ^= 1 << int(generator.integers(8))
        elif kind == 3 and at < len(victim):
            victim[at : at + 4] = generator.bytes(4)
        elif kind == 4:
            del victim[at:]
        else:
            victim[at:at] = victim[: int(generator.integers(64))]
    return Payload(tuple(bytes(section) for section in sections))


def check_fuzzed(name: str, seed: int, count: int) -> float:
    """Decode *count* bad payloads; return the longest time in seconds."""
    generator = np.random.default_rng(seed)
    decoder = DECODERS[name](session(name, 1000))
    sources = [encoded(name, budget) for budget in in_reach(name)]
    shown = 0
    longest = 0.0
    for turn in range(count):
        if turn % 10 == 0:
            payload = Payload((generator.bytes(int(generator.integers(300))),))
        else:
            payload = mutated(sources[turn % len(sources)], generator)
        before = time.perf_counter()
        result = decoder.decode(payload)
        longest = max(longest, time.perf_counter() - before)
        if result is not None:
            assert result.shape == (HEIGHT, WIDTH, 3)
            assert result.dtype == np.uint8
            shown += 1
    assert 0 < shown < count  # the mutations reach the libraries, and not all pass
    return longest


@pytest.mark.parametrize("name", CODECS)
def test_bad_bytes_never_raise(name: str) -> None:
    assert check_fuzzed(name, 1, 1000) < 1.0


@pytest.mark.slow
@pytest.mark.parametrize("name", CODECS)
def test_many_bad_bytes_never_raise(name: str) -> None:
    assert check_fuzzed(name, 2, 15000) < 1.0


@pytest.mark.parametrize("name", CODECS)
def test_every_cut_of_every_section(name: str) -> None:
    sections = encoded(name, 400).sections
    decoder = DECODERS[name](session(name, 1000))
    for number, section in enumerate(sections):
        assert section is not None
        for size in range(0, len(section), 3):
            result = decoder.decode(Payload((*sections[:number], section[:size], *sections[number + 1 :])))
            assert result is None or result.shape == (HEIGHT, WIDTH, 3)
