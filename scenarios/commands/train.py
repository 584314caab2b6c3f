"""`farlink train`: any of the models, from pictures."""

import json
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer

from link.errors import UsageError
from link.terminal import escape
from scenarios.commands.options import Json, clean_errors
from scenarios.commands.printing import show


class Profile(StrEnum):
    """Which models."""

    TINY = "tiny"
    FLUX = "flux"


Part = Annotated[
    str,
    typer.Argument(
        metavar="PART",
        help="world, text, segmenter, grammar, transform, tables, autoencoder, decoder, flow, control, joint, "
        "segmentation-street, segmentation-world, depth-world, detection-world, detection-threshold, dyndiff or "
        "rate; "
        "all: each of them in turn; "
        "for flux tables, control or rate.",
    ),
]
Earlier = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="DIR",
        help="Where earlier parts were trained (DIR/autoencoder, ...); default: the shipped.",
    ),
]
Init = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Weights to start from, instead of random ones.")
]


def _folder(text: str) -> Any:
    return typer.Option(metavar="DIR", help=text)


def train(
    part: Part,
    out: Annotated[Path | None, _folder("Folder for weights, log and samples.")] = None,
    profile: Annotated[
        Profile, typer.Option(help="The models that are shipped, or the paper's scale.")
    ] = Profile.TINY,
    streets: Annotated[
        Path | None, _folder("Pictures; their labels, where needed, are in DIR_labels.")
    ] = None,
    natural: Annotated[Path | None, _folder("Other pictures.")] = None,
    world: Annotated[Path | None, _folder("Rendered pictures with their truth, by `train world`.")] = None,
    held_out: Annotated[
        Path | None, _folder("Pictures to score on; default `val` beside the streets.")
    ] = None,
    leave_out: Annotated[
        str | None,
        typer.Option(metavar="PREFIX", help="Keep streets whose names begin so out of training."),
    ] = None,
    perceptual: Annotated[
        Path | None, _folder("AlexNet's convolutions for LPIPS; default: those that come with farlink.")
    ] = None,
    pictures: Annotated[
        Path | None,
        _folder(
            "Pictures of any sizes, for flux and for tables; for all: your own, with labels in DIR_labels or none."
        ),
    ] = None,
    captions: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help='Folder of captions for text; JSON lines {"file", "caption"} for flux.'
        ),
    ] = None,
    earlier: Earlier = None,
    init: Init = None,
    base: Annotated[Path | None, _folder("FLUX.1-dev as diffusers saves it.")] = None,
    transform: Annotated[Path | None, _folder("A transform, for tables and flux.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Size of a frame, in whole 16s.")] = None,
    examples: Annotated[int | None, typer.Option(min=1, help="How many cuts are made to learn from.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps; default: the part's recipe.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Examples a step; default: the part's recipe.")
    ] = None,
    lr: Annotated[float | None, typer.Option(min=1e-9, max=1.0, help="Peak learning rate.")] = None,
    ema: Annotated[
        float | None, typer.Option(min=0.0, max=0.99999, help="Decay of averaged weights; 0: none.")
    ] = None,
    scenario: Annotated[
        str | None, typer.Option(help="For rate: a preset or a YAML file; its camera and packets.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="For rate: frames with truth, as world:mars:9 or camvid:DIR.")
    ] = None,
    bundle: Annotated[Path | None, _folder("For rate: the models, as `train all` leaves them.")] = None,
    hours: Annotated[
        float | None, typer.Option(min=1e-6, max=10_000, help="For all: how long it may take.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and examples.")] = 1,
    as_json: Json = False,
) -> None:
    """Train a part of a profile's models, or go on where OUT/checkpoint.pt stopped.

    Writes OUT/model, OUT/log.jsonl and OUT/samples; progress goes to stderr as JSON lines. Interrupt at any
    time: the last checkpoint stays. Recipes: scenarios/training/README.md.

    `all` trains every part in order, within --hours, and leaves OUT/summary.html and OUT/bundle, which runs by
    --set profile.bundle=OUT/bundle. With --pictures it adapts the shipped models to your camera; labels are optional.

    Examples:

        farlink train all --pictures drive/ --hours 8 --out runs/mine

        farlink train all --streets camvid/train --natural natural --world runs/world/train --hours 24 --out runs/anew

        farlink train autoencoder --streets camvid/train --natural natural --out runs/autoencoder

        farlink train decoder --streets camvid/train --leave-out 0006R0 --init receiver/weights/tiny --out runs/decoder

        farlink train flow --streets camvid/train --natural natural --from runs --out runs/flow

        farlink train control --streets camvid/train --from runs --init receiver/weights/tiny --out runs/control

        farlink train tables --transform runs/transform/model --pictures photos

        farlink train dyndiff --streets camvid/train --leave-out 0006R0 --out runs/dyndiff

        farlink train rate --source world:mars:9 --out rate.json

        farlink train control --profile flux --base FLUX.1-dev --transform mbt2018 --pictures photos --out runs/gsc
    """
    with clean_errors(as_json):
        from scenarios.training.request import TrainingRequest

        request = TrainingRequest(
            out, seed, streets, natural, world, held_out, pictures, captions, earlier, init, base, transform,
            _size(size), examples, steps, batch, lr, ema, scenario, source, leave_out, perceptual,
            bundle, hours,
        )  # fmt: skip
        result = perform(profile.value, part, request)
        if result is not None:
            show([json.dumps(result) if as_json else _line(result)])


def perform(profile: str, name: str, request: Any) -> dict[str, Any] | None:
    """Train part *name* of *profile*; return what came of it, None in any process but the first."""
    from accelerate import PartialState

    from link import memory
    from scenarios.training.loop import train as run
    from scenarios.training.parts import PARTS
    from scenarios.training.request import Fitted, Whole, check, seed_weights, silence_libraries
    from scenarios.training.summary import FILE as SUMMARY

    memory.keep_blocks()
    silence_libraries()
    parts = PARTS[profile]
    if name not in parts:
        raise UsageError(f"the {profile} profile has no part {name!r} to train; it has {', '.join(parts)}")
    entry = parts[name]
    check(name, entry, request)
    if isinstance(entry, Whole):
        bundle = entry.train(request, perf_counter, _say)
        return {"part": name, "bundle": str(bundle), "summary": str(bundle.parent / SUMMARY)}
    if isinstance(entry, Fitted):
        path = entry.fit(request, _say)
        return {"part": name, "file": str(path), "bytes": path.stat().st_size}
    given = {"steps": request.steps, "learning_rate": request.learning_rate, "ema": request.ema}
    recipe = replace(
        entry.recipe, seed=request.seed, **{key: value for key, value in given.items() if value is not None}
    )
    seed_weights(name, request.seed)
    done = run(entry.build(request, request.batch or entry.batch), recipe, request.out, perf_counter, _say)
    if not PartialState().is_main_process:
        return None
    rows = (request.out / "log.jsonl").read_text().splitlines()
    scores: dict[str, Any] = json.loads(rows[-1]) if rows else {}
    return {"part": name, "folder": str(request.out / "model"), "steps_now": done, **scores}


def _say(line: str) -> None:
    print(escape(line), file=sys.stderr, flush=True)


def _line(result: dict[str, Any]) -> str:
    if "bundle" in result:
        return f"{result['summary']}: what came of it; run it by --set profile.bundle={result['bundle']}"
    if "file" in result:
        return f"{result['file']}: {result['bytes']} bytes"
    told = ("part", "folder", "steps_now", "step")
    scores = ", ".join(f"{key} {value}" for key, value in result.items() if key not in told)
    steps = f"{result.get('step', 0)} steps, {result['steps_now']} of them now"
    return f"{result['folder']}: {result['part']} after {steps}; {scores}"


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    width, _, height = text.partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise UsageError(f"--size {text}: expected WIDTHxHEIGHT, as 256x192")
    size = int(width), int(height)
    if min(size) < 32 or max(size) > 4096 or size[0] % 16 or size[1] % 16:
        raise UsageError(f"--size {text}: expected whole 16s from 32 to 4096")
    return size


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command()(train)
