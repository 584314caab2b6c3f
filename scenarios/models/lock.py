"""The lock file: which revision of each model was pulled, and what is in it, in a form to commit and to check.

    {"flux/depth": {"source": ..., "revision": ..., "licence": ..., "files": {"model.safetensors": SHA-256, ...}}}

`farlink models pull` writes it, and fetches what it says where it is there already; `farlink models verify` compares.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from link.errors import ModelMissingError, StorageError, UsageError
from link.models import home

NAME = "models.lock"
Entries = dict[str, dict[str, Any]]


def default() -> Path:
    """Return the lock file of this machine's own models."""
    return home() / NAME


def read(path: Path) -> Entries:
    """Return what *path* locks, by the parts' names; nothing where it is not there.

    Raise UsageError where it is no lock file.
    """
    try:
        entries = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: no usable lock file: {error}") from None
    if not isinstance(entries, dict) or not all(map(_is_entry, entries.values())):
        raise UsageError(f"{path}: no usable lock file: names with revision and files were expected")
    return entries


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("revision"), str):
        return False
    files = entry.get("files")
    return isinstance(files, dict) and all(isinstance(digest, str) for digest in files.values())


def write(path: Path, pulled: Mapping[str, Mapping[str, Any]]) -> None:
    """Lock what was *pulled*, entries of the manifest by name, and keep what *path* locks besides.

    Raise StorageError where it cannot be written.
    """
    kept = read(path)
    for name, entry in pulled.items():
        kept[name] = {key: entry[key] for key in ("source", "revision", "licence", "files")}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.part")
        draft.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", "utf-8")
        draft.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from None


def revision(path: Path, locked: Entries, name: str, pinned: str | None) -> str | None:
    """Return the revision of *name* that is locked in *path*, if any.

    Raise ModelMissingError where farlink pins another: neither is what the user can have meant.
    """
    locked_revision = locked[name]["revision"] if name in locked else None
    if locked_revision is not None and pinned is not None and locked_revision != pinned:
        raise ModelMissingError(
            f"{path} has {name} at {locked_revision[:12]}, but this farlink pins {pinned[:12]}: "
            f"take {name} out of the file, or pull with the farlink that wrote it"
        )
    return locked_revision


def differences(path: Path, locked: Entries, name: str, entry: Mapping[str, Any]) -> list[str]:
    """Return one line for each way in which the manifest's *entry* of *name* is not what *path* locks."""
    if name not in locked:
        return []
    wanted = locked[name]
    if entry["revision"] != wanted["revision"]:
        return [f"{name}: revision {entry['revision'][:12]} instead of {wanted['revision'][:12]} ({path})"]
    files: Mapping[str, str] = entry["files"]
    both = sorted({*files, *wanted["files"]})
    return [
        f"{name}: {file} is not what {path} says"
        for file in both
        if files.get(file) != wanted["files"].get(file)
    ]
