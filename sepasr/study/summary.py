"""From rows per mixture to a study's figures: rates, gains over the control, corrected p-values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from sepasr.errors import UserError
from sepasr.score.multiple import benjamini_hochberg, holm
from sepasr.score.result import MEASURES, RecogniserInfo
from sepasr.score.statistics import (
    DRAWS,
    Interval,
    Ratio,
    Resampling,
    mean,
    over_seeds,
    rate,
    relative_gain,
)
from sepasr.study.facts import Facts, family_weights
from sepasr.study.rows import FAMILY_MEAN, StudyResult, StudyRow

CP, ORC = 1, 2
"""Rows of a line's ``words``."""
NOTHING = (math.nan, math.nan)


@dataclass(frozen=True)
class _Line:
    """A variant after some steps on a set, with one seed or averaged over several.

    Attributes:
        variant: its name.
        steps: of its training.
        set: the data directory.
        seed: None for an average, or where nothing was trained.
        of: the seeds; none where nothing was trained.
        words: by recogniser, (3, mixtures): reference words, errors of cpWER and of ORC-WER.
        measures: (measures, mixtures).
    """

    variant: str
    steps: int
    set: str
    seed: int | None
    of: frozenset[int]
    words: Mapping[str, np.ndarray]
    measures: np.ndarray

    @property
    def seeds(self) -> int:
        """How many there are."""
        return len(self.of)

    @property
    def mixtures(self) -> int:
        return self.measures.shape[1]

    def rate(self, recogniser: str, kind: int) -> Ratio:
        words = self.words[recogniser]
        return rate(words[kind], words[0])

    def gain(self, other: _Line, recogniser: str, kind: int) -> Ratio:
        return relative_gain(self.words[recogniser][kind], other.words[recogniser][kind])


def summarise_study(
    rows: Sequence[StudyRow], facts: Facts, draws: int = DRAWS
) -> list[StudyResult]:
    """Compute a study's figures.

    A variant with several seeds has figures of their average, which is compared, and of each.

    Args:
        rows: of all variants and sets; those of one variant, steps, seed, set and recogniser cover
            the same mixtures.
        facts: what they don't say.
        draws: of the bootstrap and of the permutation test.

    Raises:
        UserError: rows are double, or cover other mixtures than the rest of their set.
    """
    lines = _lines(rows)
    places = {name: number for number, name in enumerate(facts.order)}
    lines.sort(key=lambda x: (x.set, places[x.variant], x.steps, x.seed is not None, x.seed or 0))
    results = []
    for line in lines:
        against = _against(line, lines, facts)
        resampling = _resampling(line.mixtures, draws)
        recognisers = [r for r in facts.recognisers if r.name in line.words]
        for reader in [*recognisers, None]:
            read_by = [reader] if reader else recognisers
            cp, orc = (_compare(line, against, read_by, kind, resampling) for kind in (CP, ORC))
            results.append(_result(line, against, facts, reader, cp, orc))
    return _corrected(results)


@lru_cache(maxsize=4)
def _resampling(mixtures: int, draws: int) -> Resampling:
    return Resampling(mixtures, draws)


def _lines(rows: Sequence[StudyRow]) -> list[_Line]:
    """A line per variant, steps, set and seed, and one for the average over several seeds."""
    table: dict[tuple[str, int, str], dict[int | None, dict[str, dict[str, StudyRow]]]] = {}
    for row in rows:
        seeds = table.setdefault((row.variant, row.steps, row.set), {})
        mixtures = seeds.setdefault(row.seed, {}).setdefault(row.recogniser, {})
        if row.mixture in mixtures:
            raise UserError(f"two rows of {row.variant} for mixture '{row.mixture}'")
        mixtures[row.mixture] = row
    ids: dict[str, list[str]] = {}
    lines = []
    for (variant, steps, name), seeds in table.items():
        single = []
        for seed, readings in seeds.items():
            for mixtures in readings.values():
                if sorted(mixtures) != ids.setdefault(name, sorted(mixtures)):
                    raise UserError(f"{variant} has rows of other mixtures than the rest of {name}")
            ordered = {r: [m[key] for key in ids[name]] for r, m in readings.items()}
            first = next(iter(ordered.values()))
            words = {
                r: np.array([[x.words, x.cp_errors, x.orc_errors] for x in found], dtype=float).T
                for r, found in ordered.items()
            }
            measures = np.array([[getattr(x, m) for x in first] for m in MEASURES], dtype=float)
            of = frozenset() if seed is None else frozenset({seed})
            single.append(_Line(variant, steps, name, seed, of, words, measures))
        lines += single
        shared = [r for r in single[0].words if all(r in line.words for line in single)]
        if len(single) > 1 and shared:
            lines.append(_average(single, shared))
    return lines


def _average(lines: Sequence[_Line], shared: Sequence[str]) -> _Line:
    """Over seeds, of the recognisers that have read them all."""
    return replace(
        lines[0],
        seed=None,
        of=frozenset().union(*(line.of for line in lines)),
        words={r: over_seeds(np.stack([line.words[r] for line in lines])) for r in shared},
        measures=over_seeds(np.stack([line.measures for line in lines])),
    )


def _against(line: _Line, lines: Sequence[_Line], facts: Facts) -> _Line | None:
    """What a line is compared with: the control after as many steps, else after its most.

    Of several seeds the average is compared, and always with the control of the same seeds: another
    seed's luck is no difference between variants. A side that isn't trained has no seeds to match.
    """
    control = facts.against.get(line.variant, "")
    several = any(
        x.seeds > 1 and (x.variant, x.steps, x.set) == (line.variant, line.steps, line.set)
        for x in lines
    )
    if control in ("", line.variant) or (several and line.seeds == 1):
        return None
    mine = [x for x in lines if x.variant == control and x.set == line.set]
    if not mine:
        return None
    steps = {x.steps for x in mine}
    wanted = line.steps if line.steps in steps else max(steps)
    alike = [x for x in mine if x.steps == wanted and (x.of == line.of or not (x.of and line.of))]
    return max(alike, key=lambda x: x.seeds, default=None)


@dataclass(frozen=True)
class _Compared:
    """A rate, the gain over the control's, and its p-value; NaN where nothing is compared."""

    rate: Interval
    gain: Interval
    p: float


def _compare(
    line: _Line,
    against: _Line | None,
    recognisers: Sequence[RecogniserInfo],
    kind: int,
    resampling: Resampling,
) -> _Compared:
    """As the mean over families of the recognisers, of which there may be one.

    Args:
        line: what is compared.
        against: with what.
        recognisers: that have read it.
        kind: the row of a line's ``words`` that has the errors.
        resampling: of the mixtures.
    """
    weights = family_weights(recognisers)
    rates = [line.rate(r.name, kind) for r in recognisers]
    found = resampling.interval(*rates, weights=weights)
    if against is None or not all(r.name in against.words for r in recognisers):
        return _Compared(found, Interval(math.nan, math.nan, math.nan), math.nan)
    gains = [line.gain(against, r.name, kind) for r in recognisers]
    if len(gains) == 1:  # whole numbers, so that equal sums are equal
        name = recognisers[0].name
        differences = line.words[name][kind] - against.words[name][kind]
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            differences = sum(
                weight * x.numerator / x.denominator.sum()
                for weight, x in zip(weights, gains, strict=True)
            )
    gain = resampling.interval(*gains, weights=weights)
    # Without an error of the control by one of the readers there is no gain to compare.
    p = resampling.p_value(np.asarray(differences)) if math.isfinite(gain.value) else math.nan
    return _Compared(found, gain, p)


def _result(
    line: _Line,
    against: _Line | None,
    facts: Facts,
    reader: RecogniserInfo | None,
    cp: _Compared,
    orc: _Compared,
) -> StudyResult:
    """A line's figures as one recogniser reads it, or as the mean over families."""
    means = {}
    for measure, values in zip(MEASURES, line.measures, strict=True):
        ratio = mean(values)
        defined = ratio.denominator.sum()
        means[measure] = float(ratio.numerator.sum() / defined) if defined else math.nan
    compared = against is not None and not math.isnan(cp.gain.value)
    words, errors = line.words[reader.name][[0, CP]].sum(1).tolist() if reader else NOTHING
    return StudyResult(
        study=facts.study,
        variant=line.variant,
        steps=line.steps,
        seed=line.seed,
        seeds=line.seeds,
        set=line.set,
        recogniser=reader.name if reader else FAMILY_MEAN,
        family=reader.family if reader else "",
        relation=facts.relation(line.variant, reader) if reader else "",
        mixtures=line.mixtures,
        words=words,
        cp_errors=errors,
        against=against.variant if compared and against else "",
        against_steps=against.steps if compared and against else None,
        p=cp.p,
        p_holm=math.nan,
        p_bh=math.nan,
        orc_p=orc.p,
        **cp.rate.columns("cpwer"),
        **cp.gain.columns("gain"),
        **orc.rate.columns("orcwer"),
        **orc.gain.columns("orc_gain"),
        **means,
    )


def _corrected(results: Sequence[StudyResult]) -> list[StudyResult]:
    """Correct for all comparisons of a set, apart for single recognisers and family means."""
    corrected = list(results)
    groups: dict[tuple[str, bool], list[int]] = {}
    for number, result in enumerate(results):
        groups.setdefault((result.set, result.recogniser == FAMILY_MEAN), []).append(number)
    for numbers in groups.values():
        p = np.array([results[number].p for number in numbers])
        for number, by_holm, by_bh in zip(numbers, holm(p), benjamini_hochberg(p), strict=True):
            corrected[number] = replace(results[number], p_holm=float(by_holm), p_bh=float(by_bh))
    return corrected
