"""Where the models of GSC's sending end lie. Apart from what loads them, which takes seconds to import."""

from pathlib import Path

from link.config import Session
from link.models import place, transform_folder

WEIGHTS = Path(__file__).parent / "weights"


def captioner_place(session: Session) -> Path | str | None:
    """Return where the captioner lies, of an endpoint what its model is called; None: nobody writes captions."""
    caption, profile = session.codec.caption, session.profile
    if caption == "none":
        return None
    if caption == "grammar":
        # The closed grammar belongs to the shipped segmentation model, whatever carries the picture.
        return place("tiny", "segmenter", profile.segmenter, WEIGHTS / "tiny" / "segmenter", profile.bundle)
    if caption == "vlm":
        return place("flux", "captioner", profile.captioner, WEIGHTS, profile.bundle)
    return profile.caption_model


def of_gsc(session: Session) -> dict[str, Path | str]:
    """Return where transform and captioner lie."""
    captioner = captioner_place(session)
    return {"transform": transform_folder(session), **({} if captioner is None else {"captioner": captioner})}
