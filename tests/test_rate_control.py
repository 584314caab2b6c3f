"""Rate control: the choice against a slow obvious one, its table, and whole runs with a toy table."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import toys
from hypothesis import given, settings
from hypothesis import strategies as st

from link import journal, timing
from link.channel.path import hop_loss, path_loss
from link.config import Codec, Session
from link.errors import ModelMissingError, UsageError
from link.fingerprint import fingerprint
from link.frame import Frame, Payload
from link.packet import FEC_BYTES, HASH_BYTES
from scenarios import run as runs
from scenarios import schema
from scenarios.models import rate_table as rate_models
from sender import calibration
from sender.calibration import Calibration
from sender.camera.testcard import TestCard
from sender.captioner import describe
from sender.encoder import Quality
from sender.rate_control import (
    LinkState,
    RateControl,
    choose,
    link_state,
    stamps,
)
from sender.sender import Sender

CODEC = {"profile": "tiny", "order": "nested", "caption": "grammar"} | {
    "steps": 8,
    "guidance": 1.0,
    "control_scale": 1.0,
}


def toy_table(**changes):
    """Shares that grow with channels and words, fall with loss, the more the more packets a setting needs."""
    channels, words, losses = (0, 1, 2, 4, 8, 16), (4, 12, 24), (0.0, 0.1, 0.3)
    size = 3.0 + 14.0 * np.array(channels)[:, None] + 0.5 * np.array(words)[None, :]
    shares = {}
    for task, strength in (("segmentation", 0.6), ("depth", 0.3)):
        fresh = 1 - strength * np.exp(-size / 60.0)
        shares[task] = np.stack([fresh * (1 - loss) ** (1 + size / 200) for loss in losses], axis=2)
    table = Calibration(
        codec=CODEC,
        measured={"source": "toy"},
        models={},
        channels=channels,
        words=words,
        losses=losses,
        ages=(0, 1, 2, 4, 8),
        payload_bytes=size,
        shares=shares,
        decay={
            "segmentation": np.array([1, 0.9, 0.85, 0.7, 0.5]),
            "depth": np.array([1, 0.95, 0.9, 0.8, 0.7]),
        },
    )
    return replace(table, **changes)


WIDE = LinkState(period_bytes=1e6, loss=0.0, body_bytes=120, overhead_bytes=8)


# The choice, against one that is written as the definition says


def residual(n, spare, loss):
    """The share of data packets that stay lost, over every pattern's count of losses."""
    total = n + spare
    if spare == 0:
        return loss
    return sum(
        math.comb(total, lost) * loss**lost * (1 - loss) ** (total - lost) * lost / total
        for lost in range(spare + 1, total + 1)
    )


def share_at(values, losses, loss):
    knots, heights = [*losses, 1.0], [*values, 0.0]
    return float(np.interp(loss, knots, heights))


def slow_rows(table, link, alpha, beta, tasks):
    rows = []
    for i, channels in enumerate(table.channels):
        for j, words in enumerate(table.words):
            payload = table.payload_bytes[i, j] * link.scale
            body = payload + 2 * (channels + 1) + HASH_BYTES
            packets = max(1, math.ceil(body / link.body_bytes))
            air = body + packets * link.overhead_bytes
            frames, spare = 1, 0
            if link.fec:
                repair = min(body / packets, link.body_bytes) + link.overhead_bytes + FEC_BYTES
                while frames < link.fec_frames and link.fec * air * frames < repair:
                    frames += 1
                spare = max(1, int(link.fec * air * frames / repair))
                air += max(link.fec * air, repair / link.fec_frames)
            lost = residual(packets * frames, spare, link.loss)
            if link.arq_rounds:
                air += air * lost * sum(link.loss**turn for turn in range(link.arq_rounds))
                lost *= link.loss**link.arq_rounds
            for every in range(1, table.ages[-1] + 2):
                values = []
                for task in tasks:
                    fresh = share_at(table.shares[task][i, j], table.losses, lost)
                    shown = [float(np.interp(age, table.ages, table.decay[task])) for age in range(every)]
                    values.append(fresh * sum(shown) / every)
                if air / every <= link.period_bytes and payload <= link.frame_bytes:
                    cost = alpha * np.mean([abs(1 - value) for value in values]) + beta * air / every / 1000
                    rows.append((cost, air / every, every, channels, words, float(np.mean(values))))
    return rows


links = st.builds(
    LinkState,
    period_bytes=st.floats(20, 2000),
    loss=st.floats(0, 0.95),
    body_bytes=st.integers(16, 400),
    overhead_bytes=st.sampled_from([8, 14]),
    fec=st.sampled_from([0.0, 0.2, 1.0]),
    arq_rounds=st.sampled_from([0, 1, 4]),
    frame_bytes=st.sampled_from([60, 1 << 30]),
    scale=st.floats(0.5, 2.0),
)
weight = st.floats(0, 10)


@settings(max_examples=150, deadline=None)
@given(links, weight, weight, st.sampled_from(["segmentation", "depth", "mean"]))
def test_the_choice_is_the_best_of_all(link, alpha, beta, task):
    table = toy_table()
    tasks = ("depth", "segmentation") if task == "mean" else (task,)
    rows = slow_rows(table, link, alpha, beta, tasks)
    found = choose(table, link, alpha, beta, task)
    if not rows:
        assert (found.channels, found.words) == (0, 4)
        assert found.air_bytes <= link.period_bytes
        return
    ((cost, air, _, _, _, share),) = [
        row for row in rows if row[2:5] == (found.every, found.channels, found.words)
    ]
    assert cost == pytest.approx(min(rows)[0], rel=1e-9, abs=1e-12)
    assert (found.air_bytes, found.share) == pytest.approx((air, share), rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(links, st.lists(st.floats(0, 20), min_size=2, max_size=5))
def test_dearer_bytes_never_make_more_of_them(link, betas):
    table = toy_table()
    sizes = [choose(table, link, 1.0, beta, "segmentation").air_bytes for beta in sorted(betas)]
    assert all(less <= more * (1 + 1e-9) for more, less in pairwise(sizes))


def test_without_a_weight_on_the_task_the_least_is_sent_and_without_one_on_bytes_the_best():
    table = toy_table()
    least = choose(table, WIDE, 0.0, 1.0, "mean")
    assert (least.channels, least.words, least.every) == (0, 4, 9)
    best = choose(table, WIDE, 1.0, 0.0, "mean")
    assert (best.channels, best.words, best.every) == (16, 24, 1)
    assert best.share == pytest.approx(np.mean([v[-1, -1, 0] for v in table.shares.values()]))
    assert choose(table, WIDE, 0.0, 0.0, "mean") == least, "of equals the one with the fewest bytes"


def test_equal_settings_go_to_the_fewest_bytes():
    table = toy_table()
    flat = {task: np.full_like(values, 0.8) for task, values in table.shares.items()}
    found = choose(replace(table, shares=flat), WIDE, 1.0, 0.0, "depth")
    assert (found.channels, found.words, found.every) == (0, 4, 1)


def test_accuracy_over_that_on_originals_is_a_difference_too():
    """Equation (2) has an absolute value: a share of 1.3 is further away than one of 0.9."""
    table = toy_table()
    shares = {task: np.full_like(values, 1.3) for task, values in table.shares.items()}
    for values in shares.values():
        values[2, 1] = 0.9
    found = choose(
        replace(table, shares=shares, ages=(0,), decay={t: np.ones(1) for t in shares}), WIDE, 1, 0, "mean"
    )
    assert (found.channels, found.words) == (2, 12)


def test_a_narrow_link_is_never_overrun():
    table = toy_table()
    for capacity in (2, 5, 11, 20, 60, 130, 400):
        found = choose(table, replace(WIDE, period_bytes=capacity), 1.0, 0.0, "segmentation")
        assert found.air_bytes <= capacity
    rare = choose(table, replace(WIDE, period_bytes=0.5), 1.0, 0.0, "segmentation")
    assert (rare.channels, rare.words) == (0, 4)
    assert rare.every == math.ceil((3 + 2 + 2 + 8 + HASH_BYTES) / 0.5), (
        "nothing fits: the cheapest, as seldom as it must be"
    )
    assert rare.air_bytes <= 0.5


def test_a_still_scene_is_sent_seldom_and_a_moving_one_often():
    table = toy_table()
    narrow = replace(WIDE, period_bytes=40)
    still = replace(table, decay={task: np.ones(5) for task in table.decay})
    gone = replace(table, decay={task: np.array([1, 0.3, 0.2, 0.1, 0.0]) for task in table.decay})
    rich, quick = (choose(one, narrow, 1.0, 0.0, "segmentation") for one in (still, gone))
    assert rich.every > quick.every == 1
    assert rich.channels > quick.channels


def test_loss_shifts_the_choice():
    table = toy_table()
    # Under loss what needs many packets falls apart: caption and one channel stay.
    fragile = np.stack([table.shares["depth"][..., 0], np.zeros((6, 3)), np.zeros((6, 3))], axis=2)
    fragile[1, :, 1:] = 0.6
    table = replace(table, shares={"depth": fragile}, decay={"depth": table.decay["depth"]})
    clean, lossy = (choose(table, replace(WIDE, loss=loss), 1.0, 0.0, "depth") for loss in (0.0, 0.1))
    assert clean.channels == 16 and lossy.channels == 1
    repaired = choose(table, replace(WIDE, loss=0.1, arq_rounds=4), 1.0, 0.0, "depth")
    assert repaired.channels == 16, "what is asked for again is not lost"


@pytest.mark.parametrize(("alpha", "beta"), [(-1.0, 0.0), (1.0, -0.5), (math.nan, 0.0)])
def test_weights_below_zero_are_refused(alpha, beta):
    with pytest.raises(UsageError, match="expected 0 or more"):
        choose(toy_table(), WIDE, alpha, beta, "mean")


def test_a_task_that_was_not_measured_is_named():
    with pytest.raises(UsageError, match=r"codec.task detection: the rate table has depth, segmentation"):
        choose(toy_table(), WIDE, 1.0, 0.1, "detection")


# The table's file


def test_what_is_written_is_read(tmp_path):
    table = toy_table()
    (tmp_path / "rate.json").write_text(table.to_json())
    found = calibration.read(tmp_path / "rate.json")
    assert (found.channels, found.words, found.losses, found.ages) == (
        (0, 1, 2, 4, 8, 16),
        (4, 12, 24),
        (0.0, 0.1, 0.3),
        (0, 1, 2, 4, 8),
    )
    assert np.allclose(found.payload_bytes, table.payload_bytes, rtol=1e-5)
    assert all(np.allclose(found.shares[t], table.shares[t], rtol=1e-5) for t in table.shares)
    assert found.to_json() == table.to_json()


def broken(text, change):
    tree = json.loads(text)
    change(tree)
    return json.dumps(tree)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.update(version=2), "version 2; this farlink reads 1"),
        (lambda t: t.update(format="other"), "not a farlink rate table"),
        (lambda t: t.pop("losses"), "the field 'losses' is missing"),
        (lambda t: t["codec"].pop("order"), "the field 'order' is missing"),
        (lambda t: t["bytes"].pop(), r"bytes: expected \(6, 3\) numbers, got \(5, 3\)"),
        (lambda t: t["bytes"][0].__setitem__(0, -3), "bytes: expected finite numbers"),
        (lambda t: t["shares"]["depth"][0][0].__setitem__(0, math.nan), "shares.depth: expected finite"),
        (lambda t: t["bytes"][0].pop(), "inhomogeneous"),
        (lambda t: t["decay"].pop("depth"), "the same tasks"),
        (lambda t: t.update(channels=[4, 2]), "channels: expected numbers in ascending order"),
        (lambda t: t.update(words=7), "another kind"),
        (lambda t: t.update(losses=[0.1, 0.2, 0.3]), "losses and ages"),
    ],
)
def test_a_damaged_table_is_one_line(tmp_path, change, said):
    path = tmp_path / "rate.json"
    path.write_text(broken(toy_table().to_json(), change))
    with pytest.raises(UsageError, match=said) as error:
        calibration.read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_every_truncation_of_a_table_is_found(tmp_path):
    path = tmp_path / "rate.json"
    text = toy_table().to_json().rstrip()
    for size in range(0, len(text), 37):
        path.write_text(text[:size])
        with pytest.raises(UsageError, match="cut short"):
            calibration.read(path)
    path.write_bytes(b"\xff" * 10)
    with pytest.raises(UsageError, match="rate table"):
        calibration.read(path)
    path.write_bytes(b" " * (calibration.MAX_BYTES + 1))
    with pytest.raises(UsageError, match="over 1048576 bytes"):
        calibration.read(path)
    with pytest.raises(ModelMissingError, match="farlink train rate"):
        calibration.read(tmp_path / "none.json")


def test_the_table_is_cut_to_what_may_be_sent():
    rows = toy_table().within(4, 13)
    assert (rows.channels, rows.words, rows.payload_bytes.shape) == ((0, 1, 2, 4), (4, 12), (4, 2))
    assert choose(rows, WIDE, 1.0, 0.0, "mean").quality == Quality(4, 12)
    with pytest.raises(UsageError, match=r"codec.caption_words 3: the rate table begins with 4"):
        toy_table().within(8, 3)


# The link, as a scenario says it and as feedback corrects it


def plan(tmp_path=None, table=None, codec=None, camera=None, link=None, **more):
    tree = {
        "name": "test",
        "camera": {"period_s": 10, "frames": 6, **(camera or {})},
        "codec": {"rate_control": "task", "channels": 16, "steps": 1, **(codec or {})},
        "link": {"hops": [{"name": "air", "rate_bps": 400, "delay_s": 1}], **(link or {})},
        **more,
    }
    if tmp_path is not None:
        own = {
            "steps": 1,
            **{key: tree["codec"][key] for key in ("caption", "order") if key in tree["codec"]},
        }
        path = tmp_path / "rate.json"
        path.write_text(replace(table or toy_table(), codec=CODEC | own).to_json())
        tree["profile"] = {"rate_table": str(path)}
    return schema.resolve(schema.Scenario.model_validate(tree))


def test_the_link_of_a_scenario():
    hops = [
        {"name": "one", "rate_bps": 800, "loss": {"model": "bernoulli", "loss": 0.2}},
        {"name": "two", "rate_bps": 400, "loss": {"model": "pattern", "pattern": "..x."}},
        {"name": "three", "rate_bps": 4000, "outage": {"up_s": 30, "down_s": 10}},
    ]
    found = plan(link={"hops": hops, "mtu_bytes": 64})
    state = link_state(found, timing.times(found, {}))
    assert state.loss == pytest.approx(1 - 0.8 * 0.75 * 0.75)
    assert state.period_bytes == pytest.approx(0.8 * 400 * 10 / 8)
    assert (state.body_bytes, state.overhead_bytes, state.arq_rounds) == (56, 8, 0)
    flips = plan(link={"hops": [{"name": "air", "rate_bps": 10, "bit_error_rate": 1e-4}]})
    assert path_loss(flips.link) == pytest.approx(1 - (1 - 1e-4) ** (8 * 128))
    held = {"name": "air", "rate_bps": 100, "outage": {"up_s": 30, "down_s": 10, "hold": True}}
    assert hop_loss(plan(link={"hops": [held]}).link.hops[0], 128) == 0


def control(link=WIDE, table=None, **more):
    return RateControl(table or toy_table(), link, (1.0, 0.0), "mean", **more)


def test_feedback_and_real_sizes_correct_what_was_thought():
    told = control(replace(WIDE, loss=0.01))
    for _ in range(100):
        told.heard(10, 4)
    assert 0.35 < told.link.loss < 0.41
    for _ in range(300):
        told.heard(10, 0)
    assert told.link.loss < 0.01
    narrow = control(replace(WIDE, period_bytes=150))
    before = narrow.choice
    for _ in range(20):
        narrow.sent(narrow.choice, round(2 * narrow.choice.payload_bytes))
    assert 1.9 < narrow.link.scale < 2.1
    after = narrow.choice
    assert after.payload_bytes < before.payload_bytes
    assert 2 * after.payload_bytes / after.every < 150


def test_every_nth_frame_is_sent():
    found = control(replace(WIDE, period_bytes=3.1))
    every = found.choice.every
    assert every > 2
    sent = [found.next() is not None for _ in range(3 * every)]
    assert sent == [at % every == 0 for at in range(3 * every)]


# The sender


class ToyAdjustable(toys.ToyEncoder):
    def __init__(self, extra=0):
        super().__init__()
        self.asked, self.extra = [], extra

    def encode_at(self, frame, quality):
        self.asked.append(quality)
        size = round(3 + 14 * quality.channels + 0.5 * quality.words)
        return Payload(toys.sections(frame.number, 1, size + self.extra))


def sender_of(session, encoder, own, frames=20):
    waits = timing.times(session, {})
    return Sender(session, waits, toys.shots(frames), encoder, fingerprint(session), toys.no_clock, own)


def test_the_sender_leaves_frames_out_and_keeps_its_pace():
    session = toys.session({"hops": [{"name": "air", "rate_bps": 100}]}, period_s=5)
    encoder, own = ToyAdjustable(), control(replace(WIDE, period_bytes=8), warnings=("the table is old",))
    sender = sender_of(session, encoder, own, 12)
    every, now, events = own.choice.every, 0, []
    assert every > 1
    while now is not None:
        out = sender.step(now, [])
        events += out.events
        now = out.next_ns
    assert [event.fields["reason"] for event in events if event.kind == "warned"] == ["the table is old"]
    encoded = [event for event in events if event.kind == "encoded"]
    skipped = [event for event in events if event.kind == "skipped"]
    assert len(encoded) + len(skipped) == 12 and len(encoded) == len(encoder.asked)
    assert [event.frame for event in encoded] == list(range(len(encoded))), "numbers on the wire have no gaps"
    captured = [event.time_ns // 10**9 for event in events if event.kind in ("captured", "skipped")]
    assert captured == [5 * at for at in range(12)]
    assert all(event.frame is None and event.fields["by"] == "rate_control" for event in skipped)
    quality = encoded[0].fields["quality"]
    assert (quality["channels"], quality["words"]) == (encoder.asked[0].channels, encoder.asked[0].words)
    assert quality["every"] == every and 0 < quality["share"] < 1


def test_naks_tell_the_loss():
    hop = {"name": "air", "rate_bps": 1e5, "delay_s": 0.1, "loss": {"model": "pattern", "pattern": "..x"}}
    link = {"hops": [hop], "mtu_bytes": 32, "return": {"rate_bps": 1e4}, "repair": {"arq": True}}
    session = toys.session(link, period_s=20)
    own = control(replace(WIDE, body_bytes=24, loss=0.0, arq_rounds=4))
    waits = timing.times(session, {})
    sender = sender_of(session, ToyAdjustable(), own, 40)
    _, receiver = toys.cores(session, 1)
    del waits
    from link.conductor import Conductor

    class Quiet:
        def __getattr__(self, name):
            return lambda *_: None

    quiet: Any = Quiet()
    Conductor(session, {}, sender, receiver, quiet).run()
    assert 0.2 < own.link.loss < 0.45, own.link.loss


def test_an_encoder_that_cannot_be_told_is_refused():
    session = toys.session({"hops": [{"name": "air", "rate_bps": 100}]})
    with pytest.raises(UsageError, match="does not let itself be adjusted"):
        sender_of(session, toys.ToyEncoder(), control())


# Settings, and both ends


def test_the_settings_are_the_senders_own():
    one = plan(codec={"rate_control": "bytes"})
    for change in ({"rate_control": "task", "beta": 3.0}, {"rate_control": "fixed", "task": "depth"}):
        other = one.model_copy(update={"codec": one.codec.model_copy(update=change)})
        assert fingerprint(other) == fingerprint(one)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("codec.beta=-1", "codec.beta: input should be greater than or equal to 0, not -1"),
        (
            "codec.task=speed",
            "codec.task: input should be 'segmentation', 'depth', 'detection' or 'mean', not 'speed'",
        ),
        ("codec.rate_control=auto", "codec.rate_control: input should be 'bytes', 'fixed' or 'task'"),
        ("codec.alpha=.inf", "codec.alpha: input should be"),
    ],
)
def test_bad_settings_are_one_line(setting, said):
    with pytest.raises(UsageError, match=said.replace(".", r"\.")) as error:
        schema.load("mars-relay", [setting])
    assert "\n" not in str(error.value)


def test_a_derived_budget_does_not_bind_what_is_chosen_otherwise():
    narrow = {"hops": [{"name": "air", "rate_bps": 8}]}
    assert plan(link=narrow, codec={"rate_control": "bytes"}).codec.frame_bytes < 20
    assert (
        plan(link=narrow).codec.frame_bytes
        == plan(link=narrow, codec={"rate_control": "fixed"}).codec.frame_bytes
        == 100_000
    )
    assert plan(link=narrow, codec={"name": "webp"}).codec.frame_bytes < 20, (
        "classical codecs keep to the bytes"
    )
    own = plan(codec={"frame_bytes": 300})
    assert own.codec.frame_bytes == link_state(own, timing.times(own, {})).frame_bytes == 300


def encoder(**fields):
    from sender.codecs import ENCODERS

    return ENCODERS["gsc"](plan(codec={"rate_control": "bytes", **fields}))


def card(number=0):
    return Frame(number, 0, TestCard(256, 192, 1).frame(number), "card")


@pytest.mark.parametrize("order", ["nested", "ssim"])
def test_fixed_sends_all_whatever_it_costs(order):
    cut = encoder(order=order, channels=16, frame_bytes=40).encode(card())
    fixed = encoder(order=order, channels=16, frame_bytes=40, rate_control="fixed").encode(card())
    free = encoder(order=order, channels=16, frame_bytes=100_000).encode(card())
    assert cut.size_bytes <= 40 < fixed.size_bytes
    assert fixed == free


@pytest.mark.parametrize("order", ["nested", "ssim"])
def test_the_receiver_reads_what_was_chosen(order):
    from receiver.codecs import DECODERS

    session = plan(codec={"order": order, "channels": 16})
    decoder: Any = DECODERS["gsc"](session)
    whole = encoder(order=order, channels=16)
    sizes = []
    for channels, words in ((0, 4), (1, 4), (1, 12), (7, 12), (16, 24)):
        payload = whole.encode_at(card(), Quality(channels, words))
        found = decoder.received(payload)
        assert len(found.channels) == channels and len(found.caption.split()) <= words
        sizes.append(payload.size_bytes)
    assert sizes[0] < sizes[2] < sizes[4]
    assert whole.encode_at(card(), Quality(16, 24)) == whole.encode(card())


def test_captions_are_shortened_to_their_first_words():
    from sender.codecs.gsc import shorten

    words = Codec(caption="vlm")
    assert shorten(words, "a grey road, under trees", 3) == "a grey road"
    assert shorten(words, "a road", 3) == "a road"
    labels = np.repeat(np.array([0, 1, 5, 3], np.uint8), 8)[:, None].repeat(32, 1)
    pixels = np.repeat(labels[..., None] * np.uint8(40), 3, axis=2)
    long = describe(labels, pixels, 24).sentence()
    for most in (3, 6, 10, 24):
        short = shorten(Codec(caption="grammar"), long, most)
        assert short == describe(labels, pixels, most).sentence()
        assert len(short.split()) <= most
    assert len(long.split()) > 12


def run(tmp_path, name, **more):
    found = plan(tmp_path, **more)
    folder = runs.prepare(tmp_path / name, found)
    told = []
    assert runs.execute(found, folder, transport="inproc", progress=told.append) is None
    return journal.read(folder / "run.mcap"), journal.digest(folder / "run.mcap"), told


def test_a_whole_run_by_the_task(tmp_path):
    first, digest, told = run(tmp_path, "one", codec={"beta": 0.5})
    again, same, _ = run(tmp_path, "two", codec={"beta": 0.5})
    assert digest == same
    qualities = [event["quality"] for event in toys.kinds(first, "encoded")]
    assert qualities and all(quality["channels"] <= 16 for quality in qualities)
    assert len(toys.kinds(first, "decoded")) == len(qualities)
    assert not toys.kinds(first, "warned") and not [record for record in told if record["kind"] == "warned"]
    dear, _, _ = run(tmp_path, "dear", codec={"beta": 50.0})
    cheap = [event["quality"] for event in toys.kinds(dear, "encoded")]
    assert cheap[0]["air_bytes"] < qualities[0]["air_bytes"]
    assert len(toys.kinds(dear, "skipped")) + len(cheap) == 6
    from scenarios.results import cell
    from scenarios.results.judge import analyse

    figures = cell.make(dear, analyse, lambda _link: {}).figures
    assert figures["frames"]["sent"] == len(cheap)
    assert sum(figures["bytes"]["payload"].values()) <= first.head["scenario"]["codec"]["frame_bytes"]


def test_other_models_are_told_of_and_not_silent(tmp_path):
    table = toy_table(
        models={**stamps(plan()), "captioner": "0123456789abcdef", "generator": "not the sender's"}
    )
    found, _, told = run(tmp_path, "run", table=table, camera={"frames": 1})
    (event,) = toys.kinds(found, "warned")
    assert (
        "captioner" in event["reason"]
        and "0123456789abcdef" in event["reason"]
        and "farlink train rate" in event["reason"]
    )
    lines = [record["reason"] for record in told if record["kind"] == "warned"]
    assert lines[1:] == [event["reason"]] and "the table has not the sender's" in lines[0]


def test_both_ends_know_the_receivers_models_too(tmp_path):
    own = rate_models.model_stamps(plan())
    assert set(own) == {"transform", "captioner", "generator"}
    same = plan(tmp_path, table=toy_table(models=own))
    assert rate_models.find_stale_models(same) == []
    changed = plan(tmp_path, table=toy_table(models={**own, "generator": "00", "captioner": "11"}))
    (line,) = rate_models.find_stale_models(changed)
    assert "the generator model is" in line and "the table has 00" in line, (
        "the captioner is the sender's to tell"
    )
    fixed = changed.model_copy(update={"codec": changed.codec.model_copy(update={"rate_control": "fixed"})})
    assert rate_models.find_stale_models(fixed) == []


def test_a_table_of_other_settings(tmp_path):
    session = plan(tmp_path)
    waits = timing.times(session, {})
    assert RateControl.from_session(session, waits).warnings == ()
    more = session.model_copy(update={"codec": session.codec.model_copy(update={"steps": 4})})
    (line,) = RateControl.from_session(more, waits).warnings
    assert "codec.steps is 4, the table has 1" in line
    other = session.model_copy(update={"codec": session.codec.model_copy(update={"caption": "none"})})
    with pytest.raises(UsageError, match=r"measured with codec.caption grammar, not none"):
        RateControl.from_session(other, waits)
    lacking = session.model_copy(update={"codec": session.codec.model_copy(update={"task": "detection"})})
    with pytest.raises(UsageError, match=r"codec.task detection"):
        RateControl.from_session(lacking, waits)
    nowhere = Session.model_validate(
        {**session.session().model_dump(by_alias=True), "profile": {"rate_table": str(tmp_path / "no.json")}}
    )
    with pytest.raises(ModelMissingError, match=r"profile\.rate_table"):
        RateControl.from_session(nowhere, waits)
