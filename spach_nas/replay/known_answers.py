"""What a search should find: a model of the paper, or a rule for each stage."""

from collections.abc import Mapping, Sequence

from spach_nas.config.rediscovery_settings import StageRule
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import reference_target
from spach_nas.space.scaling import DataShape

_LATE = (StageRule(only=("conv",)), StageRule(some=("attention", "mlp")))
# In the space `controls`, by construction of the tasks (docs/controls.md).
CONTROL_ANSWERS: Mapping[str, tuple[StageRule, ...]] = {
    "local": (StageRule(only=("conv",)), StageRule(only=("conv",))),
    "set": _LATE,
    "lookup": _LATE,
    "mixed": _LATE,
}


class KnownAnswer:
    """What should be found.

    Args:
        known: The name of a model of the paper, or a rule for each stage.
        shape: Of the targets.

    Attributes:
        target: The paper's model; None where there are rules.
    """

    def __init__(self, known: str | Sequence[StageRule], shape: DataShape) -> None:
        self.rules = None if isinstance(known, str) else tuple(known)
        self.target = reference_target(known, shape) if isinstance(known, str) else None

    def changes(self, architecture: Architecture) -> int:
        """Blocks to change, add or leave out until an architecture has the known layout."""
        if self.target is not None:
            pairs = zip(architecture.stages, self.target.stages, strict=True)
            return sum(edits(one.mixers, other.mixers) for one, other in pairs)
        assert self.rules is not None
        pairs_of_rules = zip(architecture.stages, self.rules, strict=True)
        return sum(_to_change(stage.mixers, rule) for stage, rule in pairs_of_rules)


def _to_change(mixers: Sequence[str], rule: StageRule) -> int:
    wrong = sum(rule.only is not None and name not in rule.only for name in mixers)
    lacking = rule.some is not None and not any(name in rule.some for name in mixers)
    # A wrong block may become the one that is lacking.
    return max(wrong, int(lacking))


def edits(first: Sequence[str], second: Sequence[str]) -> int:
    """The fewest insertions, deletions and changes from one sequence to another (Levenshtein)."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        above, row = row, [i]
        for j, b in enumerate(second, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (a != b)))
    return row[-1]
