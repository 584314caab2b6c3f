"""What a run is worth beside the obvious: share of the link used, and what the best classical codec would have shown.

A few of the frames that were shown are encoded by the classical codecs, at the bytes that the run spent on each, and
at what the link carries in the time of a frame when it is full. Nothing is lost on their way, which is in their
favour. The best is that of the highest PSNR. Figures of the run itself are of the same frames.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from link import packet, png
from link.codecs import SYNTAXES
from link.codecs.classical import NAMES
from link.errors import BudgetError
from link.frame import Frame, Pixels
from link.hops import Link
from link.timing import body_bytes
from receiver.codecs.classical import ClassicalDecoder
from scenarios.results.cell import RunResult
from scenarios.results.metrics import camera_s
from scenarios.results.traffic import scenario
from scenarios.scoring import pictures
from scenarios.scoring.tasks import TASKS
from scenarios.words import percent, size
from sender.codecs.classical import ClassicalEncoder

MOST_FRAMES = 4
MOST_PIXELS = 600_000
"""Of all frames that are encoded: a search takes about a second a megapixel and codec."""
SCORES = ("psnr_db", "lpips")

Look = Callable[[Mapping[int, Pixels]], Mapping[str, tuple[str, Mapping[str, float | None]]]]
"""Gives, by task, what its scores are against and the scores, of pictures shown in place of the received ones."""


def reach(result: RunResult, look: Look | None = None) -> dict[str, Any] | None:
    """Return the verdict of *result*: `summary.json` has it as `verdict`; `text` is it in a paragraph.

    *look* None: without what a task makes of the pictures. What cannot be had is None, and `text` says why. There is no
    verdict where the journal's link is none that this version can read.
    """
    if result.cell["loss"] is None:
        return None
    share, full_bytes = _link(result)
    frames = _frames(result)
    verdict: dict[str, Any] = {
        "link_share": share,
        "frames": frames,
        "own": None,
        "same_bytes": None,
        "full_rate": None,
    }
    if frames:
        rows = {row.frame: row for row in result.rows}
        budgets = {frame: max(1, rows[frame].payload_bytes) for frame in frames}
        verdict["own"] = _own(result, frames, look)
        verdict["same_bytes"] = _best(result, budgets, look)
        if full_bytes is not None:
            verdict["full_rate"] = _best(result, dict.fromkeys(frames, full_bytes), look)
    return {**verdict, "text": text(result, verdict)}


def _link(result: RunResult) -> tuple[float | None, int | None]:
    """Return the share of the way out that was used, and the payload bytes that a frame could have had of it."""
    seconds, rate_bps = camera_s(result.run), result.cell["rate_bps"]
    if not seconds or not rate_bps or not result.rows:
        return None, None
    link = Link.model_validate(scenario(result.run)["link"])
    room_bits = seconds * rate_bps
    forward = result.traffic.cost.on_air - result.traffic.cost.feedback
    air_bytes = room_bits / 8.0 / len(result.rows)
    payload = packet.payload_bytes(air_bytes, body_bytes(link), link.framing, link.repair.fec)
    return forward * 8.0 / room_bits, max(1, payload)


def _frames(result: RunResult) -> list[int]:
    """Return a few of the frames that were shown, evenly taken."""
    pictures_of = result.run.pictures
    shown = [
        row.frame
        for row in result.rows
        if row.frame in pictures_of["sent"] and row.frame in pictures_of["received"]
    ]
    camera = scenario(result.run)["camera"]
    count = int(np.clip(MOST_PIXELS // (camera["width"] * camera["height"]), 1, MOST_FRAMES))
    if len(shown) <= count:
        return shown
    return [shown[place] for place in ((np.arange(count) + 0.5) * len(shown) / count).astype(int)]


def _own(result: RunResult, frames: Sequence[int], look: Look | None) -> dict[str, Any]:
    rows = {row.frame: row for row in result.rows}
    means = {}
    for name in SCORES:
        values = [value for frame in frames if (value := rows[frame].scores.get(name)) is not None]
        means[name] = float(np.mean(values)) if values else None
    tasks = {}
    syntax = SYNTAXES.get(result.figures["codec"])
    if look is not None and syntax is not None and not syntax.facts.draws:
        tasks = _tasks(_told(result, frames))
    elif look is not None:
        received = result.run.pictures["received"]
        tasks = _tasks(look({frame: png.decode(received[frame]) for frame in frames}))
    return {
        "codec": result.figures["codec"],
        "bytes": float(np.mean([rows[frame].payload_bytes for frame in frames])),
        "quality": means,
        "tasks": tasks,
    }


def _told(result: RunResult, frames: Sequence[int]) -> dict[str, tuple[str, Mapping[str, float | None]]]:
    """Return what each task's scores are against, and the scores, of findings that were sent as such."""
    by_task: dict[str, tuple[str, Mapping[str, float | None]]] = {}
    for task in TASKS:
        for reference in ("truth", "original"):
            kept = [result.judged.stats.get(frame, {}).get(f"{task}_{reference}") for frame in frames]
            known = [stats for stats in kept if stats is not None]
            if known and len(known) == len(kept):
                by_task[task] = (reference, TASKS[task].scores(known))
                break
    return by_task


def _best(result: RunResult, budgets: Mapping[int, int], look: Look | None) -> dict[str, Any]:
    """Return what the best classical codec shows within *budgets*, payload bytes by frame."""
    sent = {frame: png.decode(result.run.pictures["sent"][frame]) for frame in budgets}
    link = Link.model_validate(scenario(result.run)["link"])
    first = next(iter(budgets))
    made: dict[str, dict[int, tuple[Pixels, int]]] = {}
    reasons = []
    for name in NAMES:
        try:
            made[name] = {first: _coded(name, first, sent[first], budgets[first], body_bytes(link))}
        except BudgetError as error:
            reasons.append(str(error))

    def quality(name: str) -> float:
        value = pictures.EACH["psnr_db"].compute([sent[first]], [made[name][first][0]])[0]
        return np.inf if value is None else value

    for name in sorted(made, key=quality, reverse=True):
        try:
            for frame in list(budgets)[1:]:
                made[name][frame] = _coded(name, frame, sent[frame], budgets[frame], body_bytes(link))
        except BudgetError as error:
            reasons.append(str(error))
            continue
        shown = {frame: made[name][frame][0] for frame in budgets}
        scores = pictures.measure([*sent.values()], [*shown.values()], SCORES, 0).by_picture
        known = {key: [value for value in scores[key] if value is not None] for key in SCORES}
        return {
            "codec": name,
            "bytes": float(np.mean([count for _, count in made[name].values()])),
            "quality": {key: float(np.mean(values)) if values else None for key, values in known.items()},
            "tasks": {} if look is None else _tasks(look(shown)),
        }
    budget = float(np.mean(list(budgets.values())))
    return {
        "codec": None,
        "bytes": budget,
        "reason": reasons[0],
        "quality": dict.fromkeys(SCORES),
        "tasks": {},
    }


def _coded(name: str, number: int, pixels: Pixels, budget: int, section_bytes: int) -> tuple[Pixels, int]:
    """Return the picture that *name* shows of *pixels* within *budget* bytes, and its bytes. Raise BudgetError."""
    payload = ClassicalEncoder(name, budget, section_bytes).encode(
        Frame(number, 0, pixels, f"frame {number}")
    )
    shown = ClassicalDecoder(name, pixels.shape[1], pixels.shape[0]).decode(payload)
    if shown is None:
        raise BudgetError(f"codec {name}: what it made of frame {number} cannot be decoded")
    return shown, payload.size_bytes


def _tasks(by_task: Mapping[str, tuple[str, Mapping[str, float | None]]]) -> dict[str, dict[str, Any]]:
    return {
        task: {"reference": reference, TASKS[task].primary: scores[TASKS[task].primary]}
        for task, (reference, scores) in by_task.items()
    }


# Words


def text(result: RunResult, verdict: Mapping[str, Any]) -> str:
    """Return *verdict* in a paragraph."""
    parts = []
    if verdict["link_share"] is None:
        parts.append(
            "How much of the link was used cannot be said: its rate or the pictures' pace is not known."
        )
    else:
        parts.append(f"The run used {percent(verdict['link_share'])} of what the way out carries on average.")
    own = verdict["own"]
    if own is None:
        return " ".join([*parts, "No picture was shown, so there is nothing to compare."])
    name = own["codec"]
    syntax = SYNTAXES.get(name)
    what = "Its pictures" if syntax is None or syntax.facts.draws else "What it sent of its pictures"
    parts.append(f"{what}, {size(own['bytes'])} of payload each, come to {_scores(own)}.")
    for key, place in (("same_bytes", "At the same bytes"), ("full_rate", "With the link's full rate")):
        best = verdict[key]
        if best is None:
            continue
        if best["codec"] is None:
            parts.append(f"{place} ({size(best['bytes'])} a picture) no classical codec can send one.")
            continue
        parts.append(f"{place} ({size(best['bytes'])} a picture) {best['codec']} would show {_scores(best)}.")
    parts += _gains(name, verdict)
    count, total = len(verdict["frames"]), len(result.rows)
    parts.append(
        f"Classical figures are of {count} of the {total} pictures, without any loss on the way."
        if count < total
        else "Classical figures are without any loss on the way."
    )
    return " ".join(parts)


def _scores(one: Mapping[str, Any]) -> str:
    table = pictures.EACH
    known = [
        f"{table[key].label} {table[key].text(value)}"
        for key, value in one["quality"].items()
        if value is not None
    ]
    for task, scores in one["tasks"].items():
        value = scores[TASKS[task].primary]
        if value is not None:
            known.append(f"{task} {TASKS[task].labels[TASKS[task].primary]} {value:.3f}")
    return ", ".join(known) or "no score that could be had"


def _gains(name: str, verdict: Mapping[str, Any]) -> list[str]:
    """Say for which scores the run is ahead of the best classical codec at its bytes, and at the full rate."""
    said = []
    for key, place in (("same_bytes", "at the same bytes"), ("full_rate", "at the full rate")):
        other = verdict[key]
        if other is None or other["codec"] is None or other["codec"] == name:
            continue
        ahead: list[str] = []
        behind: list[str] = []
        for label, mine, theirs, higher in _pairs(verdict["own"], other):
            if mine != theirs:
                (ahead if (mine > theirs) == higher else behind).append(label)
        words = [f"ahead in {' and '.join(ahead)}"] * bool(ahead) + [
            f"behind in {' and '.join(behind)}"
        ] * bool(behind)
        if words:
            said.append(f"{place} {name} is {', '.join(words)}")
    return [f"In short: {'; '.join(said)}."] if said else []


def _pairs(own: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, float, float, bool]]:
    """Return (label, own value, other's value, whether higher is better) of each score that both have."""
    pairs = []
    for key in SCORES:
        mine, theirs = own["quality"][key], other["quality"][key]
        if mine is not None and theirs is not None:
            pairs.append((pictures.EACH[key].label, mine, theirs, pictures.EACH[key].higher_is_better))
    for task, scores in own["tasks"].items():
        primary = TASKS[task].primary
        mine, theirs = scores[primary], other["tasks"].get(task, {}).get(primary)
        if mine is not None and theirs is not None:
            pairs.append((task, mine, theirs, TASKS[task].higher_is_better[primary]))
    return pairs
