"""What results depend on besides the scenario: code, libraries, models, files of the source, kind of processor.

A stamp is a SHA-256 in hexadecimal. Files up to 64 MiB are stamped by what is in them; larger ones by size, time of
change and both ends, since reading 24 GB of weights would take longer than many a cell.
"""

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import link
import sender
from link.codecs.classical import NAMES as CLASSICAL
from link.config import Session
from link.errors import UsageError
from link.fingerprint import fingerprint
from link.models import place, transform_folder
from receiver.analysis import analyst
from receiver.folders import part_folders
from scenarios import run as runs
from scenarios.schema import Scenario
from scenarios.scoring import pictures

_SENDER = Path(sender.__file__).parent / "weights"
_WHOLE_BYTES = 64 << 20
_END_BYTES = 1 << 20
_MAX_FILES = 200_000
_LIBRARIES = (
    "constriction", "diffusers", "lpips", "pytorch-msssim", "scipy", "torch", "transformers",
)  # fmt: skip
_AT_RECEIVER = {"steps", "noise_seed", "guidance", "control_scale", "strength"}
"""Settings of the codec that the encoder does not read."""
_AT_SENDER = {"frame_bytes", "unfit", "rate_control", "alpha", "beta", "task", "caption_words"}
"""Settings of the codec that the decoder does not read."""
_MODEL_FIELDS = {
    "transform", "segmenter", "captioner", "caption_model", "caption_url", "generator", "transformer",
    "controlnet", "vae", "text", "lora", "preview_vae", "rate_table", "segmentation", "depth", "detection",
}  # fmt: skip
"""Fields of the profile that say where models are; what is there counts, and how they run."""


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
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


@cache
def file(path: Path) -> str:
    """Return the stamp of one file."""
    about = path.stat()
    with path.open("rb") as data:
        if about.st_size <= _WHOLE_BYTES:
            return hashlib.file_digest(data, "sha256").hexdigest()
        start = data.read(_END_BYTES)
        data.seek(-_END_BYTES, 2)
        return digest(about.st_size, about.st_mtime_ns, start, data.read())


@cache
def folder(path: Path) -> str:
    """Return the stamp of a model: one file, or the files of a folder, where there is one."""
    if path.is_file():
        return file(path)
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else []
    return digest(*(item for found in files for item in (str(found.relative_to(path)), file(found))))


@cache
def source(name: str) -> str:
    """Return the stamp of the files of a source: their names, sizes and times of change, labels included.

    Labels lie in the folder itself, or in folders beside it whose names begin with its own.
    """
    path = Path(name)
    if not path.exists():
        path = Path(name.partition(":")[2].partition("#")[0])
        if not path.name or not path.exists():
            return ""  # rendered
    roots: list[Path] = [path]
    if path.is_dir():
        own = path.resolve()
        roots = [own, *(item for item in sorted(own.parent.glob(f"{own.name}*")) if item != own)]
    listed = []
    for root in roots:
        for item in sorted(_files(root)):
            about = item.stat()
            listed.append((str(item.relative_to(root.parent)), about.st_size, about.st_mtime_ns))
            if len(listed) > _MAX_FILES:
                raise UsageError(f"camera.source {name}: over {_MAX_FILES} files")
    return digest(listed)


def _files(root: Path) -> Iterable[Path]:
    return (item for item in root.rglob("*") if item.is_file()) if root.is_dir() else [root]


@cache
def processor(device: str, dtype: str) -> str:
    """Return what computes: pictures differ in single values between processors and number formats."""
    import torch

    from receiver.device import pick_device, pick_dtype

    picked = pick_device(device)
    kind = (
        torch.cuda.get_device_name(picked)
        if picked.type == "cuda"
        else f"{picked.type} {torch.backends.cpu.get_cpu_capability()}"
    )
    return f"{kind} {pick_dtype(dtype, picked)}"


def shots(session: Session) -> str:
    """Return what the frames of *session* depend on."""
    camera = session.camera.model_dump(mode="json")
    return digest("shots", code(), camera, session.seed, source(session.camera.source))


def encoding(session: Session) -> str:
    """Return what a payload depends on besides the frame's pixels."""
    codec = session.codec.model_dump(mode="json", exclude=_AT_RECEIVER)
    if session.codec.name in CLASSICAL:
        link = session.link
        # A section fills a packet.
        return digest(
            "encode", code(), runs.libraries(), codec, link.mtu_bytes, link.framing, link.repair.fec
        )
    return digest(
        "encode", code(), versions(), codec, fingerprint(session), _running(session), _sender_models(session),
        processor(session.profile.device, session.profile.dtype),
    )  # fmt: skip


def decoding(session: Session) -> str:
    """Return what a picture depends on besides the sections that arrived."""
    codec = session.codec.model_dump(mode="json", exclude=_AT_SENDER)
    size = (session.camera.width, session.camera.height)
    if session.codec.name in CLASSICAL:
        return digest("decode", code(), runs.libraries(), session.codec.name, size)
    return digest(
        "decode", code(), versions(), codec, size, _running(session), _receiver_models(session),
        processor(session.profile.device, session.profile.dtype),
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


def _running(session: Session) -> dict[str, Any]:
    return session.profile.model_dump(mode="json", exclude=_MODEL_FIELDS | {"device", "dtype"})


def _sender_models(session: Session) -> list[str]:
    codec, profile = session.codec, session.profile
    if codec.caption == "grammar":
        return [folder(place("tiny", "segmenter", profile.segmenter, _SENDER / "tiny" / "segmenter"))]
    if codec.caption == "vlm":
        return [folder(place("flux", "captioner", profile.captioner, _SENDER))]
    return [profile.caption_url or "", profile.caption_model] if codec.caption == "endpoint" else []


def _receiver_models(session: Session) -> list[str]:
    profile = session.profile
    found = [folder(transform_folder(session))]
    found += [folder(path) for _name, path in sorted(part_folders(session).items())]
    return found + [folder(Path(own)) for own in (profile.lora, profile.preview_vae) if own is not None]


def analysis_models(session: Session) -> list[str]:
    """Return task and stamp of each analysis model of *session*. Raise ModelMissingError where one is not here."""
    found = []
    for task in session.analysis:
        name = getattr(session.profile, task) or ""
        where = analyst.place(name)
        if not where.exists():
            analyst.choose(task, name)  # which says what is missing
        found.append(f"{task} {folder(where)}")
    return found


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
