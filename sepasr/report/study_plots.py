"""A study's plot: what its variants came to."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sepasr.report.band import draw_band
from sepasr.report.cells import MISSING, interval_text, number_text
from sepasr.report.layout import (
    EDGE_IN,
    GAP_IN,
    TITLE_SIZE,
    axes_in_grid,
    axes_within,
    broken,
    further_lines,
    label,
    legend,
    text_width,
)
from sepasr.report.plots import Plot, make_plot
from sepasr.report.studies import Panel, StudyRow
from sepasr.report.svg import FAINT, INK, look
from sepasr.report.table import Section
from sepasr.score.statistics import Interval

BETTER = {"gain": "more is better", "cpWER": "less is better", "SI-SDR": "more is better"}


@dataclass(frozen=True)
class StudyPlots:
    """A study: its name as a reader should see it, what was asked, and its plots."""

    name: str
    question: str
    plots: tuple[Plot, ...]


def studies(panels: Sequence[Panel]) -> list[StudyPlots]:
    """All plots, gathered by study: a study's further tables belong to it."""
    groups: dict[tuple[str, str], list[Plot]] = defaultdict(list)
    for number, panel in enumerate(panels, 1):
        name = panel.record.study or panel.study
        groups[name.replace("_", " "), panel.record.question].append(study(panel, number))
    return [StudyPlots(*key, tuple(plots)) for key, plots in groups.items()]


def study(panel: Panel, number: int) -> Plot:
    """A study's plot: variants as rows with intervals, or as lines over a numeric axis."""
    where = f" on {panel.set}" if panel.set else ""
    axis = f" by {panel.x_label}" if panel.x_label else ""
    title = f"{panel.study.replace('_', ' ')}: {panel.measure or 'value'}{axis}{where}"
    draw = _study_lines if panel.over_x else _study_rows
    description = " ".join(_in_words(row, panel) for row in panel.rows)
    bounds = "Shaded, or a bar where there is one point" if panel.over_x else "Bars"
    caption = [f"{bounds}: 95 % intervals."] if _has_intervals(panel) else []
    if len({row.seed for row in panel.rows if row.seed is not None}) > 1:
        caption.append(
            "A line is over all seeds of its variant."
            if panel.over_x
            else "Small dots are single seeds, a large mark is over all of them."
        )
    caption.append("The table below it has its figures.")
    return make_plot(
        f"study{number}",
        title,
        " ".join(caption),
        description,
        lambda width, narrow: draw(panel, width, narrow),
        panel.source,
        _table(panel),
    )


def _table(panel: Panel) -> Section:
    """The plot's figures."""
    axis = [panel.x_label or "x"] if panel.over_x else []
    grouped = any(row.bin is not None for row in panel.rows)
    axis += ["group"] if grouped else []
    header = ["variant", "recogniser", "seed", *axis, _name(panel)]
    rows = [
        [
            row.variant,
            row.recogniser or MISSING,
            MISSING if row.seed is None else str(row.seed),
            *([f"{row.x:g}"] if panel.over_x else []),
            *([MISSING if row.bin is None else str(row.bin)] if grouped else []),
            _figure(row),
        ]
        for row in panel.rows
    ]
    return Section(_name(panel), header, rows, labels=2)


def _figure(row: StudyRow) -> str:
    """The value, with its interval where it has one."""
    if math.isnan(row.low) and math.isnan(row.high):
        return number_text(row.value, ".4g")
    return interval_text(Interval(row.value, row.low, row.high), ".4g")


def _in_words(row: StudyRow, panel: Panel) -> str:
    """What a row is of, its value with interval and unit."""
    parts = [row.variant, row.recogniser]
    parts += [f"seed {row.seed}"] if row.seed is not None else []
    parts += [f"{panel.x_label or 'x'} {row.x:g}"] if panel.over_x else []
    parts += [f"group {row.bin}"] if row.bin is not None else []
    return f"{', '.join(filter(None, parts))}: {f'{_figure(row)} {panel.unit}'.rstrip()}."


def _merged(rows: Sequence[StudyRow]) -> tuple[StudyRow, list[float]]:
    """One row for a variant: the one over all seeds or else their mean; and the single seeds'."""
    over_all = [row for row in rows if row.seed is None]
    singles = [row.value for row in rows if row.seed is not None]
    if over_all:
        return over_all[0], singles
    first = rows[0]
    if len(rows) == 1:
        return first, []
    mean = float(np.mean(singles))
    return StudyRow(first.study, first.variant, mean, recogniser=first.recogniser, x=first.x), (
        singles
    )


def _has_intervals(panel: Panel) -> bool:
    return any(math.isfinite(row.low) for row in panel.rows)


def _name(panel: Panel) -> str:
    """The measure with its unit."""
    return f"{panel.measure or 'value'}{f' ({panel.unit})' if panel.unit else ''}"


def _axis_label(panel: Panel) -> str:
    """The measure with its unit, and which way is better where that is known."""
    better = next((text for name, text in BETTER.items() if panel.measure.startswith(name)), "")
    return f"{_name(panel)}, {better}" if better else _name(panel)


def _study_rows(panel: Panel, width: float, narrow: bool) -> Figure:
    variants = list(dict.fromkeys(row.variant for row in panel.rows))
    readers = list(dict.fromkeys(row.recogniser for row in panel.rows))
    room = width - 2 * EDGE_IN if narrow else width / 2
    names = [broken(variant, room) for variant in variants]
    surplus = max(map(further_lines, names))
    per_row, extra = max(0.34, 0.17 * len(readers)), 0.0
    left, right = EDGE_IN + GAP_IN + max(map(text_width, names)), 0.36
    if narrow:  # names are above the marks
        left, right, extra = 0.25, 0.25, 0.22 + surplus
    else:
        per_row = max(per_row, 0.34 + surplus)
    axis = broken(_axis_label(panel), width - left - right, size=TITLE_SIZE)
    below, tall = 0.6 + further_lines(axis), (per_row + extra) * len(variants) + 0.05
    figure = Figure(figsize=(width, 1))
    above = 0.1 + legend(figure, readers)
    figure.set_figheight(below + tall + above)
    axes = axes_within(figure, left=left, right=right, below=below, above=above)
    for v, variant in enumerate(variants):
        middle = -(per_row + extra) * (v + 0.5)
        label(axes, EDGE_IN, middle + (per_row / 2 if narrow else 0.0), names[v])
        for r, reader in enumerate(readers):
            rows = [x for x in panel.rows if (x.variant, x.recogniser) == (variant, reader)]
            if rows:
                place = middle - extra / 2 + per_row * 0.8 * (0.5 - (r + 0.5) / len(readers))
                _study_mark(axes, *_merged(rows), place, r)
    axes.set(ylim=(-(per_row + extra) * len(variants) - 0.02, 0.0), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    low, high = axes.get_xlim()
    if low < 0 < high:
        axes.axvline(0, color=FAINT, linewidth=1, zorder=1)
    axes.set_xlabel(axis)
    return figure


def _study_mark(axes: Axes, row: StudyRow, singles: Sequence[float], y: float, series: int) -> None:
    looks = look(series)
    if math.isfinite(row.low) and math.isfinite(row.high):
        line = {**looks, "marker": ""}
        axes.plot([row.low, row.high], [y, y], **line, linewidth=1.8, zorder=2)
    if singles:
        colour = looks["color"]
        axes.plot(singles, [y] * len(singles), ".", color=colour, markersize=4, zorder=3)
    axes.plot(row.value, y, **looks, markersize=6, zorder=4)


def _study_lines(panel: Panel, width: float, narrow: bool) -> Figure:
    """A small plot for each recogniser, a line in it for each variant."""
    variants = list(dict.fromkeys(row.variant for row in panel.rows))
    readers = list(dict.fromkeys(row.recogniser for row in panel.rows))
    columns = 1 if narrow else min(2, len(readers))
    tall = 2.7 if narrow or columns > 1 else 3.6
    ylabel = broken(_name(panel), tall - 1, size=TITLE_SIZE)
    wide = width / columns - 1 - further_lines(ylabel)
    xlabel = broken(panel.x_label or "x", wide, size=TITLE_SIZE)
    figure, grid = axes_in_grid(variants, len(readers), columns, width=width, tall=tall)
    for axes, reader in zip(grid, readers, strict=True):
        for s, variant in enumerate(variants):
            rows = [x for x in panel.rows if (x.variant, x.recogniser) == (variant, reader)]
            groups: dict[tuple[float, int], list[StudyRow]] = defaultdict(list)
            for row in rows:
                groups[row.x, row.bin or 0].append(row)
            merged = [_merged(groups[place])[0] for place in sorted(groups)]
            places = [row.x for row in merged]
            low, high = [row.low for row in merged], [row.high for row in merged]
            values = [row.value for row in merged]
            looks = look(s)
            draw_band(axes, places, low, high, colour=looks["color"], alpha=0.12)
            axes.plot(places, values, **looks, markersize=4)
        axes.set_title(broken(reader, wide, size=TITLE_SIZE), loc="left", color=INK)
        axes.grid()
        axes.set_axisbelow(True)
        axes.set(ylabel=ylabel, xlabel=xlabel)
    return figure
