"""What a training is asked for, and where the parts that it builds on lie."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from link.errors import ModelMissingError, UsageError
from link.pretrained import BROKEN, first_line, load_settings, load_weights
from link.seeds import generator
from scenarios.training import ship
from scenarios.training.loop import Recipe, TrainedPart

OPTIONS = {
    "out": "--out",
    "streets": "--streets",
    "natural": "--natural",
    "world": "--world",
    "held_out": "--held-out",
    "leave_out": "--leave-out",
    "perceptual": "--perceptual",
    "pictures": "--pictures",
    "captions": "--captions",
    "earlier": "--from",
    "init": "--init",
    "base": "--base",
    "transform": "--transform",
    "size": "--size",
    "examples": "--examples",
    "steps": "--steps",
    "batch": "--batch",
    "learning_rate": "--lr",
    "ema": "--ema",
    "scenario": "--scenario",
    "source": "--source",
    "bundle": "--bundle",
    "hours": "--hours",
}
"""What the command line calls each field of a request that not every part has a use for."""

SOURCES = {
    ("transform" if Path(to).name == "tiny" else Path(to).name): made for made, to in ship.PARTS.items()
}
"""For each part of the tiny profile the place, below a folder of trainings, where its training leaves it."""
SHIPPED = {name: ship.ROOT / ship.PARTS[made] for name, made in SOURCES.items()}


@dataclass(frozen=True)
class TrainingRequest:
    """The options of `farlink train`; None where one was not given."""

    out: Path | None = None
    seed: int = 1
    streets: Path | None = None
    natural: Path | None = None
    world: Path | None = None
    held_out: Path | None = None
    pictures: Path | None = None
    captions: Path | None = None
    earlier: Path | None = None
    init: Path | None = None
    base: Path | None = None
    transform: Path | None = None
    size: tuple[int, int] | None = None
    """Width and height of a frame, multiples of 16."""
    examples: int | None = None
    steps: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    ema: float | None = None
    scenario: str | None = None
    """A preset or a file."""
    source: str | None = None
    """As `camera.source`."""
    leave_out: str | None = None
    """How the names of those streets begin that are kept out of training."""
    perceptual: Path | None = None
    """Folder of AlexNet's convolutions; None: those that come with farlink."""

    bundle: Path | None = None
    """As `profile.bundle`."""
    hours: float | None = None
    """How long everything may take together."""

    def folder(self, name: str) -> Path:
        """Return the folder that option *name* gives. Raise UsageError where it gives none, or none is there."""
        path = getattr(self, name)
        if path is None:
            raise UsageError(f"{OPTIONS[name]} is needed")
        if not path.is_dir():
            raise UsageError(f"{OPTIONS[name]} {path}: no such folder")
        assert isinstance(path, Path)
        return path

    def part(self, name: str) -> Path:
        """Return the folder of an earlier part, which is in --from, or else the shipped one."""
        if name == "transform" and self.transform is not None:
            return self.folder("transform")
        if self.earlier is None:
            if not SHIPPED[name].is_dir():
                raise UsageError(f"no {name} comes with farlink: say where it was trained by --from")
            return SHIPPED[name]
        return find(self.folder("earlier"), name, "--from")

    def start(self, name: str) -> Path | None:
        """Return the folder of the weights of *name* that --init names, None without --init."""
        return None if self.init is None else find(self.folder("init"), name, "--init")


@dataclass(frozen=True)
class Trained:
    """A part that is trained step by step."""

    recipe: Recipe
    batch: int
    build: Callable[[TrainingRequest, int], TrainedPart]
    """From the request and the batch; the request has what `needs` names."""
    needs: tuple[str, ...]
    takes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fitted:
    """A part that is fitted in one go."""

    fit: Callable[[TrainingRequest, Callable[[str], None]], Path]
    """Returns the file it wrote."""
    needs: tuple[str, ...]
    takes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Whole:
    """All parts in turn, within a time."""

    train: Callable[[TrainingRequest, Callable[[], float], Callable[[str], None]], Path]
    """From the request, a clock in seconds, and what is told of the progress; returns the folder of the bundle."""
    needs: tuple[str, ...]
    takes: tuple[str, ...] = ()


Entry = Trained | Fitted | Whole


def check(name: str, entry: Entry, request: TrainingRequest) -> None:
    """Raise UsageError where *request* lacks what *entry* needs, or has what it would not use."""
    common: tuple[str, ...] = ("out", "seed")
    if isinstance(entry, Trained):
        common += ("steps", "batch", "learning_rate", "ema", "init")
    for field in fields(request):
        given = getattr(request, field.name) is not None
        if field.name in entry.needs and not given:
            needed = ", ".join(OPTIONS[one] for one in entry.needs)
            raise UsageError(f"training {name} needs {OPTIONS[field.name]} (of {needed})")
        if given and field.name not in (*common, *entry.needs, *entry.takes):
            raise UsageError(f"training {name} has no use for {OPTIONS[field.name]}")


def find(folder: Path, name: str, option: str) -> Path:
    """Return where part *name* lies in *folder*: as its training left it, as `NAME`, or the folder itself.

    Raise UsageError where it is at none of them.
    """
    found = seek(folder, name)
    if found is None:
        raise UsageError(f"{option} {folder}: neither {name} nor {SOURCES[name]} is in it")
    return found


def seek(folder: Path, name: str) -> Path | None:
    """Return where part *name* lies in *folder*, as `find` does; None where it is at none of these places."""
    inside = SOURCES[name].split("/", 1)[1]
    for place in (*ship.places(SOURCES[name]), name, inside):
        if (folder / place).is_dir():
            return folder / place
    return folder if inside == "model" and (folder / "config.json").is_file() else None


def load(kind: Any, folder: Path, **options: Any) -> Any:
    """Return the part of class *kind* in *folder*, a model ready for training with all its weights.

    Raise ModelMissingError where it is not there or not whole. Nothing is downloaded.
    """
    if not folder.is_dir():
        raise ModelMissingError(f"{folder}: no such folder; a {kind.__name__} was expected there")
    try:
        if not issubclass(kind, nn.Module):
            return load_settings(kind, folder, **options)
        return load_weights(kind, folder, **options).requires_grad_(True)
    except ModelMissingError:
        raise
    except BROKEN as error:
        raise ModelMissingError(f"{folder}: no usable {kind.__name__}: {first_line(error)}") from None


def seed_weights(name: str, seed: int) -> None:
    """Seed what torch draws the untrained weights of part *name* with."""
    torch.manual_seed(int(generator(seed, f"{name}/weights").integers(1 << 62)))


def silence_libraries() -> None:
    """Keep the libraries' progress bars out of the log."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for logging in (diffusers_logging, transformers_logging):
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # Libraries of ours call what torch has deprecated; nobody here can do anything about it.
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
