"""What SGGIC's parts are worth: steps fixed or foretold, objects refined or not, on pictures that no part has learned from.

    python tests/bench/sggic.py CAMVID/train --only 0006R0 --frames 14 --dyndiff runs/dyndiff/model

Prints a row for each way (`alike`: the mean of what was foretold for all), then differences of LPIPS with
95 % intervals by bootstrap over blocks of frames. `--show FILE` writes the first four frames as sent, as they arrived, and as each way draws them.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from link.frame import Frame, Pixels, scale
from receiver.codecs.sggic import SggicDecoder
from receiver.generator import Sampling
from receiver.refinement import RefinementWish, RefiningGenerator, blend
from scenarios import schema
from scenarios.scoring import bootstrap
from scenarios.scoring.pictures import measure
from sender.codecs.sggic import SggicEncoder

SIZE = (256, 192)


@dataclass
class Tally:
    """What one way to draw came to, by frame."""

    lpips: list[float]
    steps: list[int]
    guidance: list[float]
    runs: list[int]
    """Of the transformer."""
    shown: list[Pixels]


def draw(refining: RefiningGenerator, wish: RefinementWish) -> tuple[list[Pixels], Sampling]:
    """Return the picture after each pass, and how the passes were drawn."""
    shown = refining.reference(wish)
    known, how = refining.recode(shown), refining.choose(wish, shown)
    pictures = [refining.draw(known, shown, wish.caption, how)]
    for item in wish.objects:
        mask = refining.find(pictures[-1] if shown is None else shown, item)
        if mask is not None:
            new = refining.draw(known, pictures[-1], item.prompt, how)
            pictures.append(blend(new, pictures[-1], mask))
    return [picture[: SIZE[1], : SIZE[0]] for picture in pictures], how


def tally(
    refining: RefiningGenerator, shots: Sequence[Pixels], wishes: Sequence[RefinementWish]
) -> list[Tally]:
    """Return what comes of *shots* without and with their objects."""
    both = [Tally([], [], [], [], []) for _ in range(2)]
    for pixels, wish in zip(shots, wishes, strict=True):
        pictures, how = draw(refining, wish)
        for one, picture, passes in ((both[0], pictures[0], 1), (both[1], pictures[-1], len(pictures))):
            one.lpips.append(float(measure([pixels], [picture], ["lpips"], 1).by_picture["lpips"][0] or 0.0))
            one.steps.append(how.steps)
            one.guidance.append(how.guidance)
            one.runs.append(passes * how.steps * (1 if how.guidance == 1.0 else 2))
            one.shown.append(picture)
    return both


def interval(differences: Sequence[float], names: Sequence[str]) -> str:
    values = np.array(differences)
    drawn = bootstrap.weights([name.partition("_")[0] for name in names], 1, moments=names)
    assert drawn is not None, "too few frames"
    low, high = np.quantile(drawn @ values / drawn.sum(1), (0.025, 0.975))
    return f"{values.mean():+.4f} [{low:+.4f}, {high:+.4f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="how the names begin")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--dyndiff", required=True, help="as `farlink train dyndiff` leaves it")
    parser.add_argument(
        "--guidance", type=float, help="the last row's; default: the mean of what was foretold"
    )
    parser.add_argument("--show", type=Path)
    given = parser.parse_args()
    changes = {
        "codec.name": "sggic", "codec.adaptive": True, "profile.dyndiff": given.dyndiff, "profile.device": "cpu",
    }  # fmt: skip
    plan = schema.load("mars-relay", (), changes).session()
    encoder, decoder = SggicEncoder.from_session(plan), SggicDecoder.from_session(plan)
    files = sorted(path for path in given.folder.glob("*") if path.name.startswith(given.only))
    files = [files[at] for at in np.linspace(0, len(files) - 1, given.frames).round().astype(int)]
    shots = [scale(np.asarray(Image.open(path).convert("RGB")), SIZE) for path in files]
    payloads = [
        encoder.encode(Frame(0, 0, pixels, path.name)) for path, pixels in zip(files, shots, strict=True)
    ]
    wishes = [wish for payload in payloads if (wish := decoder.wish(payload)) is not None]
    refining = decoder.refining
    foretold = [refining.choose(wish, refining.reference(wish)) for wish in wishes]
    fixed = Sampling(plan.codec.steps, plan.codec.guidance, seed=plan.codec.noise_seed)
    mean = float(np.mean([how.guidance for how in foretold])) if given.guidance is None else given.guidance
    alike = replace(fixed, steps=round(float(np.mean([how.steps for how in foretold]))), guidance=mean)
    size = np.mean([payload.size_bytes for payload in payloads])
    bare = np.mean(
        [
            payload.size_bytes - sum(len(section or b"") for section in payload.sections[9:])
            for payload in payloads
        ]
    )
    print(f"{len(shots)} frames, {size:.0f} bytes each, {bare:.0f} without objects")
    parts = refining.parts
    bare_wishes = [replace(wish, objects=()) for wish in wishes]
    tallies: dict[str, Tally] = {}
    for title, dyndiff, sampling, given_wishes in (
        ("fixed", None, fixed, wishes),
        ("foretold", parts.dyndiff, fixed, wishes),
        ("alike", None, alike, bare_wishes),
    ):
        refining.parts = replace(parts, dyndiff=dyndiff)
        refining.adjust(sampling, None)
        for what, made in zip(("whole", "objects"), tally(refining, shots, given_wishes), strict=True):
            if what == "objects" and given_wishes is bare_wishes:
                continue
            tallies[f"{title}, {what}"] = made
            print(
                f"{title + ', ' + what:20} steps {np.mean(made.steps):5.2f} ({min(made.steps)}-{max(made.steps)})  "
                f"guidance {np.mean(made.guidance):.2f}  runs {np.mean(made.runs):6.1f}  LPIPS {np.mean(made.lpips):.4f}",
                flush=True,
            )
    for one, other in (
        ("foretold, whole", "fixed, whole"),
        ("foretold, whole", "alike, whole"),
        ("fixed, objects", "fixed, whole"),
        ("foretold, objects", "foretold, whole"),
        ("foretold, objects", "fixed, objects"),
    ):
        apart = [a - b for a, b in zip(tallies[one].lpips, tallies[other].lpips, strict=True)]
        print(f"{one} less {other}: {interval(apart, [path.name for path in files])}")
    if given.show:
        arrived = [shown for wish in wishes[:4] if (shown := refining.reference(wish)) is not None]
        rows = [
            shots[:4],
            [one[: SIZE[1], : SIZE[0]] for one in arrived],
            *(made.shown[:4] for made in tallies.values()),
        ]
        Image.fromarray(np.concatenate([np.concatenate(row, 1) for row in rows])).save(given.show)


if __name__ == "__main__":
    main()
