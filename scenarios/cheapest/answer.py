"""From a question to its answer: the cheapest link, the three that come next, and how much was looked at for them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from link.errors import FarlinkError, PartialError
from scenarios import schema
from scenarios.cheapest.question import WANTED, Question
from scenarios.cheapest.runner import Runner, Spent, Watch
from scenarios.cheapest.search import Break, Looked, Place, broken, distinct, ranked, search
from scenarios.cheapest.trial import Trial
from scenarios.cheapest.walk import Walk, walk
from scenarios.words import percent, rate

CANNOT = 1
"""Exit code where no link that was walked keeps enough."""


@dataclass(frozen=True)
class Advice:
    """What a question came to."""

    question: Question
    walk: Walk
    trials: dict[Place, Trial]
    """All that was looked at."""
    best: tuple[tuple[Trial, tuple[Trial, ...]], ...]
    """The cheapest that are enough, each with others that send and keep exactly the same; none where none is."""
    closest: Trial | None
    """The one that keeps most by its interval's lower end; None where nothing could be run."""
    spent: Spent
    pairs: int
    """Pairs of rungs that the assumptions of the search were held against."""
    breaks: tuple[Break, ...]
    scenario: str | None
    """The scenario of the cheapest, in YAML."""

    @property
    def error(self) -> FarlinkError | None:
        """Why it is not all that was asked for; None where it is."""
        if self.spent.cut:
            return PartialError(
                f"--budget: {self.spent.run} cells were run, and the search is not over; the same command goes on"
            )
        if self.best:
            return None
        return CannotKeepError(f"no link that was walked keeps enough: {_closest(self)}")


class CannotKeepError(FarlinkError):
    """No link that was walked keeps what was asked for."""

    exit_code = CANNOT


def _closest(advice: Advice) -> str:
    trial, question = advice.closest, advice.question
    if trial is None:
        why = next((trial.why_not for trial in advice.trials.values()), "nothing was looked at")
        return f"none could be run ({why})"
    assert trial.kept is not None
    return (
        f"{name(advice.walk, trial)} keeps most, {percent(trial.kept.share)} "
        f"[{percent(trial.kept.low)}, {percent(trial.kept.high)}] of the {percent(question.keep)} asked for"
        + ("" if trial.kept.low < question.keep else f", but {trial.why_not}")
    )


def name(walk: Walk, trial: Trial) -> str:
    """Return a trial's link as people say it: `20 bit/s, channels 8, fec 0.1`."""
    parts = [walk.ladder.words(trial.place[1])]
    for path, value in trial.settings.items():
        field = path.rpartition(".")[2]
        parts.append(
            str(value) if field == "name" else f"{field} {value:g}" if _number(value) else f"{field} {value}"
        )
    return ", ".join(parts)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def find(
    question: Question,
    *,
    whole_grid: bool = False,
    workers: int | None = None,
    cache: bool = True,
    budget: int | None = None,
    watch: Watch = lambda _spent, _trial: None,
) -> Advice:
    """Return the answer to *question*, its cells run or taken from the cache; *whole_grid*: all of them.

    Raise UsageError where it cannot be answered, ModelMissingError where a model is missing, StorageError where the
    disk is full. What was run by then is kept.
    """
    walked = walk(question)
    settings, rungs = len(walked.settings), len(walked.ladder.values)
    with Runner(question, walked, workers=workers, cache=cache, budget=budget, watch=watch) as runner:
        runner.check()
        if whole_grid:
            known: Mapping[Place, Looked] = runner.look(
                [(setting, rung) for setting in range(settings) for rung in range(rungs)]
            )
        else:
            known = search(settings, rungs, walked.ladder.own, WANTED, runner.look)
        return _answer(question, walked, runner, known)


def _answer(question: Question, walked: Walk, runner: Runner, known: Mapping[Place, Looked]) -> Advice:
    trials = runner.trials
    groups = distinct(ranked(known), lambda place: (trials[place].cost, trials[place].kept))[:WANTED]
    best = tuple((trials[first], tuple(trials[place] for place in rest)) for first, rest in groups)
    kept = [trial for trial in trials.values() if trial.kept is not None]
    closest = max(kept, key=lambda trial: trial.kept.low if trial.kept else 0.0, default=None)
    pairs, breaks = broken(known)
    text = schema.to_yaml(runner.cells(best[0][0].place)[0].scenario) if best else None
    return Advice(question, walked, trials, best, closest, runner.spent, pairs, tuple(breaks), text)


def tree(advice: Advice) -> dict[str, Any]:
    """Return *advice* as `farlink plan --json` prints it."""
    question, walked, spent = advice.question, advice.walk, advice.spent
    order = sorted(advice.trials)
    return {
        "scenario": question.scenario,
        "task": question.task,
        "score": question.measure.primary,
        "reference": question.reference,
        "keep": question.keep,
        "confident": question.confident,
        "by": question.by,
        "age_s": question.age_s,
        "complete": not spent.cut,
        "chosen": _row(advice.best[0]) if advice.best else None,
        "next": [_row(entry) for entry in advice.best[1:]],
        "closest": None if advice.closest is None else _trial(advice.closest),
        "walked": {
            "ladder": {"path": walked.ladder.path, "unit": walked.ladder.unit, "values": list(walked.ladder.values)},
            "settings": {path: list(values) for path, values in walked.walked.items()},
            "notes": list(walked.notes),
        },
        "cells": {
            "grid": spent.grid, "looked_at": spent.looked_at, "run": spent.run, "cached": spent.cached,
            "failed": spent.failed,
        },
        "assumed": {"pairs": advice.pairs, "broken": [_break(advice, one) for one in advice.breaks]},
        "trials": [_trial(advice.trials[place]) for place in order],
    }  # fmt: skip


def _row(entry: tuple[Trial, Sequence[Trial]]) -> dict[str, Any]:
    trial, same = entry
    return {**_trial(trial), "same": [dict(other.settings) for other in same]}


def _trial(trial: Trial) -> dict[str, Any]:
    kept = None if trial.kept is None else asdict(trial.kept)
    return {
        "rung": trial.rung,
        "settings": dict(trial.settings),
        "on_air_bps": trial.on_air_bps,
        "way_out_bps": trial.way_out_bps,
        "rate_bps": trial.rate_bps,
        "bytes_per_frame": trial.bytes_per_frame,
        "kept": kept,
        "latency_p50_s": trial.latency_p50_s,
        "age_mean_s": trial.age_mean_s,
        "enough": trial.enough,
        "why_not": trial.why_not,
        "failed": trial.failed,
        "cells": list(trial.cells),
    }


def _break(advice: Advice, one: Break) -> dict[str, Any]:
    lower, higher = advice.trials[one.lower], advice.trials[one.higher]
    return {"what": one.what, "settings": dict(lower.settings), "lower": lower.rung, "higher": higher.rung}


def lines(advice: Advice) -> list[str]:
    """Return the answer for people."""
    question, walked, spent = advice.question, advice.walk, advice.spent
    told = advice.best[0][0] if advice.best else advice.closest
    against = "the truth" if question.reference == "truth" else "what the model finds in the originals"
    out = []
    if told is not None and told.kept is not None:
        out.append(
            f"{question.task} ({question.score} against {against}): {told.kept.ideal:.3f} on the originals; at least "
            f"{percent(question.keep)} of it at the lower end of the {100 * question.confident:g} % interval"
        )
    if advice.best:
        out += _table(advice)
    checked = f"{advice.pairs} pairs of rungs were as the search assumes" if not advice.breaks else ""
    if advice.breaks:
        checked = f"{len(advice.breaks)} of {advice.pairs} pairs of rungs were not as the search assumes"
        if spent.looked_at < spent.grid:
            checked += "; less may do, which --whole-grid would show"
    share = f" of a grid of {spent.grid}" if spent.grid else ""
    out.append(
        f"{spent.looked_at} cells{share} ({spent.run} run, {spent.cached} from this machine's cache); {checked}"
    )
    out += [f"  {_told_break(advice, one)}" for one in advice.breaks]
    if advice.best and advice.best[0][0].place[1] == 0 and len(walked.ladder.values) > 1:
        out.append(
            f"the lowest rung of the ladder is enough already: less may do (--vary {_example(walked)})"
        )
    failed = [trial for trial in advice.trials.values() if trial.failed]
    out += [f"could not be run: {name(walked, trial)}: {trial.why_not}" for trial in failed]
    out += list(walked.notes)
    return out


def _example(walked: Walk) -> str:
    path = walked.ladder.path if "." in walked.ladder.path else "link.hops.0.budget.power_w"
    return f"{path}=..."


def _table(advice: Advice) -> list[str]:
    head = f"{'':8}{'both ways':>13}{'bytes/frame':>13}{'kept':>7}  {'interval':15}{'age':>10}  link"
    rows = [head]
    for at, (trial, same) in enumerate(advice.best):
        kept = trial.kept
        assert kept is not None and trial.on_air_bps is not None
        age = "-" if trial.age_mean_s is None else f"{trial.age_mean_s:.4g} s"
        span = f"[{percent(kept.low)}, {percent(kept.high)}]"
        rows.append(
            f"{'cheapest' if not at else 'next':8}{rate(trial.on_air_bps):>13}{trial.bytes_per_frame or 0:>13.0f}"
            f"{percent(kept.share):>7}  {span:15}{age:>10}  {name(advice.walk, trial)}"
        )
        if same:
            rows.append(f"{'':70}the same: {'; '.join(name(advice.walk, other) for other in same)}")
    return rows


def _told_break(advice: Advice, one: Break) -> str:
    lower, higher = advice.trials[one.lower], advice.trials[one.higher]
    if one.what == "cost":
        return (
            f"{name(advice.walk, higher)} costs less than the rung {advice.walk.ladder.words(one.lower[1])}"
        )
    return (
        f"{name(advice.walk, lower)} is enough, the rung {advice.walk.ladder.words(one.higher[1])} above it is not: "
        f"{higher.why_not}"
    )
