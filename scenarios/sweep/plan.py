"""From what was asked to a list of cells: every scenario resolved and checked before anything runs.

A cell's key is the SHA-256 of all that its result depends on: the resolved scenario, the fingerprint, the models,
the source's files and the versions. Cells of one key are one cell. Settings that a codec does not read are left
out of its cells, so `--vary codec.name=gsc,webp --vary codec.channels=1,2` makes three cells and not four.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from link.codecs import SYNTAXES
from link.config import Codec
from link.errors import UsageError
from link.terminal import shorten
from scenarios import document, schema
from scenarios import run as runs
from scenarios.schema import Scenario
from scenarios.sweep import stamps
from sender.camera import is_live

MAX_CELLS = 100_000
ALIASES = {"source": "camera.source", "frames": "camera.frames", "codec": "codec.name"}
"""Short names of fields that `farlink run` has options for."""
_OPEN, _CLOSE = "[{", "]}"


@dataclass(frozen=True)
class Request:
    """What a sweep was asked for."""

    scenario: str
    settings: tuple[str, ...] = ()
    """`key=value` of `--set`: the same for all cells."""
    vary: Mapping[str, Sequence[Any]] | None = None
    """The values of each dotted path; the grid is their product."""
    listed: Sequence[Mapping[str, Any]] | None = None
    """Explicit settings; each is crossed with the grid."""
    source: str | None = None
    frames: int | None = None
    seeds: tuple[int, ...] | None = None
    """None: the scenario's own."""

    def tree(self) -> dict[str, Any]:
        """Return what `sweep.yaml` says."""
        return {
            "scenario": self.scenario,
            "set": list(self.settings),
            "vary": {key: list(values) for key, values in (self.vary or {}).items()},
            "list": None if self.listed is None else [dict(row) for row in self.listed],
            "source": self.source,
            "frames": self.frames,
            "seeds": None if self.seeds is None else list(self.seeds),
        }


@dataclass(frozen=True)
class Cell:
    """One run of a sweep."""

    key: str
    """SHA-256 in hexadecimal; `id` is its beginning."""
    scenario: Scenario
    settings: Mapping[str, Any]
    """The fields that were varied, without the seed."""
    group: str
    """Cells of one group encode the same frames the same way."""
    cacheable: bool
    """Whether equal keys mean equal results: not where a camera or a captioner outside farlink has a say."""

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits that name the cell in tables and folders."""
        return self.key[:16]

    @property
    def label(self) -> str:
        """What is special about the cell, for people."""
        parts = [f"{key}={value}" for key, value in self.settings.items()]
        return ", ".join([*parts, f"seed={self.scenario.seed}"])


def parse_vary(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Return path -> values of `PATH=VALUE,VALUE,...` texts, whose values are YAML.

    Commas in brackets, braces and quotes do not part values. Raise UsageError for what has no such form.
    """
    varied: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        key = ALIASES.get(key.strip(), key.strip())
        if not equals or not key or not values.strip():
            raise UsageError(
                f"--vary {shorten(text)}: PATH=VALUE,VALUE,... was expected, as in codec.channels=1,2,4"
            )
        if key in varied:
            raise UsageError(f"--vary {key}: stands twice; give all its values in one")
        if key == "seed":
            raise UsageError("--vary seed: give --seeds 1,2,3 instead")
        varied[key] = [document.parse(item, f"--vary {text}") for item in split(values)]
    return varied


def split(values: str) -> list[str]:
    """Return the parts of *values* between commas that stand outside brackets, braces and quotes."""
    parts: list[str] = []
    begin, depth, quote = 0, 0, ""
    for at, letter in enumerate(values):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in _OPEN:
            depth += 1
        elif letter in _CLOSE:
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append(values[begin:at])
            begin = at + 1
    return [*parts, values[begin:]]


def parse_list(path: Path) -> list[dict[str, Any]]:
    """Return the settings in a YAML file: a list of mappings from dotted path to value. Raise UsageError."""
    try:
        rows = document.read(path)
    except FileNotFoundError:
        raise UsageError(f"{shorten(str(path))}: no such file") from None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"{path}: a list of mappings was expected, as in '- {{codec.name: webp}}'")
    return [{ALIASES.get(str(key), str(key)): item for key, item in row.items()} for row in rows]


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return seeds 1 to N for `N`, those listed for `3,5,9`. Raise UsageError for anything else."""
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 0 or ("," not in text and not 1 <= numbers[0] <= MAX_CELLS):
        expected = f"a count of at most {MAX_CELLS}, or seeds with commas between them, was expected"
        raise UsageError(f"--seeds {shorten(text)}: {expected}")
    return tuple(dict.fromkeys(numbers)) if "," in text else tuple(range(1, numbers[0] + 1))


def cells(request: Request) -> list[Cell]:
    """Return the cells of *request* in order, each once, those that encode the same beside each other.

    Raise UsageError, naming the settings, for the first cell whose scenario does not hold together, and
    ModelMissingError where a model is not on this machine.
    """
    vary = request.vary or {}
    count = len(request.listed or [{}]) * len(request.seeds or [0])
    for values in vary.values():
        count *= len(values)
    if count > MAX_CELLS:
        raise UsageError(f"{count} cells were asked for; at most {MAX_CELLS} are possible")
    own = {"camera.source": request.source, "camera.frames": request.frames}
    given = {key: value for key, value in own.items() if value is not None}
    by_key: dict[str, Cell] = {}
    opened: set[str] = set()
    stamps.forget()
    for row in request.listed or [{}]:
        for values in itertools.product(*vary.values()):
            settings = {**row, **dict(zip(vary, values, strict=True))}
            for seed in request.seeds or (None,):
                overrides = {**given, **settings} | ({} if seed is None else {"seed": seed})
                found = cell(request, overrides, settings, opened)
                by_key.setdefault(found.key, found)
    order = {group: at for at, group in enumerate(dict.fromkeys(one.group for one in by_key.values()))}
    return sorted(by_key.values(), key=lambda one: order[one.group])


def cell(
    request: Request, overrides: Mapping[str, Any], settings: Mapping[str, Any], opened: set[str]
) -> Cell:
    """Return the cell of *request* with *overrides* laid over it, which *settings* are told of.

    *opened* holds the stamps of frames whose source was looked at. Raise as `cells` does.
    """
    try:
        scenario = _load(request, overrides)
        if scenario.senders:
            raise UsageError("senders: a sweep has one camera")
        if is_live(scenario.camera.source):
            raise UsageError("camera.source: a sweep needs a source that shows the same frames again")
        scenario, used = _relevant(scenario, settings)
        if (frames := stamps.shots(scenario)) not in opened:
            runs.check_source(scenario)
            opened.add(frames)
        key, group = stamps.cell(scenario)
    except UsageError as error:
        where = shorten(", ".join(f"{key}={value}" for key, value in settings.items()), 200)
        raise UsageError(f"cell {where}: {error}" if where else str(error)) from None
    repeatable = SYNTAXES[scenario.codec.name].repeatable(scenario)
    return Cell(key, scenario, used, group, repeatable)


def _load(request: Request, overrides: Mapping[str, Any]) -> Scenario:
    try:
        return schema.load(request.scenario, request.settings, overrides)
    except UsageError as error:
        raise UsageError(str(error).replace("--set ", "", 1)) from None


def _relevant(scenario: Scenario, settings: Mapping[str, Any]) -> tuple[Scenario, dict[str, Any]]:
    """Return *scenario* and *settings* without what its codec does not read."""
    facts = SYNTAXES[scenario.codec.name].facts
    unread = [name for name in Codec.model_fields if not facts.reads(name)]
    plain = {name: Codec.model_fields[name].default for name in unread}
    codec = scenario.codec.model_copy(update=plain)
    used = {key: value for key, value in settings.items() if key not in {f"codec.{name}" for name in unread}}
    return scenario.model_copy(update={"codec": codec}), used
