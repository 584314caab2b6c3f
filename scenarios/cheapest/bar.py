"""What a person sees of a search while it lasts."""

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from scenarios.cheapest.runner import Spent
from scenarios.cheapest.trial import Trial
from scenarios.commands.printing import say
from scenarios.words import percent, rate


class SearchBar:
    """A line on stderr that says how far a search is; on anything but a terminal, a line for each better link."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("checking the scenarios", total=None)
        self._best: Trial | None = None

    def __enter__(self) -> "SearchBar":
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def __call__(self, spent: Spent, trial: Trial | None) -> None:
        """Take how far the search is, and a link that was looked at just now."""
        if trial is not None and trial.enough and trial.cost is not None:
            best = self._best
            if best is None or best.cost is None or trial.cost < best.cost:
                self._best = trial
                if not self._console.is_terminal:
                    say(self._told(spent))
        self._bar.update(self._task, description=self._told(spent))

    def _told(self, spent: Spent) -> str:
        cells = f"{spent.looked_at} of at most {spent.grid} cells"
        if spent.cached:
            cells += f" ({spent.cached} known before)"
        best = self._best
        if best is None or best.kept is None or best.on_air_bps is None:
            return f"{cells}, none keeps enough yet"
        return (
            f"{cells}, cheapest so far {rate(best.on_air_bps)} on the air, keeps {percent(best.kept.share)}"
        )
