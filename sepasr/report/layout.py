"""Where things of a plot are: its texts, its legend and its axes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

from sepasr.report.svg import look

SIZE = 9
"""Of names and figures, in points."""
TITLE_SIZE = 10
"""Of titles and of names of axes."""
DPI = 100
"""To measure at: hinting widens texts by some per cent, which SVG may have, depending on fonts."""
LINE_IN = 0.17
"""Height of a line, at most."""
EDGE_IN, GAP_IN = 0.08, 0.15
"""Between texts and the picture's edge, and between texts and axes."""
HANDLE_IN = 0.55
"""By how much a legend of one column is wider than its names."""
COLUMNS = 4
"""Of a legend, at most."""
BREAKS = (r"(?<= )", r"(?<=[_/-])", r"(?<=.)")
"""Where a text is broken: after a space if that is enough, or else within words."""


def text_width(text: str, *, size: float = SIZE, weight: str = "normal") -> float:
    """Of the widest line, in inches, as it is drawn within :func:`sepasr.report.svg.style`."""
    renderer, font = RendererAgg(1, 1, DPI), FontProperties(size=size, weight=weight)
    widths = [renderer.get_text_width_height_descent(x, font, False)[0] for x in text.split("\n")]
    return max(widths) / DPI


def broken(
    text: str,
    width: float,
    *,
    size: float = SIZE,
    weight: str = "normal",
    breaks: Sequence[str] = BREAKS,
) -> str:
    """A text in lines of at most ``width`` inches."""
    if not breaks or text_width(text, size=size, weight=weight) <= width:
        return text
    lines = [""]
    for part in re.split(breaks[0], text):
        longer = (lines[-1] + part).rstrip()
        if lines[-1] and text_width(longer, size=size, weight=weight) > width:
            lines.append("")
        lines[-1] += part
    finer = breaks[1:]
    return "\n".join(
        broken(line.rstrip(), width, size=size, weight=weight, breaks=finer) for line in lines
    )


def further_lines(text: str) -> float:
    """Height of all lines but the first, in inches."""
    return LINE_IN * text.count("\n")


def label(
    axes: Axes, x: float, y: float, text: str, *, weight: str = "normal", align: str = "left"
) -> None:
    """Text at so many inches from the picture's left edge, and at a value of the axes."""
    axes.text(
        x,
        y,
        text,
        transform=blended_transform_factory(axes.figure.dpi_scale_trans, axes.transData),
        fontweight=weight,
        horizontalalignment=align,
        verticalalignment="center",
        fontsize=SIZE,
    )


def axes_within(figure: Figure, *, left: float, right: float, below: float, above: float) -> Axes:
    """Axes with so many inches around them."""
    width, height = figure.get_size_inches()
    across, up = 1 - (left + right) / width, 1 - (below + above) / height
    return figure.add_axes((left / width, below / height, across, up))


def legend(figure: Figure, names: Sequence[str], columns: int = COLUMNS) -> float:
    """One entry for each of a plot's series, above it; none where they have no names.

    Args:
        figure: whose width it keeps to.
        names: of the series.
        columns: at most.

    Returns:
        Its height in inches.
    """
    if not any(names):
        return 0.0
    room = figure.get_figwidth() - HANDLE_IN
    entries = figure.legend(
        [Line2D([], [], **look(s)) for s in range(len(names))],
        [broken(name or "–", room) for name in names],
        loc="outside upper left",
        ncols=columns,
        fontsize=SIZE,
        borderaxespad=0,
    )
    box = entries.get_window_extent()
    if columns > 1 and box.width > figure.bbox.width:
        entries.remove()
        return legend(figure, names, columns - 1)
    return box.height / figure.dpi


def axes_in_grid(
    names: Sequence[str], count: int, columns: int, *, width: float, tall: float
) -> tuple[Figure, list[Axes]]:
    """So many axes below a legend of ``names``; ``width`` of all and height of each in inches."""
    rows = -(-count // columns)
    figure = Figure(figsize=(width, 1))
    figure.set_layout_engine("constrained", h_pad=0.1)
    figure.set_figheight(tall * rows + legend(figure, names))
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid[count:]:
        axes.set_visible(False)
    return figure, grid[:count]
