"""Opening a model's folder in `save_pretrained` layout: nothing is downloaded, nothing pickled is read."""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from link.errors import ModelMissingError, UsageError
from link.pretrained import BROKEN, first_line, load_settings, load_weights

_FILES = ("*.json", "*.safetensors")


def stamp(folder: Path) -> str:
    """Return 16 hexadecimal digits that name the model in *folder*: settings and weights, not where they lie.

    Raise ModelMissingError where there are none.
    """
    digest = hashlib.sha256()
    files = sorted(path for pattern in _FILES for path in folder.glob(pattern))
    if not files:
        raise ModelMissingError(f"{folder}: no model there")
    for path in files:
        with path.open("rb") as file:
            digest.update(f"{path.name}\n".encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def settings(folder: Path, what: str) -> dict[str, Any]:
    """Return what config.json in *folder* says.

    Raise ModelMissingError where there is none, UsageError where it is not a model's.
    """
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except FileNotFoundError:
        raise ModelMissingError(f"{folder}: no {what} model there (config.json is missing)") from None
    except (OSError, ValueError) as error:
        raise make_unreadable_error(folder, what, error) from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise UsageError(f"{folder}: its config.json names no model_type: not a {what} model")
    if not any(folder.glob("*.safetensors")):
        raise ModelMissingError(f"{folder}: no weights there (model.safetensors is missing)")
    return config


def load(folder: Path, auto: Any, what: str, known: Collection[Any]) -> tuple[Any, Any]:
    """Return (model, processor) of *folder*, with the class that *auto* picks by its config.json.

    *known* are the configurations that *auto* has a class for. Raise ModelMissingError where weights or
    processor are missing, UsageError where they are not those of a *what* model.
    """
    kind = settings(folder, what)["model_type"]
    import torch  # seconds; who only asks for stamps and settings does without
    import transformers

    auto_config: Any = transformers.AutoConfig
    auto_processor: Any = transformers.AutoImageProcessor
    logging: Any = transformers.utils.logging
    try:
        config = load_settings(auto_config, folder)
    except BROKEN as error:
        raise make_unreadable_error(folder, what, error) from None
    if type(config) not in known:
        raise UsageError(f"{folder}: a {kind} model, which is no {what} model")
    if not (folder / "preprocessor_config.json").is_file():
        raise ModelMissingError(f"{folder}: no preprocessor_config.json there")
    logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # what is missing is told below, in one line
    try:
        # shipped weights are in half precision, in which processors are slow
        model = load_weights(auto, folder, dtype=torch.float32)
        processor = load_settings(auto_processor, folder)
    except ModelMissingError:
        raise
    except BROKEN as error:
        raise make_unreadable_error(folder, what, error) from None
    finally:
        logging.set_verbosity(before)
    return model, processor


def names(config: Any) -> tuple[str, ...]:
    """Return the model's names of its classes, in order of their numbers."""
    given = {int(number): str(name) for number, name in config.id2label.items()}
    return tuple(given.get(number, f"LABEL_{number}") for number in range(max(given, default=-1) + 1))


def class_names(folder: Path, what: str) -> tuple[str, ...]:
    """Return the names of the classes of the *what* model in *folder*, by its settings alone.

    Raise ModelMissingError or UsageError as `settings` does, UsageError also where they name none.
    """
    config = settings(folder, what)
    given = config.get("names") or list(dict(config.get("id2label") or {}).items())
    if given and not isinstance(given[0], str):
        labels = {int(number): str(name) for number, name in given}
        given = [labels.get(number, f"LABEL_{number}") for number in range(max(labels) + 1)]
    if not given:
        raise UsageError(f"{folder}: its config.json names no classes")
    return tuple(given)


def make_unreadable_error(folder: Path, what: str, error: Exception) -> UsageError:
    """Return the error that says in one line why *folder* is no *what* model."""
    return UsageError(f"{folder}: cannot be read as a {what} model: {first_line(error)}")
