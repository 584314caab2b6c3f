"""What cells came to, in this machine's cache: by the cell's key, for whoever asks for the same cell again.

A cell whose codec could make no frame as small as asked is kept apart: to a sweep it is a failure, which it tells of
anew, to a search for the least rate it is an answer.
"""

import json
import zlib

from scenarios.sweep.caches import Store
from scenarios.sweep.cells import Outcome
from scenarios.sweep.plan import Cell

_UNFIT = "unfit"


def remember(cell: Cell, outcome: Outcome, store: Store) -> None:
    """Keep what *cell* came to, where the same cell would come to the same again."""
    if not cell.cacheable:
        return
    if "ok" in outcome:
        kept = {"ok": outcome["ok"], "wall_s": outcome["wall_s"]}
        store.put("cells", cell.key, zlib.compress(json.dumps(kept).encode(), 6))
    elif outcome.get("unfit"):
        kept = {name: outcome[name] for name in ("failed", "exit_code", "unfit", "wall_s")}
        store.put(_UNFIT, cell.key, json.dumps(kept).encode())


def recall(cell: Cell, store: Store) -> Outcome | None:
    """Return what *cell* came to; None where that is not known, or could be another thing the next time."""
    data = store.get("cells", cell.key) if cell.cacheable else None
    return None if data is None else json.loads(zlib.decompress(data))


def recall_unfit(cell: Cell, store: Store) -> Outcome | None:
    """Return the failure of *cell*, where it is known that none of its frames could be made small enough."""
    data = store.get(_UNFIT, cell.key) if cell.cacheable else None
    return None if data is None else json.loads(data)
