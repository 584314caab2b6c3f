"""Each stage of GSC beside the classical codecs at the same bytes, on labelled pictures: a table, a grid of pictures.

    python tests/bench/codecs.py camvid/test --out OUT
    python tests/bench/codecs.py camvid/train --only 0006R0 --out OUT

The stages: the VAE alone, which bounds what the generator can show; for each number of channels C the transform's own
synthesis of them, GSC as a session shows it, loss-free, and each classical codec at a budget of GSC's mean bytes (they
search quality and scale for their best). Bytes are those of all sections. PSNR, MS-SSIM and LPIPS (AlexNet) compare
with the original; KID is the kernel distance (Binkowski et al. 2018) between the sets of received and original
pictures, x 1000, on AlexNet's features, not Inception's; `mIoU` is the shipped analysis model's on what was received,
against the true labels. The judge shares nothing with the model that writes GSC's captions. Files on disk, not
packets: headers and repair come on top of every codec alike. `--vae DIR` shows what another VAE makes of it all.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from pytorch_msssim import ms_ssim

from link import transform
from link.analysis.analyst import SHIPPED
from link.analysis.segmentation import SegmentationModel
from link.config import Session
from link.errors import UsageError
from link.frame import Frame, Pixels
from link.models import transform_folder
from receiver.codecs import DECODERS
from receiver.folders import part_folders
from receiver.generator import decode, encode, to_pixels
from receiver.transform import Synthesis
from scenarios.scoring import pictures, quality
from scenarios.training.data import Pictures
from scenarios.training.request import load
from sender.captioner import UNKNOWN
from sender.codecs import ENCODERS

SIZE = (256, 192)
COUNTS = (0, 1, 2, 4, 8, 16, 32)
CLASSICAL = ("jpeg2000", "webp", "avif")
SHOWN = 4
"""Pictures in the grid."""
CLASSES = 11


@dataclass
class Result:
    """What one codec came to at one setting."""

    name: str
    bytes: float | None
    """None where nothing is sent."""
    received: list[Pixels]
    scores: dict[str, float]


def session(profile: dict[str, Any] | None = None, **codec: Any) -> Session:
    """Return a session of one lossless hop."""
    return Session.model_validate(
        {
            "name": "bench",
            "camera": {"width": SIZE[0], "height": SIZE[1]},
            "codec": {"frame_bytes": 1_000_000, **codec},
            "profile": profile or {},
            "link": {"hops": [{"name": "hop", "rate_bps": 1e6}]},
        }
    )


def send(plan: Session, originals: list[Pixels]) -> tuple[float, list[Pixels]]:
    """Return mean payload bytes and the received pictures. Raise UsageError where the budget is too small."""
    encoder, decoder = ENCODERS[plan.codec.name](plan), DECODERS[plan.codec.name](plan)
    sizes, received = [], []
    for number, pixels in enumerate(originals):
        payload = encoder.encode(Frame(number, 0, pixels, str(number)))
        shown = decoder.decode(payload)
        assert shown is not None
        sizes.append(payload.size_bytes)
        received.append(shown)
    return float(np.mean(sizes)), received


@torch.inference_mode()
def through_vae(plan: Session, originals: list[Pixels]) -> list[Pixels]:
    """Return what the receiver's VAE makes of *originals*: the generator cannot show more."""
    from diffusers import AutoencoderKL

    vae = load(AutoencoderKL, part_folders(plan)["vae"], torch_dtype=torch.float32).eval()
    seen = (_tensor([pixels]) / 255 for pixels in originals)
    return [to_pixels(decode(vae, encode(vae, one))[0]) for one in seen]


@torch.inference_mode()
def synthesised(plan: Session, originals: list[Pixels], count: int) -> list[Pixels]:
    """Return the transform's own synthesis of the first *count* channels, without the generator."""
    folder = transform_folder(plan)
    analysis, synthesis = transform.load(folder, "analysis"), Synthesis.from_pretrained(folder)
    received = []
    for pixels in originals:
        maps = analysis(_tensor([pixels]) / 255)[0].round().to(torch.int32).numpy()
        maps[count:] = 0
        received.append(to_pixels(synthesis(maps)))
    return received


class Judge:
    """Scores received pictures against the originals and their labels, the shipped model looking at them."""

    def __init__(self, originals: list[Pixels], labels: list[Any] | None) -> None:
        self._segmenter = SegmentationModel(SHIPPED / "segmentation-street")
        self._originals, self._labels = originals, labels

    def __call__(self, received: list[Pixels]) -> dict[str, float]:
        """Return the scores of *received*."""
        one, other = (_tensor(self._originals), _tensor(received))
        error = (one - other).square().flatten(1).mean(1)
        pairs = [(at, *both) for at, both in enumerate(zip(self._originals, received, strict=True))]
        distance = pictures.measure(self._originals, received, ["kid_alexnet"], 1).of_set["kid_alexnet"]
        assert distance is not None
        scores = {
            "psnr_db": float((10 * (255**2 / error).log10()).mean()),
            "ms_ssim": float(ms_ssim(other, one, data_range=255)),
            "lpips": float(np.mean(quality.lpips_alex(pairs))),
            "kid_alexnet": 1000 * distance,
        }
        found = [self._segmenter.find(pixels).labels for pixels in received]
        if self._labels is not None:
            scores["miou"] = miou(self._labels, found)
        return scores


def miou(labels: list[Any], found: list[Any]) -> float:
    """Return the mean over classes of intersection over union, over all pictures together."""
    truth, guess = np.stack(labels), np.stack(found)
    known = truth < CLASSES
    ious = []
    for number in range(CLASSES):
        union = known & ((truth == number) | (guess == number))
        if (truth == number).any():
            ious.append(float((union & (truth == guess)).sum() / union.sum()))
    return float(np.mean(ious))


def _tensor(pictures: list[Pixels]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float()


def table(results: list[Result]) -> str:
    """Return the results in Markdown."""
    lines = [
        "| | bytes | PSNR dB | MS-SSIM | LPIPS | KID | mIoU % |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    for result in results:
        scores = result.scores
        figures = [f"{scores['psnr_db']:.2f}", f"{scores['ms_ssim']:.3f}", f"{scores['lpips']:.3f}"]
        figures.append(f"{scores['kid_alexnet']:.1f}")
        figures.append(f"{100 * scores['miou']:.1f}" if "miou" in scores else "")
        size = "" if result.bytes is None else f"{result.bytes:.0f}"
        lines.append(f"| {result.name} | {size} | {' | '.join(figures)} |")
    return "\n".join(lines)


def draw(originals: list[Pixels], results: list[Result]) -> Image.Image:
    """Return a grid: a row for the originals and for each result, its name and bytes at the left."""
    at = np.linspace(0, len(originals) - 1, SHOWN).round().astype(int)
    wide, high, left = 192, 144, 118
    rows = [("original", originals), *((_caption(r), r.received) for r in results)]
    sheet = Image.new("RGB", (left + SHOWN * (wide + 4), len(rows) * (high + 4)), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    for row, (name, images) in enumerate(rows):
        pen.text((8, row * (high + 4) + 60), name, fill=(27, 31, 36), font_size=14)
        for column, index in enumerate(at):
            small = Image.fromarray(images[index]).resize((wide, high), Image.Resampling.LANCZOS)
            sheet.paste(small, (left + column * (wide + 4), row * (high + 4)))
    return sheet


def _caption(result: Result) -> str:
    return result.name if result.bytes is None else f"{result.name}\n{result.bytes:.0f} bytes"


def main() -> None:
    """Print the table and write table.md, results.json and grid.png."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", type=Path, help="a folder of pictures, its labels in FOLDER_labels")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=None, help="evenly chosen; default: all")
    parser.add_argument("--order", choices=("nested", "ssim"), default="nested")
    parser.add_argument("--channels", type=int, nargs="*", default=COUNTS)
    parser.add_argument("--gsc-only", action="store_true", help="no classical codecs")
    parser.add_argument(
        "--only", metavar="PREFIX", help="pictures whose names begin so: one drive of several"
    )
    parser.add_argument("--steps", type=int, default=8, help="of the generator")
    parser.add_argument("--vae", type=Path, help="another VAE than the shipped")
    parser.add_argument("--shown", nargs="*", help="rows of the grid by name; default: all")
    given = parser.parse_args()
    files = Pictures.open(given.pictures, only=given.only)
    chosen = np.linspace(0, len(files) - 1, min(len(files), given.frames or len(files))).round().astype(int)
    cuts = [files.whole(int(index), SIZE) for index in chosen]
    originals = [cut.pixels for cut in cuts]
    labels = None
    if cuts[0].labels is not None:
        labels = [
            np.where(cut.labels < CLASSES, cut.labels, UNKNOWN) for cut in cuts if cut.labels is not None
        ]
    judge = Judge(originals, labels)
    results: list[Result] = []

    def note(name: str, size: float | None, received: list[Pixels]) -> None:
        results.append(Result(name, size, received, judge(received)))
        print(table(results[-1:]).splitlines()[-1], flush=True)

    profile = {} if given.vae is None else {"vae": str(given.vae)}
    gsc = {"name": "gsc", "order": given.order, "steps": given.steps}
    note("original", None, originals)
    note("VAE alone", None, through_vae(session(profile, **gsc), originals))
    for count in given.channels:
        plan = session(profile, **gsc, channels=count)
        size, received = send(plan, originals)
        if count and given.order == "nested":
            note(f"synthesis C={count}", size, synthesised(plan, originals, count))
        note(f"GSC C={count}", size, received)
        for name in () if given.gsc_only else CLASSICAL:
            try:
                used, received = send(session(name=name, frame_bytes=max(1, round(size))), originals)
            except UsageError:
                print(f"| {name} | cannot go down to {size:.0f} bytes |", flush=True)
                continue
            note(name, used, received)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "table.md").write_text(table(results) + "\n")
    shown = [r for r in results[1:] if given.shown is None or r.name in given.shown]
    draw(originals, shown).save(given.out / "grid.png")
    found = [{"name": r.name, "bytes": r.bytes, **r.scores} for r in results]
    (given.out / "results.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
