"""The tiny profile's generator as `farlink train` makes it: flow, ControlNet, both together, and the VAE's decoder."""

import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from link import transform as transform_files
from link.config import Codec
from link.errors import UsageError
from receiver.generator import Generator, Sampling, draw_noise
from receiver.parts import ChannelControlNet, Parts
from receiver.text_encoder import TextEncoder
from receiver.transform import Synthesis
from scenarios.scoring.perceptual import SMALLEST
from scenarios.training.autoencoder import Draw
from scenarios.training.control import Control, parts_of
from scenarios.training.decoder import DecoderTraining
from scenarios.training.drawn import CELL, DrawnLatents
from scenarios.training.drawn import load_or_draw as drawn_latents
from scenarios.training.examples import Examples, load_or_make, stamp
from scenarios.training.flow import SAMPLES, BaseFlow, extend_vocabulary
from scenarios.training.joint import Joint
from scenarios.training.request import TrainingRequest, load, seek
from scenarios.training.shown import Shown
from scenarios.training.sources import (
    choose_shown,
    draw_cuts,
    frame_size,
    half_size,
    load_eye,
    load_judge,
    open_captioned_draws,
    open_held_out,
    open_streets,
    require_labels,
)

EXAMPLES = 8000
HELD_OUT = 64
HELD_DRAWN = 48
NEW_TEXTS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")


def flow(request: TrainingRequest, batch: int) -> BaseFlow:
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


def control(request: TrainingRequest, batch: int) -> Control:
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


def joint(request: TrainingRequest, batch: int) -> Joint:
    """Return flow and ControlNet to be trained together, from the shipped ones or those of --from or --init.

    Where --from has a flow and no ControlNet of it, the ControlNet begins as a copy of the flow.
    """
    folders = {name: request.part(name) for name in ("vae", "transform", "scheduler")}
    for name in ("transformer", *NEW_TEXTS):
        folders[name] = request.start(name) or request.part(name)
    start = request.start("controlnet")
    if start is None and (request.earlier is None or seek(request.earlier, "controlnet") is not None):
        start = request.part("controlnet")
    examples, held = _examples(request, folders["vae"], folders["transform"])
    base, vae, scheduler = parts_of(folders)
    text = extend_vocabulary(TextEncoder.from_pretrained(folders, torch.float32))
    synthesis = transform_files.load(folders["transform"], "synthesis")
    return Joint(examples, held, Parts(base, None, vae, scheduler), text, synthesis, batch, start)


def shown(request: TrainingRequest, batch: int) -> Shown:
    """Return flow, ControlNet and decoder to be trained by the pictures that they draw in few steps."""
    wide, high = frame_size(request)
    if min(wide, high) // 2 < SMALLEST:
        raise UsageError(
            f"--size: LPIPS looks at half frames, of {SMALLEST} pixels at least, not {min(wide, high) // 2}"
        )
    folders = {
        name: request.start(name) or request.part(name)
        for name in ("transformer", "controlnet", "vae", *NEW_TEXTS)
    }
    folders |= {name: request.part(name) for name in ("transform", "scheduler")}
    examples, held = _examples(request, folders["vae"], folders["transform"])
    base, vae, scheduler = parts_of(folders)
    text = extend_vocabulary(TextEncoder.from_pretrained(folders, torch.float32))
    streets = require_labels(open_streets(request), request.folder("streets"))
    draws, _ = open_captioned_draws(request, streets, open_held_out(request))
    features = base.config.in_channels
    return Shown(
        examples,
        held,
        Parts(base, None, vae, scheduler),
        text,
        transform_files.load(folders["transform"], "synthesis"),
        batch,
        folders["controlnet"],
        draws,
        choose_shown(request),
        transform_files.load(folders["transform"], "analysis"),
        load_eye(request),
        load_judge(request),
        draw_noise(Codec().noise_seed, high // (2 * CELL), wide // (2 * CELL), features),
    )


def decoder(request: TrainingRequest, batch: int) -> DecoderTraining:
    """Return the decoder to be trained, of the VAE of --init or the shipped one, on windows of half the frame."""
    size = half_size(request)
    if min(size) < SMALLEST:
        raise UsageError(
            f"--size: LPIPS looks at half frames, of {SMALLEST} pixels at least, not {min(size)}"
        )
    draws = draw_cuts(request, size, (0.55, 0.35, 0.1), ((1.2, 3.0), (1.0, 2.2), (1.0, 2.5)))
    start = request.start("vae") or request.part("vae")
    eye, judge = load_eye(request), load_judge(request)
    drawn = _drawn(request) if request.examples else None
    return DecoderTraining(draws, choose_shown(request), batch, start, eye, judge, drawn)


def _drawn(request: TrainingRequest) -> tuple[DrawnLatents, DrawnLatents]:
    """Return what earlier parts draw of pictures to learn from, and of some held out, kept under OUT/examples."""
    assert request.out is not None and request.examples is not None
    names = ("transform", "controlnet", "transformer", "vae", "scheduler", *NEW_TEXTS)
    folders = {name: request.part(name) for name in names}
    streets, held, (wide, high) = open_streets(request), open_held_out(request), frame_size(request)
    require_labels(streets, request.folder("streets"))
    require_labels(held, held.files[0].parent)
    told = open_captioned_draws(request, streets, held)
    base, vae, scheduler = parts_of(folders)
    control = load(ChannelControlNet, folders["controlnet"], torch_dtype=torch.float32).eval()
    parts, text = Parts(base, control, vae, scheduler), TextEncoder.from_pretrained(folders, torch.float32)
    synthesis = Synthesis.from_pretrained(folders["transform"])
    analysis = transform_files.load(folders["transform"], "analysis")

    def receiver(sampling: Sampling) -> Generator:
        return Generator(parts, text, synthesis, sampling)

    def made(name: str, draws: list[Draw], count: int, window: tuple[int, int]) -> DrawnLatents:
        assert request.out is not None
        own = stamp(*folders.values(), request.streets, request.natural, request.world, held.files[0].parent)
        path = (
            request.out
            / "examples"
            / f"{name}-{stamp(own, frame_size(request), request.leave_out, request.seed)}"
        )
        return drawn_latents(path, draws, count, request.seed, analysis, receiver, window, _tell)

    whole = (wide // CELL, high // CELL)
    half = (wide // 2 // CELL, high // 2 // CELL)
    return made("drawn", told[0], request.examples, half), made("drawn-held", told[1], HELD_DRAWN, whole)


def _examples(request: TrainingRequest, vae: Path, transform: Path | None) -> tuple[Examples, Examples]:
    """Return what flow and control learn from, and what is held out; both are kept under OUT/examples."""
    assert request.out is not None
    size, held = frame_size(request), open_held_out(request)
    streets = require_labels(open_streets(request), request.folder("streets"))
    require_labels(held, held.files[0].parent)
    draws, held_draws = open_captioned_draws(request, streets, held)
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
        return load_or_make(path, drawn, number, request.seed, model, analysis, name=name)

    return made("examples", draws, count), made("held-out", held_draws, max(SAMPLES, min(HELD_OUT, count)))


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
