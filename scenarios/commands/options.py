"""What commands have in common: options, how a scenario is read from them, how errors and results are printed."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from link.codecs import SYNTAXES
from link.errors import FarlinkError
from link.terminal import shorten
from scenarios.commands.printing import drop_output, os_error, say, say_error

MOST_LETTERS = 2000
"""Of the line of an error; what stands between its first and last words is left out where it has more."""


def complete_presets(incomplete: str) -> list[str]:
    """Return the presets that begin like this, for the shell."""
    from scenarios import schema

    return [name for name in schema.preset_names() if name.startswith(incomplete)]


def complete_codecs(incomplete: str) -> list[str]:
    """Return the codecs that begin like this, for the shell."""
    return [name for name in SYNTAXES if name.startswith(incomplete)]


def complete_fields(incomplete: str) -> list[str]:
    """Return `path=` of the scenario's fields that begin like this, for the shell."""
    from scenarios import schema

    return [f"{path}=" for path in schema.field_paths() if path.startswith(incomplete)]


def complete_sources(incomplete: str) -> list[str]:
    """Return the prefixes of sources that begin like this, for the shell."""
    from sender.camera import PREFIXES

    return [row.usage for row in PREFIXES.values() if row.usage.startswith(incomplete)]


Scenario = Annotated[
    str,
    typer.Argument(
        help="A preset's name (see `farlink scenarios`) or a YAML file.", autocompletion=complete_presets
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set any field of the scenario; the value is YAML; `link.rate_bps` is the rate of every hop. Repeatable.",
        autocompletion=complete_fields,
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="profile.KEY=VALUE",
        help="This machine's own models and how they run: profile.generator=PATH, profile.device=cuda:1. Repeatable.",
    ),
]
SOURCE = typer.Option(
    help="Where frames come from: a picture, a folder, a video file, or one of the sources with a prefix.",
    autocompletion=complete_sources,
)
Source = Annotated[str | None, SOURCE]
_CODEC = "Codec: {} (the default), {} or {}.".format(
    next(iter(SYNTAXES)), ", ".join(list(SYNTAXES)[1:-1]), list(SYNTAXES)[-1]
)
Codec = Annotated[str | None, typer.Option(help=_CODEC, autocompletion=complete_codecs)]
Frames = Annotated[int | None, typer.Option(min=1, help="How many frames at most.")]
Vary = Annotated[
    list[str] | None,
    typer.Option(
        "--vary",
        metavar="PATH=VALUE,VALUE,...",
        help="Values of any field of the scenario, in YAML; `source` is camera.source, `link.rate_bps` the rate of "
        "every hop. Repeatable: the grid is the product.",
        autocompletion=complete_fields,
    ),
]
Seeds = Annotated[
    str | None,
    typer.Option(metavar="N|N,N,...", help="Seeds 1 to N, or those listed; default: the scenario's."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Processes; default: one a GPU where models run there, else one a core. 0: all in this process.",
    ),
]
Cache = Annotated[
    bool, typer.Option("--cache/--no-cache", help="Whether this machine's cache is read and written.")
]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of everything random in the channel.")]
Realtime = Annotated[
    float | None,
    typer.Option(
        min=1e-6,
        metavar="[FACTOR]",
        help="Run against the wall clock, FACTOR (default 1) run seconds a second; else in virtual time.",
    ),
]
Out = Annotated[Path | None, typer.Option(help="Folder for the results; default runs/NAME, NAME-2, ...")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an earlier run in the folder of --out.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")]


def name_sources() -> None:
    """Put every kind of source into the help of `--source`, from their table; which takes a second to import."""
    from sender.camera import PREFIXES

    SOURCE.help = (
        f"Where frames come from: {', '.join(row.usage for row in PREFIXES.values())}, or a path to a "
    )
    SOURCE.help += "picture, a folder or a video file."


@contextlib.contextmanager
def clean_errors(as_json: bool = False) -> Iterator[None]:
    """Turn farlink's errors into one line on stderr and an exit code.

    *as_json*: stdout gets the error as an object too. Errors that come after a command has printed its result belong
    into a block without it, so that there is always one object.
    """
    try:
        yield
    except FarlinkError as error:
        say_error(shorten(" ".join(str(error).split()), MOST_LETTERS), error.exit_code, as_json)
        raise typer.Exit(error.exit_code) from None
    except BrokenPipeError:
        # Whoever read our output has enough of it.
        drop_output()
        raise typer.Exit(0) from None
    except OSError as error:
        told = os_error(error)
        say_error(str(told), told.exit_code, as_json)
        raise typer.Exit(told.exit_code) from None
    except KeyboardInterrupt:
        say_error("interrupted", 130, as_json)
        raise typer.Exit(130) from None


def load_scenario(
    scenario: str,
    settings: list[str] | None,
    source: str | None,
    codec: str | None,
    frames: int | None,
    seed: int | None,
    *,
    live: bool = False,
) -> Any:
    """Return the resolved scenario with the command's options laid over it. *live*: it runs against the wall clock."""
    from scenarios import schema

    overrides = {"camera.source": source, "codec.name": codec, "camera.frames": frames, "seed": seed}
    overrides["live"] = True if live else None
    given = {key: value for key, value in overrides.items() if value is not None}
    return schema.load(scenario, settings or [], given)


def say_unanalysed(scenario: str, settings: list[str] | None, plan: Any) -> None:
    """Say on stderr which tasks `analysis: all`, where it was asked for, leaves out of *plan*, and why."""
    from scenarios import schema
    from scenarios.models.analysts import unasked

    if not schema.asks_for_all(scenario, settings or [], {}):
        return
    tasks: dict[str, list[str]] = {}
    for task, why in unasked(plan.model_dump(mode="json")).items():
        tasks.setdefault(why, []).append(task)
    for why, names in tasks.items():
        say(f"analysis: all leaves out {', '.join(names)}: {why}")
