"""GSC beside the classical codecs at the same bytes, on labelled pictures: a table, and a grid of pictures.

    python tests/bench/codecs.py camvid/test --out OUT

For each number of channels C the pictures are sent with GSC, loss-free, and with each classical codec at a budget of
GSC's mean bytes (they search quality and scale for their best). Bytes are those of all sections. PSNR and MS-SSIM
compare with the original; `mIoU` is the shipped analysis model's on what was received, against the true labels;
`feature distance` is the kernel distance (KID's polynomial kernel, Binkowski et al. 2018) between the sets of received
and original pictures, x 1000, on that model's features: no Inception or AlexNet weights come with farlink, so no FID
and no LPIPS. The judge shares nothing with the model that writes GSC's captions. Files on disk, not packets: headers
and repair come on top of every codec alike.
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

from link.config import Session
from link.errors import UsageError
from link.frame import Frame, Pixels
from receiver.analysis.analyst import SHIPPED
from receiver.analysis.segmentation import SegmentationModel
from receiver.codecs import DECODERS
from scenarios.training.data import Pictures
from sender.captioner import UNKNOWN
from sender.codecs import ENCODERS

SIZE = (256, 192)
COUNTS = (0, 1, 2, 4, 8, 16)
CLASSICAL = ("jpeg2000", "webp", "avif")
SHOWN = 4
"""Pictures in the grid."""
CLASSES = 11


@dataclass
class Result:
    """What one codec came to at one setting."""

    name: str
    bytes: float
    received: list[Pixels]
    scores: dict[str, float]


def session(**codec: Any) -> Session:
    """Return a session of one lossless hop."""
    return Session.model_validate(
        {
            "name": "bench",
            "camera": {"width": SIZE[0], "height": SIZE[1]},
            "codec": {"frame_bytes": 1_000_000, **codec},
            "link": {"hops": [{"name": "hop", "rate_bps": 1e6}]},
        }
    )


def send(plan: Session, pictures: list[Pixels]) -> tuple[float, list[Pixels]]:
    """Return mean payload bytes and the received pictures. Raise UsageError where the budget is too small."""
    encoder, decoder = ENCODERS[plan.codec.name](plan), DECODERS[plan.codec.name](plan)
    sizes, received = [], []
    for number, pixels in enumerate(pictures):
        payload = encoder.encode(Frame(number, 0, pixels, str(number)))
        shown = decoder.decode(payload)
        assert shown is not None
        sizes.append(payload.size_bytes)
        received.append(shown)
    return float(np.mean(sizes)), received


class Judge:
    """Scores received pictures against the originals and their labels."""

    def __init__(self, originals: list[Pixels], labels: list[Any] | None) -> None:
        self._segmenter = SegmentationModel(SHIPPED / "segmentation-street")
        self._originals, self._labels = originals, labels
        self._features = self._of(originals)

    def __call__(self, received: list[Pixels]) -> dict[str, float]:
        """Return the scores of *received*."""
        one, other = (_tensor(self._originals), _tensor(received))
        error = (one - other).square().flatten(1).mean(1)
        scores = {
            "psnr_db": float((10 * (255**2 / error).log10()).mean()),
            "ms_ssim": float(ms_ssim(other, one, data_range=255)),
            "distance": 1000 * kernel_distance(self._of(received), self._features),
        }
        found = [self._segmenter.find(pixels).labels for pixels in received]
        if self._labels is not None:
            scores["miou"] = miou(self._labels, found)
        return scores

    @torch.inference_mode()
    def _of(self, pictures: list[Pixels]) -> torch.Tensor:
        model, processor = self._segmenter._model, self._segmenter._processor
        rows = []
        for pixels in pictures:
            given = processor(images=pixels.copy(), return_tensors="pt")["pixel_values"]
            maps = model.backbone(given).feature_maps
            rows.append(torch.cat([part.mean((2, 3)) for part in maps[-2:]], 1)[0])
        return torch.stack(rows)


def kernel_distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the unbiased squared maximum mean discrepancy with the kernel (x.y / d + 1)^3."""
    one, other = one.double(), other.double()

    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: torch.Tensor) -> float:
        whole = kernel(a, a)
        return float((whole.sum() - whole.trace()) / (len(a) * (len(a) - 1)))

    return within(one) + within(other) - 2 * float(kernel(one, other).mean())


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
        "| | bytes | PSNR dB | MS-SSIM | feature distance | mIoU % |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    for result in results:
        scores = result.scores
        figures = [f"{scores['psnr_db']:.2f}", f"{scores['ms_ssim']:.3f}", f"{scores['distance']:.1f}"]
        figures.append(f"{100 * scores['miou']:.1f}" if "miou" in scores else "")
        lines.append(f"| {result.name} | {result.bytes:.0f} | {' | '.join(figures)} |")
    return "\n".join(lines)


def draw(originals: list[Pixels], results: list[Result]) -> Image.Image:
    """Return a grid: a row for the originals and for each result, its name and bytes at the left."""
    at = np.linspace(0, len(originals) - 1, SHOWN).round().astype(int)
    wide, high, left = 192, 144, 118
    rows = [("original", originals), *((f"{r.name}\n{r.bytes:.0f} bytes", r.received) for r in results)]
    sheet = Image.new("RGB", (left + SHOWN * (wide + 4), len(rows) * (high + 4)), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    for row, (name, pictures) in enumerate(rows):
        pen.text((8, row * (high + 4) + 60), name, fill=(27, 31, 36), font_size=14)
        for column, index in enumerate(at):
            small = Image.fromarray(pictures[index]).resize((wide, high), Image.Resampling.LANCZOS)
            sheet.paste(small, (left + column * (wide + 4), row * (high + 4)))
    return sheet


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
    parser.add_argument("--gsc-only", action="store_true")
    given = parser.parse_args()
    files = Pictures.open(given.pictures)
    chosen = np.linspace(0, len(files) - 1, min(len(files), given.frames or len(files))).round().astype(int)
    cuts = [files.whole(int(index), SIZE) for index in chosen]
    originals = [cut.pixels for cut in cuts]
    labels = None
    if cuts[0].labels is not None:
        labels = [
            np.where(cut.labels < CLASSES, cut.labels, UNKNOWN) for cut in cuts if cut.labels is not None
        ]
    judge = Judge(originals, labels)
    results = [Result("original", 0.0, originals, {**judge(originals), "psnr_db": float("inf")})]
    for count in given.channels:
        plan = session(name="gsc", channels=count, order=given.order)
        size, received = send(plan, originals)
        results.append(Result(f"GSC C={count}", size, received, judge(received)))
        print(table(results[-1:]).splitlines()[-1], flush=True)
        for name in () if given.gsc_only else CLASSICAL:
            try:
                used, received = send(session(name=name, frame_bytes=max(1, round(size))), originals)
            except UsageError:
                print(f"| {name} | cannot go down to {size:.0f} bytes |", flush=True)
                continue
            results.append(Result(name, used, received, judge(received)))
            print(table(results[-1:]).splitlines()[-1], flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "table.md").write_text(table(results) + "\n")
    draw(originals, results[1:]).save(given.out / "grid.png")
    found = [{"name": r.name, "bytes": r.bytes, **r.scores} for r in results]
    (given.out / "results.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
