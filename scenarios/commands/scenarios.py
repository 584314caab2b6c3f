"""`farlink scenarios`: the scenarios there are, one of them, whether a file is one, and their schema."""

import json
from typing import Annotated

import typer

from scenarios.commands.options import Scenario, Settings, clean_errors

scenarios_app = typer.Typer(no_args_is_help=False, help="List, show, check scenarios, or print their schema.")


@scenarios_app.callback(invoke_without_command=True)
def scenarios(context: typer.Context) -> None:
    """List the scenarios that come with farlink, or show and check one."""
    if context.invoked_subcommand is None:
        list_scenarios()


@scenarios_app.command("list")
def list_scenarios() -> None:
    """List the presets."""
    from link.channel.path import path_rate_bps
    from scenarios import schema

    with clean_errors():
        for name in schema.preset_names():
            plan = schema.load(name)
            rate = path_rate_bps(plan.link, schema.traces(plan))
            print(f"{name:22}{rate:>10,.0f} bit/s   {plan.title}")


@scenarios_app.command("show")
def show_scenario(name: Scenario) -> None:
    """Print a preset or file, with its comments.

    Example: farlink scenarios show lunar-relay > mine.yaml
    """
    from scenarios import schema

    with clean_errors():
        print(schema.source_text(name)[0], end="")


@scenarios_app.command("validate")
def validate_scenario(
    name: Annotated[str, typer.Argument(metavar="FILE", help="A YAML file or a preset's name.")],
    settings: Settings = None,
) -> None:
    """Check a scenario and print it resolved, with everything that is derived.

    Example: farlink scenarios validate mine.yaml
    """
    from scenarios import schema

    with clean_errors():
        print(schema.to_yaml(schema.load(name, settings or [])), end="")


@scenarios_app.command("schema")
def scenario_schema() -> None:
    """Print the JSON Schema of scenarios, for editors."""
    from scenarios import schema

    with clean_errors():
        print(json.dumps(schema.Scenario.model_json_schema(by_alias=True), indent=1), flush=True)


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.add_typer(scenarios_app, name="scenarios")
