"""`farlink doctor`: what is installed, and what is missing for which profile."""

import importlib.util
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer

from scenarios.commands.options import Json, clean_errors
from scenarios.commands.printing import show, show_json

_NEEDS = {
    "every run": ("numpy", "pillow", "simpy", "pyzmq", "pydantic", "raptorq", "mcap", "duckdb", "matplotlib"),
    "video and webcam sources": ("av",),
    "ccsds framing": ("spacepackets",),
    "picture metrics": ("torch", "pytorch-msssim", "lpips"),
    "learned codecs": ("torch", "torchvision", "compressai", "diffusers", "transformers"),
    "live page": ("aiohttp",),
    "farlink[cluster]": ("ray",),
    "farlink[foxglove]": ("foxglove-sdk",),
    "farlink[rerun]": ("rerun-sdk", "pyarrow"),
    "farlink[rosbag]": ("rosbags",),
    "farlink[screen]": ("mss",),
}
_OPTIONAL = {purpose for purpose in _NEEDS if purpose.startswith("farlink[")}


def report() -> tuple[list[str], bool]:
    """Return the lines to print, and whether all that farlink itself needs is there."""
    lines = [
        f"farlink {_version('farlink') or 'not installed'}, Python {sys.version.split()[0]} on {platform.platform()}"
    ]
    healthy = True
    for purpose, packages in _NEEDS.items():
        missing = [name for name in packages if _version(name) is None]
        if missing and purpose not in _OPTIONAL:
            healthy = False
        hint = f"pip install {purpose}" if purpose in _OPTIONAL else f"pip install {' '.join(missing)}"
        lines.append(
            f"{'--' if missing else 'ok':4}{purpose:26}{'missing: ' + hint if missing else _list(packages)}"
        )
    lines += _pictures()
    lines.append(_lpips())
    lines.append(_gpu())
    lines += _profiles()
    tshark = shutil.which("tshark")
    lines.append(
        f"{'ok' if tshark else '--':4}{'reading exported pcap':26}{tshark or 'tshark is not installed (optional)'}"
    )
    return lines, healthy


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _list(packages: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {_version(name)}" for name in packages)


def _pictures() -> list[str]:
    from PIL import features

    names = {"jpg_2000": "jpeg2000", "webp": "webp", "avif": "avif", "jpg": "jpeg"}
    have = [name for feature, name in names.items() if features.check(feature)]
    lack = [name for name in names.values() if name not in have]
    text = ", ".join(have) + (f"; this Pillow lacks {', '.join(lack)}" if lack else "")
    return [f"{'--' if lack else 'ok':4}{'classical codecs':26}{text}"]


def _lpips() -> str:
    if _version("torch") is None:
        return f"{'--':4}{'LPIPS weights':26}torch is not installed"
    from scenarios.scoring.quality import alexnet_missing

    missing = alexnet_missing()
    return f"{'--' if missing else 'ok':4}{'LPIPS weights':26}{missing or 'AlexNet, complete'}"


def _profiles() -> list[str]:
    from link.analysis.analyst import NAMES, SHIPPED
    from link.errors import ModelMissingError
    from scenarios.models import pull as models

    root = Path(__file__).parents[2]
    shipped = (
        "link/weights/tiny/config.json",
        "receiver/weights/tiny/transformer",
        "sender/weights/tiny/segmenter",
    )
    try:
        absent = {
            "profile tiny": [path for path in shipped if not (root / path).exists()],
            "analysis models": [name for name in NAMES if not (SHIPPED / name / "config.json").is_file()],
            "profile flux": models.find_missing("flux"),
        }
    except ModelMissingError as error:
        return [f"{'--':4}{'models':26}{error}"]
    again = "install farlink again"
    hints = {"profile flux": "optional: farlink models pull flux"}
    return [
        f"{'--' if gone else 'ok':4}{name:26}"
        + (f"missing: {', '.join(gone)} ({hints.get(name, again)})" if gone else "complete")
        for name, gone in absent.items()
    ]


def _gpu() -> str:
    if importlib.util.find_spec("torch") is None:
        return f"{'--':4}{'GPU':26}torch is not installed"
    import torch

    if torch.cuda.is_available():
        return f"{'ok':4}{'GPU':26}{torch.cuda.get_device_name(0)}"
    return f"{'--':4}{'GPU':26}none (nothing in this version needs one)"


def doctor(as_json: Json = False) -> None:
    """Say what is installed, and what is missing for which profile.

    Example: farlink doctor
    """
    with clean_errors(as_json):
        lines, healthy = report()
        if as_json:
            version, *checks = lines
            show_json({"version": version, "healthy": healthy, "checks": [_record(line) for line in checks]})
        else:
            show(lines)
    if not healthy:
        raise typer.Exit(1)


def _record(line: str) -> dict[str, object]:
    """Return a line of the report as an object: its first four columns say whether all is well, 26 of what."""
    return {"ok": line.startswith("ok"), "what": line[4:30].strip(), "detail": line[30:]}


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command()(doctor)
