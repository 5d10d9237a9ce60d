"""How well scores rank architectures that were trained: `spach-nas audit`.

Truth is the accuracy at the end of one training, the first seed of a table; where the table has
other seeds, how well those rank is the most that any score can reach. Kendall's tau-b and
Spearman's rho are taken over all architectures, and within bands of MACs: a score that only sees
sizes ranks well over all of them and is worthless within a band.

Letters: A architectures, R resamples.
"""

import csv
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from spach_nas.config.evaluation import EvaluationRequest
from spach_nas.config.evaluator_registry import TRAIN, EvaluatorChoice
from spach_nas.config.objectives import OBJECTIVES
from spach_nas.config.search_settings import Rungs
from spach_nas.config.search_yaml import SearchConfig, load_config
from spach_nas.data import DataSplits, load_train_and_validation
from spach_nas.data.preprocessing import preprocessing
from spach_nas.errors import StudyError
from spach_nas.evaluators.interface import evaluator_of, prepare_evaluators
from spach_nas.files import replace_text
from spach_nas.replay.training_table import Entry, Table, table_of_records
from spach_nas.search.plan import plan_search
from spach_nas.space.architecture import Architecture
from spach_nas.study.audit_rows import CEILING, AuditRow, Estimate
from spach_nas.study.pareto import comparable
from spach_nas.study.rank_correlation import Figures, kendall, places, resamples, spearman
from spach_nas.study.records import Record
from spach_nas.study.requests import make_request

Pairs = Sequence[tuple[Figures, Figures]]
# Fewer architectures rank nothing.
FEWEST = 8
_RESAMPLES = 1000
# Scores are saved whenever so many are new.
_SAVED = 20
_MIXERS = ("conv", "attention", "mlp")
# AZ-NAS adds up the logarithms of the ranks by these (Lee and Ham 2024, arXiv:2403.19232).
_AZ_NAS = ("expressivity", "progressivity", "trainability", "macs")
_SIZES = ("params", "macs")
_SIZE_SCORES = tuple(f"training_free:{name}" for name in _SIZES)


class Statistic(Protocol):
    """Of two figures of each architecture, for each resample."""

    def __call__(
        self, first: Figures, second: Figures, *, bands: NDArray[np.int64], weights: Figures
    ) -> Figures:
        """(A,) and (A,) to (R,)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """What an evaluator says of architectures.

    Attributes:
        values: By `arch_id`, higher is better; those that it could not score are missing.
        seconds: Of each of these evaluations.
    """

    values: Mapping[str, float]
    seconds: Mapping[str, float]


def search_for(config: SearchConfig, choice: EvaluatorChoice) -> SearchConfig:
    """The search that scores the same architectures by one evaluator alone."""
    score = OBJECTIVES[choice.spec.scores[0]]
    return replace(
        config,
        evaluator=choice,
        rungs=Rungs(),
        objectives={score.name: score.direction},
        references=(),  # those in the table are scored as far as the evaluator can
    )


def score_architectures(
    config: SearchConfig,
    choices: Sequence[EvaluatorChoice],
    targets: Sequence[Architecture],
    *,
    known: Mapping[str, Scored],
    prepared: Path | None = None,
    doing: Callable[[str], None] = lambda _: None,
    tell: Callable[[str], None] = lambda _: None,
    save: Callable[[Mapping[str, Scored]], None] = lambda _: None,
) -> dict[str, Scored]:
    """Score targets by evaluators, as a search with this YAML would.

    Args:
        config: The search of the trainings.
        choices: Evaluators.
        targets: At full size.
        known: Scores by the label of their evaluator, which are not computed again.
        prepared: Folder for what evaluators prepare; None: a temporary one.
        doing: Takes a few words on each evaluator, when it begins.
        tell: Takes a few words on how far it is.
        save: Gets all scores so far, from time to time.

    Raises:
        DataError: The images cannot be read.
    """
    found = dict(known)
    wanted = {target.arch_id for target in targets}
    lacking = [
        choice
        for choice in choices
        if choice.label not in found or not wanted <= found[choice.label].values.keys()
    ]
    if not lacking:
        return found
    images = load_train_and_validation(config.data, image_size=config.image_size)
    with ExitStack() as stack:
        folder = prepared or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for choice in lacking:
            own = search_for(config, choice)
            doing(f"scoring by {choice.label}")
            if choice.spec.prepare is not None:
                prepare_evaluators(
                    own,
                    folder=folder,
                    data={config.image_size: images},
                    tell=tell,
                    stopped=lambda: False,
                )
            values = dict(found[choice.label].values) if choice.label in found else {}
            seconds = dict(found[choice.label].seconds) if choice.label in found else {}
            for number, request, value, spent in _scores(own, targets, images, folder, skip=values):
                tell(f"{choice.label}: {number} of {len(targets)}")
                seconds[request.architecture.arch_id] = spent
                if value is not None:
                    values[request.architecture.arch_id] = value
                if number % _SAVED == 0:
                    save({**found, choice.label: Scored(values=values, seconds=seconds)})
            found[choice.label] = Scored(values=values, seconds=seconds)
            save(found)
    return found


def _scores(
    config: SearchConfig,
    targets: Sequence[Architecture],
    images: DataSplits,
    folder: Path,
    *,
    skip: Mapping[str, float],
) -> Iterator[tuple[int, EvaluationRequest, float | None, float]]:
    name = config.evaluator.spec.scores[0]
    sign = 1.0 if OBJECTIVES[name].direction == "max" else -1.0
    evaluator = evaluator_of(config, config.evaluator, folder=folder)
    shape = preprocessing(images).data_shape
    for number, target in enumerate(targets):
        if target.arch_id in skip:
            continue
        request = make_request(config, target, trial=number, rung=0, data=shape)
        clocks = time.perf_counter, time.process_time
        started = [clock() for clock in clocks]
        evaluation = evaluator(request, images)
        # Of one thread, what the machine does besides is no part of it.
        spent = min(clock() - begun for clock, begun in zip(clocks, started, strict=True))
        value = evaluation.scores.get(name)
        yield number + 1, request, None if value is None else sign * value, spent


def train_sample(
    source: Path,
    *,
    count: int,
    folder: Path,
    doing: Callable[[str], None] = lambda _: None,
) -> None:
    """Train architectures that are drawn uniformly, each to the end, as a study in `folder`.

    Args:
        source: A search YAML, for its space, limits, data and protocol.
        count: Of the architectures.
        folder: Of the study, which is continued where it exists.
        doing: Takes a few words on what is being done.

    Raises:
        SpachNasError: A mistake in the YAML, or a folder that holds something else.
    """
    config = load_config(source)
    costs = [item.name for item in config.objective_list if item.source == "target_cost"]
    sample = replace(
        config,
        study=f"{config.study}_audit",
        evaluator=EvaluatorChoice(name=TRAIN.name),
        rungs=Rungs(),
        objectives={"accuracy": "max", **{name: "min" for name in costs}},
        search=replace(
            config.search, sampler="random", sampler_options={}, trials=count, warm_start=None
        ),
        references=(),
    )
    resume = folder.exists()
    plan = plan_search(sample, out=folder, resume=resume, doing=doing)
    from spach_nas.search.run import run_plan  # imports Ray

    run_plan(plan, out=folder, resume=resume, doing=doing)


def audit(table: Table, scored: Mapping[str, Scored], *, bands: int = 6) -> tuple[AuditRow, ...]:
    """A row for each score, the MACs and the parameters first, the noise ceiling last.

    Args:
        table: Trained architectures.
        scored: Scores by name, higher is better.
        bands: Of MACs, with equally many architectures each; fewer where one would have less than
            eight.

    Raises:
        StudyError: Too few architectures were trained, or a score has too few of them.
    """
    entries = list(table.entries.values())
    if len(entries) < FEWEST:
        raise StudyError(
            f"audit: {len(entries)} architectures were trained to the end; expected at least "
            f"{FEWEST}, by a larger --sample or another table"
        )
    bands = max(1, min(bands, len(entries) // FEWEST))
    macs = np.array([float(entry.target_cost.macs) for entry in entries])
    order = rankdata(macs, method="ordinal") - 1
    place = np.floor(order * bands / len(entries)).astype(np.int64)
    truth = np.array([_final(entry) for entry in entries])
    judged = _Judge(
        truth=truth,
        macs=macs,
        bands=place,
        shares={
            name: np.array([_share(e.architecture, name) for e in entries]) for name in _MIXERS
        },
    )
    ids = [entry.architecture.arch_id for entry in entries]
    sizes = {name: [float(getattr(e.target_cost, name)) for e in entries] for name in _SIZES}
    rows = [judged.row(name, np.array(values)) for name, values in sizes.items()]
    for name, found in scored.items():
        values = np.array([found.values.get(arch_id, math.nan) for arch_id in ids])
        spent = [found.seconds[arch_id] for arch_id in ids if arch_id in found.seconds]
        row = judged.row(name, values, seconds=float(np.mean(spent)) if spent else None)
        rows.append(replace(row, looks=name not in _SIZE_SCORES))
    combined = _az_nas(scored, ids)
    if combined is not None:
        rows.append(replace(judged.row("az_nas", combined), looks=True))
    for epoch in range(1, table.epochs):
        curves = [entry.curves[min(entry.curves)] for entry in entries]
        early = np.array([curve[epoch - 1].accuracy for curve in curves])
        spent = [sum(item.seconds for item in curve[:epoch]) for curve in curves]
        rows.append(judged.row(f"epoch {epoch}", early, seconds=float(np.mean(spent))))
    ceiling = judged.ceiling(entries)
    return tuple(rows) if ceiling is None else (*rows, ceiling)


def audit_records(records: Sequence[Record], *, where: str) -> tuple[AuditRow, ...]:
    """How well one training ranks another, beside sizes; empty where too few were trained.

    Args:
        records: Of uniform samples.
        where: What they are of, for messages.
    """
    trained = {record.arch_id for record in comparable(records)}
    return audit(table_of_records(records, where=where), {}) if len(trained) >= FEWEST else ()


@dataclass(frozen=True, kw_only=True)
class _Judge:
    # Truth, MACs, bands and shares of mixers, each (A,).
    truth: Figures
    macs: Figures
    bands: NDArray[np.int64]
    shares: Mapping[str, Figures]
    # How well the MACs rank, over all and within bands.
    by_size: dict[object, tuple[Figures, Figures]] = field(default_factory=dict)

    def row(self, name: str, values: Figures, *, seconds: float | None = None) -> AuditRow:
        """Of one score, (A,); NaN where it has none."""
        kept = np.isfinite(values)
        if kept.sum() < FEWEST:
            raise StudyError(
                f"audit: {name} scored {kept.sum()} architectures; expected at least {FEWEST}"
            )
        return self._row(name, kept, [(values, self.truth)], seconds=seconds)

    def ceiling(self, entries: Sequence[Entry]) -> AuditRow | None:
        """How well one training ranks another: the mean over all pairs of seeds."""
        seeds = sorted({seed for entry in entries for seed in entry.curves})
        finals = {
            seed: np.array(
                [
                    entry.curves[seed][-1].accuracy if seed in entry.curves else math.nan
                    for entry in entries
                ]
            )
            for seed in seeds
        }
        kept = np.isfinite(np.array(list(finals.values()))).all(0)
        if len(seeds) < 2 or kept.sum() < FEWEST:
            return None
        pairs = [(finals[a], finals[b]) for a, b in combinations(seeds, 2)]
        return self._row(CEILING, kept, pairs, seconds=None)

    def _row(
        self,
        name: str,
        kept: NDArray[np.bool_],
        pairs: Pairs,
        *,
        seconds: float | None,
    ) -> AuditRow:
        count, bands = int(kept.sum()), self.bands[kept]
        # The same resamples for every score of these architectures. The first is the sample itself.
        weights = resamples(count, _RESAMPLES)
        whole = np.zeros(count, dtype=np.int64)
        own = [(a[kept], b[kept]) for a, b in pairs]

        def mean(of: Statistic, given: Pairs, within: NDArray[np.int64]) -> Figures:
            found = [of(a, b, bands=within, weights=weights) for a, b in given]
            return np.asarray(np.mean(found, axis=0))

        tau, within = mean(kendall, own, whole), mean(kendall, own, bands)
        # Every score of the same architectures is held against the same figures.
        key = (count, kept.tobytes(), len(pairs))
        if key not in self.by_size:
            sizes = [(self.macs[kept], b) for _, b in own]
            self.by_size[key] = mean(kendall, sizes, whole), mean(kendall, sizes, bands)
        tau_size, within_size = self.by_size[key]
        return AuditRow(
            name=name,
            architectures=count,
            tau=_interval(tau),
            within=_interval(within),
            rho=_interval(mean(spearman, own, whole)),
            rho_within=_interval(mean(spearman, own, bands)),
            gain=_interval(tau - tau_size),
            gain_within=_interval(within - within_size),
            seconds=seconds,
            bias={
                mixer: _interval(
                    np.mean(
                        [
                            _bias(a, b, bands, share[kept], np.log(self.macs[kept]), weights)
                            for a, b in own
                        ],
                        axis=0,
                    )
                )
                for mixer, share in self.shares.items()
                if np.ptp(share[kept]) > 0
            },
        )


def _bias(
    score: Figures,
    truth: Figures,
    bands: NDArray[np.int64],
    share: Figures,
    log_macs: Figures,
    weights: Figures,
) -> Figures:
    """Slope of the difference of places in a mixer's share, at equal MACs, for each resample."""
    off = places(score, bands) - places(truth, bands)
    sides = np.stack([np.ones_like(share), share, log_macs - log_macs.mean()], axis=1)
    # The normal equations of every resample at once.
    products = np.einsum("ra,ai,aj->rij", weights, sides, sides, optimize=True)
    answers = np.einsum("ra,ai,a->ri", weights, sides, off, optimize=True)
    return np.asarray((np.linalg.pinv(products) @ answers[..., None])[:, 1, 0])


def _interval(found: Figures) -> Estimate:
    low, high = np.percentile(found[1:], [2.5, 97.5])
    return Estimate(figure=float(found[0]), low=float(low), high=float(high))


def _final(entry: Entry) -> float:
    return entry.curves[min(entry.curves)][-1].accuracy


def _share(architecture: Architecture, mixer: str) -> float:
    blocks = [name for stage in architecture.stages for name in stage.mixers]
    return blocks.count(mixer) / len(blocks)


def _az_nas(scored: Mapping[str, Scored], ids: Sequence[str]) -> Figures | None:
    """AZ-NAS: the sum of the logarithms of the ranks; None where a part is missing."""
    parts = [scored.get(f"training_free:{name}") for name in _AZ_NAS]
    if any(part is None for part in parts):
        return None
    total = np.zeros(len(ids))
    for part in parts:
        assert part is not None
        values = np.array([part.values.get(arch_id, math.nan) for arch_id in ids])
        total += np.log(rankdata(values, nan_policy="omit") / len(ids))
    return total


def write_scores(scored: Mapping[str, Scored], path: Path) -> None:
    """A row for each score of an architecture; `read_scores` reads it."""
    lines = ["evaluator,arch_id,value,seconds"]
    for name, found in scored.items():
        lines += [
            f"{name},{arch_id},{found.values[arch_id]!r},{spent:.4f}"
            for arch_id, spent in found.seconds.items()
            if arch_id in found.values
        ]
    replace_text(path, "\n".join(lines) + "\n")


def read_scores(path: Path) -> dict[str, Scored]:
    """What `write_scores` wrote.

    Raises:
        StudyError: It is damaged.
    """
    found: dict[str, tuple[dict[str, float], dict[str, float]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            try:
                values, seconds = found.setdefault(row["evaluator"], ({}, {}))
                values[row["arch_id"]] = float(row["value"])
                seconds[row["arch_id"]] = float(row["seconds"])
            except (KeyError, TypeError, ValueError):
                raise StudyError(
                    f"{path}:{number}: is damaged; expected evaluator, arch_id, value and seconds"
                ) from None
    return {name: Scored(values=v, seconds=s) for name, (v, s) in found.items()}
