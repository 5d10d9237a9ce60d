"""What each mixer is worth in each stage, from networks that were trained."""

from collections.abc import Sequence
from statistics import fmean

import numpy as np
from scipy.stats import t

from spach_nas.space.architecture import Architecture
from spach_nas.space.search_space import SearchSpace
from spach_nas.study.audit_rows import Estimate
from spach_nas.study.rank_correlation import Figures
from spach_nas.study.records import Record


def mixer_worths(
    architectures: Sequence[Architecture],
    *,
    macs: Sequence[int],
    scores: Sequence[float],
    space: SearchSpace,
) -> dict[tuple[int, str], Estimate]:
    """What each mixer adds where all blocks of a stage have it instead of the stage's first one.

    By least squares in the shares of the mixers and the logarithm of MACs.

    Args:
        architectures: Of the space.
        macs: Of each.
        scores: Accuracy of each, in [0, 1].
        space: Names the mixers of each stage.

    Returns:
        In points, at equal MACs, with 95 % intervals (Student's t, from what is left over), by the
        place of the stage, from 0, and the mixer; without those that no architecture has. Empty
        where the architectures are too few.
    """
    shares = {
        (place, name): mixer_shares(architectures, place, name)
        for place, stage in enumerate(space.stages)
        for name in stage.mixers.names[1:]
    }
    # Of a mixer that none of them has there is nothing to say.
    shares = {choice: own for choice, own in shares.items() if own.any()}
    size = np.log(np.array(macs, dtype=float))
    columns = [np.ones(len(size)), size - size.mean() if len(size) else size]
    columns += shares.values()
    design, points = np.stack(columns, axis=1), 100 * np.array(scores)
    free = len(size) - design.shape[1]
    if free < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        return {}
    worth = np.linalg.lstsq(design, points, rcond=None)[0]
    left = float(((points - design @ worth) ** 2).sum()) / free
    half = t.ppf(0.975, free) * np.sqrt(left * np.diag(np.linalg.inv(design.T @ design)))
    ends = zip(worth, worth - half, worth + half, strict=True)
    found = [Estimate(figure=float(x), low=float(low), high=float(high)) for x, low, high in ends]
    return dict(zip(shares, found[2:], strict=True))


def worths_of_records(
    records: Sequence[Record], *, space: SearchSpace
) -> dict[tuple[int, str], Estimate]:
    """The same from records of trainings: of each architecture the mean over its own."""
    trained: dict[str, list[Record]] = {}
    for record in records:
        trained.setdefault(record.arch_id, []).append(record)
    return mixer_worths(
        [own[0].architecture for own in trained.values()],
        macs=[own[0].target_cost.macs for own in trained.values()],
        scores=[fmean(one.curve[-1].accuracy for one in own) for own in trained.values()],
        space=space,
    )


def mixer_shares(architectures: Sequence[Architecture], place: int, mixer: str) -> Figures:
    """Of the blocks of a stage, the share that has the mixer, for each architecture."""
    stages = [item.stages[place].mixers for item in architectures]
    return np.array([mixers.count(mixer) / len(mixers) for mixers in stages])
