"""Records to figures, and figures to a page."""

from typing import TYPE_CHECKING

from spach_nas.late import late

if TYPE_CHECKING:
    from spach_nas.report.drawing import draw
    from spach_nas.report.page import write_report
    from spach_nas.report.pictures import write_pictures
    from spach_nas.report.terminal import front_table
    from spach_nas.report.view import StudyFacts

__getattr__ = late(
    __name__,
    {
        "StudyFacts": "view",
        "draw": "drawing",
        "front_table": "terminal",
        "write_pictures": "pictures",
        "write_report": "page",
    },
)
__all__ = ["StudyFacts", "draw", "front_table", "write_pictures", "write_report"]
