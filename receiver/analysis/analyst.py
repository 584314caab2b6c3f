"""Runs the session's analysis models on a picture: names, folders, and what is written of each finding."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from link.config import TASKS, Profile, Session
from link.errors import ModelMissingError, UsageError
from link.frame import Pixels
from link.models import home
from receiver.analysis import findings
from receiver.analysis.findings import FindingError, Found, Record

SHIPPED = Path(__file__).parent.parent / "weights" / "tiny" / "analysis"
NAMES = ("segmentation-street", "segmentation-world", "depth-world", "detection-world")
"""The models that come with farlink."""
PULLED = "flux/"
"""How the names of models that `farlink models pull` fetches begin."""


class Model(Protocol):
    """A model of one task."""

    def find(self, pixels: Pixels) -> Found:
        """Return what is in *pixels*, shape (height, width, 3)."""


class Cache(Protocol):
    """Remembers findings; what it has lost is made again."""

    def get(self, key: str) -> bytes | None:
        """Return what was put under *key*, if it is still there."""

    def put(self, key: str, data: bytes) -> None:
        """Keep *data* under *key*."""


@dataclass(frozen=True)
class Chosen:
    """A model of the session, found on this machine and not yet loaded."""

    task: str
    name: str
    """For people: the name that was asked for, of a folder or file its last part."""
    place: Path
    stamp: str
    """Names settings and weights: findings with the same stamp are of the same model."""


def is_name(name: str) -> bool:
    """Whether *name* is a model's name, not a path."""
    return name in NAMES or name.startswith(PULLED)


def place(name: str) -> Path:
    """Return where the model *name* lies: one that comes with farlink, one that was pulled, or a path."""
    if name in NAMES:
        return SHIPPED / name
    return home() / name if name.startswith(PULLED) else Path(name)


def choose(task: str, name: str) -> Chosen:
    """Return the model *name* of *task*. Raise ModelMissingError where it is not on this machine."""
    where = place(name)
    if where.suffix == ".pt":
        if not where.is_file():
            raise ModelMissingError(f"profile.{task} {name}: no such file")
        with where.open("rb") as file:
            return Chosen(task, where.name, where, hashlib.file_digest(file, "sha256").hexdigest()[:16])
    if not (where / "config.json").is_file():
        hint = "no model is there (config.json is missing)"
        if name in NAMES:
            hint = "it should have come with farlink; install it again"
        elif name.startswith(PULLED):
            hint = f"not on this machine; farlink models pull {name}"
        raise ModelMissingError(f"profile.{task} {name}: {hint}")
    from receiver.analysis import loading  # transformers takes seconds to import

    return Chosen(task, name if is_name(name) else where.name, where, loading.stamp(where))


def load(chosen: Chosen, device: Any) -> Model:
    """Return the model that *chosen* names. Raise ModelMissingError or UsageError where it cannot be loaded."""
    from receiver.analysis import loading
    from receiver.analysis.depth import DepthModel
    from receiver.analysis.detection import MODEL_TYPE, DetectionModel, FcosModel, YoloModel
    from receiver.analysis.segmentation import SegmentationModel

    if chosen.place.suffix == ".pt":
        if chosen.task != "detection":
            raise UsageError(f"profile.{chosen.task} {chosen.place}: .pt files are for detection, by YOLO11")
        return YoloModel(chosen.place, device)
    kinds: dict[str, Callable[[Path, Any], Model]] = {
        "segmentation": SegmentationModel,
        "depth": DepthModel,
        "detection": DetectionModel,
    }
    if chosen.task == "detection" and loading.settings(chosen.place, "detection")["model_type"] == MODEL_TYPE:
        return FcosModel(chosen.place, device)
    return kinds[chosen.task](chosen.place, device)


def chosen_by(tasks: Sequence[str], profile: Profile) -> list[Chosen]:
    """Return the models of *tasks* that *profile* names, in the order in which they are run.

    Raise ModelMissingError where one is not on this machine, UsageError where none is named.
    """
    found = []
    for task in TASKS:
        if task in tasks:
            name = getattr(profile, task)
            if name is None:
                raise UsageError(f"analysis {task}: no model is named; give profile.{task}")
            found.append(choose(task, name))
    return found


class Analyst:
    """Runs *models* on pictures. With *cache*, no picture is looked at twice by the same model."""

    def __init__(self, models: Sequence[tuple[Chosen, Model]], cache: Cache | None = None) -> None:
        self._models, self._cache = models, cache

    @classmethod
    def from_session(cls, session: Session, cache: Cache | None = None) -> "Analyst | None":
        """Return the analyst that *session* asks for, None where it asks for none.

        Raise ModelMissingError or UsageError where a model is missing or of another kind.
        """
        if not session.analysis:
            return None
        chosen = chosen_by(session.analysis, session.profile)
        from receiver.device import pick_device

        device = pick_device(session.profile.device)
        return cls([(item, load(item, device)) for item in chosen], cache)

    def look(self, pixels: Pixels) -> list[tuple[str, dict[str, Any], bytes | None]]:
        """Return (kind, fields, PNG) for each model: `found` with its finding, or `not_found` with the reason.

        A model that fails on one picture says so in its event, and the run goes on.
        """
        seen: list[tuple[str, dict[str, Any], bytes | None]] = []
        for chosen, model in self._models:
            about: dict[str, Any] = {"task": chosen.task, "model": chosen.name, "stamp": chosen.stamp}
            try:
                made = record(chosen, partial(_same, model), pixels, self._cache)
            except Exception as error:  # a network's ways to fail on a picture are torch's, not ours
                reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
                seen.append(("not_found", {**about, "reason": reason}, None))
                continue
            seen.append(("found", {**about, **made.fields}, made.picture))
        return seen


def record(chosen: Chosen, model: Callable[[], Model], pixels: Pixels, cache: Cache | None) -> Record:
    """Return what the model finds in *pixels*, from the cache where it is there: *model* is called only if needed.

    Raise FindingError where what it found cannot be used.
    """
    key = "" if cache is None else cache_key(chosen, pixels)
    if cache is not None and (kept := cache.get(key)) is not None:
        try:
            return findings.unpack(kept)
        except FindingError:  # damaged: made again
            pass
    made = findings.write(checked(model().find(pixels), pixels))
    if cache is not None:
        cache.put(key, findings.pack(made))
    return made


def _same(model: Model) -> Model:
    return model


def cache_key(chosen: Chosen, pixels: Pixels) -> str:
    """Return what a finding depends on, as a name for caches: picture, task and model."""
    digest = hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
    return f"finding-{chosen.task}-{chosen.stamp}-{digest}"


def checked(found: Found, pixels: Pixels) -> Found:
    """Return *found*. Raise FindingError where it is a map of another size than *pixels*."""
    size = pixels.shape[:2]
    if isinstance(found, findings.Segments) and found.labels.shape != size:
        raise FindingError(f"labels of shape {found.labels.shape} for a picture of {size}")
    if isinstance(found, findings.Depth) and found.values.shape != size:
        raise FindingError(f"depth of shape {found.values.shape} for a picture of {size}")
    return found
