"""Where models lie on this machine. Nothing here downloads: `farlink models pull` does, and nothing else."""

import hashlib
import os
from functools import cache
from pathlib import Path

from link.config import Session
from link.errors import ModelMissingError
from link.weights import FOLDER


def home() -> Path:
    """Return the folder of pulled models: $FARLINK_MODELS, else farlink/models in the user's cache."""
    own = os.environ.get("FARLINK_MODELS")
    if own:
        return Path(own)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "farlink" / "models"


PROFILE_PARTS = ("generator", "transform", "captioner")
"""The folders that a profile's name alone fetches."""


def pull_hint(folder: Path) -> str:
    """Return `; farlink models pull NAME` where that would fetch *folder*, else an empty string."""
    try:
        profile, part, *_ = folder.relative_to(home()).parts
    except ValueError:
        return ""
    return f"; farlink models pull {profile if part in PROFILE_PARTS else f'{profile}/{part}'}"


def place(profile: str, part: str, own: str | None, shipped: Path) -> Path:
    """Return the folder of *part*: the user's *own*, else *shipped* for `tiny`, else where it was pulled to."""
    if own is not None:
        return Path(own)
    return shipped if profile == "tiny" else home() / profile / part


def transform_folder(session: Session) -> Path:
    """Return the folder of the session's transform, which both ends need."""
    return place(session.codec.profile, "transform", session.profile.transform, FOLDER / "tiny")


@cache
def digest(folder: Path) -> str:
    """Return one SHA-256 over settings and weights of the model in *folder*. Raise ModelMissingError for none."""
    files = sorted(path for path in folder.glob("*") if path.suffix in (".json", ".safetensors"))
    if not files:
        raise ModelMissingError(f"{folder}: no such model, or nothing in its folder{pull_hint(folder)}")
    whole = hashlib.sha256()
    for path in files:
        whole.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()
