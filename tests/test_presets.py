"""Presets: they load, their figures make sense together, and a run of each accounts for every packet."""

import importlib
import types
import typing
from collections.abc import Iterator
from functools import cache
from math import floor
from pathlib import Path

import numpy as np
import pytest
import toys
from pydantic import BaseModel

from link.channel.loss import LOSS_MODELS, LossModel
from link.channel.rate import Trace, read_trace
from link.config import ProfileConfig, Session
from link.errors import UsageError
from link.events import Fate
from link.frame import Frame, Pixels
from link.hops import HopConfig, Outage
from link.nodes import share_open
from link.seeds import generator
from link.timing import air_bytes, body_bytes
from link.transform import grid
from receiver.codecs import DECODERS
from scenarios import schema
from scenarios.models.catalogue import CATALOGUE
from scenarios.results import traffic
from sender.camera import Shot, open_source
from sender.codecs import ENCODERS

NAMES = schema.preset_names()
TRACES = Path(schema.__file__).parent / "traces"
SHARED = Path(__file__).parents[2] / "shared" / "data" / "traces"
FRAMES = 6


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_loads_and_survives_being_written(name: str, tmp_path: Path) -> None:
    plan = schema.load(name)
    assert plan.name == name
    assert plan.title
    sources = {
        "bandwidth": "world:mars",
        "rover-day": "world:mars",
        "rover-day-reliable": "world:mars",
        "mars-relay": "world:mars",
        "mars-direct": "world:mars",
        "orbiter-pass": "world:mars",
        "cubesat-deep-space": "world:mars",
        "curiosity-direct": "world:mars",
        "orbiter-uhf": "world:mars",
        "dsoc-1au": "world:mars",
        "lunar-relay": "world:moon",
        "lunar-south-pole": "world:moon",
        "rover-sol": "world:mars",
        "mars-conjunction": "world:mars",
        "ccsds-downlink": "world:moon",
        "underwater-acoustic": "world:seafloor",
        "acoustic-pair": "world:seafloor",
        "gsc-table-1": "kitti:data/kitti",
        "gsc-table-2": "cityscapes:data/cityscapes",
        "gsc-table-3": "coco:data/coco",
        "sedic-table-1": "clic:data/clic",
        "sedic-table-2": "clic:data/clic",
        "sedic-table-3": "kodak:data/kodak",
        "sedic-table-5": "clic:data/clic",
        "sggic-table-1": "clic:data/clic",
    }
    assert plan.camera.source == sources.get(name, "testcard")
    assert plan.codec.frame_bytes is not None
    file = tmp_path / "again.yaml"
    file.write_text(schema.to_yaml(plan))
    assert schema.load(str(file)) == plan


@pytest.mark.parametrize(
    ("name", "task", "bpp"), [(1, "depth", 0.015), (2, "segmentation", 0.0039), (3, "detection", 0.0155)]
)
def test_the_papers_tables_lose_and_cut_nothing(name: int, task: str, bpp: float) -> None:
    plan = schema.load(f"gsc-table-{name}", ["codec.channels=16"])
    assert (plan.analysis, plan.codec.profile, plan.codec.order) == ((task,), "flux", "ssim")
    (hop,) = plan.link.hops
    assert not (hop.loss or hop.bit_error_rate or hop.outage or hop.jitter or hop.duplicate_ratio)
    assert plan.codec.guidance == 3.5
    assert 0.3 <= plan.codec.control_scale <= 0.8, "what the pulled ControlNet asks for"
    transform = CATALOGUE["flux/transform"]
    assert transform.source == "mbt2018-mean/5"
    urls = importlib.import_module("compressai.zoo.image").model_urls["mbt2018-mean"]["mse"]
    assert f"-{transform.revision}." in urls[5]
    text, _ = schema.source_text(plan.name)
    rows, columns = grid(plan.camera.width, plan.camera.height)
    about = round(
        0.662 * 256 / 320 * rows * columns / 8, -1
    )  # bits a pixel, of 320 channels with 1/256 of the pixels
    assert f"a channel of {columns}x{rows} latents that is about {about:.0f} bytes" in " ".join(text.split())
    papers_bytes = bpp * plan.camera.width * plan.camera.height / 8
    assert (plan.codec.frame_bytes or 0) > 50 * papers_bytes
    assert plan.codec.channels == 16


@pytest.mark.parametrize(
    ("number", "size", "bpp"), [(1, (768, 768), 0.0439), (2, (768, 768), 0.0439), (3, (768, 512), 0.0457),
                                (5, (768, 768), 0.0439)]
)  # fmt: skip
def test_sedics_tables_are_at_its_settings_and_cut_nothing(
    number: int, size: tuple[int, int], bpp: float
) -> None:
    plan = schema.load(f"sedic-table-{number}")
    codec = plan.codec
    assert (plan.camera.width, plan.camera.height) == size
    assert (codec.name, codec.profile, codec.caption) == ("sedic", "flux", "vlm")
    assert (codec.objects, codec.caption_words, codec.object_words) == (3, 50, 30), "of about .04 to .05 bpp"
    assert (codec.attention, codec.object_steps, codec.steps, codec.mask_px) == (40.0, 10, 20, 8)
    (hop,) = plan.link.hops
    assert not (hop.loss or hop.bit_error_rate or hop.outage)
    assert (codec.frame_bytes or 0) > 10 * bpp * size[0] * size[1] / 8
    text, _ = schema.source_text(plan.name)
    assert f"{bpp:.4f}".lstrip("0") in text


def test_sggics_table_is_at_its_settings_and_cuts_nothing() -> None:
    plan = schema.load("sggic-table-1")
    codec = plan.codec
    assert (plan.camera.width, plan.camera.height, plan.camera.frames) == (512, 512, 20)
    assert (codec.name, codec.profile, codec.caption, codec.adaptive) == ("sggic", "flux", "vlm", False)
    assert (codec.objects, codec.caption_words, codec.object_words) == (3, 50, 10), "as its question asks for"
    (hop,) = plan.link.hops
    assert not (hop.loss or hop.bit_error_rate or hop.outage)
    assert (codec.frame_bytes or 0) > 10 * 0.077 * 512 * 512 / 8


def test_there_are_presets_for_every_kind_of_link() -> None:
    plans = [schema.load(name) for name in NAMES]
    assert len(NAMES) >= 11
    assert {plan.link.framing for plan in plans} == {"compact", "ccsds"}
    assert {plan.link.return_ is None for plan in plans} == {True, False}
    assert any(hop.trace for plan in plans for hop in plan.link.hops)
    assert any(hop.outage and hop.outage.hold for plan in plans for hop in plan.link.hops)
    assert any(hop.bit_error_rate for plan in plans for hop in plan.link.hops)


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_names_its_sources(name: str) -> None:
    text, _ = schema.source_text(name)
    comments = [line for line in text.splitlines() if line.lstrip().startswith("#")]
    assert text.startswith("# ")
    assert sum(any(sign.isdigit() for sign in line) for line in comments) >= 2


# Units in names: habit 4 of the project's style.

SUFFIXES = (
    "_bps", "_s", "_bytes", "_bits", "_hz", "_px", "_count", "_ratio", "_rate",
    "_m", "_km", "_w", "_ns", "_k", "_db", "_dbm", "_dbi", "_deg",
)  # fmt: skip
NO_UNIT = {
    "seed", "width", "height", "frames",  # counts, and pixels by custom
    "loss", "loss_good", "loss_bad", "fec", "duty_cycle", "red",  # shares
    "mean_burst", "arq_rounds", "classes", "fec_frames", "fec_spread", "tries", "window", "senders",  # counts
    "channels", "max_channels", "caption_words", "steps",  # counts
    "guidance", "control_scale", "strength", "cache_threshold", "lora_scale",  # factors and shares
    "eccentricity", "nodes",  # a ratio by definition, and names
    "alpha", "beta", "noise_seed",  # weights, and a number
    "spreading", "shipping", "spreading_factor", "coding", "order", "word_symbols",  # of budgets: factors, counts
    "objects", "name_words", "object_words", "object_steps", "attention",  # counts, and a factor
    "budget_steps",  # rows of a time, a rate and an error rate
}  # fmt: skip


def _fields(model: type[BaseModel], seen: set[type]) -> Iterator[tuple[str, str]]:
    """Yield (model, field) of each number that can be reached from *model*."""
    if model in seen:
        return
    seen.add(model)
    for name, field in model.model_fields.items():
        leaves = set(_leaves(field.annotation))
        if leaves & {int, float}:
            yield model.__name__, name
        if LossModel in leaves:
            leaves |= set(LOSS_MODELS.values())
        for leaf in leaves:
            if isinstance(leaf, type) and issubclass(leaf, BaseModel):
                yield from _fields(leaf, seen)


def _leaves(annotation: object) -> Iterator[object]:
    """Yield the types that an annotation is made of."""
    if typing.get_origin(annotation) is typing.Literal:
        return
    if typing.get_origin(annotation) is typing.Annotated:
        yield from _leaves(typing.get_args(annotation)[0])
    elif args := typing.get_args(annotation):
        for part in args:
            yield from _leaves(part)
    elif annotation not in (None, types.NoneType, Ellipsis):
        yield annotation


def test_a_number_has_its_unit_in_its_name() -> None:
    found = list(_fields(schema.Scenario, set()))
    assert ("HopConfig", "rate_bps") in found
    assert ("GilbertElliottLoss", "mean_burst") in found
    assert ("Outage", "windows_s") in found
    assert ("ReturnHop", "delay_s") in found
    wrong = [
        f"{model}.{name}" for model, name in found if not name.endswith(SUFFIXES) and name not in NO_UNIT
    ]
    assert not wrong


# Physics.


def _share_up(outage: Outage | None, rate_bps: float, packet_bytes: int) -> float:
    """Return what share of the rate an on-off outage leaves, where only whole packets fit between outages."""
    if outage is None or outage.up_s is None or outage.down_s is None:
        windows = outage.windows_s if outage is not None and outage.hold else ()
        return 1.0 - sum(end - start for start, end in windows) / windows[-1][1] if windows else 1.0
    fit = floor(outage.up_s * rate_bps / 8 / packet_bytes)
    assert fit > 0, "no packet fits between two outages, so it would wait for ever"
    return fit * packet_bytes * 8 / rate_bps / (outage.up_s + outage.down_s)


def _rate_bps(hop: HopConfig, traces: dict[str, Trace], packet_bytes: int) -> float:
    rate = hop.rate_bps or traces[hop.name].mean_bps
    return rate * _share_up(hop.outage, rate, packet_bytes)


@pytest.mark.parametrize("name", NAMES)
def test_a_frame_fits_into_its_period(name: str) -> None:
    plan = schema.load(name)
    assert plan.camera.period_s is not None
    assert plan.codec.frame_bytes is not None
    need = air_bytes(plan.link, plan.codec.frame_bytes)
    traces = schema.traces(plan)
    rate = min(
        _rate_bps(hop, traces, plan.link.mtu_bytes) * share_open(hop.contacts_s) for hop in plan.link.way
    )
    if plan.link.medium is not None:
        rate *= plan.link.medium.duty_cycle
    share = need * 8 / rate / plan.camera.period_s
    stored = bool(plan.link.nodes) or any(hop.outage and hop.outage.hold for hop in plan.link.hops)
    assert share <= 0.9
    assert share >= (0.02 if stored else 0.5), "so small a budget leaves the link idle"
    assert body_bytes(plan.link) >= 16
    for hop in plan.link.hops:
        # Between outages pictures pile up in front of the hop.
        waits_s = hop.outage.down_s or 0.0 if hop.outage else 0.0
        if hop.outage and hop.outage.hold:
            waits_s = max([waits_s, *(end - start for start, end in hop.outage.windows_s)])
        assert hop.queue.limit_bytes >= need * max(1.0, waits_s / plan.camera.period_s)


@pytest.mark.parametrize("name", NAMES)
def test_repair_suits_the_link(name: str) -> None:
    plan = schema.load(name)
    link = plan.link
    lossy = any(hop.loss or hop.bit_error_rate for hop in link.hops)
    assert not lossy or link.repair.fec or link.repair.arq or link.has_ltp
    assert link.repair.arq == (link.return_ is not None), "a return channel that nothing uses"
    if link.repair.arq:
        assert sum(hop.delay_s for hop in link.hops) < 3600
    if link.repair.priorities:
        assert any(hop.queue.classes > 1 for hop in link.hops)


# Runs.


class _Encoder(toys.ToyEncoder):
    """Fills a budget with eight sections."""

    def __init__(self, frame_bytes: int) -> None:
        super().__init__(8, frame_bytes // 8)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_run_ends_and_every_packet_is_accounted_for(name: str, seed: int, tmp_path: Path) -> None:
    plan = schema.load(name, [f"seed={seed}", "codec.name=jpeg2000"]).session()
    run = toys.run(plan, tmp_path / "run.mcap", FRAMES, _Encoder(plan.codec.frame_bytes or 0))
    assert run.complete
    traffic.check_conservation(run)
    assert len(toys.kinds(run, "encoded")) == FRAMES
    assert len(toys.kinds(run, "closed")) >= FRAMES - 1
    sent = traffic.packets(run)
    figures = traffic.traffic(run).forward
    never = {"queue_full", "deadline", "malformed", "version"}
    if plan.link.framing == "ccsds" and any(hop.bit_error_rate for hop in plan.link.hops):
        never.remove("malformed")  # the Space Packet's header, which has no checksum of its own, may be hit
    assert not never & set(figures["dropped"])
    assert max(item.size_bytes for item in sent) <= plan.link.mtu_bytes


# Pictures.

BANDS = {"testcard": (13.0, 17.0), "world:mars": (21.0, 28.0)}
"""PSNR in dB of what the tiny models draw of a whole payload, at any size: an invented scene has 9 to 11 dB, and what
is better than this was not drawn from a hundred bytes."""


@cache
def _redrawn(session: Session) -> tuple[Pixels, Pixels, int]:
    shot = next(open_source(session.camera, seed=session.seed))
    assert isinstance(shot, Shot)
    payload = ENCODERS["gsc"](session).encode(Frame(0, 0, shot.pixels, shot.name))
    drawn = DECODERS["gsc"](session).decode(payload)
    assert drawn is not None
    return shot.pixels, drawn, payload.size_bytes


@pytest.mark.parametrize("source", BANDS)
@pytest.mark.parametrize("name", NAMES)
def test_every_preset_draws_what_was_seen(name: str, source: str) -> None:
    plan = schema.load(name, ["analysis=[]"], {"camera.source": source, "camera.frames": 1})
    if plan.codec.profile != "tiny":
        pytest.skip("its models are not on this machine")
    # Presets whose pictures are coded alike share them.
    rest = {"name": "one", "link": schema.load("mars-relay").link, "profile": ProfileConfig()}
    seen, drawn, size_bytes = _redrawn(plan.session().model_copy(update=rest))
    assert drawn.shape == seen.shape == (plan.camera.height, plan.camera.width, 3)
    error = np.mean((drawn.astype(float) - seen) ** 2) / 255**2
    low, high = BANDS[source]
    assert low < -10 * np.log10(error) < high
    assert 60 < size_bytes <= (plan.codec.frame_bytes or 0)


def test_the_duty_cycle_of_lora_holds(tmp_path: Path) -> None:
    plan = schema.load("lora-sf12").session()
    run = toys.run(plan, tmp_path / "run.mcap", 2, _Encoder(plan.codec.frame_bytes or 0))
    rows = run.rows[(run.rows[:, 3] == 0) & (run.rows[:, 5] > 0)]
    assert len(rows) == traffic.traffic(run).forward["sent"]
    for time, _, fate, _, _, lasted in rows.tolist():
        end = time - (50_000 if fate == Fate.CROSSED else 0)
        within = (end - lasted) % 279_000_000_000
        assert within + lasted <= 2_800_000_000
        assert lasted <= 51 * 8 * 4_000_000


# Traces.


def degraded_cellular() -> str:
    """Make scenarios/traces/degraded-cellular.down: a Markov chain of four rates."""
    rng = generator(1, "degraded-cellular")
    rates_bps, stays_ms = (0, 9_050, 21_400, 59_200), (3_000, 5_000, 6_000, 4_000)
    onward = ((1, 1), (0, 2), (1, 3), (2, 2))
    times: list[int] = []
    now, state, bits_1000 = 0, 2, 0
    while now < 120_000:
        end = min(now + round(stays_ms[state] * (0.5 + rng.random())), 120_000)
        for at in range(now, end):
            bits_1000 += rates_bps[state]
            if bits_1000 >= 250 * 8 * 1000:
                bits_1000 -= 250 * 8 * 1000
                times.append(at + 1)
        now, state = end, onward[state][int(rng.random() * 2)]
    if times[-1] != 120_000:
        times.append(120_000)
    return "".join(f"{line}\n" for line in [*HEAD.splitlines(), *times])


HEAD = """\
# A cell's edge: made, not measured, by degraded_cellular() in tests/test_presets.py (seed 1), which a test
# compares with this file. One line for each 250 bytes that may leave, in milliseconds; 120 s, then again.
# The rate is one of 0 bit/s (a stall), 9,050 (GPRS CS-1), 21,400 (CS-4) and 59,200 (EDGE MCS-9), each for 0.5
# to 1.5 times 3, 5, 6 and 4 s; from the second and third it goes up or down with equal chance.
# quantum_bytes: 250
"""


def test_the_shipped_trace_is_what_its_recipe_makes() -> None:
    assert (TRACES / "degraded-cellular.down").read_text() == degraded_cellular()


def test_the_shipped_trace_is_a_bad_cell() -> None:
    trace = read_trace(TRACES / "degraded-cellular.down")
    gaps = [later - earlier for earlier, later in zip((0, *trace.times_ms), trace.times_ms, strict=False)]
    assert trace.quantum_bytes == 250
    assert trace.period_ms == 120_000
    assert 18_000 < trace.mean_bps < 18_500
    assert min(gaps[1:-1]) >= 250 * 8 * 1000 // 59_200
    assert sum(gap > 1_500 for gap in gaps) >= 3


def test_read_trace_takes_mahimahis_format(tmp_path: Path) -> None:
    file = tmp_path / "hand.down"
    file.write_text("0\n831\n880\n880\n950\n")
    assert read_trace(file) == Trace((0, 831, 880, 880, 950), 1504)
    file.write_text("# by hand\n# quantum_bytes: 40\n5\n")
    assert read_trace(file) == Trace((5,), 40)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""), ("0\n", ""), ("1\n\n2\n", ":2"), ("3\n2\n", ":2"), ("1.5\n", ":1"),
        ("-1\n", ":1"), ("# quantum_bytes: 0\n1\n", ":1"), ("1\n# quantum_bytes: 9\n", ":2"),
    ],
)  # fmt: skip
def test_read_trace_names_the_line_that_is_wrong(text: str, line: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.down"
    file.write_text(text)
    with pytest.raises(UsageError, match=f"bad.down{line}: "):
        read_trace(file)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the measured traces are not part of the project")
def test_read_trace_takes_measured_traces() -> None:
    files = sorted(SHARED.iterdir())
    for file in files:
        trace = read_trace(file)
        assert trace.quantum_bytes == 1504
        assert trace.mean_bps > 100_000
