"""What the findings of a run are worth: each task's scores, per frame and over all frames.

    truth       what was found in the received picture, against what is true
    original    what was found in the received picture, against what the same model finds in the sent one
    ideal       what the same model finds in the sent picture, against what is true: what a perfect link would give

Everything but the truth comes from the journal. A frame of which nothing was shown, or in which the model failed,
counts as one in which nothing was found. What cannot be had is None, and the notes say why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from link import png
from link.analysis import analyst, findings
from link.analysis.analyst import AnalysisModel, Cache, Chosen
from link.analysis.findings import DepthMap, Detections, FindingError, Found, Record, Segments
from link.config import TASKS as TASK_NAMES
from link.config import ProfileConfig
from link.errors import FarlinkError
from link.frame import Pixels
from link.journal import Run
from scenarios.models.analysts import unasked
from scenarios.results.frame_stats import stats_of, true_of
from scenarios.scoring.bootstrap import intervals as intervals_of
from scenarios.scoring.stats import Stats
from scenarios.scoring.tasks import TASKS
from scenarios.truth.senders import open_truths, signed
from scenarios.truth.truth import Truths

REFERENCES = ("truth", "original", "ideal")
INVENTS = "segmentation"
"""The task of which it is measured what a decoder shows that is not there."""
_KINDS: Mapping[str, type[Found]] = {"segmentation": Segments, "depth": DepthMap, "detection": Detections}


@dataclass(frozen=True)
class Sight:
    """One task of one frame as a report shows it; None: there is none."""

    truth: Found | None
    original: Found | None
    received: Found | None


@dataclass(frozen=True)
class Analysis:
    """The scores of a run's findings."""

    tasks: dict[str, Any]
    """For `farlink run --json`: a task's `truth`, `original` and `ideal` scores with intervals, or None."""
    stats: Mapping[int, Mapping[str, Stats]] = field(default_factory=dict)
    """By frame and column (`segmentation_truth`, ...): what `scenarios.scoring` pools."""
    sequences: Mapping[int, str] = field(default_factory=dict)
    """The drive or video of each frame: the clusters of the bootstrap."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Why something is missing."""


def analyse(
    run: Run, *, cache: Cache | None = None, intervals: bool = True, truths: Truths | None = None
) -> Analysis:
    """Return the scores of *run*'s findings, as a `Judge` that is then forgotten gives them."""
    return Judge(run, cache=cache, intervals=intervals, truths=truths).judged()


class Judge:
    """Scores one run, and holds what is needed for that: the models, the truth, what was found in the sent pictures.

    *cache* keeps what models find in sent pictures; *intervals* False leaves the bootstrap out; *truths* are those of
    the run's source, opened where not given.
    """

    def __init__(
        self, run: Run, *, cache: Cache | None = None, intervals: bool = True, truths: Truths | None = None
    ) -> None:
        self._run, self._intervals = run, intervals
        about = run.head["scenario"]
        self._tasks = [task for task in TASK_NAMES if task in about.get("analysis", ())]
        self._seed = int(about["seed"])
        self._source = str(about["camera"]["source"])
        self.notes: dict[str, str] = {}
        if not self._tasks:
            return
        self._truths = truths or self._open(about)
        self._names = {
            event["frame"]: signed(str(event.get("name", "")), str(event.get("sender", "")))
            for event in run.events
            if event["kind"] == "captured"
        }
        self._frames = sorted(event["frame"] for event in run.events if event["kind"] == "encoded")
        self._looks = _looks(run)
        self._received = _received(run, self._looks)
        self._models: dict[str, dict[str, Any]] = {}
        for event in run.events:
            if event["kind"] in ("found", "not_found"):
                self._models.setdefault(event["task"], event)
        self._originals = _Originals(run, self._tasks, self._models, cache)
        self._domain = self._truths.domain if self._truths is not None else ""

    def _open(self, about: Mapping[str, Any]) -> Truths | None:
        try:
            truths = open_truths(about, self._seed)
        except (ValueError, FarlinkError) as error:  # of another version; or not on this machine
            self.notes["tasks.truth"] = " ".join(str(error).split())
            return None
        if truths is None:
            self.notes["tasks.truth"] = f"camera.source {self._source!r} has no truth"
        return truths

    def judged(self) -> Analysis:
        """Return the scores."""
        about = self._run.head["scenario"]
        self.notes |= {f"tasks.{task}": why for task, why in unasked(about).items()}
        if not self._tasks:
            none: dict[str, Any] = dict.fromkeys(TASK_NAMES)
            return Analysis(none, notes=self.notes)
        stats: dict[int, dict[str, Stats]] = {}
        for task in self._tasks:
            for reference in REFERENCES:
                for frame, kept in self._column(task, reference).items():
                    stats.setdefault(frame, {})[f"{task}_{reference}"] = kept
            self._note_failures(task)
            self._note_invented(task, stats)
        sequences = {frame: self._sequence(frame) for frame in self._frames}
        figures: dict[str, Any] = dict.fromkeys(TASK_NAMES)
        for task in self._tasks:
            told = self._models.get(task)
            figures[task] = {"model": None if told is None else told["model"]}
            for reference in REFERENCES:
                mine = {
                    frame: kept[name]
                    for frame, kept in sorted(stats.items())
                    if (name := f"{task}_{reference}") in kept
                }
                figures[task][reference] = self._figures(task, mine, sequences)
        self.notes |= {f"tasks.{task}.original": why for task, why in self._originals.notes.items()}
        return Analysis(figures, stats, sequences, self.notes)

    def _figures(
        self, task: str, stats: Mapping[int, Stats], sequences: Mapping[int, str]
    ) -> dict[str, Any] | None:
        if not stats:
            return None
        frames = list(stats.values())
        scores: dict[str, Any] = dict(TASKS[task].scores(frames))
        if self._intervals:
            bounds = intervals_of(TASKS[task], frames, [sequences[frame] for frame in stats], self._seed)
            for key in list(scores):
                low, high = bounds[key] or (None, None)
                scores |= {f"{key}_ci95_low": low, f"{key}_ci95_high": high}
        return {**scores, **TASKS[task].counts(frames)}

    def _column(self, task: str, reference: str) -> dict[int, Stats]:
        """Return each frame's numbers; none, with a note, where a frame cannot be scored."""
        column: dict[int, Stats] = {}
        wants_original = task == INVENTS and reference == "truth"
        for frame in self._frames:
            try:
                given = self._pair(task, reference, frame)
                if given is None:
                    continue
                true, seen, of_model = given
                original = self._originals.found(task, frame) if wants_original else None
                column[frame] = stats_of(task, true, seen, self._domain, of_model=of_model, original=original)
            except (ValueError, FarlinkError) as error:
                line = " ".join(str(error).split())
                self.notes[f"tasks.{task}.{reference}"] = f"frame {frame} ({self._names.get(frame)}): {line}"
                return {}
        return column

    def _pair(self, task: str, reference: str, frame: int) -> tuple[Found, Found | None, bool] | None:
        """Return (what is taken as true, what was found, whether the first is a model's); None: nothing is known."""
        received = self._received.get(task, {}).get(frame)
        if reference == "original":
            original = self._originals.found(task, frame)
            return None if original is None else (original, received, True)
        true = self._true(task, frame)
        if true is None:
            return None
        if reference == "ideal":
            if not self._originals.available(task):
                return None
            return true, self._originals.found(task, frame), False
        return true, received, False

    def _true(self, task: str, frame: int) -> Found | None:
        truths = self._truths
        if truths is None:
            return None
        true = true_of(task, truths, truths.of(self._names[frame]))
        if true is None:
            self.notes[f"tasks.{task}.truth"] = f"camera.source {self._source!r} has no truth for {task}"
        return true

    def look(self, shown: Mapping[int, Pixels]) -> dict[str, tuple[str, Mapping[str, float | None]]]:
        """Return what each task's scores are against, and the scores, had *shown* been received, pictures by frame.

        Against the truth where the source has it, else against what the model finds in the sent pictures. A task
        whose model is not at hand, or that cannot be scored, is not in it.
        """
        by_task: dict[str, tuple[str, Mapping[str, float | None]]] = {}
        for task in self._tasks:
            if not self._originals.available(task):
                continue
            for reference in ("truth", "original"):
                try:
                    kept = [self._look(task, reference, frame, pixels) for frame, pixels in shown.items()]
                except (ValueError, FarlinkError):  # noted when the run itself was scored
                    continue
                if kept and None not in kept:
                    by_task[task] = (
                        reference,
                        TASKS[task].scores([stats for stats in kept if stats is not None]),
                    )
                    break
        return by_task

    def _look(self, task: str, reference: str, frame: int, pixels: Pixels) -> Stats | None:
        true = self._true(task, frame) if reference == "truth" else self._originals.found(task, frame)
        if true is None:
            return None
        seen = self._originals.look(task, pixels, f"frame {frame}")
        return stats_of(task, true, seen, self._domain, of_model=reference == "original")

    def _sequence(self, frame: int) -> str:
        name = self._names.get(frame, "")
        if self._truths is not None:
            return self._truths.sequence(name)
        return name.partition("#")[0]  # a picture stands alone, a video's frames do not

    def _note_invented(self, task: str, stats: Mapping[int, Mapping[str, Stats]]) -> None:
        """Say why it is not known what the decoder invented, where it is not."""
        if task != INVENTS:
            return
        of_truth = [kept[name] for kept in stats.values() if (name := f"{task}_truth") in kept]
        if any("invented" in one for one in of_truth):
            return
        why = "no picture was shown in which the model looked"
        if not of_truth:
            why = "nothing is known to be true of the pictures"
        elif not self._originals.available(task):
            why = "it is not known what the model finds in the sent pictures"
        self.notes[f"tasks.{task}.invented"] = why

    def _note_failures(self, task: str) -> None:
        failed = [
            event for (of, _), event in self._looks.items() if of == task and event["kind"] == "not_found"
        ]
        if failed:
            self.notes[f"tasks.{task}"] = (
                f"there is no finding of {len(failed)} of {len(self._frames)} pictures, which count as "
                f"nothing found: {failed[0]['reason']}"
            )

    def sights(self, frame: int) -> dict[str, Sight]:
        """Return what there is to see of *frame*, by task; models run on what is neither kept nor in the cache."""
        seen: dict[str, Sight] = {}
        for task in self._tasks:
            try:
                true = self._true(task, frame)
            except FarlinkError:  # noted when it was to be scored
                true = None
            received = self._received.get(task, {}).get(frame)
            seen[task] = Sight(true, self._originals.found(task, frame), received)
        return seen


class _Originals:
    """What the receiver's models find in the pictures as they were sent."""

    def __init__(
        self, run: Run, tasks: Sequence[str], told: Mapping[str, Mapping[str, Any]], cache: Cache | None
    ) -> None:
        self._run, self._cache = run, cache
        self.notes: dict[str, str] = {}
        about = run.head["scenario"]
        self._chosen: dict[str, Chosen] = {}
        self._models: dict[str, AnalysisModel] = {}
        self._kept: dict[tuple[str, int], bytes | None] = {}
        try:
            self._profile = ProfileConfig.model_validate(about.get("profile", {}))
        except ValueError as error:  # of another version
            self.notes |= dict.fromkeys(tasks, f"profile: {' '.join(str(error).split())}")
            return
        for task in tasks:
            try:
                (chosen,) = analyst.choose_all([task], self._profile)
            except FarlinkError as error:
                self.notes[task] = str(error)
                continue
            own = told.get(task, {}).get("stamp", chosen.stamp)
            if own != chosen.stamp:
                self.notes[task] = (
                    f"the run's findings are by {told[task]['model']} ({own}), but {chosen.name} on this machine "
                    f"is {chosen.stamp}"
                )
                continue
            self._chosen[task] = chosen

    def available(self, task: str) -> bool:
        """Whether the model is here, so that a finding that is None means that it found nothing."""
        return task in self._chosen

    def found(self, task: str, frame: int) -> Found | None:
        """Return what the model of *task* finds in the picture of *frame* as it was sent, None where it fails."""
        if task not in self._chosen or frame not in self._run.pictures["sent"]:
            return None
        if (task, frame) not in self._kept:
            pixels = png.decode(self._run.pictures["sent"][frame])
            self._kept[task, frame] = self._look(task, pixels, f"the sent picture of frame {frame}")
        kept = self._kept[task, frame]
        return None if kept is None else findings.read(findings.unpack(kept))

    def look(self, task: str, pixels: Pixels, what: str) -> Found | None:
        """Return what the model of *task* finds in *pixels*, which people call *what*; None where it fails."""
        kept = self._look(task, pixels, what) if task in self._chosen else None
        return None if kept is None else findings.read(findings.unpack(kept))

    def _look(self, task: str, pixels: Pixels, what: str) -> bytes | None:
        chosen = self._chosen[task]
        try:
            return findings.pack(analyst.record(chosen, partial(self._model, chosen), pixels, self._cache))
        except FarlinkError as error:  # it cannot be loaded
            self.notes[task] = str(error)
            del self._chosen[task]
        except Exception as error:  # a network's ways to fail on a picture are torch's, not ours
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.notes.setdefault(task, f"the model failed on {what}: {reason}")
        return None

    def _model(self, chosen: Chosen) -> AnalysisModel:
        if chosen.task not in self._models:
            from link.device import pick_device

            self._models[chosen.task] = analyst.load(chosen, pick_device(self._profile.device))
        return self._models[chosen.task]


def _looks(run: Run) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the events of the last look at each frame, by task and frame: a picture may have been refined."""
    return {
        (event["task"], event["frame"]): event
        for event in run.events
        if event["kind"] in ("found", "not_found")
    }


def _received(run: Run, looks: Mapping[tuple[str, int], dict[str, Any]]) -> dict[str, dict[int, Found]]:
    """Return what the journal says was found, by task and frame; damaged findings count as none."""
    by_task: dict[str, dict[int, Found]] = {}
    for (task, frame), event in looks.items():
        if event["kind"] == "found":
            picture = run.findings.get(task, {}).get(frame)
            try:
                found = findings.read(Record(event, picture))
                if not isinstance(found, _KINDS.get(task, type(found))):
                    raise FindingError(f"a damaged finding: no {task}")
                if frame in run.pictures["received"]:
                    analyst.check_shape(found, png.size(run.pictures["received"][frame]))
                by_task.setdefault(task, {})[frame] = found
            except FindingError:
                continue  # the journal was cut between the event and its picture, or is not to be believed
    return by_task
