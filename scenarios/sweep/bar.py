"""What a person sees of a sweep while it lasts."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from link.terminal import escape
from scenarios.sweep.work import Tally


class SweepBar:
    """A progress bar on stderr; on anything but a terminal, nothing but failures."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("checking the scenarios", total=None, note="")

    def __enter__(self) -> "SweepBar":
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def __call__(self, tally: Tally, failure: str | None) -> None:
        """Take how far the sweep is, and the line of a cell that failed just now."""
        known = tally.before + tally.cached
        note = f"{tally.failed} failed" if tally.failed else ""
        if known:
            note = f"{known} known before{', ' if note else ''}{note}"
        # What was known before says nothing about how long the rest takes.
        total = tally.cells - known
        self._bar.update(
            self._task,
            description="cells",
            total=total,
            completed=tally.done + tally.failed - known,
            note=note,
        )
        if failure is not None and self._console.is_terminal:
            self._console.print(f"farlink: cell {escape(failure)}", markup=False, highlight=False)
