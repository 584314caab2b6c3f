"""Every part that can be trained, with its recipe."""

from scenarios.training import gsc, tiny
from scenarios.training.loop import Recipe
from scenarios.training.request import Entry, Fitted, Trained

_PICTURES = ("natural", "held_out", "size")
_EXAMPLES = ("natural", "held_out", "size", "earlier", "examples")

PARTS: dict[str, dict[str, Entry]] = {
    "tiny": {
        "text": Fitted(tiny.text, needs=("out", "captions"), takes=("steps",)),
        "segmenter": Trained(
            Recipe(3000, 2e-3, warmup=100, final=0.02, ema=0.995),
            batch=16,
            build=tiny.segmenter,
            needs=("out", "streets", "natural"),
            takes=("held_out", "size"),
        ),
        "grammar": Fitted(tiny.grammar, needs=("out", "streets", "natural")),
        "transform": Trained(
            Recipe(4400, 1e-3, warmup=50, final=0.03, ema=0.995, save_every=200, sample_every=200),
            batch=8,
            build=tiny.transform,
            needs=("out", "streets"),
            takes=_PICTURES,
        ),
        "tables": Fitted(
            tiny.tables,
            needs=(),
            takes=("streets", "natural", "pictures", "transform", "earlier", "size", "examples"),
        ),
        "autoencoder": Trained(
            Recipe(1900, 1e-3, warmup=50, final=0.03, ema=0.995, save_every=100, sample_every=200),
            batch=8,
            build=tiny.autoencoder,
            needs=("out", "streets"),
            takes=_PICTURES,
        ),
        "flow": Trained(
            Recipe(4000, 6e-4, warmup=200, final=0.05, ema=0.999),
            batch=16,
            build=tiny.flow,
            needs=("out", "streets"),
            takes=_EXAMPLES,
        ),
        "control": Trained(
            Recipe(2500, 5e-4, warmup=100, final=0.05, ema=0.999),
            batch=12,
            build=tiny.control,
            needs=("out", "streets"),
            takes=_EXAMPLES,
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
    },
}
"""By profile and name, in the order in which they build on each other."""
