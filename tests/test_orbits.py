"""Orbits, stations, passes: the printed ones, closed forms, and astropy's own altitude."""

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from link.errors import UsageError
from link.physics.contacts import LineOfSight, find_windows, knots
from link.physics.orbits import elements
from link.physics.stations import STATIONS_M, site_km, station_km
from link.physics.tracks import PlacedEnd, place_end
from link.places import GroundSite, Orbit, Place

AT = datetime(2026, 11, 20, tzinfo=UTC)
SOL_S = 88_775.244
MRO = {"orbit": {"body": "mars", "periapsis_km": 255, "apoapsis_km": 320, "inclination_deg": 92.65}}
TGO = {"orbit": {"body": "mars", "periapsis_km": 400, "inclination_deg": 74}}
GALE = {"site": {"body": "mars", "latitude_deg": -4.59, "longitude_deg": 137.44}}
POLE = {"site": {"body": "moon", "latitude_deg": -90, "longitude_deg": 0, "mask_deg": 5}}
RELAY = {
    "orbit": {
        "body": "moon", "semi_major_km": 5740, "eccentricity": 0.58, "inclination_deg": 55, "argument_deg": 86,
    }
}  # fmt: skip


def end_of(given):
    return place_end(Place.model_validate(given), AT)


def sight(sender, receiver, **more):
    return LineOfSight(end_of(sender), end_of(receiver), AT, **more)


def test_an_orbiter_over_gale():
    passes = sight(GALE, MRO).passes(10 * SOL_S)
    assert len(passes) == 21
    assert np.mean([item.duration_s for item in passes]) == pytest.approx(435, abs=1)
    edges = [(item.start_s, item.end_s) for item in passes[:3]]
    assert np.allclose(edges, [(9_995, 10_598), (54_108, 54_606), (98_464, 99_063)], atol=2)
    assert [item.highest_deg for item in passes[:3]] == pytest.approx([83.0, 59.3, 69.2], abs=0.3)
    assert [item.nearest_km for item in passes[:3]] == pytest.approx([322, 293, 340], abs=1)


def test_another_over_gale():
    passes = sight(GALE, TGO).passes(10 * SOL_S)
    assert len(passes) == 26
    assert np.mean([item.duration_s for item in passes]) == pytest.approx(581, abs=1)


def test_the_period_and_the_drift_of_its_node():
    found = elements(Orbit.model_validate(MRO["orbit"]))
    assert found.period_s / 60 == pytest.approx(113.27, abs=0.01)
    assert math.degrees(found.node_rate) * 86_400 == pytest.approx(0.5296, abs=1e-4)


def share_over_a_pole(orbit: dict, pole: float, mask_deg: float, radius_km: float = 1737.4) -> float:
    """Return the share of time that *orbit* is above the mask of a pole (1: north, -1: south), Kepler's ellipse alone.

    Even steps of the eccentric anomaly E, each weighed by the time it takes, 1 - e cos E.
    """
    eccentricity, count = orbit["eccentricity"], 1_000_000
    anomaly = (np.arange(count) + 0.5) / count * 2 * np.pi
    time = 1 - eccentricity * np.cos(anomaly)
    along = orbit["semi_major_km"] * (np.cos(anomaly) - eccentricity)
    across = orbit["semi_major_km"] * math.sqrt(1 - eccentricity**2) * np.sin(anomaly)
    turned = math.radians(orbit["argument_deg"])
    height = pole * math.sin(math.radians(orbit["inclination_deg"]))
    height = height * (along * math.sin(turned) + across * math.cos(turned))
    slant = np.sqrt(along**2 + across**2 + radius_km**2 - 2 * radius_km * height)
    return float(time[height - radius_km >= slant * math.sin(math.radians(mask_deg))].sum() / time.sum())


def test_a_relay_over_the_lunar_south_pole():
    relay = end_of(RELAY)
    assert relay.period_s / 3600 == pytest.approx(10.84, abs=0.005)
    passes = sight(POLE, RELAY).passes(20 * relay.period_s)
    # A pole does not turn, so the share follows from Kepler's ellipse alone; J2 moves it by 1e-4 in twenty turns. (A
    # published figure is 0.716, without its step or its span.)
    share = share_over_a_pole(RELAY["orbit"], -1.0, 5.0)
    assert share == pytest.approx(0.7207, abs=5e-5)
    assert sum(item.duration_s for item in passes) / (20 * relay.period_s) == pytest.approx(share, abs=1e-4)
    assert passes[0].duration_s / relay.period_s == pytest.approx(share, abs=2e-5)
    assert (passes[0].start_s / 3600, passes[0].end_s / 3600) == pytest.approx((1.61, 9.43), abs=0.01)
    assert max(item.highest_deg for item in passes) == pytest.approx(47.5, abs=0.2)


def test_half_a_circle_in_the_equator_is_seen_by_the_closed_form():
    """Over a site on the equator: the half angle is acos(R cos m / r) - m, at the relative rate."""
    orbit = {"orbit": {"body": "moon", "periapsis_km": 1000, "inclination_deg": 0}}
    site = {"site": {"body": "moon", "latitude_deg": 0, "longitude_deg": 90, "mask_deg": 7}}
    first = sight(site, orbit).passes(20_000)[0]
    mask, radius = math.radians(7), 1737.4
    half = math.acos(radius * math.cos(mask) / (radius + 1000)) - mask
    found = elements(Orbit.model_validate(orbit["orbit"]))
    rate = found.anomaly_rate + found.argument_rate + found.node_rate - 2 * math.pi / 2_360_591.5
    assert first.duration_s == pytest.approx(2 * half / rate, abs=0.01)  # light is 10 ms on its way
    assert first.highest_deg == pytest.approx(90, abs=0.05)
    assert first.nearest_km == pytest.approx(1000, abs=0.1)


def far(x_km):
    def place(seconds):
        return np.tile([x_km, 0.0, 0.0], (len(seconds), 1))

    return PlacedEnd(
        "far", "mars", place, None, 0.0, None, lambda seconds: np.tile(np.eye(3), (len(seconds), 1, 1))
    )


def test_how_long_mars_hides_an_orbiter_with_the_earth_in_its_plane():
    orbit = {"orbit": {"body": "mars", "periapsis_km": 287.5, "inclination_deg": 0}}
    orbiter = end_of(orbit)
    seen = sum(item.duration_s for item in LineOfSight(orbiter, far(1e9), AT).passes(50 * orbiter.period_s))
    assert 1 - seen / (50 * orbiter.period_s) == pytest.approx(
        math.asin(3396.19 / 3683.69) / math.pi, abs=1e-3
    )
    assert math.asin(3396.19 / 3683.69) / math.pi == pytest.approx(0.3732, abs=1e-3)


def test_a_pass_shorter_than_the_step_is_found():
    def hump(times):
        return 1.0 - np.minimum(((times - 777.7) / 0.4) ** 2, 50.0) - 0.001 * np.abs(times - 777.7)

    ((start, end),) = find_windows(hump, 86_400.0, 300.0)
    assert (start, end) == pytest.approx((777.3, 778.1), abs=1e-3)
    assert find_windows(lambda t: np.full(len(t), -1.0), 100.0, 30.0) == []
    assert find_windows(lambda t: np.full(len(t), 1.0), 100.0, 30.0) == [(0.0, 100.0)]
    assert find_windows(lambda t: np.cos(t * math.pi / 50), 100.0, 30.0) == [
        (0.0, pytest.approx(25)), (pytest.approx(75), 100.0),
    ]  # fmt: skip


def test_stations_are_where_their_latitudes_say():
    for name, metres in STATIONS_M.items():
        place, up = station_km(name)
        assert np.linalg.norm(up) == pytest.approx(1)
        latitude, longitude = math.degrees(math.asin(up[2])), math.degrees(math.atan2(up[1], up[0]))
        # Back by the closed form for a height above the ellipsoid, which is found from the distance to the axis.
        flat = math.hypot(*place[:2])
        site = GroundSite(latitude_deg=latitude, longitude_deg=longitude)
        ground, _ = site_km(site)
        height = (flat - math.hypot(*ground[:2])) / math.cos(math.radians(latitude))
        assert 0.6 < height < 1.1, name
        again, _ = site_km(site.model_copy(update={"altitude_m": height * 1000}))
        assert np.allclose(again, np.array(metres) / 1000, atol=1e-6)


class TestWithAstropy:
    @pytest.fixture(autouse=True)
    def _astropy(self):
        pytest.importorskip("astropy")

    @pytest.mark.parametrize(
        ("station", "edges"),
        [
            ("dss-14", [(8 * 3600 + 94.6, 19 * 3600 + 42 * 60 + 0.8)]),
            ("dss-63", [(26 * 60 + 59.0, 12 * 3600 + 16 * 60 + 50.7)]),
            ("dss-43", [(None, 35 * 60 + 17.8), (15 * 3600 + 42 * 60 + 17.5, None)]),
        ],
    )
    def test_mars_rises_and_sets_at_stations(self, station, edges):
        """As the station counts it: passes are in the sender's time, a light time before."""
        look = sight("mars", station)
        passes = look.passes(86_400.0)
        assert len(passes) == len(edges)
        for item, (rise, set_) in zip(passes, edges):
            times = np.array([item.start_s, item.end_s])
            for found, wanted in zip(times + look.delays_s(times), (rise, set_)):
                assert wanted is None or found == pytest.approx(wanted, abs=1)

    def test_elevations_are_astropys(self):
        from astropy import units
        from astropy.coordinates import AltAz, EarthLocation, get_body

        from link.physics.ephemeris import times_at

        look = sight("mars", "dss-14")
        sent = np.linspace(30_000.0, 70_000.0, 9)
        ((found, mask),) = look._elevations(sent, look._ray(sent))
        assert mask == pytest.approx(math.radians(10))
        when = times_at(AT, sent + look.delays_s(sent))
        where = EarthLocation.from_geocentric(*STATIONS_M["dss-14"], unit=units.m)
        theirs = get_body("mars", when, where).transform_to(AltAz(obstime=when, location=where)).alt.deg
        # UTC for UT1 is 0.004 degrees at most, aberration of light 0.006.
        assert np.degrees(found) == pytest.approx(theirs, abs=0.011)

    def test_mars_behind_the_sun_is_an_outage(self):
        """The conjunction of January 2026."""
        conjunction = datetime(2026, 1, 9, tzinfo=UTC)
        mars, earth = (place_end(Place.model_validate(name), conjunction) for name in ("mars", "earth"))
        assert LineOfSight(mars, earth, conjunction).passes(86_400.0) == []
        assert len(LineOfSight(mars, earth, conjunction, sun_deg=0.0).passes(86_400.0)) == 1
        assert len(sight("mars", "earth").passes(86_400.0)) == 1

    def test_mars_hides_an_orbiter_from_a_station(self):
        hidden = sight(TGO, "earth")
        passes = hidden.passes(20 * end_of(TGO).period_s)
        share = sum(item.duration_s for item in passes) / (20 * end_of(TGO).period_s)
        assert 0.55 < share <= 1.0
        at_station = sight(TGO, "dss-14").passes(86_400.0)
        whole = sight("mars", "dss-14").passes(86_400.0)[0]
        assert 3 < len(at_station) < 12
        for item in at_station:
            assert whole.start_s - 5 < item.start_s < item.end_s < whole.end_s + 5

    def test_knots_are_linear_in_between_as_promised(self):
        for ends, off, at_least in (
            (("mars", "earth"), 15, 1400),
            (("mars", "dss-14"), 50, 1400),
            ((GALE, MRO), 1500, 60),
        ):
            look = sight(*ends)
            windows = None if "mars" in ends else [(9_995.0, 10_598.0)]
            table = knots(look, 86_400.0, windows, 2000)
            assert len(table) >= at_least
            sent, delays = map(np.array, zip(*table))
            middle = (sent[1:] + sent[:-1]) / 2
            wrong = np.interp(middle, sent, delays) - look.delays_s(middle / 1e9) * 1e9
            assert np.abs(wrong).max() < off
        assert len(knots(sight("mars", "earth"), 1e7, None, 500)) <= 500

    def test_a_table_of_places(self, tmp_path):
        file = tmp_path / "voyager.csv"
        file.write_text("# x\n2026-11-19T00:00:00Z, 0, 0, 2.0e10\n2026-11-22T00:00:00, 0, 0, 2.0003e10\n")
        far_away = sight({"table": {"file": str(file)}}, "sun", sun_deg=0)
        assert far_away.delays_s(np.zeros(1))[0] == pytest.approx(2.0001e10 / 299_792.458, rel=1e-6)
        with pytest.raises(UsageError, match=r"voyager\.csv: its places are from"):
            far_away.delays_s(np.array([1e6]))
        for text, says in (
            ("2026-11-19T00:00:00Z, 0, 0\n", "line 1: `UTC, x, y, z`"),
            (
                "2026-11-19T00:00:00Z, 0, 0, 1\n2026-11-18T00:00:00Z, 0, 0, 1\n",
                "line 2: its time is not after",
            ),
            ("2026-11-19T00:00:00Z, 0, 0, nan\n", "line 1: a place was expected"),
            ("", "two places"),
        ):
            file.write_text(text)
            with pytest.raises(UsageError, match=says):
                sight({"table": {"file": str(file)}}, "sun")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("pluto", "no body and no station pluto"),
        (
            {"orbit": {"body": "mars", "semi_major_km": 3500, "eccentricity": 0.5, "inclination_deg": 0}},
            "inside mars",
        ),
    ],
)
def test_ends_that_are_none(given, says):
    with pytest.raises(UsageError, match=says):
        end_of(given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"orbit": {"body": "mars", "inclination_deg": 0}}, "periapsis_km"),
        (
            {"orbit": {"body": "mars", "periapsis_km": 9, "eccentricity": 0.1, "inclination_deg": 0}},
            "semi_major_km",
        ),
        (
            {"orbit": {"body": "mars", "periapsis_km": 9, "apoapsis_km": 1, "inclination_deg": 0}},
            "under periapsis",
        ),
        ({"site": {"latitude_deg": 91, "longitude_deg": 0}}, "latitude_deg"),
        ({"name": "mars", "site": {"latitude_deg": 1, "longitude_deg": 0}}, "one of site, orbit"),
        ({}, "one of site, orbit"),
    ],
)
def test_places_that_are_none(given, says):
    with pytest.raises(ValueError, match=says):
        Place.model_validate(given)
