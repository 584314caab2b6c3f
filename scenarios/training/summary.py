"""The page of a `farlink train all`: what each part took, scores, samples. One file, which loads nothing."""

import io
from pathlib import Path
from typing import Any

from PIL import Image

from scenarios.pages import make_environment
from scenarios.training.loop import storing
from scenarios.training.plan import TrainingPlan
from scenarios.words import duration, percent

FILE = "summary.html"
WIDEST = 1000
"""Pixels of a sample; wider ones are scaled down."""
SCORES = 12
"""Of a part: those of single classes go on for long."""


def write(plan: TrainingPlan, out: Path, bundle: Path | None) -> Path:
    """Write the page of *plan*, whose parts lie under *out*; return it. Raise StorageError where the disk is full."""
    asked = plan.asked
    source = asked.get("pictures") or asked.get("streets") or "testcard"
    done = sum(part.done for part in plan.parts.values())
    trained = [name for name, part in plan.parts.items() if part.skipped is None]
    what = "The shipped models, adapted to" if "pictures" in asked else "Everything from nothing, on"
    page = make_environment("scenarios.training").get_template("summary.html.j2").render(
        title=f"farlink train all: {Path(source).name}",
        sentence=f"{what} {source}: {done} of {len(trained)} parts done, of {asked['hours']:g} hours.",
        bundle=None if bundle is None else str(bundle),
        source=source,
        parts=[_row(name, plan, out) for name in plan.parts],
    )  # fmt: skip
    path, new = out / FILE, out / f"{FILE}.new"
    with storing(path):
        new.write_text(page)
        new.replace(path)
    return path


def _row(name: str, plan: TrainingPlan, out: Path) -> dict[str, Any]:
    part = plan.parts[name]
    whole = sum(other.budget_s for other in plan.parts.values())
    state = part.skipped or ("done" if part.done else "not yet")
    scores = [(key, value) for key, value in (part.scores or {}).items() if isinstance(value, int | float)]
    return {
        "name": name,
        "share": "" if part.skipped else percent(part.budget_s / whole),
        "steps": "" if part.steps is None else part.steps,
        "pace": "" if part.pace_s is None else duration(part.pace_s),
        "spent": "" if part.spent_s is None else duration(part.spent_s),
        "state": state,
        "scores": scores[:SCORES],
        "pictures": _samples(out / name / "samples") if part.skipped is None else [],
    }


def _samples(folder: Path) -> list[bytes]:
    """Return the pictures of the last step in *folder* as WebP."""
    files = sorted(folder.glob("*.png"))
    pictures = []
    for path in files:
        if path.stem.partition("-")[0] != files[-1].stem.partition("-")[0]:
            continue
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        if picture.width > WIDEST:
            picture = picture.resize((WIDEST, max(1, round(picture.height * WIDEST / picture.width))))
        data = io.BytesIO()
        picture.save(data, "WEBP", quality=80)
        pictures.append(data.getvalue())
    return pictures
