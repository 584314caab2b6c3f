"""`farlink scenarios`: the scenarios there are, one of them, whether a file is one, its contacts, their schema."""

import sys
from typing import Annotated

import typer

from scenarios.commands.budget import budget
from scenarios.commands.contacts import show_contacts
from scenarios.commands.netem import netem
from scenarios.commands.options import Json, Scenario, Settings, clean_errors
from scenarios.commands.printing import show, show_json
from scenarios.commands.transfer import transfer

scenarios_app = typer.Typer(no_args_is_help=False, help="List, show, check scenarios, or print their schema.")


@scenarios_app.callback(invoke_without_command=True)
def scenarios(context: typer.Context, as_json: Json = False) -> None:
    """List the scenarios that come with farlink, or show and check one."""
    if context.invoked_subcommand is None:
        list_scenarios(as_json)


@scenarios_app.command("list")
def list_scenarios(as_json: Json = False) -> None:
    """List the presets."""
    from link.channel.path import path_rate_bps
    from scenarios import schema

    with clean_errors(as_json):
        plans = [schema.load(name, geometry=False) for name in schema.preset_names()]
        rates = [path_rate_bps(plan.link, schema.traces(plan)) for plan in plans]
        if as_json:
            show_json(
                [
                    {"name": plan.name, "title": plan.title, "rate_bps": rate, "source": plan.camera.source}
                    for plan, rate in zip(plans, rates, strict=True)
                ]
            )
            return
        show(
            f"{plan.name:22}{_rate(rate):>10} bit/s   {plan.title}"
            for plan, rate in zip(plans, rates, strict=True)
        )


def _rate(bps: float) -> str:
    """Return a rate in full, with two places where it is so low that they matter."""
    return f"{bps:,.0f}" if bps >= 10 else f"{bps:.2f}"


@scenarios_app.command("show")
def show_scenario(name: Scenario, as_json: Json = False) -> None:
    """Print a preset or file, with its comments.

    Example: farlink scenarios show lunar-relay > mine.yaml
    """
    from scenarios import schema

    with clean_errors(as_json):
        text = schema.source_text(name)[0]
        if as_json:
            show_json({"name": name, "yaml": text})
        elif sys.stdout.isatty():
            show(text.splitlines())
        else:
            print(text, end="")  # a file or a pipe gets what is there, to the byte


@scenarios_app.command("validate")
def validate_scenario(
    name: Annotated[str, typer.Argument(metavar="FILE", help="A YAML file or a preset's name.")],
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Check a scenario and print it resolved, with everything that is derived.

    Example: farlink scenarios validate mine.yaml
    """
    from scenarios import schema

    with clean_errors(as_json):
        plan = schema.load(name, settings or [])
        if as_json:
            show_json(plan.model_dump(mode="json", by_alias=True))
        else:
            show(schema.to_yaml(plan).splitlines())


@scenarios_app.command("schema")
def scenario_schema() -> None:
    """Print the JSON Schema of scenarios, for editors."""
    from scenarios import schema

    with clean_errors():
        show_json(schema.Scenario.model_json_schema(by_alias=True))


scenarios_app.command("contacts")(show_contacts)


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    scenarios_app.command("budget")(budget)
    scenarios_app.command("netem")(netem)
    scenarios_app.command("transfer")(transfer)
    app.add_typer(scenarios_app, name="scenarios")
