"""The tiny profile's parts as `farlink train` makes them, each from the pictures that `sources` chooses."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save

from link import transform as transform_files
from link.bitstream.grammar import SCENES
from link.bitstream.grammar import TABLE as GRAMMAR
from link.bitstream.text import TABLE as TEXT
from link.codecs.gsc import TABLES
from link.errors import UsageError
from link.seeds import generator
from scenarios.training import captions
from scenarios.training import grammar as grammar_tables
from scenarios.training import tables as latent_tables
from scenarios.training import text as text_table
from scenarios.training.autoencoder import Autoencoder, Draw
from scenarios.training.cards import Cards
from scenarios.training.data import Pictures, draw_mixed, to_tensor
from scenarios.training.depth import DepthTraining
from scenarios.training.detection import DetectionTraining
from scenarios.training.loop import storing
from scenarios.training.request import TrainingRequest
from scenarios.training.segmentation import SegmentationTraining
from scenarios.training.segmenter import SegmenterTraining, load_grown, mask_unlabelled, relabel_world
from scenarios.training.sources import (
    CARD_SEED,
    SIZE,
    choose_shown,
    draw_cuts,
    frame_size,
    half_size,
    load_eye,
    load_judge,
    open_held_out,
    open_held_out_worlds,
    open_streets,
    require_labels,
)
from scenarios.training.transform import Transform
from scenarios.training.world import FIRST_DRIVE, FIRST_HELD_OUT, LabelledView, Views, render
from sender.camera.world.view import CLASSES
from sender.captioner import CARD

EXAMPLES = 8000
VIEWS = 3000
"""Of rendered worlds."""
HELD_OUT = 64
HELD_DRAWN = 48
SYMBOLS = 3000
"""Maps that the latent tables are fitted to."""
BATCH = 16
LEAST_WINDOW = 32
"""Pixels of a side: whole cells of the latents, and enough for LPIPS."""
TEXT_FILES = [captions.DOMAIN, *(f"iiw_{name}.jsonl" for name in captions.GENERAL)]
NEW_TEXTS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")

Say = Callable[[str], None]


def autoencoder(request: TrainingRequest, batch: int) -> Autoencoder:
    """Return the VAE to be trained, on windows of half the frame, or as small as LPIPS can look at."""
    wide, high = (max(side, LEAST_WINDOW) for side in half_size(request))
    draws = draw_cuts(request, (wide, high), (0.55, 0.35, 0.1), ((1.2, 3.0), (1.0, 2.2), (1.0, 2.5)))
    return Autoencoder(
        draws, choose_shown(request), batch, load_eye(request), request.start("vae"), load_judge(request)
    )


def transform(request: TrainingRequest, batch: int) -> Transform:
    """Return the transform to be trained."""
    draws = draw_cuts(request, frame_size(request), (0.6, 0.25, 0.15), ((1.0, 1.5), (1.0, 1.2), (1.0, 1.3)))
    start, size = request.start("transform"), frame_size(request)
    eye = load_eye(request)
    part = Transform(draws, choose_shown(request), batch, load_judge(request), [size], eye, start)
    if start is not None:
        part.go_on_from(start.parent / "checkpoint.pt")
    return part


def segmenter(request: TrainingRequest, batch: int) -> SegmenterTraining:
    """Return the segmenter to be trained, on half the frame's resolution."""
    streets = require_labels(open_streets(request), request.folder("streets"))
    others, held = Pictures.open(request.folder("natural")), open_held_out(request)
    require_labels(held, held.files[0].parent)
    worlds = None if request.world is None else Pictures.open(request.folder("world"))
    part = SegmenterTraining(
        streets, others, Cards(CARD_SEED, label=CARD), held, batch, half_size(request), worlds
    )
    if (folder := request.start("segmenter")) is not None:
        part.modules["model"] = load_grown(folder)
    return part


def streets(request: TrainingRequest, batch: int) -> SegmentationTraining:
    """Return the receiver's segmentation model of streets to be trained."""
    size, held = frame_size(request), open_held_out(request)
    pictures = require_labels(open_streets(request), request.folder("streets"))
    require_labels(held, held.files[0].parent)
    names = list(SCENES["street"].nouns)
    return SegmentationTraining(
        names,
        [(1.0, lambda rng: mask_unlabelled(pictures.random_cut(rng, size, (1.0, 2.0))))],
        [mask_unlabelled(pictures.whole(at, size)) for at in range(len(pictures))],
        [mask_unlabelled(held.whole(at, size)) for at in range(0, len(held), 2)],
        batch,
        (size[0] * 3 // 2, size[1] * 3 // 2),
        start=request.init and request.folder("init"),
    )


def planets(request: TrainingRequest, batch: int) -> SegmentationTraining:
    """Return the receiver's segmentation model of the rendered world to be trained."""
    size, pictures, held = (
        frame_size(request),
        Pictures.open(request.folder("world")),
        open_held_out_worlds(request),
    )
    return SegmentationTraining(
        list(CLASSES),
        [(1.0, lambda rng: pictures.random_cut(rng, size, (1.0, 1.3)))],
        [pictures.whole(at, size) for at in range(0, len(pictures), 4)],
        [held.whole(at, size) for at in range(len(held))],
        batch,
        (size[0] * 3 // 2, size[1] * 3 // 2),
        start=request.init and request.folder("init"),
    )


def _views(request: TrainingRequest) -> tuple[Views, list[LabelledView]]:
    held = Views(open_held_out_worlds(request).files[0].parent)
    return Views(request.folder("world")), [held.view(at) for at in range(len(held))]


def depth(request: TrainingRequest, batch: int) -> DepthTraining:
    """Return the receiver's depth model of the rendered world to be trained."""
    return DepthTraining(*_views(request), batch, half_size(request))


def detection(request: TrainingRequest, batch: int) -> DetectionTraining:
    """Return the receiver's detector of the rendered world to be trained."""
    size = frame_size(request)
    start = request.start("detection-world")
    return DetectionTraining(*_views(request), batch, (size[0] * 5 // 4, size[1] * 5 // 4), start)


def world(request: TrainingRequest, say: Say) -> Path:
    """Render views of many drives with their truth into OUT/train, others into OUT/val; return the list of them."""
    assert request.out is not None
    count, size = request.examples or VIEWS, frame_size(request)
    names = []
    for name, number, first in (("train", count, FIRST_DRIVE), ("val", max(24, count // 25), FIRST_HELD_OUT)):
        folder = request.out / name
        for done in render(folder, number, first, size, workers=os.cpu_count() or 1):
            say(json.dumps({"views": done, "of": number, "folder": str(folder)}))
        names += [f"{name}/{path.name}" for path in sorted(folder.glob("*.png"))]
    return _written(request, "views.txt", lambda path: path.write_text("\n".join(names) + "\n"))


def text(request: TrainingRequest, say: Say) -> Path:
    """Fit the model of captions; --steps are passes over them."""
    folder = request.folder("captions")
    for name in TEXT_FILES:
        if not (folder / name).is_file():
            raise UsageError(f"--captions {folder}: no {name} in it")
    with repeatable():
        arrays = text_table.train(folder, request.steps or 8)
    return _written(request, TEXT, lambda path: text_table.write(arrays, path))


def grammar(request: TrainingRequest, say: Say) -> Path:
    """Fit the tables of the caption grammar."""
    streets = require_labels(open_streets(request), request.folder("streets"))
    said = grammar_tables.caption_training_pictures(streets, Pictures.open(request.folder("natural")))
    if request.world is not None:
        worlds = Pictures.open(request.folder("world"))
        said += grammar_tables.caption_cuts(
            relabel_world(worlds.whole(at, SIZE)) for at in range(len(worlds))
        )
    say(f'{{"captions": {len(said)}}}')
    fitted = grammar_tables.fit(said)
    return _written(request, GRAMMAR, lambda path: text_table.write(fitted, path))


def tables(request: TrainingRequest, say: Say) -> Path:
    """Fit the tables of a transform's channels, of any size, to cuts of one size; write them beside it."""
    if request.transform is None and request.earlier is None:
        raise UsageError(
            "--transform is needed: the folder of the transform, for whose channels tables are fitted"
        )
    folder = request.part("transform")
    analysis, size = transform_files.load(folder, "analysis"), frame_size(request)
    if request.pictures is not None:
        pictures = Pictures.open(request.folder("pictures"))
        draws: list[Draw] = [(1.0, lambda rng: pictures.random_cut(rng, size, (1.0, 1.3)))]
    else:
        draws = draw_cuts(request, size, (0.7, 0.15, 0.15), ((1.0, 1.3), (1.0, 1.2), (1.0, 1.2)))
    maps = symbols(analysis, draws, request.examples or SYMBOLS, request.seed)
    say(f'{{"maps": {len(maps)}, "channels": {maps.shape[1]}}}')
    fitted = latent_tables.fit(maps, request.seed)
    data = save({key: np.ascontiguousarray(part) for key, part in fitted.to_arrays().items()})
    return _written(request, TABLES, lambda path: path.write_bytes(data), folder)


def symbols(analysis: Any, draws: list[Draw], count: int, seed: int) -> latent_tables.Array:
    """Return the rounded latents, shape (count, channels, rows, columns), of *count* cuts of *draws*."""
    batches = []
    with torch.inference_mode():
        for at in range(0, count, BATCH):
            cuts = draw_mixed(generator(seed, f"symbols/{at}"), draws, BATCH)
            batches.append(analysis(to_tensor(cuts)).round().to(torch.int32).numpy())
    maps: latent_tables.Array = np.concatenate(batches)[:count]
    return maps


def _written(
    request: TrainingRequest, name: str, write: Callable[[Path], object], default: Path | None = None
) -> Path:
    """Have *write* write the file *name* in --out, or in *default*; return its path."""
    folder = request.out or default
    assert folder is not None
    with storing(folder / name):
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / name)
    return folder / name


@contextmanager
def repeatable() -> Iterator[None]:
    """Have torch add in the same order on every run, which two threads would not."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
