"""Commands that evaluate finished studies."""

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from spach_nas.cli.options import Plugins, check_file
from spach_nas.errors import SpachNasError
from spach_nas.paths import command_line


class PictureFormat(StrEnum):
    """The format of static pictures."""

    png = "png"
    svg = "svg"
    pdf = "pdf"


class RungRuleName(StrEnum):
    """The rule for promotion to the next rung in a replay."""

    off = "off"
    front = "front"
    accuracy = "accuracy"


def report(
    folder: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER", help="Folder of a study; several are compared."),
    ],
    static: Annotated[
        PictureFormat | None,
        typer.Option(
            metavar="png|svg|pdf",
            help="Also write front, hypervolume and drawings as pictures for print.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File of a comparison; default: comparison.html."),
    ] = None,
    baseline: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of a study to compare with, such as a random search; may be given "
            "several times. Makes a comparison.",
        ),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Build report.html from the records of a study, or one page that compares several."""
    check_file(out, option="--out")
    baselines = baseline or []
    if len(folder) > 1 or baselines:
        if static is not None:
            raise SpachNasError(f"--static: {static.value} of several studies; expected one folder")
        from spach_nas.report.comparison import read_studies

        studies, out = read_studies(folder, baselines=baselines), out or Path("comparison.html")
        from spach_nas.report.comparison_page import write_comparison

        others = [word for one in baselines for word in ("--baseline", one)]
        command = command_line("report", *folder, *others, "--out", out)
        print(write_comparison(studies, out, command=command))
        return
    if out is not None:
        raise SpachNasError(f"--out: {out} for one study; expected several: its own is report.html")
    from spach_nas.report.study import write_study_pictures, write_study_report

    path = write_study_report(folder[0])
    print(path, flush=True)  # before the pictures, which take longer
    if static is not None:
        print(*write_study_pictures(folder[0], kind=static.value), sep="\n")


def replay(
    table: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER|FILE",
            help="Folders of studies, or a table with its search.yaml next to it.",
        ),
    ],
    sampler: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Sampler to compare; may be given several times. Default: random, nsga2, tpe, "
            "surrogate.",
        ),
    ] = None,
    rungs: Annotated[
        list[RungRuleName] | None,
        typer.Option(
            metavar="off|front|accuracy",
            help="Rule to compare; may be given several times. Default: all.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="Searches per strategy.")] = 30,
    workers: Annotated[int, typer.Option(metavar="N", min=1, help="Concurrent trainings.")] = 2,
    trials: Annotated[int, typer.Option(metavar="N", min=1, help="Trials per search.")] = 100,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the results as CSV.")
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Compare samplers and rungs on architectures that have already been trained."""
    from spach_nas.cli.status_line import doing, make_console

    check_file(out, option="--out")
    names = sampler or ["random", "nsga2", "tpe", "surrogate"]
    console = make_console()
    with doing("reading the trainings") as tell:
        from spach_nas.replay.comparison import compare, strategies, write_regrets

        chosen = strategies(names, [rule.value for rule in rungs or RungRuleName])
        from spach_nas.cli.replay_view import benchmark_line, regret_table, search_words
        from spach_nas.replay.benchmark import read_benchmark

        benchmark = read_benchmark(table)
    console.print(benchmark_line(benchmark), soft_wrap=True, highlight=False)
    with doing(search_words(0, 0.0, chosen=chosen, seeds=seeds)) as tell:
        started = time.monotonic()

        def on_search(done: int) -> None:
            words = search_words(done, time.monotonic() - started, chosen=chosen, seeds=seeds)
            # Without a terminal, print one line for each strategy.
            (tell.update if done % (2 * seeds) else tell)(words)

        rows = list(
            compare(
                benchmark, chosen, seeds=seeds, trials=trials, workers=workers, on_search=on_search
            )
        )
    console.print(regret_table(rows, "trials"), regret_table(rows, "seconds"))
    if out is not None:
        write_regrets(rows, out)
        print(out)
