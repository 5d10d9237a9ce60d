"""A Gaussian process for figures that few trainings have shown, with draws of what it believes.

Letters: N points whose figure is known, P others, F features, D draws. Source: Rasmussen and
Williams 2006, "Gaussian Processes for Machine Learning", chapters 2 and 5.
"""

import itertools

import numpy as np

# Hyperparameters, of which the likeliest are taken. Features have distances of about 1.4.
_LENGTHS = (0.5, 1.0, 2.0, 4.0)
_LINEAR_SHARES = (0.0, 0.5, 0.9)
# Variance of the noise over that of the function.
_NOISES = (0.01, 0.03, 0.1, 0.3, 1.0)
_JITTER = 1e-9


def scaled(features: np.ndarray) -> np.ndarray:
    """Features by which points are compared, each of the same weight.

    Args:
        features: (N, F) in any units; those in which no two points differ are left out.

    Returns:
        (N, F'), mean 0; the mean squared distance of two points is 2.
    """
    deviations = features.std(axis=0)
    telling = deviations > _JITTER * (1 + np.abs(features).max(axis=0, initial=0))
    centred = features[:, telling] - features[:, telling].mean(axis=0)
    weighed: np.ndarray = centred / (deviations[telling] * np.sqrt(max(1, telling.sum())))
    return weighed


def posterior(points: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is believed of the figure at every point, without the noise of a training.

    The covariance of two points is a sum of a linear part and a Matern 5/2 one. Its length, the
    share of both and the noise are those that make the known figures likeliest.

    Args:
        points: (N + P, F) as `scaled` gives them, those with a known figure first.
        known: (N,), not all the same.

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
    """Functions that may be true, (D, N + P)."""
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
    # Of the known figures, up to a constant, at the likeliest scale of the whole.
    count = len(targets)
    lower = np.linalg.cholesky(prior + noise * np.eye(count))
    white = np.linalg.solve(lower, targets)
    return float(-0.5 * count * np.log(white @ white) - np.log(np.diag(lower)).sum())
