"""Where the generator's parts lie. Apart from what loads them, which takes seconds to import."""

from pathlib import Path

from link.config import Session
from link.models import place

WEIGHTS = Path(__file__).parent / "weights"
TEXT = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")


def part_folders(session: Session) -> dict[str, Path]:
    """Return the folder of each of the generator's parts: the user's own, else the profile's."""
    name, profile = session.codec.profile, session.profile
    whole = place(name, "generator", profile.generator, WEIGHTS / "tiny")
    folders = {part: whole / part for part in ("transformer", "controlnet", "vae", "scheduler", *TEXT)}
    for part in ("transformer", "controlnet", "vae"):
        own = getattr(profile, part)
        if own is not None:
            folders[part] = Path(own)
    if profile.text is not None:
        folders |= {part: Path(profile.text) / part for part in TEXT}
    return folders
