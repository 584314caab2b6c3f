"""A `farlink train all` of toy size, and one that is killed: `python toy_train.py DATA FOLDER LINES...`.

FOLDER/whole is trained without a stop. In FOLDER/killed the child that trains is killed at each of LINES, numbers of lines
of progress, and another one is given the same task; the last one comes to the end. Children are forked, so that torch and
its kin are imported once. The clock of all of them ticks at each look, so that the plan is the same wherever it is made.
"""

import itertools
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from streets import street

from scenarios.training import footage  # noqa: F401  what a training imports is imported before the first fork
from scenarios.training.everything import train_all
from scenarios.training.parts import PARTS
from scenarios.training.request import TrainingRequest, silence_libraries
from scenarios.training.stages import STAGES, Stage
from sender.camera.world.view import CLASSES

SIZE = (64, 64)
HOURS = 0.05
EQUAL = tuple(replace(stage, anew=1.0, adapted=float(stage.adapted > 0)) for stage in STAGES)
"""Shares by which every part of a toy has its steps."""
SOME = tuple(stage for stage in EQUAL if stage.part in ("transform", "tables", "decoder"))
"""Enough to be killed in, with no drawing of pictures."""


def make_data(base: Path) -> None:
    """Write streets with labels, other pictures, one's own pictures, and views of a world, into *base*."""
    for name, numbers in (
        ("train", range(3)),
        ("val", range(3, 5)),
        ("natural", range(2)),
        ("own", range(4)),
    ):
        (base / name).mkdir(parents=True)
        for number in numbers:
            picture, labels = street(number, (96, 80))
            picture.save(base / name / f"{number}.png")
            if name in ("train", "val"):
                (base / f"{name}_labels").mkdir(exist_ok=True)
                labels.save(base / f"{name}_labels" / f"{number}.png")
    for name, numbers in (("train", range(2)), ("val", range(2, 4))):
        whole = base / "world" / name
        folders = {what: whole.with_name(name + what) for what in ("", "_labels", "_depth", "_boxes")}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        for number in numbers:
            classes = np.full(SIZE[::-1], CLASSES.index("sand"), np.uint8)
            classes[: 12 + number] = CLASSES.index("sky")
            classes[30:50, 10:40] = CLASSES.index("rock")
            grey = (classes * 20 + 40).astype(np.uint8)
            Image.fromarray(np.stack([grey, grey, grey], 2)).save(folders[""] / f"{number}.png")
            Image.fromarray(classes).save(folders["_labels"] / f"{number}.png")
            np.save(folders["_depth"] / f"{number}.npy", np.full(classes.shape, 5.0, np.float16))
            boxes = [{"kind": "rock", "box": [10, 30, 40, 50], "visible_px": 600}]
            (folders["_boxes"] / f"{number}.json").write_text(json.dumps(boxes))


def request(data: Path, out: Path, **more: Any) -> TrainingRequest:
    """Return what a toy of everything is asked for; `pictures` in *more* makes it adapt."""
    given: dict[str, Any] = {"out": out, "hours": HOURS, "size": SIZE, "batch": 2, "examples": 16, "seed": 3}
    if "pictures" not in more:
        given |= {name: data / name for name in ("natural",)}
        given |= {"streets": data / "train", "world": data / "world" / "train"}
    return TrainingRequest(**given, **more)


def train(asked: TrainingRequest, say: Any, stages: tuple[Stage, ...] = EQUAL) -> Path:
    """Train with a clock that ticks at each look, by about as much as parts have time for two steps."""
    shared = sum(bool(stage.adapted if asked.pictures else stage.anew) for stage in stages)
    ticks = itertools.count(0.0, HOURS * 3600.0 / shared * 0.4)
    return train_all(PARTS["tiny"], asked, lambda: next(ticks), say, stages)


def _fork(asked: TrainingRequest, lines: int) -> bool:
    """Train in a child, which is killed at its line number *lines*, 0: never. Return whether it was killed."""
    heard, pipe = os.pipe()
    child = os.fork()
    if not child:
        os.close(heard)
        try:
            silence_libraries()
            with os.fdopen(pipe, "w", buffering=1) as told:
                train(asked, lambda line: told.write(line + "\n"), SOME)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(pipe)
    with os.fdopen(heard) as told:
        for number, line in enumerate(told, 1):
            print(line, end="", flush=True)
            if number == lines:
                os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if status and not os.WIFSIGNALED(status):
        raise RuntimeError(f"the training failed: {status}")
    return os.WIFSIGNALED(status)


def main() -> None:
    """Train both ways."""
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    for name, moments in (("whole", []), ("killed", list(map(int, sys.argv[3:])))):
        asked = request(data, out / name, pictures=data / "own")
        for lines in [*moments, 0]:
            print(json.dumps({"run": name, "killed": _fork(asked, lines)}), flush=True)


if __name__ == "__main__":
    main()
