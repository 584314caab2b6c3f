"""`farlink encode` and `farlink decode`: one picture to a file of packets and back, without a link."""

from pathlib import Path
from typing import Annotated, Any

import typer

from scenarios.commands.options import Codec, Json, Models, Settings, clean_errors, load_scenario
from scenarios.commands.printing import show, show_json

Out = Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="File to write.")]


def encode(
    picture: Annotated[str, typer.Argument(metavar="PICTURE", help="A picture file.")],
    out: Out,
    codec: Codec = None,
    frame_bytes: Annotated[
        int | None, typer.Option("--bytes", min=1, help="Payload budget in bytes.")
    ] = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Encode a picture into a file of farlink packets, at its own size unless camera.width and height are set.

    What comes back has that size too. Models that are made for another (the tiny ones for 256x192) are shown the
    picture scaled to theirs, and what they draw is scaled back; the line that is printed says so.

    Example: farlink encode photo.jpg -o photo.farlink --codec avif --bytes 900
    """
    from scenarios import packet_file

    with clean_errors(as_json):
        own = packet_file.own_size(picture)
        wanted = [] if own is None else [f"camera.width={own[0]}", f"camera.height={own[1]}"]
        wanted += settings or []
        if frame_bytes is not None:
            wanted.append(f"codec.frame_bytes={frame_bytes}")
        plan: Any = load_scenario("mars-relay", wanted, picture, codec, 1, None)
        made = packet_file.encode(plan.session(), out)
        camera = (plan.camera.width, plan.camera.height)
        if as_json:
            show_json(
                {
                    "file": str(out),
                    "payload_bytes": made.payload_bytes,
                    "packets": made.packets,
                    "size": camera,
                    "coded_size": made.coded_size,
                    "fitted": made.fitted,
                }
            )
            return
        size = "{}x{}".format(*camera) if made.fitted == "as is" else made.fitted
        if made.coded_size != camera:
            size += ", coded at {}x{}, which the models are made for".format(*made.coded_size)
        packets = f"{made.packets} packet{'' if made.packets == 1 else 's'}"
        show([f"{out}: {size}; {made.payload_bytes} bytes of payload in {packets}"])


def decode(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `farlink encode` wrote.")],
    out: Out,
    models: Models = None,
    most_pixels: Annotated[
        int | None,
        typer.Option(min=1, help="Of the picture that FILE may ask for; default 16 megapixels."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Decode a file of farlink packets into a picture; damaged or missing packets cost their sections only (exit 3).

    The file says which codec and profile; where models lie and how they run is this machine's to say. A file that was
    encoded with a transform of one's own needs the same one here.

    Examples:

        farlink decode photo.farlink -o photo.png

        farlink decode photo.farlink -o photo.png --set profile.generator=mine/ --set profile.device=cuda:1
    """
    from link.errors import PartialError
    from scenarios import packet_file

    with clean_errors(as_json):
        have, total = packet_file.decode(file, out, models or [], most_pixels or packet_file.MOST_PIXELS)
        if as_json:
            show_json({"file": str(out), "sections": {"received": have, "sent": total}})
        else:
            show([f"{out}: {have} of {total} sections"])
    with clean_errors():
        if have < total:
            raise PartialError(
                f"{file}: {total - have} sections are damaged or missing; the picture shows the rest"
            )


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    for command in (encode, decode):
        app.command()(command)
