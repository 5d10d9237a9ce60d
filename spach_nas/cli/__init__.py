"""The command `spach-nas`: one thin function for each subcommand, grouped by purpose.

Each function imports what it needs in its body, so that `--help` answers at once.
"""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

from spach_nas.cli.commands_networks import (
    cost,
    doctor,
    evaluate,
    export,
    latency,
    references,
    train,
    verify,
)
from spach_nas.cli.commands_search import (
    audit,
    rediscover,
    replay,
    report,
    schema,
    search,
    space,
    watch,
)
from spach_nas.cli.options import check_words
from spach_nas.cli.output import interrupt_on_hangup, open_closed_streams, outlive_readers
from spach_nas.errors import SpachNasError

# In the order of `--help`.
_COMMANDS = (
    *(search, watch, report, export, verify, train, evaluate, cost, latency, space, replay, audit),
    *(rediscover, references, schema, doctor),
)
# What the `--help` of each command shows: one or two lines to copy.
EXAMPLES = {
    "search": (
        "spach-nas search quickstart",
        "spach-nas search my.yaml --out results/first --dry-run",
    ),
    "watch": ("spach-nas watch results/quickstart",),
    "report": (
        "spach-nas report results/quickstart",
        "spach-nas report results/a results/b --out comparison.html",
    ),
    "export": (
        "spach-nas export results/quickstart --pick knee --out knee",
        "spach-nas export hybrid_ms_s_plus --out hybrid",
    ),
    "verify": ("spach-nas verify results/quickstart/best --strict",),
    "train": (
        "spach-nas train conv_ms_xxs --data fashion-mini --recipe short --set epochs=2",
        "spach-nas train results/quickstart --data photos --set epochs=50",
    ),
    "evaluate": ("spach-nas evaluate results/quickstart/best --data fashion-mini",),
    "cost": ("spach-nas cost hybrid_ms_s_plus --json",),
    "latency": (
        "spach-nas latency conv_ms_xxs --batch-size 1,32 --runtime eager",
        "spach-nas latency my.yaml --table times.json",
    ),
    "space": ("spach-nas space quickstart --no-timing",),
    "replay": ("spach-nas replay results/quickstart --sampler tpe --trials 20 --seeds 5",),
    "audit": (
        "spach-nas audit results/spach_bench --score naswot --out audit.csv",
        "spach-nas audit my.yaml --sample 30",
    ),
    "rediscover": (
        "spach-nas rediscover rediscover_controls --dry-run",
        "spach-nas rediscover rediscover_controls --resume",
    ),
    "references": ("spach-nas references",),
    "schema": ("spach-nas schema search > search.schema.json",),
    "doctor": ("spach-nas doctor",),
}

app = typer.Typer(
    help="Search vision backbones of convolution, attention and token-MLP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _Command(TyperCommand):
    """A command whose help shows the purpose of a parameter, not its type in Python."""

    def get_params(self, ctx: Any) -> Any:
        """The parameters, with flags and arguments that show no type."""
        params = super().get_params(ctx)
        for item in params:
            if getattr(item, "is_flag", False):
                item.metavar = ""
            if item.param_type_name == "argument":
                vars(item)["display_type_rich"] = lambda ctx: None
        return params


for _command in _COMMANDS:
    _lines = EXAMPLES[_command.__name__]
    # With blank lines, because typer joins adjacent ones.
    _epilog = "\n\n".join([f"Example{'s'[: len(_lines) > 1]}:", *_lines])
    app.command(cls=_Command, epilog=_epilog)(_command)


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
