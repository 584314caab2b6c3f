"""`farlink scenarios contacts`: the passes of a scenario, or the rows of a contact plan; printed, drawn, exported."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from link.errors import UsageError
from scenarios.commands.options import Json, Settings, clean_errors
from scenarios.commands.printing import say, show, show_json

if TYPE_CHECKING:
    from link.physics.contacts import Pass
    from link.plans.plan import Contact, PlanText
    from scenarios.schema import Scenario

_MOST_NOTES, _MOST_TURNS = 60, 5000


def show_contacts(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE",
            help="A preset, a scenario's YAML file, or a contact plan (ION, HDTN, farlink's JSON).",
        ),
    ],
    settings: Settings = None,
    figure: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw them too: .svg or .png.")] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="ion|hdtn", help="Print them as a contact plan of ION or HDTN; what is lost is said."
        ),
    ] = None,
    merge: Annotated[
        bool,
        typer.Option(
            "--merge", help="With --to ion: unite overlapping contacts of one pair, rate and delay."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Print when the hops of a scenario, or the nodes of a contact plan, can send: each contact with what it carries.

    Of a scenario, node 1 is the sender and the others follow along the way. A contact's delay is that of its start.
    `--json` prints farlink's own form of a plan, which keeps decimals.

    Examples:

        farlink scenarios contacts lunar-south-pole --figure passes.svg

        farlink scenarios contacts rover-sol --to ion > plan.ionrc

        farlink scenarios contacts plan.ionrc --to hdtn > plan.json
    """
    with clean_errors(as_json):
        if figure is not None and figure.suffix not in (".svg", ".png"):
            raise UsageError(f"--figure {figure}: .svg or .png was expected")
        listed = _read(name, settings or [])
        read = listed.read
        if to is not None:
            from link.plans.files import write_plan

            for note in read.notes:
                say(note)
            text, lost = write_plan(read.plan, to, merge=merge, zero=read.zero)
            for note in lost:
                say(note)
            print(text, end="")
        elif as_json:
            rows = [row.model_dump(mode="json", by_alias=True) for row in read.plan.contacts]
            show_json({"zero": read.zero, "contacts": rows, "notes": list(read.notes)})
        else:
            show(_lines(listed))
        if figure is not None:
            _draw(listed, figure)


@dataclass(frozen=True)
class _Listed:
    """A plan, and what a scenario says of it."""

    read: "PlanText"
    labels: dict[tuple[str, str], str] = field(default_factory=dict)
    """Of each pair of nodes: its hop."""
    heights: dict[int, "Pass"] = field(default_factory=dict)
    """By the number of a contact: what was reckoned of the pass."""


def _read(name: str, settings: list[str]) -> _Listed:
    """Return the plan of a file of contacts, or of a scenario."""
    from link.plans.files import read_plan
    from scenarios import schema

    path = Path(name)
    if name not in schema.preset_names() and path.suffix not in (".yaml", ".yml") and path.is_file():
        if settings:
            raise UsageError("--set: a contact plan has no settings")
        return _Listed(read_plan(path))
    return _of_scenario(schema.load(name, settings), path.resolve().parent)


def _of_scenario(scenario: "Scenario", folder: Path) -> _Listed:
    """Return the contacts of a resolved scenario: each hop's, and the way back's."""
    from link.channel import NS
    from link.channel.delay import MovingDelay
    from link.hops import HopConfig, ReturnHop
    from link.physics.geometry import find_passes
    from link.places import iso
    from link.plans.plan import Contact, ContactPlan, PlanText
    from scenarios import schema
    from scenarios.report.passes import open_between

    link, notes, zero = scenario.link, [], None
    span_s = schema.run_span_s(scenario)
    hops: list[tuple[str, str, str, HopConfig | ReturnHop]] = [
        (hop.name, str(near + 1), str(far + 1), hop)
        for hop, (near, far) in zip(link.hops, link.ends, strict=True)
    ]
    if link.return_ is not None:
        hops.append(("return", str(len(link.nodes) or len(hops) + 1), "1", link.return_))
    planned = [hop.contacts_s for *_, hop in hops if isinstance(hop, HopConfig) and hop.contacts_s]
    known = [hop.outage.windows_s for *_, hop in hops if hop.outage]
    until_s = max([span_s, *(end for windows in (*planned, *known) for _, end in windows)])
    rows: list[Contact] = []
    heights = {}
    for name, near, far, hop in hops:
        at = next((item.at for item in (*(hop.contacts or ()), hop.delay) if item and item.at), None)
        zero = zero or at
        rate_bps = hop.rate_bps  # while it is up: the gaps say the rest
        if rate_bps is None:
            rate_bps = schema.traces(scenario)[name].mean_bps
        gaps: list[tuple[float, float]] = []
        if (outage := hop.outage) is not None:
            gaps = list(outage.windows_s)
            if outage.up_s is not None and outage.down_s is not None:
                turn_s = outage.up_s + outage.down_s
                if outage.random:
                    notes.append(f"{name}: its outages come at random and are left out")
                elif until_s / turn_s > _MOST_TURNS:
                    notes.append(
                        f"{name}: down for {outage.down_s:g} s after each {outage.up_s:g} s, left out"
                    )
                else:
                    turns = range(int(until_s / turn_s) + 1)
                    gaps = [(turn * turn_s + outage.up_s, (turn + 1) * turn_s) for turn in turns]
                    gaps = [gap for gap in gaps if gap[0] < until_s]
        passes = find_passes(hop.contacts, span_s, folder) if hop.contacts else []
        moving = MovingDelay(hop.delay_knots_ns) if hop.delay_knots_ns else None
        # After the last pass that was looked for a hop stays as it is, which is no contact.
        windows = [(item.start_s, item.end_s) for item in passes] or open_between(gaps, until_s)
        if isinstance(hop, HopConfig) and hop.contacts_s is not None:  # which nodes know; outages come on top
            windows = [
                (max(start, begin), min(end, stop))
                for begin, stop in hop.contacts_s
                for start, end in windows
                if max(start, begin) < min(end, stop)
            ]
        for start, end in windows:
            delay_s = hop.delay_s or 0.0 if moving is None else moving.at(round(start * NS)) / NS
            if found := [item for item in passes if abs(item.start_s - start) < 1e-3]:
                heights[len(rows)] = found[0]
            rows.append(
                Contact(from_=near, to=far, start_s=start, end_s=end, rate_bps=rate_bps, delay_s=delay_s)
            )
    notes.insert(0, "nodes: " + ", ".join(f"{near} to {far} is {name}" for name, near, far, _ in hops))
    labels = {(near, far): name for name, near, far, _ in hops}
    return _Listed(
        PlanText(ContactPlan(tuple(rows)), tuple(notes), iso(zero) if zero else None), labels, heights
    )


def _lines(listed: _Listed) -> list[str]:
    read = listed.read
    lines = [f"# second 0 is {read.zero}"] if read.zero else []
    lines += [f"# {note}" for note in read.notes[:_MOST_NOTES]]
    if len(read.notes) > _MOST_NOTES:
        lines.append(f"# and {len(read.notes) - _MOST_NOTES} notes more (--json)")
    head = f"{'contact':>7} {'from':>8} {'to':>8} {'start s':>13} {'end s':>13} {'lasts s':>10} {'bit/s':>13}"
    lines.append(head + f" {'delay s':>12} {'Mbyte':>11}" + (f" {'top deg':>8}" if listed.heights else ""))
    for number, row in enumerate(read.plan.contacts):
        line = (
            f"{number:7} {row.from_:>8} {row.to:>8} {row.start_s:13.3f} {row.end_s:13.3f} "
            f"{row.end_s - row.start_s:10.3f} {row.rate_bps:13,.0f} {row.delay_s:12.6f} {row.volume_bytes / 1e6:11,.3f}"
        )
        top = listed.heights[number].highest_deg if number in listed.heights else None
        lines.append(line if top is None else f"{line} {top:8.1f}")
    total = sum(row.volume_bytes for row in read.plan.contacts) / 1e6
    lines.append(f"{len(read.plan.contacts)} contacts of {len(read.plan.nodes)} nodes, {total:,.3f} Mbyte")
    return lines


def _draw(listed: _Listed, figure: Path) -> None:
    from scenarios.report.passes import HopContacts, draw_contacts

    pairs: dict[tuple[str, str], list[Contact]] = {}
    for row in listed.read.plan.contacts:
        pairs.setdefault((row.from_, row.to), []).append(row)
    rows = [
        HopContacts(listed.labels.get(pair, " to ".join(pair)), [(row.start_s, row.end_s) for row in found])
        for pair, found in pairs.items()
    ]
    if not rows:
        raise UsageError("--figure: there is no contact to draw")
    made = draw_contacts(rows, listed.read.plan.span_s[1])
    figure.write_bytes(made.png if figure.suffix == ".png" else made.wide)
    say(f"drew {figure}")
