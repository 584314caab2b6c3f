"""`farlink plan`: the cheapest link that keeps so much of a task."""

from pathlib import Path
from typing import Annotated, Any

import typer

from scenarios.commands.options import (
    Cache,
    Frames,
    Json,
    Scenario,
    Seeds,
    Settings,
    Source,
    Vary,
    Workers,
    clean_errors,
    complete_codecs,
)
from scenarios.commands.printing import say, show, show_json


def plan(
    scenario: Scenario,
    task: Annotated[str, typer.Option(help="segmentation, depth or detection.")],
    keep: Annotated[
        float,
        typer.Option(help="Share of the task's headline score on the originals, above 0 and at most 1."),
    ],
    confident: Annotated[
        float,
        typer.Option(help="Level of the two-sided interval whose lower end must reach --keep."),
    ] = 0.95,
    by: Annotated[
        str,
        typer.Option(
            metavar="on-air|link",
            help="What is cheap: few bits per second on the air, both ways, all bytes counted; or a low rate of the "
            "link itself (its power, where it has a budget).",
        ),
    ] = "on-air",
    against: Annotated[
        str,
        typer.Option(
            metavar="truth|original",
            help="What scores are against: the source's truth, or what the model finds in the originals.",
        ),
    ] = "truth",
    age: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="How old what is shown may be in the mean; frame periods are walked as well.",
        ),
    ] = None,
    codec: Annotated[
        list[str] | None,
        typer.Option(
            help="Codec; repeatable: the cheapest of all. Default: the scenario's.",
            autocompletion=complete_codecs,
        ),
    ] = None,
    vary: Vary = None,
    settings: Settings = None,
    source: Source = None,
    frames: Frames = None,
    seeds: Seeds = None,
    budget: Annotated[
        int | None,
        typer.Option(min=1, help="Run this many cells at most; the same command then goes on where it was."),
    ] = None,
    whole_grid: Annotated[
        bool, typer.Option("--whole-grid", help="Run every cell, whatever the search would assume of it.")
    ] = False,
    workers: Workers = None,
    cache: Cache = True,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="Write the scenario of the cheapest link, for farlink run."),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw what is kept against the rate: .svg or .png.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be walked; runs nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Find the cheapest link that keeps so much of a task, and the three settings that come next.

    Walked are the rate of all hops, what the codec says of how much it sends (for gsc its channels; others fill what
    the rate allows), the overhead of repair and its split, and with --age the frame period. On a link with a budget
    the rate follows from the physics, and its power is walked instead. --vary gives other values or other fields,
    --set fixes one. Payloads follow from the rate (codec.frame_bytes is derived), and the task alone is analysed.

    A link keeps enough where the lower end of the interval of its share reaches --keep (what arrived and the originals
    are resampled alike), what is sent fits its rate, and --age holds. For each setting the least rate is found by
    bisection: assumed is that more rate keeps no less and costs no less, which is checked on all that was run.
    Chance alone breaks that where frames are few and the share is high: then a rung that was passed over may do, of
    this setting or of another, and the answer is too dear. --whole-grid assumes nothing.

    Each cell is a run of a sweep and is kept in this machine's cache: give the command again after a kill, or with
    another --keep, and nothing is run twice. The intervals of a preset's few frames are wide, and hold the truth less
    often than they say: give more --frames or --seeds before a link is bought.

    Exit codes: 0 found, 1 no link keeps enough (the best reached is told), 2 usage, or no truth, 3 --budget was spent.

    Examples:

        farlink plan mars-relay --task detection --keep 0.8

        farlink plan mars-relay --task segmentation --keep 0.6 --codec gsc --codec findings --out cheapest.yaml

        farlink plan mars-relay --task depth --keep 0.9 --vary link.rate_bps=20,50,100,200 --figure kept.svg
    """
    with clean_errors(as_json):
        from link.errors import FarlinkError
        from scenarios.cheapest import answer, walk
        from scenarios.cheapest import figure as drawn
        from scenarios.cheapest.bar import SearchBar

        question = _question(
            scenario, task, keep, confident, by, against, age, codec, vary, settings, source, frames, seeds
        )
        _check_files(out, figure)
        if dry_run:
            _tell_walk(walk.walk(question), question, as_json)
            return
        try:
            with SearchBar() as bar:
                found = answer.find(
                    question, whole_grid=whole_grid, workers=workers, cache=cache, budget=budget, watch=bar
                )
        except KeyboardInterrupt:
            kept = "; what was run is kept, and the same command goes on with it" if cache else ""
            error = FarlinkError(f"interrupted{kept}")
            error.exit_code = 130
            raise error from None
        if figure is not None and any(trial.kept for trial in found.trials.values()):
            drawn.write(found, figure)
        if out is not None and found.scenario is not None:
            _write(found.scenario, out)
        if as_json:
            show_json(
                {**answer.tree(found), "out": _path(out if found.scenario else None), "figure": _path(figure)}
            )
        else:
            show(answer.lines(found))
    with clean_errors():
        if found.error is not None:
            raise found.error


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _question(
    scenario: str,
    task: str,
    keep: float,
    confident: float,
    by: str,
    against: str,
    age: float | None,
    codecs: list[str] | None,
    vary: list[str] | None,
    settings: list[str] | None,
    source: str | None,
    frames: int | None,
    seeds: str | None,
) -> Any:
    from scenarios.cheapest.question import Question
    from scenarios.sweep import plan

    return Question(
        scenario=scenario,
        task=task,
        keep=keep,
        confident=confident,
        by=by,
        reference=against,
        age_s=age,
        codecs=tuple(dict.fromkeys(codecs or [])),
        settings=tuple(settings or []),
        vary=plan.parse_vary(vary or []),
        source=source,
        frames=frames,
        seeds=None if seeds is None else plan.parse_seeds(seeds),
    )


def _check_files(out: Path | None, figure: Path | None) -> None:
    """Raise UsageError, before anything runs, for files that could not be used in the end."""
    from link.errors import UsageError

    for option, path, suffixes in (("--out", out, (".yaml", ".yml")), ("--figure", figure, (".svg", ".png"))):
        if path is None:
            continue
        if path.suffix.lower() not in suffixes:
            raise UsageError(f"{option} {path}: a name that ends in {' or '.join(suffixes)} was expected")
        if not path.absolute().parent.is_dir():
            raise UsageError(f"{option} {path}: there is no folder {path.parent}")


def _write(text: str, path: Path) -> None:
    from scenarios.results.table import replacing

    with replacing(path) as fresh:
        fresh.write_text(text, "utf-8")
    say(f"wrote {path}")


def _tell_walk(walked: Any, question: Any, as_json: bool) -> None:
    seeds = len(question.seeds or (0,))
    ladder = walked.ladder
    if as_json:
        show_json(
            {
                "ladder": {"path": ladder.path, "unit": ladder.unit, "values": list(ladder.values)},
                "settings": {path: list(values) for path, values in walked.walked.items()},
                "count": len(walked.settings),
                "grid": walked.places * seeds,
                "notes": list(walked.notes),
            }
        )
        return
    rows = [(ladder.path, ", ".join(ladder.words(at) for at in range(len(ladder.values))))]
    rows += [(path, ", ".join(str(value) for value in values)) for path, values in walked.walked.items()]
    show(
        [
            *(f"{path:24}{values}" for path, values in rows),
            f"{len(walked.settings)} settings on {len(ladder.values)} rungs: a grid of {walked.places * seeds} cells, "
            "of which the search runs what it needs",
            *walked.notes,
        ]
    )


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command()(plan)
