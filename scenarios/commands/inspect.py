"""`farlink inspect`: a run packet by packet, or as a capture for Wireshark."""

import json
from pathlib import Path
from typing import Annotated

import typer

from link.errors import UsageError
from scenarios.commands.options import clean_errors
from scenarios.commands.printing import say, show, show_json


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
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a packet, each on a line.")
    ] = False,
) -> None:
    """Print a run packet by packet, or export it for Wireshark.

    Examples:

        farlink inspect runs/mars-relay --frame 3

        farlink inspect runs/ccsds-downlink --pcap run.pcap

        tshark -r run.pcap -o 'uat:user_dlts:"User 0 (DLT=147)","ccsds","0","","0",""'

    Bundles (`link.framing=bp`) need no such setting.
    """
    from scenarios.report import packets as inspection
    from scenarios.report import pcap as captures
    from scenarios.results.stored import open_run

    with clean_errors(as_json):
        run = open_run(journal, pictures=False)
        if pcap is not None:
            if frame is not None or drops:
                raise UsageError("--pcap writes the whole run; it does not go with --frame or --drops")
            packets, size = captures.export(run, pcap)
            say(f"{pcap}: {packets} packets, {size} bytes on the air")
            if as_json:
                show_json({"file": str(pcap), "packets": packets, "on_air_bytes": size})
            return
        if frame is not None:
            inspection.check_frame(run, frame)
        if as_json:
            for record in inspection.records(run, frame=frame, drops=drops):
                print(json.dumps(record))
            return
        show(inspection.lines(run, frame=frame, drops=drops))


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command()(inspect)
