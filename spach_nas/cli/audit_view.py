"""Runs an audit of scores, and renders it for a terminal."""

import random
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table as RichTable

from spach_nas.cli.status_line import Steps
from spach_nas.config.evaluator_registry import EvaluatorChoice
from spach_nas.config.search_yaml import load_config
from spach_nas.evaluators.interface import check_evaluators
from spach_nas.replay.audit import (
    FEWEST,
    audit,
    read_scores,
    score_architectures,
    search_for,
    train_sample,
    write_scores,
)
from spach_nas.replay.benchmark import read_benchmark
from spach_nas.study.audit_rows import AuditRow, Estimate

# Number of architectures of a search YAML to train, unless the user sets another.
_TRAINED = 40


def run_audit(
    sources: Sequence[Path],
    choices: Sequence[EvaluatorChoice],
    *,
    sample: int | None,
    study: Path | None,
    bands: int,
    scores: Path | None,
    tell: Steps,
) -> tuple[AuditRow, ...]:
    """Read or make the trainings, score their architectures, and compare the rankings.

    Args:
        sources: Folders of studies, a table, or a search YAML.
        choices: Evaluators to audit.
        sample: Number of architectures of a search YAML to train, or of a table to score.
        study: Folder for these trainings, and for what evaluators prepare.
        bands: Number of bands of MACs within which to rank.
        scores: CSV file of scores, which is read and extended.
        tell: Shows the current step.

    Raises:
        SpachNasError: A mistake in a file, or too few trainings.
    """
    known = read_scores(scores) if scores is not None and scores.is_file() else {}
    if len(sources) == 1 and sources[0].suffix in (".yaml", ".yml"):
        config = load_config(sources[0])
        for choice in choices:
            check_evaluators(search_for(config, choice))
        study = study or Path("results") / f"{config.study}_audit"
        train_sample(sources[0], count=sample or _TRAINED, folder=study, doing=tell)
        sources = [study]
    tell("reading the trainings")
    benchmark = read_benchmark(sources)
    for choice in choices:
        check_evaluators(search_for(benchmark.config, choice))
    targets = [entry.architecture for entry in benchmark.table.entries.values()]
    random.Random(0).shuffle(targets)
    found = score_architectures(
        benchmark.config,
        choices,
        targets[:sample],
        known=known,
        prepared=study,
        doing=tell,
        tell=tell.update,
        save=lambda done: None if scores is None else write_scores(done, scores),
    )
    for name in [name for name, one in found.items() if len(one.values) < FEWEST]:
        tell(f"{name} is left out: it scores {len(found[name].values)} architectures")
        del found[name]
    tell("drawing resamples")
    return audit(benchmark.table, found, bands=bands)


def audit_table(rows: Sequence[AuditRow]) -> RichTable:
    """A line for each score: rank correlations with their intervals, seconds and bias by mixer."""
    mixers = list(dict.fromkeys(name for row in rows for name in row.bias))
    table = RichTable(
        title="rank correlation with the final accuracy: Kendall's tau (95 % interval)",
        caption="within: over pairs of one band of MACs. Bias: by how many places, in % of a band, "
        "networks of this mixer alone are ranked too high; * beyond chance",
    )
    for name in ("score", "networks", "tau", "within", "rho", "s each"):
        table.add_column(name, justify="left" if name == "score" else "right", no_wrap=True)
    for name in mixers:
        table.add_column(f"bias\n{name}", justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.words,
            str(row.architectures),
            str(row.tau),
            str(row.within),
            f"{row.rho.figure:+.2f}",
            "" if row.seconds is None else f"{row.seconds:.2g}",
            *(_bias(row.bias[name]) if name in row.bias else "" for name in mixers),
        )
    return table


def _bias(found: Estimate) -> str:
    chance = found.low <= 0 <= found.high
    return f"{found.figure:+.0%}" + (" " if chance else "*")
