"""Hops whose delay and contacts follow from where their ends are: resolved once, carried by the core in whole numbers."""

import json
import subprocess
import sys

import numpy as np
import pytest
import yaml

from link.channel.channel import Channel
from link.channel.delay import MovingDelay
from link.errors import UsageError
from link.events import Fate
from link.hops import HopConfig, Link
from link.timing import times
from scenarios import schema

S = 1_000_000_000
GALE = {"site": {"body": "mars", "latitude_deg": -4.59, "longitude_deg": 137.44}}
MRO = {"orbit": {"body": "mars", "periapsis_km": 255, "apoapsis_km": 320, "inclination_deg": 92.65}}
UP = {"ephemeris": [GALE, MRO], "at": "2026-11-20T00:00:00Z"}
ACROSS = {"ephemeris": ["mars", "earth"], "at": "2026-11-20T00:00:00Z"}


def tree(*hops, **more):
    return {
        "name": "test",
        "camera": {"source": "testcard", "period_s": 600, "frames": 20},
        "codec": {"name": "gsc", "frame_bytes": 500},
        "link": {"hops": list(hops), **more},
    }


def resolved(*hops, **more):
    return schema.from_tree(tree(*hops, **more), "test")


def hop(**more):
    return {"name": "air", "rate_bps": 8000, **more}


# The core


def test_a_delay_is_linear_between_knots_and_constant_beyond():
    delay = MovingDelay([(10, 100), (20, 120), (30, 90)])
    assert [delay.at(t) for t in (0, 10, 11, 15, 20, 25, 30, 99)] == [100, 100, 102, 110, 120, 105, 90, 90]


def carry(link, sizes):
    """Send packets of *sizes* at the start of each second; return (sent in full, arrived) of each in ns."""
    channel = Channel(Link.model_validate(link), seed=1)
    for number, size in enumerate(sizes):
        channel.advance(number * S)
        channel.send(bytes(size), number * S)
    while (due := channel.next_ns) is not None:
        channel.advance(due)
    return [
        (row[0], row[1], row[4], row[5])
        for row in sorted(channel.rows, key=lambda row: row[1])
        if row[2] == Fate.CROSSED
    ]


@pytest.mark.parametrize("more", [{}, {"jitter": {"scale_s": 0.001}}, {"queue": {"classes": 2}}])
def test_packets_take_the_delay_of_when_their_last_bit_is_sent(more):
    knots = [(0, 5 * S), (100 * S, 10 * S)]
    sizes = [100] * 50
    rows = carry({"hops": [hop(delay_knots_ns=knots, delay_s=10, **more)]}, sizes)
    assert len(rows) == 50
    for number, (arrived, _, waited, lasted) in enumerate(rows):
        end = number * S + waited + lasted
        late = arrived - end - MovingDelay(knots).at(end)
        assert 0 <= late <= (1_000_000 if "jitter" in more else 0)


def test_nothing_overtakes_where_a_delay_shrinks():
    """The steepest that a delay may shrink: all arrive at once, in their order."""
    rows = carry({"hops": [hop(delay_knots_ns=[(0, 60 * S), (60 * S, 0)], delay_s=60)]}, [10] * 60)
    arrivals = [row[0] for row in rows]
    assert arrivals == sorted(arrivals) and arrivals[-1] - arrivals[0] <= 60
    with pytest.raises(ValueError, match="cannot shrink faster than time"):
        HopConfig.model_validate(hop(delay_knots_ns=[(0, 61 * S), (60 * S, 0)]))
    with pytest.raises(ValueError, match="rising in time"):
        HopConfig.model_validate(hop(delay_knots_ns=[(5, 1), (5, 1)]))


def test_a_hop_that_sends_again_waits_for_the_longest_delay():
    """Half of all packets lost, the delay falls from 5 s to 1 s: all are delivered once, in order."""
    about = hop(
        delay_knots_ns=[(0, 5 * S), (200 * S, 1 * S)], delay_s=5,
        loss={"model": "bernoulli", "loss": 0.5}, retransmit={"tries": 30},
    )  # fmt: skip
    channel = Channel(Link.model_validate({"hops": [about]}), seed=3)
    came = []
    for number in range(100):
        came += [data[0] for _, _, data in channel.advance(number * S)]
        channel.send(bytes([number] * 20), number * S)
    while (due := channel.next_ns) is not None:
        came += [data[0] for _, _, data in channel.advance(due)]
    assert came == list(range(100))


def test_a_plain_hop_stays_plain():
    for more, plain in (({}, True), ({"delay_s": 3.0}, True), ({"delay_knots_ns": [(0, 1)]}, False)):
        channel = Channel(Link.model_validate({"hops": [hop(**more)]}), seed=1)
        assert channel._hops[0]._plain is plain


def test_a_delay_that_was_not_reckoned_is_refused():
    with pytest.raises(ValueError, match="was not reckoned"):
        Channel(Link.model_validate({"hops": [hop(delay=ACROSS)]}), seed=1)


def test_a_delay_set_by_hand_takes_the_place_of_the_moving_one():
    link = Link.model_validate({"hops": [hop(delay_knots_ns=[(0, 5 * S), (100 * S, 10 * S)], delay_s=10)]})
    channel = Channel(link, seed=1, steered=True)
    channel.send(bytes(100), 0)
    channel.advance(20 * S)
    lossy = link.hops[0].model_copy(update={"duplicate_ratio": 0.0, "bit_error_rate": 0.1})
    channel.adjust(link.model_copy(update={"hops": (lossy,)}), 1, 20 * S)
    channel.send(bytes(100), 20 * S)
    channel.advance(40 * S)
    set_ = lossy.model_copy(update={"delay_s": 2.0})
    channel.adjust(link.model_copy(update={"hops": (set_,)}), 2, 40 * S)
    channel.send(bytes(100), 40 * S)
    channel.advance(60 * S)
    crossed = [row[0] - row[4] - row[5] for row in channel.rows if row[2] == Fate.CROSSED]
    assert crossed == pytest.approx([5 * S, 26 * S, 42 * S], abs=0.01 * S)


# Resolving: at one body no ephemeris is needed


def test_contacts_become_outages_that_hold():
    plan = resolved(hop(delay=UP, contacts=UP))
    (only,) = plan.link.hops
    assert only.outage.hold
    edges = np.array(only.outage.windows_s)
    assert np.allclose(edges, [(0, 9995), (10_598, 54_108), (54_606, 98_464)], atol=2)
    # Knots in the passes alone; the delay between them is asked for by nobody.
    sent = np.array([knot[0] for knot in only.delay_knots_ns]) / S
    assert ((sent > 9994) & (sent < 99_100)).all() and not ((sent > 10_600) & (sent < 54_100)).any()
    assert only.delay_s == max(delay for _, delay in only.delay_knots_ns) / S
    assert 0.00097 < min(delay for _, delay in only.delay_knots_ns) / S < 0.00099  # 293 km
    assert times(plan, {}).deadline_ns > 43_510 * S  # the longest wait for a contact is in it


def test_what_is_resolved_is_resolved_to_itself():
    plan = resolved(hop(delay=UP, contacts=UP))
    again = schema.from_tree(yaml.safe_load(schema.to_yaml(plan)), "again")
    assert again == plan
    assert "contacts" not in schema.to_yaml(resolved(hop(delay_s=1)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"delay_s": 7.0}, "hop air: delay says how far it is: leave delay_s out"),
        ({"delay_knots_ns": [[0, 1]]}, "hop air: delay_knots_ns are not what delay comes to"),
        ({"outage": {"windows_s": [[0, 5]]}}, "hop air: contacts say when it is down: leave outage out"),
        (
            {"delay": {"ephemeris": ["pluto", "earth"], "at": "2026-11-20T00:00:00Z"}},
            "hop air: there is no body",
        ),
        ({"delay": {"ephemeris": ["mars", "earth"], "at": "2026-11-20"}}, "delay.at: a date needs its zone"),
        ({"delay": {"ephemeris": ["mars", "earth"], "at": "soon"}}, "delay.at: a UTC date was expected"),
        ({"delay": {"ephemeris": ["mars"], "at": "2026-11-20T00:00:00Z"}}, "delay.ephemeris"),
        ({"contacts": {"plan": "x.json"}}, r"contacts\.0: give ephemeris with at, or plan with nodes"),
        ({"contacts": {"plan": "a\rb", "nodes": [1, 2]}}, r"hop air: a\\rb: cannot be read"),
        ({"contacts": {"plan": "none.json", "nodes": [1, 2]}}, "hop air: none.json: cannot be read"),
    ],
)
def test_what_does_not_fit_together_is_one_line(change, says):
    with pytest.raises(UsageError, match=says):
        resolved(hop(**{"delay": UP, "contacts": UP, **change}))


def test_what_is_never_seen_is_one_line():
    north = {"site": {"body": "moon", "latitude_deg": 89, "longitude_deg": 0}}
    flat = {"orbit": {"body": "moon", "periapsis_km": 100, "inclination_deg": 0}}
    contacts = {"ephemeris": [north, flat], "at": "2026-11-20T00:00:00Z"}
    with pytest.raises(UsageError, match=r"see nothing of each other in \d+"):
        resolved(hop(contacts=contacts))


def test_a_run_too_long_to_reckon_is_one_line():
    given = tree(hop(contacts=UP))
    given["camera"]["frames"] = 10**9
    with pytest.raises(
        UsageError, match=r"hop air: contacts: reckoned for 3\.46e\+07 s at most, not for 6e\+11 s: give"
    ):
        schema.from_tree(given, "test")
    given = tree(hop(delay=UP))
    given["camera"]["frames"] = 10**9
    with pytest.raises(UsageError, match="hop air: delay: reckoned for"):
        schema.from_tree(given, "test")


def test_contacts_from_a_plan(tmp_path):
    (tmp_path / "plan.ionrc").write_text(
        "a contact +10 +20 1 2 100\na contact +15 +30 1 2 200\na contact +50 +60 1 2 100\n".replace(
            "+15", "+20"
        )
        + "a range +0 +99 1 2 3\n"
    )
    given = tree(hop(contacts={"plan": "plan.ionrc", "nodes": [1, 2]}))
    plan = schema.from_tree(given, "test", tmp_path)
    assert plan.link.hops[0].outage.windows_s == ((0.0, 10.0), (30.0, 50.0))
    given["link"]["hops"][0]["contacts"]["nodes"] = [2, 3]
    with pytest.raises(UsageError, match="has none from 2 to 3; its nodes are 1, 2"):
        schema.from_tree(given, "test", tmp_path)


# Resolving: between bodies


def test_light_time_to_earth_and_back():
    pytest.importorskip("astropy")
    plan = resolved(hop(delay=ACROSS), **{"return": {"rate_bps": 16}})
    (only,), back = plan.link.hops, plan.link.return_
    assert only.delay_knots_ns[0] == (0, pytest.approx(635.2047 * S, abs=0.002 * S))
    assert back.delay_knots_ns[0] == (0, pytest.approx(635.3007 * S, abs=0.002 * S))
    sent, delays = np.array(only.delay_knots_ns).T
    assert np.polyfit(sent, delays, 1)[0] * 86_400 == pytest.approx(-4.30, abs=0.02)
    assert only.delay_s == only.delay_knots_ns[0][1] / S  # it falls: the first is the longest


def test_the_link_imports_no_astropy():
    """Whoever carries packets reads whole numbers: the processes of a run need no extra."""
    knots = json.dumps(hop(delay_knots_ns=[[0, 5]], delay=ACROSS))
    code = f"""
import json, sys
from link.channel.channel import Channel
from link.hops import Link
Channel(Link.model_validate({{"hops": [json.loads('''{knots}''')]}}), seed=1)
print([name for name in sys.modules if name.startswith(("astropy", "erfa", "scipy", "link.physics.geometry", "link.physics.ephemeris"))])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "[]\n", done.stderr
