"""Tables without lines, and figures in them, for a terminal."""

from collections.abc import Sequence
from typing import Literal

from rich.table import Table


def percent(share: float) -> str:
    """A share in [0, 1] with one digit; 0 and 100 % are exact."""
    if 0 < share < 0.0005:
        return "<0.1 %"
    if 0.9995 <= share < 1:
        return ">99.9 %"
    return f"{100 * share:.0f} %" if share in (0, 1) else f"{100 * share:.1f} %"


def plain_table(*headings: str, right: Sequence[int] = (), gap: int = 2) -> Table:
    """Columns without lines; `right` are those to align to the right."""
    table = Table(box=None, padding=(0, gap, 0, 0), show_header=any(headings), header_style="dim")
    for number, heading in enumerate(headings):
        last = number == len(headings) - 1
        side: Literal["left", "right"] = "right" if number in right else "left"
        table.add_column(heading, justify=side, no_wrap=not last)
    return table


def plural(count: int, what: str) -> str:
    """`1 epoch`, `1,000 epochs`."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
