"""Fetching models and checking them: the one place of farlink that uses the network.

    CATALOGUE part --> ModelHub (or a test's stand-in) --> link.models.home()/flux/...
                                                  |-> flux/manifest.json: revision, SHA-256 of every file
                                                  '-> models.lock: the same, to commit (`scenarios.models.lock`)

A part that was cut short goes on where it stopped. Nothing is loaded from what the manifest does not list as
complete; nothing pickled is fetched but CompressAI's checkpoint, which is read as weights only.
"""

import errno
import hashlib
import importlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Protocol

from link import models as places
from link.errors import FarlinkError, ModelMissingError, StorageError, UsageError
from scenarios.models import lock
from scenarios.models.catalogue import CATALOGUE, CataloguePart

MANIFEST = "manifest.json"
SPARE_BYTES = 1 << 30
"""Left free on the disk beside what is fetched."""
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM)
"""Errors that the disk makes, not the network."""
SHIPPED = ("link", "sender", "receiver", "scenarios/scoring")
"""The packages that may come with weights."""

Tell = Callable[[str], None]


class ModelSource(Protocol):
    """Where models come from: the hub, or a stand-in."""

    def newest(self, hub_id: str) -> str:
        """Return the newest commit of *hub_id*."""

    def fetch(self, part: CataloguePart, revision: str, folder: Path) -> None:
        """Put the files of *part* into *folder*; go on where an earlier call stopped."""

    def checkpoint(self, name: str, file: Path) -> None:
        """Put the CompressAI checkpoint *name*, as in mbt2018-mean/5, into *file*."""


def select_parts(name: str) -> list[str]:
    """Return the parts that *name* stands for: a profile, one part, or what one is made of. Raise UsageError else."""
    names = [
        key
        for key, part in CATALOGUE.items()
        if key.startswith(f"{name}/") and (part.by_profile or "/" in name)
    ]
    if not names and name in CATALOGUE:
        names = [name]
    if not names:
        raise UsageError(f"no model {name!r}: choose from {', '.join(['flux', *CATALOGUE])}")
    return names


def pull(name: str, source: ModelSource, tell: Tell, lock_file: Path | None = None) -> list[Path]:
    """Fetch what *name* stands for, at the revisions that *lock_file* has, and lock it there; return the folders.

    Without *lock_file* it is the one among the models. Raise ModelMissingError without network or licence, or where
    what came is not what is locked; StorageError where the disk is too small.
    """
    lock_path = lock.default() if lock_file is None else lock_file
    locked = lock.read(lock_path)
    if lock_file is None:  # nobody's wish but a record: a newer farlink's pins go before it
        pins = {key: part.revision for key, part in CATALOGUE.items()}
        locked = {key: entry for key, entry in locked.items() if pins.get(key) in (None, entry["revision"])}
    wanted = {
        key: lock.revision(lock_path, locked, key, CATALOGUE[key].revision) for key in select_parts(name)
    }
    keys = [key for key in select_parts(name) if not _complete(key, wanted[key])]
    _check_space(keys)
    for key in keys:
        part = CATALOGUE[key]
        known = _manifest(key).get(key, {})
        revision = part.revision or wanted[key] or known.get("revision") or source.newest(part.source)
        tell(
            f"{key}: {part.source} at {revision[:12]}, about {size(part.size_bytes)}, licence {part.licence}"
        )
        folder = places.home() / part.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # The revision is kept before the first byte: a pull that is cut short goes on with the same one.
            _note(key, {"source": part.source, "revision": revision, "complete": False})
            (_fetch_transform if part.kind == "zoo" else _fetch_hub)(part, revision, folder, source)
            files = {path.relative_to(folder).as_posix(): sha256(path) for path in _files(part, folder)}
            if not files:
                raise ModelMissingError(f"{key}: {part.source} at {revision} holds none of the files needed")
            entry = {"source": part.source, "revision": revision, "licence": part.licence, "files": files}
            if other := lock.differences(lock_path, locked, key, entry):
                raise ModelMissingError(f"{other[0]}: pull it again, or take {key} out of the file")
            _note(key, {**entry, "complete": True})
        except OSError as error:
            raise _storage(error, folder) from None
    lock.write(lock_path, {key: _manifest(key)[key] for key in select_parts(name)})
    return [places.home() / CATALOGUE[key].folder for key in select_parts(name)]


def _fetch_hub(part: CataloguePart, revision: str, folder: Path, source: ModelSource) -> None:
    source.fetch(part, revision, folder)


def _fetch_transform(part: CataloguePart, revision: str, folder: Path, source: ModelSource) -> None:
    """Make a transform folder of a CompressAI checkpoint whose name ends in the start of its SHA-256."""
    import torch

    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of torch, about CompressAI
        models, utils, zoo = (
            importlib.import_module(f"compressai.{name}")
            for name in ("models", "models.utils", "zoo.pretrained")
        )

    from link import transform

    file = folder / "checkpoint.part"
    source.checkpoint(part.source, file)
    actual = sha256(file)
    if not actual.startswith(revision):
        file.unlink()
        raise ModelMissingError(f"{part.source}: SHA-256 {actual[:16]} instead of {revision}; pull it again")
    state: Any = zoo.load_pretrained(torch.load(file, map_location="cpu", weights_only=True))
    # Old checkpoints name the entropy model's parameters otherwise; unmapped they would stay random, silently.
    state = utils.remap_old_keys("entropy_bottleneck", state)
    model = models.MeanScaleHyperprior.from_state_dict(state)
    settings = {"N": int(state["g_a.0.weight"].shape[0]), "M": int(state["g_a.6.weight"].shape[0])}
    transform.save(folder, model, settings)
    file.unlink()


def _check_space(keys: list[str]) -> None:
    need = sum(CATALOGUE[key].size_bytes for key in keys)
    root = places.home()
    files = (path for key in keys for path in (root / CATALOGUE[key].folder).rglob("*"))
    have = sum(path.stat().st_size for path in files if path.is_file())
    existing = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    missing = max(0, need - have)
    if missing and free < missing + SPARE_BYTES:
        raise StorageError(
            f"{root}: {size(missing + SPARE_BYTES)} needed, {size(free)} free; "
            "set FARLINK_MODELS to a folder on a larger disk"
        )


def list_parts() -> list[dict[str, Any]]:
    """Return one row a part: name, source, revision, licence, size, whether it is here, what it is for."""
    rows = []
    for key, part in CATALOGUE.items():
        known = _manifest(key).get(key, {})
        rows.append(
            {
                "name": key,
                "source": part.source,
                "revision": part.revision or known.get("revision"),
                "pinned": part.revision is not None,
                "licence": part.licence,
                "gated": part.gated,
                "size_bytes": part.size_bytes,
                "here": _complete(key),
                "folder": str(places.home() / part.folder),
                "by_profile": part.by_profile,
                "use": part.use,
            }
        )
    return rows


def find_missing(profile: str) -> list[str]:
    """Return the parts of *profile* that are not on this machine."""
    return [key for key in select_parts(profile) if not _complete(key)]


def verify(name: str | None, lock_file: Path | None = None) -> tuple[int, list[str]]:
    """Return how many files are as they were fetched or shipped, and one line for each that is not.

    Without *name*: all that was pulled, and the weights that come with farlink. Revisions and files are also compared
    with *lock_file*, by default the one among the models. Raise ModelMissingError where *name*, or what a *lock_file*
    that is given locks, was never pulled, UsageError where *lock_file* is none.
    """
    if lock_file is not None and not lock_file.is_file():
        raise UsageError(f"{lock_file}: no such lock file")
    lock_path = lock.default() if lock_file is None else lock_file
    locked = lock.read(lock_path)
    good = 0
    wrong: list[str] = []
    if name is None:
        good, wrong = _verify_shipped()
    asked = set() if lock_file is None else set(locked)
    keys = [key for key in CATALOGUE if _known(key) or key in asked] if name is None else select_parts(name)
    for key in keys:
        entry = _manifest(key).get(key, {})
        if not entry.get("complete"):
            if not entry and (name is not None or key in asked):
                raise ModelMissingError(f"{key} is not on this machine; farlink models pull {key}")
            wrong.append(f"{key}: not complete; farlink models pull {key}")
            continue
        wrong += lock.differences(lock_path, locked, key, entry)
        folder = places.home() / CATALOGUE[key].folder
        for file, expected in entry["files"].items():
            line = _wrong(folder / file, expected)
            good, wrong = (good + 1, wrong) if line is None else (good, [*wrong, line])
    return good, wrong


def _verify_shipped() -> tuple[int, list[str]]:
    root = Path(__file__).parents[2]
    good = 0
    wrong: list[str] = []
    for package in SHIPPED:
        for table in sorted((root / package / "weights").rglob("SHA256SUMS")):
            for row in table.read_text().splitlines():
                expected, _, file = row.partition("  ")
                line = _wrong(table.parent / file, expected)
                good, wrong = (good + 1, wrong) if line is None else (good, [*wrong, line])
    return good, wrong


def _wrong(path: Path, expected: str) -> str | None:
    try:
        actual = sha256(path)
    except OSError as error:
        return f"{path}: {error.strerror or error}"
    return None if actual == expected else f"{path}: SHA-256 {actual[:16]}... instead of {expected[:16]}..."


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size(count: float) -> str:
    """Return *count* bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _files(part: CataloguePart, folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and any(fnmatch(name, pattern) for pattern in part.files):
            if not name.startswith(".cache/") and name.count("/") == part.files[0].count("/"):
                yield path


def _complete(key: str, locked: str | None = None) -> bool:
    """Whether the manifest lists *key* as complete, at the pinned or *locked* revision, and all its files are there."""
    part, entry = CATALOGUE[key], _manifest(key).get(key, {})
    if not entry.get("complete") or (part.revision or locked or entry["revision"]) != entry["revision"]:
        return False
    return all((places.home() / part.folder / file).is_file() for file in entry["files"])


def _known(key: str) -> bool:
    return bool(_manifest(key).get(key))


def _manifest(key: str) -> dict[str, Any]:
    path = places.home() / key.split("/")[0] / MANIFEST
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelMissingError(f"{path}: no usable manifest ({error}); delete it and pull again") from None
    return manifest if isinstance(manifest, dict) else {}


def _note(key: str, entry: dict[str, Any]) -> None:
    path = places.home() / key.split("/")[0] / MANIFEST
    whole = {**_manifest(key), key: entry}
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")
    draft.replace(path)


def _storage(error: OSError, folder: Path) -> FarlinkError:
    if error.errno == errno.ENOSPC:
        return StorageError(
            f"{folder}: the disk is full; pull again when there is room, it goes on from here"
        )
    return StorageError(f"{folder}: cannot write: {error.strerror or error}")


class ModelHub:
    """The Hugging Face hub and CompressAI's store."""

    def newest(self, hub_id: str) -> str:
        """Return the newest commit of *hub_id*."""
        from huggingface_hub import HfApi

        return str(self._asked(hub_id, lambda: HfApi().model_info(hub_id).sha))

    def fetch(self, part: CataloguePart, revision: str, folder: Path) -> None:
        """Fetch the part's files at *revision*; progress goes to stderr."""
        from huggingface_hub import HfApi, snapshot_download

        def ask() -> None:
            # One quick question first: without a network the download would try again for half a minute.
            HfApi().model_info(part.source, revision=revision)
            snapshot_download(
                part.source, revision=revision, local_dir=folder, allow_patterns=list(part.files)
            )

        self._asked(part.source, ask)

    def checkpoint(self, name: str, file: Path) -> None:
        """Fetch the CompressAI checkpoint *name* into *file*."""
        from urllib.request import urlopen

        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            urls = importlib.import_module("compressai.zoo.image").model_urls
        architecture, quality = name.split("/")
        url = str(urls[architecture]["mse"][int(quality)])

        def ask() -> None:
            with urlopen(url, timeout=60) as answer, file.open("wb") as out:
                shutil.copyfileobj(answer, out, 1 << 20)

        self._asked(name, ask)

    def _asked(self, name: str, ask: Callable[[], Any]) -> Any:
        from huggingface_hub import constants, errors
        from huggingface_hub.utils import logging

        if constants.HF_HUB_OFFLINE:
            raise ModelMissingError(f"{name}: HF_HUB_OFFLINE is set; unset it to pull models")
        logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # it would tell of every retry
        try:
            return ask()
        except (errors.GatedRepoError, errors.RepositoryNotFoundError):
            token = (
                "HF_TOKEN is set" if os.environ.get("HF_TOKEN") else "set HF_TOKEN to a token of that account"
            )
            raise ModelMissingError(
                f"{name} is gated (or gone): accept its licence at https://huggingface.co/{name} "
                f"with your account; {token}"
            ) from None
        except Exception as error:  # whatever the libraries below the hub's raise
            if isinstance(error, OSError) and error.errno in DISK:
                raise
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelMissingError(
                f"{name} could not be fetched ({line}); with a network connection pull again, "
                "it goes on from here"
            ) from None
