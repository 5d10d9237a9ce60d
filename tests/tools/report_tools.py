"""Short ways to a study's view for tests of its report."""

from collections.abc import Sequence

from spach_nas.config.objectives import USUAL, Objective
from spach_nas.cost.limits import Limits
from spach_nas.report.view import StudyFacts, StudyView, study_view
from spach_nas.study.records import Record


def view_of(
    records: Sequence[Record],
    objectives: Sequence[Objective] = USUAL,
    *,
    limits: Limits | None = None,
) -> StudyView:
    """The view of a study of which little else is known."""
    facts = StudyFacts(name="a study", objectives=tuple(objectives), limits=limits or Limits())
    return study_view(records, facts)
