"""Repair packets over windows, blocks that share bursts, fountains: from the sender's choice to what arrives."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import toys
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import ToyDecoder, ToyEncoder, cores, kinds, run

from link.config import Session
from link.hops import Link, Repair
from link.packet import Kind, overhead, peek
from link.repair import fec
from link.repair.windows import Law, PacketClasses, assign, expected_quality, solve
from receiver.blocks import Block
from scenarios.results.traffic import packets
from sender.protection import Protection, configured_law

S = 1_000_000_000
HOP = {"name": "air", "rate_bps": 4000, "delay_s": 1, "queue": {"limit_bytes": 1 << 22}}
GAINS = (0.25, 0.25, 0.1, 0.1, 0.1, 0.04, 0.04, 0.04, 0.04, 0.04)


class WeighedEncoder(ToyEncoder):
    """Ten sections of a packet each, two of which are worth as much as all others."""

    def __init__(self):
        super().__init__(10, 100)

    def gains(self, sections):
        return GAINS[:sections]


def link(loss=None, **repair):
    return {"mtu_bytes": 128, "hops": [{**HOP, **({"loss": loss} if loss else {})}], "repair": repair}


def session(loss=None, period_s=10.0, **repair):
    return toys.session(link(loss, **repair), period_s=period_s, frame_bytes=1000)


def prefix_worth(payload):
    """Return what the sections before the first that is missing are worth."""
    worth = 0.0
    for section, gain in zip(payload.sections, GAINS, strict=False):
        if section is None:
            break
        worth += gain
    return worth


# Windows on the wire


@settings(deadline=None)
@given(st.data())
def test_a_window_is_solved_by_as_many_packets_as_it_lacks_and_two_more(data):
    counts = tuple(
        data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=4).filter(lambda c: max(c) > 1))
    )
    bodies = [bytes([65 + place]) * (1 + place % 7) for place in range(sum(counts))]
    window = data.draw(st.integers(1, max(counts) - 1))
    choice = data.draw(st.lists(st.sampled_from([window, None]), min_size=1, max_size=8))
    made = fec.encode(counts, bodies, len(choice), choice)
    assert [fec.split(body)[::2] for body in made] == [(counts, own) for own in choice]
    places = fec.places(counts, window)
    lost = data.draw(st.sets(st.sampled_from(places), max_size=len(places)))
    block = Block(0, counts)
    for number, body in enumerate(made):
        block.symbols[number], block.windows[number] = fec.split(body)[1], choice[number]
    held, at = {}, 0
    for frame, count in enumerate(counts):
        held[frame] = {index: bodies[at + index] for index in range(count) if at + index not in lost}
        at += count
    found = block.restore(lambda frame: held[frame])
    for frame, own in found.items():
        assert all(bodies[sum(counts[:frame]) + index] == body for index, body in own.items())
    if not lost or choice.count(window) >= len(lost) + 2 or choice.count(None) >= len(lost) + 2:
        assert block.done and sum(map(len, found.values())) == sum(counts)


def test_a_solved_window_helps_the_next():
    """Two of the first two and one of the last are lost; the first window gives two back, the second the third."""
    bodies = [bytes([n]) * 9 for n in range(5)]
    made = fec.encode((5,), bodies, 4, [2, 2, 2, None])
    block = Block(0, (5,))
    for number, body in enumerate(made):
        block.symbols[number], block.windows[number] = fec.split(body)[1], fec.split(body)[2]
    have = {index: bodies[index] for index in (2, 4)}
    assert block.count_lacking(lambda _: have) == 2, "the packets of a window make up for nothing outside it"
    assert block.restore(lambda _: have) == {0: dict(enumerate(bodies))}
    assert block.done


@pytest.mark.parametrize("body", ["0002000231aa", "000002 31aa", "00030231aa", "000102 10aa", "0001", "00"])
def test_windows_that_cannot_be_are_refused(body):
    with pytest.raises(ValueError):
        fec.split(bytes.fromhex(body))


def test_a_window_costs_two_bytes_and_packets_keep_to_the_mtu(tmp_path):
    assert len(fec.head((10,), 2)) - len(fec.head((10,))) == 2
    found = run(session({"model": "bernoulli", "loss": 0.3}, fec=0.5, protection="unequal"),
                tmp_path / "run.mcap", 6, WeighedEncoder())  # fmt: skip
    assert max(map(len, found.data.values())) <= 128
    windows = [fec.split(peek(data).body)[2] for data in found.data.values() if peek(data).kind == Kind.FEC]
    assert None not in windows[:5] and set(windows) - {None}


# What is chosen, and what it is worth


def test_windows_follow_gains_and_loss():
    one = [GAINS]
    assert set(assign((10,), one, 2, Law(0.2), alone=False)) == {5}
    assert set(assign((10,), one, 8, Law(0.1), alone=False)) == {None}
    assert assign((1,), [(1.0,)], 3, Law(0.2), alone=False) == [None] * 3
    assert assign((10,), [(0.0,) * 10], 3, Law(0.2), alone=False) == [None] * 3
    assert assign((10,), one, 0, Law(0.2), alone=False) == []
    uneven = assign((3, 10, 0), [GAINS[:3], GAINS, ()], 5, Law(0.3), alone=False)
    assert len(uneven) == 5 and all(window is None or 0 < window < 10 for window in uneven)


def test_the_law_is_the_larger_of_configured_and_measured():
    plan = Link.model_validate(link({"model": "bernoulli", "loss": 0.1}, fec=0.2, protection="unequal"))
    protection = Protection.from_link(plan, WeighedEncoder())
    assert protection.law == Law(0.1)
    for _ in range(100):
        protection.heard(10, 3)
    assert protection.law == Law(0.3)
    for _ in range(300):
        protection.heard(10, 0)
    assert protection.law == Law(0.1)
    assert Protection.from_link(plan, ToyEncoder()) is None, "who knows no worth is protected equally"


def test_bursts_count_where_most_of_the_loss_comes_in_bursts():
    burst = {"model": "gilbert_elliott", "loss": 0.2, "mean_burst": 4}
    assert configured_law(Link.model_validate(link(burst))) == Law(0.2, 4.0)
    hops = [
        {**HOP, "loss": {**burst, "loss": 0.01}},
        {**HOP, "name": "b", "loss": {"model": "bernoulli", "loss": 0.2}},
    ]
    assert configured_law(Link.model_validate({"mtu_bytes": 128, "hops": hops})).mean_burst == 1.0
    assert configured_law(Link.model_validate({"mtu_bytes": 128, "hops": [HOP]})) == Law(0.0)


FRAMES = 600


def worths(**repair):
    """Return what arrives of each frame at 20 % of independent losses is worth, and the bytes on the air."""
    decoder, rng = ToyDecoder(), np.random.default_rng(11)
    sender, receiver = cores(
        session({"model": "bernoulli", "loss": 0.2}, **repair), FRAMES, WeighedEncoder(), decoder
    )
    size, now = 0, 0
    for frame in range(FRAMES + 1):  # one period more: what is still open closes
        packets_ = sender.step(frame * 10 * S, []).packets if frame < FRAMES else []
        lost = rng.random(20) < 0.2  # the same losses for all, packet by packet of a frame
        size += sum(map(len, packets_))
        arrivals = [(at, data) for at, data in enumerate(packets_) if not lost[at]]
        now = frame * 10 * S + S
        receiver.step(now, arrivals)
    receiver.step(now + 1000 * S, [])
    return np.array([prefix_worth(payload) for payload in decoder.payloads]), size


def test_at_equal_bytes_windows_are_worth_more_than_one_code_and_than_none():
    """Ten packets and two repair packets at 20 % loss: the wire gives what the solver expects."""
    share = 0.2
    equal, equal_bytes = worths(fec=share)
    unequal, bytes_ = worths(fec=share, protection="unequal")
    none, _ = worths()
    assert abs(bytes_ / equal_bytes - 1.0) < 0.02
    assert len(equal) == len(unequal) == len(none) == FRAMES
    parts = PacketClasses((2, 3, 5), (0.5, 0.3, 0.2))
    split = solve(parts, 2, Law(0.2))
    expected = {
        "none": expected_quality(parts, (0, 0, 0), Law(0.2)),
        "unequal": expected_quality(parts, split, Law(0.2)),
    }
    rng = np.random.default_rng(0)
    picks = rng.integers(0, FRAMES, (2000, FRAMES))
    for other in (equal, none):
        low, _high = np.quantile((unequal - other)[picks].mean(1), [0.005, 0.995])
        assert low > 0.03
    # Prefixes that end within a class count here, and a repair packet more falls due now and then.
    assert expected["none"] - 0.02 < none.mean() < expected["none"] + 0.15
    assert expected["unequal"] - 0.04 < unequal.mean() < expected["unequal"] + 0.1


def test_at_forty_per_cent_it_is_a_draw_at_least():
    equal, _ = worths(fec=0.4)
    unequal, _ = worths(fec=0.4, protection="unequal")
    picks = np.random.default_rng(0).integers(0, FRAMES, (2000, FRAMES))
    low, _high = np.quantile((unequal - equal)[picks].mean(1), [0.005, 0.995])
    assert low > -0.03


def test_a_block_over_more_frames_shares_a_burst(tmp_path):
    """Frames of ten packets at 10 % in bursts of 4: more are whole where eight of them share their repair packets."""
    whole = {}
    for spread in (1, 8):
        plan = session({"model": "gilbert_elliott", "loss": 0.1, "mean_burst": 4}, fec=0.4, fec_spread=spread)
        found = run(plan, tmp_path / "run.mcap", 320, WeighedEncoder())
        whole[spread] = np.mean([event["complete"] for event in kinds(found, "closed")])
        sizes = Counter(item.kind for item in packets(found))
        assert sizes[Kind.FEC] / sizes[Kind.DATA] == pytest.approx(0.37, abs=0.02), (
            "repair packets are as long as the longest"
        )
        blocks = {
            len(fec.split(peek(data).body)[0]) for data in found.data.values() if peek(data).kind == Kind.FEC
        }
        assert min(blocks) >= spread
    assert whole[8] > whole[1] + 0.05


def test_a_frame_of_one_packet_pays_its_share_and_no_more(tmp_path):
    found = run(session(fec=0.2), tmp_path / "run.mcap", 80, ToyEncoder(1, 90))
    sizes = Counter(item.kind for item in packets(found))
    assert sizes[Kind.FEC] / sizes[Kind.DATA] == pytest.approx(0.2, abs=0.03)


# Fountains


@pytest.mark.parametrize("protection", ["equal", "unequal"])
def test_a_fountain_fills_the_time_until_the_next_frame(tmp_path, protection):
    plan = session({"model": "bernoulli", "loss": 0.5}, fec=0.1, fountain=True, protection=protection)
    decoder = ToyDecoder()
    found = run(plan, tmp_path / "run.mcap", 20, WeighedEncoder(), decoder)
    assert sum(payload.complete for payload in decoder.payloads) >= 19  # of 45 packets 10 are needed
    on_air = sum(item.size_bytes for item in packets(found)) * 8 / 4000
    assert 0.97 * 200 < on_air <= 200
    waited = found.rows[found.rows[:, 2] == 1][:, 4]
    assert waited[waited > 0].max(initial=0) < 3.2 * S, "only a frame's own packets wait for each other"


def test_a_fountain_ends_where_the_next_frame_begins(tmp_path):
    plan = session(fec=0.1, fountain=True)
    sender, _receiver = cores(plan, 2, WeighedEncoder())
    out = sender.step(0, [])
    assert [peek(data).kind for data in out.packets] == [Kind.DATA] * len(out.packets)
    times = []
    while (now := out.next_ns) is not None and now < 10 * S:
        out = sender.step(now, [])
        times += [now] * len(out.packets)
        assert all(peek(data).kind == Kind.FEC for data in out.packets)
    assert len(times) > 25 and len(set(times)) == len(times)
    out = sender.step(10 * S, [])
    assert all(peek(data).frame == 1 and peek(data).kind == Kind.DATA for data in out.packets)


@pytest.mark.parametrize(
    ("repair", "words"),
    [
        ({"protection": "unequal"}, "needs fec"),
        ({"fountain": True}, "needs fec"),
        ({"fec": 0.2, "fec_spread": 9}, "more than fec_frames 8"),
        ({"fec": 0.2, "fountain": True, "arq": True}, "without requests"),
        ({"fec": 0.2, "protection": "some"}, "equal"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(repair, words):
    with pytest.raises(ValueError, match=words):
        Repair.model_validate(repair)


def test_a_fountain_needs_a_period():
    tree = session(fec=0.2, fountain=True).model_dump(by_alias=True)
    tree["camera"]["period_s"] = None
    with pytest.raises(ValueError, match="period_s"):
        Session.model_validate(tree)


def test_what_is_not_used_is_not_written():
    assert set(Repair(fec=0.2).model_dump()) == {
        "fec",
        "fec_frames",
        "arq",
        "arq_rounds",
        "show_early",
        "priorities",
    }
    written = Repair(fec=0.2, fec_spread=2, protection="unequal").model_dump(mode="json")
    assert Repair.model_validate(written) == Repair(fec=0.2, fec_spread=2, protection="unequal")
    assert "fountain" not in written and written["protection"] == "unequal"
    assert overhead("compact") == 8


# What GSC says of its sections


def gsc_encoder(order="nested", caption="grammar", table=True):
    from sender import calibration
    from sender.calibration import table_path
    from sender.codecs.gsc import GscEncoder

    plan = toys.session(link())
    codec = plan.codec.model_copy(update={"name": "gsc", "order": order, "caption": caption, "channels": 8})
    own = calibration.read(table_path(plan)) if table else None
    models: Any = None  # none of them has a say in what sections are worth
    return GscEncoder(codec, models, models, None, (64, 48), own)


def test_the_first_channel_is_worth_most_of_a_frame():
    gains = gsc_encoder().gains(9)
    assert len(gains) == 9 and min(gains) >= 0.0 and gains[0] == 0.0
    assert gains[1] == max(gains) and 0.3 < gains[1] < 0.9
    assert sum(gains) <= 1.0 + 1e-9
    assert gsc_encoder(caption="none").gains(8)[1:] == gains[2:]
    assert gsc_encoder("ssim").gains(10)[:2] == (0.0, 0.0), "caption and the list of channels"
    assert gsc_encoder().gains(1)[0] > 0.0, "a caption alone is all there is"
    assert len(gsc_encoder().gains(60)) == 60


def test_without_a_table_nothing_is_weighed():
    from link.errors import UsageError

    with pytest.raises(UsageError, match="rate table"):
        gsc_encoder(table=False).gains(3)
