"""`farlink compare`: several sweeps or runs in one page; and the page of one sweep for `farlink report`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from scenarios.commands.options import Json, clean_errors
from scenarios.commands.printing import show, show_json


def compare(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...",
            help="Folders of sweeps or runs; and JSON files of picture quality in CompressAI's layout.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the page.")] = Path(
        "comparison"
    ),
    as_json: Json = False,
) -> None:
    """Lay sweeps or runs over each other: curves, what changed to the first, BD-rates.

    Writes curves.html, figures/ and points.parquet into a folder.

    Examples:

        farlink compare sweeps/before sweeps/after --out comparison

        farlink compare runs/mars-relay runs/mars-relay-2

        farlink compare sweeps/kodak bmshj2018.json --json
    """
    with clean_errors(as_json):
        from link.errors import UsageError
        from scenarios.commands.progress import working
        from scenarios.curves import external, load, page

        files = [place for place in places if place.is_file() and place.suffix == ".json"]
        folders = [place for place in places if place not in files]
        if not folders or len(places) < 2:
            raise UsageError(
                "compare needs two places or more, at least one of them the folder of a sweep or a run"
            )
        if page.holds_another(out):
            raise UsageError(f"{out} is not empty and holds no earlier comparison; give another --out")
        with working("reading tables, drawing curves"):
            lines = [external.read(path) for path in files]
            sweeps = [
                load.open_folder(folder, name) for folder, name in zip(folders, labels(folders), strict=True)
            ]
            written = page.write(sweeps, out, lines)
        _tell(written.summary, as_json)


def _tell(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(summary)
    else:
        from scenarios.curves import page

        show(page.summarise(summary))


def labels(folders: list[Path]) -> list[str]:
    """Return a short name for each folder: as much of the end of its path as tells it from the others.

    Raise UsageError where a folder is given twice.
    """
    from link.errors import UsageError

    parts = [folder.resolve().parts for folder in folders]
    if len(set(parts)) != len(parts):
        raise UsageError("compare: the same folder is given twice")
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def holds_sweep(folder: Path) -> bool:
    """Return whether *folder* is that of a sweep."""
    from scenarios.curves import load

    return load.is_sweep(folder)


def report_sweep(folder: Path, as_json: bool) -> None:
    """Write the page of the sweep in *folder* into it, and print what it says.

    Exits with code 3, after the page is written, where no cell has results.
    """
    from link.errors import PartialError
    from scenarios.commands.progress import working
    from scenarios.curves import load, page

    with clean_errors(as_json):
        with working("reading tables, drawing curves"):
            sweep = load.open_folder(folder)
            written = page.write([sweep], folder)
        _tell(written.summary, as_json)
    with clean_errors():
        if not sweep.done:
            raise PartialError(f"{folder}: no cell of the sweep has results; {written.page} lists the errors")


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command()(compare)
