"""`farlink models`: which models there are, fetching them, checking them."""

import json
import sys
from typing import Annotated, Any

import typer

from scenarios.commands.options import Json, clean_errors

models_app = typer.Typer(help="List, fetch and check models.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="A profile (flux), or one part (flux/preview).")]


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List the models that can be fetched, fetch or check them. The tiny profile needs none of them."""
    if context.invoked_subcommand is None:
        list_models()


@models_app.command("list")
def list_models(as_json: Json = False) -> None:
    """List the models with their revision, licence and size. Those marked * come with `farlink models pull flux`.

    Example: farlink models list
    """
    from scenarios.models import pull as catalogue

    with clean_errors():
        rows = catalogue.listing()
        if as_json:
            print(json.dumps(rows, indent=1))
            return
        for row in rows:
            print(_line(row))
        if any(not row["pinned"] and not row["revision"] for row in rows):
            print("(newest): fixed to the commit of the first pull, and kept in the manifest from then on")


def _line(row: dict[str, Any]) -> str:
    from scenarios.models.pull import size

    revision = row["revision"][:12] if row["revision"] else "(newest)"
    mark = "*" if row["by_profile"] else " "
    here = "here" if row["here"] else "--"
    gated = ", gated" if row["gated"] else ""
    return (
        f"{here:5}{row['name']:25}{mark} {size(row['size_bytes']):>9}  {revision:13}{row['source']}"
        f"\n{'':33}{row['licence']}{gated}; {row['use']}"
    )


@models_app.command("pull")
def pull_models(name: Name) -> None:
    """Fetch models; the only command that uses the network. It goes on where an earlier one stopped.

    Examples:

        farlink models pull flux

        farlink models pull flux/lora-turbo
    """
    from scenarios.models import pull as catalogue

    with clean_errors():
        for folder in catalogue.pull(name, catalogue.Hub(), lambda line: print(line, file=sys.stderr)):
            print(folder)


@models_app.command("verify")
def verify_models(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Default: all that is here.")] = None,
) -> None:
    """Compare the SHA-256 of every pulled or shipped file with what it was.

    Example: farlink models verify
    """
    from link.errors import ModelMissingError
    from scenarios.models import pull as catalogue

    with clean_errors():
        good, wrong = catalogue.verify(name)
        for line in wrong:
            print(f"farlink: {line}", file=sys.stderr)
        print(f"{good} files as they should be, {len(wrong)} not", flush=True)
    if wrong:
        raise typer.Exit(ModelMissingError.exit_code)


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.add_typer(models_app, name="models")
