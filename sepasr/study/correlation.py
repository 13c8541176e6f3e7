"""Which measure of a separated signal goes with its word errors, mixture by mixture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sepasr.errors import UserError
from sepasr.score.rows import read_rows, write_rows
from sepasr.score.statistics import DRAWS, Resampling, mean, rank_correlation
from sepasr.study.config import Correlation
from sepasr.study.meters import (
    DNSMOS,
    Meter,
    dnsmos_meter,
    probe_meter,
    probe_name,
    values_of,
)
from sepasr.study.place import Place
from sepasr.study.rows import StudyRow

if TYPE_CHECKING:
    from sepasr.study.runner import Runner

SIGNAL = ("si_sdr", "pesq", "stoi", "estoi", "srmr")
"""Measures that the rows of a study have already."""


@dataclass(frozen=True)
class MeasuredRow:
    """A measure of one mixture that is not among those of every scoring.

    Attributes:
        variant: its name; with steps, seed and set as in :class:`StudyRow`.
        measure: ``dnsmos``, or the name of a probe.
        mixture: its id.
        value: mean over the streams; for a probe, the distance to the references.
    """

    variant: str
    steps: int
    seed: int | None
    set: str
    measure: str
    mixture: str
    value: float


@dataclass(frozen=True)
class CorrelationRow:
    """Spearman's rank correlation of a measure with cpWER, with its 95 % interval.

    Attributes:
        measure: a signal measure, ``dnsmos``, or the name of a probe.
        recogniser: whose word errors.
        kind: ``mixtures`` ranks all mixtures of all systems together: is a mixture with a better
            value read better? ``systems`` ranks the systems of each mixture, and is the mean over
            mixtures: does the measure tell which system will be read better? The first is largely
            that hard mixtures are hard; the choice of a loss or of a system asks for the second.
        correlation: a distance that goes with errors is above 0, a measure of quality below.
        low: lower end of the interval, by a bootstrap over mixtures.
        high: upper end.
        mixtures: for which it is defined.
        systems: variants, after their steps and with their seeds.
    """

    measure: str
    recogniser: str
    kind: str
    correlation: float
    low: float
    high: float
    mixtures: int
    systems: int


def check_correlation(config: Correlation, place: Place) -> None:
    """Refuse what can't be measured.

    Raises:
        UserError: a measure or encoder is unknown, or ``dnsmos`` is asked for and not installed.
    """
    for name in config.measures:
        if name not in (*SIGNAL, DNSMOS):
            remedy = f"known: {', '.join((*SIGNAL, DNSMOS))}"
            raise UserError(f"unknown measure '{name}'", where="correlation", remedy=remedy)
    if DNSMOS in config.measures:
        dnsmos_meter()
    for probe in config.probes:
        place.layers(f"encoder/{probe.encoder}")


def correlate(runner: Runner, config: Correlation, draws: int = DRAWS) -> list[CorrelationRow]:
    """Correlate measures with word errors over the screen of a study that has run.

    Writes ``NAME_measures.csv`` with what is measured on top, and ``NAME_correlations.csv``.

    Args:
        runner: of the study.
        config: which measures.
        draws: of the bootstrap.

    Raises:
        UserError: an encoder can't be had, ``dnsmos`` is asked for and not installed, or audio of
            a variant is missing.
    """
    check_correlation(config, runner.place)
    meters: dict[str, tuple[str, Meter]] = {}
    if DNSMOS in config.measures:
        meters[DNSMOS] = (DNSMOS, dnsmos_meter())
    for probe in config.probes:
        meters[probe_name(probe)] = probe_meter(runner, probe)
    measured = list(_measure(runner, meters))
    out, rows = runner.place.out, runner.rows([runner.screen])
    write_rows(out / f"{runner.name}_measures.csv", MeasuredRow, measured)  # type: ignore[type-var]
    names = [*(m for m in config.measures if m in SIGNAL), *meters]
    table = correlations(rows, measured, names, draws)
    path = out / f"{runner.name}_correlations.csv"
    write_rows(path, CorrelationRow, table)  # type: ignore[type-var]
    return table


def read_correlations(path: str | Path) -> tuple[CorrelationRow, ...]:
    """Read ``NAME_correlations.csv``.

    Raises:
        UserError: see :func:`sepasr.score.rows.read_rows`.
    """
    return read_rows(path, CorrelationRow)  # type: ignore[type-var]


def _measure(runner: Runner, meters: Mapping[str, tuple[str, Meter]]) -> Iterator[MeasuredRow]:
    for point, data, name, mixture, value in values_of(runner, meters):
        place = (point.variant.name, point.steps, point.seed, data.path.name)
        yield MeasuredRow(*place, name, mixture.id, value)


def correlations(
    rows: Sequence[StudyRow],
    measured: Sequence[MeasuredRow],
    names: Sequence[str],
    draws: int = DRAWS,
) -> list[CorrelationRow]:
    """Rank correlations of measures with the cpWER of a mixture, for every recogniser.

    All are over the same systems, those of :func:`shared_systems`: coefficients over other systems
    can't be compared.

    Args:
        rows: of the study.
        measured: what was measured on top.
        names: of the measures.
        draws: of the bootstrap.
    """
    extra = {(r.variant, r.steps, r.seed, r.set, r.mixture, r.measure): r.value for r in measured}
    shared = shared_systems(rows, measured, names)
    table = []
    for recogniser in dict.fromkeys(row.recogniser for row in rows):
        mine = [
            row
            for row in rows
            if row.recogniser == recogniser and (row.variant, row.steps, row.seed) in shared
        ]
        mixtures = sorted({(row.set, row.mixture) for row in mine})
        systems = list(dict.fromkeys((row.variant, row.steps, row.seed) for row in mine))
        resampling = Resampling(len(mixtures), draws)
        places = {key: number for number, key in enumerate(mixtures)}
        columns = {key: number for number, key in enumerate(systems)}
        errors = np.full((len(mixtures), len(systems)), np.nan)
        values = {name: errors.copy() for name in names}
        for row in mine:
            cell = places[row.set, row.mixture], columns[row.variant, row.steps, row.seed]
            errors[cell] = row.cp_errors / row.words if row.words else np.nan
            point = (row.variant, row.steps, row.seed, row.set, row.mixture)
            for name in names:
                own = getattr(row, name) if name in SIGNAL else extra.get((*point, name), np.nan)
                values[name][cell] = own
        for name in names:
            over_all = resampling.spearman(values[name], errors)
            within = within_mixtures(values[name], errors)
            over_systems = resampling.interval(mean(within))
            defined = ~np.isnan(values[name] + errors)
            counts = (int(defined.any(1).sum()), int(np.count_nonzero(~np.isnan(within))))
            for kind, found, count in zip(
                ("mixtures", "systems"), (over_all, over_systems), counts, strict=True
            ):
                table.append(
                    CorrelationRow(
                        name,
                        recogniser,
                        kind,
                        found.value,
                        found.low,
                        found.high,
                        count,
                        int(defined.any(0).sum()),
                    )
                )
    return table


def shared_systems(
    rows: Sequence[StudyRow], measured: Sequence[MeasuredRow], names: Sequence[str]
) -> set[tuple[str, int, int | None]]:
    """The systems of which every measure is defined in some mixture.

    What is measured on top is measured of separated streams alone, and of the references there is
    no SI-SDR. A measure that is defined for no system, as PESQ at 8 kHz, keeps none out.

    Args:
        rows: of the study.
        measured: what was measured on top.
        names: of the measures.

    Returns:
        Variants with their steps and seeds.
    """
    defined: dict[str, set[tuple[str, int, int | None]]] = {name: set() for name in names}
    for row in rows:
        for name in names:
            if name in SIGNAL and not np.isnan(getattr(row, name)):
                defined[name].add((row.variant, row.steps, row.seed))
    for extra in measured:
        if extra.measure in defined and not np.isnan(extra.value):
            defined[extra.measure].add((extra.variant, extra.steps, extra.seed))
    every = {(row.variant, row.steps, row.seed) for row in rows}
    return every.intersection(*filter(None, defined.values()))


def within_mixtures(values: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Spearman's correlation over the systems of each mixture.

    Args:
        values: (mixtures, systems), NaN where undefined.
        errors: likewise.

    Returns:
        (mixtures,); NaN where all systems have one value or as many errors.
    """
    found = []
    for mine, theirs in zip(values, errors, strict=True):
        both = ~(np.isnan(mine) | np.isnan(theirs))
        ones = np.ones((1, both.sum()))
        found.append(
            float(rank_correlation(mine[both], theirs[both], ones)[0]) if both.any() else np.nan
        )
    return np.array(found)
