"""Word errors against what makes a mixture hard: noise, reverberation, overlap, like voices."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from sepasr.data.audio import read_mono
from sepasr.data.datadir import Mixture, MixtureDir
from sepasr.errors import UserError
from sepasr.score.rows import UtteranceRow, read_rows, write_rows
from sepasr.score.statistics import DRAWS, Interval, Resampling, over_seeds, rate
from sepasr.study.conditions import CONDITIONS
from sepasr.study.config import Difficulty
from sepasr.study.place import Place

FRAME_S = 0.02
ACTIVE_DB = -40.0
"""A source speaks in frames whose level is above this, re its loudest frame."""
BANDS = (100.0, 7000.0, 18)
"""Edges in Hz and number of the bands of equal width on a log scale that voices are compared in."""
UNDEFINED = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Conditions:
    """What makes a mixture hard.

    Attributes:
        mixture: its id.
        snr_db: power of all that isn't noise over that of the noise, in dB, over the mixture; NaN
            where the noise isn't known.
        t60_s: reverberation time in seconds, as the corpus states it; NaN where it doesn't.
        overlap: share of the frames with speech in which two sources or more speak.
        level_db: level of the loudest over the softest source, in dB.
        voices_db: least distance of two speakers' voices: root mean square difference of their
            long-term spectra in dB, levels apart. Alike voices are near 0. NaN of one speaker.
    """

    mixture: str
    snr_db: float
    t60_s: float
    overlap: float
    level_db: float
    voices_db: float


@dataclass(frozen=True)
class DifficultyRow:
    """A system's word errors along a condition, as one recogniser reads it.

    Attributes:
        study: name of the study.
        system: as in the table of results, averaged over its seeds.
        recogniser: whose word errors.
        condition: a field of :class:`Conditions`.
        bin: from 1, of groups of equally many mixtures; 0 for the row that holds the correlation.
        lower: least value of the condition in the group.
        upper: largest value.
        median: of the group.
        mixtures: of the group.
        cpwer: as a fraction, with its 95 % interval; NaN in the row of the correlation.
        spearman: rank correlation of the condition with cpWER over all mixtures, with its 95 %
            interval; NaN in rows of groups.
    """

    study: str
    system: str
    recogniser: str
    condition: str
    bin: int
    lower: float
    upper: float
    median: float
    mixtures: int
    cpwer: float
    cpwer_low: float
    cpwer_high: float
    spearman: float
    spearman_low: float
    spearman_high: float


def analyse_difficulty(
    name: str, config: Difficulty, place: Place, draws: int = DRAWS
) -> list[DifficultyRow]:
    """Write ``NAME_conditions.csv`` and ``NAME.csv`` from ``utterances.csv`` of a run.

    Args:
        name: of the study.
        config: which set, systems and recognisers.
        place: ``out`` has the rows of stage 5.
        draws: of the bootstrap.

    Raises:
        UserError: there are no rows, they are of another set, or of none of these systems.
    """
    path = place.out / "utterances.csv"
    rows = read_rows(path, UtteranceRow)
    data = place.mixtures(config.set, "")
    if {row.mixture for row in rows} != {mixture.id for mixture in data.mixtures}:
        remedy = f"score {data.path} first, with the same corpus"
        raise UserError("rows of other mixtures than the set has", where=path, remedy=remedy)
    conditions = measure_conditions(data)
    write_rows(place.out / f"{name}_conditions.csv", Conditions, conditions)  # type: ignore[type-var]
    table = difficulty_table(name, config, rows, conditions, draws)
    if not table:
        known = ", ".join(dict.fromkeys(row.system for row in rows))
        raise UserError("no rows of these systems", where=path, remedy=f"there are {known}")
    write_rows(place.out / f"{name}.csv", DifficultyRow, table)  # type: ignore[type-var]
    return table


def difficulty_table(
    name: str,
    config: Difficulty,
    rows: Sequence[UtteranceRow],
    conditions: Sequence[Conditions],
    draws: int = DRAWS,
) -> list[DifficultyRow]:
    """Word errors in groups along each condition, and rank correlations.

    Args:
        name: of the study.
        config: which systems and recognisers; those without rows are left out.
        rows: all of a run.
        conditions: of the same mixtures.
        draws: of the bootstrap.
    """
    columns = {c.mixture: number for number, c in enumerate(conditions)}
    by_key: dict[tuple[str, str], dict[int | None, np.ndarray]] = {}
    for row in rows:
        seeds = by_key.setdefault((row.system, row.recogniser), {})
        empty = np.full((2, len(columns)), np.nan)
        seeds.setdefault(row.seed, empty)[:, columns[row.mixture]] = row.words, row.cp_errors
    resampling = Resampling(len(columns), draws)
    table = []
    for system in config.systems:
        for recogniser in config.recognisers:
            if (system, recogniser) not in by_key:
                continue
            words, errors = over_seeds(np.stack(list(by_key[system, recogniser].values())))
            for condition in CONDITIONS:
                values = np.array([getattr(c, condition) for c in conditions])
                if np.isnan(values).all():
                    continue
                known = values[~np.isnan(values)]
                with np.errstate(divide="ignore", invalid="ignore"):
                    found = resampling.spearman(values, errors / words)

                def line(
                    number: int,
                    part: np.ndarray,
                    cpwer: Interval = UNDEFINED,
                    correlation: Interval = UNDEFINED,
                    key: tuple[str, str, str, str] = (name, system, recogniser, condition),
                ) -> DifficultyRow:
                    low, high, median = (
                        round(float(of(part)), 4) for of in (np.min, np.max, np.median)
                    )
                    figures = (*astuple(cpwer), *astuple(correlation))
                    return DifficultyRow(*key, number, low, high, median, len(part), *figures)

                table.append(line(0, known, correlation=found))
                for number, group in enumerate(groups(values, config.bins), 1):
                    drawn = Resampling(len(group), draws)
                    cpwer = drawn.interval(rate(errors[group], words[group]))
                    table.append(line(number, values[group], cpwer))
    return table


def groups(values: np.ndarray, number: int) -> list[np.ndarray]:
    """Indices of groups of equally many, the least values first; NaN are in none.

    >>> [group.tolist() for group in groups(np.array([5.0, 1.0, 9.0, 7.0]), 2)]
    [[1, 0], [3, 2]]
    """
    order = np.argsort(values, kind="stable")[: np.count_nonzero(~np.isnan(values))]
    return [group for group in np.array_split(order, number) if len(group)]


def measure_conditions(data: MixtureDir) -> list[Conditions]:
    """Conditions of all mixtures of a set, measured on its signals.

    The reverberation time can't be measured exactly here: it is taken from WHAMR's table
    ``metadata/reverb_params_*.csv`` in a folder above the audio, where there is one.
    """
    times = reverberation_times(data)
    return [_conditions(mixture, data.info.fs, times) for mixture in data.mixtures]


def _conditions(mixture: Mixture, fs: int, times: Mapping[str, float]) -> Conditions:
    sources = [read_mono(path, fs).astype(float) for path in mixture.references]
    snr = math.nan
    if mixture.noise is not None:
        noise = read_mono(mixture.noise, fs).astype(float)
        speech = read_mono(mixture.mixture, fs) - noise
        snr = _db(np.mean(speech**2) / np.mean(noise**2))
    active = np.stack([_active(source, fs) for source in sources])
    speaking = active.sum(0)
    levels = [_level(source, fs, where) for source, where in zip(sources, active, strict=True)]
    spectra = [_spectrum(source, fs) for source in sources]
    pairs = [(a, b) for i, a in enumerate(spectra) for b in spectra[:i]]
    values = (
        snr,
        times.get(mixture.id, math.nan),
        float(np.mean(speaking[speaking > 0] > 1)) if speaking.any() else math.nan,
        max(levels) - min(levels),
        min((float(np.sqrt(np.mean((a - b) ** 2))) for a, b in pairs), default=math.nan),
    )
    return Conditions(mixture.id, *(round(value, 4) for value in values))


def _db(power: float) -> float:
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(power))


def _frames(signal: np.ndarray, fs: int) -> np.ndarray:
    """Power of each frame."""
    size = round(FRAME_S * fs)
    return (signal[: len(signal) // size * size].reshape(-1, size) ** 2).mean(1)


def _active(signal: np.ndarray, fs: int) -> np.ndarray:
    """(frames,), whether the source speaks."""
    power = _frames(signal, fs)
    return power > power.max() * 10 ** (ACTIVE_DB / 10)


def _level(signal: np.ndarray, fs: int, active: np.ndarray) -> float:
    """Level where a source speaks, in dB."""
    return _db(_frames(signal, fs)[active].mean()) if active.any() else -math.inf


def _spectrum(signal: np.ndarray, fs: int) -> np.ndarray:
    """Long-term level in each band, in dB, its mean over bands taken off."""
    power = np.abs(np.fft.rfft(signal)) ** 2
    frequencies = np.fft.rfftfreq(len(signal), 1 / fs)
    low, high, number = BANDS
    edges = np.geomspace(low, min(high, fs / 2), number + 1)
    bands = [power[(frequencies >= a) & (frequencies < b)].sum() for a, b in pairwise(edges)]
    levels = 10 * np.log10(np.array(bands) + 1e-12)
    return levels - levels.mean()


def reverberation_times(data: MixtureDir) -> dict[str, float]:
    """T60 in seconds by mixture, from WHAMR's table; empty where there is none.

    Raises:
        UserError: the table has no such columns, or a value that is no number.
    """
    found: dict[str, float] = {}
    folders = dict.fromkeys(p / "metadata" for m in data.mixtures[:1] for p in m.mixture.parents)
    for path in (p for folder in folders for p in sorted(folder.glob("reverb_params_*.csv"))):
        with path.open(newline="", encoding="utf-8") as stream:
            for number, row in enumerate(csv.DictReader(stream), 2):
                try:
                    found[row["utterance_id"].removesuffix(".wav")] = float(row["T60"])
                except (KeyError, ValueError, TypeError):
                    what = "no utterance_id, or no number under T60"
                    raise UserError(what, where=path, line=number) from None
    return found


def read_difficulty(path: str | Path) -> tuple[DifficultyRow, ...]:
    """Read ``NAME.csv``.

    Raises:
        UserError: see :func:`sepasr.score.rows.read_rows`.
    """
    return read_rows(path, DifficultyRow)  # type: ignore[type-var]
