"""Learns how many steps and how much guidance a picture needs, from searches: SGGIC's DynDiff (Section 3.2, eq. 3).

    picture -> SGGIC's sending end -> sections -> its receiving end: features, and a picture for each candidate
                                                  '-> LPIPS of each -> the best steps p*, the best guidance p*

Each network answers p, 0 to 1, and learns by penalty * p^2 + (p - p*)^2: for steps the penalty asks for few. What is
searched is drawn without objects, whose passes take as many steps. A search is kept in OUT/search.jsonl as it is made,
and not made again. The pictures that score are others than those that teach.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from link.config import Session
from link.errors import UsageError
from link.frame import Frame, Pixels
from link.threads import one_thread
from receiver.codecs.sggic import SggicDecoder
from receiver.dyndiff import FEATURES, DynDiff, Ranges
from receiver.generator import Sampling, to_picture
from receiver.generators import sampling
from receiver.refinement import RefinementWish
from scenarios import schema
from scenarios.scoring.perceptual import Lpips
from scenarios.training.data import Pictures
from scenarios.training.loop import storing
from scenarios.training.request import TrainingRequest, seed_weights
from scenarios.training.sources import frame_size, load_eye, open_held_out, open_streets
from sender.codecs.sggic import SggicEncoder

STEPS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Candidates; the paper's are up to 80 for Stable Diffusion."""
GUIDANCE = (1.0, 1.5, 2.0, 3.0, 4.0)
"""Candidates of classifier-free guidance, at the steps of `Sampling`; the paper's are 0 to 10."""
PENALTY = {"steps": 1.0, "guidance": 0.0}
"""The paper's lambda: of its sweep from 0 to 1 the one that takes 38 % fewer steps than a fixed number; none for
guidance."""
RATES = {"steps": 1e-3, "guidance": 2e-3}
EPOCHS = 500
EXAMPLES = 48
HELD_OUT = 12

Say = Callable[[str], None]
Row = dict[str, Any]
"""A search: `stamp` and `name` of the picture, `features`, and LPIPS by candidate, `steps` and `guidance`."""


@dataclass(frozen=True)
class Arrived:
    """What is drawn of a picture."""

    wish: RefinementWish
    shown: Pixels
    """The reference, in whole cells."""
    known: NDArray[np.int32] | None
    """The codec's channels of it."""


@dataclass
class Search:
    """Both ends of SGGIC, and the eye that says which candidate is best."""

    encoder: SggicEncoder
    decoder: SggicDecoder
    eye: Lpips
    sampling: Sampling

    @classmethod
    def open(cls, session: Session, eye: Lpips) -> "Search":
        """Return the search on *session*. Raise ModelMissingError where a model is not here."""
        encoder, decoder = SggicEncoder.from_session(session), SggicDecoder.from_session(session)
        return cls(encoder, decoder, eye, sampling(session.codec))

    def arrive(self, pixels: Pixels, name: str) -> Arrived:
        """Return what arrives of *pixels* where nothing is lost."""
        wish = self.decoder.wish(self.encoder.encode(Frame(0, 0, pixels, name)))
        shown = None if wish is None else self.decoder.refining.reference(wish)
        assert wish is not None and shown is not None, "everything arrived"
        return Arrived(wish, shown, self.decoder.refining.recode(shown))

    @one_thread()
    @torch.no_grad()
    def distance(self, pixels: Pixels, arrived: Arrived, how: Sampling) -> float:
        """Return the LPIPS between *pixels* and the picture drawn of what *arrived*, without its objects."""
        height, width = pixels.shape[:2]
        picture = self.decoder.refining.draw(arrived.known, arrived.shown, arrived.wish.caption, how)
        return float(self.eye(to_picture(pixels), to_picture(picture[:height, :width]))[0])

    def look(self, pixels: Pixels, name: str) -> Row:
        """Return the search of one picture."""
        arrived = self.arrive(pixels, name)
        seen = self.decoder.refining.look(arrived.wish, arrived.shown)
        steps = [self.distance(pixels, arrived, replace(self.sampling, steps=one)) for one in STEPS]
        fixed = steps[STEPS.index(self.sampling.steps)]
        return {
            "name": name,
            "features": {key: measure(seen) for key, measure in FEATURES.items()},
            "steps": steps,
            "guidance": [
                fixed
                if one == self.sampling.guidance
                else self.distance(pixels, arrived, replace(self.sampling, guidance=one))
                for one in GUIDANCE
            ],
        }


def dyndiff(request: TrainingRequest, say: Say) -> Path:
    """Search and learn as *request* asks; return the file of the weights in OUT/model.

    Learns from --streets but those of --leave-out, and --world, as many of each; scores on those of --leave-out, else
    --held-out. Raise UsageError where there are too few pictures.
    """
    out = request.out
    assert out is not None
    count = request.examples or EXAMPLES
    taught = [pick(open_streets(request), count)]
    if request.world is not None:
        taught.append(pick(Pictures.open(request.folder("world")), count))
    held = pick(open_tests(request), HELD_OUT)
    if sum(len(part.indices) for part in taught) < 2:
        raise UsageError("a single picture to learn from: at least 2 are needed")
    search = Search.open(open_session(frame_size(request)), load_eye(request))
    kept = out / "search.jsonl"
    rows = [row for part in taught for row in search_all(search, part, request, kept, say)]
    tests = search_all(search, held, request, kept, say)
    made = learn(rows, request.seed, request.steps or EPOCHS)
    with storing(out):
        made.save(out / "model")
    say(
        json.dumps(
            {"searched": len(rows), "held_out": len(tests), **score(made, search, held, tests, request)}
        )
    )
    return out / "model" / "model.safetensors"


def open_session(size: tuple[int, int]) -> Session:
    """Return the session that is searched on: SGGIC with what comes with farlink, at *size* (width, height)."""
    changes = {
        "codec.name": "sggic",
        "camera.width": size[0],
        "camera.height": size[1],
        "profile.device": "cpu",
    }
    return schema.load("mars-relay", (), changes).session()


def open_tests(request: TrainingRequest) -> Pictures:
    """Return the pictures to score on."""
    if request.leave_out is not None and request.held_out is None:
        return Pictures.open(request.folder("streets"), only=request.leave_out)
    return open_held_out(request)


@dataclass(frozen=True)
class Picked:
    """Some pictures of a set."""

    pictures: Pictures
    indices: tuple[int, ...]


def pick(pictures: Pictures, count: int) -> Picked:
    """Return at most *count* of *pictures*, evenly spread."""
    spread = np.linspace(0, len(pictures) - 1, min(count, len(pictures))).round().astype(int)
    return Picked(pictures, tuple(int(at) for at in np.unique(spread)))


def read(picked: Picked, at: int, size: tuple[int, int]) -> tuple[str, Pixels]:
    """Return the name and the pixels of a picture."""
    return picked.pictures.files[at].name, np.ascontiguousarray(picked.pictures.whole(at, size).pixels)


def search_all(search: Search, picked: Picked, request: TrainingRequest, kept: Path, say: Say) -> list[Row]:
    """Return the searches of the pictures, those in *kept* as they are there, the others added to it."""
    done = read_searches(kept)
    rows = []
    for at in picked.indices:
        name, pixels = read(picked, at, frame_size(request))
        stamp = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:16]
        if stamp not in done:
            done[stamp] = {"stamp": stamp, **search.look(pixels, name)}
            with storing(kept.parent):
                kept.parent.mkdir(parents=True, exist_ok=True)
                with kept.open("a") as file:
                    file.write(json.dumps(done[stamp]) + "\n")
            say(json.dumps({"searched": name, **best(done[stamp])}))
        rows.append(done[stamp])
    return rows


def read_searches(kept: Path) -> dict[str, Row]:
    """Return the searches in *kept*, by what is in their picture; a line that a crash cut short is passed over."""
    done: dict[str, Row] = {}
    for line in kept.read_text().splitlines() if kept.is_file() else []:
        try:
            row = json.loads(line)
            if len(row["steps"]) == len(STEPS) and len(row["guidance"]) == len(GUIDANCE):
                done[row["stamp"]] = row
        except (ValueError, KeyError, TypeError):
            continue
    return done


def best(row: Row) -> dict[str, float]:
    """Return the candidates of least LPIPS."""
    return {
        "steps": STEPS[int(np.argmin(row["steps"]))],
        "guidance": GUIDANCE[int(np.argmin(row["guidance"]))],
    }


def learn(rows: Sequence[Row], seed: int, epochs: int = EPOCHS) -> DynDiff:
    """Return both networks, learned from *rows* one picture at a time in an order that *seed* gives."""
    values = {name: [float(row["features"][name]) for row in rows] for name in FEATURES}
    ranges = Ranges(
        tuple(FEATURES),
        tuple(min(values[name]) for name in FEATURES),
        tuple(max(values[name]) for name in FEATURES),
        (STEPS[0], STEPS[-1]),
        (GUIDANCE[0], GUIDANCE[-1]),
    )
    seed_weights("dyndiff", seed)
    made = DynDiff(ranges)
    given = torch.stack([ranges.scale(row["features"]) for row in rows])
    for name, network, candidates in (
        ("steps", made.steps, STEPS),
        ("guidance", made.guidance, GUIDANCE),
    ):
        least, most = candidates[0], candidates[-1]
        wanted = torch.tensor([(best(row)[name] - least) / (most - least) for row in rows])
        fit(network, given, wanted, PENALTY[name], RATES[name], epochs, seed)
    return made.eval().requires_grad_(False)


def loss(answers: Tensor, wanted: Tensor, penalty: float) -> Tensor:
    """Return the paper's loss (eq. 3): *penalty* on what is large, and the square of what is off."""
    return (penalty * answers**2 + (answers - wanted) ** 2).mean()


@one_thread()
def fit(
    network: nn.Sequential, given: Tensor, wanted: Tensor, penalty: float, rate: float, epochs: int, seed: int
) -> None:
    """Train *network* by Adam, one picture a step as in the paper's code."""
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    order = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for at in torch.randperm(len(given), generator=order).tolist():
            optimizer.zero_grad()
            off: Any = loss(network(given[at]), wanted[at], penalty)
            off.backward()
            optimizer.step()


def score(
    made: DynDiff, search: Search, held: Picked, rows: Sequence[Row], request: TrainingRequest
) -> dict[str, float]:
    """Return LPIPS, steps and guidance on the held-out pictures: as foretold, fixed, at the best guidance of each."""
    drawn, steps, guidances = [], [], []
    for at, row in zip(held.indices, rows, strict=True):
        name, pixels = read(held, at, frame_size(request))
        count, guidance = made.foretell(row["features"])
        steps.append(count)
        guidances.append(guidance)
        how = replace(search.sampling, steps=count, guidance=guidance)
        drawn.append(search.distance(pixels, search.arrive(pixels, name), how))
    fixed = [row["steps"][STEPS.index(search.sampling.steps)] for row in rows]
    return {
        "lpips": round(float(np.mean(drawn)), 4),
        "steps": round(float(np.mean(steps)), 2),
        "guidance": round(float(np.mean(guidances)), 2),
        "lpips_fixed": round(float(np.mean(fixed)), 4),
        "steps_fixed": search.sampling.steps,
        "lpips_best_guidance": round(float(np.mean([min(row["guidance"]) for row in rows])), 4),
    }
