"""The command `spach-nas`: one thin function for each subcommand, grouped by purpose.

Each function imports what it needs in its body, so that `--help` answers at once.
"""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

from spach_nas.cli.commands_costs import cost, latency, references
from spach_nas.cli.commands_networks import evaluate, export, train, verify
from spach_nas.cli.commands_report import audit, replay, report
from spach_nas.cli.commands_search import search, watch
from spach_nas.cli.commands_setup import doctor, schema, space
from spach_nas.cli.examples import epilog
from spach_nas.cli.foreign_flags import check_words
from spach_nas.cli.output import interrupt_on_hangup, open_closed_streams, outlive_readers
from spach_nas.errors import SpachNasError

# In the order of `--help`.
_COMMANDS = (
    *(search, watch, report, export, verify, train, evaluate, cost, latency, space, replay, audit),
    *(references, schema, doctor),
)

app = typer.Typer(
    help="Search vision backbones of convolution, attention and token-MLP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _Command(TyperCommand):
    """A command whose help shows the purpose of an argument, not its type in Python."""

    def get_params(self, ctx: Any) -> Any:
        """The parameters, with arguments that show no type."""
        params = super().get_params(ctx)
        for item in params:
            if "--help" in item.opts:
                item.metavar = ""
            if item.param_type_name == "argument":
                vars(item)["display_type_rich"] = lambda ctx: None
        return params


for _command in _COMMANDS:
    app.command(cls=_Command, epilog=epilog(_command.__name__))(_command)


def main() -> None:
    """Run the command. A user's mistake is printed without a traceback, with exit code 2."""
    open_closed_streams()
    interrupt_on_hangup()
    try:
        check_words(sys.argv[1:], _options_of_commands())
        app()
    except SpachNasError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _options_of_commands() -> dict[str, list[str]]:
    """The options of each command, in the order of `--help`."""
    commands = getattr(get_command(app), "commands", {})
    return {
        name: [option for item in command.params for option in (*item.opts, *item.secondary_opts)]
        + ["-h", "--help"]
        for name, command in commands.items()
    }


def _version(wanted: bool) -> None:
    if wanted:
        from spach_nas.version import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", help="Print the version.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    # `watch` should end when its output is closed; all others have something to finish.
    if context.invoked_subcommand != "watch":
        outlive_readers()
