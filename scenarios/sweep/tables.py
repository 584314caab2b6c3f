"""A sweep as tables for pandas and for curves: `cells.parquet`, a row a cell, and `frames.parquet`, a row a frame.

Rows stand in the order of the plan, whatever order they were computed in.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from link.channel.rate import Trace
from link.hops import Link
from scenarios import schema
from scenarios.results import cell as results
from scenarios.results.table import write_rows
from scenarios.schema import Scenario
from scenarios.sweep.plan import Cell
from scenarios.sweep.state import State


def write(cells: Sequence[Cell], state: State, out: Path) -> list[Path]:
    """Write both tables of what *state* has of *cells* into *out*; return their paths.

    Raise StorageError where the disk is full.
    """
    done = []
    rows = []
    for cell in cells:
        kept = state.cell(cell.key)
        if kept is None:
            continue
        tree = cell.scenario.model_dump(mode="json", by_alias=True)
        told = results.about(tree, partial(_traces, cell.scenario))
        settings = json.dumps(dict(cell.settings), sort_keys=True, default=str)
        head = {"cell": cell.id, "status": kept["status"], "error": kept["error"], "settings": settings}
        rows.append({**head, **told, **kept["row"], "wall_s": kept["wall_s"]})
        if kept["status"] == "done":
            done.append(cell)
    columns = {
        "cell": "VARCHAR",
        "status": "VARCHAR",
        "error": "VARCHAR",
        "settings": "VARCHAR",
        **results.columns(),
    }
    scores = sorted({key for row in rows for key in row} - set(columns) - {"wall_s"})
    columns |= {**dict.fromkeys(scores, "DOUBLE"), "wall_s": "DOUBLE"}
    write_rows(rows, columns, out / "cells.parquet")
    write_rows(_frames(done, state), {"cell": "VARCHAR", **results.frame_columns()}, out / "frames.parquet")
    return [out / "cells.parquet", out / "frames.parquet"]


def _traces(scenario: Scenario, _link: Link) -> Mapping[str, Trace]:
    return schema.traces(scenario)


def _frames(cells: Sequence[Cell], state: State) -> Iterable[Mapping[str, Any]]:
    known = {cell.key: cell for cell in cells}
    for key, row in state.frames(known):
        yield {"cell": known[key].id, **row}
