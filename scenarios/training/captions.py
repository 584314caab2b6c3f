"""The captions that the caption coder learns from: ImageInWords' files, the domain's answers in folds."""

import hashlib
import json
from pathlib import Path
from typing import Any

DOMAIN = "gpt4_turbo_clic2020.jsonl"
GENERAL = ("CM_3600", "DCI_Test", "DOCCI_Test", "IIW-400", "LocNar_Eval")
FOLDS = 4
TEST = FOLDS
"""The fold that is never trained on."""


def answer(row: dict[str, Any]) -> str:
    """Return an answer's objects, details and overall caption as one text."""
    return "\n".join([*row["objects"], *row["details"], row["overall"]])


def fold_of(image: str) -> int:
    """Return the fold of a picture's answer: every fifth, by hash, is `TEST`."""
    if int(hashlib.sha256(image.encode()).hexdigest(), 16) % 5 == 0:
        return TEST
    return int(hashlib.sha256(f"f{image}".encode()).hexdigest(), 16) % FOLDS


def domain(folder: Path) -> list[tuple[int, str, str]]:
    """Return fold, overall caption and whole answer of each answer."""
    rows = map(json.loads, (folder / DOMAIN).read_text().splitlines())
    return [(fold_of(row["image"]), row["overall"], answer(row)) for row in rows]


def general(folder: Path) -> list[str]:
    """Return the descriptions in the ImageInWords files, their objects as lines of names and details."""
    texts = []
    for name in GENERAL:
        for row in map(json.loads, (folder / f"iiw_{name}.jsonl").read_text().splitlines()):
            texts += [row[key] for key in ("IIW", "IIW-P5B", "DOCCI") if isinstance(row.get(key), str)]
            if objects := row.get("objects"):
                names = [thing["label"] for thing in objects]
                texts.append(
                    "\n".join(names + [f"{thing['label']}: {thing['description']}" for thing in objects])
                )
    return texts
