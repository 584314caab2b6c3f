"""The command `farlink`. Starts in well under a second: what a command needs is imported by that command."""

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from link.errors import UsageError
from link.stdin import close_stdin
from scenarios.commands import (
    compare,
    doctor,
    ends,
    files,
    inspect,
    live,
    models,
    plan,
    run,
    scenarios,
    sweep,
    train,
)
from scenarios.commands.options import name_sources
from scenarios.commands.printing import drop_output, os_error, say, say_error

COMMANDS = (run, live, inspect, scenarios, doctor, compare, ends, files, models, sweep, plan, train)
"""The modules that have commands, in the order of the help; each adds its own by `register`."""

app = typer.Typer(
    name="farlink",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Pictures over links too narrow for pictures: encode, carry through a modelled channel, see what survives.

Start with **farlink run** and open the report it names. Results go to stdout (JSON with --json), progress to stderr.

Exit codes: 0 ok, 1 finished with failed cells, or without a link that keeps enough (plan), 2 usage or configuration,
3 the run was cut short, 4 model missing, 5 the ends disagree (fingerprint), 74 disk, 130 interrupted.""",
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"farlink {version('farlink')}")
        raise typer.Exit()


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


_OPTIONAL: dict[str, tuple[str, Callable[[str], bool]]] = {
    "--realtime": ("1", lambda text: text[:1].isdigit() or text[:1] == "."),
    "--foxglove": ("8766", str.isdigit),
    "--rerun": ("", lambda text: text.endswith(".rrd")),
}
"""Options whose value may be left out: what it is then, and what looks like one."""


def _with_defaults(arguments: list[str]) -> list[str]:
    """Give the options of `_OPTIONAL` their values where none follows: Typer has no options with optional values."""
    expanded = []
    for at, argument in enumerate(arguments):
        expanded.append(argument)
        following = arguments[at + 1] if at + 1 < len(arguments) else ""
        if argument in _OPTIONAL and not _OPTIONAL[argument][1](following):
            expanded.append(_OPTIONAL[argument][0])
    return expanded


for _module in COMMANDS:
    _module.register(app)


def main() -> None:
    """Run the command line; the entry point of the `farlink` command. Nothing is ever asked, or read, on stdin."""
    close_stdin()
    if {"-h", "--help"} & set(sys.argv):
        name_sources()
    try:
        code = app(_with_defaults(sys.argv[1:]) or ["--help"], standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
        code = 0
    except OSError as error:
        drop_output()
        told = os_error(error)
        say(str(told))
        code = told.exit_code
    except Exception as error:
        # Typer's errors of usage: one line like any other, not a box.
        if not hasattr(error, "format_message"):
            raise
        code = UsageError.exit_code
        say_error(f"{' '.join(error.format_message().split())} (see --help)", code, "--json" in sys.argv)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
