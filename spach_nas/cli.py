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


Port = Annotated[
    int | None,
    typer.Option(
        min=1, max=65535, help="Of the page on this machine; default: the first free one from 8642."
    ),
]


def _check_port(port: int | None, *, wanted: bool, by: str) -> None:
    if port is not None and not wanted:
        raise typer.BadParameter(f"no page is served; expected {by}, too", param_hint="--port")


class ScaleName(StrEnum):
    """At which size to export."""

    proxy = "proxy"
    target = "target"


class RungRuleName(StrEnum):
    """Who goes on to more epochs in a replay."""

    off = "off"
    front = "front"
    accuracy = "accuracy"


class SchemaName(StrEnum):
    """Which YAML file a schema is for."""

    search = "search"
    space = "space"


class SplitName(StrEnum):
    """On which images to evaluate."""

    test = "test"
    val = "val"


class FormatName(StrEnum):
    """Of weights and features when a network is timed."""

    fp32 = "fp32"
    bf16 = "bf16"


class PictureFormat(StrEnum):
    """Of static pictures."""

    png = "png"
    svg = "svg"
    pdf = "pdf"


class PlotlyPlaceName(StrEnum):
    """Where the script that draws the figures of a page is."""

    embed = "embed"
    beside = "beside"


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
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Serve the report page meanwhile, to browsers here."),
    ] = False,
    port: Port = None,
    plugin: Plugins = None,
) -> None:
    """Search: train proxies within the limits, then write the report and export the best."""
    _check_port(port, wanted=watch, by="--watch")
    with contextlib.ExitStack() as stack:
        page = None
        if watch and not dry_run:
            from spach_nas.report.live_process import PageProcess

            page = stack.enter_context(PageProcess(port, plugins=plugin or ()))
            print(f"page     {page.url}", flush=True)
        from spach_nas.plan import plan_search
        from spach_nas.terminal import LiveView, console, print_plan, print_result

        view = stack.enter_context(LiveView(console).shown())
        plan = plan_search(
            file, out=out, resume=resume, say=lambda line: console.print(line, highlight=False)
        )
        if not dry_run:
            from spach_nas.run import run_plan

            listener = view if page is None else page.beside(view)
            study = run_plan(plan, out=out, resume=resume, listener=listener)
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
    page: Annotated[
        bool,
        typer.Option("--page", help="Serve the report page, too, to browsers here, until Ctrl-C."),
    ] = False,
    port: Port = None,
    plugin: Plugins = None,
) -> None:
    """Watch a search from another terminal until it ends."""
    _check_port(port, wanted=page, by="--page")
    if once and page:
        raise typer.BadParameter("ends at once; expected it without --page", param_hint="--once")
    with contextlib.suppress(KeyboardInterrupt):  # leaving is no fault
        from spach_nas.live.view import make_console
        from spach_nas.live.watching import watch as watch_folder

        console = make_console()
        if page:
            from spach_nas.report.live_process import watch_with_page

            watch_with_page(folder, console=console, port=port)
        progress = watch_folder(folder, console=console, once=once)
        if progress.phase == "silent" and not once:
            raise typer.Exit(1)


@app.command()
def report(
    folder: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Folder of a study; several are compared."),
    ],
    static: Annotated[
        PictureFormat | None,
        typer.Option(help="Write front, hypervolume and drawings as pictures for print, too."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File that compares; default: comparison.html.")
    ] = None,
    baseline: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of a study to measure by, such as a random one; may stand again."
        ),
    ] = None,
    plotly: Annotated[
        PlotlyPlaceName,
        typer.Option(help="Plotly's script, 4.8 MB: part of report.html, or a file beside it."),
    ] = PlotlyPlaceName.embed,
    plugin: Plugins = None,
) -> None:
    """Build report.html from the records of a study, or one page that compares several."""
    baselines = baseline or []
    if len(folder) > 1 or len(baselines) > 1 or (baselines and out):
        if static is not None:
            raise SpachNasError(f"--static: {static.value} of several studies; expected one folder")
        from spach_nas.report.comparison import write_comparison

        print(write_comparison(folder, out or Path("comparison.html"), baselines=baselines))
        return
    if out is not None:
        raise SpachNasError(f"--out: {out} for one study; expected several: its own is report.html")
    from spach_nas.report.study import write_study_pictures, write_study_report

    beside = baselines[0] if baselines else None
    path = write_study_report(folder[0], plotly=plotly.value, baseline=beside)
    print(path, flush=True)
    if static is not None:
        print(*write_study_pictures(folder[0], kind=static.value), sep="\n")


@app.command()
def export(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder of a study or of a bundle, a model of the paper, or an architecture file."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the bundle, or with --top of the bundles; made anew.")
    ],
    pick: Annotated[
        str | None,
        typer.Option(help="In a study: best (the default), knee, a trial number or an arch_id."),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="The most accurate of a study's front, so many; not with --pick."),
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            help="onnx,pt2 or all, beside safetensors; default: all that can be made here."
        ),
    ] = None,
    scale: Annotated[
        ScaleName | None,
        typer.Option(help="The trained proxy, or the target, which has no weights yet."),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Write a network as a bundle for timm, PyTorch and ONNX, with proof that its forms agree."""
    from spach_nas.export import Scale, choose, choose_top, export_all, parse_formats
    from spach_nas.export import export as export_choice
    from spach_nas.export.view import doing, print_exported

    if pick is not None and top is not None:
        raise typer.BadParameter("expected one of --pick and --top", param_hint="--top")
    wanted = None if formats is None else parse_formats(formats)
    scale_to: Scale | None = None if scale is None else scale.value
    with doing("export") as tell:
        if top is not None:
            choices = choose_top(source, top, scale_to=scale_to)
            written = export_all(choices, out=out, formats=wanted, tell=tell)
        else:
            choice = choose(source, pick=pick or "best", scale_to=scale_to)
            written = (export_choice(choice, out=out, formats=wanted, tell=tell),)
    print_exported(written)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail where a form cannot be run here, too.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Check that a bundle is what was exported and that its forms agree on this machine."""
    from spach_nas.export import verify as verify_bundle
    from spach_nas.export.view import doing, print_verification

    with doing("verify") as tell:
        found = verify_bundle(bundle, tell=tell)
    print_verification(found)
    if found.problems or (strict and found.unchecked):
        raise typer.Exit(1)


@app.command()
def train(
    source: Annotated[
        str,
        typer.Argument(
            help="A bundle, a study (its best target), an architecture file, or a model of the "
            "paper."
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="FOLDER|NAME",
            help="A folder with train/ and val/, fashion-mnist, fashion-mini, or timm's torch/... "
            "and hfds/...",
        ),
    ],
    recipe: Annotated[str, typer.Option(help="spach, short, or a YAML file.")] = "spach",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; default: results/SOURCE-DATA.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on where it was stopped or killed; begin where nothing is."
        ),
    ] = False,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="official:PATH|BUNDLE|STUDY",
            help="Weights to begin with: a checkpoint of the paper's code, or trained ones.",
        ),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change the recipe: epochs=10; may stand again."
        ),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Train a network at full size, and write it as a bundle."""
    from spach_nas.full.session import train_in_terminal

    with contextlib.suppress(KeyboardInterrupt):
        train_in_terminal(
            source,
            data=data,
            recipe=recipe,
            out=out,
            resume=resume,
            init=init,
            changes=change or (),
        )
        return
    print("stopped; the same command with --resume goes on", file=sys.stderr)
    raise typer.Exit(130)


@app.command()
def evaluate(
    bundle: Annotated[str, typer.Argument(help="A bundle, or a study (its best proxy).")],
    data: Annotated[
        str,
        typer.Option(
            metavar="FOLDER|NAME",
            help="A folder with test/ or val/, fashion-mnist, fashion-mini, or timm's torch/... "
            "and hfds/...",
        ),
    ],
    split: Annotated[
        SplitName | None, typer.Option(help="Default: test where there is one, else val.")
    ] = None,
    batch_size: Annotated[
        str, typer.Option(metavar="N,...", help="To measure the speed at.")
    ] = "1,32",
    root: Annotated[Path | None, typer.Option(help="Folder of a data set with a name.")] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave broken files out, and say how many.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plugin: Plugins = None,
) -> None:
    """Score a trained network, class by class, and time it on this device."""
    from spach_nas.full.session import evaluate_in_terminal

    evaluate_in_terminal(
        bundle,
        data=data,
        split=None if split is None else "test" if split == SplitName.test else "validation",
        batch_sizes=batch_size,
        root=root,
        skip_broken=skip_broken,
        as_json=as_json,
    )


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
def latency(
    source: Annotated[
        str,
        typer.Argument(
            help="A model of the paper, a bundle or an architecture file; a search with --table."
        ),
    ],
    batch_size: Annotated[
        str | None, typer.Option(metavar="N,N...", help="Images in a forward pass; default: 1.")
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME...", help="Of eager, compile and onnx; default: all."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps or auto, the default.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the CPU; default: 1.")
    ] = None,
    precision: Annotated[
        FormatName | None, typer.Option(help="Of weights and features; default: fp32.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Time the parts of all networks of a search, for a search anywhere to take.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, milliseconds.")] = False,
    plugin: Plugins = None,
) -> None:
    """Time a network on this device, or the parts of all networks of a search."""
    from spach_nas.latency.command import Request, print_network, print_space

    asked = Request(
        source=source,
        batch_size=batch_size,
        runtime=runtime,
        device=device,
        threads=threads,
        precision=precision.value if precision else None,
    )
    if table is not None:
        print_space(asked, table, as_json=as_json)
    else:
        print_network(asked, as_json=as_json)


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
        source = read_space_source(
            file, images=timing, say=lambda line: print(line, file=sys.stderr)
        )
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
def schema(
    file: Annotated[SchemaName, typer.Argument(help="Which YAML file it is for.")],
    plugin: Plugins = None,
) -> None:
    """Print the JSON Schema of a YAML file, for editors."""
    from spach_nas.schema import search_schema, space_schema

    print(json.dumps(search_schema() if file == SchemaName.search else space_schema(), indent=1))


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
