"""Parts of a search YAML that do not fit each other, a line for each."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

from spach_nas.config.evaluation import Fidelity
from spach_nas.config.objectives import Objective
from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import Limits
from spach_nas.errors import ArchitectureError, SearchSpaceError, did_you_mean, one_of
from spach_nas.space.references import reference_target
from spach_nas.space.scaling import ProxyRule, scale
from spach_nas.space.search_space import SearchSpace


def proxy_mistakes(
    rule: ProxyRule, space: SearchSpace, *, fidelities: Sequence[Fidelity]
) -> list[str]:
    """A proxy must be as buildable as its target; widths follow the heads by the rule itself."""
    if rule.image_size is None and len(space.image_size) > 1:
        return ["proxy.image_size: is missing; expected one, since the space has several"]
    sizes = [side for rung in fidelities for side in rung.image_size]
    patches = (rule.patch_size,) if rule.patch_size else space.patch_size
    mistakes: list[str] = []
    for side in dict.fromkeys(sizes):
        try:
            replace(space, image_size=(side,), patch_size=patches)
        except SearchSpaceError as error:
            for line in str(error).split("\n"):
                own = line.startswith(("image_size", "patch_size"))
                mistakes.append(f"proxy.{line}" if own else f"proxy: {line}")
    return mistakes


def rung_mistakes(
    fidelities: Sequence[Fidelity], *, rank: str, objectives: Sequence[Objective]
) -> list[str]:
    """The same network must be trained longer at a higher rung, and `rank` must be a score."""
    mistakes = []
    for rung, (fidelity, following) in enumerate(itertools.pairwise(fidelities)):
        same = following.image_size == fidelity.image_size
        if same and fidelity.epochs >= following.epochs:
            where = "training.epochs" if following == fidelities[-1] else "the next level"
            mistakes.append(
                f"rungs.levels[{rung}].epochs: {fidelity.epochs}; expected less than the "
                f"{following.epochs} of {where}"
            )
    ranks = ("front", *(item.name for item in objectives if item.source == "score"))
    if rank not in ranks:
        mistakes.append(
            f"rungs.rank: {rank!r}; expected {one_of(ranks)}{did_you_mean(rank, ranks)}"
        )
    return mistakes


def reference_mistakes(
    names: Sequence[str], space: SearchSpace, *, limits: Limits, proxies: Sequence[ProxyRule]
) -> list[str]:
    """Models of the paper must fit the limits and the space, and have a proxy at every rung.

    While the classes are still to be those of the data, costs are not known and not checked.
    """
    mistakes = []
    for name in names:
        target = reference_target(name, space.shape)
        broken = () if space.is_open else limits.without_latency.violations(cost(target))
        if broken:
            mistakes.append(
                f"references: {name}: {', '.join(broken)}; expected a model inside the limits, "
                "since nothing above them is trained"
            )
        if target.image_size[0] not in space.image_size:
            mistakes.append(
                f"references: {name}: is a model for {target.image_size[0]} px; expected one for "
                f"{one_of(map(str, space.image_size))} px, the image size of the space"
            )
            continue
        try:
            for rule in proxies:
                scale(target, rule, space.shape)
        except ArchitectureError as error:
            mistakes.append(f"references: {name}: no network has its proxy: {error}")
    return mistakes
