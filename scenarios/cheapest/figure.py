"""The figure of an answer: what is kept against the rate on the air, a line a setting, the chosen link marked."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from scenarios.cheapest.answer import Advice, name
from scenarios.cheapest.trial import Trial
from scenarios.curves.canvas import log_x
from scenarios.drawing import BLACK, BLUE, GREEN, GREY, ORANGE, PALE, PURPLE, Drawing, drawing, legend, sheet
from scenarios.report.margins import write as write_drawing
from scenarios.words import percent, rate

_COLOURS = (BLUE, GREEN, ORANGE, PURPLE)


def draw(advice: Advice) -> Drawing:
    """Return the figure of *advice*, some trial of which has figures."""
    question = advice.question
    by_rate = advice.walk.ladder.unit == "bit/s"
    known = [trial for trial in advice.trials.values() if trial.kept is not None and trial.on_air_bps]
    named = {trial.place[0]: at for at, (trial, _) in enumerate(advice.best)}
    across = (
        "bit/s, on the air"
        if by_rate
        else f"{advice.walk.ladder.path.rpartition('.')[2]}, {advice.walk.ladder.unit}"
    )
    title = f"What is kept of {question.task} against {across}"

    def paint(narrow: bool) -> Figure:
        with sheet(narrow, 4.8) as (figure, (axes,)):
            if by_rate:
                log_x(axes, [trial.on_air_bps for trial in known if trial.on_air_bps])
            for setting in sorted({trial.place[0] for trial in known}, key=lambda one: one in named):
                line = sorted((one for one in known if one.place[0] == setting), key=lambda one: one.place[1])
                _line(
                    axes,
                    line,
                    _COLOURS[named[setting] % len(_COLOURS)] if setting in named else None,
                    by_rate,
                )
            axes.axhline(question.keep, color=BLACK, lw=1.2, ls="--", zorder=2)
            if advice.best:
                chosen = advice.best[0][0]
                assert chosen.kept is not None
                place = [_x(chosen, by_rate)]
                axes.plot(place, [chosen.kept.share], "*", ms=17, color=BLUE, mec="white", zorder=6)
            tops = [trial.kept.high for trial in known if trial.kept]
            axes.set_ylim(0.0, min(max([*tops, question.keep]) * 1.08, 2.0))
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
            axes.set_ylabel(f"kept of {question.score} on the originals")
            axes.set_xlabel(across)
            axes.set_title(f"{question.scenario}: {question.task}", loc="left", fontsize=10)
            legend(axes, _handles(advice), narrow, columns=2)
        return figure

    caption = (
        f"Each mark is a link that was run, its bar the {100 * question.confident:g} % interval; a line joins the "
        "rungs of one setting. Enough is what has its bar's lower end at the dashed line or above, and fits the link."
    )
    return drawing("plan", title, caption, _alt(advice), paint)


def _x(trial: Trial, by_rate: bool) -> float:
    """Return what a trial is drawn over: bit/s on the air, or the power where that is walked."""
    return (trial.on_air_bps or 0.0) if by_rate else trial.rung


def _line(axes: Axes, line: list[Trial], colour: str | None, by_rate: bool) -> None:
    x = [_x(trial, by_rate) for trial in line]
    shares = [trial.kept.share for trial in line if trial.kept]
    shade, depth = colour or GREY, 4 if colour else 3
    axes.plot(x, shares, "-", color=shade if colour else PALE, lw=1.4 if colour else 0.9, zorder=depth - 0.5)
    for trial in line:
        if trial.kept is None:
            continue
        edge, bar = [_x(trial, by_rate)] * 2, [trial.kept.low, trial.kept.high]
        axes.plot(edge, bar, color=shade, lw=1.3, alpha=0.9 if colour else 0.35, zorder=depth)
        axes.plot(
            edge[:1], [trial.kept.share], "o", ms=5.5, color=shade, zorder=depth + 0.2,
            mfc=shade if trial.enough else "white", alpha=1.0 if colour else 0.55,
        )  # fmt: skip


def _handles(advice: Advice) -> list[Any]:
    handles: list[Any] = []
    for at, (trial, _) in enumerate(advice.best):
        label = f"{'cheapest' if not at else 'next'}: {name(advice.walk, trial)}"
        mark: dict[str, Any] = {"marker": "o"} if at else {"marker": "*", "markersize": 12}
        handles.append(Line2D([], [], color=_COLOURS[at % len(_COLOURS)], label=label, **mark))
    handles.append(Line2D([], [], color=BLACK, ls="--", label=f"{percent(advice.question.keep)} asked for"))
    if len(advice.trials) > len(advice.best):
        handles.append(Line2D([], [], color=GREY, marker="o", ls="", mfc="white", label="hollow: not enough"))
    return handles


def _alt(advice: Advice) -> str:
    if not advice.best:
        return f"no link keeps {percent(advice.question.keep)}"
    trial = advice.best[0][0]
    assert trial.kept is not None and trial.on_air_bps is not None
    return (
        f"{name(advice.walk, trial)} keeps {percent(trial.kept.share)} at {rate(trial.on_air_bps)} on the air"
    )


def write(advice: Advice, path: Path) -> None:
    """Draw *advice* into *path*, an SVG or PNG file. Raise UsageError for another suffix."""
    write_drawing(draw(advice), path)
