"""Every part that can be trained, with its recipe."""

from collections.abc import Callable
from pathlib import Path

from scenarios.training import detection, gsc, tiny, tiny_generator
from scenarios.training.everything import train_all
from scenarios.training.loop import Recipe
from scenarios.training.request import Entry, Fitted, Trained, TrainingRequest, Whole

_PICTURES = ("natural", "world", "held_out", "leave_out", "size")
_EXAMPLES = (*_PICTURES, "earlier", "examples")
_RATE = ("scenario", "source", "size", "examples", "bundle")


def _rate(profile: str) -> Fitted:
    """Return what measures the rate table of *profile*."""

    def fit(request: TrainingRequest, say: tiny.Say) -> Path:
        from scenarios.training.rate import (
            rate,  # both ends and the analysis models, which no other part needs
        )

        return rate(profile, request, say)

    return Fitted(fit, needs=("out",), takes=_RATE)


def _dyndiff(request: TrainingRequest, say: tiny.Say) -> Path:
    from scenarios.training.dyndiff import dyndiff  # both ends, which no other part needs

    return dyndiff(request, say)


def _train_all(request: TrainingRequest, clock: Callable[[], float], say: tiny.Say) -> Path:
    return train_all(PARTS["tiny"], request, clock, say)


PARTS: dict[str, dict[str, Entry]] = {
    "tiny": {
        "world": Fitted(tiny.world, needs=("out",), takes=("size", "examples")),
        "text": Fitted(tiny.text, needs=("out", "captions"), takes=("steps",)),
        "segmenter": Trained(
            Recipe(3000, 2e-3, warmup=100, final=0.02, ema=0.995),
            batch=16,
            build=tiny.segmenter,
            needs=("out", "streets", "natural"),
            takes=("world", "held_out", "leave_out", "size"),
        ),
        "grammar": Fitted(tiny.grammar, needs=("out", "streets", "natural"), takes=("world", "leave_out")),
        "transform": Trained(
            Recipe(8000, 6e-4, warmup=100, final=0.03, ema=0.998, save_every=100, sample_every=200),
            batch=6,
            build=tiny.transform,
            needs=("out", "streets"),
            takes=(*_PICTURES, "earlier", "perceptual"),
        ),
        "tables": Fitted(
            tiny.tables,
            needs=(),
            takes=(
                "streets",
                "natural",
                "world",
                "leave_out",
                "pictures",
                "transform",
                "earlier",
                "size",
                "examples",
            ),
        ),
        "autoencoder": Trained(
            Recipe(1900, 1e-3, warmup=50, final=0.03, ema=0.995, save_every=100, sample_every=200),
            batch=8,
            build=tiny.autoencoder,
            needs=("out", "streets"),
            takes=(*_PICTURES, "earlier", "perceptual"),
        ),
        "decoder": Trained(
            Recipe(2000, 4e-4, warmup=50, final=0.03, ema=0.995, save_every=100, sample_every=200),
            batch=8,
            build=tiny_generator.decoder,
            needs=("out", "streets"),
            takes=(*_EXAMPLES, "perceptual"),
        ),
        "flow": Trained(
            Recipe(4000, 6e-4, warmup=200, final=0.05, ema=0.999),
            batch=16,
            build=tiny_generator.flow,
            needs=("out", "streets"),
            takes=_EXAMPLES,
        ),
        "control": Trained(
            Recipe(2500, 5e-4, warmup=100, final=0.05, ema=0.999),
            batch=12,
            build=tiny_generator.control,
            needs=("out", "streets"),
            takes=_EXAMPLES,
        ),
        "joint": Trained(
            Recipe(2000, 4e-4, warmup=100, final=0.05, ema=0.998),
            batch=12,
            build=tiny_generator.joint,
            needs=("out", "streets"),
            takes=_EXAMPLES,
        ),
        "shown": Trained(
            Recipe(1500, 2e-4, warmup=50, final=0.05, ema=0.995, save_every=100, sample_every=200),
            batch=6,
            build=tiny_generator.shown,
            needs=("out", "streets"),
            takes=(*_EXAMPLES, "perceptual"),
        ),
        "segmentation-street": Trained(
            Recipe(3000, 1.5e-3, warmup=100, final=0.02, ema=0.995),
            batch=8,
            build=tiny.streets,
            needs=("out", "streets"),
            takes=("held_out", "leave_out", "size"),
        ),
        "segmentation-world": Trained(
            Recipe(1500, 1.5e-3, warmup=100, final=0.02, ema=0.99),
            batch=8,
            build=tiny.planets,
            needs=("out", "world"),
            takes=("size",),
        ),
        "depth-world": Trained(
            Recipe(2500, 2e-3, warmup=100, final=0.02, ema=0.99),
            batch=16,
            build=tiny.depth,
            needs=("out", "world"),
            takes=("size",),
        ),
        "detection-world": Trained(
            Recipe(2500, 1e-3, warmup=100, final=0.02, ema=0.99),
            batch=8,
            build=tiny.detection,
            needs=("out", "world"),
            takes=("size",),
        ),
        "detection-threshold": Fitted(detection.fit_threshold, needs=("world",), takes=("init", "earlier")),
        "dyndiff": Fitted(
            _dyndiff,
            needs=("out", "streets"),
            takes=("world", "held_out", "leave_out", "examples", "steps", "size", "perceptual"),
        ),
        "rate": _rate("tiny"),
        "all": Whole(
            _train_all,
            needs=("out", "hours"),
            takes=(*_PICTURES, "streets", "pictures", "perceptual", "examples", "batch", "source"),
        ),
    },
    "flux": {
        "tables": Fitted(gsc.tables, needs=("transform", "pictures"), takes=("size", "examples")),
        "control": Trained(
            gsc.RECIPE,
            batch=1,
            build=gsc.control,
            needs=("out", "base", "transform", "pictures"),
            takes=("captions", "held_out"),
        ),
        "rate": _rate("flux"),
    },
}
"""By profile and name, in the order in which they build on each other."""
