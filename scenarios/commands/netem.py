"""`farlink scenarios netem`: the same link for real sockets."""

from typing import Annotated

import typer

from scenarios.commands.options import Json, Scenario, Settings, clean_errors
from scenarios.commands.printing import show, show_json


def netem(
    name: Scenario,
    settings: Settings = None,
    device: Annotated[str, typer.Option(help="The network device that packets leave by.")] = "DEV",
    as_json: Json = False,
) -> None:
    """Print what sets up the same link on real sockets: a tc command for each hop and the way back.

    A command is of one direction and one machine: each hop's belongs on the device by which packets enter that hop.

    Example: farlink scenarios netem mars-relay --device eth0
    """
    from link.channel import netem as tc
    from scenarios import schema

    with clean_errors(as_json):
        rows = list(tc.commands(schema.load(name, settings or []), device))
        if as_json:
            show_json([{"way": way, "command": command, "notes": notes} for way, command, notes in rows])
            return
        show(line for way, command, _ in rows for line in (f"# {way}", command))
        show(f"# {note}" for note in (*(note for _, _, notes in rows for note in notes), *tc.GENERAL))
