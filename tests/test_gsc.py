"""GSC: the payload syntax with generic tables, the choice of channels, and both ends on the shipped weights."""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from compressai.models import FactorizedPrior
from hypothesis import given, settings
from hypothesis import strategies as st

from link import journal, transform
from link.bitstream import latent
from link.codecs import SYNTAXES, gsc
from link.codecs.gsc import Transmission
from link.config import Codec, Session
from link.errors import ModelMissingError, UsageError
from link.fingerprint import fingerprint, short
from link.frame import Frame, Payload
from link.models import transform_folder
from link.png import decode as decode_png
from link.seeds import generator
from link.threads import one_thread
from scenarios import run as runs
from scenarios import schema
from sender.camera.testcard import TestCard
from sender.codecs.gsc import GscEncoder
from sender.transform import AnalysisTransform, similarity

WIDTH, HEIGHT = 256, 192
SHAPE = (12, 16)
N = 32
GENERIC = latent.LatentTables.generic(N)


def codec(**fields):
    return Codec.model_validate({"name": "gsc", "frame_bytes": 100_000, **fields})


def session(profile=None, **fields):
    return Session.model_validate(
        {
            "name": "test",
            "camera": {"width": WIDTH, "height": HEIGHT},
            "codec": {"name": "gsc", "frame_bytes": 100_000, **fields},
            "profile": profile or {},
            "link": {"hops": [{"name": "hop", "rate_bps": 1000}]},
            "seed": 3,
        }
    )


def some_maps(channels, seed=1):
    rng = generator(seed, "maps")
    return (
        rng.integers(-3, 4, (len(channels), *SHAPE)) * (rng.random((len(channels), *SHAPE)) < 0.2)
    ).astype(np.int32)


def sent_of(how, channels, caption="bright street"):
    return Transmission(caption, tuple(sorted(channels)), some_maps(sorted(channels)))


# The syntax


@pytest.mark.parametrize("order", ["nested", "ssim"])
@pytest.mark.parametrize("caption", ["grammar", "vlm", "none"])
@pytest.mark.parametrize("count", [0, 1, 8, 32])
def test_what_was_written_is_read(order, caption, count):
    if caption == "none" and count == 0:
        return
    how = codec(order=order, caption=caption, channels=count)
    channels = (
        range(count) if order == "nested" else sorted(generator(count, "ids").permutation(N)[:count].tolist())
    )
    sent = sent_of(how, channels)
    payload = gsc.write(how, sent, GENERIC, list(sent.channels))
    found = gsc.read(how, payload, SHAPE, GENERIC)
    assert found.caption == (None if caption == "none" else sent.caption)
    assert found.channels == sent.channels
    assert np.array_equal(found.maps, sent.maps)
    kinds = [SYNTAXES["gsc"].kind(how, at) for at in range(len(payload.sections))]
    expected = (
        ["caption"] * (caption != "none") + ["ids"] * (order == "ssim" and count > 0) + ["channels"] * count
    )
    assert kinds == expected


@pytest.mark.parametrize("order", ["nested", "ssim"])
def test_each_section_stands_alone(order):
    how = codec(order=order)
    channels = list(range(8)) if order == "nested" else [1, 4, 5, 9, 17, 20, 30, 31]
    sent = sent_of(how, channels)
    payload = gsc.write(how, sent, GENERIC, channels)
    first = 1 if order == "nested" else 2
    for lost in range(len(payload.sections)):
        holed = tuple(None if at == lost else section for at, section in enumerate(payload.sections))
        found = gsc.read(how, Payload(holed), SHAPE, GENERIC)
        assert (found.caption is None) == (lost == 0)
        if lost >= first:
            kept = [channel for at, channel in enumerate(channels) if at + first != lost]
            assert list(found.channels) == kept
            assert all(
                np.array_equal(found.maps[at], sent.maps[channels.index(c)]) for at, c in enumerate(kept)
            )
        elif lost == 1:
            assert found.channels == (), "without their ids channels have no place"


@pytest.mark.parametrize("order", ["nested", "ssim"])
def test_a_budget_drops_the_least_important_channels(order):
    channels = [2, 3, 7, 11, 19, 23, 29, 31] if order == "ssim" else list(range(8))
    priority = channels[::-1] if order == "ssim" else channels
    whole = gsc.write(codec(order=order), sent_of(None, channels), GENERIC, priority)
    assert whole.size_bytes > 150
    for budget in (40, 80, 120, 150):
        how = codec(order=order, frame_bytes=budget)
        payload = gsc.write(how, sent_of(how, channels), GENERIC, priority)
        assert payload.size_bytes <= budget
        found = gsc.read(how, payload, SHAPE, GENERIC)
        assert 0 < len(found.channels) < 8
        assert set(found.channels) == set(priority[: len(found.channels)])
        assert found.caption == "bright street"


@pytest.mark.parametrize("count", [8, 24, 31, 32])
def test_ids_of_any_number_fit_their_section(count):
    channels = sorted(generator(count, "cut").permutation(N)[:count].tolist())
    how = codec(order="ssim", channels=count)
    whole = gsc.write(how, sent_of(how, channels), GENERIC, channels)
    for budget in range(60, whole.size_bytes, 37):
        cut = codec(order="ssim", channels=count, frame_bytes=budget)
        payload = gsc.write(cut, sent_of(cut, channels), GENERIC, channels)
        assert payload.size_bytes <= budget
        found = gsc.read(cut, payload, SHAPE, GENERIC)
        assert list(found.channels) == channels[: len(found.channels)]
        assert len(found.channels) == len(payload.sections) - 2 > 0


@pytest.mark.parametrize(
    "fields", [{"caption": "vlm", "frame_bytes": 3}, {"caption": "none", "frame_bytes": 10}]
)
def test_a_budget_that_nothing_fits_is_refused(fields):
    how = codec(**fields)
    with pytest.raises(ValueError, match=r"too small: about \d+ bytes"):
        gsc.write(how, sent_of(how, range(8), "bright street with cars"), GENERIC, range(8))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.binary(max_size=40)), max_size=12), st.sampled_from(["nested", "ssim"])
)
def test_any_bytes_are_read_as_something(sections, order):
    found = gsc.read(codec(order=order), Payload(tuple(sections)), SHAPE, GENERIC)
    assert found.maps.shape == (len(found.channels), *SHAPE)
    assert set(found.channels) <= set(range(N))


def test_nothing_to_send_is_refused():
    with pytest.raises(UsageError, match="codec: channels 0 and caption none: nothing would be sent"):
        schema.load("mars-relay", ("codec.channels=0", "codec.caption=none"))
    assert schema.load("mars-relay", ("codec.channels=0", "codec.caption=none", "codec.name=webp")), (
        "not of webp"
    )


# The choice of channels


def reference_ssim(one, other, size=7):
    """SSIM as its definition says, window by window."""
    values = []
    for top in range(one.shape[0] - size + 1):
        for left in range(one.shape[1] - size + 1):
            a = one[top : top + size, left : left + size].ravel()
            b = other[top : top + size, left : left + size].ravel()
            c1, c2 = 0.01**2, 0.03**2
            cov = np.cov(a, b)
            values.append(
                (2 * a.mean() * b.mean() + c1) * (2 * cov[0, 1] + c2)
                / ((a.mean() ** 2 + b.mean() ** 2 + c1) * (cov[0, 0] + cov[1, 1] + c2))
            )  # fmt: skip
    return float(np.mean(values))


def unit(values):
    return (values - values.min()) / max(1e-12, values.max() - values.min())


def test_similarity_is_ssim_of_all_channels_at_once():
    pixels = TestCard(WIDTH, HEIGHT, 1).frame(0)
    grey = pixels.astype(np.float64) @ [0.299, 0.587, 0.114]
    small = grey.reshape(12, 16, 16, 16).mean((1, 3))
    rng = generator(1, "similarity")
    maps = rng.integers(-5, 6, (6, *SHAPE)).astype(np.int32)
    maps[3] = np.round(small / 20)
    maps[4] = 0
    found = similarity(maps, pixels)
    expected = [
        0.0 if at == 4 else reference_ssim(unit(m.astype(float)), unit(small)) for at, m in enumerate(maps)
    ]
    assert found == pytest.approx(expected, abs=2e-4)
    assert int(found.argmax()) == 3
    assert found[3] > 0.9


# Both ends, on the shipped weights


@cache
def encoder(**fields):
    from sender.codecs import ENCODERS

    return ENCODERS["gsc"](session(**fields))


@cache
def decoder(**fields):
    from receiver.codecs import DECODERS

    return DECODERS["gsc"](session(**fields))


@cache
def card(number=0):
    return TestCard(WIDTH, HEIGHT, 1).frame(number)


def psnr_db(one, other):
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


def test_a_frame_is_some_tens_of_bytes():
    payload = encoder().encode(Frame(0, 0, card(), "card"))
    assert len(payload.sections) == 9
    assert 10 < payload.size_bytes <= 300
    found = decoder(steps=2).received(payload)
    assert "test card" in found.caption
    assert found.channels == tuple(range(8))


@pytest.mark.parametrize("order", ["nested", "ssim"])
@pytest.mark.parametrize("budget", [12, 40, 90])
def test_the_encoder_keeps_to_its_budget(order, budget):
    payload = encoder(order=order, frame_bytes=budget).encode(Frame(0, 0, card(), "card"))
    assert 0 < payload.size_bytes <= budget
    found = decoder(order=order, frame_bytes=budget, steps=1).received(payload)
    assert "test card" in found.caption
    assert len(found.channels) == sum(kind_of(order, at) == "channels" for at in range(len(payload.sections)))


def kind_of(order, number):
    return SYNTAXES["gsc"].kind(codec(order=order), number)


def test_an_encoder_remembers_nothing():
    one = encoder().encode(Frame(0, 0, card(), "card"))
    encoder().encode(Frame(1, 0, card(17)[::-1].copy(), "other"))
    assert encoder().encode(Frame(2, 9, card(), "again")) == one


@pytest.mark.parametrize(
    ("fields", "there", "worth"),
    [
        ({}, "", False),
        ({}, "0", True),
        ({}, "2", True),
        ({"order": "ssim"}, "0", True),
        ({"order": "ssim"}, "23", False),
        ({"order": "ssim"}, "12", True),
        ({"order": "ssim"}, "1", False),
        ({"caption": "none"}, "0", True),
        ({"caption": "none", "order": "ssim"}, "1", False),
        ({"caption": "none", "order": "ssim"}, "01", True),
    ],
)
def test_what_is_worth_showing_is_what_the_decoder_can_draw(fields, there, worth):
    payload = encoder(**fields).encode(Frame(0, 0, card(), "card"))
    kept = Payload(tuple(part if str(at) in there else None for at, part in enumerate(payload.sections)))
    assert SYNTAXES["gsc"].worth_showing(codec(**fields), kept) == worth
    assert (decoder(steps=1, **fields).decode(kept) is not None) == worth


@pytest.mark.slow
def test_pictures_that_start_from_others_and_are_refined_are_alike_in_three_processes(tmp_path):
    """Each starts from the one drawn last, refined ones too: an order that the run's clock gives."""
    digests = set()
    for transport in ("inproc", "zmq"):
        hop = {
            "name": "air",
            "rate_bps": 500,
            "delay_s": 600,
            "loss": {"model": "pattern", "pattern": "..x" + "." * 99},
        }
        wanted = {
            "camera.source": "testcard", "camera.frames": 2, "codec.steps": 2, "codec.strength": 0.5,
            "link.hops": [hop], "link.mtu_bytes": 64, "link.repair.arq": True, "link.repair.fec": 0.0,
        }  # fmt: skip
        plan = schema.load("mars-relay", [], wanted)
        folder = runs.prepare(tmp_path / transport, plan)
        assert runs.execute(plan, folder, transport=transport) is None
        found = journal.read(folder / "run.mcap")
        shown = [event for event in found.events if event["kind"] == "decoded"]
        assert [(event["frame"], event.get("refines", False)) for event in shown] == [
            (0, False), (1, False), (0, True),
        ]  # fmt: skip
        digests.add(journal.digest(folder / "run.mcap"))
    assert len(digests) == 1


@pytest.mark.slow
def test_three_processes_draw_what_one_draws(tmp_path):
    digests = set()
    for transport in ("inproc", "zmq"):
        wanted = {"camera.source": "testcard", "camera.frames": 2, "codec.steps": 2}
        plan = schema.load("mars-relay", ["analysis=[]"], wanted)
        folder = runs.prepare(tmp_path / transport, plan)
        assert runs.execute(plan, folder, transport=transport) is None
        found = journal.read(folder / "run.mcap")
        assert len(found.pictures["received"]) == 2
        digests.add(journal.digest(folder / "run.mcap"))
    assert len(digests) == 1


def run_with(out, transport, **variables):
    """Run a frame with models of every kind in an environment without `OMP_NUM_THREADS` but with *variables*."""
    environment = {
        key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    }
    code = "from scenarios.cli import main; main()"
    options = ["--source", "world:mars", "--frames", "1", "--set", "codec.steps=2", "--set", "analysis=all"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, "run", *options, "--transport", transport, "--out", str(out), "--json"],
        env={**environment, **variables}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)["digest"], journal.digest(out / "run.mcap")


@pytest.mark.slow
@pytest.mark.timeout(900)  # three whole runs, each of which loads every shipped model
def test_the_journal_depends_on_no_number_of_threads(tmp_path):
    one = run_with(tmp_path / "one", "zmq")  # as users run it
    assert run_with(tmp_path / "three", "inproc", OMP_NUM_THREADS="3") == one
    other, _ = run_with(tmp_path / "other", "inproc", ATEN_CPU_CAPABILITY="default")
    assert other["link"] == one[0]["link"], (
        "another kind of processor rounds pictures otherwise, and nothing else"
    )


def test_networks_compute_with_one_thread_and_leave_the_setting_as_it_was(monkeypatch):
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(3)
    try:
        inner = AnalysisTransform.from_pretrained(transform_folder(session()))
        monkeypatch.setattr(
            inner._network, "forward", lambda given: seen.append(torch.get_num_threads()) or given
        )
        inner(card())
        assert (seen, torch.get_num_threads()) == ([1], 3)
        with pytest.raises(ZeroDivisionError), one_thread():
            _ = 1 / 0
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_the_same_seed_and_sections_give_the_same_picture():
    payload = encoder().encode(Frame(0, 0, card(), "card"))
    one = decoder(steps=2).decode(payload)
    assert one.shape == (HEIGHT, WIDTH, 3)
    decoder(steps=2).decode(encoder().encode(Frame(1, 0, card(9), "other")))
    assert np.array_equal(decoder(steps=2).decode(payload), one)


def test_every_subset_of_sections_decodes():
    payload = encoder().encode(Frame(0, 0, card(), "card"))
    rng = generator(1, "drops")
    for _ in range(8):
        kept = tuple(s if rng.random() > 0.3 else None for s in payload.sections)
        shown = decoder(steps=1).decode(Payload(kept))
        assert shown is not None
        assert shown.shape == (HEIGHT, WIDTH, 3)
    for only in range(len(payload.sections)):
        kept = tuple(s if at == only else None for at, s in enumerate(payload.sections))
        assert decoder(steps=1).decode(Payload(kept)) is not None
    assert decoder(steps=1).decode(Payload((None,) * 9)) is None
    assert decoder(steps=1).decode(Payload(())) is None


def drawn(number):
    """A street under a sky: two rows of houses, a road between them, cars of another colour and place in each."""
    rng = generator(number, "drawn")
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / np.array([HEIGHT, WIDTH])[:, None, None]
    end = 0.35 + 0.3 * rng.random()
    rgb = np.stack([150 + 60 * y, 180 + 40 * y, 220 + 0 * y], -1)
    rgb[(y > 0.5 - 0.9 * np.maximum(0, np.abs(x - end) - 0.12)) & (y < 0.6)] = rng.integers(60, 130, 3)
    rgb[y > 0.55] = 70
    rgb[(y > 0.55) & (np.abs(x - end) > 0.1 + 1.2 * (y - 0.5))] = 110
    at = 0.2 + 0.6 * rng.random()
    rgb[(np.abs(x - at) < 0.08) & (np.abs(y - 0.66) < 0.07)] = rng.integers(0, 255, 3)
    return np.clip(rgb, 0, 255).astype(np.uint8)


@pytest.mark.slow
def test_more_channels_are_better_by_degrees():
    quality = {}
    for count in (0, 1, 4, 8, 16):
        scores = []
        for number in range(4):
            pixels = drawn(number)
            payload = encoder(channels=16).encode(Frame(number, 0, pixels, "drawn"))
            kept = (*payload.sections[: count + 1], *[None] * (16 - count))
            scores.append(psnr_db(decoder(channels=16).decode(Payload(kept)), pixels))
        quality[count] = float(np.mean(scores))
    assert all(more > less - 0.5 for less, more in pairwise(quality.values())), quality
    assert 4.0 < quality[8] - quality[0] < 13.0, quality


@pytest.mark.slow
@pytest.mark.parametrize("size", [(320, 240), (200, 120), (64, 48)])
def test_other_sizes(size):
    plan = session(steps=1).model_copy(
        update={"camera": session().camera.model_copy(update={"width": size[0], "height": size[1]})}
    )
    from receiver.codecs import DECODERS

    pixels = TestCard(size[0], size[1], 1).frame(0)
    payload = encoder().encode(Frame(0, 0, pixels, "card"))
    assert DECODERS["gsc"](plan).decode(payload).shape == pixels.shape


@pytest.mark.parametrize(
    ("frame", "coded"),
    [
        ((256, 192), (256, 192)),
        ((1024, 768), (512, 384)),
        ((100, 75), (256, 192)),
        ((300, 225), (256, 192)),
        ((1280, 720), (256, 144)),
        ((1000, 100), (256, 144)),
        ((100, 1000), (512, 384)),
    ],
)
def test_a_frame_is_coded_at_the_size_most_like_it_that_is_known(frame, coded, tmp_path):
    made = FactorizedPrior(8, 12)
    transform.save(tmp_path, made, {"N": 8, "M": 12}, [(256, 192), (512, 384), (256, 144)])
    assert transform.coded_size(tmp_path, frame) == coded
    assert transform.load(tmp_path, "synthesis") is not None
    transform.save(tmp_path, made, {"N": 8, "M": 12})
    assert transform.coded_size(tmp_path, frame) == frame, "a transform that states no sizes takes them all"


@pytest.mark.parametrize(
    "sizes", ["[[256]]", "[[256, 192.5]]", "[[8, 8]]", "256", '[["256", "192"]]', "[[true, 192]]"]
)
def test_sizes_that_are_none_are_refused(sizes, tmp_path):
    (tmp_path / "config.json").write_text(f'{{"_class_name": "FactorizedPrior", "_sizes": {sizes}}}')
    with pytest.raises(ModelMissingError, match="_sizes"):
        transform.coded_size(tmp_path, (256, 192))


def test_no_model_is_shown_a_size_that_it_was_not_made_for():
    seen = []

    class Watched(AnalysisTransform):
        def __call__(self, pixels):
            seen.append(pixels.shape)
            return super().__call__(pixels)

    plan = session(order="ssim", caption="none")
    inner = Watched.from_pretrained(transform_folder(plan))
    sender = GscEncoder(plan.codec, inner, GENERIC, None, SYNTAXES["gsc"].coded_size(plan))
    sender.encode(Frame(0, 0, TestCard(512, 384, 1).frame(0), "card"))
    assert seen == [(HEIGHT, WIDTH, 3)]


def test_other_sizes_than_the_models_know_are_told_of(tmp_path):
    for size, said in (((128, 96), "scaled to 256×192"), ((256, 192), None)):
        overrides = {"camera.frames": 1, "codec.steps": 1, "camera.width": size[0], "camera.height": size[1]}
        plan = schema.load("mars-relay", [], overrides)
        folder = runs.prepare(tmp_path / str(size[0]), plan)
        figures = runs.run(plan, folder, transport="inproc").metrics
        found = journal.read(folder / "run.mcap")
        assert found.head["coded_size"] == {"width": 256, "height": 192}
        (png,) = found.pictures["received"].values()
        assert decode_png(png).shape == (size[1], size[0], 3)
        note = figures["notes"].get("coded_size")
        assert said in note if said else note is None
        page = (folder / "report.html").read_text("utf-8")
        assert ("scaled to 256×192" in page) == bool(said)


def test_more_channels_than_there_are_is_a_usage_error():
    with pytest.raises(UsageError, match=r"codec.channels 33: .* has 32"):
        encoder(channels=33)


def test_other_weights_have_another_fingerprint(tmp_path):
    copy = tmp_path / "transform"
    shutil.copytree(transform_folder(session()), copy)
    same = session(profile={"transform": str(copy)})
    assert fingerprint(same) == fingerprint(session())
    blob = bytearray((copy / "synthesis.safetensors").read_bytes())
    blob[-1] ^= 1
    other = tmp_path / "other"
    shutil.copytree(copy, other)
    (other / "synthesis.safetensors").write_bytes(blob)
    changed = session(profile={"transform": str(other)})
    assert fingerprint(changed) != fingerprint(session())
    assert short(fingerprint(changed)) != short(fingerprint(session()))


def test_missing_models_are_named(tmp_path):
    with pytest.raises(ModelMissingError, match="nowhere"):
        fingerprint(session(profile={"transform": str(tmp_path / "nowhere")}))
    from receiver.codecs import DECODERS

    with pytest.raises(ModelMissingError, match="transformer"):
        DECODERS["gsc"](session(profile={"generator": str(tmp_path)}))
