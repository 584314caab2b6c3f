"""How a live session begins: its three processes on this machine, or a link that runs elsewhere.

`begin` and `join` give the source that the page's server follows (`scenarios.live.news.Source`).
"""

from pathlib import Path

from link.errors import UsageError
from scenarios.live.news import Source
from scenarios.schema import Scenario


def begin(plan: Scenario, folder: Path, factor: float) -> Source:
    """Start sender, link and receiver of *plan*, whose journal goes to *folder*, and return what the link tells.

    Closing the source ends the session. Raise UsageError where it cannot begin.
    """
    raise UsageError(
        f"{plan.name}: this farlink shows journals alone; run it with `farlink run {plan.name} --realtime {factor:g}` "
        f"and then show its folder"
    )


def join(address: str, curve: Path | None) -> Source:
    """Return what the link at *address* tells; *curve* is a folder with keys (`farlink keys`).

    Raise UsageError where there is none.
    """
    raise UsageError(f"--connect {address}: this farlink shows journals alone")
