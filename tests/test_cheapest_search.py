"""The search for the cheapest link alone: bisection, the share that is kept and its interval, what is walked."""

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
import sweeps

from link.codecs import SYNTAXES
from link.codecs.syntax import EVERY_CODEC
from link.errors import UsageError
from link.seeds import generator
from scenarios import schema
from scenarios.cheapest import search
from scenarios.cheapest.question import Question
from scenarios.cheapest.trial import share_kept
from scenarios.cheapest.walk import walk

pytestmark = pytest.mark.usefixtures("cache_folder")


# The search alone


@dataclass(frozen=True)
class Made:
    cost: search.Cost | None
    enough: bool


def draw_grid(seed, settings=12, rungs=9):
    """A grid that is as the search assumes: costs that never fall along the rungs, and a least rung that is enough."""
    rng = generator(seed, "grid")
    grid = {}
    for setting in range(settings):
        least = int(rng.integers(0, rungs + 2))
        costs = np.cumsum(rng.integers(0, 4, rungs)) + rng.integers(1, 9)
        unfit = int(rng.integers(0, 3))
        for rung in range(rungs):
            cost = None if rung < min(unfit, least) else (float(costs[rung]), float(rung))
            grid[setting, rung] = Made(cost, rung >= least)
    return grid


def asked(grid, wanted=4, settings=12, rungs=9, own=4):
    looked = []

    def look(places):
        looked.extend(places)
        return {place: grid[place] for place in places}

    return search.search(settings, rungs, own, wanted, look), looked


def costs_of(known, wanted=4):
    return sorted({known[place].cost for place in search.ranked(known)})[:wanted]


def test_the_search_finds_what_the_whole_grid_has():
    counts = []
    for seed in range(300):
        grid = draw_grid(seed)
        known, looked = asked(grid)
        assert costs_of(known) == costs_of(grid), seed
        assert search.ranked(known)[:1] == search.ranked(grid)[:1], seed
        assert len(looked) == len(set(looked)), "nothing is looked at twice"
        assert not search.broken(grid)[1]
        counts.append(len(looked))
    assert 0.15 < np.mean(counts) / 108 < 0.4, "of the grid's cells"


def test_one_setting_is_bisected():
    for least in range(65):
        grid = {(0, rung): Made((float(rung), 0.0), rung >= least) for rung in range(64)}
        known, looked = asked(grid, settings=1, rungs=64, own=20)
        assert costs_of(known) == ([(float(least), 0.0)] if least < 64 else [])
        assert len(looked) <= 2 + math.ceil(math.log2(64)) + 1, (
            "the first two, the halves, one above the answer"
        )
        if least < 63:
            assert (0, least + 1) in known, "the rung above is looked at too"


def test_what_is_not_as_assumed_is_told():
    grid = {(0, rung): Made((float(rung), 0.0), rung in (2, 4)) for rung in range(5)}
    known, _ = asked(grid, settings=1, rungs=5, own=2)
    pairs, breaks = search.broken(known)
    assert [(one.lower, one.higher, one.what) for one in breaks] == [((0, 2), (0, 3), "enough")]
    assert pairs == math.comb(len(known), 2)
    falling = {(0, 0): Made((5.0, 0.0), False), (0, 1): Made((4.0, 0.0), True)}
    assert [one.what for one in search.broken(falling)[1]] == ["cost"]


def test_it_ends_where_no_more_may_be_looked_at():
    grid = draw_grid(7)
    everything, order = asked(grid)
    for most in range(len(order)):
        left = [most]

        def look(places, left=left):
            given = places[: left[0]]
            left[0] -= len(given)
            return {place: grid[place] for place in given}

        known = search.search(12, 9, 4, 4, look)
        assert len(known) == most
        assert known.items() <= everything.items()


# The share that is kept


def frames(accuracies, ideals, sequences=10, seed=1):
    return [
        {
            "frame": at,
            "name": f"world:mars:{seed}#{at}",
            "sequence": f"drive-{at % sequences}",
            "segmentation_truth_stats": json.loads(sweeps.segmentation(one)),
            "segmentation_ideal_stats": json.loads(sweeps.segmentation(other)),
            "segmentation_original_stats": json.loads(sweeps.segmentation(one)),
        }
        for at, (one, other) in enumerate(zip(accuracies, ideals, strict=True))
    ]


def question(**more):
    return Question(**{"scenario": "mars-relay", "task": "segmentation", "keep": 0.8, **more})


def test_the_share_is_of_the_score_on_originals_and_paired_with_it():
    rng = generator(3, "frames")
    ideals = rng.uniform(0.5, 0.95, 40)
    kept = share_kept(question(), [frames(ideals * 0.9, ideals)])
    assert kept.share == pytest.approx(kept.score / kept.ideal)
    assert kept.low < kept.share < kept.high
    alone = share_kept(question(reference="original"), [frames(ideals * 0.9, ideals)])
    assert alone.ideal == 1.0 and alone.share == alone.score
    spread = (alone.high - alone.low) / alone.share
    assert (kept.high - kept.low) / kept.share < 0.5 * spread, "hard frames are hard for both: that cancels"
    surer = share_kept(question(confident=0.99), [frames(ideals * 0.9, ideals)])
    assert surer.low < kept.low and surer.high > kept.high
    twice = share_kept(question(), [frames(ideals * 0.9, ideals)] * 2)
    assert (twice.share, twice.low, twice.high) == pytest.approx((kept.share, kept.low, kept.high))


def test_the_interval_holds_the_true_share_about_as_often_as_it_says():
    rng = generator(11, "trials")
    inside = 0
    for _ in range(150):
        ideals = rng.uniform(0.6, 0.9, 20)
        received = np.clip(ideals * 0.8 + rng.normal(0, 0.05, 20), 0, 1)
        found = share_kept(question(), [frames(received, ideals, sequences=20)])
        x = rng.uniform(0.6, 0.9, 100_000)
        true = sweeps.miou(float((x * 0.8).mean())) / sweeps.miou(float(x.mean()))
        inside += found.low <= true <= found.high
    assert 0.86 <= inside / 150 <= 0.99


def test_what_cannot_be_judged_is_said():
    with pytest.raises(UsageError, match="three frames at least, and 2 are scored"):
        share_kept(question(), [frames([0.5] * 2, [0.9] * 2, sequences=1)])
    rows = [{**row, "segmentation_truth_stats": None} for row in frames([0.5] * 5, [0.9] * 5)]
    with pytest.raises(UsageError, match="no truth of it: --against original"):
        share_kept(question(), [rows])
    with pytest.raises(UsageError, match="of the originals is 0"):
        share_kept(question(), [frames([0.5] * 5, [0.0] * 5)])


# What is walked


def test_a_codec_says_itself_what_it_can_send():
    for name in SYNTAXES:
        scenario = schema.load("mars-relay", ["analysis=[depth]"], {"codec.name": name})
        syntax = SYNTAXES[name]
        for field, values in syntax.choices(scenario).items():
            assert syntax.facts.reads(field) and field not in EVERY_CODEC
            assert list(values) == sorted(set(values))
            for value in values:
                schema.load("mars-relay", [f"codec.{field}={value}"], {"codec.name": name})
    assert SYNTAXES["gsc"].choices(schema.load("mars-relay"))["channels"] == (0, 1, 2, 4, 8, 16, 32)
    assert SYNTAXES["gsc"].choices(schema.load("mars-relay", ["codec.caption=none"]))["channels"][0] == 1
    assert SYNTAXES["jpeg"].choices(schema.load("mars-relay")) == {}


def test_settings_of_every_codec_are_walked_and_what_is_set_stays():
    found = walk(question())
    assert found.walked == {
        "codec.channels": (0, 1, 2, 4, 8, 16, 32),
        "link.repair.fec": (0.0, 0.2, 0.4),
        "link.repair.protection": ("equal", "unequal"),
    }
    assert len(found.settings) == 7 * 5, "without repair packets there is nothing to split"
    assert found.settings[0].told == {
        "codec.channels": 8,
        "link.repair.fec": 0.2,
        "link.repair.protection": "equal",
    }
    assert found.ladder.path == "link.rate_bps"
    own = found.ladder.values
    assert own[found.ladder.own] == 500.0
    assert own[0] * 0.8 * 60 / 8 <= 32 and own[-1] * 0.8 * 60 >= 256 * 192, (
        "32 bytes a frame to a bit per pixel"
    )
    assert walk(question(codecs=("jpeg",))).walked == {"link.repair.fec": (0.0, 0.2, 0.4)}
    several = walk(question(codecs=("findings", "gsc"), settings=("link.repair.fec=0.1", "codec.channels=4")))
    assert several.walked == {
        "codec.name": ("findings", "gsc"),
        "link.repair.protection": ("equal", "unequal"),
    }
    lossless = walk(question(scenario="bandwidth", codecs=("webp",)))
    assert len(lossless.settings) == 1
    assert "nothing is lost on the way, so no repair is sent" in lossless.notes
    aged = walk(question(codecs=("webp",), age_s=700.0))
    assert aged.walked["camera.period_s"] == (15.0, 30.0, 60.0, 120.0, 240.0)


def test_of_a_physical_link_the_power_is_walked():
    found = walk(question(scenario="orbiter-uhf", source="world:moon", task="depth", codecs=("webp",)))
    hop = schema.load("orbiter-uhf").link.hops[0]
    assert (found.ladder.path, found.ladder.unit, found.ladder.words(found.ladder.own)) == (
        "power",
        "dB",
        "+0 dB",
    )
    powers = [rung["link.hops.0.budget.power_w"] for rung in found.ladder.rungs]
    assert powers[found.ladder.own] == pytest.approx(hop.budget.power_w)
    assert powers == sorted(powers) and powers[-1] / powers[0] == pytest.approx(10**2.4)
    assert any("follow from the budget" in note for note in found.notes)
    rates = [
        schema.load("orbiter-uhf", [], rung).link.hops[0].rate_bps
        for rung in (found.ladder.rungs[0], found.ladder.rungs[-1])
    ]
    assert rates[0] < rates[1], "more power, more rate"
    assert "--by link takes the least" in found.notes[-1]
    one = walk(question(scenario="cellular-degraded", source="world:mars", codecs=("webp",)))
    assert one.ladder.values[0] > 0 and len(one.ladder.values) == 1
    assert any("trace" in note for note in one.notes)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"task": "tracking"}, "--task 'tracking': one of segmentation, depth, detection"),
        ({"keep": 0.0}, "--keep 0: a share above 0"),
        ({"keep": 80.0}, "--keep 80: a share above 0 and at most 1"),
        ({"confident": 1.0}, "--confident 1: a level between 0 and 1"),
        ({"age_s": -1.0}, "--age -1: seconds above 0"),
    ],
)  # fmt: skip
def test_a_question_out_of_range_is_refused(more, words):
    with pytest.raises(UsageError, match=words):
        question(**more)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"vary": {"link.rate_bps": [100], "link.hops.0.rate_bps": [1]}}, "one ladder is walked"),
        ({"vary": {"link.rate_bps": [100, -3]}}, "numbers above 0"),
        ({"settings": ("analysis=[depth]",)}, "segmentation is not among it"),
        ({"source": "testcard"}, "no segmentation model comes with farlink"),
        ({"codecs": ("gcs",)}, "did you mean 'gsc'"),
    ],
)  # fmt: skip
def test_what_cannot_be_walked_is_refused(more, words):
    with pytest.raises(UsageError, match=words):
        walk(question(**more))
