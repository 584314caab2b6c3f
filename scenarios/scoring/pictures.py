"""Scores of pictures, in one table: against the sent picture, by themselves, and of the whole set.

A row of EACH or TOGETHER is all that a score is: summary, tables, report, curves and `compare` read what it is called,
which way is better and how it is computed from there.

Nothing is downloaded. A score whose weights are not on this machine is None, and the notes say what is missing and
where it belongs: below `link.models.home()`, or with torch's own checkpoints.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from link import models
from link.frame import Pixels
from scenarios.scoring import niqe, quality, sets
from scenarios.scoring.clip import clip

VGG16 = "vgg16-397923af.pth"
"""torchvision's name for it; the last part begins its SHA-256."""
_BATCH_PIXELS = 1_000_000  # VGG's first stage holds 64 numbers for each: 256 MB

Values = list[float | None]


def _any_size(height: int, width: int) -> str | None:
    return None


@dataclass(frozen=True)
class PictureScore:
    """A score of each received picture."""

    compute: Callable[[Sequence[Pixels], Sequence[Pixels]], Values]
    """Of sent and received pictures of one size."""
    missing: Callable[[], str | None]
    """Why it cannot be had on this machine, or None."""
    too_small: Callable[[int, int], str | None]
    """Why pictures of this height and width have none, or None."""
    higher_is_better: bool
    label: str
    """What people call it."""
    unit: str = ""
    digits: int = 3
    """After the point, where it is printed."""
    optional: bool = False
    """Whether its weights are the user's to bring, so that a page need not say that it is missing."""
    reading: str = ""
    """How its values are read, in a few words."""
    undefined: str = "not defined for some pictures"
    """Why a picture of the right size may have none."""

    def text(self, value: float) -> str:
        """Return *value* as it is printed: `25.0 dB`."""
        return f"{value:.{self.digits}f}" + (f" {self.unit}" if self.unit else "")

    @property
    def axis(self) -> str:
        """What stands at an axis: `PSNR in dB`, `LPIPS (lower is better)`."""
        return _axis(self)


@dataclass(frozen=True)
class SetScore:
    """A score of all received pictures together."""

    compute: Callable[[sets.Features, sets.Features, int], float]
    """Of the features of sent and received pictures, and a seed."""
    features: Callable[[Sequence[Pixels]], sets.Features]
    missing: Callable[[], str | None]
    """Why the features cannot be had on this machine, or None."""
    label: str
    too_small: Callable[[int, int], str | None] = _any_size
    """Why pictures of this height and width have none, or None."""
    higher_is_better: bool = False
    unit: str = ""
    digits: int = 3
    optional: bool = True

    def text(self, value: float) -> str:
        """Return *value* as it is printed."""
        return f"{value:.{self.digits}f}"

    @property
    def axis(self) -> str:
        """What stands at an axis."""
        return _axis(self)


def _axis(score: "PictureScore | SetScore") -> str:
    unit = f" in {score.unit}" if score.unit else ""
    return score.label + unit + ("" if score.higher_is_better else " (lower is better)")


def table() -> "dict[str, PictureScore | SetScore]":
    """Return every score by its name: those of each picture, then those of a set."""
    return {**EACH, **TOGETHER}


@dataclass(frozen=True)
class PictureScores:
    """What measure() found."""

    by_picture: Mapping[str, tuple[float | None, ...]]
    of_set: Mapping[str, float | None]
    notes: Mapping[str, str]
    """Why scores are missing, by name."""


def measure(
    sent: Sequence[Pixels], received: Sequence[Pixels], names: Sequence[str], seed: int
) -> PictureScores:
    """Score the pictures *received* against those *sent*, each (H, W, 3); *names* are of EACH or TOGETHER.

    *seed* draws KID's subsets. Raise ValueError for an unknown name, and where a pair differs in size.
    """
    unknown = sorted(set(names) - set(EACH) - set(TOGETHER))
    if unknown:
        raise ValueError(f"no picture score {unknown[0]!r}: choose from {', '.join((*EACH, *TOGETHER))}")
    _check_pairs(sent, received)
    notes: dict[str, str] = {}
    by_picture = {name: tuple(_each(name, sent, received, notes)) for name in EACH if name in names}
    return PictureScores(by_picture, _together(names, sent, received, seed, notes), notes)


def _check_pairs(sent: Sequence[Pixels], received: Sequence[Pixels]) -> None:
    if len(sent) != len(received):
        raise ValueError(f"{len(sent)} pictures sent and {len(received)} received: pairs expected")
    for number, (one, other) in enumerate(zip(sent, received, strict=True)):
        if one.shape != other.shape:
            sizes = [f"{picture.shape[1]}x{picture.shape[0]}" for picture in (one, other)]
            raise ValueError(f"picture {number} was sent as {sizes[0]} and came back as {sizes[1]}")


def _each(name: str, sent: Sequence[Pixels], received: Sequence[Pixels], notes: dict[str, str]) -> Values:
    score = EACH[name]
    why = score.missing()
    if why:
        notes[name] = why
        return [None] * len(sent)
    scores: Values = []
    for first, last in _alike(sent):
        why = score.too_small(*sent[first].shape[:2])
        if why:
            notes.setdefault(name, why)
            scores += [None] * (last - first)
            continue
        values = score.compute(sent[first:last], received[first:last])
        if None in values:
            notes.setdefault(name, score.undefined)
        scores += values
    return scores


def _together(
    names: Sequence[str], sent: Sequence[Pixels], received: Sequence[Pixels], seed: int, notes: dict[str, str]
) -> dict[str, float | None]:
    def of_pictures(name: str) -> tuple[sets.Features, sets.Features]:
        features = TOGETHER[name].features
        if features not in kept:
            kept[features] = features(sent), features(received)
        return kept[features]

    kept: dict[Any, tuple[sets.Features, sets.Features]] = {}
    wanted = [name for name in TOGETHER if name in names]
    return together(wanted, [picture.shape[:2] for picture in sent], of_pictures, seed, notes)


def together(
    names: Sequence[str],
    sizes: Sequence[tuple[int, ...]],
    of_pictures: Callable[[str], tuple[sets.Features, sets.Features]],
    seed: int,
    notes: dict[str, str],
) -> dict[str, float | None]:
    """Return the scores *names* of a set of pictures of *sizes*, (height, width); what is missing is said in *notes*.

    *of_pictures* gives the features of the sent and of the received pictures for a score that can be had.
    """
    scores: dict[str, float | None] = {}
    for name in names:
        why = TOGETHER[name].missing()
        if len(sizes) < 2:
            why = why or f"a set of {len(sizes)} has no spread to compare: two pictures or more are needed"
        for height, width in dict.fromkeys(sizes):
            why = why or TOGETHER[name].too_small(height, width)
        if why:
            notes[name], scores[name] = why, None
        else:
            scores[name] = TOGETHER[name].compute(*of_pictures(name), seed)
    return scores


def _alike(pictures: Sequence[Pixels]) -> Iterator[tuple[int, int]]:
    """Yield (first, last + 1) of neighbours of one size, at most _BATCH_PIXELS together."""
    first = 0
    for number in range(1, len(pictures) + 1):
        height, width = pictures[first].shape[:2]
        full = (number - first + 1) * height * width > _BATCH_PIXELS
        if number == len(pictures) or full or pictures[number].shape != pictures[first].shape:
            yield first, number
            first = number


# Where weights lie, and why a score cannot be had


def inception_path() -> Path:
    """Return where FID's and KID's weights belong."""
    return models.home() / "scores" / "inception" / sets.INCEPTION


def clip_folder() -> Path:
    """Return where the CLIP model belongs, in transformers' layout."""
    return models.home() / "scores" / "clip"


def niqe_path() -> Path | None:
    """Return NIQE's model, an .npz or the published .mat; None where there is none."""
    folder = models.home() / "scores" / "niqe"
    places = (folder / "niqe.npz", folder / "niqe_image_params.mat")
    return next((place for place in places if place.is_file()), None)


def vgg16_path() -> Path:
    """Return where torch keeps VGG16's weights."""
    from torch.hub import get_dir

    return Path(get_dir()) / "checkpoints" / VGG16


def own_weights() -> list[Path]:
    """Return the weights that the user brought: files and folders."""
    niqe_model = niqe_path()
    places = [inception_path(), clip_folder(), vgg16_path(), *([niqe_model] if niqe_model else [])]
    return [path for path in places if path.exists()]


def inception_missing() -> str | None:
    """Return why there is no FID and KID here, or None."""
    return _file_missing(inception_path(), "Inception")


def vgg16_missing() -> str | None:
    """Return why there is no DISTS here, or None: torchmetrics would download what is not there."""
    return _file_missing(vgg16_path(), "VGG16")


def clip_missing() -> str | None:
    """Return why there is no CLIP similarity and CLIP-IQA here, or None."""
    folder = clip_folder()
    here = (folder / "config.json").is_file()
    return None if here else f"no CLIP model on this machine: it belongs in {folder}"


def niqe_missing() -> str | None:
    """Return why there is no NIQE here, or None."""
    folder = models.home() / "scores" / "niqe"
    return None if niqe_path() else f"no NIQE model on this machine: niqe.npz belongs in {folder}"


def _file_missing(path: Path, name: str) -> str | None:
    try:
        about = path.stat()
        whole = _whole(path, about.st_size, about.st_mtime_ns)
    except OSError:
        return f"the {name} weights are not on this machine: they belong in {path}"
    return None if whole else f"the {name} weights on this machine are damaged: {path}"


@cache
def _whole(path: Path, size: int, changed_ns: int) -> bool:
    """Return whether the SHA-256 of *path* begins as its name says; a file of another size or time is read anew."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(path.stem.rpartition("-")[2])


# The scores


def _psnr(sent: Sequence[Pixels], received: Sequence[Pixels]) -> Values:
    return [quality.psnr_db(a, b) for a, b in zip(sent, received, strict=True)]


def _numbered(sent: Sequence[Pixels], received: Sequence[Pixels]) -> list[quality.Pair]:
    return [(number, a, b) for number, (a, b) in enumerate(zip(sent, received, strict=True))]


def _ms_ssim(sent: Sequence[Pixels], received: Sequence[Pixels]) -> Values:
    return [*quality.ms_ssim(_numbered(sent, received))]


def _lpips(sent: Sequence[Pixels], received: Sequence[Pixels]) -> Values:
    return [*quality.lpips_alex(_numbered(sent, received))]


def _dists(sent: Sequence[Pixels], received: Sequence[Pixels]) -> Values:
    """DISTS (Ding et al. 2020), with torchmetrics' network and the published weights that come with it."""
    import torch

    def tensors(pictures: Sequence[Pixels]) -> Any:
        return torch.stack([torch.from_numpy(picture) for picture in pictures]).permute(0, 3, 1, 2) / 255.0

    with torch.inference_mode():
        return [*_dists_network()(tensors(received), tensors(sent)).reshape(-1).tolist()]


@cache
def _dists_network() -> Any:
    from torchmetrics.functional.image.dists import DISTSNetwork

    return DISTSNetwork().eval()


def _clip_similarity(sent: Sequence[Pixels], received: Sequence[Pixels]) -> Values:
    return [*clip(clip_folder()).similarity(sent, received)]


def _clip_iqa(_: Sequence[Pixels], received: Sequence[Pixels]) -> Values:
    return [*clip(clip_folder()).quality(received)]


def _niqe(_: Sequence[Pixels], received: Sequence[Pixels]) -> Values:
    path = niqe_path()
    assert path is not None
    model = niqe.NiqeModel.load(path)
    return [model.score(picture) for picture in received]


def _inception(pictures: Sequence[Pixels]) -> sets.Features:
    return sets.inception_features(pictures, inception_path())


def _always() -> str | None:
    return None


EACH: dict[str, PictureScore] = {
    "psnr_db": PictureScore(
        _psnr, _always, _any_size, True, "PSNR", "dB", 1,
        reading="compares pixel by pixel (30 dB looks good, 20 dB is coarse)",
        undefined="a picture is identical: its PSNR is infinite and left out",
    ),
    "ms_ssim": PictureScore(
        _ms_ssim, _always, quality.ms_ssim_too_small, True, "MS-SSIM",
        reading="compares structure (1 is identical)",
    ),
    "lpips": PictureScore(
        _lpips, quality.alexnet_missing, quality.lpips_too_small, False, "LPIPS",
        reading="compares what a network sees (0 is identical)",
    ),
    "dists": PictureScore(
        _dists, vgg16_missing, _any_size, False, "DISTS", optional=True,
        reading="compares structure and texture (0 is identical)",
    ),
    "clip_similarity": PictureScore(
        _clip_similarity, clip_missing, _any_size, True, "CLIP similarity", optional=True,
        reading="compares content (1 is the same)",
    ),
    "niqe": PictureScore(
        _niqe, niqe_missing, niqe.too_small, False, "NIQE", optional=True,
        reading="tells how natural a picture looks by itself",
        undefined="a picture is flat: it has no NIQE",
    ),
    "clip_iqa": PictureScore(
        _clip_iqa, clip_missing, _any_size, True, "CLIP-IQA", optional=True,
        reading="tells how good a picture looks by itself (0 to 1)",
    ),
}  # fmt: skip
"""The scores of each picture: a new one is a row here."""
TOGETHER: dict[str, SetScore] = {
    "fid": SetScore(lambda a, b, _: sets.fid(a, b), _inception, inception_missing, "FID"),
    "kid": SetScore(sets.kid, _inception, inception_missing, "KID"),
    "kid_alexnet": SetScore(
        sets.kid,
        sets.alexnet_features,
        quality.alexnet_missing,
        "KID on AlexNet",
        quality.lpips_too_small,
        optional=False,
    ),
}
"""The scores of a set: a new one is a row here."""
