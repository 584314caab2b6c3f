"""What a person sees of a run: a bar on stderr while it lasts, a table when it is over."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from scenarios.words import duration


class Bar:
    """A progress bar on stderr; on anything but a terminal, nothing but warnings."""

    def __init__(self, total: int | None) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=total, note="")
        self._sent = self._shown = 0

    def __enter__(self) -> "Bar":
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def __call__(self, record: dict[str, Any]) -> None:
        """Take one event of the run."""
        kind = record["kind"]
        if kind == "warned":
            print(f"farlink: {record['reason']}", file=sys.stderr)
        elif kind == "skipped" and record.get("by") != "rate_control":  # those would fill the screen
            print(f"farlink: skipped {record['name']}: {record['reason']}", file=sys.stderr)
        elif kind == "listening":
            if not self._console.is_terminal or self._sent == 0:
                self._bar.update(self._task, description=f"waiting at {record['address']}")
        elif kind == "captured":
            self._sent += 1
        elif kind == "decoded":
            self._shown += 1
        elif kind == "measuring":
            self._bar.remove_task(self._task)
            self._task = self._bar.add_task("measuring pictures, writing the report", total=None, note="")
            return
        if kind in ("captured", "decoded", "closed"):
            note = f"run time {duration(record['time_ns'] / 1e9)}, {self._shown} shown"
            self._bar.update(self._task, description="sending", completed=self._sent, note=note)


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Show on stderr, if it is a terminal, that something takes a while."""
    with Console(stderr=True).status(what):
        yield


def table(metrics: dict[str, Any]) -> str:
    """Return the few figures that a person wants first."""
    from scenarios.scoring import pictures

    frames, packets, size = metrics["frames"], metrics["packets"], metrics["bytes"]
    latency, quality = metrics["latency_s"], metrics["quality"]
    dropped = {name: count for name, count in packets["dropped"].items() if name != "in_flight"}
    flying = packets["dropped"].get("in_flight", 0)
    lost = sum(dropped.values())
    rows = [
        ("scenario", f"{metrics['scenario']}, codec {metrics['codec']}, seed {metrics['seed']}"),
        (
            "frames",
            f"{frames['sent']} sent: {frames['complete']} complete, {frames['partial']} partial, {frames['lost']} lost",
        ),
        ("packets", f"{packets['sent']} sent, {lost} lost {_reasons(dropped)}".rstrip()),
    ]
    if metrics["cut_short"] is not None:
        rows.insert(0, ("CUT SHORT", metrics["cut_short"]))
    if flying:
        rows.append(("", f"{flying} packets were still on their way; pictures without them count as lost"))
    if frames["sent"]:
        rows.append(
            ("on the air", f"{size['on_air']:,} bytes, {size['on_air'] / frames['sent']:,.0f} a frame")
        )
    if latency["p50"] is not None:
        rows.append(("latency", f"median {duration(latency['p50'])}, 95 % within {duration(latency['p95'])}"))
    scores = pictures.table()
    known = [
        f"{scores[name].label} {scores[name].text(value)}"
        for name, value in quality.items()
        if value is not None
    ]
    if known:
        rows.append(("quality", ", ".join(known)))
    rows += _tasks(metrics)
    if metrics.get("report"):
        rows.append(("report", metrics["report"]))
    return "\n".join(f"{name:14}{text}" for name, text in rows)


def _reasons(dropped: dict[str, int]) -> str:
    given = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in dropped.items() if count)
    return f"({given})" if given else ""


def _tasks(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a line for each task that was scored."""
    from scenarios.scoring.tasks import TASKS

    rows = []
    words = (("truth", "against the truth"), ("original", "against the original"), ("ideal", "on originals"))
    for task, figures in metrics["tasks"].items():
        key = TASKS[task].primary
        label = TASKS[task].labels[key]
        told = [
            f"{figures[reference][key]:.3f} {word}"
            for reference, word in words
            if figures and figures[reference] and figures[reference][key] is not None
        ]
        if told:
            rows.append((task, f"{label} {', '.join(told)}"))
        # A source without truth is no fault, but a truth that could not be used is.
        if figures and (reason := metrics["notes"].get(f"tasks.{task}.truth")) and figures["truth"] is None:
            rows.append(("" if told else task, f"not scored against the truth: {reason}"))
    return rows
