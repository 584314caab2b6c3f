"""Put trained parts into the packages: `python -m scenarios.training.ship --from DIR`.

    DIR/transform/model                 -> link/weights/tiny      (both ends hash it into the fingerprint)
    DIR/segmenter/model                 -> sender/weights/tiny/segmenter
    DIR/{autoencoder,flow,control}/model -> receiver/weights/tiny; DIR/decoder, joint, shown take their place

What both ends hash, the transform, is stored as it is, all else in half precision. Each package's
SHA256SUMS lists what is under its weights; `farlink models verify` checks it.
"""

import argparse
import hashlib
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).parent.parent.parent

PARTS = {
    "transform/model": "link/weights/tiny",
    "segmenter/model": "sender/weights/tiny/segmenter",
    "autoencoder/model": "receiver/weights/tiny/vae",
    "flow/model/transformer": "receiver/weights/tiny/transformer",
    "flow/model/scheduler": "receiver/weights/tiny/scheduler",
    "flow/model/text_encoder": "receiver/weights/tiny/text_encoder",
    "flow/model/text_encoder_2": "receiver/weights/tiny/text_encoder_2",
    "flow/model/tokenizer": "receiver/weights/tiny/tokenizer",
    "flow/model/tokenizer_2": "receiver/weights/tiny/tokenizer_2",
    "control/model/controlnet": "receiver/weights/tiny/controlnet",
    "segmentation-street/model": "link/weights/analysis/segmentation-street",
    "segmentation-world/model": "link/weights/analysis/segmentation-world",
    "depth-world/model": "link/weights/analysis/depth-world",
    "detection-world/model": "link/weights/analysis/detection-world",
}
PLACE = re.compile(r' *"_name_or_path": "[^"]*",\n')
"""Where weights were loaded from on the machine that trained: nobody else has that place."""
HALVED = ("receiver/", "sender/", "link/weights/analysis")
LATER = {
    "flow/": ("shown/", "joint/"),
    "control/": ("shown/", "joint/"),
    "autoencoder/model": ("shown/model/vae", "decoder/model"),
}
"""How the keys of `PARTS` begin of which a later training makes another, and how those begin, the last one first."""


def ship(trained: Path, root: Path = ROOT) -> list[str]:
    """Copy what there is of `PARTS` under *trained* into the packages; return the places written."""
    written = []
    for source, target in PARTS.items():
        folder = locate(trained, source)
        if folder is not None:
            copy(folder, root / target, halve=target.startswith(HALVED))
            written.append(target)
    for package in ("link", "sender", "receiver"):
        list_sums(root / package / "weights")
    return written


def places(source: str) -> list[str]:
    """Return where the part *source*, a key of `PARTS`, may lie below a folder of trainings, the last made first."""
    for begin, later in LATER.items():
        if source.startswith(begin):
            return [*(f"{one}{source.removeprefix(begin)}" for one in later), source]
    return [source]


def locate(trained: Path, source: str) -> Path | None:
    """Return where the part *source*, a key of `PARTS`, lies under *trained*; None where it is not there."""
    return next((trained / place for place in places(source) if (trained / place).is_dir()), None)


def copy(folder: Path, place: Path, *, halve: bool) -> None:
    """Copy the weights and settings in *folder* to *place*; *halve* stores numbers in half precision."""
    place.mkdir(parents=True, exist_ok=True)
    for file in sorted(folder.iterdir()):
        if file.suffix == ".safetensors" and halve:
            weights = {
                name: value.to(torch.float16) if value.is_floating_point() else value
                for name, value in load_file(file).items()
            }
            save_file(weights, place / file.name, metadata={"format": "pt"})
        elif file.suffix == ".safetensors":
            shutil.copyfile(file, place / file.name)
        elif file.suffix == ".json":
            (place / file.name).write_text(PLACE.sub("", file.read_text()))


def list_sums(weights: Path) -> None:
    """Write SHA256SUMS over the weights and settings under *weights*."""
    files = sorted(path for path in weights.rglob("*") if path.suffix in (".safetensors", ".json"))
    if files:
        lines = [
            f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(weights).as_posix()}\n"
            for file in files
        ]
        (weights / "SHA256SUMS").write_text("".join(lines))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Put trained parts into the packages.")
    parser.add_argument(
        "--from", dest="trained", type=Path, required=True, help="where the parts were trained"
    )
    for place in ship(parser.parse_args().trained):
        print(place)


if __name__ == "__main__":
    main()
