"""What results depend on besides the scenario: code, libraries, models, files of the source, kind of processor.

A stamp is a SHA-256 in hexadecimal. A model's files up to 64 MiB are stamped by what is in them; larger ones by size,
time of change and both ends, since reading 24 GB of weights would take longer than many a cell. Files of a source are
stamped by what is in them, up to 2 GB of a source (350 MB/s, so a second for some 700 photographs, once a plan and
worker); of those beyond it there count inode and time of the last change of status as well, which no program sets.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import link
from link.analysis import analyst
from link.codecs import SYNTAXES
from link.config import Session
from link.errors import UsageError
from link.fingerprint import fingerprint
from link.marks import Affects, values
from receiver.codecs import DECODERS
from scenarios import run as runs
from scenarios.schema import Scenario
from scenarios.scoring import pictures
from sender.camera import place_of
from sender.codecs import ENCODERS

_WHOLE_BYTES = 64 << 20
_END_BYTES = 1 << 20
_SOURCE_BYTES = 2_000_000_000
_MAX_FILES = 200_000
_LIBRARIES = (
    "diffusers", "lpips", "pytorch-msssim", "scipy", "torch", "transformers",
)  # fmt: skip


def digest(*parts: Any) -> str:
    """Return the stamp of *parts*: bytes as they are, all else as JSON."""
    whole = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True, default=str).encode()
        whole.update(len(data).to_bytes(8, "big"))
        whole.update(data)
    return whole.hexdigest()


def forget() -> None:
    """Look again at what lies on the disk: stamps of files are kept for one plan."""
    for kept in (file, folder, source):
        kept.cache_clear()


@cache
def code() -> str:
    """Return the stamp of farlink's own sources: an edited checkout is another version."""
    root = Path(link.__file__).parent.parent
    files = [
        path
        for package in ("link", "sender", "receiver", "scenarios")
        for path in (root / package).rglob("*.py")
    ]
    own = [path for path in sorted(files) if "training" not in path.parts]
    return digest(*(item for path in own for item in (str(path.relative_to(root)), path.read_bytes())))


@cache
def versions() -> dict[str, str]:
    """Return the versions of the libraries that pictures and scores come from."""
    by_package = {}
    for name in _LIBRARIES:
        try:
            by_package[name] = version(name)
        except PackageNotFoundError:
            by_package[name] = "not installed"
    return by_package


@cache
def file(path: Path) -> str:
    """Return the stamp of one file."""
    about = path.stat()
    if about.st_size <= _WHOLE_BYTES:
        return _content(path)
    with path.open("rb") as data:
        start = data.read(_END_BYTES)
        data.seek(-_END_BYTES, 2)
        return digest(about.st_size, about.st_mtime_ns, start, data.read())


@cache
def folder(path: Path) -> str:
    """Return the stamp of a model: one file, or the files of a folder, where there is one."""
    if path.is_file():
        return file(path)
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else []
    return digest(*(item for each in files for item in (str(each.relative_to(path)), file(each))))


@cache
def source(name: str) -> str:
    """Return the stamp of the files of a source: their names and what is in them, labels included.

    Labels lie in the folder itself, or in folders beside it whose names begin with its own.
    """
    path = Path(name)
    if not path.exists():
        path = place_of(name.partition("#")[0])
        if not path.name or not path.exists():
            return ""  # rendered
    roots: list[Path] = [path]
    if path.is_dir():
        own = path.resolve()
        roots = [own, *(item for item in sorted(own.parent.glob(f"{own.name}*")) if item != own)]
    listed: list[tuple[str, object]] = []
    left = _SOURCE_BYTES
    for root in roots:
        for item in sorted(_files(root)):
            left -= item.stat().st_size
            known = _content(item) if left >= 0 else _status(item)
            listed.append((str(item.relative_to(root.parent)), known))
            if len(listed) > _MAX_FILES:
                raise UsageError(f"camera.source {name}: over {_MAX_FILES} files")
    return digest(listed)


def _content(path: Path) -> str:
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _status(path: Path) -> object:
    """Return what tells that a file was written to, whatever its size and its time of change say."""
    about = path.stat()
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino, about.st_dev


def _files(root: Path) -> Iterable[Path]:
    return (item for item in root.rglob("*") if item.is_file()) if root.is_dir() else [root]


@cache
def processor(device: str, dtype: str) -> str:
    """Return what computes: pictures differ in single values between processors and number formats."""
    import torch

    from link.device import pick_device
    from receiver.device import pick_dtype

    picked = pick_device(device)
    kind = (
        torch.cuda.get_device_name(picked)
        if picked.type == "cuda"
        else f"{picked.type} {torch.backends.cpu.get_cpu_capability()}"
    )
    return f"{kind} {pick_dtype(dtype, picked)}"


def shots(session: Session) -> str:
    """Return what the frames of *session* depend on."""
    return digest("shots", code(), affecting(session, Affects.FRAMES), source(session.camera.source))


def encoding(session: Session) -> str:
    """Return what a payload depends on besides the frame's pixels."""
    facts = SYNTAXES[session.codec.name].facts
    packets = affecting(session, Affects.PACKETS) if facts.fills_packets else {}
    models = ENCODERS[session.codec.name].models(session)
    return digest(
        "encode", code(), runs.libraries(), codec_settings(session, Affects.ENCODING), packets,
        _neural(session, models) if facts.neural else "",
    )  # fmt: skip


def decoding(session: Session) -> str:
    """Return what a picture depends on besides the sections that arrived."""
    models = DECODERS[session.codec.name].models(session)
    return digest(
        "decode", code(), runs.libraries(), codec_settings(session, Affects.DECODING),
        affecting(session.camera, Affects.DECODING),
        _neural(session, models) if SYNTAXES[session.codec.name].facts.neural else "",
    )  # fmt: skip


def analysing(session: Session) -> str:
    """Return what findings and scores depend on besides pictures and the models that are named in their own keys."""
    own = processor(session.profile.device, session.profile.dtype) if session.analysis else ""
    return digest("analyse", code(), versions(), runs.libraries(), own)


def scoring() -> str:
    """Return what the scores of pictures depend on besides the pictures: code, libraries, weights at hand."""
    missing = {name: score.missing() for name, score in pictures.table().items()}
    own = [folder(path) for path in pictures.own_weights()]
    return digest("scores", code(), versions(), missing, own)


def affecting(model: BaseModel, mark: Affects) -> dict[str, object]:
    """Return the values of the fields of *model* with *mark*, by their paths."""
    return dict(values(model, mark))


def codec_settings(session: Session, mark: Affects) -> dict[str, object]:
    """Return what the session's codec reads of its settings with *mark*."""
    facts = SYNTAXES[session.codec.name].facts
    return {name: value for name, value in values(session.codec, mark) if facts.reads(name)}


def _neural(session: Session, models: Mapping[str, Path | str]) -> list[object]:
    """Return what else the results of networks depend on."""
    profile = session.profile
    weights = {part: folder(where) if isinstance(where, Path) else where for part, where in models.items()}
    running = affecting(profile, Affects.RUNNING)
    return [versions(), fingerprint(session), running, weights, processor(profile.device, profile.dtype)]


def analysis_models(session: Session) -> list[str]:
    """Return task and stamp of each analysis model of *session*. Raise ModelMissingError where one is not here."""
    models = []
    for task in session.analysis:
        name = getattr(session.profile, task) or ""
        where = analyst.place(name)
        if not where.exists():
            analyst.choose(task, name)  # which says what is missing
        models.append(f"{task} {folder(where)}")
    return models


def cell(scenario: Scenario) -> tuple[str, str]:
    """Return a cell's key, and the group of cells that encode the same frames the same way."""
    session = scenario.session()
    rates = session.profile.rate_table
    payloads = digest(shots(session), encoding(session))
    key = digest(
        "cell", runs.head(scenario), payloads, decoding(session), analysing(session), analysis_models(session),
        scoring(), None if rates is None else folder(Path(rates)), session.codec.rate_control,
    )  # fmt: skip
    return key, payloads
