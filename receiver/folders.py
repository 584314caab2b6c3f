"""Where the generator's parts lie. Apart from what loads them, which takes seconds to import."""

from pathlib import Path

from link.analysis import analyst
from link.config import Session
from link.errors import UsageError
from link.models import bundled, home, place, transform_folder

WEIGHTS = Path(__file__).parent / "weights"
GENERATOR = (
    "transformer", "controlnet", "vae", "scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2",
)  # fmt: skip
"""The folders of the generator's parts."""
SD_PARTS = ("unet", "controlnet", "vae", "scheduler", "text_encoder", "tokenizer")
"""The folders of Stable Diffusion's parts."""
MASK_MODELS = {"street": "segmentation-street", "planet": "segmentation-world"}
"""The model that finds the nouns of each scene of the closed grammar; its classes are called as they are."""
TEXT = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")


def part_folders(session: Session) -> dict[str, Path]:
    """Return the folder of each of the generator's parts: the user's own, else the bundle's, else the profile's."""
    name, profile = session.codec.profile, session.profile
    if session.codec.generator == "sd21":
        return _sd_folders(session)
    whole = place(name, "generator", profile.generator, WEIGHTS / "tiny")
    folders = {part: whole / part for part in GENERATOR}
    if profile.generator is None:
        held = {part: bundled(profile.bundle, f"generator/{part}") for part in GENERATOR}
        folders |= {part: folder for part, folder in held.items() if folder is not None}
    for part in ("transformer", "controlnet", "vae"):
        own = getattr(profile, part)
        if own is not None:
            folders[part] = Path(own)
    if profile.text is not None:
        folders |= {part: Path(profile.text) / part for part in TEXT}
    return folders


def _sd_folders(session: Session) -> dict[str, Path]:
    profile = session.profile
    whole = Path(profile.generator) if profile.generator else home() / "sd21" / "generator"
    own = {"controlnet": profile.controlnet, "vae": profile.vae}
    return {part: Path(own.get(part) or whole / part) for part in SD_PARTS}


def finds_any_words(session: Session) -> bool:
    """Return whether CLIPSeg looks for named objects, not the shipped models for their own nouns."""
    return session.codec.profile == "flux" or session.profile.mask_finder is not None


def mask_finder_places(session: Session) -> dict[str, Path]:
    """Return where what finds named objects in a decoded picture lies; nothing where none are named.

    DynDiff asks it as well how well picture and text agree.
    """
    codec = session.codec
    if codec.caption == "none" or not (codec.objects or codec.adaptive):
        return {}
    if finds_any_words(session):
        return {"mask_finder": place("flux", "mask-finder", session.profile.mask_finder, WEIGHTS)}
    return {f"mask_finder_{scene}": analyst.place(name) for scene, name in MASK_MODELS.items()}


def dyndiff_place(session: Session) -> Path | None:
    """Return where lies what foretells steps and guidance; None: they are fixed.

    Raise UsageError where they are to be foretold and no folder is named: none comes with farlink.
    """
    if not session.codec.adaptive:
        return None
    if session.profile.dyndiff is None:
        raise UsageError(
            "codec.adaptive needs profile.dyndiff=DIR, as farlink train dyndiff leaves it: none comes with farlink"
        )
    return Path(session.profile.dyndiff)


def of_sggic(session: Session) -> dict[str, Path]:
    """Return where everything lies that SGGIC's decoder loads."""
    foretold = dyndiff_place(session)
    own = {} if foretold is None else {"dyndiff": foretold}
    return {**of_gsc(session), **mask_finder_places(session), **own}


def of_gsc(session: Session) -> dict[str, Path]:
    """Return where everything lies that GSC's decoder loads: transform, the generator's parts, the user's additions."""
    profile = session.profile
    added = {"lora": profile.lora, "preview_vae": profile.preview_vae}
    return {
        "transform": transform_folder(session),
        **part_folders(session),
        **{part: Path(own) for part, own in added.items() if own is not None},
    }
