"""Opening a part's folder in `save_pretrained` layout: the one way in which farlink has others' classes read files.

Nothing is downloaded, nothing pickled is read, no code that lies in the folder is run, and no weight is left as it was
drawn at random. The classes are the caller's: the link itself imports neither torch nor transformers.
"""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from link.errors import ModelMissingError

BROKEN: tuple[type[Exception], ...] = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    ImportError,
    SafetensorError,
)
"""What `from_pretrained` raises on folders that are no model's, or damaged."""


def load_weights(kind: Any, folder: str | Path, **options: Any) -> Any:
    """Return `kind.from_pretrained(folder)` for inference, with all its weights; *options* are that method's.

    Raise ModelMissingError where weights are missing or of another shape, one of `BROKEN` where the folder cannot be
    read.
    """
    model, report = kind.from_pretrained(
        str(folder), use_safetensors=True, output_loading_info=True, **_safe(kind), **options
    )
    lost = sorted({*report["missing_keys"], *(item[0] for item in report["mismatched_keys"])})
    if lost:
        raise ModelMissingError(
            f"{folder}: {len(lost)} weights of the {type(model).__name__} are missing, {lost[0]} first"
        )
    return model.eval().requires_grad_(False)


def load_settings(kind: Any, folder: str | Path, **options: Any) -> Any:
    """Return `kind.from_pretrained(folder)` of a part without weights: a configuration, tokenizer, scheduler, ...

    Raise one of `BROKEN` where the folder cannot be read.
    """
    return kind.from_pretrained(str(folder), **_safe(kind), **options)


def _safe(kind: Any) -> dict[str, Any]:
    # transformers asks on standard input whether to run what a folder calls its own code; diffusers runs none.
    code = {"trust_remote_code": False} if kind.__module__.startswith("transformers") else {}
    return {"local_files_only": True, **code}


def first_line(error: Exception) -> str:
    """Return the first line of what *error* says, its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
