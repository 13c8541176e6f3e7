"""Tables of results, in Markdown and on the terminal: two views of the same sections."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sepasr.report.cells import MISSING, interval_text, markdown_table, p_text
from sepasr.score.multiple import holm
from sepasr.score.result import Comparison, Gain, Results, SystemResult, WordErrors
from sepasr.score.rows import MeasureRow
from sepasr.score.statistics import DRAWS, Interval, Resampling, mean

FEWER, MORE, UNDECIDED = "fewer errors", "more errors", "undecided"
LEVEL = 0.05
"""Of p, what 95 % is of intervals."""
PLAIN_WIDTH = 180
"""Columns of text that isn't shown on a terminal: wide enough for five recognisers."""
SYSTEMS = (
    "system",
    "encoder of the last loss",
    "steps of the last training",
    "its learning rate",
    "seeds",
)
NOT_STATED = "not stated"
MEASURES = {  # heading and decimals
    "si_sdr": ("SI-SDR (dB)", 2),
    "si_sdri": ("SI-SDRi (dB)", 2),
    "pesq": ("PESQ (wb)", 2),
    "stoi": ("STOI", 3),
    "estoi": ("ESTOI", 3),
    "srmr": ("SRMR", 2),
}


@dataclass(frozen=True)
class Section:
    """A table with its heading.

    Attributes:
        title: the heading.
        header: names of the columns.
        rows: as many cells as columns each.
        labels: how many columns, from the left, are text; the others are figures.
        note: a sentence on the cells; empty for none.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    labels: int = 1
    note: str = ""


def markdown(results: Results) -> str:
    """The whole report, for ``RESULTS.md``."""
    text = [f"# Results: {results.run.recipe}", provenance(results), software(results)]
    for section in sections(results):
        text += [f"## {section.title}", section.note] if section.note else [f"## {section.title}"]
        text.append(markdown_table(section.header, section.rows, section.labels))
    text += ["## How to read this", "\n".join(f"- {sentence}" for sentence in notes(results))]
    return "\n\n".join(text) + "\n"


def print_tables(results: Results, console: Console | None = None) -> None:
    """The same on a terminal, or as plain text where the output is none."""
    console = _plain_is_wide(console or Console())
    console.print(Text(f"Results: {results.run.recipe}", style="bold"))
    console.print(Text(provenance(results)), Text(software(results)), sep="\n")
    for section in sections(results):
        console.print()
        print_section(section, console)
    console.print("", *(Text(f"- {sentence}") for sentence in notes(results)), sep="\n")


def print_section(section: Section, console: Console | None = None) -> None:
    """A table with its heading, on a terminal or as plain text."""
    console = _plain_is_wide(console or Console())
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for column, name in enumerate(section.header):
        table.add_column(
            Text(name), justify="left" if column < section.labels else "right", overflow="fold"
        )
    for row in section.rows:
        table.add_row(*map(Text, row))
    console.print(Text(section.title, style="bold"))
    console.print(*([Text(section.note)] if section.note else []), table, sep="\n")


def _plain_is_wide(console: Console) -> Console:
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def provenance(results: Results) -> str:
    """Where the figures come from, in one line."""
    run = results.run
    seeds = ", ".join(map(str, run.seeds)) or "none"
    return (
        f"commit {run.commit} · configuration {run.config_sha} · {run.date} · seeds {seeds} · "
        f"{run.fs} Hz · {run.cut or 'uncut'} · {run.reference or 'unnamed'} references · "
        f"{run.mixtures} mixtures of {run.speakers} speakers · corpus {run.corpus or NOT_STATED}"
        f"{f' ({run.condition})' if run.condition else ''}"
    )


def software(results: Results) -> str:
    """What has scored, in one line."""
    versions = [f"{name} {number}" for name, number in results.run.versions.items()]
    return f"scored with {' · '.join(versions)}" if versions else f"scored with: {NOT_STATED}"


def sections(results: Results) -> list[Section]:
    """All tables that have rows: word errors, measures, differences to the control, guard."""
    seeds = [system for system in results.systems if system not in results.lines]
    corrected = corrected_p(results)
    gains = [
        _gains(f"Gain over {results.control}: {heading}", comparisons, corrected)
        for heading, comparisons in (
            ("recognisers seen by the loss", _related(results, "seen")),
            ("recognisers kin to its encoder", _related(results, "kin")),
            ("unseen recognisers", _related(results, "unseen")),
            ("systems without an encoder in their loss", results.other_comparisons),
        )
    ]
    systems = [
        (line.name, _or_missing(line.encoder), _or_missing(line.steps), _lr(line), _seeds(line))
        for line in results.lines
    ]
    every = [
        _by_recogniser(results, "cpWER (%)", results.lines, lambda errors: _rate(errors, "cpwer")),
        _by_recogniser(
            results, "ORC-WER (%)", results.lines, lambda errors: _rate(errors, "orcwer")
        ),
        _by_recogniser(results, "cpWER (%) by seed", seeds, lambda errors: _rate(errors, "cpwer")),
        _measures(results),
        *gains,
        _measure_differences(results),
        _by_recogniser(results, "Hits of the hallucination guard", results.lines, _hits),
        Section("Systems", SYSTEMS, systems, labels=2),
    ]
    return [section for section in every if section.rows]


def notes(results: Results) -> list[str]:
    """What a reader must know before drawing a conclusion."""
    mixtures = f"{results.run.mixtures} mixture" + "s" * (results.run.mixtures != 1)
    lone = any(len(line.seeds) == 1 for line in results.lines)
    return [
        "[Low, high] are 95 % bootstrap intervals (BCa) that draw whole mixtures; a system of "
        "several seeds is first averaged over them, mixture by mixture. They speak of other "
        "mixtures of this kind, not of other voices, rooms, recognisers or starting points"
        f"{'; where there is one seed, not of other seeds either' if lone else ''}.",
        f"With {mixtures} nothing is claimed that the intervals don't carry: a difference whose "
        f"interval holds 0, or whose p is not below {LEVEL}, is undecided.",
        f"p is two-sided, from a paired permutation test over mixtures of {DRAWS} random sign "
        f"patterns: the least it can be is 1 / {DRAWS + 1}. It is not corrected for the number of "
        "comparisons; p (Holm), of the gain in cpWER, is: those marked primary, which were named "
        "before the run, among themselves, and all others together.",
        "A recogniser is seen by a system if the loss of any of its trainings used its weights, "
        "kin if it is another model of such a family, unseen otherwise.",
        "A gain is 1 - cpWER / cpWER of the control, both over the same mixtures.",
        *_unlike_steps(results),
        "mixture: nothing is separated; its one transcript stands for every speaker in cpWER and "
        "is a single stream in ORC-WER. clean: the references themselves.",
        "Whisper's English normaliser is applied to references, utterance by utterance, and to "
        "transcripts.",
        "Measures are means over mixtures of the mean over speakers, assigned by SI-SDR. Undefined "
        "ones (a silent reference) are left out; a silent estimate counts with the worst value: "
        "-80 dB, PESQ 1.04, STOI and ESTOI 0. SRMR alone leaves silent estimates out.",
        *results.run.notes,
    ]


def _unlike_steps(results: Results) -> list[str]:
    """A sentence on systems that took another number of steps than their control."""
    control = next((line for line in results.lines if line.name == results.control), None)
    if control is None or control.steps is None:
        return []
    others = [
        f"{line.name} {line.steps}"
        for line in results.lines
        if line.encoder is not None and line.steps not in (None, control.steps)
    ]
    what = f"Numbers of steps differ ({control.name} {control.steps}, {', '.join(others)})"
    return [f"{what}: gains reflect both the loss and the length."] if others else []


def _by_recogniser(
    results: Results,
    title: str,
    lines: Sequence[SystemResult],
    cell: Callable[[WordErrors], str],
) -> Section:
    names = [recogniser.name for recogniser in results.recognisers]
    rows = [(_label(line, results), *(cell(line.wer[name]) for name in names)) for line in lines]
    return Section(title, ("system", *names), rows)


def _measures(results: Results) -> Section:
    lines = [(line.name, partial(getattr, line)) for line in results.lines]
    return _measures_table("Signal measures", lines)


def measures_section(title: str, systems: Mapping[str, Sequence[MeasureRow]]) -> Section:
    """Means of signal measures, with their 95 % intervals over the mixtures that all have."""
    resampling = Resampling(len(next(iter(systems.values()))))

    def interval(rows: Sequence[MeasureRow], measure: str) -> Interval:
        return resampling.interval(mean(np.array([getattr(row, measure) for row in rows])))

    return _measures_table(
        title, [(name, partial(interval, rows)) for name, rows in systems.items()]
    )


def _measures_table(title: str, lines: Iterable[tuple[str, Callable[[str], Interval]]]) -> Section:
    """A line for each name and what gives its interval of a measure."""
    header = ("system", *(heading for heading, _ in MEASURES.values()))
    rows = [
        (name, *(interval_text(of(key), f".{d}f") for key, (_, d) in MEASURES.items()))
        for name, of in lines
    ]
    return Section(title, header, rows)


def _related(results: Results, relation: str) -> list[Comparison]:
    return [c for c in results.comparisons if c.relation == relation]


def corrected_p(results: Results) -> dict[Comparison, float]:
    """p of every gain in cpWER, corrected by Holm.

    Primary comparisons are corrected among themselves, and so are all others together.
    """
    every = [*results.comparisons, *results.other_comparisons]
    corrected = {}
    for primary in (True, False):
        group = [c for c in every if c.primary == primary]
        for c, p in zip(group, holm(np.array([c.p for c in group])), strict=True):
            corrected[c] = float(p)
    return corrected


def _gains(
    title: str, comparisons: Sequence[Comparison], corrected: Mapping[Comparison, float]
) -> Section:
    header = (
        *("system", "recogniser", "reads as", "cpWER gain (%)", "p", "p (Holm)"),
        *("ORC-WER gain (%)", "p"),
    )
    rows = [
        (
            c.system,
            f"{c.recogniser} (primary)" if c.primary else c.recogniser,
            verdict(c),
            *_gain(c),
            p_text(corrected[c]),
            *_gain(c.orcwer),
        )
        for c in comparisons
    ]
    note = "Share of the control's word errors that is saved; what it reads as goes by cpWER."
    return Section(title, header, rows, labels=3, note=note)


def _measure_differences(results: Results) -> Section:
    rows = []
    for d in results.measure_differences:
        heading, decimals = MEASURES[d.measure]
        interval = Interval(d.difference, d.low, d.high)
        rows.append((d.system, heading, interval_text(interval, f"+.{decimals}f"), p_text(d.p)))
    title = f"Signal measures: difference to {results.control}"
    return Section(title, ("system", "measure", "difference", "p"), rows, labels=2)


def _label(line: SystemResult, results: Results) -> str:
    """The system's name, with the seed where the line is that of one seed among several."""
    return line.name if line in results.lines else f"{line.name}, seed {line.seed}"


def _rate(errors: WordErrors, kind: str) -> str:
    """A rate in percent, marked with what the recogniser is to the system."""
    text = interval_text(getattr(errors, kind), ".1f", 100)
    return f"{text} {errors.relation}" if errors.relation else text


def _hits(errors: WordErrors) -> str:
    return f"{errors.guard_hits} of {errors.streams}"


def _gain(gain: Gain) -> tuple[str, str]:
    interval = Interval(gain.relative_gain, gain.low, gain.high)
    return interval_text(interval, "+.1f", 100), p_text(gain.p)


def verdict(gain: Gain) -> str:
    """What a gain reads as: decided only where the interval and p agree that it is."""
    if gain.p < LEVEL and gain.low > 0:
        return FEWER
    return MORE if gain.p < LEVEL and gain.high < 0 else UNDECIDED


def _or_missing(value: object) -> str:
    return MISSING if value is None else str(value)


def _lr(line: SystemResult) -> str:
    """The rate of a training as 3e-5; nothing was trained where there are no steps."""
    if line.lr is None:
        return MISSING if line.steps is None else NOT_STATED
    return re.sub(r"e-0*", "e-", f"{line.lr:g}")


def _seeds(line: SystemResult) -> str:
    return ", ".join(map(str, line.seeds)) or MISSING
