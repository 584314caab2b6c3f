"""Runs the session's analysis models on a picture: names, folders, and what is written of each finding."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from link.analysis import findings
from link.analysis.findings import FindingError, Found, Record
from link.config import TASKS, ProfileConfig, Session
from link.errors import ModelMissingError, UsageError
from link.frame import Pixels
from link.models import home
from link.weights import FOLDER

SHIPPED = FOLDER / "analysis"
NAMES: dict[str, tuple[str, str]] = {
    "segmentation-street": ("street", "segmentation"),
    "segmentation-world": ("world", "segmentation"),
    "depth-world": ("world", "depth"),
    "detection-world": ("world", "detection"),
}
"""The models that come with farlink, folders in `SHIPPED`: the kind of pictures and the task that each is for."""
PULLED = "flux/"
"""How the names of models that `farlink models pull` fetches begin."""


class AnalysisModel(Protocol):
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
class ModelKind:
    """A class of models of one task, and how its folders or files are told from others."""

    task: str
    make: Callable[[Path, Any], AnalysisModel]
    """Takes the folder or file and the device. Raise ModelMissingError or UsageError where it cannot be loaded."""
    title: str
    model_type: str | None = None
    """What `config.json` says of it; None: whatever no other row of the task names."""
    suffix: str = ""
    """Of a file, as `.pt`; empty: a folder in `save_pretrained` layout."""


def _segmentation(folder: Path, device: Any) -> AnalysisModel:
    from link.analysis.segmentation import SegmentationModel  # torch takes seconds to import

    return SegmentationModel(folder, device)


def _depth(folder: Path, device: Any) -> AnalysisModel:
    from link.analysis.depth import DepthModel

    return DepthModel(folder, device)


def _detection(folder: Path, device: Any) -> AnalysisModel:
    from link.analysis.detection import DetectionModel

    return DetectionModel(folder, device)


def _fcos(folder: Path, device: Any) -> AnalysisModel:
    from link.analysis.detection import FcosModel

    return FcosModel(folder, device)


def _yolo(file: Path, device: Any) -> AnalysisModel:
    from link.analysis.detection import YoloModel

    return YoloModel(file, device)


KINDS: list[ModelKind] = [
    ModelKind("segmentation", _segmentation, "a semantic model of transformers"),
    ModelKind("depth", _depth, "a depth model of transformers"),
    ModelKind("detection", _detection, "DETR and its kin"),
    ModelKind("detection", _fcos, "FCOS", model_type="fcos"),
    ModelKind("detection", _yolo, "YOLO11", suffix=".pt"),
]
"""What can be loaded."""


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
    if where.suffix in {kind.suffix for kind in KINDS if kind.suffix}:
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
    from link.analysis import loading  # transformers takes seconds to import

    return Chosen(task, name if is_name(name) else where.name, where, loading.stamp(where))


def load(chosen: Chosen, device: Any) -> AnalysisModel:
    """Return the model that *chosen* names. Raise ModelMissingError or UsageError where it cannot be loaded."""
    suffix = chosen.place.suffix if chosen.place.is_file() else ""
    mine = [kind for kind in KINDS if kind.suffix == suffix and kind.task == chosen.task]
    if not mine:
        others = ", ".join(f"{kind.task}, by {kind.title}" for kind in KINDS if kind.suffix == suffix)
        raise UsageError(f"profile.{chosen.task} {chosen.place}: {suffix} files are for {others}")
    named = [kind for kind in mine if kind.model_type is not None]
    if named:
        from link.analysis import loading

        model_type = loading.settings(chosen.place, chosen.task)["model_type"]
        mine = [kind for kind in named if kind.model_type == model_type] or [
            kind for kind in mine if kind.model_type is None
        ]
    return mine[0].make(chosen.place, device)


def choose_all(tasks: Sequence[str], profile: ProfileConfig) -> list[Chosen]:
    """Return the models of *tasks* that *profile* names, in the order in which they are run.

    Raise ModelMissingError where one is not on this machine, UsageError where none is named.
    """
    models = []
    for task in TASKS:
        if task in tasks:
            name = getattr(profile, task)
            if name is None:
                raise UsageError(f"analysis {task}: no model is named; give profile.{task}")
            models.append(choose(task, name))
    return models


def places(session: Session) -> dict[str, Path]:
    """Return where the models of the session's tasks lie, by task; loads none of them."""
    named = {task: getattr(session.profile, task) for task in session.analysis}
    return {task: place(name) for task, name in named.items() if name is not None}


class Analyst:
    """Runs *models* on pictures. With *cache*, no picture is looked at twice by the same model."""

    def __init__(self, models: Sequence[tuple[Chosen, AnalysisModel]], cache: Cache | None = None) -> None:
        self._models, self._cache = models, cache
        self._tasks = {chosen.task for chosen, _ in models}

    @classmethod
    def from_session(cls, session: Session, cache: Cache | None = None) -> "Analyst | None":
        """Return the analyst that *session* asks for, None where it asks for none.

        Raise ModelMissingError or UsageError where a model is missing or of another kind.
        """
        if not session.analysis:
            return None
        chosen = choose_all(session.analysis, session.profile)
        from link.device import pick_device

        device = pick_device(session.profile.device)
        return cls([(item, load(item, device)) for item in chosen], cache)

    def adjust(self, session: Session) -> None:
        """Run the models of `session.analysis` alone, of those that were loaded."""
        self._tasks = set(session.analysis)

    @property
    def about(self) -> list[dict[str, Any]]:
        """What every event of each model says, in the order in which they are run: `task`, `model`, `stamp`."""
        return [{"task": item.task, "model": item.name, "stamp": item.stamp} for item, _ in self._models]

    def look(self, pixels: Pixels) -> list[tuple[str, dict[str, Any], bytes | None]]:
        """Return (kind, fields, PNG) for each model: `found` with its finding, or `not_found` with the reason.

        A model that fails on one picture says so in its event, and the run goes on.
        """
        seen: list[tuple[str, dict[str, Any], bytes | None]] = []
        for about, (chosen, model) in zip(self.about, self._models, strict=True):
            if chosen.task not in self._tasks:
                continue
            try:
                made = record(chosen, partial(_same, model), pixels, self._cache)
            except Exception as error:  # a network's ways to fail on a picture are torch's, not ours
                reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
                seen.append(("not_found", {**about, "reason": reason}, None))
                continue
            seen.append(("found", {**about, **made.fields}, made.picture))
        return seen


def record(chosen: Chosen, model: Callable[[], AnalysisModel], pixels: Pixels, cache: Cache | None) -> Record:
    """Return what the model finds in *pixels*, from the cache where it is there: *model* is called only if needed.

    Raise FindingError where what it found cannot be used.
    """
    key = "" if cache is None else cache_key(chosen, pixels)
    if cache is not None and (kept := cache.get(key)) is not None:
        try:
            return findings.unpack(kept)
        except FindingError:  # damaged: made again
            pass
    made = findings.write(check_shape(model().find(pixels), pixels.shape[:2]))
    if cache is not None:
        cache.put(key, findings.pack(made))
    return made


def _same(model: AnalysisModel) -> AnalysisModel:
    return model


def cache_key(chosen: Chosen, pixels: Pixels) -> str:
    """Return what a finding depends on, as a name for caches: picture, task and model."""
    digest = hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
    return f"finding-{chosen.task}-{chosen.stamp}-{digest}"


def check_shape(finding: Found, size: tuple[int, ...]) -> Found:
    """Return *finding*. Raise FindingError where it is a map of another size than *size*, (height, width)."""
    if isinstance(finding, findings.Segments) and finding.labels.shape != size:
        raise FindingError(f"labels of shape {finding.labels.shape} for a picture of {size}")
    if isinstance(finding, findings.DepthMap) and finding.values.shape != size:
        raise FindingError(f"depth of shape {finding.values.shape} for a picture of {size}")
    return finding
