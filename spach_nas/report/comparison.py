"""Several studies, or seeds of one, side by side: from Python, each figure by itself.

studies = read_studies([Path("results/a"), Path("results/b")])
groups = group_studies(studies)                     # seeds of one search are a group
fronts_figure(fronts_data(groups)).show()
growth_figure(growth_data(groups), axis="seconds").show()
repeats_figure(repeats_data(groups)).show()
"""

from spach_nas.report.comparison_fronts import cost_axes, fronts_data, fronts_figure
from spach_nas.report.comparison_growth import bands, growth_data
from spach_nas.report.comparison_growth_figure import growth_figure
from spach_nas.report.comparison_page import render_comparison, write_comparison
from spach_nas.report.comparison_repeats import repeats_data, repeats_figure
from spach_nas.report.comparison_settings import differences, protocol_differences
from spach_nas.report.comparison_study import (
    ComparedStudy,
    StudyGroup,
    group_studies,
    read_studies,
)
from spach_nas.report.comparison_table import study_figures, wins

__all__ = [
    "ComparedStudy",
    "StudyGroup",
    "bands",
    "cost_axes",
    "differences",
    "fronts_data",
    "fronts_figure",
    "group_studies",
    "growth_data",
    "growth_figure",
    "protocol_differences",
    "read_studies",
    "render_comparison",
    "repeats_data",
    "repeats_figure",
    "study_figures",
    "wins",
    "write_comparison",
]
