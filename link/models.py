"""Where models lie on this machine. Nothing here downloads: `farlink models pull` does, and nothing else."""

import hashlib
import os
from functools import cache
from pathlib import Path

from link.config import Session
from link.errors import ModelMissingError
from link.files import brief
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


MANIFEST = "bundle.json"
"""The file in a bundle that says what it is made of; a folder without it is none."""


def bundled(bundle: str | None, part: str) -> Path | None:
    """Return where *part*, as `transform` or `generator/vae`, lies in *bundle*; None where it holds none.

    Raise ModelMissingError where *bundle* is no bundle: what one was given for must not be somebody else's quietly.
    """
    if bundle is None:
        return None
    folder = Path(bundle)
    if not (folder / MANIFEST).is_file():
        why = f"no {MANIFEST} in it" if folder.is_dir() else "no such folder"
        raise ModelMissingError(f"profile.bundle {brief(bundle)}: {why}; farlink train all makes a bundle")
    held = folder / part
    return held if held.exists() else None


def place(profile: str, part: str, own: str | None, shipped: Path, bundle: str | None = None) -> Path:
    """Return the folder of *part*: the user's *own*, else what *bundle* holds, else the profile's.

    The profile's is *shipped* for `tiny`, else where it was pulled to. Errors as of `bundled`.
    """
    if own is not None:
        return Path(own)
    if (held := bundled(bundle, part)) is not None:
        return held
    return shipped if profile == "tiny" else home() / profile / part


def transform_folder(session: Session) -> Path:
    """Return the folder of the session's transform, which both ends need."""
    profile = session.profile
    return place(session.codec.profile, "transform", profile.transform, FOLDER / "tiny", profile.bundle)


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
