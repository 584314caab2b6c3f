"""Measures the table of rate control: what each setting costs, and what it keeps of each task's accuracy.

    frame -> encode at (channels, words) -> packets, some lost -> decode -> models -> findings --+
    frame ---------------------------------------------------------> models -> findings ---------+-> V / V(original)
    frame, n frames later ----------------------------------------> the truth of that one -------+

Packets are cut at the scenario's MTU and lost independently, before any repair: what FEC and ARQ mend is
reckoned by `sender.rate_control`. All settings lose the same packets, so that they differ by themselves alone. The
scenario's source is played as it is: choose one whose frames no model has learned from.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from json import dumps
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from link import fragment, transform
from link.codecs import SYNTAXES
from link.config import Codec, Session
from link.errors import UsageError
from link.frame import Frame, Payload, Pixels
from link.models import transform_folder
from link.seeds import generator
from link.timing import body_bytes
from receiver.codecs import DECODERS
from scenarios import schema
from scenarios.models.rate_table import model_stamps
from scenarios.training.loop import storing
from scenarios.training.rate_scorer import ModelScorer, tasks_of
from scenarios.training.request import TrainingRequest
from scenarios.truth.truth import open_truth
from sender.calibration import FILE, SETTINGS, Calibration, Floats
from sender.camera import open_source
from sender.camera.picture import Shot
from sender.codecs import ENCODERS
from sender.encoder import Adjustable, Quality

SCENARIO = "mars-relay"
FRAMES = 24
CHANNELS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 320)
WORDS = (8, 24)
LOSSES = (0.0, 0.1, 0.3)
AGES = (0, 1, 2, 4, 8)

Findings = Mapping[str, Any]
"""By task, what its model found; a task that is missing found nothing."""
Say = Callable[[str], None]


class Scorer(Protocol):
    """Finds things in pictures and scores what was found against the truth."""

    @property
    def stamps(self) -> Mapping[str, str]:
        """What tells each task's model from others; the keys are the tasks."""

    def find(self, pixels: Pixels) -> Findings:
        """Return what the models find in *pixels*."""

    def score(self, task: str, names: Sequence[str], found: Sequence[Any | None]) -> float | None:
        """Return the task's accuracy over the frames *names*; a finding None: nothing was shown.

        None where nothing counts.
        """

    def sequence(self, name: str) -> str:
        """Return what the frame *name* is a part of: only frames of one sequence follow each other."""


class Coder(Protocol):
    """Both ends of the codec."""

    def encode_at(self, frame: Frame, quality: Quality) -> Payload:
        """Return the sections of *frame*, whatever they cost."""

    def decode(self, payload: Payload) -> Pixels | None:
        """Return what is shown of *payload*; None: nothing."""


@dataclass(frozen=True)
class Plan:
    """What is measured, and on what."""

    channels: tuple[int, ...]
    words: tuple[int, ...]
    body_bytes: int
    """What a packet holds."""
    codec: Mapping[str, Any]
    """The codec's settings, `sender.calibration.SETTINGS`."""
    losses: tuple[float, ...] = LOSSES
    ages: tuple[int, ...] = AGES
    seed: int = 1
    """Of the losses."""
    measured: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)


def measure(shots: Sequence[Shot], coder: Coder, scorer: Scorer, plan: Plan, say: Say) -> Calibration:
    """Return the table that *plan* asks for, measured on *shots*.

    Tasks without any accuracy on the originals are left out. Raise UsageError where none is left.
    """
    if not shots:
        raise UsageError("--source: no picture could be read from it")
    names = [shot.name for shot in shots]
    originals = [scorer.find(shot.pixels) for shot in shots]
    best: dict[str, float] = {}
    for task in sorted(scorer.stamps):
        value = scorer.score(task, names, [findings.get(task) for findings in originals])
        if value is not None and value > 0:
            best[task] = value
    say(dumps({"frames": len(shots), "originals": best}))
    if not best:
        raise UsageError(
            f"none of {', '.join(sorted(scorer.stamps))} finds anything in {len(shots)} originals"
        )
    grid = (len(plan.channels), len(plan.words))
    size: Floats = np.zeros(grid)
    shares: dict[str, Floats] = {task: np.zeros((*grid, len(plan.losses))) for task in best}
    for column, words in enumerate(plan.words):
        for row, channels in enumerate(plan.channels):
            size[row, column], by_loss = _setting(shots, coder, scorer, plan, Quality(channels, words))
            for task, accuracy in best.items():
                for at, seen in enumerate(by_loss):
                    value = scorer.score(
                        task, names, [None if one is None else one.get(task) for one in seen]
                    )
                    shares[task][row, column, at] = (value or 0.0) / accuracy
            told = {task: shares[task][row, column].round(4).tolist() for task in best}
            say(dumps({"channels": channels, "words": words, "bytes": round(size[row, column], 1), **told}))
    ages, decay = _decay(names, originals, scorer, plan.ages, tuple(best))
    say(dumps({"ages": ages, **{task: values.round(4).tolist() for task, values in decay.items()}}))
    return Calibration(
        codec=dict(plan.codec),
        measured={**plan.measured, "frames": len(shots), "seed": plan.seed, "originals": best},
        models={**plan.models, **scorer.stamps},
        channels=plan.channels,
        words=plan.words,
        losses=plan.losses,
        ages=ages,
        payload_bytes=size,
        shares=shares,
        decay=decay,
    )


def _setting(
    shots: Sequence[Shot], coder: Coder, scorer: Scorer, plan: Plan, quality: Quality
) -> tuple[float, list[list[Findings | None]]]:
    """Return the mean payload of *quality*, and for each loss what is found in each frame; None: nothing is shown."""
    total = 0
    by_loss: list[list[Findings | None]] = [[] for _ in plan.losses]
    for number, shot in enumerate(shots):
        payload = coder.encode_at(Frame(number, 0, shot.pixels, shot.name), quality)
        total += payload.size_bytes
        luck = generator(plan.seed, f"rate/{number}").random(1024)
        seen: dict[Payload, Findings | None] = {}  # light losses mostly lose nothing
        for at, loss in enumerate(plan.losses):
            arrived = drop_packets(payload, plan.body_bytes, luck < loss)
            if arrived not in seen:
                pixels = coder.decode(arrived)
                seen[arrived] = None if pixels is None else scorer.find(pixels)
            by_loss[at].append(seen[arrived])
    return total / len(shots), by_loss


def drop_packets(payload: Payload, body_bytes: int, lost: Any) -> Payload:
    """Return what arrives of *payload* where the packets are lost that *lost*, a flag for each, names."""
    sections = [section for section in payload.sections if section is not None]
    bodies = fragment.fragment(sections, body_bytes, 0)
    return fragment.reassemble({at: body for at, body in enumerate(bodies) if not lost[at]}, len(bodies))


def _decay(
    names: Sequence[str],
    originals: Sequence[Findings],
    scorer: Scorer,
    ages: tuple[int, ...],
    tasks: tuple[str, ...],
) -> tuple[tuple[int, ...], dict[str, Floats]]:
    """Return the ages that could be measured, and for each task what originals that old say of the present."""
    known = [0]
    decay = {task: [1.0] for task in tasks}
    of = [scorer.sequence(name) for name in names]
    for age in ages[1:]:
        pairs = [at for at in range(age, len(names)) if of[at] == of[at - age]]
        row = {}
        for task in tasks:
            there = [names[at] for at in pairs]
            fresh = scorer.score(task, there, [originals[at].get(task) for at in pairs]) if pairs else None
            if not fresh:
                break
            old = scorer.score(task, there, [originals[at - age].get(task) for at in pairs])
            row[task] = (old or 0.0) / fresh
        if len(row) < len(tasks):
            break  # frames that old are not among these, nor older ones
        known.append(age)
        for task, value in row.items():
            decay[task].append(value)
    return tuple(known), {task: np.array(values) for task, values in decay.items()}


class CodecPair:
    """Sender's encoder and receiver's decoder of a session."""

    def __init__(self, session: Session) -> None:
        encoder, self._decoder = ENCODERS[session.codec.name](session), DECODERS[session.codec.name](session)
        if not isinstance(encoder, Adjustable):
            raise UsageError(f"codec {session.codec.name}: it does not let itself be adjusted frame by frame")
        self._encoder = encoder

    def encode_at(self, frame: Frame, quality: Quality) -> Payload:
        """Return the sections of *frame*."""
        return self._encoder.encode_at(frame, quality)

    def decode(self, payload: Payload) -> Pixels | None:
        """Return the picture of *payload*, None where it has none."""
        return self._decoder.decode(payload)


def settings_of(codec: Codec) -> dict[str, Any]:
    """Return the settings of *codec* that a table is measured with."""
    return {name: getattr(codec, name) for name in SETTINGS}


def grid_of(codec: Codec, most: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the numbers of channels, up to *most*, and of words that are measured for *codec*."""
    captions = codec.caption != "none"
    channels = sorted({count for count in CHANNELS if count < most} | {most})
    if not captions:
        return tuple(count for count in channels if count), (0,)
    words = sorted({count for count in WORDS if count < codec.caption_words} | {codec.caption_words})
    return tuple(channels), tuple(words)


def rate(profile: str, request: TrainingRequest, say: Say) -> Path:
    """Measure the table of *profile* on the scenario and source that *request* names; return its file.

    --out names the file where it ends in .json, else its folder. Raise UsageError where the source has no truth.
    """
    assert request.out is not None
    changes: dict[str, Any] = {
        "codec.name": next(codec for codec in SYNTAXES if SYNTAXES[codec].facts.adjustable),
        "codec.profile": profile,
        "codec.rate_control": "fixed",
        "camera.frames": request.examples or FRAMES,
        "analysis": [],
    }
    if request.source is not None:
        changes["camera.source"] = request.source
    if request.bundle is not None:
        changes["profile.bundle"] = str(request.folder("bundle").resolve())
    if request.size is not None:
        changes |= {"camera.width": request.size[0], "camera.height": request.size[1]}
    name = request.scenario or SCENARIO
    scenario = schema.load(name, (), changes)
    truths = open_truth(scenario.camera, scenario.seed)
    if truths is None:
        raise UsageError(
            f"--source {scenario.camera.source}: nothing is known to be true of its pictures; expected one with truth"
        )
    shots = [item for item in open_source(scenario.camera, seed=scenario.seed) if isinstance(item, Shot)]
    tasks = tasks_of(truths, shots)
    most = transform.channels(transform_folder(scenario))
    channels, words = grid_of(scenario.codec, most)
    plan_of = schema.load(name, (), {**changes, "analysis": list(tasks), "codec.channels": most})
    session = plan_of.session()
    plan = Plan(
        channels,
        words,
        body_bytes(session.link),
        settings_of(session.codec),
        seed=request.seed,
        measured={
            "source": session.camera.source,
            "width": session.camera.width,
            "height": session.camera.height,
            "mtu_bytes": session.link.mtu_bytes,
        },
        models=model_stamps(session),
    )
    table = measure(shots, CodecPair(session), ModelScorer(session, truths), plan, say)
    path = request.out if request.out.suffix == ".json" else request.out / FILE
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(table.to_json())
    return path
