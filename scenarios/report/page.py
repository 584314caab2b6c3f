"""One page that says what a run came to: pictures, packets, bytes, waiting, quality. It loads nothing.

Everything on it comes from the journal. Whatever a source or a scenario names is escaped by jinja2.
"""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from link.codecs import SYNTAXES
from link.codecs.syntax import PayloadSyntax
from link.journal import Run
from scenarios.drawing import Drawing
from scenarios.pages import make_data_uri
from scenarios.report import overlays
from scenarios.report.hop_words import hop_words, repair_words, return_words
from scenarios.report.parts import ENVIRONMENT, Piece, draw
from scenarios.report.sections import Sections, sections
from scenarios.results.cell import RunResult
from scenarios.results.judge import Sight
from scenarios.results.metrics import NS, FrameRow, camera_s, count_words
from scenarios.results.table import replacing
from scenarios.results.traffic import scenario
from scenarios.scoring import pictures as scores
from scenarios.words import duration, rate, scaling, size
from sender.camera import is_live

MAX_PICTURES = 60
_PAGE_BYTES = 10_000_000  # pictures over this, as text, are packed tighter
_SIDES = (None, 1280, 1024, 768, 512)  # longest side in pixels, tried in turn
_MARKS = {"complete": "✓", "partial": "◐", "lost": "✕", "superseded": "»"}


@dataclass(frozen=True)
class Picture:
    """A frame as the page shows it."""

    row: FrameRow
    mark: str
    sent: str
    """A data: URI."""
    received: str | None
    facts: str
    """One line of figures."""
    made_of: Sections | None = None
    """What its sections held, for codecs whose sections can be shown."""
    channels: str | None = None
    """A data: URI."""
    seen: str | None = None
    """A data: URI of what was found in it, beside the truth."""


Sights = Callable[[int], Mapping[str, Sight]]
"""Gives what there is to see of a frame, by task: `results.judge.Judge.sights`."""


def write(result: RunResult, out: Path, sights: Sights | None = None) -> Path:
    """Write report.html and figures/ of *result* to the folder *out*; return the page's path.

    *sights* None: without what was found in the pictures.
    Raise StorageError where the disk is full or the folder cannot be written.
    """
    pieces = draw(result)
    for drawing in pieces:
        if not isinstance(drawing, Drawing):
            continue
        for form, data in (("svg", drawing.wide), ("png", drawing.png)):
            with replacing(out / "figures" / f"{drawing.name}.{form}") as fresh:
                fresh.write_bytes(data)
    page = render(result, pieces, sights)
    with replacing(out / "report.html") as fresh:
        fresh.write_text(page, "utf-8")
    return out / "report.html"


def render(result: RunResult, pieces: Iterable[Piece], sights: Sights | None = None) -> str:
    """Return the page with *pieces* (`report.parts`) below its pictures.

    *sights* None: without what was found in the pictures.
    """
    run, rows, metrics = result.run, result.rows, result.figures
    about = scenario(run)
    shown, packing = pictures(result, sights)
    missing = _missing(metrics, rows)
    return ENVIRONMENT.get_template("report.html.j2").render(
        about=about,
        title=about.get("title") or about["name"],
        sentence=_sentence(run.head, rows),
        hops=hop_words(about["link"]),
        way_back=return_words(about["link"]),
        repair=repair_words(about["link"], result.traffic),
        run=run,
        reason=_cut_reason(run),
        cards=_cards(result),
        pictures=shown,
        total=len(rows),
        section_words=list(syntax.facts.kinds.items())
        if (syntax := SYNTAXES.get(about["codec"]["name"]))
        else [],
        made_of=any(picture.made_of for picture in shown),
        seen=any(picture.seen for picture in shown),
        packing=packing,
        first=next((at for at, picture in enumerate(shown) if picture.received), 0),
        pieces=list(pieces),
        missing=missing,
        verdict=(metrics.get("verdict") or {}).get("text"),
        yaml=yaml.safe_dump(_without_nulls(about), sort_keys=False, allow_unicode=True),
        repeatable=not is_live(str(about["camera"]["source"])),
        versions=run.head.get("versions", {}),
        fingerprint=run.head.get("fingerprint"),
    )


# Pictures


def pictures(result: RunResult, sights: Sights | None = None) -> tuple[list[Picture], str]:
    """Return the page's pictures, evenly taken where there are many, and in words how they are packed."""
    run, rows = result.run, result.rows
    with_picture = [row for row in rows if row.frame in run.pictures["sent"]]
    if len(with_picture) > MAX_PICTURES:
        places = np.linspace(0, len(with_picture) - 1, MAX_PICTURES).round().astype(int)
        with_picture = [with_picture[place] for place in places]
    sent = {row.frame: run.pictures["sent"][row.frame] for row in with_picture}
    received = {row.frame: run.pictures["received"].get(row.frame) for row in with_picture}
    files = [data for data in (*sent.values(), *received.values()) if data is not None]
    kind, words = "image/png", ""
    if sum(map(len, files)) * 4 / 3 > _PAGE_BYTES:
        kind = "image/webp"
        for side in _SIDES:
            small = {data: _webp(data, side) for data in files}
            if sum(map(len, small.values())) * 4 / 3 <= _PAGE_BYTES:
                break
        sent = {frame: small[data] for frame, data in sent.items()}
        received = {frame: None if data is None else small[data] for frame, data in received.items()}
        words = "Pictures on this page are WebP at quality 90"
        words += f", at most {side} pixels a side," if side else ""
        words += " to keep it small; all figures are computed from the originals in the journal."
    made_of = sections(run, result.traffic.sent, [row.frame for row in with_picture])
    entries = []
    for row in with_picture:
        came = received[row.frame]
        uri = None if came is None else make_data_uri(came, kind)
        parts = made_of.get(row.frame)
        tiles = (
            None if parts is None or parts.channels is None else make_data_uri(parts.channels, "image/png")
        )
        shot = make_data_uri(sent[row.frame], kind)
        seen = None
        if sights is not None and (sheet := overlays.sheet(run, row.frame, sights(row.frame))):
            seen = make_data_uri(sheet, "image/webp")
        entries.append(Picture(row, _MARKS[row.status], shot, uri, _facts(row), parts, tiles, seen))
    return entries, words


def _webp(data: bytes, side: int | None) -> bytes:
    with Image.open(io.BytesIO(data), formats=["PNG"]) as opened:
        picture = opened.convert("RGB")
    if side is not None:
        picture.thumbnail((side, side))
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=90)
    return out.getvalue()


def _facts(row: FrameRow) -> str:
    """Return what there is to say of one frame, in a line."""
    parts = [f"taken at {duration(row.captured_ns / NS)}"]
    if row.latency_s is not None:
        refined = row.refined_after_s
        then = "" if refined is None else f", refined after {duration(refined)}"
        parts.append(f"shown after {duration(row.latency_s)}{then}")
    elif row.status == "superseded":
        parts.append("not drawn: a newer one came with it")
    else:
        parts.append("nothing could be shown")
    if row.status == "partial":
        parts.append(f"{row.sections_received} of {row.sections_sent} sections arrived")
    parts.append(f"{row.packets_sent} packet{'' if row.packets_sent == 1 else 's'}, {row.packets_lost} lost")
    if row.resent:
        parts.append(f"{row.resent} sent again")
    parts.append(f"{size(row.on_air_bytes)} on the air")
    parts += [
        f"{score.label} {score.text(value)}"
        for name, score in scores.EACH.items()
        if (value := row.scores.get(name)) is not None
    ]
    return " · ".join(parts)


# Words


def _sentence(head: Mapping[str, Any], rows: Sequence[FrameRow]) -> str:
    about = head["scenario"]
    camera, codec, link = about["camera"], about["codec"], about["link"]
    count = f"{len(rows)} picture{'' if len(rows) == 1 else 's'}"
    pace = f", {duration(camera['period_s'])} apart," if camera.get("period_s") and len(rows) > 1 else ""
    names = [hop["name"] for hop in link["hops"]]
    way = f"one hop, {names[0]}" if len(names) == 1 else f"{len(names)} hops, {' and '.join(names)}"
    how = SYNTAXES.get(codec["name"], PayloadSyntax()).describe(codec, way)  # of another version: as most do
    size = f"{camera['width']}×{camera['height']} pixels"
    if (scaled := scaling(head)) is not None:
        size += f" ({scaled})"
    return f"{count}{pace} of {size} from {camera['source']}, {how}"


def _cut_reason(run: Run) -> str:
    for event in reversed(run.events):
        if event["kind"] == "aborted":
            return str(event.get("reason", ""))
    return ""


# Figures in words


def _cards(result: RunResult) -> list[dict[str, str]]:
    metrics, rows = result.figures, result.rows
    frames = metrics["frames"]
    shown = frames["complete"] + frames["partial"]
    cards = [
        {
            "value": f"{shown} of {frames['sent']}",
            "label": "pictures delivered",
            "note": count_words(frames),
        }
    ]
    if rows:
        bpp = metrics["bpp"]["on_air"]
        note = f"{bpp:.3g} bit per pixel; headers, repair and requests included"
        value = size(result.cell["on_air_bytes_per_frame"])
        cards.append({"value": value, "label": "on the air per picture", "note": note})
    span_s = camera_s(result.run)
    if rows and span_s and metrics["on_air_bps"] is not None:
        note = f"the same bytes over the {duration(span_s)} that the camera ran"
        cards.append({"value": rate(metrics["on_air_bps"]), "label": "used, on average", "note": note})
    latency = metrics["latency_s"]
    if latency["p50"] is not None:
        note = f"half of them sooner; the slowest took {duration(latency['max'])}"
        if (refined := metrics["refined_s"])["frames"]:
            were = "was" if refined["frames"] == 1 else "were"
            note += f"; {refined['frames']} {were} shown in part first, and refined "
            note += f"{duration(refined['p50'])} after capture (median)"
        cards.append(
            {"value": duration(latency["p50"]), "label": "from capture to first display", "note": note}
        )
    quality = metrics["quality"]
    known = [(score, quality[name]) for name, score in scores.EACH.items() if quality.get(name) is not None]
    if known:
        first, value = known[0]
        also = "".join(f"{score.label} {score.text(value)}; " for score, value in known[1:])
        note = f"{also}mean of the pictures shown"
        cards.append({"value": first.text(value), "label": f"quality ({first.label})", "note": note})
    return cards


def _missing(metrics: Mapping[str, Any], rows: Sequence[FrameRow]) -> list[str]:
    """Return, in sentences, what the page does not show and why."""
    sentences = []
    notes = metrics.get("notes", {})
    if not rows:
        sentences.append("No picture was sent, so there is nothing to show.")
    elif all(row.shown_ns is None for row in rows):
        sentences.append("No picture could be shown, so there are no figures of waiting and quality.")
    if notes.get("unfit"):
        sentences.append(notes["unfit"] + ".")
    for key, score in scores.table().items():
        if f"quality.{key}" in notes and not score.optional:
            sentences.append(f"{score.label}: {notes[f'quality.{key}']}.")
    if any(metrics["tasks"].values()):
        sentences += [
            f"{_task_words(key)}: {note}." for key, note in notes.items() if key.startswith("tasks.")
        ]
    if notes.get("frames"):
        sentences.append(notes["frames"].capitalize() + ".")
    return sentences


def _task_words(key: str) -> str:
    """Return `depth against the original` of `tasks.depth.original`."""
    words = {"truth": "against the truth", "original": "against the original", "ideal": "on the original"}
    return " ".join(words.get(part, part) for part in key.split(".")[1:]).capitalize()


def _without_nulls(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_nulls(value) for key, value in tree.items() if value is not None}
    return [_without_nulls(value) for value in tree] if isinstance(tree, list) else tree
