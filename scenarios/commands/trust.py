"""What the link of somebody else may have an end open."""

import re
from collections.abc import Sequence
from typing import Any

from link.analysis.analyst import is_name
from link.codecs import SYNTAXES
from link.config import TASKS, ProfileConfig, Session
from link.errors import UsageError
from link.marks import Affects, fields_marked
from scenarios.schema import with_local_models

OPENED: dict[str, tuple[str, ...]] = {
    "sender": (
        "bundle", "transform", "segmenter", "captioner", "grounder", "caption_url", "caption_model", "rate_table",
    ),
    "receiver": (
        "bundle", "transform", "generator", "transformer", "controlnet", "vae", "text", "lora", "preview_vae",
        "mask_finder", "dyndiff", *TASKS,
    ),
}  # fmt: skip
"""The fields of `profile` by which each end opens files or addresses; a sender of findings those of TASKS too."""
_MODEL_NAME = re.compile(r"[a-z0-9-]+(/[a-z0-9-]+)?")


def with_own_models(session: Session, role: str, settings: Sequence[str]) -> Session:
    """Return *session* as the end that plays *role* runs it, with this machine's own models.

    *settings* are `profile.KEY=VALUE`. A link may name models that came with farlink or were pulled, and say how models
    run. Where files lie, and which address pictures are sent to, is this machine's to say alone: raise UsageError
    where the link does.
    """
    mine = {setting.partition("=")[0].strip().removeprefix("profile.") for setting in settings}
    ours = with_local_models(session, settings)
    default = ProfileConfig()
    reset: dict[str, Any] = {}
    opened = OPENED[role] if SYNTAXES[session.codec.name].facts.draws else (*OPENED[role], *TASKS)
    for field in fields_marked(ProfileConfig, Affects.PLACE) - mine:
        told = getattr(session.profile, field)
        if told == getattr(default, field):
            continue
        if field not in opened:
            reset[field] = getattr(default, field)
        elif not (field in TASKS and is_name(told) and _MODEL_NAME.fullmatch(told)):
            raise UsageError(
                f"the link names {told!r} for profile.{field}: a {role} opens what its own machine says alone; "
                f"give --set profile.{field}=..., or =null for the profile's own"
            )
    return ours.model_copy(update={"profile": ours.profile.model_copy(update=reset)})
