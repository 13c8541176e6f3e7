"""The plots of a run: gains against the control, and training curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sepasr.report.cells import interval_text
from sepasr.report.curves import Curve
from sepasr.report.layout import (
    EDGE_IN,
    GAP_IN,
    TITLE_SIZE,
    axes_in_grid,
    axes_within,
    broken,
    further_lines,
    label,
    text_width,
)
from sepasr.report.svg import (
    BAD,
    FAINT,
    GOOD,
    GRID,
    INK,
    PAPER,
    look,
    style,
    to_svg,
)
from sepasr.report.table import FEWER, LEVEL, MORE, UNDECIDED, Section, verdict
from sepasr.score.result import Comparison, Results
from sepasr.score.statistics import Interval

WIDE_IN, NARROW_IN = 9.0, 3.9
"""Width of a plot on a desk and on a phone; text has the same size on both."""
RELATIONS = {
    "seen": "Seen by the loss",
    "kin": "Kin to its encoder",
    "unseen": "Unseen",
    None: "Systems without an encoder in their loss",
}
TAGS = {
    "valid/si_sdri": "SI-SDRi on dev (dB)",
    "valid/loss": "loss on dev",
    "train/loss": "loss in training",
    "train/si_sdr": "SI-SDR in training (dB)",
}
SMOOTHED = 25
"""Points of training that are averaged into one where there are many more: each is of one batch.

All curves of a panel are, or none."""


@dataclass(frozen=True)
class Plot:
    """A plot in two widths, and what is said of it.

    Attributes:
        name: unique on the page.
        title: what is shown.
        caption: how to read it.
        wide, narrow: SVG elements.
        source: its provenance, where that isn't the run's; empty otherwise.
        table: its figures; None where other tables of the page have them.
    """

    name: str
    title: str
    caption: str
    wide: str
    narrow: str
    source: str = ""
    table: Section | None = None


def make_plot(
    name: str,
    title: str,
    caption: str,
    description: str,
    draw: Callable[[float, bool], Figure],
    source: str = "",
    table: Section | None = None,
) -> Plot:
    """Draw a plot in both widths.

    Args:
        name, title, caption, source, table: see :class:`Plot`. The caption is read
            aloud with the plot, so it has to be short.
        description: every figure of it in words, for those who don't see it.
        draw: makes it, given the width in inches and whether that is a phone's.
    """
    drawn = {}
    for version, width in (("wide", WIDE_IN), ("narrow", NARROW_IN)):
        with style(f"{name}-{version}"):
            figure = draw(width, version == "narrow")
            texts = (f"{name}-{version}", title, description, f"{name}-caption")
            drawn[version] = to_svg(figure, *texts)
    return Plot(name, title, caption, drawn["wide"], drawn["narrow"], source, table)


def forest(results: Results) -> Plot | None:
    """Every gain in cpWER over the control with its interval, grouped by the reader's relation.

    Returns:
        None where nothing was compared.
    """
    every = [*results.comparisons, *results.other_comparisons]
    groups = {
        heading: [c for c in every if c.relation == relation and math.isfinite(c.relative_gain)]
        for relation, heading in RELATIONS.items()
    }
    groups = {heading: group for heading, group in groups.items() if group}
    if not groups:
        return None
    description = " ".join(
        f"{'Primary: ' if c.primary else ''}{c.system}, {c.recogniser}: {_figures(c)}, "
        f"{verdict(c)}, {c.relation or 'no encoder in the loss'}."
        for group in groups.values()
        for c in group
    )
    return make_plot(
        "forest",
        f"Gain in cpWER over {results.control}",
        "Each line is a 95 % interval over mixtures: right of 0 are fewer word errors than "
        f"{results.control} makes. A hollow mark is undecided: its interval holds 0, or p is not "
        f"below {LEVEL}. A diamond was named as primary before the run. The tables below have all "
        "of these figures.",
        description,
        lambda width, narrow: _forest(groups, str(results.control), width, narrow),
    )


def _figures(gain: Comparison) -> str:
    interval = Interval(gain.relative_gain, gain.low, gain.high)
    return f"{interval_text(interval, '+.1f', 100)} %"


def _forest(
    groups: dict[str, list[Comparison]], control: str, width: float, narrow: bool
) -> Figure:
    every = [c for group in groups.values() for c in group]
    # A phone has no room for a name, an interval and figures side by side.
    room = width - 2 * EDGE_IN if narrow else width / 2
    names = {c: broken(_forest_name(c, narrow), room, weight=_weight(c)) for c in every}
    heights = {c: (0.64 if narrow else 0.27) + further_lines(names[c]) for c in every}  # inches
    left = right = 0.25
    if not narrow:
        widths = [text_width(heading, weight="bold") for heading in groups]
        widths += [text_width(names[c], weight=_weight(c)) for c in every]
        left = EDGE_IN + GAP_IN + max(widths)
        right = EDGE_IN + GAP_IN + max(text_width(_figures(c), weight=_weight(c)) for c in every)
    axis = f"gain in cpWER over {control} (%), more is better"
    axis = broken(axis, width - left - right, size=TITLE_SIZE)
    heading_in, first_in, last_in = 0.38, 0.18, 0.25
    tall = first_in + heading_in * (len(groups) - 1) + sum(heights[c] for c in every) + last_in
    below, above = 0.6 + further_lines(axis), 0.05
    figure = Figure(figsize=(width, below + tall + above))
    axes = axes_within(figure, left=left, right=right, below=below, above=above)
    y = heading_in - first_in
    for heading, group in groups.items():
        y -= heading_in
        label(axes, EDGE_IN, y, heading, weight="bold")
        for c in group:
            y -= heights[c]
            _forest_row(axes, c, names[c], y, width, narrow)
    drawn = [v for c in every for v in (c.relative_gain, c.low, c.high)]
    bounds = [100 * v for v in drawn if math.isfinite(v)]
    low, high = min([0.0, *bounds]), max([0.0, *bounds])
    margin = 0.05 * (high - low or 1.0)
    axes.set(xlim=(low - margin, high + margin), ylim=(y - last_in, 0.0), yticks=[])
    axes.axvline(0, color=FAINT, linewidth=1, zorder=1)
    axes.grid(axis="x", zorder=0)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(axis)
    return figure


def _forest_name(c: Comparison, narrow: bool) -> str:
    return f"{c.system} · {c.recogniser}{'  (primary)' if c.primary and not narrow else ''}"


def _weight(c: Comparison) -> str:
    return "bold" if c.primary else "normal"


def _forest_row(axes: Axes, c: Comparison, name: str, y: float, width: float, narrow: bool) -> None:
    surplus = further_lines(name)
    if narrow:
        name_y, figures_y = y + 0.38 + surplus / 2, y + 0.20
    else:
        y = name_y = figures_y = y + surplus / 2
    colour = {FEWER: GOOD, MORE: BAD, UNDECIDED: FAINT}[verdict(c)]
    axes.plot([100 * c.low, 100 * c.high], [y, y], color=colour, linewidth=2, zorder=2)
    axes.plot(
        100 * c.relative_gain,
        y,
        marker="D" if c.primary else "o",
        markersize=8 if c.primary else 7,
        markeredgecolor=colour,
        markerfacecolor=PAPER if colour == FAINT else colour,
        markeredgewidth=1.6,
        zorder=3,
    )
    label(axes, EDGE_IN, name_y, name, weight=_weight(c))
    label(axes, width - EDGE_IN, figures_y, _figures(c), weight=_weight(c), align="right")


def training(
    curves: Sequence[Curve], source: str = "", left_out: Sequence[str] = ()
) -> Plot | None:
    """What was logged, a panel for each quantity of ``TAGS``; None where nothing of it was.

    Args:
        curves: those to show.
        source: where the trainings come from.
        left_out: trainings that are there too, and not shown.
    """
    shown = {tag: [c for c in curves if c.tag == tag and len(c.steps) > 1] for tag in TAGS}
    shown = {tag: group for tag, group in shown.items() if group}
    if not shown:
        return None
    systems = list(dict.fromkeys(curve.system for group in shown.values() for curve in group))
    description = " ".join(
        f"{TAGS[tag]}, {c.training}: from {c.values[0]:.3g} to {c.values[-1]:.3g}"
        f" at step {c.steps[-1]}."
        for tag, group in shown.items()
        for c in group
    )
    smoothed = [TAGS[tag] for tag, group in shown.items() if _is_smoothed(tag, group)]
    surplus = f" Not shown, as the results lack them: {', '.join(left_out)}." if left_out else ""
    averaged = f"{' and '.join(smoothed)}: averaged over {SMOOTHED} points. " if smoothed else ""
    return make_plot(
        "training",
        "Training curves",
        f"A line is one training; seeds of a system share its colour. {averaged}Losses of "
        "different systems are different quantities: compare their course, not their height."
        f"{surplus}",
        description,
        lambda width, narrow: _training(shown, systems, width, narrow),
        source,
    )


def _is_smoothed(tag: str, curves: Sequence[Curve]) -> bool:
    return tag.startswith("train/") and min(len(c.values) for c in curves) > 3 * SMOOTHED


def _training(
    shown: dict[str, list[Curve]], systems: Sequence[str], width: float, narrow: bool
) -> Figure:
    columns = 1 if narrow else min(2, len(shown))
    figure, grid = axes_in_grid(systems, len(shown), columns, width=width, tall=2.4)
    for axes, (tag, curves) in zip(grid, shown.items(), strict=True):
        axes.set_title(TAGS[tag], loc="left", color=INK)
        axes.set_xlabel("steps", fontsize=9)
        axes.grid(color=GRID)
        axes.set_axisbelow(True)
        axes.locator_params(nbins=5)
        for curve in curves:
            s = systems.index(curve.system)
            steps, values = np.array(curve.steps), np.array(curve.values)
            if _is_smoothed(tag, curves):
                kernel = np.full(SMOOTHED, 1 / SMOOTHED)
                values = np.convolve(values, kernel, "valid")
                steps = steps[SMOOTHED // 2 :][: len(values)]
            every = max(1, len(values) // 10)
            axes.plot(steps, values, **look(s), markevery=every, markersize=4, linewidth=1.5)
    return figure
