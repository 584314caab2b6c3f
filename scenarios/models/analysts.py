"""Which analysis model judges a source: the user's own, those that come with farlink, or the full-size ones."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from link.config import TASKS, ProfileConfig, Session
from link.errors import UsageError
from link.models import bundled
from link.terminal import shorten

FULL: Mapping[str, str] = {
    "segmentation": "flux/segmentation",
    "depth": "flux/depth",
    "detection": "flux/detection",
}
"""The models of the profile `flux`, where none that comes with farlink is made for the source."""


def shipped(domain: str) -> dict[str, str]:
    """Return the models that come with farlink for pictures of *domain*, by task; the tasks in the usual order."""
    from link.analysis.analyst import NAMES

    names = {task: name for name, (own, task) in NAMES.items() if own == domain}
    return {task: names[task] for task in TASKS if task in names}


def every_task(tree: Mapping[str, Any]) -> list[str]:
    """Return what `analysis: all` stands for: the tasks that a model of the profile is made for at this source."""
    return list(_made_for(tree))


def unasked(tree: Mapping[str, Any]) -> dict[str, str]:
    """Return, for each task that the scenario *tree* does not analyse, why it is not, by task."""
    made, camera = _made_for(tree), tree.get("camera")
    source = camera.get("source") if isinstance(camera, Mapping) else None
    asked = tree.get("analysis") or ()
    return {
        task: "the scenario does not ask for it (analysis)"
        if task in made
        else f"not analysed: no model that comes with farlink is made for camera.source {source!r}"
        for task in TASKS
        if task not in asked
    }


def _made_for(tree: Mapping[str, Any]) -> Mapping[str, str]:
    from scenarios.truth.truth import domain_of

    camera, codec = tree.get("camera"), tree.get("codec")
    source = camera.get("source") if isinstance(camera, Mapping) else None
    domain = (domain_of(source) if isinstance(source, str) else None) or ""
    full = isinstance(codec, Mapping) and codec.get("profile") == "flux" and domain != "world"
    return FULL if full else shipped(domain)


def _bundled(bundle: str | None, task: str, name: str | None) -> Path | None:
    """Return where the model *name* of *task* lies in *bundle*; one for any source is called by its task."""
    held = None if name is None else bundled(bundle, f"analysis/{name}")
    return held or bundled(bundle, f"analysis/{task}")


def with_analysts(session: Session) -> ProfileConfig:
    """Return the profile with a model named for each task of *session*: the user's own, the bundle's, or by the source.

    The receiver knows nothing of sources and truth, so it is told the names. Raise UsageError for a task that no
    model of the profile is made for, naming what to give.
    """
    if not session.analysis:
        return session.profile
    from link.analysis.analyst import is_name
    from scenarios.truth.truth import domain_of

    named: dict[str, str] = {}
    source = session.camera.source
    domain = domain_of(source) or ""
    # Only the shipped models know the world's classes; elsewhere the full-size ones know more.
    full = session.codec.profile == "flux" and domain != "world"
    made = FULL if full else shipped(domain)
    for task in session.analysis:
        own = getattr(session.profile, task)
        if own is not None:
            path = Path(own)
            named[task] = str(path.resolve()) if os.path.exists(path) and not is_name(own) else own
        elif held := _bundled(session.profile.bundle, task, made.get(task)):
            named[task] = str(held.resolve())
        elif task in made:
            named[task] = made[task]
        else:
            raise UsageError(
                f"analysis: no {task} model comes with farlink for camera.source {shorten(repr(source))}: give one by "
                f"--set profile.{task}=FOLDER, or =flux/{task} after farlink models pull flux/{task}"
            )
    return session.profile.model_copy(update=named)
