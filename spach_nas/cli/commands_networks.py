"""Commands for one network: its bundle, training, scores, cost and latency; and this machine."""

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from spach_nas.cli.options import AsJson, Plugins, Resume, check_file


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|NAME|FILE",
            help="Folder of a study or of a bundle, a model of the paper, or an architecture file.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            help="New folder for the bundle, or with --top for all bundles.",
        ),
    ],
    pick: Annotated[
        str | None,
        typer.Option(
            metavar="best|knee|N|ID",
            help="For a study: best (the default), knee, a trial number or an arch_id.",
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Export the N most accurate networks of a study's front; not with --pick.",
        ),
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME...",
            help="onnx,pt2 or all, in addition to safetensors; default: all that can be made here. "
            "Only by name: onnx_fp16, onnx_int8.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|NAME",
            help="Images to calibrate onnx_int8 and to score it and onnx_fp16 on; default: those "
            "of the study.",
        ),
    ] = None,
    max_loss: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0,
            max=1,
            help="By how much their top-1 may be lower; default: 0.01.",
        ),
    ] = None,
    opset: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=18, max=23, help="Version of ONNX's operator set; default: 20."
        ),
    ] = None,
    scale: Annotated[
        Literal["proxy", "target"] | None,
        typer.Option(
            metavar="proxy|target",
            help="The trained proxy, or the target, which has no weights yet.",
        ),
    ] = None,
    samples: Annotated[
        bool,
        typer.Option(
            help="Store a few images of the data in the bundle, for verify; the card says so.",
        ),
    ] = True,
    plugin: Plugins = None,
) -> None:
    """Write a network as a bundle for timm, PyTorch and ONNX, with proof that its forms agree."""
    from spach_nas.cli.status_line import doing
    from spach_nas.export.bundle import parse_formats
    from spach_nas.files import check_new

    if pick is not None and top is not None:
        raise typer.BadParameter("expected one of --pick and --top", param_hint="--top")
    wanted = None if formats is None else parse_formats(formats)
    if opset is not None and wanted is not None and not any("onnx" in name for name in wanted):
        raise typer.BadParameter("expected onnx among --formats", param_hint="--opset")
    with doing("reading the network") as tell:
        # Everything that needs no torch comes first, so that mistakes are reported at once.
        from spach_nas.export.choice import choose, choose_top

        if top is not None:
            several = choose_top(source, top, scale_to=scale)
            choices = {out / item.name.replace(" ", "-"): item for item in several}
        else:
            check_new(out)
            choices = {out: choose(source, pick=pick or "best", scale_to=scale)}
        tell("loading PyTorch")
        from spach_nas.cli.export_view import print_exported
        from spach_nas.export.exporting import export as export_bundle
        from spach_nas.export.scored_images import MAX_LOSS
        from spach_nas.networks.onnx_graph import OPSET

        prefix = ""

        def tell_which(what: str) -> None:
            tell(f"{prefix}{what}")

        for folder, choice in choices.items():
            prefix = f"{folder.name}, " if top is not None else ""
            export_bundle(
                choice,
                out=folder,
                formats=wanted,
                opset=opset or OPSET,
                data=data,
                max_loss=MAX_LOSS if max_loss is None else max_loss,
                keep_samples=samples,
                tell=tell_which,
            )
    print_exported(choices, notes=[item.note for item in choices.values() if item.note is not None])


def verify(
    bundle: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a bundle.")],
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Also fail if a form cannot be run here."),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(metavar="FOLDER|NAME", help="Score small formats on these images again."),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Check that a bundle is what was exported and that its forms agree on this machine."""
    from spach_nas.cli.status_line import doing
    from spach_nas.export.bundle import read_manifest

    read_manifest(bundle)  # a folder that is no bundle is reported before PyTorch is loaded
    with doing("loading PyTorch") as tell:
        from spach_nas.cli.export_view import print_verification
        from spach_nas.export.proof import verify as verify_bundle

        found = verify_bundle(bundle, data=data, tell=tell)
    if not print_verification(found, strict=strict):
        raise typer.Exit(1)


def train(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|NAME|FILE",
            help="A bundle, a study (its best target), an architecture file, a model of the paper, "
            "or one of timm as timm/NAME.",
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="FOLDER|NAME",
            help="A folder with train/ and val/, fashion-mnist, fashion-mini, controls/..., or "
            "timm's torch/... and hfds/...",
        ),
    ],
    recipe: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="spach, short, or a YAML file.")
    ] = "spach",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of the run; default: results/SOURCE-DATA."),
    ] = None,
    resume: Resume = False,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="official:PATH|BUNDLE|STUDY",
            help="Initial weights: a checkpoint of the paper's code, a bundle or a study; of a "
            "model of timm: pretrained, or a file.",
        ),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change the recipe, such as epochs=10; may be given several times.",
        ),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Train a network at full size, and write it as a bundle."""
    from spach_nas.cli.status_line import doing

    with doing("loading PyTorch"):
        from spach_nas.cli.training_view import train_in_terminal
        from spach_nas.full_size.training_plan import TrainingRequest

    # Ctrl-C is no failure, since the run can be resumed, but the exit code says that it stopped.
    with contextlib.suppress(KeyboardInterrupt):
        train_in_terminal(
            TrainingRequest(
                source=source,
                data=data,
                recipe=recipe,
                out=out,
                resume=resume,
                init=init,
                changes=change or (),
            )
        )
        return
    print("stopped; the same command with --resume continues it", file=sys.stderr)
    raise typer.Exit(130)


def evaluate(
    bundle: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|timm/NAME",
            help="A bundle, a study (its best proxy), or a model of timm with its weights.",
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="FOLDER|NAME",
            help="A folder with test/ or val/, fashion-mnist, fashion-mini, controls/..., or "
            "timm's torch/... and hfds/...",
        ),
    ],
    split: Annotated[
        Literal["test", "val"] | None,
        typer.Option(metavar="test|val", help="Default: test if there is one, otherwise val."),
    ] = None,
    batch_size: Annotated[
        str, typer.Option(metavar="N,...", help="Batch sizes at which to measure the speed.")
    ] = "1,32",
    root: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder of a data set given by name.")
    ] = None,
    skip_broken: Annotated[
        bool,
        typer.Option("--skip-broken", help="Skip broken files, and say how many."),
    ] = False,
    as_json: AsJson = False,
    plugin: Plugins = None,
) -> None:
    """Score a trained network, overall and by class, and time it on this device."""
    from spach_nas.cli.status_line import doing

    with doing("loading PyTorch"):
        from spach_nas.cli.training_view import evaluate_in_terminal

    evaluate_in_terminal(
        bundle,
        data=data,
        split="validation" if split == "val" else split,
        batch_sizes=batch_size,
        root=root,
        skip_broken=skip_broken,
        as_json=as_json,
    )


def cost(
    source: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE",
            help="A model of the paper, an architecture file, or a model of timm as timm/NAME.",
        ),
    ],
    as_json: AsJson = False,
    plugin: Plugins = None,
) -> None:
    """Print the exact cost of an architecture; that of a model of timm is traced."""
    from spach_nas.space.timm_reference import is_timm

    shown, figures = _timm_figures(source) if is_timm(source) else _own_figures(source)
    if as_json:
        print(json.dumps(figures))
        return
    print(shown)
    for name, value in figures.items():
        print(f"{name:<16} {value:>16,}" if isinstance(value, int) else f"{name:<16} {value:>16}")


def _own_figures(source: str) -> tuple[str, dict[str, int | float | str]]:
    from spach_nas.cost.closed_form import cost as cost_of
    from spach_nas.cost.memory import saved_bytes
    from spach_nas.space.read_architecture import as_architecture

    architecture = as_architecture(source)
    return str(architecture), {
        "arch_id": architecture.arch_id,
        **cost_of(architecture)._asdict(),
        "saved_bytes": saved_bytes(architecture),
        "saved_bytes_bf16": saved_bytes(architecture, precision="bf16"),
    }


def _timm_figures(source: str) -> tuple[str, dict[str, int | float | str]]:
    from spach_nas.space.timm_reference import published, timm_name

    timm_name(source)  # a misspelt name is told before PyTorch is loaded
    from spach_nas.networks.timm_networks import named_timm, timm_cost

    model = named_timm(source)
    figures: dict[str, int | float | str] = {**timm_cost(model)._asdict()}
    found = published(model.name)
    if found is not None:
        figures["published_top1"] = found.top1
        figures["published_size"] = found.image_size
        figures["published_model"] = found.model
    return str(model), figures


def latency(
    source: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FOLDER|FILE",
            help="A model of the paper, a bundle, an architecture file, or a model of timm as "
            "timm/NAME; with --table, a search.",
        ),
    ],
    batch_size: Annotated[
        str | None, typer.Option(metavar="N,N...", help="Images in a forward pass; default: 1.")
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME...",
            help="Of eager, compile, onnx, openvino, tensorrt; default: the first three.",
        ),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"] | None,
        typer.Option(metavar="auto|cpu|cuda|mps", help="Default: auto."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Threads of the CPU; default: 1.")
    ] = None,
    precision: Annotated[
        Literal["fp32", "bf16", "fp16", "int8"] | None,
        typer.Option(
            metavar="fp32|bf16|fp16|int8",
            help="Number format of weights and features; default: fp32.",
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Time the parts of all networks of a search into a table that searches can use.",
        ),
    ] = None,
    as_json: AsJson = False,
    plugin: Plugins = None,
) -> None:
    """Time a network on this device, or the parts of all networks of a search."""
    # Whatever can be checked without torch is, because importing it takes seconds.
    from spach_nas.config.runtime_registry import USUAL
    from spach_nas.latency import request
    from spach_nas.latency.latency_table import read_table
    from spach_nas.space.architecture import Architecture
    from spach_nas.space.timm_reference import TimmModel, is_timm, timm_name

    if table is None:
        batch_sizes = request.parse_batch_sizes(batch_size or "1")
        runtimes = request.parse_runtimes(runtime or ",".join(USUAL))
        network: Architecture | TimmModel
        if is_timm(source):
            timm_name(source)  # a misspelt name is told before PyTorch is loaded
            from spach_nas.networks.timm_networks import named_timm

            network = named_timm(source)
        else:
            network = request.find_network(source)
        from spach_nas.cli.latency_view import print_network

        print_network(
            network,
            name=source,
            batch_sizes=batch_sizes,
            runtimes=runtimes,
            device=device or "auto",
            threads=threads or 1,
            precision=precision or "fp32",
            as_json=as_json,
        )
        return
    check_file(table, option="--table")
    settings = request.table_settings(
        batch_size=batch_size, runtime=runtime, device=device, threads=threads, precision=precision
    )
    space = request.find_space(source)
    if table.exists():  # it will be continued, so it has to be readable
        read_table(table)
    from spach_nas.cli.latency_view import print_space

    print_space(space, settings, table, as_json=as_json)


def references() -> None:
    """List the models of the paper with their published figures."""
    from spach_nas.cli.space_view import references_table
    from spach_nas.cli.status_line import make_console

    make_console().print(references_table())


def doctor() -> None:
    """Report what this machine has, and which features lack something."""
    from spach_nas.cli.doctor import diagnose, findings_table
    from spach_nas.cli.status_line import make_console

    findings, console = diagnose(), make_console()
    console.print(findings_table(findings))
    faults = [finding.name for finding in findings if finding.fault]
    if faults:
        console.print(f"FAILED: {', '.join(faults)}", style="bold", markup=False)
        raise typer.Exit(1)
    console.print("everything that a search needs is installed", style="bold")
