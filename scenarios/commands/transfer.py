"""`farlink scenarios transfer`: a stored file over a scenario's link by CFDP."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from link.errors import PartialError
from scenarios.commands.options import Json, Scenario, Seed, Settings, clean_errors
from scenarios.commands.printing import say, show, show_json

if TYPE_CHECKING:
    from link.cfdp.transfer import FileTransfer, WayCounts


def transfer(
    name: Scenario,
    file: Annotated[Path, typer.Argument(help="The file to send: a picture, or anything else.")],
    cfdp: Annotated[
        int, typer.Option(min=1, max=2, help="Class 1: sent once; 2: acknowledged, gaps sent again.")
    ] = 2,
    closure: Annotated[
        bool, typer.Option("--closure", help="In class 1: have the receiver say how it ended.")
    ] = False,
    checksum: Annotated[str, typer.Option(help="Of the file: crc32, modular or null.")] = "crc32",
    settings: Settings = None,
    seed: Seed = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write what arrived, zeros where it is missing."),
    ] = None,
    pcap: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the PDUs of both ends for Wireshark.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Send a stored file over a scenario's link by CFDP (CCSDS 727.0-B-5), in virtual time, and say what it took.

    The file crosses in the scenario's framing, over its hops with their rates, delays, losses and outages; the codec,
    the camera and the repair of frames have no part in it. Exit code 3: the file did not arrive whole.

    Examples:

        farlink scenarios transfer mars-relay photo.jpg

        farlink scenarios transfer ccsds-downlink photo.jpg --cfdp 1 -o arrived.jpg --json
    """
    from link.cfdp import transfer as transfers
    from link.cfdp.pdus import CfdpChecksum
    from link.errors import UsageError
    from link.files import read_within
    from scenarios import schema
    from scenarios.report import pcap as captures
    from scenarios.results.table import replacing

    with clean_errors(as_json):
        kinds = {kind.name.lower(): kind for kind in CfdpChecksum}
        if checksum not in kinds:
            raise UsageError(f"--checksum {checksum}: {', '.join(kinds)} were expected")
        data = read_within(file, transfers.MOST_BYTES)
        plan = schema.load(name, settings or [], {} if seed is None else {"seed": seed})
        found = transfers.transfer(
            plan, schema.traces(plan), data, file.name, acknowledged=cfdp == 2, closure=closure,
            checksum=kinds[checksum],
        )  # fmt: skip
        if out is not None:
            with replacing(out) as fresh:
                fresh.write_bytes(found.data)
            say(f"{out}: {len(found.data)} bytes")
        if pcap is not None:
            captures.write(pcap, found.pdus, lambda _data: "cfdp")
            say(f"{pcap}: {len(found.pdus)} PDUs")
        if as_json:
            show_json(_record(found, plan, len(data), cfdp))
        else:
            about = f"{plan.name}, seed {plan.seed}, {plan.link.framing} framing"
            show(
                [f"{about}: {file.name}, {len(data)} bytes, by CFDP class {cfdp}", *_lines(found, len(data))]
            )
    with clean_errors():
        if not found.complete:
            raise PartialError(
                f"{file}: {found.missing_bytes} of {len(data)} bytes did not arrive ({_how(found)})"
            )


def _how(found: "FileTransfer") -> str:
    return "nothing was heard" if found.condition is None else found.condition.name.lower().replace("_", " ")


def _ratio(found: "FileTransfer", size: int) -> float | None:
    return found.out.on_air_bytes / size if size else None


def _lines(found: "FileTransfer", size: int) -> Iterator[str]:
    when = "" if found.ended_s is None else f" after {found.ended_s:,.1f} s"
    told = (
        "the sender is not told"
        if found.told_s is None
        else f"the sender is done after {found.told_s:,.1f} s"
    )
    yield f"{'whole' if found.complete else 'not whole: ' + _how(found)}{when}; {told}"
    ratio = _ratio(found, size)
    times = "" if ratio is None else f", {ratio:.3f} times the file"
    yield from _way_lines("out", found.out, f"{times}; {found.again_bytes:,} bytes of the file sent again")
    yield from _way_lines("back", found.back, "")
    if found.hops_bytes:
        yield f"hops  {found.hops_bytes:,} bytes sent by hops to repair their own losses"
    if found.missing_bytes:
        yield f"lost  {found.missing_bytes:,} bytes of the file"
    yield (
        f"PDUs of at most {found.pdu_bytes} bytes; an answer is waited for {found.answer_s:,.1f} s, {found.tries} times"
    )


def _way_lines(name: str, way: "WayCounts", more: str) -> Iterator[str]:
    yield f"{name:<5} {way.sent} PDUs, {way.on_air_bytes:,} bytes on the air{more}"
    lost = [f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(way.dropped.items())]
    lost += [f"{way.damaged} damaged"] if way.damaged else []
    if lost:
        yield f"      of them {', '.join(lost)}"


def _record(found: "FileTransfer", plan: Any, size: int, cfdp: int) -> dict[str, Any]:
    ways = {
        way: {
            "sent": counts.sent, "copies": counts.copies, "delivered": counts.delivered, "damaged": counts.damaged,
            "dropped": dict(sorted(counts.dropped.items())), "on_air_bytes": counts.on_air_bytes,
        }
        for way, counts in (("out", found.out), ("back", found.back))
    }  # fmt: skip
    return {
        "scenario": plan.name, "seed": plan.seed, "class": cfdp, "file_bytes": size, "complete": found.complete,
        "condition": None if found.condition is None else found.condition.name.lower(),
        "sender_condition": None if found.sender_condition is None else found.sender_condition.name.lower(),
        "ended_s": found.ended_s, "told_s": found.told_s, "missing_bytes": found.missing_bytes,
        "again_bytes": found.again_bytes, "ratio": _ratio(found, size), **ways, "hops_bytes": found.hops_bytes,
        "pdu_bytes": found.pdu_bytes, "tries": found.tries, "answer_s": found.answer_s,
    }  # fmt: skip
