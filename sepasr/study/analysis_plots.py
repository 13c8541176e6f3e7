"""Plots of what is analysed on top of a study: correlations, and word errors by difficulty."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sepasr.study.conditions import LABELS
from sepasr.study.config import StudyConfig
from sepasr.study.correlation import CorrelationRow
from sepasr.study.difficulty import DifficultyRow
from sepasr.study.drawing import GREY, WIDTH_IN, drawn, handle, legend, looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_correlations(
    study: StudyConfig, table: Sequence[CorrelationRow], path: str | Path
) -> None:
    """Measures down the y axis; how well each goes with the word errors of each reader."""
    kinds = {
        "systems": "between the systems of a mixture",
        "mixtures": "between all mixtures of all systems",
    }
    measures = list(dict.fromkeys(row.measure for row in table))
    readers = list(dict.fromkeys(row.recogniser for row in table))
    style = looks(readers)
    size = (WIDTH_IN, 1.8 + len(measures) * (0.16 * len(readers) + 0.14))
    mixtures, systems = (max(getattr(row, n) for row in table) for n in ("mixtures", "systems"))
    note = f"{study.screen.set}, {mixtures} mixtures, {systems} systems"
    options = {"ncols": 2, "sharey": True, "sharex": True}
    with drawn(study, size, Path(path), note, **options) as (figure, axes):
        for axis, (kind, title) in zip(axes, kinds.items(), strict=True):
            for row in (row for row in table if row.kind == kind):
                lane = readers.index(row.recogniser) - (len(readers) - 1) / 2
                y = measures.index(row.measure) + lane * 0.8 / len(readers)
                colour, marker = style[row.recogniser]
                axis.plot([row.low, row.high], [y, y], color=colour, linewidth=1.2)
                axis.plot(row.correlation, y, marker, color=colour, markersize=5)
            _zero_line(axis, title)
        axes[0].set_yticks(range(len(measures)), measures)
        axes[0].set_ylim(len(measures) - 0.5, -0.5)
        legend(figure, [handle(*style[name], name) for name in readers])


def _zero_line(axis: Axes, title: str) -> None:
    axis.axvline(0, color=GREY, linewidth=1)
    axis.set_xlim(-1, 1)
    axis.grid(color="#eeeeee")
    axis.set_title(title, loc="left", fontsize=9)
    axis.set_xlabel("rank correlation with cpWER\n(0: no relation; 95 % intervals)")


def plot_difficulty(study: StudyConfig, table: Sequence[DifficultyRow], path: str | Path) -> None:
    """A column per condition and a row per reader: word errors in groups of mixtures."""
    conditions = list(dict.fromkeys(row.condition for row in table))
    readers = list(dict.fromkeys(row.recogniser for row in table))
    systems = list(dict.fromkeys(row.system for row in table))
    style = looks(systems)
    size = (2.3 * len(conditions) + 0.6, 1.9 * len(readers) + 1.6)
    assert study.difficulty is not None
    mixtures = max(row.mixtures for row in table)
    note = (
        f"{study.difficulty.set}, {mixtures} mixtures in {max(row.bin for row in table)} groups of "
        "equally many, each at its median, with 95 % intervals"
    )
    options = {
        "nrows": len(readers),
        "ncols": len(conditions),
        "sharex": "col",
        "sharey": "row",
        "squeeze": False,
    }
    with drawn(study, size, Path(path), note, **options) as (figure, axes):
        for row_axes, reader in zip(axes, readers, strict=True):
            for axis, condition in zip(row_axes, conditions, strict=True):
                for system in systems:
                    mine = [
                        row
                        for row in table
                        if (row.recogniser, row.condition, row.system)
                        == (reader, condition, system)
                        and row.bin
                    ]
                    x = [row.median for row in mine]
                    y, low, high = (
                        np.array([100 * getattr(row, name) for row in mine])
                        for name in ("cpwer", "cpwer_low", "cpwer_high")
                    )
                    colour, marker = style[system]
                    axis.plot(x, y, color=colour, marker=marker, markersize=4, linewidth=1.2)
                    axis.vlines(x, low, high, color=colour, linewidth=0.8)
                axis.grid(color="#eeeeee")
            row_axes[0].set_ylabel(f"{reader}\ncpWER (%)")
            row_axes[0].set_ylim(bottom=0)
        for axis, condition in zip(axes[-1], conditions, strict=True):
            axis.set_xlabel(LABELS[condition])
        legend(figure, [handle(*style[name], name) for name in systems])
