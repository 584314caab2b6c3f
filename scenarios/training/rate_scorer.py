"""The shipped or chosen analysis models, scored against the truth of a source, as rate control's table needs it."""

from collections.abc import Mapping, Sequence

from link.analysis import analyst, findings
from link.analysis.findings import FindingError, Found
from link.config import TASKS as TASK_NAMES
from link.config import Session, Task
from link.device import pick_device
from link.errors import UsageError
from link.frame import Pixels
from scenarios.results.frame_stats import stats_of, true_of
from scenarios.scoring.tasks import TASKS
from scenarios.truth.truth import Truths
from sender.camera.picture import Shot


def tasks_of(truths: Truths, shots: Sequence[Shot]) -> tuple[Task, ...]:
    """Return the tasks of which the truth of the first of *shots* says anything.

    Raise UsageError where there are no pictures, or nothing is known of them.
    """
    if not shots:
        raise UsageError("--source: no picture could be read from it")
    truth = truths.of(shots[0].name)
    tasks = tuple(task for task in TASK_NAMES if true_of(task, truths, truth) is not None)
    if not tasks:
        raise UsageError(f"--source: nothing is known to be true of {shots[0].name}")
    return tasks


class ModelScorer:
    """The models of a session's tasks, and the truth of its source."""

    def __init__(self, session: Session, truths: Truths) -> None:
        device = pick_device(session.profile.device)
        chosen = analyst.choose_all(session.analysis, session.profile)
        self._models = {item.task: analyst.load(item, device) for item in chosen}
        self._stamps = {item.task: item.stamp for item in chosen}
        self._truths = truths

    @property
    def stamps(self) -> Mapping[str, str]:
        """The stamp of each task's model."""
        return self._stamps

    def find(self, pixels: Pixels) -> dict[str, Found]:
        """Return what each model finds in *pixels*, as a journal would hold it; one that fails finds nothing."""
        seen = {}
        for task, model in self._models.items():
            try:
                record = findings.write(analyst.check_shape(model.find(pixels), pixels.shape[:2]))
            except FindingError:
                continue
            seen[task] = findings.read(record)
        return seen

    def score(self, task: str, names: Sequence[str], found: Sequence[Found | None]) -> float | None:
        """Return the first score of *task* over the frames *names*."""
        frames = []
        for name, one in zip(names, found, strict=True):
            true = true_of(task, self._truths, self._truths.of(name))
            if true is not None:
                frames.append(stats_of(task, true, one, self._truths.domain))
        return TASKS[task].scores(frames)[TASKS[task].primary] if frames else None

    def sequence(self, name: str) -> str:
        """Return the drive or video of the frame *name*."""
        return self._truths.sequence(name)
