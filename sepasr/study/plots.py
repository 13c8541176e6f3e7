"""One plot per study, to be read without the text: what is asked, what is compared, how surely."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sepasr.report.band import draw_band
from sepasr.score.result import CLEAN, MIXTURE
from sepasr.study.config import StudyConfig
from sepasr.study.drawing import COLOURS, GREY, MARKERS, WIDTH_IN, drawn, handle, legend, looks
from sepasr.study.rows import FAMILY_MEAN, StudyResult

SI_SDR = "si_sdr"
NAMES = {FAMILY_MEAN: "mean over families", SI_SDR: "SI-SDR"}
AKIN = ("seen", "kin")
"""Readers that have the weights or the family of an encoder of the loss."""


def plot_study(study: StudyConfig, results: Sequence[StudyResult], path: str | Path) -> None:
    """Draw a study as its YAML says, as SVG; gains in the finals are above the screen's.

    Args:
        study: what was asked.
        results: the figures.
        path: where to write.
    """
    draw = {"gains": _gains, "steps": _steps, "lines": _lines}[study.plot]
    draw(study, _averages(results), Path(path))


def _averages(results: Sequence[StudyResult]) -> list[StudyResult]:
    """Averages over seeds, and what has a single seed."""
    several = {(r.variant, r.steps, r.set) for r in results if r.seeds > 1}
    return [r for r in results if r.seeds > 1 or (r.variant, r.steps, r.set) not in several]


def _title(result: StudyResult) -> str:
    return f"{result.set}, {result.mixtures} mixtures"


def _other(result: StudyResult) -> str:
    """What it is compared with, and after how many steps where these are others."""
    steps = result.against_steps
    other = steps and result.steps and steps != result.steps
    return f"{result.against}, {steps} steps" if other else result.against


def _gains(study: StudyConfig, results: Sequence[StudyResult], path: Path) -> None:
    """Variants down the y axis, the gain of each reader to the right, with its interval."""
    # What is not separated is far from all that is.
    whole = [v.name for v in study.variants if v.system in (MIXTURE, CLEAN)]
    compared = [r for r in results if r.against and r.variant not in whole]
    screened = study.screen.set
    sets = sorted(dict.fromkeys(r.set for r in compared), key=lambda s: s.startswith(screened))
    sets = sets or [""]
    rows = list(dict.fromkeys((r.set, r.variant, r.steps) for r in compared))
    readers = list(dict.fromkeys(r.recogniser for r in compared if r.recogniser != FAMILY_MEAN))
    families = list(dict.fromkeys(r.family for r in compared if r.family))
    colour = {f: COLOURS[i % len(COLOURS)] for i, f in enumerate(families)}
    marker = {r: MARKERS[i % len(MARKERS)] for i, r in enumerate(readers)}
    counts = [max(1, sum(row[0] == name for row in rows)) for name in sets]
    lanes = [*readers, FAMILY_MEAN]
    height = 1.6 + sum(counts) * (0.16 * len(lanes) + 0.15)
    options: dict[str, Any] = {
        "nrows": len(sets),
        "sharex": True,
        "squeeze": False,
        "height_ratios": counts,
    }
    with drawn(study, (WIDTH_IN, height), path, **options) as (figure, axes):
        handles: dict[str, Any] = {}
        for axis, name in zip(axes[:, 0], sets, strict=True):
            mine = [row for row in rows if row[0] == name]
            several = len({row[2] for row in mine}) > 1 or len({row[1] for row in mine}) < len(mine)
            for r in (r for r in compared if r.set == name):
                line = mine.index((r.set, r.variant, r.steps))
                y = line + (lanes.index(r.recogniser) - (len(lanes) - 1) / 2) * 0.8 / len(lanes)
                is_mean = r.recogniser == FAMILY_MEAN
                shade = "black" if is_mean else colour[r.family]
                form = "|" if is_mean else marker[r.recogniser]
                gain, low, high = (100 * x for x in (r.gain, r.gain_low, r.gain_high))
                axis.plot([low, high], [y, y], color=shade, linewidth=2.6 if is_mean else 1.2)
                filled = "white" if r.relation in AKIN else shade
                axis.plot(gain, y, form, color=shade, markerfacecolor=filled, markersize=6)
                label = NAMES.get(r.recogniser, r.recogniser)
                if label not in handles:
                    family = f"{r.family}: " if r.family else ""
                    handles[label] = handle(shade, form, family + label)
            axis.axvline(0, color=GREY, linewidth=1)
            axis.set_yticks(
                range(len(mine)),
                [f"{v}\n{s} steps" if several and s else v for _, v, s in mine],
            )
            axis.set_ylim(max(1, len(mine)) - 0.5, -0.5)
            for edge in range(1, len(mine)):
                axis.axhline(edge - 0.5, color="#dddddd", linewidth=0.8)
            first = next((r for r in compared if r.set == name), None)
            if first is not None:
                against = " and ".join(dict.fromkeys(_other(r) for r in compared if r.set == name))
                axis.set_title(f"{_title(first)}; against {against}", loc="left", fontsize=9)
        axes[-1, 0].set_xlabel(
            "fewer word errors than the control (% of its cpWER), with 95 % intervals\n"
            "← worse        better →"
        )
        if any(r.relation in AKIN for r in compared):
            handles["open"] = handle(GREY, "o", "open: reader of the loss's family", face="white")
        legend(figure, list(handles.values()))


def _panels(results: Sequence[StudyResult]) -> list[str]:
    """Readers, the mean over families first."""
    readers = dict.fromkeys(r.recogniser for r in results)
    return sorted(readers, key=lambda name: name != FAMILY_MEAN)


def _steps(study: StudyConfig, results: Sequence[StudyResult], path: Path) -> None:
    """Word errors and SI-SDR in the screen against steps, a line per variant.

    The finals have one number of steps each. What isn't trained is dotted.
    """
    final = study.finalists
    finals = {final.set + v.task for v in study.variants} if final else set()
    results = [r for r in results if r.set not in finals]
    variants = list(dict.fromkeys(r.variant for r in results))
    style, panels = looks(variants), [*_panels(results), SI_SDR]
    still = {r.variant for r in results if r.seeds == 0}
    rows = -(-len(panels) // 2)
    options = {"nrows": rows, "ncols": 2, "squeeze": False}
    note = _title(results[0])
    with drawn(study, (WIDTH_IN, 2.4 * rows + 1.8), path, note, **options) as (figure, axes):
        for axis, name in zip(axes.flat, panels, strict=False):
            for variant in variants:
                reader = FAMILY_MEAN if name == SI_SDR else name
                mine = [r for r in results if (r.variant, r.recogniser) == (variant, reader)]
                mine.sort(key=lambda r: r.steps)
                colour, marker = style[variant]
                x = [r.steps for r in mine]
                y = [r.si_sdr if name == SI_SDR else 100 * r.cpwer for r in mine]
                if variant in still:
                    axis.axhline(y[0], color=colour, linestyle=":", linewidth=1.4)
                    continue
                axis.plot(x, y, color=colour, marker=marker, markersize=4, linewidth=1.2)
                if variant == study.control and name != SI_SDR:
                    low, high = (
                        [100 * getattr(r, end) for r in mine] for end in ("cpwer_low", "cpwer_high")
                    )
                    draw_band(axis, x, low, high, colour=colour, alpha=0.1)
            band = "" if name == SI_SDR else f" (band: 95 % interval of {study.control})"
            axis.set_title(f"{NAMES.get(name, name)}{band}", loc="left", fontsize=9)
            axis.set_ylabel("dB" if name == SI_SDR else "cpWER (%)")
            axis.set_xlabel("steps of fine-tuning")
            axis.grid(color="#eeeeee")
        for axis in list(axes.flat)[len(panels) :]:
            axis.set_visible(False)
        handles = [
            handle(style[v][0], "", v, line=":") if v in still else handle(*style[v], v)
            for v in variants
        ]
        legend(figure, handles)


def _lines(study: StudyConfig, results: Sequence[StudyResult], path: Path) -> None:
    """Variants down the y axis, the word errors of each reader to the right."""
    rows = list(dict.fromkeys((r.set, r.variant, r.steps) for r in results))
    readers = [name for name in _panels(results) if name != FAMILY_MEAN]
    style = looks(readers)
    lanes = [*readers, FAMILY_MEAN]
    height = 1.6 + len(rows) * (0.18 * len(lanes) + 0.12)
    with drawn(study, (WIDTH_IN, height), path) as (figure, axis):
        for r in results:
            line = rows.index((r.set, r.variant, r.steps))
            y = line + (lanes.index(r.recogniser) - (len(lanes) - 1) / 2) * 0.8 / len(lanes)
            colour, marker = style.get(r.recogniser, ("black", "|"))
            axis.plot([100 * r.cpwer_low, 100 * r.cpwer_high], [y, y], color=colour, linewidth=1.2)
            axis.plot(100 * r.cpwer, y, marker, color=colour, markersize=6)
        axis.set_yticks(
            range(len(rows)), [f"{v}\n{s} steps, {n}" if s else f"{v}, {n}" for n, v, s in rows]
        )
        axis.set_ylim(max(1, len(rows)) - 0.5, -0.5)
        axis.set_xlim(left=0)
        for edge in range(1, len(rows)):
            axis.axhline(edge - 0.5, color="#dddddd", linewidth=0.8)
        axis.set_xlabel("cpWER (%), with 95 % intervals;  ← better")
        handles = [handle(*style[name], name) for name in readers]
        legend(figure, [*handles, handle("black", "|", NAMES[FAMILY_MEAN])])
