"""Link budgets: published examples, closed forms, error rates by Monte Carlo, tables of codes, sound, light, LoRa, fades."""

from itertools import pairwise
from math import inf
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from scipy.stats import binom

from link.errors import UsageError
from link.physics import acoustic, budget, fading, lora, modulation, optical
from link.physics.atmosphere import Atmosphere, table_db
from link.physics.media import MEDIA, STEP_DB, Budget, come_to
from link.physics.medium import LinkBudget
from link.seeds import generator

AU_KM = 149_597_870.7
READ: TypeAdapter[LinkBudget] = TypeAdapter(Budget)


def within_99(hits: int, trials: int, share: float) -> bool:
    """Whether *hits* of *trials* is between the two-sided 99 % bounds of a binomial with *share*."""
    low, high = binom.interval(0.99, trials, share)
    return bool(low <= hits <= high)


def noise(rng, *shape):
    """Complex white noise of power 1."""
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


# Terms


@pytest.mark.parametrize(
    ("km", "hz", "db"),
    [
        (AU_KM, 8.42e9, 274.45253),
        (400, 401.585625e6, 136.56455),
        (384_400, 2.2715e9, 211.26971),
        (780, 1.62e9, 154.47998),
        (954, 401.585625e6, 144.11),
        (1206, 401.585625e6, 146.15),
    ],
)
def test_free_space_loss(km, hz, db):
    assert budget.free_space_db(km, hz) == pytest.approx(db, abs=1e-4 if db != round(db, 2) else 0.006)


def test_a_published_c_band_link_with_interference():
    """FCC SAT-LOI-20081223-00238: 364 kHz; C/N up, down, and overall with C/I."""
    band = budget.to_db(364e3)
    up = budget.carrier_to_noise_dbhz(46.1, 199.7, -3.0) - band
    down = budget.carrier_to_noise_dbhz(11.4, 196.1, 22.5) - band
    assert [up, down] == [pytest.approx(16.39, abs=0.02), pytest.approx(10.79, abs=0.02)]
    both = [budget.in_series_db(ratio, 14.1) for ratio in (up, down)]
    assert both == [pytest.approx(12.09, abs=0.02), pytest.approx(9.13, abs=0.02)]
    overall = budget.in_series_db(*both)
    # 7.35 with every figure in full; 7.40 where both ways are rounded to a tenth as published.
    assert overall == pytest.approx(7.40, abs=0.06)
    assert budget.in_series_db(12.1, 9.2) == pytest.approx(7.40, abs=0.02)


def test_a_published_telemetry_link_at_20_ghz():
    """FCC SAT-MOD-20050523-00106: C/N 21.1 dB, so a noise band of 52.0 dBHz; 39,111 km."""
    eirp = -5.0 - 2.8 + 25.0
    assert eirp == pytest.approx(17.2)
    path = budget.free_space_db(39_111, 20.198e9)
    assert path == pytest.approx(210.4, abs=0.05)
    c_n0 = budget.carrier_to_noise_dbhz(eirp, path, 37.7)
    noise_band_hz = budget.from_db(c_n0 - 21.1)
    assert noise_band_hz == pytest.approx(158.5e3, rel=0.01)
    assert 21.1 - 10.4 == pytest.approx(10.7), "its margin"


def test_a_published_cubesat_link_closes_as_it_says():
    """ASRTU-1, 435 MHz: the margin of 9.6 dB holds at a system temperature of 405 K."""
    path = budget.free_space_db(2140, 435e6)
    assert path == pytest.approx(151.83, abs=0.005)
    about = READ.validate_python(
        {"medium": "radio", "frequency_hz": 435e6, "distance_km": 2140, "power_w": 1.0, "transmit_gain_dbi": -9.0,
         "polarisation_db": 4.1, "receive_gain_dbi": 17.5, "system_k": 405, "rate_bps": 9600, "implementation_db": 2.0,
         "modulation": "bpsk", "wanted_error_rate": 1e-5}
    )  # fmt: skip
    found = about.at(0)
    assert found.required_db == pytest.approx(9.588, abs=1e-3)
    published = found.margin_db + 6.0 - (151.9 - path) - (9.6 - found.required_db)  # its code's, its rounding
    assert published == pytest.approx(9.6, abs=0.01)


def radio(**more):
    """A budget of MRO's X band as published, to be laid over."""
    tree = {
        "medium": "radio", "frequency_hz": 8.439e9, "power_w": 100, "line_loss_db": 0.5, "transmit_dish_m": 3,
        "transmit_efficiency_ratio": 0.66, "receive_gain_dbi": 68.2, "system_k": 30, "distance_km": 4.02e8,
        "code": "rs-conv-i5", "wanted_error_rate": 1e-3, "rate_bps": 500_000,
    }  # fmt: skip
    return READ.validate_python({**tree, **more})


def test_mars_reconnaissance_orbiter_closes_at_both_its_distances():
    air = {"station": "dss-14", "elevation_deg": 30}
    far = radio(atmosphere=air).at(0)
    near = radio(atmosphere=air, distance_km=9.66e7, rate_bps=4e6).at(0)
    terms = {term.label: term.value for term in far.terms}
    assert terms["EIRP"] == pytest.approx(66.2, abs=0.05) and terms["G/T"] == pytest.approx(53.4, abs=0.05)
    assert terms["free space"] == pytest.approx(-283.07, abs=0.02)
    assert (far.c_n0_dbhz, near.c_n0_dbhz) == (pytest.approx(64.9, abs=0.06), pytest.approx(77.3, abs=0.06))
    assert (far.eb_n0_db, near.eb_n0_db) == (pytest.approx(7.9, abs=0.1), pytest.approx(11.2, abs=0.12))
    assert min(far.margin_db, near.margin_db) > 3.0


def test_every_line_adds_up():
    found = radio(atmosphere={"station": "dss-34", "elevation_deg": 30}, distance_km=4.023e8).at(0)
    total = 0.0
    for term in found.terms:
        if term.is_sum:
            assert term.value == pytest.approx(total, abs=1e-9)
        elif term.running is not None:
            total += term.value
            assert term.running == pytest.approx(total, abs=1e-9)
    assert found.required_db == pytest.approx(2.29, abs=0.005)
    assert found.c_n0_dbhz == pytest.approx(64.68, abs=0.01)
    assert (found.eb_n0_db, found.margin_db) == (pytest.approx(7.69, abs=0.01), pytest.approx(5.40, abs=0.01))


def test_a_rover_speaks_to_34_and_70_metres():
    """Curiosity: 15 W, 25.5 dBi; at least 160 bit/s to 34 m, 800 to 70 m, so 6.99 dB between them.

    1 dB stands for all losses that are not published.
    """
    about = {"power_w": 15, "line_loss_db": 0, "transmit_dish_m": None, "transmit_gain_dbi": 25.5,
             "other_losses_db": 1.0, "frequency_hz": 8.395e9, "distance_km": 2.67 * AU_KM}  # fmt: skip
    small = radio(**about, receive_gain_dbi=68.2, system_k=35, rate_bps=160).at(0)
    large = radio(**about, receive_gain_dbi=74.4, system_k=25, rate_bps=800).at(0)
    assert next(term.value for term in small.terms if term.label == "EIRP") == pytest.approx(37.26, abs=0.005)
    assert (small.c_n0_dbhz, large.c_n0_dbhz) == (pytest.approx(34.7, abs=0.1), pytest.approx(42.3, abs=0.1))
    assert large.c_n0_dbhz - small.c_n0_dbhz == pytest.approx(7.66, abs=0.01)


def test_slant_range():
    assert budget.slant_range_km(780, 8.2) == pytest.approx(2464.587, abs=0.01)
    assert budget.slant_range_km(780, 90) == pytest.approx(780)


def test_polarisation():
    assert budget.polarisation_loss_db(3, 2, 0) == pytest.approx(0.013, abs=5e-4)
    assert budget.polarisation_loss_db(3, 2, 90) == pytest.approx(0.354, abs=5e-4)
    assert budget.polarisation_loss_db(inf, 0) == pytest.approx(3.010, abs=5e-4)
    assert budget.polarisation_loss_db(0, 0) == pytest.approx(0.0, abs=1e-12)


def test_pointing_is_refused_beyond_the_beam():
    assert budget.pointing_loss_db(0.5, 1.0) == pytest.approx(3.0)
    with pytest.raises(ValueError, match="over the beam's width"):
        budget.pointing_loss_db(1.01, 1.0)
    with pytest.raises(UsageError, match="transmit_pointing_deg: a pointing error of 2 deg"):
        radio(transmit_pointing_deg=2).at(0)


def test_noise_temperatures():
    assert budget.dsn_antenna_k(10) == pytest.approx(15.34, abs=0.005)
    assert budget.dsn_antenna_k(90) == pytest.approx(11.65, abs=0.005)
    assert budget.system_k(50, 0, 0) == pytest.approx(50)
    assert budget.system_k(50, 3, 2) == pytest.approx(
        50 / 1.99526 + 290 * (1 - 1 / 1.99526) + 290 * 0.584893, rel=1e-5
    )
    assert budget.sky_k(0) == pytest.approx(2.73) and budget.sky_k(100) == pytest.approx(275)


def test_the_air_is_that_of_the_table():
    for station, hz, elevation, db in (
        ("dss-14", 8.42e9, 10, 0.612), ("dss-14", 26e9, 30, 2.381), ("dss-14", 32e9, 30, 2.786),
        ("dss-63", 8.42e9, 30, 0.285), ("dss-63", 32e9, 10, 10.254),
        ("dss-43", 8.42e9, 10, 1.238), ("dss-43", 26e9, 10, 12.988), ("dss-43", 32e9, 30, 6.858),
    ):  # fmt: skip
        air = Atmosphere(station=station, elevation_deg=elevation)
        assert air.attenuation_db(hz, elevation) == pytest.approx(db, abs=1e-9)
    found = [table_db("goldstone", 8.42e9, float(deg)) for deg in range(5, 91)]
    assert all(low > high for low, high in pairwise(found))
    with pytest.raises(UsageError, match="none at 15 GHz: give model: itur"):
        table_db("madrid", 15e9, 30)
    with pytest.raises(UsageError, match="below the table's lowest, 5"):
        table_db("madrid", 32e9, 4.9)


def test_without_itur_it_is_said_in_a_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "itur", None)
    with pytest.raises(UsageError, match=r"itur is not installed; pip install 'farlink\[physics\]'"):
        radio(
            atmosphere={"station": "dss-14", "elevation_deg": 77, "model": "itur", "exceeded_ratio": 0.003}
        ).at(0)


def test_a_low_elevation_is_warned_of():
    low = radio(atmosphere={"station": "dss-14", "elevation_deg": 8}).at(0)
    assert any("beyond what they were fitted to" in note for note in low.notes)
    assert not any(
        "fitted" in note for note in radio(atmosphere={"station": "dss-14", "elevation_deg": 12}).at(0).notes
    )


# Sound, LoRa, light, fades


def test_sound():
    for khz, absorbed in ((1, 0.069), (10, 1.187), (25, 6.10), (50, 17.47)):
        assert acoustic.absorption_db_km(khz) == pytest.approx(absorbed, abs=0.01)
    assert acoustic.transmission_loss_db(2, 11.52) == pytest.approx(52.6, abs=0.05)
    for khz, level in ((1, 60.95), (10, 46.09), (25, 38.55)):
        assert acoustic.noise_db(khz, 0.5, 5) == pytest.approx(level, abs=0.01)
    assert acoustic.source_level_db(10) == pytest.approx(180.8)


def test_lora_on_the_air():
    assert lora.air_time_s(64, 12) == 2.793472
    assert lora.air_time_s(51, 7) == 0.102656
    assert lora.air_time_s(51, 10) == pytest.approx(0.616448, abs=1e-12)
    assert lora.air_time_s(51, 12) == pytest.approx(2.465792, abs=1e-12)
    air = lora.air_time_s(64, 12)
    assert air + lora.silence_s(air, 0.01) == pytest.approx(279.3472, abs=1e-9)
    assert lora.sensitivity_dbm(7) == pytest.approx(-124.5, abs=0.05)
    assert lora.sensitivity_dbm(12) == pytest.approx(-137.0, abs=0.05)
    for factor in lora.FACTORS:
        assert lora.sensitivity_dbm(factor) == pytest.approx(lora.SX1276_DBM[factor], abs=2.0)


def test_light():
    assert optical.photon_j(1550e-9) == pytest.approx(1.2816e-19, rel=1e-4)
    assert optical.erasure(1) == pytest.approx(0.3679, abs=5e-5)
    assert optical.capacity_bits(1, 16) == pytest.approx(2.5285, abs=5e-5)
    assert optical.aperture_gain_dbi(0.22, 1550e-9) == pytest.approx(112.98, abs=0.005)
    assert optical.aperture_gain_dbi(5, 1550e-9) == pytest.approx(140.12, abs=0.005)
    assert budget.free_space_db(AU_KM, budget.LIGHT_M_S / 1550e-9) == pytest.approx(361.68, abs=0.005)
    rng = generator(4, "light")
    seen = rng.poisson(1.5, 100_000)
    assert within_99(int((seen == 0).sum()), 100_000, optical.erasure(1.5))
    share = optical.word_error(0.45, 200, 0.5)
    erased = rng.binomial(200, 0.45, 20_000)
    assert within_99(int((erased > 100).sum()), 20_000, share)


def test_fades_of_a_simulated_rayleigh_channel():
    """Noise shaped to a Gaussian Doppler spectrum: share, number and length of fades below -10 dB."""
    sigma, threshold, rate, count = 0.25, -10.0, 40.0, 1 << 20
    assert fading.fade_share(threshold) == pytest.approx(0.0952, abs=5e-5)
    assert fading.fades_hz(threshold, sigma) == pytest.approx(0.2536, abs=5e-5)
    assert fading.mean_fade_s(threshold, sigma) == pytest.approx(0.3753, abs=5e-5)
    rng = generator(6, "rayleigh")
    spectrum = np.exp(-0.25 * (np.fft.fftfreq(count, 1 / rate) / sigma) ** 2)
    power = np.abs(np.fft.ifft(noise(rng, count) * spectrum)) ** 2
    low = power < power.mean() * budget.from_db(threshold)
    starts = int((~low[:-1] & low[1:]).sum())
    assert low.mean() == pytest.approx(0.0952, rel=0.05)
    assert starts / (count / rate) == pytest.approx(0.2536, rel=0.05)
    assert low.sum() / rate / starts == pytest.approx(0.3753, rel=0.05)
    both = fading.mean_fade_s(threshold, sigma) + fading.mean_gap_s(threshold, sigma)
    assert 1 / both == pytest.approx(fading.fades_hz(threshold, sigma), rel=1e-12)


# Budgets as scenarios say them


def test_a_rate_is_what_the_margin_leaves():
    free = radio(rate_bps=None, margin_db=3.0).at(0)
    assert free.margin_db == pytest.approx(3.0, abs=1e-9)
    again = radio(rate_bps=free.rate_bps).at(0)
    assert again.margin_db == pytest.approx(3.0, abs=1e-9)
    ladder = radio(rate_bps=None, rates_bps=[1e5, 5e5, 1e6, 4e6]).at(0)
    assert ladder.rate_bps == max(rate for rate in (1e5, 5e5, 1e6, 4e6) if rate <= free.rate_bps)
    low = radio(rate_bps=None, rates_bps=[1e7, 2e7]).at(0)
    assert low.rate_bps == 1e7 and low.margin_db < 3.0
    assert "The margin is not there even at the lowest rate." in low.notes


def test_the_wanted_error_rate_is_met_at_no_margin():
    for name in modulation.MODULATIONS:
        about = radio(code=None, modulation=name, wanted_error_rate=1e-5, rate_bps=None, margin_db=0.0)
        assert about.at(0).error_rate == pytest.approx(1e-5, rel=1e-6), name


def test_every_medium_is_reckoned_and_steps_follow_its_distance():
    trees: dict[str, dict[str, Any]] = {
        "radio": {"frequency_hz": 4e8, "power_w": 1, "transmit_gain_dbi": 0, "receive_gain_dbi": 0, "system_k": 300,
                  "rates_bps": [1e3, 1e4, 1e5]},
        "lora": {"frequency_hz": 868e6, "power_w": 0.025, "transmit_gain_dbi": 0, "receive_gain_dbi": 0,
                 "noise_figure_db": 6, "antenna_k": 290, "spreading_factor": 9, "other_losses_db": 10},
        "acoustic": {"frequency_hz": 11_520, "power_w": 10, "rate_bps": 80, "modulation": "fsk-16"},
        "optical": {"power_w": 4, "transmit_aperture_m": 0.22, "receive_aperture_m": 1.0,
                    "transmit_loss_db": 80},
    }  # fmt: skip
    assert set(trees) == set(MEDIA)
    for medium, tree in trees.items():
        near, far = 100.0, 1000.0
        about = READ.validate_python(
            {"medium": medium, "distance_at_km": [[10, far], [110, near], [210, far]], **tree}
        )
        steps = come_to(about).steps
        assert steps is None or steps[0][0] == 0.0
        assert about.at(0).margin_db == about.at(300).margin_db or medium == "radio"
        assert about.at(110).rate_bps >= about.at(10).rate_bps
        if medium in ("radio", "optical"):
            assert steps is not None
            fastest = max(steps, key=lambda step: step[1])
            assert 10 < fastest[0] < 210
            assert max(rate for _, rate, _ in steps) > min(rate for _, rate, _ in steps)
            assert come_to(about).rate_bps < fastest[1]
        still = READ.validate_python({"medium": medium, "distance_km": far, **tree})
        assert come_to(still).steps is None and still.at(0).rate_bps == about.at(10).rate_bps


def test_steps_are_fine_enough():
    about = radio(distance_km=None, distance_at_km=[[0, 1e8], [1000, 4e8]], rate_bps=None)
    steps = come_to(about).steps or ()
    assert len(steps) > 50
    for (start, rate, _), (end, _, _) in pairwise(steps):
        for time in (start, end):
            assert abs(budget.to_db(rate) - budget.to_db(about.at(time).rate_bps)) <= 1.2 * STEP_DB


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"distance_km": None}, "give distance_km or distance_at_km"),
        ({"distance_at_km": [[0, 1]]}, "give distance_km or distance_at_km"),
        ({"distance_km": None, "distance_at_km": [[5, 1], [5, 2]]}, "the times must rise"),
        ({"transmit_gain_dbi": 3}, "give transmit_gain_dbi or transmit_dish_m"),
        ({"g_t_db_k": 3}, "g_t_db_k takes the place"),
        ({"rates_bps": [1, 2]}, "give rate_bps or rates_bps"),
        ({"rate_bps": None, "rates_bps": [2, 1]}, "rates_bps must rise"),
        ({"code": "turbo-1784-1/7"}, "unknown code"),
        ({"modulation": "dqpsk"}, "the tables of codes hold for bpsk"),
        ({"code": None, "damaged_ratio": 0.1}, "damaged_ratio is for codes that have words"),
        ({"code": "conv-7-1/2", "damaged_ratio": 0.1}, "leaves bits wrong one by one"),
        ({"noise_figure_db": 3}, "system_k is the whole"),
        ({"atmosphere": {"station": "dss-14", "elevation_deg": 30, "exceeded_ratio": 0.1}}, "exceeded_ratio 0.01 alone"),
        ({"atmosphere": {"elevation_deg": 30}}, "give station, or latitude_deg"),
        ({"atmosphere": {"station": "dss-14"}}, "give elevation_deg or elevation_at_deg"),
        ({"atmosphere_db": 1, "atmosphere": {"station": "dss-14", "elevation_deg": 30}}, "not both"),
        ({"power_w": 0}, "greater than or equal to"),
        ({"frequency_hz": float("nan")}, "finite number"),
        ({"watts": 1}, "Extra inputs"),
    ],
)  # fmt: skip
def test_what_does_not_hold_together_is_refused(more, message):
    with pytest.raises(ValidationError, match=message):
        radio(**more)


def test_what_the_tables_do_not_say_is_refused():
    with pytest.raises(UsageError, match=r"below the table's last point, 8e-07 at 2\.6 dB"):
        radio(wanted_error_rate=1e-7).at(0)
    with pytest.raises(UsageError, match=r"the budget leaves .* bit/s"):
        radio(rate_bps=None, distance_km=1e12, power_w=1e-12).at(0)
