"""What commands have in common: options, how a scenario is read from them, how errors and results are printed."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from link.errors import FarlinkError, StorageError

Scenario = Annotated[str, typer.Argument(help="A preset's name (see `farlink scenarios`) or a YAML file.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Set any field of the scenario; the value is YAML. Repeatable."
    ),
]
Source = Annotated[
    str | None,
    typer.Option(help="Where frames come from: testcard, a picture, a folder, a video file, webcam:N."),
]
Codec = Annotated[str | None, typer.Option(help="Codec: gsc (the default), jpeg2000, webp, avif or jpeg.")]
Frames = Annotated[int | None, typer.Option(min=1, help="How many frames at most.")]
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


@contextlib.contextmanager
def clean_errors() -> Iterator[None]:
    """Turn farlink's errors into one line on stderr and an exit code."""
    try:
        yield
    except FarlinkError as error:
        print(f"farlink: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from None
    except BrokenPipeError:
        # Whoever read our output has enough of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except OSError as error:
        print(f"farlink: cannot write: {error.strerror or error}", file=sys.stderr)
        raise typer.Exit(StorageError.exit_code) from None
    except KeyboardInterrupt:
        print("farlink: interrupted", file=sys.stderr)
        raise typer.Exit(130) from None


def load_scenario(
    scenario: str,
    settings: list[str] | None,
    source: str | None,
    codec: str | None,
    frames: int | None,
    seed: int | None,
) -> Any:
    """Return the resolved scenario with the command's options laid over it."""
    from scenarios import schema

    overrides = {"camera.source": source, "codec.name": codec, "camera.frames": frames, "seed": seed}
    given = {key: value for key, value in overrides.items() if value is not None}
    found = schema.load(scenario, settings or [], given)
    if schema.asks_for_all(scenario, settings or [], given):
        from scenarios.models.analysts import unasked

        for task, why in unasked(found.model_dump(mode="json")).items():
            print(f"farlink: analysis: all leaves out {task}: {why}", file=sys.stderr)
    return found


def print_metrics(metrics: dict[str, Any], as_json: bool) -> None:
    """Print what a run came to: a table, or one JSON object."""
    if as_json:
        print(json.dumps(metrics, indent=1))
        return
    from scenarios.commands.progress import table

    print(table(metrics))
