"""The tiny profile's parts as `farlink train` makes them: which pictures, in which shares, cut how large.

Everything is shown streets, or whatever labelled pictures take their place, test cards, which a first run sends,
rendered worlds and other pictures where there are some, so that they are not taken for streets.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.numpy import save
from transformers import UperNetForSemanticSegmentation

from link import transform as transform_files
from link.bitstream.grammar import SCENES
from link.bitstream.grammar import TABLE as GRAMMAR
from link.bitstream.text import TABLE as TEXT
from link.codecs.gsc import TABLES
from link.errors import UsageError
from link.seeds import generator
from receiver.parts import Parts
from receiver.text_encoder import TextEncoder
from scenarios.scoring.perceptual import SHIPPED, Lpips
from scenarios.training import grammar as grammar_tables
from scenarios.training import tables as latent_tables
from scenarios.training import text as text_table
from scenarios.training.autoencoder import Autoencoder, Draw
from scenarios.training.cards import Cards
from scenarios.training.control import Control, parts_of
from scenarios.training.data import Cut, Pictures, mixed, to_tensor
from scenarios.training.decoder import Decoder
from scenarios.training.depth import Depth
from scenarios.training.detection import Detection
from scenarios.training.examples import Examples, kept, stamp
from scenarios.training.flow import SAMPLES, BaseFlow, grown_text
from scenarios.training.joint import Joint
from scenarios.training.loop import storing
from scenarios.training.request import Request, load
from scenarios.training.segmentation import Segmentation
from scenarios.training.segmenter import Segmenter, grown, known, plain, planet
from scenarios.training.transform import Transform
from scenarios.training.world import FIRST_DRIVE, FIRST_HELD_OUT, View, Views, render
from sender.camera.world.view import CLASSES
from sender.captioner import CARD

SIZE = (256, 192)
CARD_SEED = 7
"""Of the test cards; a run's own has others."""
WORLD = 0.6
"""Of rendered worlds, beside shares of all others that add up to 1."""
EXAMPLES = 8000
VIEWS = 3000
"""Of rendered worlds."""
HELD_OUT = 64
SYMBOLS = 3000
"""Maps that the latent tables are fitted to."""
BATCH = 16
TEXT_FILES = [text_table.DOMAIN, *(f"iiw_{name}.jsonl" for name in text_table.GENERAL)]
NEW_TEXTS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")

Say = Callable[[str], None]


def _size(request: Request) -> tuple[int, int]:
    return request.size or SIZE


def _half(request: Request) -> tuple[int, int]:
    width, height = _size(request)
    return width // 2, height // 2


def _held_out(request: Request) -> Pictures:
    """The pictures of --held-out, else those of `val` beside the streets."""
    streets = request.folder("streets")
    beside = streets.parent / "val"
    if request.held_out is None and not beside.is_dir():
        raise UsageError(f"--held-out is needed: pictures to show and score, as there is no {beside}")
    return Pictures.open(beside if request.held_out is None else request.folder("held_out"))


def _held_out_worlds(request: Request) -> Pictures:
    """The pictures of `val` beside the rendered worlds, as `train world` leaves them."""
    folder = request.folder("world")
    beside = folder.parent / "val"
    if not beside.is_dir():
        raise UsageError(
            f"--world {folder}: no {beside} to show and score; `farlink train world` renders both"
        )
    return Pictures.open(beside)


def _labelled(pictures: Pictures, folder: Path) -> Pictures:
    if None in pictures.labels:
        raise UsageError(f"{folder}: no labels beside it, in {folder.name}_labels")
    return pictures


def _streets(request: Request) -> Pictures:
    """The pictures of --streets but those of --leave-out, which a test is to be held on."""
    return Pictures.open(request.folder("streets"), leave_out=request.leave_out)


Zooms = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


def _draws(
    request: Request, size: tuple[int, int], shares: tuple[float, float, float], zooms: Zooms
) -> list[Draw]:
    """Return how cuts are drawn, by *shares* and *zooms* of streets, other pictures, and test cards."""
    streets, cards = _streets(request), Cards(CARD_SEED)
    draws: list[Draw] = [
        (shares[0], lambda rng: streets.random_cut(rng, size, zooms[0])),
        (shares[2], lambda rng: cards.random_cut(rng, size, zooms[2])),
    ]
    if request.natural is not None:
        others = Pictures.open(request.folder("natural"))
        draws.insert(1, (shares[1], lambda rng: others.random_cut(rng, size, zooms[1])))
    if request.world is not None:
        worlds = Pictures.open(request.folder("world"))
        draws.append((WORLD, lambda rng: worlds.random_cut(rng, size, (1.0, 1.25))))
    return draws


def _shown(request: Request) -> list[Cut]:
    """Return held-out pictures, one of the others and a card, whole."""
    size, held = _size(request), _held_out(request)
    cuts = [held.whole(at, size) for at in range(0, len(held), max(1, len(held) // 3))][:3]
    if request.natural is not None:
        others = Pictures.open(request.folder("natural"))
        cuts.append(others.whole(min(5, len(others) - 1), size))
    if request.world is not None:
        worlds = _held_out_worlds(request)
        cuts += [worlds.whole(at, size) for at in range(0, len(worlds), max(1, len(worlds) // 3))][:3]
    return [*cuts, Cards(CARD_SEED).whole(3, size)]


def autoencoder(request: Request, batch: int) -> Autoencoder:
    """Return the VAE to be trained, on windows of half the frame."""
    draws = _draws(request, _half(request), (0.55, 0.35, 0.1), ((1.2, 3.0), (1.0, 2.2), (1.0, 2.5)))
    return Autoencoder(draws, _shown(request), batch, request.start("vae"), _judge(request))


def decoder(request: Request, batch: int) -> Decoder:
    """Return the decoder to be trained, of the VAE of --init or the shipped one, on windows of half the frame."""
    draws = _draws(request, _half(request), (0.55, 0.35, 0.1), ((1.2, 3.0), (1.0, 2.2), (1.0, 2.5)))
    start = request.start("vae") or request.part("vae")
    eye = Lpips(SHIPPED if request.perceptual is None else request.folder("perceptual"))
    return Decoder(draws, _shown(request), batch, start, eye, _judge(request))


def _judge(request: Request) -> Any:
    """The sender's segmentation model, frozen: what it sees in a picture is what decoding is to keep."""
    model = load(UperNetForSemanticSegmentation, request.part("segmenter"), dtype=torch.float32)
    return model.eval().requires_grad_(False)


def transform(request: Request, batch: int) -> Transform:
    """Return the transform to be trained."""
    draws = _draws(request, _size(request), (0.6, 0.25, 0.15), ((1.0, 1.5), (1.0, 1.2), (1.0, 1.3)))
    part = Transform(draws, _shown(request), batch, judge=_judge(request), sizes=[_size(request)])
    if (folder := request.start("transform")) is not None:
        for half, network in (("analysis", part.model.g_a), ("synthesis", part.model.g_s)):
            try:
                network.load_state_dict(transform_files.load(folder, half).state_dict())  # type: ignore[arg-type]
            except RuntimeError as error:
                raise UsageError(f"--init {folder}: a transform of other sizes: {error}") from None
        part.go_on_from(folder.parent / "checkpoint.pt")
    return part


def segmenter(request: Request, batch: int) -> Segmenter:
    """Return the segmenter to be trained, on half the frame's resolution."""
    streets = _labelled(_streets(request), request.folder("streets"))
    others, held = Pictures.open(request.folder("natural")), _held_out(request)
    _labelled(held, held.files[0].parent)
    worlds = None if request.world is None else Pictures.open(request.folder("world"))
    part = Segmenter(streets, others, Cards(CARD_SEED, label=CARD), held, batch, _half(request), worlds)
    if (folder := request.start("segmenter")) is not None:
        part.modules["model"] = grown(folder)
    return part


def _examples(request: Request, vae: Path, transform: Path | None) -> tuple[Examples, Examples]:
    """Return what flow and control learn from, and what is held out; both are kept under OUT/examples."""
    assert request.out is not None
    size, held = _size(request), _held_out(request)
    streets = _labelled(_streets(request), request.folder("streets"))
    _labelled(held, held.files[0].parent)
    cards = Cards(CARD_SEED, label=CARD)
    draws: list[Draw] = [
        (0.7, lambda rng: known(streets.random_cut(rng, size, (1.0, 1.35)))),
        (0.18, lambda rng: cards.random_cut(rng, size, (1.0, 1.001))),
    ]
    if request.natural is not None:
        others = Pictures.open(request.folder("natural"))
        draws.insert(1, (0.12, lambda rng: plain(others.random_cut(rng, size, (1.0, 1.2)))))
    held_draws: list[Draw] = [(1.0, lambda rng: known(held.whole(int(rng.integers(len(held))), size)))]
    if request.world is not None:
        worlds, others_held = Pictures.open(request.folder("world")), _held_out_worlds(request)
        draws.append((WORLD, lambda rng: planet(worlds.random_cut(rng, size, (1.0, 1.15)))))
        held_draws.append(
            (1.0, lambda rng: planet(others_held.whole(int(rng.integers(len(others_held))), size)))
        )
    model = load(AutoencoderKL, vae, torch_dtype=torch.float32).eval().requires_grad_(False)
    analysis = None if transform is None else transform_files.load(transform, "analysis")
    count = request.examples or EXAMPLES
    made_of = (
        vae,
        transform,
        request.natural,
        request.world,
        streets.files[0].parent,
        held.files[0].parent,
        size,
        request.seed,
        *([] if request.leave_out is None else [request.leave_out]),
    )

    def made(name: str, drawn: list[Draw], number: int) -> Examples:
        assert request.out is not None
        path = request.out / "examples" / f"{name}-{stamp(*made_of, number)}.safetensors"
        return kept(path, drawn, number, request.seed, model, analysis, name=name)

    return made("examples", draws, count), made("held-out", held_draws, max(SAMPLES, min(HELD_OUT, count)))


def flow(request: Request, batch: int) -> BaseFlow:
    """Return transformer and text encoders to be trained, on latents of the VAE."""
    vae = request.part("vae")
    examples, held = _examples(request, vae, None)
    start = None
    if request.init is not None:
        start = {name: request.start(name) or Path() for name in ("transformer", *NEW_TEXTS)}
    return BaseFlow(
        examples,
        held,
        load(AutoencoderKL, vae, torch_dtype=torch.float32).eval().requires_grad_(False),
        batch,
        start,
    )


def control(request: Request, batch: int) -> Control:
    """Return the ControlNet to be trained, on the transform's channels and a frozen base."""
    folders = {
        name: request.part(name) for name in ("vae", "transform", "transformer", "scheduler", *NEW_TEXTS)
    }
    examples, held = _examples(request, folders["vae"], folders["transform"])
    base, vae, scheduler = parts_of(folders)
    text = TextEncoder.from_pretrained(folders, torch.float32)
    synthesis = transform_files.load(folders["transform"], "synthesis")
    parts = Parts(base, None, vae, scheduler)
    return Control(examples, held, parts, text, synthesis, batch, request.start("controlnet"))


def joint(request: Request, batch: int) -> Joint:
    """Return flow and ControlNet to be trained together, from the shipped ones or those of --init."""
    folders = {name: request.part(name) for name in ("vae", "transform", "scheduler")}
    for name in ("transformer", "controlnet", *NEW_TEXTS):
        folders[name] = request.start(name) or request.part(name)
    examples, held = _examples(request, folders["vae"], folders["transform"])
    base, vae, scheduler = parts_of(folders)
    text = grown_text(TextEncoder.from_pretrained(folders, torch.float32))
    synthesis = transform_files.load(folders["transform"], "synthesis")
    return Joint(
        examples, held, Parts(base, None, vae, scheduler), text, synthesis, batch, folders["controlnet"]
    )


def streets(request: Request, batch: int) -> Segmentation:
    """Return the receiver's segmentation model of streets to be trained."""
    size, held = _size(request), _held_out(request)
    found = _labelled(_streets(request), request.folder("streets"))
    _labelled(held, held.files[0].parent)
    names = list(SCENES["street"].nouns)
    return Segmentation(
        names,
        [(1.0, lambda rng: known(found.random_cut(rng, size, (1.0, 2.0))))],
        [known(found.whole(at, size)) for at in range(len(found))],
        [known(held.whole(at, size)) for at in range(0, len(held), 2)],
        batch,
        (size[0] * 3 // 2, size[1] * 3 // 2),
        start=request.init and request.folder("init"),
    )


def planets(request: Request, batch: int) -> Segmentation:
    """Return the receiver's segmentation model of the rendered world to be trained."""
    size, found, held = _size(request), Pictures.open(request.folder("world")), _held_out_worlds(request)
    return Segmentation(
        list(CLASSES),
        [(1.0, lambda rng: found.random_cut(rng, size, (1.0, 1.3)))],
        [found.whole(at, size) for at in range(0, len(found), 4)],
        [held.whole(at, size) for at in range(len(held))],
        batch,
        (size[0] * 3 // 2, size[1] * 3 // 2),
        start=request.init and request.folder("init"),
    )


def _views(request: Request) -> tuple[Views, list[View]]:
    held = Views(_held_out_worlds(request).files[0].parent)
    return Views(request.folder("world")), [held.view(at) for at in range(len(held))]


def depth(request: Request, batch: int) -> Depth:
    """Return the receiver's depth model of the rendered world to be trained."""
    return Depth(*_views(request), batch, _half(request))


def detection(request: Request, batch: int) -> Detection:
    """Return the receiver's detector of the rendered world to be trained."""
    size = _size(request)
    return Detection(*_views(request), batch, (size[0] * 5 // 4, size[1] * 5 // 4))


def world(request: Request, say: Say) -> Path:
    """Render views of many drives with their truth into OUT/train, others into OUT/val; return the list of them."""
    assert request.out is not None
    count, size = request.examples or VIEWS, _size(request)
    names = []
    for name, number, first in (("train", count, FIRST_DRIVE), ("val", max(24, count // 25), FIRST_HELD_OUT)):
        folder = request.out / name
        for done in render(folder, number, first, size, workers=os.cpu_count() or 1):
            say(json.dumps({"views": done, "of": number, "folder": str(folder)}))
        names += [f"{name}/{path.name}" for path in sorted(folder.glob("*.png"))]
    return _written(request, "views.txt", lambda path: path.write_text("\n".join(names) + "\n"))


def text(request: Request, say: Say) -> Path:
    """Fit the model of captions; --steps are passes over them."""
    folder = request.folder("captions")
    for name in TEXT_FILES:
        if not (folder / name).is_file():
            raise UsageError(f"--captions {folder}: no {name} in it")
    with repeatable():
        arrays = text_table.train(folder, request.steps or 8)
    return _written(request, TEXT, lambda path: text_table.write(arrays, path))


def grammar(request: Request, say: Say) -> Path:
    """Fit the tables of the caption grammar."""
    streets = _labelled(_streets(request), request.folder("streets"))
    said = grammar_tables.shown(streets, Pictures.open(request.folder("natural")))
    if request.world is not None:
        worlds = Pictures.open(request.folder("world"))
        said += grammar_tables.captions(planet(worlds.whole(at, SIZE)) for at in range(len(worlds)))
    say(f'{{"captions": {len(said)}}}')
    found = grammar_tables.fit(said)
    return _written(request, GRAMMAR, lambda path: text_table.write(found, path))


def tables(request: Request, say: Say) -> Path:
    """Fit the tables of a transform's channels, of any size, to cuts of one size; write them beside it."""
    if request.transform is None and request.earlier is None:
        raise UsageError(
            "--transform is needed: the folder of the transform, for whose channels tables are fitted"
        )
    folder = request.part("transform")
    analysis, size = transform_files.load(folder, "analysis"), _size(request)
    if request.pictures is not None:
        pictures = Pictures.open(request.folder("pictures"))
        draws: list[Draw] = [(1.0, lambda rng: pictures.random_cut(rng, size, (1.0, 1.3)))]
    else:
        draws = _draws(request, size, (0.7, 0.15, 0.15), ((1.0, 1.3), (1.0, 1.2), (1.0, 1.2)))
    maps = symbols(analysis, draws, request.examples or SYMBOLS, request.seed)
    say(f'{{"maps": {len(maps)}, "channels": {maps.shape[1]}}}')
    found = latent_tables.fit(maps, request.seed)
    data = save({key: np.ascontiguousarray(part) for key, part in found.to_arrays().items()})
    return _written(request, TABLES, lambda path: path.write_bytes(data), folder)


def symbols(analysis: Any, draws: list[Draw], count: int, seed: int) -> latent_tables.Array:
    """Return the rounded latents, shape (count, channels, rows, columns), of *count* cuts of *draws*."""
    found = []
    with torch.inference_mode():
        for at in range(0, count, BATCH):
            cuts = mixed(generator(seed, f"symbols/{at}"), draws, BATCH)
            found.append(analysis(to_tensor(cuts)).round().to(torch.int32).numpy())
    maps: latent_tables.Array = np.concatenate(found)[:count]
    return maps


def _written(
    request: Request, name: str, write: Callable[[Path], object], default: Path | None = None
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
