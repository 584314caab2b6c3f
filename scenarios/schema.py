"""Scenarios: YAML or preset -> checked, resolved, frozen. Nothing here touches a socket or a clock."""

import copy
import difflib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import ValidationError, field_validator

from link import packet
from link.channel.loss import LOSS_MODELS
from link.channel.rate import Trace, read_trace
from link.codecs import SYNTAXES
from link.config import Codec, Session
from link.errors import UsageError
from link.fields import MAX_SECONDS, Text
from link.marks import Affects, fields_marked
from link.physics.geometry import reckon_geometry
from link.physics.media import MEDIA
from link.physics.reckon import reckon_budget
from link.retransmit import HOP_REPAIRS
from link.terminal import escape, shorten
from link.timing import LIKELY_FRAMES, SHARE, body_bytes, check_span, path_share_bps, times
from scenarios import document
from scenarios.models.analysts import every_task, with_analysts
from sender.camera import check_source_name

_MOST_BYTES = 100_000
EVERY_HOP = "link.rate_bps"
"""Sets the rate of every hop, and takes a trace's place."""


class Scenario(Session):
    """A whole experiment: what the processes are told (`Session`), and what the report needs."""

    title: Annotated[Text, Affects.NOTHING] = ""
    """One sentence for the report's head."""

    @field_validator("codec")
    @classmethod
    def _known_codec(cls, codec: Codec) -> Codec:
        if codec.name not in SYNTAXES:
            raise ValueError(f"unknown codec {quote(codec.name)}{nearest(codec.name, SYNTAXES)}")
        SYNTAXES[codec.name].check(codec)
        return codec

    def session(self) -> Session:
        """Return the part that processes are told."""
        return Session.model_validate(self.model_dump(by_alias=True, include=set(Session.model_fields)))


def quote(value: Any) -> str:
    """Return *value* as it is written in Python, shortened: a message is no place for all of it."""
    return shorten(repr(value), 60)


def _plain(text: str) -> str:
    return shorten(escape(text))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or the names there are."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, 1, 0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(names)}"


def preset_names() -> list[str]:
    """Return the names of the scenarios that come with farlink."""
    folder = resources.files("scenarios") / "presets"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def source_text(name: str) -> tuple[str, Path | None]:
    """Return the YAML of a preset or a file, and the file's folder. Raise UsageError where there is none."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml", ".json") or os.path.isfile(path):
        try:
            return document.read_text(path), path.resolve().parent
        except FileNotFoundError:
            raise UsageError(f"{_plain(name)}: no such scenario file") from None
    if name not in preset_names():
        raise UsageError(f"no preset is called {quote(name)}{nearest(name, preset_names())}")
    return (resources.files("scenarios") / "presets" / f"{name}.yaml").read_text("utf-8"), None


def load(
    name: str,
    settings: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
    *,
    geometry: bool = True,
) -> Scenario:
    """Return the resolved scenario of a preset or a YAML file.

    *settings* are `key=value` strings (values in YAML), *overrides* values by dotted path; both are laid over
    the file. `link.rate_bps` is the rate of every hop, in a trace's place. How many frames a preset takes of its own
    source does not hold for another one. Raise UsageError, in one line that names the key, for everything that is
    wrong. Without *geometry*, delays and contacts that follow from where ends are stay as they are written: for lists.
    """
    tree, folder = _tree(name, settings, overrides)
    return from_tree(tree, name, folder, geometry=geometry)


def from_tree(
    tree: dict[str, Any], where: str, folder: Path | None = None, *, geometry: bool = True
) -> Scenario:
    """Return the resolved scenario that *tree* describes, read from *where*; its traces may lie in *folder*.

    Raise UsageError, in one line that names the key, for everything that is wrong.
    """
    if tree.get("analysis") == "all":
        tree = {**tree, "analysis": every_task(tree)}
    try:
        scenario = Scenario.model_validate(tree)
    except ValidationError as error:
        raise UsageError(f"{_plain(where)}: {_one_line(error)}") from None
    return resolve(scenario, folder, geometry=geometry)


def asks_for_all(name: str, settings: Iterable[str] = (), overrides: Mapping[str, Any] | None = None) -> bool:
    """Return whether the scenario that `load` would return was asked for with `analysis: all`."""
    return bool(_tree(name, settings, overrides)[0].get("analysis") == "all")


@lru_cache(maxsize=8)
def _parsed(text: str, name: str) -> Any:
    """Return what a scenario's *text* says, which a sweep asks for once a cell; nobody may change it."""
    return document.parse(text, name)


def _tree(
    name: str, settings: Iterable[str], overrides: Mapping[str, Any] | None
) -> tuple[dict[str, Any], Path | None]:
    text, folder = source_text(name)
    tree = copy.deepcopy(_parsed(text, name))
    if not isinstance(tree, dict):
        raise UsageError(f"{_plain(name)}: a mapping of keys was expected, not {quote(tree)}")
    given: list[tuple[str, Any]] = []
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {_plain(setting)}: key=value was expected, as in link.mtu_bytes=64")
        given.append((key.strip(), document.parse(value, f"--set {setting}")))
    # Whatever else an override says of the hops, and in whatever order: the rate of every hop comes last.
    given += sorted((overrides or {}).items(), key=lambda pair: pair[0] == EVERY_HOP)
    if folder is None and any(key == "camera.source" for key, _ in given):
        _put(tree, "camera.frames", None)
    for key, value in given:
        _put(tree, key, value)
    return tree, folder


def with_local_models(session: Session, settings: Iterable[str]) -> Session:
    """Return *session* with this machine's own models: *settings* are `profile.KEY=VALUE`, as for `load`.

    Raise UsageError for any other key: all else is said by the link.
    """
    own = {name: getattr(session, name) for name in sorted(fields_marked(Session, Affects.MACHINE))}
    tree: dict[str, Any] = {name: group.model_dump() for name, group in own.items()}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or key.strip().partition(".")[0] not in own or "." not in key:
            expected = " or ".join(f"{name}.KEY=VALUE" for name in own)
            raise UsageError(f"--set {_plain(setting)}: {expected} was expected; the link says all else")
        _put(tree, key.strip(), document.parse(value, f"--set {setting}"))
    for name, group in own.items():
        try:
            session = session.model_copy(update={name: type(group).model_validate(tree[name])})
        except ValidationError as error:
            raise UsageError(f"--set {_one_line(error, name)}") from None
    return session


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set the field at a dotted *path*; a number names an item of a list, `link.rate_bps` the rate of every hop."""
    if path == EVERY_HOP:
        hops = tree.get("link", {}).get("hops") if isinstance(tree.get("link"), dict) else None
        for hop in hops if isinstance(hops, list) else []:
            if isinstance(hop, dict):
                about = hop.get("budget")
                if isinstance(about, dict):
                    about["rate_bps"] = value
                    about.pop("rates_bps", None)
                    hop.pop("rate_bps", None)
                else:
                    hop["rate_bps"] = value
                hop.pop("trace", None)
        return
    keys = path.split(".")
    if len(keys) > document.MAX_DEPTH:
        raise UsageError(f"--set {_plain(path)}: over {document.MAX_DEPTH} groups within groups")
    node: Any = tree
    for at, key in enumerate(keys):
        last = at == len(keys) - 1
        if isinstance(node, list):
            if not re.fullmatch("[0-9]{1,9}", key) or int(key) >= len(node):
                has = f"has items 0 to {len(node) - 1}" if node else "is empty"
                where = _plain(".".join(keys[:at]))
                raise UsageError(f"--set {_plain(path)}: {where} {has}, not {quote(key)}")
            place: Any = int(key)
        elif isinstance(node, dict):
            place = key
        else:
            raise UsageError(f"--set {_plain(path)}: {_plain('.'.join(keys[:at]))} is no group of fields")
        if last:
            node[place] = value
            return
        if isinstance(node, dict) and node.get(place) is None:
            node[place] = {}
        node = node[place]


def _one_line(error: ValidationError, *under: str) -> str:
    """Return the first thing that is wrong, with where it is and what was expected; *under*: the group it is of."""
    first = error.errors(include_url=False, include_context=True)[0]
    loc = (*under, *first["loc"])
    where = _plain(".".join(str(part) for part in loc if not _is_tag(part)))
    if first["type"] == "extra_forbidden":
        *parents, key = map(str, loc)
        where = _plain(".".join(part for part in parents if not _is_tag(part)))
        fields = _fields_at(loc[:-1])
        return f"{where or 'scenario'}: unknown key {quote(key)}{nearest(key, fields) if fields else ''}"
    message = shorten(escape(first["msg"].removeprefix("Value error, ")), 400)
    if first["type"] == "int_parsing_size":  # pydantic speaks of a string, also where it was given a number
        message = "a number of less than 20 digits was expected"
    given = first.get("input")
    shown = "" if isinstance(given, dict | list) or first["type"] in ("missing",) else f", not {quote(given)}"
    if first["type"] == "value_error":
        shown = ""
    return f"{where or 'scenario'}: {message[:1].lower() + message[1:]}{shown}"


def _is_tag(part: Any) -> bool:
    """Return whether *part* of an error's place is put there by pydantic, and no file says it."""
    return part in LOSS_MODELS or part in MEDIA or part in HOP_REPAIRS


def _fields_at(loc: tuple[int | str, ...]) -> list[str]:
    """Return the keys that are known at a place of the schema."""
    schema = Scenario.model_json_schema(by_alias=True)
    node: Any = schema
    for part in loc:
        node = _follow(node, schema)
        options = node.get("anyOf") or node.get("oneOf") or [node]
        inner = None
        for option in options:
            option = _follow(option, schema)
            if isinstance(part, int):
                inner = inner or option.get("items") or next(iter(option.get("prefixItems", [])), None)
            else:
                mapping = option.get("discriminator", {}).get("mapping", {})
                inner = inner or option.get("properties", {}).get(part)
                if part in mapping:
                    inner = {"$ref": mapping[part]}
        node = inner or node
    node = _follow(node, schema)
    keys: list[str] = []
    for option in node.get("anyOf", [node]):
        keys += _follow(option, schema).get("properties", {})
    return keys


def field_paths() -> list[str]:
    """Return the dotted path of each field of a scenario, in its order; `0` stands for an item of a list."""
    schema = Scenario.model_json_schema(by_alias=True)
    paths: dict[str, None] = {}

    def walk(node: Any, path: str) -> None:
        node = _follow(node, schema)
        for option in (choices := node.get("anyOf") or node.get("oneOf") or []):
            walk(option, path)
        for key, child in node.get("properties", {}).items():
            walk(child, f"{path}.{key}" if path else key)
        items = _follow(node.get("items") or {}, schema)
        if "properties" in items:
            walk(items, f"{path}.0")
        elif not choices and "properties" not in node and node.get("type") != "null":
            paths[path] = None

    walk(schema, "")
    return [EVERY_HOP, *paths]


def _follow(node: Any, schema: Any) -> Any:
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def traces(session: Session) -> dict[str, Trace]:
    """Return the trace of each hop that names one; a bare name is one that comes with farlink."""
    return {hop.name: read_trace(Path(hop.trace)) for hop in session.link.hops if hop.trace is not None}


def resolve(scenario: Scenario, folder: Path | None = None, *, geometry: bool = True) -> Scenario:
    """Return *scenario* with paths made absolute and everything that is derived filled in.

    This is all that is checked of a scenario before it runs, the files of its source and its models apart. Raise
    UsageError, in one line, where its source is none, a model is missing for a task, what is derived is out of range,
    or its times could leave what the clock counts.
    """
    for sender in range(len(scenario.origins)):
        check_source_name(scenario.camera_of(sender)[0].source)
    scenario = scenario.model_copy(update={"profile": with_analysts(scenario)})
    hops = tuple(
        hop if hop.trace is None else hop.model_copy(update={"trace": str(_trace_path(hop.trace, folder))})
        for hop in map(reckon_budget, scenario.link.hops)
    )
    back = scenario.link.return_
    link = scenario.link.model_copy(
        update={"hops": hops, "return_": None if back is None else reckon_budget(back)}
    )
    if geometry:
        link = reckon_geometry(link, run_span_s(scenario), folder)
    scenario = scenario.model_copy(update={"link": link})
    hop_traces = traces(scenario)
    if scenario.codec.frame_bytes is None:
        budget = _budget_bytes(scenario, hop_traces)
        codec = scenario.codec.model_copy(update={"frame_bytes": budget})
        scenario = scenario.model_copy(update={"codec": codec})
    most = packet.most_payload_bytes(body_bytes(link), link.repair.fec)
    if not SYNTAXES[scenario.codec.name].facts.adjustable and (scenario.codec.frame_bytes or 0) > most:
        raise UsageError(
            f"codec.frame_bytes {scenario.codec.frame_bytes}: a frame has at most {packet.MAX_PACKETS} packets, which "
            f"carry {most} bytes at link.mtu_bytes {link.mtu_bytes} and repair.fec {link.repair.fec:g}"
        )
    if scenario.live:
        return scenario  # what follows from the link's figures follows them when they are changed
    back = link.return_
    if back is not None and back.delay_s is None:
        delay_s = math.fsum(hop.delay_s for hop in link.way)
        link = link.model_copy(update={"return_": back.model_copy(update={"delay_s": delay_s})})
    if link.deadline_s is None:
        deadline_s = math.ceil(times(scenario, hop_traces).deadline_ns / 1e6) / 1e3
        if deadline_s > MAX_SECONDS:
            raise UsageError(
                f"link.deadline_s: {deadline_s:.3g} s follow from the link's rates, delays and repair; "
                f"at most {MAX_SECONDS:g} s: give link.deadline_s, or a link that needs less"
            )
        link = link.model_copy(update={"deadline_s": deadline_s})
    scenario = scenario.model_copy(update={"link": link})
    check_span(scenario, hop_traces)
    return scenario


def run_span_s(session: Session) -> float:
    """Return for how long the camera of *session* takes pictures, in seconds; a likely time where nobody says."""
    return (session.camera.frames or LIKELY_FRAMES) * (session.camera.period_s or 1.0)


def _budget_bytes(scenario: Scenario, hop_traces: Mapping[str, Trace]) -> int:
    link = scenario.link
    if SYNTAXES[scenario.codec.name].facts.adjustable and scenario.codec.rate_control != "bytes":
        return _MOST_BYTES  # what a frame may cost is decided otherwise
    rate = path_share_bps(scenario, hop_traces)
    air = SHARE * rate * (scenario.camera.period_s or 1.0) / 8.0
    payload = packet.payload_bytes(air, body_bytes(link), link.framing, link.repair.fec)
    most = packet.most_payload_bytes(body_bytes(link), link.repair.fec)
    return max(16, min(_MOST_BYTES, payload, most))


def shipped_trace(name: str) -> Path:
    """Return where a trace called *name* would lie that comes with farlink."""
    return Path(str(resources.files("scenarios") / "traces" / name))


def _trace_path(name: str, folder: Path | None) -> Path:
    shipped = shipped_trace(name)
    for path in (Path(name), (folder or Path()) / name, shipped):
        if os.path.isfile(path):
            return path.resolve()
    names = sorted(item.name for item in shipped.parent.glob("*.down")) if shipped.parent.is_dir() else []
    raise UsageError(f"trace {quote(name)}: no such file{nearest(name, names) if names else ''}")


def to_yaml(scenario: Scenario) -> str:
    """Return the scenario as YAML that `load` reads back to the same."""
    tree = json.loads(scenario.model_dump_json(by_alias=True, exclude_none=True))
    text = str(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))
    if escape(text, keep="\n") == text:
        return text
    # PyYAML takes bidi marks for printable: with all but ASCII spelled out nobody is shown another file.
    return str(yaml.safe_dump(tree, sort_keys=False))
