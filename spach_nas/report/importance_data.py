"""Which parameters the best trials agree on, by Optuna's PED-ANOVA.

Source: Watanabe, Bansal & Hutter 2023, "PED-ANOVA", arXiv:2304.10255: the importance of a parameter
is the Pearson divergence of its values among the best tenth of the trials from its values among
all. Shares add up to one whether anything matters or not, so we add how often a tenth drawn at
random would be as far from all trials, by Pearson's chi-squared.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution

from spach_nas.limits import Limits
from spach_nas.objectives import Objective
from spach_nas.records import Record
from spach_nas.report.choices import Choice, Choices, Floats, choices_table
from spach_nas.report.estimate import at_equal_macs

# PED-ANOVA looks at the best tenth, and asks for five trials in it.
_TOP = 0.1
FEWEST = 50
# Optuna takes half a second for so many; more are drawn from.
MOST = 600
_DRAWS, _SEED = 999, 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """Of one parameter.

    Attributes:
        name: As in the YAML.
        share: Of the sum over all parameters, in [0, 1]; higher is more important.
        by_chance: How often a parameter without any influence seems as important, in (0, 1].
    """

    name: str
    share: float
    by_chance: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportanceData:
    """What the best trials agree on, the most important parameter first.

    Attributes:
        score: By which trials are best.
        trials: Architectures; with fewer than 50, nothing is said.
        used: Of which so many, drawn at random, were judged by.
        importances: For a high score among architectures of equal MACs.
    """

    score: Objective
    trials: int
    used: int
    importances: tuple[Importance, ...]


def importance_data(
    records: Sequence[Record], objectives: Sequence[Objective], *, limits: Limits | None = None
) -> ImportanceData:
    """The importance of each choice over a search's own complete trials of the highest rung.

    Args:
        records: Of one study.
        objectives: Of the study; the first score among them is what is explained.
        limits: Bounds on the target's cost; what breaks them is left out.
    """
    whole = choices_table(records, objectives, limits=limits)
    table = _some(whole)
    found: tuple[Importance, ...] = ()
    if len(table.scores) >= FEWEST and table.choices:
        gains = table.scores if table.score.direction == "max" else -table.scores
        found = _importances(table, at_equal_macs(gains, table.log_macs))
    return ImportanceData(
        score=table.score,
        trials=len(whole.scores),
        used=len(table.scores),
        importances=found,
    )


def _some(table: Choices) -> Choices:
    number = len(table.scores)
    rows = np.sort(np.random.default_rng(0).permutation(number)[:MOST])
    choices = (replace(choice, level=choice.level[rows]) for choice in table.choices)
    return replace(
        table,
        choices=tuple(choice for choice in choices if len(np.unique(choice.level)) > 1),
        scores=table.scores[rows],
        log_macs=table.log_macs[rows],
        proxies=table.proxies[rows],
    )


def _importances(table: Choices, gains: Floats) -> tuple[Importance, ...]:
    number = int(np.ceil(_TOP * len(gains)))
    top = gains >= np.partition(gains, -number)[-number]
    if top.all():  # equal scores: nobody is best
        return ()
    figures = _ped_anova(table.choices, gains)
    total = sum(figures.values()) or 1.0
    rng = np.random.default_rng(_SEED)
    found = (
        Importance(
            name=choice.name,
            share=figures[choice.name] / total,
            by_chance=_by_chance(choice, top, rng),
        )
        for choice in table.choices
    )
    return tuple(sorted(found, key=lambda item: (-item.share, item.name)))


def _by_chance(choice: Choice, top: NDArray[np.bool_], rng: np.random.Generator) -> float:
    """Share of random draws of as many trials whose values are as far from those of all."""
    counts = np.unique(choice.level, return_counts=True)[1]
    expected = counts * top.mean()
    kinds = np.unique(choice.level)
    seen = (choice.level[top][:, None] == kinds).sum(axis=0)
    drawn = rng.multivariate_hypergeometric(counts, int(top.sum()), size=_DRAWS)
    far = ((np.vstack([seen, drawn]) - expected) ** 2 / expected).sum(axis=1)
    # What was seen is one of the draws, so that nothing is called impossible.
    return float(np.mean(far >= far[0] * (1 - 1e-12)))


def _ped_anova(choices: Sequence[Choice], gains: Floats) -> dict[str, float]:
    """Optuna's figures by parameter, not scaled to a sum of one."""
    distributions: dict[str, BaseDistribution] = {
        choice.name: CategoricalDistribution([int(level) for level in np.unique(choice.level)])
        for choice in choices
    }
    columns = {choice.name: choice.level.tolist() for choice in choices}
    study = _silent_study()
    study.add_trials(
        optuna.trial.create_trial(
            params={name: column[row] for name, column in columns.items()},
            distributions=distributions,
            value=gain,
        )
        for row, gain in enumerate(gains.tolist())
    )
    with warnings.catch_warnings():
        # Older versions call it experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.importance.get_param_importances(
            study,
            evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
            normalize=False,
        )


def _silent_study() -> optuna.Study:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(before)
