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


@dataclass(frozen=True)
class _Line:
    """A variant after some steps on a set, with one seed or averaged over several.

    Attributes:
        variant: its name.
        steps: of its training.
        set: the data directory.
        seed: None for an average, or where nothing was trained.
        seeds: how many there are.
        words: by recogniser, (2, mixtures): reference words and cpWER's errors.
        measures: (measures, mixtures).
    """

    variant: str
    steps: int
    set: str
    seed: int | None
    seeds: int
    words: Mapping[str, np.ndarray]
    measures: np.ndarray

    @property
    def mixtures(self) -> int:
        return self.measures.shape[1]

    def gain(self, other: _Line, recogniser: str) -> Ratio:
        return relative_gain(self.words[recogniser][1], other.words[recogniser][1])


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
        found = [_single(line, against, r, facts, resampling) for r in recognisers]
        results += [*found, _family_mean(line, against, recognisers, facts, resampling)]
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
                r: np.array([[x.words, x.cp_errors] for x in found], dtype=float).T
                for r, found in ordered.items()
            }
            measures = np.array([[getattr(x, m) for x in first] for m in MEASURES], dtype=float)
            trained = 0 if seed is None else 1
            single.append(_Line(variant, steps, name, seed, trained, words, measures))
        lines += single
        if len(single) > 1:
            lines.append(_average(single))
    return lines


def _average(lines: Sequence[_Line]) -> _Line:
    """Over seeds, of the recognisers that have read them all."""
    shared = [r for r in lines[0].words if all(r in line.words for line in lines)]
    return replace(
        lines[0],
        seed=None,
        seeds=len(lines),
        words={r: over_seeds(np.stack([line.words[r] for line in lines])) for r in shared},
        measures=over_seeds(np.stack([line.measures for line in lines])),
    )


def _against(line: _Line, lines: Sequence[_Line], facts: Facts) -> _Line | None:
    """What a line is compared with: the control after as many steps, else after its most.

    Of several seeds the average is compared, with the control's average.
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
    return max((x for x in mine if x.steps == wanted), key=lambda x: x.seeds)


def _single(
    line: _Line,
    against: _Line | None,
    recogniser: RecogniserInfo,
    facts: Facts,
    resampling: Resampling,
) -> StudyResult:
    words, errors = line.words[recogniser.name]
    gain, p = Interval(math.nan, math.nan, math.nan), math.nan
    if against is not None and recogniser.name in against.words:
        gain = resampling.interval(line.gain(against, recogniser.name))
        p = resampling.p_value(errors - against.words[recogniser.name][1])
    return _result(
        line,
        against,
        facts,
        recogniser=recogniser.name,
        family=recogniser.family,
        relation=facts.relation(line.variant, recogniser),
        words=float(words.sum()),
        cp_errors=float(errors.sum()),
        cpwer=resampling.interval(rate(errors, words)),
        gain=gain,
        p=p,
    )


def _family_mean(
    line: _Line,
    against: _Line | None,
    recognisers: Sequence[RecogniserInfo],
    facts: Facts,
    resampling: Resampling,
) -> StudyResult:
    weights = family_weights(recognisers)
    rates = [rate(*reversed(line.words[r.name])) for r in recognisers]
    gain, p = Interval(math.nan, math.nan, math.nan), math.nan
    if against is not None and all(r.name in against.words for r in recognisers):
        gains = [line.gain(against, r.name) for r in recognisers]
        gain = resampling.interval(*gains, weights=weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            differences = sum(
                weight * x.numerator / x.denominator.sum()
                for weight, x in zip(weights, gains, strict=True)
            )
        p = resampling.p_value(np.asarray(differences))
    return _result(
        line,
        against,
        facts,
        recogniser=FAMILY_MEAN,
        family="",
        relation="",
        words=math.nan,
        cp_errors=math.nan,
        cpwer=resampling.interval(*rates, weights=weights),
        gain=gain,
        p=p,
    )


def _result(
    line: _Line,
    against: _Line | None,
    facts: Facts,
    *,
    recogniser: str,
    family: str,
    relation: str,
    words: float,
    cp_errors: float,
    cpwer: Interval,
    gain: Interval,
    p: float,
) -> StudyResult:
    means = {}
    for name, values in zip(MEASURES, line.measures, strict=True):
        ratio = mean(values)
        defined = ratio.denominator.sum()
        means[name] = float(ratio.numerator.sum() / defined) if defined else math.nan
    compared = against is not None and not math.isnan(gain.value)
    return StudyResult(
        study=facts.study,
        variant=line.variant,
        steps=line.steps,
        seed=line.seed,
        seeds=line.seeds,
        set=line.set,
        recogniser=recogniser,
        family=family,
        relation=relation,
        mixtures=line.mixtures,
        words=words,
        cp_errors=cp_errors,
        cpwer=cpwer.value,
        cpwer_low=cpwer.low,
        cpwer_high=cpwer.high,
        against=against.variant if compared and against else "",
        against_steps=against.steps if compared and against else None,
        gain=gain.value,
        gain_low=gain.low,
        gain_high=gain.high,
        p=p,
        p_holm=math.nan,
        p_bh=math.nan,
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
