"""What a person sees of a run: a bar on stderr while it lasts, a table when it is over."""

import contextlib
from collections.abc import Iterator, Mapping
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

from link.terminal import escape
from scenarios.commands.printing import say, show, show_json
from scenarios.words import duration

_LINE_EVERY_S = 10.0  # where stderr is no terminal and a bar would be a mess


class Arrivals:
    """Says a line on stderr for each picture that the far end shows, and for each frame that it gives up."""

    def __init__(self) -> None:
        self._closed: dict[int, int] = {}  # by frame: when
        self._early: set[int] = set()

    def take(self, kind: str, frame: int | None, time_ns: int, fields: Mapping[str, Any]) -> None:
        """Take an event of the run with its *fields*.

        A frame that is closed is decoded at the same instant, if there is anything more to show than before.
        """
        if any(then != time_ns for then in self._closed.values()):
            self.flush()
        if frame is None:
            return
        if kind == "closed":
            self._closed[frame] = time_ns
        elif kind == "superseded":
            self._done(frame)
            say(
                f"frame {frame} is not drawn, at {duration(time_ns / 1e9)}: frame {fields['by']} came with it"
            )
        elif kind == "decoded":
            words = "is complete" if fields.get("complete") else "came in part"
            if fields.get("refines"):
                words += ", refined"
            if frame not in self._closed:
                self._early.add(frame)
                words += ", the rest is asked for"
            else:
                self._done(frame)
            say(f"frame {frame} {words}, at {duration(time_ns / 1e9)}")

    def flush(self) -> None:
        """Say of the frames that were closed and not drawn that there was nothing more to show."""
        for frame, time_ns in sorted(self._closed.items()):
            when = duration(time_ns / 1e9)
            if frame in self._early:
                say(f"frame {frame} stays as it was shown, at {when}: no more came in time")
            else:
                say(f"frame {frame} is lost, at {when}: nothing could be shown")
            self._done(frame)

    def _done(self, frame: int) -> None:
        self._closed.pop(frame, None)
        self._early.discard(frame)


class Bar:
    """A progress bar on stderr; on anything but a terminal, a line every ten seconds.

    *arrivals*: say a line for each frame that arrives.
    """

    def __init__(self, *, arrivals: bool = False) -> None:
        self._console = Console(stderr=True)
        self._arrivals = Arrivals() if arrivals else None
        self._plain = not self._console.is_terminal
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            transient=True,
            disable=self._plain,
        )
        self._task = self._bar.add_task("starting", total=None, note="")
        self._total: int | None = None
        self._sent = self._shown = 0
        self._said_s = self._bar.get_time()

    def __enter__(self) -> "Bar":
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def begin(self, name: str, source: str, frames: int | None) -> None:
        """Say what is run, now that the scenario is known."""
        self._total = frames
        count = "all frames" if frames is None else f"{frames} frame{'' if frames == 1 else 's'}"
        if self._plain:
            say(f"{name}: {count} of {source}; loading models")
        self._bar.update(self._task, description=f"{escape(name)}: loading models", total=frames)

    def __call__(self, record: dict[str, Any]) -> None:
        """Take one event of the run."""
        kind = record["kind"]
        if self._arrivals is not None:
            self._arrivals.take(kind, record.get("frame"), record.get("time_ns", 0), record)
        if kind in ("warned", "waiting"):
            say(record["reason"])
        elif kind == "skipped" and "by" not in record:  # who left it out on purpose has many
            say(f"skipped {record['name']}: {record['reason']}")
        elif kind == "listening":
            where = f"loading models; waiting for both ends at {record['address']}"
            self._bar.update(self._task, description=escape(where))
        elif kind == "captured":
            self._sent += 1
        elif kind == "decoded":
            self._shown += not record.get("refines")
        elif kind == "measuring":
            self._bar.remove_task(self._task)
            what = "measuring pictures, writing the report"
            self._task = self._bar.add_task(what, total=None, note="")
            if self._plain:
                say(what)
            return
        if kind in ("captured", "decoded", "closed"):
            note = f"run time {duration(record['time_ns'] / 1e9)}, {self._shown} shown"
            self._bar.update(self._task, description="sending", completed=self._sent, note=note)
            if self._plain and self._bar.get_time() - self._said_s >= _LINE_EVERY_S:
                self._said_s = self._bar.get_time()
                of = "" if self._total is None else f" of {self._total}"
                say(f"{self._sent}{of} frames sent, {note}")


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Show on stderr, if it is a terminal, that something takes a while."""
    with Console(stderr=True).status(what):
        yield


def print_metrics(metrics: dict[str, Any], as_json: bool) -> None:
    """Print what a run came to: a table, or one JSON object."""
    if as_json:
        show_json(metrics)
    else:
        show(table(metrics))


def table(metrics: dict[str, Any]) -> list[str]:
    """Return the few figures that a person wants first, a line each."""
    from scenarios.results.metrics import count_words
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
            f"{frames['sent']} sent: {count_words(frames)}",
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
        words = f"median {duration(latency['p50'])}, 95 % within {duration(latency['p95'])}, to the first picture shown"
        rows.append(("latency", words))
    if (refined := metrics["refined_s"])["frames"]:
        words = f"{refined['frames']} of them, a median of {duration(refined['p50'])} after capture"
        rows.append(("refined", words))
    # Scores of sets mean little for the few pictures of a run: the page has them.
    known = [
        f"{score.label} {score.text(quality[name])}"
        for name, score in pictures.EACH.items()
        if quality.get(name) is not None
    ]
    if known:
        rows.append(("quality", ", ".join(known)))
    rows += _tasks(metrics)
    if metrics.get("report"):
        rows.append(("report", metrics["report"]))
    return [f"{name:14}{text}" for name, text in rows]


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
        against = (figures or {}).get("truth") or {}
        also = [
            f"{TASKS[task].labels[name]} {against[name]:.3f}"
            for name in TASKS[task].beside
            if against.get(name) is not None
        ]
        if also:
            rows.append(("", ", ".join(also)))
        # A source without truth is no fault, but a truth that could not be used is.
        if figures and (reason := metrics["notes"].get(f"tasks.{task}.truth")) and figures["truth"] is None:
            rows.append(("" if told else task, f"not scored against the truth: {reason}"))
    return rows
