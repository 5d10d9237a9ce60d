"""Commands that search, and that watch a search."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from spach_nas.cli.options import Plugins, Port, check_port


def search(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE|NAME", help="A search YAML, or a shipped one: quickstart."),
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
            help="Go on with a study that was stopped or killed; begin it where there is none.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", metavar="", help="Check everything, train and write nothing."),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", metavar="", help="Serve the report page meanwhile, to browsers here."
        ),
    ] = False,
    port: Port = None,
    plugin: Plugins = None,
) -> None:
    """Search: train proxies within the limits, then write the report and export the best."""
    check_port(port, wanted=watch, by="--watch")
    from spach_nas.plan import plan_search
    from spach_nas.terminal import LiveView, console, print_plan, print_result

    view = LiveView(console)
    # Up before torch, Ray and Plotly are imported; a mistake is told before that.
    with view.shown():
        plan = plan_search(
            file, out=out, resume=resume, say=lambda line: console.print(line, highlight=False)
        )
    if dry_run:
        print_plan(plan)
        return
    with contextlib.ExitStack() as stack:
        page = None
        if watch:
            from spach_nas.report.live_process import PageProcess

            page = stack.enter_context(PageProcess(port, plugins=plugin or ()))
            print(f"page     {page.url}", flush=True)
        stack.enter_context(view.shown())
        from spach_nas.run import run_plan

        listener = view if page is None else page.beside(view)
        study = run_plan(plan, out=out, resume=resume, listener=listener)
    print_result(study)
    if study.stopped:
        raise typer.Exit(130)


def watch(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a study.")],
    once: Annotated[bool, typer.Option("--once", metavar="", help="Show it once, whole.")] = False,
    page: Annotated[
        bool,
        typer.Option(
            "--page", metavar="", help="Serve the report page, too, to browsers here, until Ctrl-C."
        ),
    ] = False,
    port: Port = None,
    plugin: Plugins = None,
) -> None:
    """Watch a search from another terminal until it ends."""
    check_port(port, wanted=page, by="--page")
    if once and page:
        raise typer.BadParameter("ends at once; expected it without --page", param_hint="--once")
    with contextlib.suppress(KeyboardInterrupt):  # leaving is no fault
        from spach_nas.live.view import make_console
        from spach_nas.live.watching import Watcher
        from spach_nas.live.watching import watch as watch_folder

        console = make_console()
        if page:
            Watcher(folder)  # says what is wrong with it before Plotly is imported
            from spach_nas.report.live_process import watch_with_page

            watch_with_page(folder, console=console, port=port)
        progress = watch_folder(folder, console=console, once=once)
        if progress.phase == "silent" and not once:
            raise typer.Exit(1)
