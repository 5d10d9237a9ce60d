"""Where the names of points go: beside each point, on the side with the most room."""

import math
from collections.abc import Sequence
from typing import NamedTuple

# A letter and a line of 12 px, as shares of a figure about 900 px wide and 430 px high.
_LETTER, _LINE = 0.0082, 0.042
_POINT = (0.010, 0.018)
_LINE_WIDTH = 0.012
_OFFSET_PX = 12
_LINE_SHARE = 0.1


class Box(NamedTuple):
    """A rectangle in shares of the figure, (0, 0) at the lower left."""

    left: float
    bottom: float
    right: float
    top: float

    @staticmethod
    def around(
        x: float, y: float, *, x_range: tuple[float, float], y_range: tuple[float, float]
    ) -> "Box":
        """The marker of a point; x is on a log axis if its range is positive."""
        low, high = x_range
        if low > 0:
            low, high, x = math.log(low), math.log(high), math.log(max(x, low))
        share_x = (x - low) / (high - low)
        share_y = (y - y_range[0]) / (y_range[1] - y_range[0])
        wide, high = _POINT
        return Box(share_x - wide, share_y - high, share_x + wide, share_y + high)

    @staticmethod
    def between(first: "Box", second: "Box") -> tuple["Box", "Box"]:
        """The step of a staircase from one marker to the next: to the side, then up or down."""
        (x0, y0), (x1, y1) = first.centre, second.centre
        thin = _LINE_WIDTH / 2
        across = Box(min(x0, x1), y0 - thin, max(x0, x1), y0 + thin)
        up = Box(x1 - thin, min(y0, y1), x1 + thin, max(y0, y1))
        return across, up

    @property
    def centre(self) -> tuple[float, float]:
        """The middle."""
        return (self.left + self.right) / 2, (self.bottom + self.top) / 2

    def overlap(self, other: "Box") -> float:
        """Shared area."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, wide) * max(0.0, high)

    @property
    def outside(self) -> float:
        """How far it leaves the figure."""
        return max(0.0, -self.left, -self.bottom, self.right - 1, self.top - 1)


class Side(NamedTuple):
    """A side of a point, as plotly's anchors and shifts in pixels."""

    xanchor: str
    yanchor: str
    xshift: int
    yshift: int


_SIDES = (
    Side("right", "bottom", -_OFFSET_PX // 2, _OFFSET_PX // 2),
    Side("left", "middle", _OFFSET_PX, 0),
    Side("right", "middle", -_OFFSET_PX, 0),
    Side("center", "top", 0, -_OFFSET_PX + 2),
    Side("center", "bottom", 0, _OFFSET_PX - 2),
    Side("left", "top", _OFFSET_PX // 2, -_OFFSET_PX // 2),
)


def place_labels(
    points: Sequence[Box],
    names: Sequence[str],
    *,
    obstacles: Sequence[Box],
    lines: Sequence[Box] = (),
) -> list[Side]:
    """A side for each name: greedily the one that covers least; ties to the upper left.

    Args:
        points: Markers to name, the most important first.
        names: In the same order.
        obstacles: Markers to keep free.
        lines: What a name may lie on sooner than on a marker.
    """
    taken: list[Box] = []
    chosen = []
    for point, name in zip(points, names, strict=True):
        labels = [(_label(point, side, name), side) for side in _SIDES]
        near = _hull([label for label, _ in labels])
        blocked = [*taken, *(box for box in obstacles if box != point and near.overlap(box))]
        thin = [box for box in lines if near.overlap(box)]
        costs = [
            sum(label.overlap(box) for box in blocked)
            + _LINE_SHARE * sum(label.overlap(box) for box in thin)
            + label.outside
            for label, _ in labels
        ]
        label, side = labels[costs.index(min(costs))]
        taken.append(label)
        chosen.append(side)
    return chosen


def _hull(boxes: Sequence[Box]) -> Box:
    return Box(
        min(box.left for box in boxes),
        min(box.bottom for box in boxes),
        max(box.right for box in boxes),
        max(box.top for box in boxes),
    )


def _label(point: Box, side: Side, name: str) -> Box:
    wide, high = _LETTER * len(name), _LINE
    left = {
        "left": point.right,
        "right": point.left - wide,
        "center": (point.left + point.right - wide) / 2,
    }[side.xanchor]
    bottom = {
        "bottom": point.top,
        "top": point.bottom - high,
        "middle": (point.bottom + point.top - high) / 2,
    }[side.yanchor]
    return Box(left, bottom, left + wide, bottom + high)
