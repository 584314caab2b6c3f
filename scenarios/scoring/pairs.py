"""The pictures of a run, sent beside received, scored by the table in `scenarios.scoring.pictures`.

Pairs are compared one by one, so what a pair scores depends on nothing else: a run and a sweep's cell agree to the bit.
"""

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from link import png
from link.codecs import SYNTAXES
from link.frame import Pixels
from link.journal import Run
from scenarios.scoring import pictures
from scenarios.scoring.sets import Features


class ScoreCache(Protocol):
    """Where bytes are kept by key, from run to run."""

    def get(self, key: str) -> bytes | None:
        """Return what was put under *key*; None where there is nothing."""

    def put(self, key: str, data: bytes) -> None:
        """Keep *data*."""


@dataclass(frozen=True)
class Scores:
    """The scores of a run's shown frames, and why some are missing."""

    by_frame: Mapping[int, Mapping[str, float | None]] = field(default_factory=dict)
    """By frame and name, of `pictures.EACH`."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Why a score is missing, by name."""
    of_set: Mapping[str, float | None] = field(default_factory=dict)
    """By name, of `pictures.TOGETHER`."""


def score(run: Run, shelf: ScoreCache | None = None) -> Scores:
    """Compare every received picture of *run* with the sent one; what *shelf* knows already is not computed."""
    syntax = SYNTAXES.get(run.head["scenario"].get("codec", {}).get("name", ""))  # None: of another version
    if syntax is not None and not syntax.facts.draws:
        why = "the codec sends no picture: what is shown is drawn from findings"
        return Scores(notes=dict.fromkeys([*pictures.EACH, *pictures.TOGETHER], why))
    sent, received = run.pictures["sent"], run.pictures["received"]
    notes: dict[str, str] = {}
    scores: dict[int, dict[str, float | None]] = {}
    for frame in sorted(set(sent) & set(received)):
        files = sent[frame], received[frame]
        kept = _kept(shelf, "pair", files, partial(_pair, *files))
        own = json.loads(kept)
        if own["scores"] is None:
            notes |= {
                name: f"frame {frame} {own['notes']['size']}" for name in pictures.EACH if name not in notes
            }
            continue
        scores[frame] = own["scores"]
        for name, why in own["notes"].items():
            notes.setdefault(name, why)
    of_set = _of_set(run, [*scores], shelf, notes)
    return Scores(scores, notes, of_set)


def _pair(sent: bytes, received: bytes) -> bytes:
    """Return the scores of two PNG files and what is missing of them, as JSON."""
    one, other = png.decode(sent), png.decode(received)
    if one.shape != other.shape:
        return json.dumps({"scores": None, "notes": {"size": "came back in another size"}}).encode()
    own = pictures.measure([one], [other], [*pictures.EACH], 0)
    scores = {name: values[0] for name, values in own.by_picture.items()}
    return json.dumps({"scores": scores, "notes": own.notes}).encode()


def _of_set(
    run: Run, frames: list[int], shelf: ScoreCache | None, notes: dict[str, str]
) -> dict[str, float | None]:
    def of_pictures(name: str) -> tuple[Features, Features]:
        features = pictures.TOGETHER[name].features
        sides = []
        for side in ("sent", "received"):
            files = [run.pictures[side][frame] for frame in frames]
            what = f"{features.__module__}.{features.__qualname__}"
            rows = [_array(_kept(shelf, what, (file,), partial(_features, features, file))) for file in files]
            sides.append(np.concatenate(rows))
        return sides[0], sides[1]

    seed = int(run.head["scenario"].get("seed", 0))
    sizes = [png.size(run.pictures["sent"][frame]) for frame in frames]
    return pictures.together([*pictures.TOGETHER], sizes, of_pictures, seed, notes)


def _kept(shelf: ScoreCache | None, what: str, files: tuple[bytes, ...], make: Callable[[], bytes]) -> bytes:
    if shelf is None:
        return make()
    parts = [what.encode(), *files]
    key = hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()
    known = shelf.get(key)
    if known is None:
        known = make()
        shelf.put(key, known)
    return known


def _features(features: Callable[[Sequence[Pixels]], Features], file: bytes) -> bytes:
    out = io.BytesIO()
    np.save(out, features([png.decode(file)]), allow_pickle=False)
    return out.getvalue()


def _array(data: bytes) -> Features:
    values: Features = np.load(io.BytesIO(data), allow_pickle=False)
    return values
