"""`farlink inspect`: a run packet by packet, or as a capture for Wireshark."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from link.errors import UsageError
from scenarios.commands.options import clean_errors


def inspect(
    journal: Annotated[Path, typer.Argument(metavar="RUN.mcap", help="A run's journal, or its folder.")],
    frame: Annotated[int | None, typer.Option(min=0, help="Only the packets of this frame.")] = None,
    drops: Annotated[
        bool, typer.Option("--drops", help="Only packets that were lost, with the reason.")
    ] = False,
    pcap: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the packets that went on the air as a pcap file."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a packet.")] = False,
) -> None:
    """Print a run packet by packet, or export it for Wireshark.

    Examples:

        farlink inspect runs/mars-relay --frame 3

        farlink inspect runs/ccsds-downlink --pcap run.pcap

        tshark -r run.pcap -o 'uat:user_dlts:"User 0 (DLT=147)","ccsds","0","","0",""'
    """
    from link import journal as journals
    from scenarios.report import packets as inspection
    from scenarios.report import pcap as captures

    with clean_errors():
        path = journal / "run.mcap" if journal.is_dir() else journal
        found = journals.read(path, pictures=False)
        if pcap is not None:
            if frame is not None or drops or as_json:
                raise UsageError(
                    "--pcap writes the whole run; it does not go with --frame, --drops or --json"
                )
            packets, size = captures.export(found, pcap)
            print(f"{pcap}: {packets} packets, {size} bytes on the air", file=sys.stderr)
            return
        if as_json:
            for record in inspection.records(found, frame=frame, drops=drops):
                print(json.dumps(record))
            return
        for line in inspection.lines(found, frame=frame, drops=drops):
            print(line)


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command()(inspect)
