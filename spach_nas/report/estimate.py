"""The difference between two groups of trials at equal cost, with an interval.

A least-squares line or parabola in log MACs, with a step between the groups. The step's standard
error holds for scores that vary more in one group than in the other, and for small groups: HC2 of
MacKinnon & White 1985 with the degrees of freedom of Bell & McCaffrey 2002, as Imbens & Kolesar
2016, "Robust standard errors in small samples: some practical advice", recommend.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

CONFIDENCE = 0.95
_DEGREE = 2

Floats = NDArray[np.float64]


class Difference(NamedTuple):
    """A difference and the ends of its 95 % interval, in units of the score."""

    estimate: float
    low: float
    high: float


def difference(
    scores: Floats,
    log_macs: Floats,
    *,
    second: NDArray[np.bool_],
    company: NDArray[np.intp] | None = None,
) -> Difference | None:
    """By how much the second group scores higher than the first at equal log MACs.

    Args:
        scores: (N,), independent of each other.
        log_macs: (N,), which both groups should cover.
        second: (N,), who belongs to the second group.
        company: (N,), classes to be equal too: the score is shifted by a constant in each.

    Returns:
        None where the groups cannot be told apart from cost or company, or too few trials are left
        to judge.
    """
    basis = _span(log_macs, company)
    step = second - basis @ (basis.T @ second)
    size = float(step @ step)
    if len(scores) < basis.shape[1] + 3 or size < 1e-6 * len(scores):
        return None
    weights = step / size
    basis = np.column_stack([basis, step / np.sqrt(size)])
    left = scores - basis @ (basis.T @ scores)
    free = 1 - (basis**2).sum(1)
    own = free < 1e-9  # a trial alone in its class says nothing about the step
    if np.abs(weights[own]).max(initial=0.0) > 1e-9:
        return None
    free[own] = 1.0
    spread = float(np.sqrt(np.sum(weights**2 * left**2 / free)))
    # The second moment of a sum of dependent squares; H = Q Q' enters by Q alone.
    share = weights**2 / free
    inner = basis.T @ (share[:, None] * basis)
    squares = float(np.sum(share**2 * (2 * free - 1)) + np.sum(inner**2))
    degrees = float(np.sum(weights**2) ** 2 / squares)
    reach = float(stdtrit(degrees, (1 + CONFIDENCE) / 2)) * spread
    estimate = float(weights @ scores)
    return Difference(estimate, estimate - reach, estimate + reach)


def _span(log_macs: Floats, company: NDArray[np.intp] | None = None) -> Floats:
    """Orthonormal columns of what is held equal, as many as the trials can tell apart."""
    spread = float(np.ptp(log_macs)) if len(log_macs) else 0.0
    x = (log_macs - np.mean(log_macs)) / spread if spread > 0 else np.zeros_like(log_macs)
    columns = [x**power for power in range(_DEGREE + 1)]
    if company is not None:
        columns += [(company == kind).astype(np.float64) for kind in np.unique(company)]
    basis, upper = np.linalg.qr(np.column_stack(columns))
    turned, sizes, _ = np.linalg.svd(upper)
    return np.asarray(basis @ turned[:, sizes > 1e-9 * sizes[0]], dtype=np.float64)
