"""The command `spach-nas`: one thin function for each command."""

import contextlib
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from spach_nas.errors import SpachNasError

# Everything else is imported where it is needed, so that `--help` answers at once.

app = typer.Typer(
    help="Search vision backbones of convolution, attention and token-MLP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _bring_in(modules: list[str]) -> list[str]:
    if modules:
        from spach_nas.plugins import load_plugins

        load_plugins(modules)
    return modules


Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="MODULE",
        callback=_bring_in,
        help="A module with mixers of your own, importable or in this folder; may stand again.",
    ),
]


class ScaleName(StrEnum):
    """At which size to export."""

    proxy = "proxy"
    target = "target"


class RungRuleName(StrEnum):
    """Who goes on to more epochs in a replay."""

    off = "off"
    front = "front"
    accuracy = "accuracy"


class PictureFormat(StrEnum):
    """Of static pictures."""

    png = "png"
    svg = "svg"
    pdf = "pdf"


def main() -> None:
    """Run the command; a user's mistake is told without a traceback and exits with 2."""
    try:
        app()
    except SpachNasError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


@app.command()
def search(
    file: Annotated[str, typer.Argument(help="A search YAML, or a shipped one: quickstart.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the study; default: results/STUDY.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with a study that was stopped or killed; begin it where there is none.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, train and write nothing.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Search: train proxies within the limits, then write the report and export the best."""
    from spach_nas.plan import plan_search
    from spach_nas.terminal import LiveView, console, print_plan, print_result

    with LiveView(console).shown() as view:
        plan = plan_search(file)
        if not dry_run:
            from spach_nas.run import run_plan

            study = run_plan(plan, out=out, resume=resume, listener=view)
    if dry_run:
        print_plan(plan)
        return
    print_result(study)
    if study.stopped:
        raise typer.Exit(130)


@app.command()
def watch(
    folder: Annotated[Path, typer.Argument(help="Folder of a study.")],
    once: Annotated[bool, typer.Option("--once", help="Show it once, whole.")] = False,
    plugin: Plugins = None,
) -> None:
    """Watch a search from another terminal until it ends."""
    with contextlib.suppress(KeyboardInterrupt):  # leaving is no fault
        from spach_nas.live.view import make_console
        from spach_nas.live.watching import watch as watch_folder

        progress = watch_folder(folder, console=make_console(), once=once)
        if progress.phase == "silent" and not once:
            raise typer.Exit(1)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a study.")],
    static: Annotated[
        PictureFormat | None, typer.Option(help="Write the front as a picture, too.")
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Build report.html from the records of a study."""
    from spach_nas.records import read_records
    from spach_nas.report import static_front
    from spach_nas.report.study import study_facts, write_study_report

    print(write_study_report(folder))
    if static is not None:
        path = folder / f"front.{static.value}"
        facts = study_facts(folder)
        static_front(
            read_records(folder),
            path,
            objectives=facts.objectives,
            limits=facts.limits,
            title=facts.name,
        )
        print(path)


@app.command()
def export(
    source: Annotated[
        str,
        typer.Argument(help="Folder of a study, a model of the paper, or an architecture file."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the bundle; must not exist.")],
    pick: Annotated[
        str, typer.Option(help="In a study: best, knee, a trial number or an arch_id.")
    ] = "best",
    scale: Annotated[
        ScaleName | None,
        typer.Option(help="The trained proxy, or the target, which has no weights yet."),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Write a network as a bundle that timm loads."""
    from spach_nas.export import choose
    from spach_nas.export import export as export_choice

    choice = choose(source, pick=pick, scale_to=scale.value if scale else None)
    print(export_choice(choice, out=out))


@app.command()
def cost(
    source: Annotated[str, typer.Argument(help="A model of the paper, or an architecture file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, plain counts.")] = False,
    plugin: Plugins = None,
) -> None:
    """Print the exact cost of an architecture."""
    from spach_nas.architecture import Architecture
    from spach_nas.cost import cost as cost_of
    from spach_nas.memory import saved_bytes
    from spach_nas.references import get_reference

    is_file = Path(source).is_file()
    architecture = (
        Architecture.from_yaml(Path(source)) if is_file else get_reference(source).architecture
    )
    figures = {
        "arch_id": architecture.arch_id,
        **cost_of(architecture)._asdict(),
        "saved_bytes": saved_bytes(architecture),
        "saved_bytes_bf16": saved_bytes(architecture, precision="bf16"),
    }
    if as_json:
        print(json.dumps(figures))
        return
    print(architecture)
    for name, value in figures.items():
        print(f"{name:<16} {value:>16,}" if isinstance(value, int) else f"{name:<16} {value:>16}")


@app.command()
def space(
    file: Annotated[
        str, typer.Argument(help="A search YAML, a search space, or a shipped one: quickstart.")
    ],
    timing: Annotated[
        bool, typer.Option(help="Time a few training steps to estimate the whole search.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, plain counts.")] = False,
    plugin: Plugins = None,
) -> None:
    """Say what a search space offers within its limits, and what the search would take."""
    from spach_nas.preview.report import describe_space
    from spach_nas.preview.source import read_space_source
    from spach_nas.preview.space_view import print_estimate, print_space, space_json, waiting

    with waiting("counting and sampling"):
        source = read_space_source(file, images=timing)
        report, estimate = describe_space(source.feasible), None
    if not as_json:
        print_space(source.name, report)
    if source.plan is not None:
        from spach_nas.preview.timing import time_search

        with waiting("timing a few training steps"):
            estimate = time_search(source.plan)
        if not as_json:
            print_estimate(estimate)
    if as_json:
        print(space_json(source.name, report, estimate))


@app.command()
def replay(
    table: Annotated[
        list[Path],
        typer.Argument(help="Folders of studies, or a table with its search.yaml beside it."),
    ],
    sampler: Annotated[
        list[str] | None,
        typer.Option(help="To compare; may stand again. Default: random, nsga2, evolution."),
    ] = None,
    rungs: Annotated[
        list[RungRuleName] | None,
        typer.Option(help="To compare; may stand again. Default: all."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Searches of each strategy.")] = 30,
    workers: Annotated[int, typer.Option(min=1, help="Trainings at once.")] = 2,
    trials: Annotated[int, typer.Option(min=1, help="Budget of a search.")] = 100,
    out: Annotated[Path | None, typer.Option(help="Write the figures as CSV.")] = None,
    plugin: Plugins = None,
) -> None:
    """Compare samplers and rungs on architectures that were all trained before."""
    from spach_nas.replay.comparison import compare, strategies, write_regrets
    from spach_nas.replay.ground import read_ground
    from spach_nas.replay.view import ground_line, regret_table
    from spach_nas.terminal import console

    ground = read_ground(table)
    console.print(ground_line(ground), soft_wrap=True, highlight=False)
    names = sampler or ["random", "nsga2", "evolution"]
    chosen = strategies(names, [rule.value for rule in rungs or RungRuleName])
    with console.status("") as status:
        rows = list(
            compare(
                ground,
                chosen,
                seeds=seeds,
                trials=trials,
                workers=workers,
                on_strategy=lambda one: status.update(str(one)),
            )
        )
    console.print(regret_table(rows, "trials"), regret_table(rows, "seconds"))
    if out is not None:
        write_regrets(rows, out)
        print(out)


@app.command()
def references() -> None:
    """List the models of the paper beside their published figures."""
    from spach_nas.terminal import console, references_table

    console.print(references_table())


@app.command()
def doctor() -> None:
    """Say what this machine has, and what is missing for which feature."""
    from spach_nas.doctor import diagnose
    from spach_nas.terminal import console, findings_table

    findings = diagnose()
    console.print(findings_table(findings))
    if any(finding.fault for finding in findings):
        raise typer.Exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        from spach_nas.version import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    pass
