"""`farlink models`: which models there are, fetching them, checking them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from scenarios.commands.options import Json, clean_errors
from scenarios.commands.printing import say, show, show_json

models_app = typer.Typer(help="List, fetch and check models.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="A profile (flux), or one part (flux/preview).")]
Lock = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The lock file; default: models.lock among the models.")
]


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context, as_json: Json = False) -> None:
    """List the models that can be fetched, fetch or check them. The tiny profile needs none of them."""
    if context.invoked_subcommand is None:
        list_models(as_json)


@models_app.command("list")
def list_models(as_json: Json = False) -> None:
    """List the models with their revision, licence and size. Those marked * come with `farlink models pull flux`.

    Example: farlink models list
    """
    from scenarios.models import pull as catalogue

    with clean_errors(as_json):
        rows = catalogue.list_parts()
        if as_json:
            show_json(rows)
            return
        for row in rows:
            show(_lines(row))
        if any(not row["pinned"] and not row["revision"] for row in rows):
            show(["(newest): fixed to the commit of the first pull, and kept in the lock file from then on"])


def _lines(row: dict[str, Any]) -> list[str]:
    from scenarios.models.pull import size

    revision = row["revision"][:12] if row["revision"] else "(newest)"
    mark = "*" if row["by_profile"] else " "
    here = "here" if row["here"] else "--"
    gated = ", gated" if row["gated"] else ""
    return [
        f"{here:5}{row['name']:25}{mark} {size(row['size_bytes']):>9}  {revision:13}{row['source']}",
        f"{'':33}{row['licence']}{gated}; {row['use']}",
    ]


@models_app.command("pull")
def pull_models(name: Name, lock: Lock = None, as_json: Json = False) -> None:
    """Fetch models; the only command that uses the network. It goes on where an earlier one stopped.

    Revisions and the SHA-256 of every file go into a lock file. One that is there already says which revisions are
    fetched: commit it beside your scenarios, and others get the same models.

    Examples:

        farlink models pull flux

        farlink models pull flux/lora-turbo

        farlink models pull flux --lock models.lock
    """
    from scenarios.models import pull as catalogue

    with clean_errors(as_json):
        folders = catalogue.pull(name, catalogue.ModelHub(), say, lock)
        if as_json:
            show_json({"folders": [str(folder) for folder in folders]})
        else:
            show(str(folder) for folder in folders)


@models_app.command("verify")
def verify_models(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Default: all that is here.")] = None,
    lock: Lock = None,
    as_json: Json = False,
) -> None:
    """Compare the SHA-256 of every pulled or shipped file with what it was, and revisions with the lock file.

    Examples:

        farlink models verify

        farlink models verify --lock models.lock
    """
    from link.errors import ModelMissingError
    from scenarios.models import pull as catalogue

    with clean_errors(as_json):
        good, wrong = catalogue.verify(name, lock)
        for line in wrong:
            say(line)
        if as_json:
            show_json({"good": good, "wrong": wrong})
        else:
            show([f"{good} files as they should be, {len(wrong)} not"])
    if wrong:
        raise typer.Exit(ModelMissingError.exit_code)


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.add_typer(models_app, name="models")
