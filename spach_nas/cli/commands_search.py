"""Commands around a search: prepare it, run it, watch it, and evaluate its records."""

import contextlib
import json
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from spach_nas.cli.options import AsJson, Plugins, Resume, check_file
from spach_nas.errors import SpachNasError
from spach_nas.paths import command_line


class RungRule(StrEnum):
    """The rule for promotion in a replay. Not a Literal, since typer takes no lists of these."""

    off = "off"
    front = "front"
    accuracy = "accuracy"


def search(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|NAME", help="A search YAML, or a shipped one such as quickstart."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of the study; default: results/STUDY."),
    ] = None,
    resume: Resume = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check everything and estimate what it would take; start nothing."
        ),
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Search: train proxies within the limits, write the report and export the best network."""
    from spach_nas.cli.status_line import Steps, make_console

    console = make_console()
    with contextlib.ExitStack() as stack:
        with Steps(console, long_s=0.0).shown() as steps:
            steps(f"{file}: checking")
            from spach_nas.search.plan import plan_search

            plan = plan_search(
                file,
                out=out,
                resume=resume,
                say=lambda line: console.print(line, highlight=False, markup=False),
                doing=steps,
            )
            from spach_nas.cli.live_view import LiveView
            from spach_nas.cli.search_view import print_budget, print_plan, print_result
            from spach_nas.search.budget import foresee

            estimate = foresee(plan, out=out, resume=resume, doing=steps)
            if not dry_run:  # Ray takes seconds to import and is not needed to check
                steps("loading Ray")
                from spach_nas.search.run import run_plan
        if dry_run:
            print_plan(plan, console=console)
        print_budget(plan, estimate, console=console)
        if dry_run:
            return
        view = stack.enter_context(LiveView(console).shown())
        study = run_plan(
            plan,
            out=out,
            resume=resume,
            listener=view,
            foreseen=None if estimate is None else estimate.foreseen,
            doing=view.doing,
        )
    print_result(study, console=console)
    if study.stopped:
        raise typer.Exit(130)  # the convention of shells for Ctrl-C
    if not study.front():
        raise typer.Exit(1)


def watch(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a study.")],
    once: Annotated[
        bool, typer.Option("--once", help="Show the whole state once, and leave.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Watch a search from another terminal until it ends."""
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is the way to leave
        from spach_nas.cli.live_view import watch as watch_folder
        from spach_nas.cli.status_line import make_console

        progress = watch_folder(folder, console=make_console(), once=once)
        if progress.phase == "silent" and not once:
            raise typer.Exit(1)


def space(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|NAME",
            help="A search YAML, a search space, or a shipped one such as quickstart.",
        ),
    ],
    timing: Annotated[
        bool, typer.Option(help="Time a few training steps to estimate the whole search.")
    ] = True,
    as_json: AsJson = False,
    plugin: Plugins = None,
) -> None:
    """Describe a search space within its limits, and estimate what the search would take."""
    from spach_nas.cli.status_line import doing

    with doing(f"reading {file}") as tell:
        from spach_nas.cli.space_view import print_estimate, print_space, space_json
        from spach_nas.search.plan import read_space_source
        from spach_nas.search.space_report import describe_space

        # Warnings go to standard error, because standard output may be JSON.
        source = read_space_source(
            file, images=timing, say=lambda line: print(line, file=sys.stderr), doing=tell
        )
        tell("drawing samples, and counting without each limit")
        report, estimate = describe_space(source.feasible), None
    if not as_json:
        print_space(source.name, report)
    if source.plan is not None:
        from spach_nas.search.proxy_timing import time_search

        with doing("timing a few training steps"):
            estimate = time_search(source.plan)
        if not as_json:
            print_estimate(estimate)
    if as_json:
        print(space_json(source.name, report, estimate))


def schema(
    file: Annotated[
        Literal["search", "space"],
        typer.Argument(metavar="search|space", help="The YAML file to describe."),
    ],
    plugin: Plugins = None,
) -> None:
    """Print the JSON Schema of a YAML file, for editors."""
    from spach_nas.config.schema import search_schema, space_schema

    print(json.dumps(search_schema() if file == "search" else space_schema(), indent=1))


def report(
    folder: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER", help="Folder of a study; several are compared."),
    ],
    static: Annotated[
        Literal["png", "svg", "pdf"] | None,
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
            raise SpachNasError(f"--static: {static} of several studies; expected one folder")
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
        print(*write_study_pictures(folder[0], kind=static), sep="\n")


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
        list[RungRule] | None,
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
    console = make_console()
    with doing("reading the trainings") as tell:
        from spach_nas.replay.regrets import compare, strategies, write_regrets

        names = sampler or ["random", "nsga2", "tpe", "surrogate"]
        chosen = strategies(names, [rule.value for rule in rungs or RungRule])
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


def audit(
    source: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER|FILE",
            help="Folders of studies, a table with its search.yaml next to it, or a search YAML, "
            "of whose architectures a sample is trained.",
        ),
    ],
    score: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Training-free score; may be given several times. Default: all of them.",
        ),
    ] = None,
    evaluator: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|YAML",
            help="Another evaluator, as in a search YAML, such as '{name: supernet, epochs: 20}'; "
            "may be given several times.",
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=8,
            help="Architectures to score, drawn at random; default: all of a table, 40 of a search "
            "YAML, which are trained.",
        ),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where these are trained, and continued; default: results/STUDY_audit. What "
            "evaluators prepare is kept there, too.",
        ),
    ] = None,
    bands: Annotated[
        int, typer.Option(metavar="N", min=1, help="Bands of MACs to rank within.")
    ] = 6,
    scores: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Scores as CSV: those in it are not computed again, new ones added.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the results as CSV.")
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Measure how well scores rank architectures that have been fully trained."""
    from spach_nas.cli.status_line import doing, make_console

    check_file(out, option="--out")
    check_file(scores, option="--scores")
    with doing("checking") as tell:
        from spach_nas.config.evaluator_registry import choices_of

        choices = choices_of(score, evaluator or [])
        tell("loading PyTorch")
        from spach_nas.cli.audit_view import audit_table, run_audit
        from spach_nas.study.audit_rows import verdict, write_audit

        rows = run_audit(
            source,
            choices,
            sample=sample,
            study=study,
            bands=bands,
            scores=scores,
            tell=tell,
        )
    make_console().print(audit_table(rows), verdict(rows), highlight=False)
    if out is not None:
        write_audit(rows, out)
        print(out)


def rediscover(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|NAME",
            help="The YAML of a rediscovery, or a shipped one such as rediscover_controls.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder for all of it; default: results/NAME."),
    ] = None,
    resume: Resume = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the file and list the studies; start nothing.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Check that searches find what is known to be right, and judge the protocol by that."""
    from spach_nas.cli.status_line import doing
    from spach_nas.config.recipe import load_recipe
    from spach_nas.config.rediscovery_settings import load_rediscovery
    from spach_nas.study.folder import check_new

    given = load_rediscovery(file)
    folder = out or Path("results") / Path(file).stem
    if not resume and not dry_run:
        check_new(folder)
    with doing("counting what is inside the limits") as tell:
        from spach_nas.replay.cold_trainings import cold_changes
        from spach_nas.replay.rediscovery import effort, studies

        changes = cold_changes(given.search, given.cold, seed=given.cold.first_seed)
        load_recipe(given.cold.recipe, changes=changes)
        configs = studies(given)
        for line in effort(given, configs):
            print(line)
        if dry_run:
            return
        from spach_nas.replay.rediscovery_page import verdict, write_rediscovery
        from spach_nas.replay.rediscovery_verdict import rediscover as run

        try:
            found = run(given, folder, doing=tell)
        except KeyboardInterrupt:
            print("stopped; the same command with --resume continues it", file=sys.stderr)
            raise typer.Exit(130) from None
        page = write_rediscovery(found, folder)
    for one in found.limits:
        print(*verdict(one), sep="\n")
    print(page)
