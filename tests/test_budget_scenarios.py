"""Budgets as scenarios, commands and pages have them: resolved once, printed term by term, never steered."""

import json
from pathlib import Path

import pytest
import toys
from test_budget_hops import RADIO, SCENARIO, at_eb_n0
from test_metrics import result_of
from typer.testing import CliRunner

from link import steering
from link.channel import netem
from link.channel.loss import read_loss
from link.channel.loss.gilbert_elliott import GilbertElliottLoss
from link.channel.netem import gemodel
from link.errors import UsageError
from link.hops import HopConfig
from link.physics import modulation
from link.physics.budget import from_db
from scenarios import schema
from scenarios.cli import app
from scenarios.live import controls
from scenarios.report import budgets, parts
from scenarios.results import traffic

# Scenarios


def scenario_file(folder: Path, budget: dict) -> str:
    path = folder / "budgeted.yaml"
    path.write_text(SCENARIO.replace("BUDGET", json.dumps(budget)))
    return str(path)


def test_a_scenario_is_resolved_once_and_for_all(tmp_path):
    name = scenario_file(tmp_path, {**RADIO, "rate_bps": None, "distance_at_km": [[0, 6e8], [60, 6e7]], "code": "ldpc-c2",
                                    "wanted_error_rate": 0.01})  # fmt: skip
    plan = schema.load(name)
    (hop,) = plan.link.hops
    assert hop.rate_bps and hop.budget_steps
    (tmp_path / "again.yaml").write_text(schema.to_yaml(plan))
    assert schema.load(str(tmp_path / "again.yaml")) == plan
    assert plan.session().link.hops == plan.link.hops
    # The rate of every hop is the budget's own.
    fixed = schema.load(name, ["link.rate_bps=1000"])
    assert fixed.link.hops[0].rate_bps == 1000 == fixed.link.hops[0].budget.rate_bps
    with pytest.raises(
        UsageError, match=r"hop air: rate_bps is not what its budget comes to.*budget\.rate_bps"
    ):
        schema.load(name, ["link.hops.0.rate_bps=80"])
    with pytest.raises(UsageError, match="hop air: loss is not what its budget comes to"):
        schema.load(name, ["link.hops.0.loss={model: bernoulli, loss: 0.1}"])
    with pytest.raises(
        UsageError, match=r"link\.hops\.0\.budget: unknown key 'power'; did you mean 'power_w'"
    ):
        schema.load(name, ["link.hops.0.budget.power=1"])
    with pytest.raises(UsageError, match="give budget or trace"):
        schema.load(name, ["link.hops.0.trace=degraded-cellular.down"])
    with pytest.raises(UsageError, match="give rate_bps, trace or budget"):
        schema.load(name, ["link.hops.0.budget=null"])
    with pytest.raises(UsageError, match="hop air: budget: transmit_pointing_deg"):
        schema.load(name, ["link.hops.0.budget.transmit_pointing_deg=90"])
    with pytest.raises(UsageError, match="budget_steps are derived"):
        schema.load("mars-relay", ["link.hops.0.budget_steps=[[0, 1, 0], [1, 2, 0]]"])


def test_hops_without_a_budget_are_written_as_ever():
    tree = schema.load("mars-relay").model_dump(mode="json", by_alias=True)
    for hop in tree["link"]["hops"]:
        assert list(hop) == ["name", "rate_bps", "trace", "delay_s", "jitter", "loss", "bit_error_rate", "duplicate_ratio",
                             "outage", "queue", "retransmit"]  # fmt: skip


def test_a_run_imports_no_physics_libraries():
    """What a process of the link imports: no astropy, no itur, no scipy."""
    import subprocess
    import sys

    code = "import sys, link.__main__, link.hops; print([m for m in ('astropy', 'itur', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Commands


def invoke(*arguments):
    return CliRunner().invoke(app, ["scenarios", *map(str, arguments)])


def test_the_budget_is_printed_term_by_term(tmp_path):
    name = scenario_file(
        tmp_path, {**RADIO, "distance_km": 4e8, "atmosphere": {"station": "dss-14", "elevation_deg": 20}}
    )
    done = invoke("budget", name)
    assert done.exit_code == 0, done.output
    for words in (
        "EIRP",
        "free space",
        "-282.97",
        "dss-14, elevation 20 deg",
        "G/T",
        "C/N0",
        "Eb/N0",
        "margin",
    ):
        assert words in done.stdout
    (tree,) = json.loads(invoke("budget", name, "--json").stdout)
    total = sum(term["value"] for term in tree["terms"] if term["running"] is not None and not term["is_sum"])
    assert tree["eb_n0_db"] == pytest.approx(total, abs=1e-9)
    assert tree["margin_db"] == pytest.approx(tree["eb_n0_db"] - tree["required_db"])
    for form in ("svg", "png"):
        done = invoke("budget", name, "--figure", tmp_path / f"m.{form}")
        assert done.exit_code == 0 and (tmp_path / f"m.{form}").stat().st_size > 5000
    for arguments, message in (
        (("budget", name, "--hop", "sea"), "no hop is called 'sea'"),
        (("budget", "mars-relay"), "none of its hops has a budget"),
        (("budget", name, "--figure", tmp_path / "m.gif"), ".svg or .png was expected"),
    ):
        done = invoke(*arguments)
        assert done.exit_code == 2 and message in done.stderr


def test_netem_says_the_same_link():
    done = invoke("netem", "mars-relay", "--device", "eth0")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[1].startswith("tc qdisc add dev eth0 root netem rate 2000bit delay 5ms limit ")
    assert lines[1].endswith(" loss gemodel 1.3158% 25% 100% 0%")
    assert "delay 635.24s" in lines[3] and "500 bit/s become 496 bit/s" in done.stdout
    assert "iproute2 before 6.9 (Debian 12 has 6.1) refuses delays of over 274 s" in done.stdout
    rows = json.loads(invoke("netem", "orbiter-pass", "--json").stdout)
    hop = rows[1]
    flying = int(hop["command"].split(" limit ")[1].split()[0])
    assert flying == 51_636 + 4096, "what is under way, and a full queue of 4 MiB"
    assert any("up for 480 s and down for 6240 s" in note for note in rows[0]["notes"])


def test_netems_way_back_is_as_long_as_the_channels():
    """Of several routes the way back is as long as one, not as all of their hops."""
    plan = schema.load("rover-day", (), {"link.return": {"rate_bps": 1000}})
    out_s = sum(hop.delay_s for hop in plan.link.way)
    assert out_s < sum(hop.delay_s for hop in plan.link.hops) - 100
    _, command, _ = list(netem.commands(plan.session(), "eth0"))[-1]
    assert f"delay {out_s:.3f}s" in command


@pytest.mark.parametrize(
    ("loss", "burst", "good", "bad"), [(0.05, 4, 0, 1), (0.2, 3, 0.01, 0.8), (0.3, 10, 0.1, 1)]
)
def test_netems_chain_is_ours(loss, burst, good, bad):
    model = read_loss(
        {"model": "gilbert_elliott", "loss": loss, "mean_burst": burst, "loss_good": good, "loss_bad": bad}
    )
    assert isinstance(model, GilbertElliottLoss)
    p, r, in_bad, in_good = gemodel(model)
    share = p / (p + r)
    assert share * in_bad + (1 - share) * in_good == pytest.approx(loss)
    assert 1 / r == pytest.approx(burst)
    if (loss, burst) == (0.05, 4):
        assert (f"{p * 100:.4f}", r, in_bad, in_good) == ("1.3158", 0.25, 1.0, 0.0)


def test_a_link_that_is_all_noise_flips_half_of_all_bits():
    for name in modulation.MODULATIONS:
        hop = at_eb_n0(-80.0, modulation=name)
        assert hop.bit_error_rate == pytest.approx(0.5, abs=1e-3)
        assert HopConfig.model_validate(hop.model_dump(mode="json")) == hop


def test_eb_n0_is_what_was_asked_for():
    assert at_eb_n0(5.0).budget.at(0).eb_n0_db == pytest.approx(5.0, abs=1e-9)
    assert at_eb_n0(5.0).bit_error_rate == pytest.approx(modulation.psk_error_rate(from_db(5.0)), rel=1e-9)


# The page of a run, live sessions


def test_a_runs_page_has_the_budget(tmp_path):
    plan = schema.load("orbiter-uhf", ["seed=2", "camera.frames=6", "codec.name=jpeg2000"]).session()
    run = toys.run(plan, tmp_path / "run.mcap", 6, toys.ToyEncoder(8, 400))
    traffic.check_conservation(run)
    hops = run.head["scenario"]["link"]["hops"]
    (table,) = budgets.tables(hops)
    assert table["title"] == "Link budget of rover-orbiter (radio), at the begin of the run"
    assert ("EIRP", "", "-6.99", "dBW") in table["lines"]
    assert table["summary"].startswith("8 kbit/s with a margin of 0.4 dB; from 8 kbit/s to 32 kbit/s over ")
    drawn = budgets.figure(hops)
    assert drawn is not None and drawn.name == "margin" and "margin from 0.4 to 6.0 dB" in drawn.alt
    for hop in (
        {"name": "x"},
        {"name": "x", "budget": {"medium": "neutrinos"}},
        {"name": "x", "budget": {"medium": "radio"}},
    ):
        assert budgets.tables([hop]) == [] and budgets.figure([hop]) is None
    # What can no longer be reckoned is said in place of its terms.
    unknown = {**hops[0]["budget"], "atmosphere": {"station": "dss-14", "elevation_deg": 20}}
    (table,) = budgets.tables([{"name": "x", "budget": unknown}])
    assert not table["lines"] and "none at 0.401586 GHz" in table["summary"]


def test_what_follows_from_a_budget_is_not_steered():
    plan = schema.load("curiosity-direct").session()
    paths = {one["path"] for one in controls.controls(plan, [])}
    assert "link.hops.0.delay_s" in paths and "link.hops.0.outage" in paths
    assert not paths & {"link.hops.0.rate_bps", "link.hops.0.loss.loss", "link.hops.0.bit_error_rate"}
    for path, value in (
        ("link.hops.0.rate_bps", 10),
        ("link.hops.0.loss", None),
        ("link.hops.0.loss.error_rate", 0.5),
    ):
        with pytest.raises(UsageError, match=r"follows from the budget of rover-earth"):
            steering.lay(plan, {path: value})
    changed, _ = steering.lay(plan, {"link.hops.0.delay_s": 5})
    assert changed.link.hops[0].budget == plan.link.hops[0].budget


@pytest.mark.parametrize(
    "name", ["curiosity-direct", "orbiter-uhf", "lora-budget", "acoustic-pair", "dsoc-1au"]
)
def test_the_presets_comments_agree_with_their_budgets(name):
    (hop,) = schema.load(name).link.hops
    found = hop.budget.at(0)
    if name == "curiosity-direct":
        assert found.rate_bps == 4000 and found.c_n0_dbhz == pytest.approx(42.3, abs=0.2)
    elif name == "orbiter-uhf":
        assert [min(step[1] for step in hop.budget_steps), max(step[1] for step in hop.budget_steps)] == [
            8000,
            32000,
        ]
    elif name == "lora-budget":
        snr = next(term.value for term in found.terms if term.label == "SNR")
        assert snr == pytest.approx(-20.1, abs=0.05) and found.margin_db == pytest.approx(0.5, abs=0.05)
    elif name == "acoustic-pair":
        assert found.margin_db == pytest.approx(31, abs=0.5) and not (hop.loss or hop.bit_error_rate)
    else:
        assert found.rate_bps == 33e6


def test_the_way_back_is_reckoned_once_and_printed(tmp_path):
    name = scenario_file(tmp_path, {**RADIO, "distance_km": 6e7})
    budget = {**RADIO, "power_w": 400, "distance_km": 6e8, "rate_bps": 2000}
    path = tmp_path / "back.yaml"
    path.write_text(
        Path(name).read_text() + f"  return: {{budget: {json.dumps(budget)}}}\n  repair: {{arq: true}}\n"
    )
    plan = schema.load(str(path))
    assert plan.link.return_.rate_bps == 2000 and plan.link.return_.delay_s == 0.01
    (tmp_path / "again.yaml").write_text(schema.to_yaml(plan))
    assert schema.load(str(tmp_path / "again.yaml")) == plan
    with pytest.raises(UsageError, match="the return: rate_bps is not what its budget comes to"):
        schema.load(str(path), ["link.return.rate_bps=80"])
    with pytest.raises(UsageError, match="give rate_bps or budget"):
        schema.load(str(path), ["link.return.budget=null"])
    with pytest.raises(UsageError, match="budget_steps are derived"):
        schema.load("mars-relay", ["link.return.budget_steps=[[0, 1, 0], [1, 2, 0]]"])
    session = plan.session()
    paths = {one["path"] for one in controls.controls(session, [])}
    assert "link.return.delay_s" in paths
    assert not paths & {"link.return.rate_bps", "link.return.bit_error_rate"}
    with pytest.raises(UsageError, match="follows from the budget of the way back"):
        steering.lay(session, {"link.return.rate_bps": 10})
    done = invoke("budget", str(path), "--hop", "return", "--json")
    (told,) = json.loads(done.stdout)
    assert told["hop"] == "return" and told["rate_bps"] == 2000
    assert invoke("budget", "mars-relay", "--hop", "return").exit_code == 2
    run = toys.run(session, tmp_path / "run.mcap", 2, toys.ToyEncoder(8, 40))
    traffic.check_conservation(run)
    tables = next(iter(parts._budgets(result_of(run))))
    assert "Link budget of the return (radio)" in str(tables) and "Link budget of air (radio)" in str(tables)


def test_a_way_back_without_a_budget_is_written_as_ever():
    back = schema.load("mars-relay").model_dump(mode="json", by_alias=True)["link"]["return"]
    assert list(back) == [
        "rate_bps",
        "delay_s",
        "jitter",
        "loss",
        "bit_error_rate",
        "duplicate_ratio",
        "outage",
        "queue",
    ]
