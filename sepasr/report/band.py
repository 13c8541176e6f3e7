"""The band of an interval around a line of a plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHARPER = 4
"""How much less a bar lets through than a band, being thin."""


def draw_band(
    axes: Axes,
    x: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    *,
    colour: str,
    alpha: float,
) -> None:
    """Shade what is between two bounds; of a single place, which has no width, draw a bar.

    Args:
        axes: to draw into.
        x: places.
        low: lower bound at each of them; NaN for none.
        high: upper bound.
        colour: of the line.
        alpha: of the band, from 0 to 1.
    """
    if len(x) != 1:
        axes.fill_between(x, low, high, color=colour, alpha=alpha, linewidth=0)
    elif math.isfinite(low[0]) and math.isfinite(high[0]):
        ends, sharp = [low[0], high[0]], min(1.0, SHARPER * alpha)
        axes.plot([x[0], x[0]], ends, marker="", color=colour, alpha=sharp, linewidth=2.2)
