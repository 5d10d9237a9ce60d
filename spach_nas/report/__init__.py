"""Records to figures, and figures to a page."""

from typing import TYPE_CHECKING

from spach_nas.lazy_import import late

if TYPE_CHECKING:
    from spach_nas.report.drawing import draw
    from spach_nas.report.page import write_report
    from spach_nas.report.print_figures import write_pictures
    from spach_nas.report.terminal import front_table
    from spach_nas.report.view import StudyFacts

__getattr__ = late(
    __name__,
    {
        "StudyFacts": "view",
        "draw": "drawing",
        "front_table": "terminal",
        "write_pictures": "print_figures",
        "write_report": "page",
    },
)
__all__ = ["StudyFacts", "draw", "front_table", "write_pictures", "write_report"]
