"""Light times: against Horizons and the printed ones; without a socket; where astropy is missing."""

import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pytest

from link.errors import UsageError

pytest.importorskip("astropy")

from link.physics.ephemeris import body_track, delay_s, light_time_s, sent_delays_s

NOVEMBER = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("year", "month", "day", "seconds"), [(2026, 11, 20, 635.2363), (2024, 1, 1, 1209.4893)]
)
def test_what_earth_receives_of_mars(year, month, day, seconds):
    assert light_time_s("earth", "mars", datetime(year, month, day, tzinfo=UTC)) == pytest.approx(
        seconds, abs=0.002
    )


def test_what_is_sent_has_another_light_time():
    assert delay_s("mars", "earth", NOVEMBER) == pytest.approx(635.2047, abs=0.002)
    assert delay_s("earth", "mars", NOVEMBER) == pytest.approx(635.3007, abs=0.002)


@pytest.mark.parametrize(("body", "seconds"), [("moon", 1.2808), ("sun", 493.1219), ("jupiter", 2597.009)])
def test_others_that_earth_receives(body, seconds):
    assert light_time_s("earth", body, NOVEMBER) == pytest.approx(seconds, abs=1e-3)


@pytest.mark.parametrize(
    ("body", "seconds", "off"), [("mercury", 379.38222, 0.004), ("sun", 497.69148, 1e-4)]
)
def test_against_horizons_in_1980(body, seconds, off):
    assert light_time_s("earth", body, datetime(1980, 3, 25, tzinfo=UTC)) == pytest.approx(seconds, abs=off)


def test_msl_landed_13_minutes_and_48_seconds_away():
    landed = datetime(2012, 8, 6, 5, 17, 57, tzinfo=UTC)
    assert light_time_s("earth", "mars", landed) == pytest.approx(828.08, abs=0.07)


def test_there_and_back_are_one_event():
    """What is received at t was sent at t - light time, and what is sent then takes as long."""
    sent = -light_time_s("earth", "mars", NOVEMBER)
    ways = body_track("mars", NOVEMBER), body_track("earth", NOVEMBER)
    assert sent_delays_s(*ways, np.array([sent]))[0] == pytest.approx(-sent, abs=1e-6)


def test_mars_drifts_away_by_4_seconds_a_day():
    day = sent_delays_s(
        body_track("mars", NOVEMBER), body_track("earth", NOVEMBER), np.array([0.0, 86_400.0])
    )
    assert day[1] - day[0] == pytest.approx(-4.30, abs=0.02)


def test_an_unknown_body_is_named():
    with pytest.raises(UsageError, match=r"knows no pluto; there are sun, mercury"):
        light_time_s("earth", "pluto", NOVEMBER)


def _alone(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )


def test_no_socket_is_opened_also_in_2031():
    code = """
import sys
def hook(event, _arguments):
    if event.startswith("socket."):
        raise SystemExit(f"a socket: {event}")
sys.addaudithook(hook)
from datetime import datetime, UTC
from link.physics.ephemeris import light_time_s
for year in (1980, 2031): print(light_time_s("earth", "mars", datetime(year, 6, 1, tzinfo=UTC)))
"""
    done = _alone(code)
    assert done.returncode == 0, done.stderr
    assert [185.0 < float(line) < 1345.0 for line in done.stdout.split()] == [True, True]


def test_missing_astropy_is_one_line():
    code = """
import sys
sys.modules["astropy"] = None
from datetime import datetime, UTC
from link.errors import UsageError
from link.physics.ephemeris import light_time_s
try: light_time_s("earth", "mars", datetime(2026, 1, 1, tzinfo=UTC))
except UsageError as error: print(error)
"""
    assert _alone(code).stdout == "light times and passes need astropy: pip install 'farlink[physics]'\n"


def test_importing_the_module_imports_no_astropy():
    code = (
        "import link.physics.ephemeris, sys; print(any(name.startswith('astropy') for name in sys.modules))"
    )
    assert _alone(code).stdout == "False\n"
