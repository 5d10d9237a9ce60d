"""The README.md of a bundle, a model card: what a person who finds it has to know."""

from collections.abc import Mapping, Sequence

from spach_nas.config.objectives import OBJECTIVES
from spach_nas.cost.closed_form import cost
from spach_nas.export.bundle import SAMPLES
from spach_nas.export.card_metadata import front_matter, licence_note
from spach_nas.export.card_use import use_section
from spach_nas.export.proof import Proof
from spach_nas.export.source import Choice
from spach_nas.report.drawing import DRAWN_HEIGHT, describe, draw, drawn_width
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import REFERENCES
from spach_nas.study import pareto
from spach_nas.study.records import Record
from spach_nas.units import format_count
from spach_nas.version import __version__

DRAWING = "architecture.svg"
_MARGIN = 8


def drawing(architecture: Architecture) -> str:
    """The drawing as a file of its own: on white, since no page around it lends its colours."""
    wide = drawn_width(architecture) + 2 * _MARGIN
    high = DRAWN_HEIGHT + 2 * _MARGIN
    inner = draw(architecture).replace("<svg ", f'<svg x="{_MARGIN}" y="{_MARGIN}" ', 1)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:g}" height="{high:g}" '
        f'viewBox="0 0 {wide:g} {high:g}" color="#1a1f26">'
        f'<rect width="100%" height="100%" rx="4" fill="#fff"/>{inner}</svg>\n'
    )


def card(
    choice: Choice,
    *,
    proof: Proof | None = None,
    left_out: Mapping[str, str] | None = None,
    test_accuracy: float | None = None,
    samples: int = 0,
) -> str:
    """Text of the README.md.

    Args:
        choice: What is exported.
        proof: How far the forms agree.
        left_out: Forms that are not there, and why.
        test_accuracy: On the test split, in [0, 1], when it was measured.
        samples: Images of the data that the bundle keeps.
    """
    forms = () if proof is None else tuple(dict.fromkeys(item.form for item in proof.agreements))
    parts = [
        front_matter(choice, test_accuracy=test_accuracy),
        f"# SPACH network, {choice.name}",
        f"![{describe(choice.architecture)}]({DRAWING})",
        f"`{choice.architecture}`",
        "A vision backbone of the SPACH frame (Zhao et al. 2021, "
        "[arXiv:2108.13002](https://arxiv.org/abs/2108.13002)), written by "
        f"spach-nas {__version__}.",
        "\n".join(["| | |", "|---|---|", *_facts(choice, test_accuracy)]),
        *_place(choice),
        "## Use\n\n" + use_section(choice, forms=forms),
        *([] if choice.training is None else [choice.training]),
        *_proof_section(proof, left_out or {}),
        *_samples_section(samples),
        "## Limits of use\n\n" + _limits_of_use(choice),
        "## Licence\n\n" + licence_note(choice),
    ]
    if choice.search_yaml is not None:
        parts.append(f"## Found by\n\n```yaml\n{choice.search_yaml.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def _facts(choice: Choice, test_accuracy: float | None) -> list[str]:
    architecture, figures = choice.architecture, cost(choice.architecture)
    height, width = architecture.image_size
    rows = [
        ("architecture", f"`{architecture.arch_id}`"),
        ("input", f"{architecture.in_channels} x {height} x {width}"),
        ("classes", f"{architecture.num_classes}"),
        ("parameters", f"{figures.params:,} ({format_count(figures.params)})"),
        ("multiply-accumulates", f"{figures.macs:,} ({format_count(figures.macs)})"),
    ]
    if choice.record is not None and choice.config is not None:
        seeds = f"search {choice.config.search.seed}, training {choice.record.seed}"
        rows += [("data", choice.config.data.name), ("seeds", seeds)]
    rows += _scores(choice, test_accuracy)
    return [f"| {name} | {value} |" for name, value in rows]


def _scores(choice: Choice, test_accuracy: float | None) -> list[tuple[str, str]]:
    rows = []
    if choice.record is not None and choice.record.curve:
        epochs = choice.record.fidelity.epochs
        text = f"{choice.record.curve[-1].accuracy:.4f} after {epochs} epochs"
        rows.append(("validation accuracy of the proxy", f"{text}; it was chosen by it"))
    if test_accuracy is not None:
        rows.append(("test accuracy", f"{test_accuracy:.4f}"))
    published = REFERENCES.get(choice.name)
    if choice.weights is None and published is not None and published.top1 is not None:
        note = "of the paper's weights, which are not here"
        rows.append(("published ImageNet-1K top-1", f"{published.top1} %, {note}"))
    return rows


def _place(choice: Choice) -> list[str]:
    """Where it lies in the front of its study, between which neighbours."""
    record = choice.record
    if record is None or not choice.front:
        return []
    trials = [member.trial for member in choice.front]
    if record.trial in trials:
        index = trials.index(record.trial)
        text = f"Number {index + 1} of {len(trials)} on the Pareto front, cheapest first."
        shown: Sequence[Record] = choice.front[max(0, index - 1) : index + 2]
    else:
        text = "Not on the Pareto front; its nearest members:"
        near = sorted(
            choice.front, key=lambda one: abs(one.target_cost.macs - record.target_cost.macs)
        )
        shown = sorted([*near[:2], record], key=lambda one: one.target_cost.macs)
    rows = [_neighbour(one, bold=one.trial == record.trial) for one in shown]
    head = "| trial | target | target MACs | target params | accuracy |\n|---|---|---|---|---|"
    return ["## Place in the search", text, "\n".join([head, *rows])]


def _neighbour(record: Record, *, bold: bool) -> str:
    accuracy = pareto.value(record, OBJECTIVES["accuracy"])
    mark = "**" if bold else ""
    # A bar would end the cell.
    name = str(record.architecture).replace("|", "\\|")
    cells = (
        f"{mark}{record.reference or record.trial}{mark}",
        f"`{name}`",
        format_count(record.target_cost.macs),
        format_count(record.target_cost.params),
        "" if accuracy is None else f"{accuracy:.4f}",
    )
    return f"| {' | '.join(cells)} |"


def _proof_section(proof: Proof | None, left_out: Mapping[str, str]) -> list[str]:
    if proof is None:
        return []
    rows = [
        f"| {item.form} | {item.weights} | {item.max_difference:.1e} | "
        f"{item.mean_difference:.1e} | {item.tolerance:.1e} | {item.top1_agreement:.0%} |"
        for item in proof.agreements
    ]
    return [
        "## Proof",
        f"Each form beside the network, on {proof.images}: with the bundle's weights, and with "
        "random ones under which every part matters. `spach-nas verify` computes it again.",
        "| form | weights | largest difference | mean | tolerance | same top-1 |\n"
        "|---|---|---|---|---|---|\n" + "\n".join(rows),
        *[f"Left out, {name}: {reason}." for name, reason in left_out.items()],
    ]


def _samples_section(samples: int) -> list[str]:
    if not samples:
        return []
    return [
        "## Samples",
        f"`{SAMPLES}` holds {samples} images of the network's data at the size of its input: "
        "`spach-nas verify` compares the forms on them. Whoever passes this bundle on passes them "
        "on, too; `spach-nas export ... --no-samples` leaves them out.",
    ]


def _limits_of_use(choice: Choice) -> str:
    if choice.weights is None:
        note = "" if choice.note is None else f" Note that {choice.note}."
        return f"An architecture without weights: it classifies nothing before it is trained.{note}"
    if choice.record is None:
        return "It knows the classes and the kind of images that it was trained on, and no others."
    target = choice.record.target_cost
    return (
        "This is the proxy that the search trained for a short time to rank architectures. Its "
        f"target has {format_count(target.params)} parameters and {format_count(target.macs)} "
        "multiply-accumulates and has to be trained at full size: export it with "
        "`--scale target`. Single short trainings differ by chance, and small proxies favour "
        "convolution: read the figures as a ranking, not as what the network can do."
    )
