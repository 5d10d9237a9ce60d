"""Commands that run a search, and that watch one."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from spach_nas.cli.options import Plugins


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
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            metavar="",
            help="Resume a study that was stopped or killed, or begin it if there is none.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            metavar="",
            help="Check everything and estimate what it would take; start nothing.",
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
            from spach_nas.cli.budget_view import foresee, print_budget
            from spach_nas.cli.terminal import LiveView, print_plan, print_result

            estimate = foresee(plan, out=out, resume=resume, doing=steps)
            if not dry_run:  # Ray takes seconds to import and is not needed to check
                steps("loading Ray")
                from spach_nas.search.run import run_plan
        if dry_run:
            print_plan(plan)
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
    print_result(study)
    if study.stopped:
        raise typer.Exit(130)  # the convention of shells for Ctrl-C
    if not study.front():
        raise typer.Exit(1)


def watch(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a study.")],
    once: Annotated[
        bool, typer.Option("--once", metavar="", help="Show the whole state once, and leave.")
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
