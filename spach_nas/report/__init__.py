"""Records to figures, and figures to a page."""

from typing import TYPE_CHECKING

from spach_nas.late import late

if TYPE_CHECKING:
    from spach_nas.report.drawing import draw
    from spach_nas.report.page import write_report
    from spach_nas.report.static import write_pictures
    from spach_nas.report.summary import StudyFacts
    from spach_nas.report.terminal import front_table

__getattr__ = late(
    __name__,
    {
        "StudyFacts": "summary",
        "draw": "drawing",
        "front_table": "terminal",
        "write_pictures": "static",
        "write_report": "page",
    },
)
__all__ = ["StudyFacts", "draw", "front_table", "write_pictures", "write_report"]
