"""How alike two figures rank: Kendall's tau-b and Spearman's rho, for many resamples at once.

Resamples of a bootstrap are given by how often they draw each item, so that one product of matrices
answers for all of them, where a library ranks them one by one.

Letters: A items, R resamples.
"""

import numpy as np
from numpy.typing import NDArray

Figures = NDArray[np.float64]


def resamples(count: int, number: int) -> Figures:
    """How often each of `count` items is drawn, (number + 1, A); first the sample itself."""
    drawn = np.random.default_rng(0).multinomial(count, [1 / count] * count, number)
    return np.vstack([np.ones(count), drawn]).astype(np.float64)


def kendall(
    first: Figures, second: Figures, *, bands: NDArray[np.int64], weights: Figures
) -> Figures:
    """Kendall's tau-b over pairs within bands, (R,), from how often each is drawn, (R, A)."""
    same = np.equal.outer(bands, bands)
    signs = [np.sign(np.subtract.outer(values, values)) * same for values in (first, second)]
    concordant, one, other = (
        np.einsum("ra,ab,rb->r", weights, product, weights, optimize=True)
        for product in (signs[0] * signs[1], np.abs(signs[0]), np.abs(signs[1]))
    )
    pairs = np.sqrt(one * other)
    return np.asarray(np.divide(concordant, pairs, out=np.zeros_like(pairs), where=pairs > 0))


def spearman(
    first: Figures, second: Figures, *, bands: NDArray[np.int64], weights: Figures
) -> Figures:
    """Correlation of the ranks within bands, (R,), those of the whole sample in each resample."""
    x, y = (places(values, bands) for values in (first, second))
    total = weights.sum(1)
    dx, dy = (v - (weights @ v / total)[:, None] for v in (x, y))
    spreads = np.sqrt((weights * dx**2).sum(1) * (weights * dy**2).sum(1))
    joint = (weights * dx * dy).sum(1)
    return np.asarray(np.divide(joint, spreads, out=np.zeros_like(spreads), where=spreads > 0))


def places(values: Figures, bands: NDArray[np.int64]) -> Figures:
    """The rank within its band, from 0 to 1; 0.5 in a band of one."""
    # Late: a report needs none of scipy.
    from scipy.stats import rankdata

    found = np.full(len(values), 0.5)
    for band in np.unique(bands):
        own = bands == band
        if own.sum() > 1:
            found[own] = (rankdata(values[own]) - 1) / (own.sum() - 1)
    return found
