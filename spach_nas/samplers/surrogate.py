"""Proposals by a model of the scores, with exact costs.

A Gaussian process predicts the scores of an architecture; its cost is computed. Each trial is spent
where the front is expected to grow most.

Letters: N points whose score is known, P others, F features, D draws, M objectives. The process is
that of Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning", chapters 2 and 5.
"""

import itertools
from collections.abc import Iterator, Sequence
from math import log2, prod
from statistics import fmean

import moocore
import numpy as np
from optuna.trial import FrozenTrial, TrialState
from threadpoolctl import ThreadpoolController

from spach_nas.config.objectives import Objective
from spach_nas.cost.closed_form import Cost, costs
from spach_nas.feasible import Feasible
from spach_nas.samplers.evolution import FromTrials
from spach_nas.samplers.ranking import rank_by_front
from spach_nas.space.architecture import Architecture
from spach_nas.space.stage_space import Encoding

# Factorising a covariance takes time in proportion to the cube of its size.
_MOST_TRIALS = 200
_FEWEST_TRIALS = 4
_UNIFORM, _NEIGHBOURS = 128, 128
_DRAWS = 16
_SECOND_CHANGE = 0.5
# Objectives are scaled from 0, the best, to 1.
_REFERENCE = 1.1
# While every core is training, a second thread of the linear algebra mostly waits.
_LIBRARIES = ThreadpoolController()
# Hyperparameters; the likeliest are used. Scaled points are about 1.4 apart.
_LENGTHS = (0.5, 1.0, 2.0, 4.0)
_LINEAR_SHARES = (0.0, 0.5, 0.9)
# Variance of the noise over that of the function.
_NOISES = (0.01, 0.03, 0.1, 0.3, 1.0)
_JITTER = 1e-9


class Surrogate(FromTrials):
    """Expected growth of the hypervolume (Emmerich et al. 2006), over draws of a Gaussian process.

    Candidates are drawn uniformly, and by changing one choice or two of architectures on the front.
    The scores of finished trials are replaced by what each draw says about them, since the best
    measured score is too good by chance. Architectures are compared by what they consist of, not by
    how the space encodes them.
    """

    def __init__(
        self, *, feasible: Feasible, objectives: Sequence[Objective], seed: int, startup: int = 0
    ) -> None:
        """Make a sampler for one proposal.

        Args:
            feasible: What may be proposed.
            objectives: In the order of the study's values.
            seed: Seed of the proposal.
            startup: Number of complete trials below which proposals are uniform.
        """
        super().__init__(space=feasible.space, seed=seed)
        self._feasible = feasible
        self._objectives = tuple(objectives)
        self._fewest = max(startup, _FEWEST_TRIALS)

    def _propose(
        self,
        complete: Sequence[FrozenTrial],
        *,
        maximise: Sequence[bool],
        known: Sequence[FrozenTrial],
    ) -> Encoding:
        if len(complete) < self._fewest:
            return self._any()
        values = np.array([trial.values for trial in complete])
        order = rank_by_front(values, maximise=maximise)[:_MOST_TRIALS]
        trained = [self.space.decode(complete[i].params) for i in order]
        # Older trials, which may be many, are left to the search: it repeats no proposal.
        running = [trial.params for trial in known if trial.state == TrialState.RUNNING]
        taken = {*trained, *(self.space.decode(params) for params in running if params)}
        front = moocore.is_nondominated(values[order], maximise=maximise)
        parents = [item for item, kept in zip(trained, front, strict=True) if kept]
        candidates = self._candidates(parents, taken=taken)
        if not candidates:
            return self._any()
        with _LIBRARIES.limit(limits=1):
            drawn = self._predicted([*trained, *candidates], values[order])
        worth = np.where(maximise, -drawn, drawn)  # lower is better
        ours, new = worth[:, : len(trained)], worth[:, len(trained) :]
        gains = expected_gains(ours, new)
        # Where no draw has a gain, the candidate that comes nearest to one.
        ranked = rank_by_front(new.mean(axis=0), maximise=[False] * len(maximise))
        best = max(ranked.tolist(), key=gains.__getitem__)
        return self.space.encode(candidates[best])

    def _candidates(
        self, parents: Sequence[Architecture], *, taken: set[Architecture]
    ) -> list[Architecture]:
        found = [self._feasible.sample(self._rng) for _ in range(_UNIFORM)]
        encodings = [self.space.encode(parent) for parent in parents]
        for number in self._rng.integers(len(encodings), size=_NEIGHBOURS):
            child = self.space.decode(self._changed(encodings[number]))
            if self._feasible.allows(child):
                found.append(child)
        return [item for item in dict.fromkeys(found) if item not in taken]

    def _changed(self, parent: Encoding) -> Encoding:
        child, names = dict(parent), list(parent)
        for _ in range(1 + int(self._rng.random() < _SECOND_CHANGE)):
            name = names[self._rng.integers(len(names))]
            child[name] = self._one_of(self.space.parameters[name])
        return child

    def _predicted(self, architectures: Sequence[Architecture], values: np.ndarray) -> np.ndarray:
        """Draws of all objectives, (D, N + P, M); costs are the same in all draws."""
        exact = costs(architectures)
        points = scaled(features(architectures, exact))
        drawn = np.empty((_DRAWS, len(architectures), len(self._objectives)))
        for i, objective in enumerate(self._objectives):
            if objective.source == "target_cost":
                drawn[:, :, i] = exact[:, Cost._fields.index(objective.name)]
            elif np.ptp(values[:, i]) == 0:
                drawn[:, :, i] = values[0, i]
            else:
                mean, covariance = posterior(points, values[:, i])
                drawn[:, :, i] = draw(mean, covariance, draws=_DRAWS, rng=self._rng)
        return drawn


def features(architectures: Sequence[Architecture], exact: np.ndarray) -> np.ndarray:
    """What N architectures consist of, as numbers: (N, F).

    These are logarithms of the cost, and sizes; for each stage width, heads, ratios, sharing, the
    number of blocks of each mixer, their mean place, and the options of users' own mixers, with a
    column for each value that is a text.

    Args:
        architectures: N architectures.
        exact: Their cost, (N, 4).
    """
    rows = [dict(_parts(item)) for item in architectures]
    columns = [np.log1p(exact.astype(float))]
    for name in dict.fromkeys(name for row in rows for name in row):
        # A stage that does not use a mixer has 0 of its blocks, at a mean place of 0, the middle.
        values = [row.get(name, 0) for row in rows]
        texts = sorted({value for value in values if isinstance(value, str)})
        numbers = [0.0 if isinstance(value, str) else float(value) for value in values]
        columns += [np.array([value == text for value in values])[:, None] for text in texts]
        columns.append(np.array(numbers)[:, None])
    return np.hstack(columns).astype(float)


def _parts(item: Architecture) -> Iterator[tuple[str, float | str]]:
    yield "stem", item.stem
    yield "stem width", log2(item.stem_width)
    yield "patch size", log2(item.patch_size)
    yield "pixels", log2(prod(item.image_size))
    for number, stage in enumerate(item.stages):
        yield f"{number} width", log2(stage.width)
        yield f"{number} heads", log2(stage.heads)
        yield f"{number} expansion ratio", stage.expansion_ratio
        yield f"{number} token ratio", stage.token_ratio
        yield f"{number} shared", stage.shared
        for name in dict.fromkeys(stage.mixers):
            places = [place for place, mixer in enumerate(stage.mixers) if mixer == name]
            yield f"{number} blocks {name}", len(places)
            yield f"{number} place {name}", fmean(places) / stage.depth - 0.5 + 0.5 / stage.depth
        yield from ((f"{number} option {name}", value) for name, value in stage.options)


def expected_gains(trained: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Growth of the hypervolume by each candidate, averaged over the draws.

    The reference point is worse than the worst by a tenth of the range, so that the ends of the
    front count, too.

    Args:
        trained: (D, N, M), lower is better.
        candidates: (D, P, M).

    Returns:
        (P,), at least 0; each draw is scaled to its own range.
    """
    gains = np.zeros(candidates.shape[1])
    for known, new in zip(trained, candidates, strict=True):
        both = np.vstack([known, new])
        low, high = both.min(axis=0), both.max(axis=0)
        spans = np.where(high > low, high - low, 1.0)
        front, points = (known - low) / spans, (new - low) / spans
        front = front[moocore.is_nondominated(front, keep_weakly=False)]
        gains += _areas(front, points) if points.shape[1] == 2 else _volumes(front, points)
    return gains / len(trained)


def _areas(front: np.ndarray, points: np.ndarray) -> np.ndarray:
    """What each point adds to the area that a front dominates, summed over strips."""
    front = front[np.argsort(front[:, 0])]
    starts, ends = np.r_[0.0, front[:, 0]], np.r_[front[:, 0], _REFERENCE]
    levels = np.r_[_REFERENCE, front[:, 1]]
    widths = np.maximum(0, ends - np.maximum(starts, points[:, :1]))
    heights = np.maximum(0, levels - points[:, 1:])
    areas: np.ndarray = (widths * heights).sum(axis=1)
    return areas


def _volumes(front: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The same for any number of objectives."""
    gains = np.zeros(len(points))
    base = moocore.hypervolume(front, ref=_REFERENCE)
    better = ~(front[:, None] <= points[None]).all(axis=-1).any(axis=0)
    for i in np.flatnonzero(better):
        gains[i] = moocore.hypervolume(np.vstack([front, points[i]]), ref=_REFERENCE) - base
    return gains


def scaled(features: np.ndarray) -> np.ndarray:
    """Features of equal weight, by which points are compared.

    Args:
        features: (N, F) in any units; those that are the same for all points are left out.

    Returns:
        (N, F'), mean 0; the mean squared distance of two points is 2.
    """
    deviations = features.std(axis=0)
    telling = deviations > _JITTER * (1 + np.abs(features).max(axis=0, initial=0))
    centred = features[:, telling] - features[:, telling].mean(axis=0)
    weighed: np.ndarray = centred / (deviations[telling] * np.sqrt(max(1, telling.sum())))
    return weighed


def posterior(points: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior of the score at every point, without the noise of a training.

    The covariance of two points is the sum of a linear part and a Matern 5/2 part. Its length, the
    shares of both parts and the noise are those that make the known scores likeliest.

    Args:
        points: (N + P, F) from `scaled`, those with a known score first.
        known: Scores, (N,), not all equal.

    Returns:
        Mean, (N + P,), and covariance, (N + P, N + P).
    """
    count = len(known)
    mean, deviation = known.mean(), known.std()
    targets = (known - mean) / deviation
    linear = points @ points.T
    squares = np.diag(linear)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * linear, 0))
    among = np.s_[:count, :count]
    parts = {length: _matern(distances[among], length) for length in _LENGTHS}
    best = max(
        itertools.product(_LENGTHS, _LINEAR_SHARES, _NOISES),
        key=lambda chosen: _likelihood(
            chosen[1] * linear[among] + (1 - chosen[1]) * parts[chosen[0]], chosen[2], targets
        ),
    )
    length, share, noise = best
    prior = share * linear + (1 - share) * _matern(distances, length)
    lower = np.linalg.cholesky(prior[among] + noise * np.eye(count))
    explained = np.linalg.solve(lower, prior[:count])
    white = np.linalg.solve(lower, targets)
    scale = white @ white / count
    covariance = scale * (prior - explained.T @ explained)
    return mean + deviation * explained.T @ white, deviation**2 * covariance


def draw(
    mean: np.ndarray, covariance: np.ndarray, *, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Draws from the posterior, (D, N + P)."""
    count = len(mean)
    jitter = _JITTER * max(float(np.trace(covariance)) / count, np.finfo(float).tiny)
    while True:
        try:
            lower = np.linalg.cholesky(covariance + jitter * np.eye(count))
        except np.linalg.LinAlgError:
            jitter *= 10  # rounding made it indefinite by more
        else:
            return mean + rng.normal(size=(draws, count)) @ lower.T


def _matern(distances: np.ndarray, length: float) -> np.ndarray:
    r = np.sqrt(5) * distances / length
    found: np.ndarray = (1 + r + r**2 / 3) * np.exp(-r)
    return found


def _likelihood(prior: np.ndarray, noise: float, targets: np.ndarray) -> float:
    # Log-likelihood of the known scores, up to a constant, at the likeliest scale.
    count = len(targets)
    lower = np.linalg.cholesky(prior + noise * np.eye(count))
    white = np.linalg.solve(lower, targets)
    return float(-0.5 * count * np.log(white @ white) - np.log(np.diag(lower)).sum())
