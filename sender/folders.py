"""Where the models of the generative sending ends lie. Apart from what loads them, which takes seconds to import."""

from pathlib import Path

from link.analysis import analyst
from link.config import Session
from link.models import place, transform_folder

WEIGHTS = Path(__file__).parent / "weights"
DETECTOR = "detection-world"
"""Who confirms that a planet's rocks and machines are there."""


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


def grounder_place(session: Session) -> Path | None:
    """Return where lies what finds a named object's mask; None: no object is looked for.

    Where the captions are of the closed grammar it is the shipped segmentation model, whose classes their nouns are.
    """
    codec, profile = session.codec, session.profile
    if codec.caption == "none" or not codec.objects:
        return None
    if not finds_any_name(session):
        return place("tiny", "segmenter", profile.segmenter, WEIGHTS / "tiny" / "segmenter", profile.bundle)
    return place("flux", "grounder", profile.grounder, WEIGHTS, profile.bundle)


def finds_any_name(session: Session) -> bool:
    """Return whether Grounding DINO and SAM look for named objects, not the shipped models for their own nouns."""
    codec = session.codec
    return codec.caption != "grammar" and (codec.profile == "flux" or session.profile.grounder is not None)


def of_sedic(session: Session) -> dict[str, Path | str]:
    """Return where transform, captioner and what finds masks lie."""
    grounder = grounder_place(session)
    if grounder is None:
        return of_gsc(session)
    own = {"detector": analyst.place(DETECTOR), "masker": grounder}
    return {
        **of_gsc(session),
        **({part: grounder / part for part in own} if finds_any_name(session) else own),
    }


def of_gsc(session: Session) -> dict[str, Path | str]:
    """Return where transform and captioner lie."""
    captioner = captioner_place(session)
    return {"transform": transform_folder(session), **({} if captioner is None else {"captioner": captioner})}
