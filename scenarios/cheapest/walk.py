"""What is walked: the settings that codec and link leave open, and the ladder of rates or powers that each climbs.

Which of its own fields say how much a codec sends, it says itself (`PayloadSyntax.choices`), as it says whether unequal
protection means anything to it. A payload's budget follows from the rate; frames that do not fit are not sent.
"""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from link.channel.path import path_loss, path_rate_bps
from link.codecs import SYNTAXES
from link.errors import UsageError
from link.timing import SHARE
from scenarios import schema
from scenarios.cheapest.question import Question
from scenarios.schema import EVERY_HOP, Scenario
from scenarios.words import rate

FEC, PROTECTION, PERIOD, NAME = "link.repair.fec", "link.repair.protection", "camera.period_s", "codec.name"
OVERHEADS = (0.0, 0.2, 0.4)
"""Of repair, tried beside the scenario's own."""
POWER_DB = tuple(1.5 * step for step in range(-8, 9))
"""Of a physical link, against the scenario's own power."""
PERIODS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of the camera, against the scenario's own, where ages are asked for."""
_SERIES = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
"""Of a decade of rates: steps of a third to a half."""
_LEAST_BYTES, _MOST_BITS_PER_PIXEL = 32, 1.0
_RATE = re.compile(r"link\.rate_bps|link\.hops\.\d+\.rate_bps")
_POWER = re.compile(r"link\.hops\.\d+\.budget\.power_w")

Overrides = dict[str, Any]


@dataclass(frozen=True)
class Ladder:
    """Rates or powers, rising."""

    path: str
    """The dotted path of a field; `power` where the powers of all physical hops rise together."""
    unit: str
    """bit/s, W, dB."""
    values: tuple[float, ...]
    rungs: tuple[Overrides, ...]
    """What each sets."""
    own: int
    """The rung nearest to what the scenario says."""

    def words(self, rung: int) -> str:
        """Return a rung as people say it."""
        value = self.values[rung]
        return (
            rate(value) if self.unit == "bit/s" else f"{value:+g} dB" if self.unit == "dB" else f"{value:g} W"
        )


@dataclass(frozen=True)
class Setting:
    """All that is walked but the ladder."""

    overrides: Overrides
    told: Mapping[str, Any]
    """Those fields that differ between settings."""


@dataclass(frozen=True)
class Walk:
    """Settings, likely ones first, and the ladder of each."""

    settings: tuple[Setting, ...]
    ladder: Ladder
    walked: Mapping[str, tuple[Any, ...]]
    """Every field that has more than one value, the ladder apart."""
    notes: tuple[str, ...]
    """What is not walked, and why."""

    @property
    def places(self) -> int:
        """How many places the whole grid has."""
        return len(self.settings) * len(self.ladder.values)


def _base(question: Question) -> Overrides:
    """Return what holds for all that is walked: the task alone is analysed, and payloads follow from the rate."""
    fixed: Overrides = {"codec.unfit": "skip", "codec.frame_bytes": None, "analysis": [question.task]}
    kept = {
        key: value for key, value in fixed.items() if key not in question.given and key not in question.vary
    }
    own = {"camera.source": question.source, "camera.frames": question.frames}
    return {**{key: value for key, value in own.items() if value is not None}, **kept}


def walk(question: Question) -> Walk:
    """Return what is walked for *question*. Raise UsageError where there is nothing, or it does not hold together."""
    common = _base(question)
    ladder_paths = [path for path in question.vary if _RATE.fullmatch(path) or _POWER.fullmatch(path)]
    if len(ladder_paths) > 1:
        raise UsageError(
            f"--vary {ladder_paths[1]}: one ladder is walked, and {ladder_paths[0]} is it already"
        )
    names = question.codecs or tuple(str(name) for name in question.vary.get(NAME, ())) or (None,)
    notes: dict[str, None] = {}
    found: list[Overrides] = []
    scenarios = []
    for name in names:
        own = common if name is None else {**common, NAME: name}
        scenario = schema.load(question.scenario, question.settings, own)
        if question.task not in scenario.analysis:
            raise UsageError(
                f"analysis {list(scenario.analysis)}: {question.task} is not among it; leave it out"
            )
        scenarios.append(scenario)
        axes = _axes(question, scenario, notes)
        named = {} if name is None else {NAME: scenario.codec.name}
        own_values = {path: _value(scenario, path) for path in axes}
        grid = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
        grid = [row for row in grid if _holds(row, scenario)]
        grid.sort(key=lambda row: sum(value != own_values[path] for path, value in row.items()))
        found += [{**named, **row} for row in grid]
    found.sort(
        key=lambda row: sum(
            value != _value(scenarios[0], path) for path, value in row.items() if path != NAME
        )
    )
    paths = list(dict.fromkeys(path for row in found for path in row))
    values = {path: tuple(dict.fromkeys(row[path] for row in found if path in row)) for path in paths}
    several = {path: _in_order(kept) for path, kept in values.items() if len(kept) > 1}
    plain = {PROTECTION: "equal"}
    settings = tuple(
        Setting(
            {**common, **row, **(plain if row.get(FEC) == 0.0 and PROTECTION not in row else {})},
            {path: value for path, value in row.items() if path in several},
        )
        for row in found
    )
    ladder = _ladder(question, scenarios[0], values.get(PERIOD), ladder_paths, notes)
    return Walk(settings, ladder, several, tuple(notes))


def _in_order(values: tuple[Any, ...]) -> tuple[Any, ...]:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return tuple(sorted(values)) if numbers else values


def _value(scenario: Scenario, path: str) -> Any:
    """Return what *scenario* says at a dotted path; None where there is nothing."""
    node: Any = scenario.model_dump(mode="json", by_alias=True)
    for key in path.split("."):
        if isinstance(node, list) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
        elif isinstance(node, dict):
            node = node.get(key)
        else:
            return None
    return node


def _axes(question: Question, scenario: Scenario, notes: dict[str, None]) -> dict[str, list[Any]]:
    """Return the values of each field that is walked: the user's, else the codec's, the repair's, the camera's."""
    syntax, repair = SYNTAXES[scenario.codec.name], scenario.link.repair
    axes: dict[str, list[Any]] = {}
    for name, values in syntax.choices(scenario).items():
        axes[f"codec.{name}"] = sorted({*values, getattr(scenario.codec, name)})
    if _may_lose(scenario):
        axes[FEC] = sorted({*OVERHEADS, repair.fec})
        if syntax.facts.weighed:
            axes[PROTECTION] = ["equal", "unequal"]
    elif FEC not in question.vary:
        axes[FEC] = [repair.fec if repair.fountain else 0.0]
        notes["nothing is lost on the way, so no repair is sent"] = None
    if question.age_s is not None:
        if scenario.camera.period_s is None:
            raise UsageError(
                "--age walks camera.period_s, which this scenario leaves to the source: give it by --set"
            )
        periods = [scenario.camera.period_s * share for share in PERIODS]
        # Between two pictures a mean age grows by half the time between them.
        axes[PERIOD] = [period for period in periods if period / 2 <= question.age_s] or periods[:1]
    elif PERIOD not in question.vary:
        notes[
            "camera.period_s stays: a longer one always costs less, and --age says how old pictures may be"
        ] = None
    for path, asked in question.vary.items():
        if path == NAME or _RATE.fullmatch(path) or _POWER.fullmatch(path):
            continue
        group, _, name = path.partition(".")
        if group != "codec" or syntax.facts.reads(name):
            axes[path] = list(dict.fromkeys(asked))
    return {path: values for path, values in axes.items() if path not in question.given}


def _may_lose(scenario: Scenario) -> bool:
    link = scenario.link
    return path_loss(link) > 0.0 or link.medium is not None or any(hop.budget for hop in link.hops)


def _holds(row: Overrides, scenario: Scenario) -> bool:
    """Return whether a combination says anything: repair that is not sent can neither be split nor go on."""
    if row.get(FEC, scenario.link.repair.fec):
        return True
    return row.get(PROTECTION, "equal") == "equal" and not scenario.link.repair.fountain


def _ladder(
    question: Question,
    scenario: Scenario,
    periods: Sequence[float] | None,
    asked: Sequence[str],
    notes: dict[str, None],
) -> Ladder:
    hops = scenario.link.hops
    physical = [at for at, hop in enumerate(hops) if hop.budget is not None]
    own_bps = path_rate_bps(scenario.link, schema.traces(scenario))
    if asked:
        return _asked(asked[0], question.vary[asked[0]], own_bps, scenario)
    if any(_RATE.fullmatch(path) or _POWER.fullmatch(path) for path in question.given):
        notes["the ladder has one rung: --set says what it would climb"] = None
        return Ladder(EVERY_HOP, "bit/s", (own_bps,), ({},), 0)
    if physical:
        named = ", ".join(hops[at].name for at in physical)
        notes[
            f"rate and losses of {named} follow from the budget: its power is walked, in dB; --by link takes the least"
        ] = None
        rungs = []
        for gain_db in POWER_DB:
            powers = {at: hops[at].budget.power_w * 10.0 ** (gain_db / 10.0) for at in physical}  # type: ignore[union-attr]
            rungs.append({f"link.hops.{at}.budget.power_w": power for at, power in powers.items()})
        return Ladder("power", "dB", POWER_DB, tuple(rungs), POWER_DB.index(0.0))
    if any(hop.trace is not None for hop in hops):
        notes["the rate is that of a trace and stays; --vary link.rate_bps=... walks rates in its place"] = (
            None
        )
        return Ladder(EVERY_HOP, "bit/s", (own_bps,), ({},), 0)
    least, most = _span(scenario, own_bps, periods)
    values = _series(least, most)
    near = min(range(len(values)), key=lambda at: abs(math.log(values[at] / own_bps)))
    return Ladder(EVERY_HOP, "bit/s", values, tuple({EVERY_HOP: value} for value in values), near)


def _asked(path: str, given: Sequence[Any], own_bps: float, scenario: Scenario) -> Ladder:
    if any(isinstance(value, bool) or not isinstance(value, int | float) or value <= 0 for value in given):
        raise UsageError(f"--vary {path}: numbers above 0 were expected")
    values = tuple(sorted({float(value) for value in given}))
    power = bool(_POWER.fullmatch(path))
    own = _value(scenario, path) if path != EVERY_HOP else own_bps
    near = min(range(len(values)), key=lambda at: abs(math.log(values[at] / (own or own_bps))))
    return Ladder(path, "W" if power else "bit/s", values, tuple({path: value} for value in values), near)


def _span(scenario: Scenario, own_bps: float, periods: Sequence[float] | None) -> tuple[float, float]:
    """Return the least and the highest rate of hops worth walking: a frame of 32 bytes to one of a bit per pixel."""
    camera = scenario.camera
    periods = periods or [camera.period_s or 1.0]
    # What of a hop's own rate is there for packets: outages, contacts and duty cycles take the rest.
    share = own_bps / min(hop.rate_bps or own_bps for hop in scenario.link.hops)
    pixels = camera.width * camera.height
    least = _LEAST_BYTES * 8 / SHARE / max(periods) / share
    most = pixels * _MOST_BITS_PER_PIXEL / SHARE / min(periods) / share
    return least, most


def _series(least: float, most: float) -> tuple[float, ...]:
    """Return round rates from the last one that is at most *least* to the first that is at least *most*."""
    decades = range(math.floor(math.log10(least)) - 1, math.ceil(math.log10(most)) + 1)
    values = [float(f"{step}e{decade}") for decade in decades for step in _SERIES]
    first = max(at for at, value in enumerate(values) if value <= least * (1 + 1e-9))
    last = min(at for at, value in enumerate(values) if value >= most * (1 - 1e-9))
    return tuple(values[first : last + 1])
