"""The page and the table of a rediscovery."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev

from markupsafe import Markup
from plotly import graph_objects as go

from spach_nas.config.objectives import OBJECTIVES
from spach_nas.config.rediscovery_settings import Rediscovery
from spach_nas.data.controls import PREFIX
from spach_nas.files import replace_text
from spach_nas.replay.audit import FEWEST
from spach_nas.replay.control_checks import ControlOutcome
from spach_nas.replay.rediscovery_verdict import Effect, Rediscovered, UnderLimit
from spach_nas.report.document import Section, document, render
from spach_nas.report.theme import BLUE, LIGHT, VERMILLION, layout, plain
from spach_nas.space.references import REFERENCES
from spach_nas.study.audit_rows import CEILING, Estimate, audit_doubts, write_audit
from spach_nas.study.intervals import record_words
from spach_nas.units import format_count

_TEMPLATE = "rediscovery.html"
_UNKNOWN = "\N{EN DASH}"
_COLUMNS = (
    *("limits", "role", "architecture", "macs", "params", "blocks_to_change", "accuracy"),
    *("cold_seeds", "cold_test", "cold_deviation", "ahead", "ahead_low", "ahead_high"),
)
PAGE, TABLE, AUDIT = "rediscovery.html", "rediscovery.csv", "audit.csv"
CONTROLS_TABLE = "controls.csv"


def write_rediscovery(found: Rediscovered, folder: Path) -> Path:
    """Write the page, the table, and the audit if there is one; the path of the page."""
    if found.audit:
        write_audit(found.audit, folder / AUDIT)
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows(found))
    replace_text(folder / TABLE, text.getvalue())
    if found.controls:
        _write_controls(found.controls, folder / CONTROLS_TABLE)
    doubts = tuple(_doubts(found, folder))
    sentences = [sentence for one in found.limits for sentence in verdict(one)]
    title = f"Rediscovery: {found.given.search.study}"
    header = render(_TEMPLATE, "header", title, known_words(found.given), doubts, sentences)
    replace_text(
        folder / PAGE,
        document(name=title, header=header, sections=_sections(found)),
    )
    return folder / PAGE


def _write_controls(outcomes: Sequence[ControlOutcome], path: Path) -> None:
    """What a mixer is worth on a control task; a row for each."""
    text = io.StringIO()
    names = ("task", "best", "blocks_to_change", "mixer", "worth", "worth_low", "worth_high")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for one in outcomes:
        for mixer, worth in one.worths.items():
            points = (f"{figure:.2f}" for figure in (worth.figure, worth.low, worth.high))
            writer.writerow([one.task, one.best.architecture, one.changes, mixer, *points])
    replace_text(path, text.getvalue())


def _doubts(found: Rediscovered, folder: Path) -> Iterator[str]:
    """Why scores of this protocol are no ground for a choice, where that is so."""
    for one in found.controls:
        if one.worths and not one.seen:
            yield (
                f"Do not choose mixers by this protocol: {PREFIX}{one.task} needs attention or "
                "token-MLP, and its training does not see that, "
                + ", ".join(f"{mixer} {_in_points(worth)}" for mixer, worth in one.worths.items())
                + " points"
            )
    if _too_few(found):
        return
    for doubt in audit_doubts(found.given.search, folder) if found.audit else ():
        yield f"Do not choose between networks of one cost by this protocol: {doubt}"


def _too_few(found: Rediscovered) -> str:
    """Why there is nothing to say of networks of one cost; empty where there is."""
    count = found.audit[0].architectures if found.audit else 0
    return (
        f"{count} networks that were drawn uniformly are too few to compare those of one cost; "
        f"expected {2 * FEWEST}, by more trials."
        if count < 2 * FEWEST
        else ""
    )


def known_words(given: Rediscovery) -> str:
    """What should be found, in words."""
    if given.rules is None:
        return f"{given.known}, {REFERENCES[str(given.known)].architecture}"
    stages = [
        " with ".join(
            [
                *([f"{' or '.join(rule.only)} alone"] if rule.only else []),
                *([f"at least one block of {' or '.join(rule.some)}"] if rule.some else []),
            ]
        )
        for rule in given.rules
    ]
    said = [f"stage {place}: {words}" for place, words in enumerate(stages, 1) if words]
    return "; ".join(said) or "any layout"


def _rows(found: Rediscovered) -> Iterator[dict[str, object]]:
    for one in found.limits:
        for item in one.networks:
            record, tests = item.record, list(item.cold.values())
            ahead = item.ahead
            yield {
                "limits": one.limits,
                "role": item.role,
                "architecture": record.architecture,
                "macs": record.target_cost.macs,
                "params": record.target_cost.params,
                "blocks_to_change": item.changes,
                "accuracy": f"{record.curve[-1].accuracy:.4f}",
                "cold_seeds": len(tests),
                "cold_test": f"{fmean(tests):.4f}",
                "cold_deviation": f"{stdev(tests):.4f}",
                "ahead": "" if ahead is None else f"{ahead.figure:.4f}",
                "ahead_low": "" if ahead is None else f"{ahead.low:.4f}",
                "ahead_high": "" if ahead is None else f"{ahead.high:.4f}",
            }


def verdict(one: UnderLimit) -> Iterator[str]:
    """What was found under a limit, in sentences."""
    best = next((item for item in one.networks if item.role == "best found"), None)
    if best is None:
        yield f"{one.limits}: no search has a complete trial."
        return
    known = (
        "has the known layout"
        if best.changes == 0
        else f"is {best.changes} block{'s' * (best.changes > 1)} away from the known layout"
    )
    yield (
        f"{one.limits}: the best network found, {best.record.architecture}, {known}; trained "
        f"{len(best.cold)} times from the beginning, it reaches "
        f"{_percent(fmean(best.cold.values()))} on the test split."
    )
    for item in one.networks:
        if item.ahead is not None:
            low, high = item.ahead.low, item.ahead.high
            word = "better than" if low > 0 else "worse than" if high < 0 else "level with"
            yield (
                f"It is {word} the {item.role}, {item.record.architecture}: "
                f"{_points(100 * item.ahead.figure)} points ({_points(100 * low)} to "
                f"{_points(100 * high)})."
                if item.role.startswith("best of")
                else f"It is {word} {item.role}: {_points(100 * item.ahead.figure)} points "
                f"({_points(100 * low)} to {_points(100 * high)})."
            )
    if one.rank is not None:
        yield f"The known model is number {one.rank[0]} of {one.rank[1]} trained under this limit."


def rule(effect: Effect) -> str:
    """What a mixer is worth in a stage, in words."""
    worth, mixer = effect.worth, effect.mixer
    figures = (
        f"{_points(worth.figure)} points ({_points(worth.low)} to {_points(worth.high)}) at "
        "equal MACs"
    )
    if worth.low <= 0 <= worth.high:
        said = f"{mixer} and {effect.base} do not differ beyond chance, {figures}"
    else:
        said = f"{mixer} is {'better' if worth.low > 0 else 'worse'} than {effect.base}, {figures}"
    chance = "" if effect.chance is None else f", chance gives {effect.chance:.0%}"
    return (
        f"Stage {effect.stage}: {said}. On the fronts {effect.front:.0%} of its blocks "
        f"are {mixer}{chance}."
    )


def _sections(found: Rediscovered) -> list[Section]:
    return [
        _found_section(found),
        _cold_section(found),
        _rules_section(found),
        _audit_section(found),
        *([_controls_section(found)] if found.given.controls else []),
        _models_section(found),
    ]


def _found_section(found: Rediscovered) -> Section:
    """What every search found, against MACs."""
    return Section(
        id="found",
        title="What was found",
        figure={str(one.limits): _figure(found, one) for one in found.limits},
        size="tall",
        note="Each point is a trained network: filled ones have the known layout. Trials are "
        "counted until it was on the front; by chance, until one is drawn, with the share of all "
        "architectures within the limits that have it."
        + " The line is what no network without the needed mixers exceeds."
        * (found.given.bound is not None),
        body=_grid(
            ["Search", *_limits_head(found), "Trials", "Best accuracy", "Trials needed",
             "By chance", "Blocks to change on the front"],
            [
                [
                    search.name,
                    *_limits_cell(found, one),
                    f"{len(search.records)}" + f", {search.failed} failed" * bool(search.failed),
                    record_words(search.best, OBJECTIVES["accuracy"]) if search.best else _UNKNOWN,
                    search.needed or "not found",
                    _UNKNOWN
                    if one.chance is None
                    else f"{1 / one.chance:.1f} ({one.chance:.1%})"
                    if one.chance
                    else "none was drawn",
                    ", ".join(str(found.changes[item.arch_id]) for item in search.front),
                ]
                for one in found.limits
                for search in one.searches
            ],
            words=1 + len(_limits_head(found)),
        ),
    )  # fmt: skip


def _limits_head(found: Rediscovered) -> tuple[str, ...]:
    # Of one limit the first sentence says it all.
    return ("Limits",) if len(found.limits) > 1 else ()


def _limits_cell(found: Rediscovered, one: UnderLimit) -> tuple[str, ...]:
    return tuple(str(one.limits) for _ in _limits_head(found))


def _cold_section(found: Rediscovered) -> Section:
    """The networks that were trained again, on the test split."""
    return Section(
        id="cold",
        title="Trained again",
        note="Trained from the beginning with seeds that chose nothing, scored on the test split: "
        "mean and deviation. Ahead: by how much the best found is better, in points, with Welch's "
        "95 % interval.",
        body=_grid(
            [
                "Network",
                *_limits_head(found),
                "Layout",
                "MACs",
                "Params",
                "Search",
                "Test",
                "Ahead",
            ],
            [
                [
                    item.role,
                    *_limits_cell(found, one),
                    item.record.architecture,
                    format_count(item.record.target_cost.macs),
                    format_count(item.record.target_cost.params),
                    _percent(item.record.curve[-1].accuracy),
                    f"{100 * fmean(item.cold.values()):.1f} \N{PLUS-MINUS SIGN} "
                    f"{100 * stdev(item.cold.values()):.1f} %, {len(item.cold)} seeds",
                    _UNKNOWN if item.ahead is None else _in_points(item.ahead, unit=100),
                ]
                for one in found.limits
                for item in one.networks
            ],
            words=2 + len(_limits_head(found)),
        ),
    )


def _rules_section(found: Rediscovered) -> Section:
    """What each mixer is worth in each stage."""
    return Section(
        id="rules",
        title="Rules",
        note="From the networks that were drawn by chance, of all mixers and of one alone, by "
        "least squares in the shares of the mixers and the logarithm of MACs: what all blocks of a "
        "stage add, with 95 % intervals.",
        body=render(_TEMPLATE, "rules", [rule(one) for one in found.effects]),
        missing="" if found.effects else "Too few networks were drawn by chance.",
    )


def _audit_section(found: Rediscovered) -> Section:
    """How well one training ranks another."""
    return Section(
        id="audit",
        title="How far scores can be trusted",
        note="Kendall's tau with the accuracy after one training, over the uniform samples; "
        "another seed is the most that any score can reach. " + _too_few(found),
        missing="" if found.audit else "Too few networks were drawn uniformly.",
        body=_grid(
            ["Figure", "Networks", "All", "Within bands of MACs", "Gain over MACs within"],
            [
                [row.words, row.architectures, row.tau]
                + ([_UNKNOWN] * 2 if _too_few(found) else [row.within, row.gain_within])
                for row in found.audit
            ],
        ),
    )


def _controls_section(found: Rediscovered) -> Section:
    """Whether the training sees mixers."""
    mixers = dict.fromkeys(mixer for one in found.controls for mixer in one.worths)
    return Section(
        id="controls",
        title="Control tasks",
        note="The training of the search on tasks whose last stage needs attention or token-MLP: "
        "what they are worth there in place of convolution, in points at equal MACs, and how the "
        "accuracies of another seed and MACs rank those of the first, as Kendall's tau over all.",
        missing="" if found.controls else "No network was trained to the end.",
        body=_grid(
            ["Task", "Best", *mixers, "Another seed", "Target MACs"],
            [
                [
                    one.task,
                    one.best.architecture,
                    *(
                        _in_points(one.worths[mixer]) if mixer in one.worths else _UNKNOWN
                        for mixer in mixers
                    ),
                    *(_tau(one, name) for name in (CEILING, "macs")),
                ]
                for one in found.controls
            ],
            words=2,
        ),
    )


def _tau(one: ControlOutcome, name: str) -> str:
    return next((str(row.tau) for row in one.audit if row.name == name), _UNKNOWN)


def _models_section(found: Rediscovered) -> Section:
    """What the space holds of the paper's models, and how they are ranked."""
    if all(one.lacks for one in found.models):
        return Section(
            id="models", title="The paper's models", missing="The space holds none of them."
        )
    ranked = _grid(
        ["Kendall's tau with ImageNet top-1", "Models", "All", "Within bands of MACs"],
        [[one.name, one.models, one.tau, one.within] for one in found.paper],
    )
    listed = _grid(
        ["Model", "In the space", "ImageNet top-1", "By this protocol"],
        [
            [
                one.name,
                one.lacks or "yes",
                REFERENCES[one.name].top1 or _UNKNOWN,
                ", ".join(map(_percent, one.scores)) or "not trained",
            ]
            for one in found.models
        ],
        words=2,
    )
    return Section(
        id="models",
        title="The paper's models",
        note="Whether the space holds them, and the accuracy of their proxies by this protocol."
        + " Too few of them were trained to say how they are ranked." * (not found.paper),
        body=(ranked if found.paper else Markup("")) + listed,
    )


def _grid(heads: Sequence[str], rows: Sequence[Sequence[object]], *, words: int = 1) -> Markup:
    """A table; all but its first columns, `words` of them, are numbers."""
    return render(_TEMPLATE, "grid", heads, rows, words) if rows else Markup("")


def _figure(found: Rediscovered, one: UnderLimit) -> go.Figure:
    """Accuracy against MACs of every network that a search proposed."""
    figure = go.Figure(layout=layout())
    sides = {"search": ("searched", BLUE), "random": ("uniform", LIGHT.muted)}
    for start, (name, colour) in sides.items():
        records = [
            record
            for search in one.searches
            if search.name.startswith(start)
            for record in search.records
        ]
        figure.add_scatter(
            x=[record.target_cost.macs for record in records],
            y=[record.curve[-1].accuracy for record in records],
            mode="markers",
            name=name,
            text=[plain(record.architecture) for record in records],
            marker={
                "size": 9,
                "color": colour,
                "symbol": [
                    "circle" if found.changes[record.arch_id] == 0 else "circle-open"
                    for record in records
                ],
            },
            hovertemplate="%{text}<br>%{x:.3s} MACs, %{y:.2%}<extra></extra>",
        )
    figure.add_scatter(
        x=[item.record.target_cost.macs for item in one.networks],
        y=[item.record.curve[-1].accuracy for item in one.networks],
        mode="markers",
        name="trained again",
        text=[f"{item.role}: {plain(item.record.architecture)}" for item in one.networks],
        marker={
            "size": 11,
            "color": VERMILLION,
            "symbol": ["diamond" if item.changes == 0 else "diamond-open" for item in one.networks],
        },
        hovertemplate="%{text}<br>%{x:.3s} MACs, %{y:.2%}<extra></extra>",
    )
    if found.given.bound is not None:
        figure.add_hline(y=found.given.bound, line={"dash": "dot", "color": LIGHT.muted})
    figure.update_xaxes(title_text="target MACs", type="log", exponentformat="SI")
    return figure.update_yaxes(title_text="accuracy", tickformat=".1%")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _in_points(one: Estimate, *, unit: float = 1) -> str:
    return f"{_points(unit * one.figure)} ({_points(unit * one.low)} to {_points(unit * one.high)})"


def _points(figure: float) -> str:
    return f"{figure:+.1f}".replace("-", "\N{MINUS SIGN}")
