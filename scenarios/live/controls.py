"""The controls of a page, in one table: for each steered field what people call it, its unit and range.

    controls(session, loaded) -> [{path, label, kind, unit, min, max, scale, value, ...}]
    wished(session, first, {"link.hops.0.loss.loss": 0.1}) -> what `link.steering.lay` takes

Which fields may be steered is said by their `Steers` marks (`link.config`) and by nobody else. A control's value is
always a number, a word or a switch; `wished` makes a loss model or an outage of it where the session has none.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from link.codecs import SYNTAXES
from link.config import Codec, Session
from link.hops import HopConfig, Repair, ReturnHop
from scenarios.words import duration, percent, rate

_ALWAYS_S = 1e8
"""The end of an outage that nobody has ended yet: the latest that a scenario takes."""

Group = Literal["link", "sender", "drawing"]


@dataclass(frozen=True)
class SteeringControl:
    """A control: a steered field, or a part of one."""

    label: str
    kind: Literal["range", "choice", "switch"]
    unit: str = ""
    least: float = 0.0
    most: float = 1.0
    scale: Literal["linear", "log"] = "linear"
    step: float | None = None
    choices: tuple[tuple[Any, str], ...] = ()
    note: str = ""
    shown: Callable[[Session], bool] = lambda _session: True
    """Whether the field means anything in a session."""


def _switched(name: str) -> Callable[[Session], bool]:
    return lambda session: SYNTAXES[session.codec.name].facts.reads(name)


def _adjustable(session: Session) -> bool:
    return SYNTAXES[session.codec.name].facts.adjustable


_RATE = SteeringControl("rate", "range", "bit/s", 10, 1e8, "log")
_DELAY = SteeringControl(
    "delay", "range", "s", 0, 2000, "log", note="a packet never arrives before the last one"
)
OF_BUDGETS = ("rate_bps", "loss.loss", "loss.mean_burst", "bit_error_rate")
HOP: Mapping[str, SteeringControl] = {
    "rate_bps": _RATE,
    "delay_s": _DELAY,
    "loss.loss": SteeringControl("loss", "range", "%", 0, 0.95, step=0.005),
    "loss.mean_burst": SteeringControl("burst length", "range", "", 1, 50, step=0.5, note="packets lost in a row"),
    "bit_error_rate": SteeringControl("bit errors", "range", "", 0, 0.01, note="share of bits that are flipped"),
    "duplicate_ratio": SteeringControl("copies", "range", "%", 0, 1, step=0.01),
    "jitter.scale_s": SteeringControl("jitter", "range", "s", 0, 60),
    "outage": SteeringControl(
        "outage", "choice",
        choices=(("up", "none"), ("lose", "down, packets are lost"), ("hold", "down, packets wait")),
    ),
}  # fmt: skip
"""Of a hop, by what follows `link.hops.N.` or `link.return.`."""
SENDER: Mapping[str, SteeringControl] = {
    "codec.max_channels": SteeringControl("channels", "range", "", 0, 32, step=1, shown=_switched("channels")),
    "codec.caption_words": SteeringControl(
        "words of the caption", "range", "", 2, 60, step=1, shown=_switched("caption_words")
    ),
    "codec.rate_control": SteeringControl(
        "rate control", "choice", shown=_adjustable,
        choices=(("bytes", "by bytes"), ("fixed", "off"), ("task", "by the task")),
    ),
    "codec.alpha": SteeringControl("weight of the task", "range", "", 0, 10, shown=_adjustable),
    "codec.beta": SteeringControl("price of a kilobyte", "range", "", 0, 10, shown=_adjustable),
    "codec.task": SteeringControl(
        "whose accuracy", "choice", shown=_adjustable,
        choices=tuple((name, name) for name in ("segmentation", "depth", "detection", "mean")),
    ),
    "codec.frame_bytes": SteeringControl("bytes of a frame", "range", "", 50, 100_000, "log", 1),
    "camera.period_s": SteeringControl(
        "time between pictures", "range", "s", 0.1, 3600, "log",
        shown=lambda session: session.camera.period_s is not None,
    ),
    "link.repair.fec": SteeringControl(
        "repair sent in advance", "range", "", 0, 4, step=0.05,
        note="repair bytes for a byte of data; only where the session began with some",
    ),
    "link.repair.fec_frames": SteeringControl(
        "frames of a repair block", "range", "", 1, 127, step=1, shown=lambda s: s.link.repair.fec > 0
    ),
    "link.repair.arq_rounds": SteeringControl(
        "requests for a frame", "range", "", 1, 32, step=1, shown=lambda s: s.link.repair.arq
    ),
    "link.deadline_s": SteeringControl(
        "wait for the rest", "range", "s", 0.1, 10_000, "log",
        shown=lambda session: session.link.deadline_s is not None,
    ),
}  # fmt: skip
"""Of the sender, by path. Ranges are what a slider needs; what is valid is said by the session's own rules."""
DRAWING: Mapping[str, SteeringControl] = {
    "codec.steps": SteeringControl("steps", "range", "", 1, 64, "log", 1, shown=_switched("steps")),
    "codec.strength": SteeringControl(
        "strength", "range", "", 0.05, 1, step=0.05, shown=_switched("strength")
    ),
    "codec.guidance": SteeringControl("guidance", "range", "", 0, 20, step=0.1, shown=_switched("guidance")),
    "codec.control_scale": SteeringControl(
        "weight of the channels", "range", "", 0, 3, step=0.05, shown=_switched("control_scale")
    ),
    "codec.object_steps": SteeringControl(
        "steps of an object", "range", "", 1, 64, "log", 1, shown=lambda s: s.codec.object_steps is not None
    ),
    "codec.attention": SteeringControl(
        "attention guidance", "range", "", 0, 400, step=5, shown=_switched("attention")
    ),
    "codec.attention_ratio": SteeringControl(
        "steps that are guided", "range", "%", 0, 1, step=0.05, shown=_switched("attention_ratio")
    ),
    "codec.noise_seed": SteeringControl("noise", "range", "", 0, 100, step=1, shown=_switched("noise_seed")),
    "link.repair.show_early": SteeringControl(
        "show what is there", "switch", note="while the rest is asked for", shown=lambda s: s.link.repair.arq
    ),
}
"""Of the receiver, by path."""
ANALYSIS = SteeringControl("analysis", "switch")
"""One for each task whose model was loaded, `analysis.TASK`."""
KEEP_UP = SteeringControl(
    "keep up",
    "switch",
    note="fewer steps while drawing takes over 80 % of a period, more again when there is room",
)
"""Not of the session but of the page's server (`scenarios.live.keep_up`)."""
_GROUPS: Mapping[Group, Mapping[str, SteeringControl]] = {"sender": SENDER, "drawing": DRAWING}


def fields() -> frozenset[str]:
    """Return the steered fields that the table has, as `Model.field`, for whoever checks that none is left out."""
    of_hops = {f"{model.__name__}.{path.split('.')[0]}" for model in (HopConfig, ReturnHop) for path in HOP}
    owners = {"codec": Codec.__name__, "camera": "Camera", "link.repair": Repair.__name__, "link": "Link"}
    others = {f"{owners[path.rpartition('.')[0]]}.{path.rpartition('.')[2]}" for path in (*SENDER, *DRAWING)}
    return frozenset(of_hops | others | {"Session.analysis"})


def _all(session: Session, loaded: Sequence[str]) -> Iterator[tuple[str, Group, int | None, SteeringControl]]:
    link = session.link
    for at, hop in enumerate(link.hops):
        for part, control in HOP.items():
            if part == "rate_bps" and hop.trace is not None:
                continue  # the trace says it
            if part in OF_BUDGETS and hop.budget is not None:
                continue  # its physics say it
            if part == "loss.mean_burst" and not hasattr(hop.loss, "mean_burst"):
                continue
            yield f"link.hops.{at}.{part}", "link", at, control
    if link.return_ is not None:
        for part, control in HOP.items():
            if part in OF_BUDGETS and link.return_.budget is not None:
                continue
            if part != "loss.mean_burst" or hasattr(link.return_.loss, "mean_burst"):
                yield f"link.return.{part}", "link", -1, control
    for group, table in _GROUPS.items():
        for path, control in table.items():
            if control.shown(session):
                yield path, group, None, control
    for task in loaded:
        yield f"analysis.{task}", "drawing", None, ANALYSIS


def controls(session: Session, loaded: Sequence[str]) -> list[dict[str, Any]]:
    """Return the controls of *session* for a page; *loaded*: tasks whose models the receiver has."""
    values = control_values(session, loaded)
    made = []
    for path, group, hop, control in _all(session, loaded):
        if path == "codec.max_channels":
            control = replace(control, most=session.codec.channels)
        elif control is ANALYSIS:
            control = replace(control, label=path.partition(".")[2])
        made.append(state_of(control, path, group, values[path], hop))
    return made


def state_of(
    control: SteeringControl, path: str, group: Group, value: Any, hop: int | None = None
) -> dict[str, Any]:
    """Return *control* for a page, with the value that it has."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        "path": path,
        "group": group,
        "hop": hop,
        "label": control.label,
        "kind": control.kind,
        "unit": control.unit,
        "min": min(control.least, value) if number else control.least,
        "max": max(control.most, value) if number else control.most,
        "scale": control.scale,
        "step": control.step,
        "choices": [list(choice) for choice in control.choices] or None,
        "value": value,
        "note": control.note,
    }


def control_values(session: Session, loaded: Sequence[str]) -> dict[str, Any]:
    """Return the value of each control, by path."""
    return {path: _value(session, path) for path, _, _, _ in _all(session, loaded)}


def _value(session: Session, path: str) -> Any:
    if path.startswith("analysis."):
        return path.partition(".")[2] in session.analysis
    if path == "codec.max_channels":
        return session.codec.sent_channels
    hop, part = _hop(session, path)
    if hop is not None:
        if part == "outage":
            down = hop.outage is not None and any(end >= _ALWAYS_S for _, end in hop.outage.windows_s)
            return ("hold" if hop.outage.hold else "lose") if down and hop.outage is not None else "up"
        if part == "loss.loss":
            return 0.0 if hop.loss is None else getattr(hop.loss, "loss", hop.loss.mean_loss)
        if part == "jitter.scale_s":
            return 0.0 if hop.jitter is None else hop.jitter.scale_s
        if part == "delay_s" and hop.delay_s is None:
            return sum(out.delay_s for out in session.link.hops)
    node: Any = session
    for key in path.split("."):
        node = (
            node[int(key)]
            if isinstance(node, tuple)
            else getattr(node, "return_" if key == "return" else key)
        )
    return node


def _hop(session: Session, path: str) -> tuple[HopConfig | ReturnHop | None, str]:
    keys = path.split(".")
    if keys[:2] == ["link", "return"] and session.link.return_ is not None:
        return session.link.return_, ".".join(keys[2:])
    if keys[:2] == ["link", "hops"] and len(keys) > 3 and keys[2].isascii() and keys[2].isdigit():
        at = int(keys[2][:9])
        if at < len(session.link.hops):
            return session.link.hops[at], ".".join(keys[3:])
    return None, ""


def wished(session: Session, first: Session, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return values for `link.steering.lay` of what controls are set to; *first* is the session as it began.

    Paths that are no control's go through as they are, for `lay` to judge.
    """
    laid: dict[str, Any] = {}
    analysis: dict[str, bool] = dict.fromkeys(session.analysis, True)
    for path, value in asked.items():
        hop, part = _hop(session, path)
        root = path.removesuffix(f".{part.partition('.')[2]}") if hop is not None and "." in part else path
        if path.startswith("analysis."):
            analysis[path.partition(".")[2]] = bool(value)
            laid["analysis"] = sorted(task for task, on in analysis.items() if on)
        elif hop is not None and part == "outage":
            laid[path] = _outage(first, path, value)
        elif hop is not None and part == "loss.loss" and not hasattr(hop.loss, "loss"):
            laid[root] = {"model": "bernoulli", "loss": value} if value else None
        elif hop is not None and part == "jitter.scale_s" and (hop.jitter is None or value == 0):
            laid[root] = {"model": "uniform", "scale_s": value} if value else None
        else:
            laid[path] = value
    return laid


def _outage(first: Session, path: str, value: Any) -> Any:
    if value == "up":
        hop, _ = _hop(first, path)
        return None if hop is None or hop.outage is None else hop.outage.model_dump(mode="json")
    if value in ("lose", "hold"):
        return {"windows_s": [[0.0, _ALWAYS_S]], "hold": value == "hold"}
    return value


def words_of(session: Session, path: str, old: Any, new: Any) -> str:
    """Return a change of the field at *path*, which was laid over *session*, as people say it."""
    hop, part = _hop(session, path)
    where = f" of {getattr(hop, 'name', 'the way back')}" if hop is not None else ""
    control = HOP.get(part) if hop is not None else {**SENDER, **DRAWING}.get(path)
    label = control.label if control is not None else part if hop is not None else path.rpartition(".")[2]
    if part == "outage":
        return f"{label}{where}: {('packets wait' if new.get('hold') else 'down') if _down(new) else 'over'}"
    unit = control.unit if control is not None else "%" if part == "loss" else ""
    return f"{label}{where} {_say(old, unit)} → {_say(new, unit)}"


def _down(outage: Any) -> bool:
    return isinstance(outage, dict) and any(end >= _ALWAYS_S for _, end in outage.get("windows_s") or ())


def _say(value: Any, unit: str) -> str:
    if isinstance(value, dict):
        inner = value.get("loss", value.get("scale_s"))
        return _say(inner, unit) if inner is not None else "another model"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, int | float):
        said = {"bit/s": rate, "s": duration, "%": percent}.get(unit)
        return said(value) if said is not None else f"{value:g}"
    return str(value)
