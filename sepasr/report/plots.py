"""The plots of a run: gains against the control, and training curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sepasr.report.cells import interval_text
from sepasr.report.curves import Curve
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
        question: what it answers; empty where the title says it.
        table: its figures; None where other tables of the page have them.
    """

    name: str
    title: str
    caption: str
    wide: str
    narrow: str
    source: str = ""
    question: str = ""
    table: Section | None = None


def make_plot(
    name: str,
    title: str,
    caption: str,
    description: str,
    draw: Callable[[float, bool], Figure],
    source: str = "",
    question: str = "",
    table: Section | None = None,
) -> Plot:
    """Draw a plot in both widths.

    Args:
        name, title, caption, source, question, table: see :class:`Plot`. The caption is read
            aloud with the plot, so it has to be short.
        description: every figure of it in words, for those who don't see it.
        draw: makes it, given the width in inches and whether that is a phone's.
    """
    drawn = {}
    for label, width in (("wide", WIDE_IN), ("narrow", NARROW_IN)):
        with style(f"{name}-{label}"):
            figure = draw(width, label == "narrow")
            texts = (f"{name}-{label}", title, description, f"{name}-caption")
            drawn[label] = to_svg(figure, *texts)
    return Plot(name, title, caption, drawn["wide"], drawn["narrow"], source, question, table)


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
    per_row = 0.64 if narrow else 0.27  # inches
    heading_in, first_in = 0.38, 0.18
    count = sum(map(len, groups.values()))
    height = first_in + heading_in * (len(groups) - 1) + per_row * count + 0.9
    figure = Figure(figsize=(width, height))
    left, right = (0.02, 0.98) if narrow else (0.42, 0.80)
    axes = figure.add_axes((left, 0.6 / height, right - left, 1 - 0.65 / height))
    y = heading_in - first_in
    for heading, group in groups.items():
        y -= heading_in
        label(axes, 0.0 if narrow else -left / (right - left) + 0.02, y, heading, weight="bold")
        for c in group:
            y -= per_row
            _forest_row(axes, c, y, narrow, left / (right - left))
    drawn = [v for g in groups.values() for c in g for v in (c.relative_gain, c.low, c.high)]
    bounds = [100 * v for v in drawn if math.isfinite(v)]
    low, high = min([0.0, *bounds]), max([0.0, *bounds])
    margin = 0.05 * (high - low or 1.0)
    axes.set(xlim=(low - margin, high + margin), ylim=(y - 0.25, 0.0), yticks=[])
    axes.axvline(0, color=FAINT, linewidth=1, zorder=1)
    axes.grid(axis="x", zorder=0)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"gain in cpWER over {control} (%), more is better")
    return figure


def _forest_row(axes: Axes, c: Comparison, y: float, narrow: bool, margin: float) -> None:
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
    weight = "bold" if c.primary else "normal"
    name = f"{c.system} · {c.recogniser}"
    if c.primary and not narrow:
        name += "  (primary)"
    # A phone has no room for both in one line.
    start, above = (0.0, (0.38, 0.20)) if narrow else (-margin + 0.04, (0.0, 0.0))
    label(axes, start, y + above[0], name, weight=weight)
    end = 1.0 if narrow else 1 + 0.20 / 0.38
    label(axes, end, y + above[1], _figures(c), weight=weight, align="right")


def label(
    axes: Axes, x: float, y: float, text: str, *, weight: str = "normal", align: str = "left"
) -> None:
    """Text at a share of the axes' width, and at a value of theirs."""
    axes.text(
        x,
        y,
        text,
        transform=axes.get_yaxis_transform(),
        fontweight=weight,
        horizontalalignment=align,
        verticalalignment="center",
        fontsize=9,
    )


def legend(figure: Figure, names: Sequence[str], narrow: bool, columns: int | None = None) -> None:
    """One entry for each of a plot's series, above it; none where they have no names."""
    if [name for name in names if name]:
        handles = [Line2D([], [], **look(s)) for s in range(len(names))]
        figure.legend(
            handles,
            [name or "–" for name in names],
            loc="upper left",
            ncols=columns or (2 if narrow else 4),
            fontsize=9,
            borderaxespad=0,
        )


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
    rows = -(-len(shown) // columns)
    head = 0.12 + 0.25 * math.ceil(len(systems) / (2 if narrow else 4))
    height = 2.2 * rows + head
    figure = Figure(figsize=(width, height))
    grid = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=0.13 if narrow else 0.07,
        right=0.98,
        top=1 - (head + 0.3) / height,
        bottom=0.5 / height,
        hspace=0.65,
        wspace=0.18,
    )
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    for axes, (tag, curves) in zip(grid.flat, shown.items(), strict=False):
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
    legend(figure, systems, narrow)
    return figure
