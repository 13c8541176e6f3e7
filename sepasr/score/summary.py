"""From rows per mixture to results with intervals and p-values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np

from sepasr.errors import UserError
from sepasr.score.result import (
    CLEAN,
    MEASURES,
    MIXTURE,
    Comparison,
    Gain,
    MeasureDifference,
    RecogniserInfo,
    Results,
    Run,
    SystemInfo,
    SystemResult,
    WordErrors,
    relation,
)
from sepasr.score.rows import Scores
from sepasr.score.statistics import (
    DRAWS,
    Resampling,
    mean,
    mean_difference,
    over_seeds,
    rate,
    relative_gain,
)

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class _Line:
    """What a line of the table is computed from: a system of one seed, or averaged over several.

    Attributes:
        system: the system; of an average, with its first seed.
        seeds: that are averaged; empty where there are none.
        words: by recogniser, (3, mixtures): reference words, cp errors, orc errors.
        measures: (measures, mixtures); NaN where undefined.
        guard_hits: by recogniser, the number of streams.
    """

    system: SystemInfo
    seeds: tuple[int, ...]
    words: Mapping[str, np.ndarray]
    measures: np.ndarray
    guard_hits: Mapping[str, int]


def summarise(
    scores: Scores,
    systems: Sequence[SystemInfo],
    recognisers: Sequence[RecogniserInfo],
    run: Run,
    *,
    control: str | None = "sisdr",
    primary: Collection[tuple[str, str]] = (),
    draws: int = DRAWS,
    seed: int = 0,
) -> Results:
    """Compute the results of a run.

    A system of several seeds has a line for their average, then one for each. The average alone is
    compared with the control's.

    Args:
        scores: the rows of all systems.
        systems: in the table's order; seeds of one system share a name.
        recognisers: in the table's order.
        run: where the rows come from.
        control: name of the system that the others are compared with; None compares nothing.
        primary: pairs of system and recogniser that were named as primary before the run.
        draws: of the bootstrap and of the permutation test.
        seed: of both.

    Raises:
        UserError: rows are missing or double, seeds of a system were not trained alike, or the
            control is not among the systems.
    """
    lines = _lines(scores, systems, recognisers, run.mixtures)
    averages = {line.system.name: line for line in reversed(lines)}
    if control is not None and control not in averages:
        raise UserError(f"the control '{control}' is not among the systems", remedy="score it too")
    against = [
        (averages[name], averages[control])
        for name in dict.fromkeys(system.name for system in systems)
        if control is not None and name not in (control, MIXTURE, CLEAN)
    ]
    resampling = Resampling(run.mixtures, draws, seed)
    comparisons = [
        _comparison(line, other, recogniser, resampling, primary)
        for line, other in against
        for recogniser in recognisers
    ]
    return Results(
        run=run,
        control=control,
        recognisers=tuple(recognisers),
        systems=tuple(_result(line, recognisers, run, resampling) for line in lines),
        comparisons=tuple(c for c in comparisons if c.relation is not None),
        other_comparisons=tuple(c for c in comparisons if c.relation is None),
        measure_differences=tuple(
            _measure_difference(line, other, index, resampling)
            for line, other in against
            for index, name in enumerate(MEASURES)
            if name != "si_sdri"  # it differs by as much as SI-SDR: the mixture is the same
        ),
    )


def _lines(
    scores: Scores,
    systems: Sequence[SystemInfo],
    recognisers: Sequence[RecogniserInfo],
    mixtures: int,
) -> list[_Line]:
    """A line per system and seed, those of several seeds led by their average."""
    words = _arrays(
        (
            (row.mixture, (row.system, row.seed, row.recogniser)),
            (row.words, row.cp_errors, row.orc_errors),
        )
        for row in scores.utterances
    )
    measures = _arrays(
        ((row.mixture, (row.system, row.seed)), [getattr(row, name) for name in MEASURES])
        for row in scores.measures
    )
    hits = {(row.system, row.seed, row.recogniser, row.mixture, row.stream) for row in scores.guard}
    guard_hits = Counter(hit[:3] for hit in hits)

    def line(seeds: Sequence[SystemInfo]) -> _Line:
        keys = {r.name: [(s.name, s.seed, r.name) for s in seeds] for r in recognisers}
        return _Line(
            seeds[0],
            tuple(s.seed for s in seeds if s.seed is not None),
            {name: _seed_mean(words, key, mixtures) for name, key in keys.items()},
            _seed_mean(measures, [(s.name, s.seed) for s in seeds], mixtures),
            {name: sum(guard_hits[k] for k in key) for name, key in keys.items()},
        )

    by_name: dict[str, list[SystemInfo]] = {}
    for system in systems:
        by_name.setdefault(system.name, []).append(system)
        _check_alike(by_name[system.name][0], system)
    return [
        line(group)
        for seeds in by_name.values()
        for group in ([seeds] if len(seeds) > 1 else []) + [[system] for system in seeds]
    ]


def _check_alike(first: SystemInfo, other: SystemInfo) -> None:
    """Refuse to average what was trained otherwise."""
    names = [field.name for field in fields(SystemInfo) if field.name not in ("folder", "seed")]
    unlike = [name for name in names if getattr(first, name) != getattr(other, name)]
    if unlike:
        pair = " and ".join(str(getattr(system, unlike[0])) for system in (first, other))
        what = f"{first.folder} and {other.folder} are no seeds of one system: {unlike[0]} {pair}"
        raise UserError(what, remedy="train them alike, or give one another name")


def _arrays(
    rows: Iterable[tuple[tuple[str, Key], Sequence[float]]],
) -> dict[Key, np.ndarray]:
    """(values, mixtures) by key, mixtures sorted, from one row of values per mixture and key."""
    columns: dict[Key, dict[str, Sequence[float]]] = {}
    for (mixture, key), values in rows:
        column = columns.setdefault(key, {})
        if mixture in column:
            raise UserError(f"two rows of {key} for mixture '{mixture}'", remedy="score again")
        column[mixture] = values
    for key, column in columns.items():
        if column.keys() != next(iter(columns.values())).keys():
            raise UserError(f"{key} has rows of other mixtures than the rest", remedy="score again")
    return {
        key: np.array([column[mixture] for mixture in sorted(column)], dtype=float).T
        for key, column in columns.items()
    }


def _seed_mean(arrays: Mapping[Key, np.ndarray], keys: Sequence[Key], mixtures: int) -> np.ndarray:
    """Mean over the seeds for which a value is defined, (values, mixtures)."""
    for key in keys:
        if key not in arrays or arrays[key].shape[1] != mixtures:
            raise UserError(f"no rows of {key} for all {mixtures} mixtures", remedy="score again")
    return over_seeds(np.stack([arrays[key] for key in keys]))


def _result(
    line: _Line, recognisers: Sequence[RecogniserInfo], run: Run, resampling: Resampling
) -> SystemResult:
    system = line.system
    decodes = 1 if system.name == MIXTURE else run.speakers
    wer = {}
    for recogniser in recognisers:
        words, cp_errors, orc_errors = line.words[recogniser.name]
        wer[recogniser.name] = WordErrors(
            cpwer=resampling.interval(rate(cp_errors, words)),
            orcwer=resampling.interval(rate(orc_errors, words)),
            guard_hits=line.guard_hits[recogniser.name],
            streams=run.mixtures * decodes * max(1, len(line.seeds)),
            relation=relation(system, recogniser),
        )
    return SystemResult(
        name=system.name,
        encoder=system.encoder,
        seed=system.seed if len(line.seeds) == 1 else None,
        seeds=line.seeds,
        steps=system.steps,
        **{
            name: resampling.interval(mean(values))
            for name, values in zip(MEASURES, line.measures, strict=True)
        },
        wer=wer,
        lr=system.lr,
    )


def _comparison(
    line: _Line,
    other: _Line,
    recogniser: RecogniserInfo,
    resampling: Resampling,
    primary: Collection[tuple[str, str]],
) -> Comparison:
    _, *mine = line.words[recogniser.name]
    _, *theirs = other.words[recogniser.name]
    cp, orc = (_gain(*errors, resampling) for errors in zip(mine, theirs, strict=True))
    return Comparison(
        relative_gain=cp.relative_gain,
        low=cp.low,
        high=cp.high,
        p=cp.p,
        system=line.system.name,
        against=other.system.name,
        recogniser=recogniser.name,
        relation=relation(line.system, recogniser),
        orcwer=orc,
        primary=(line.system.name, recogniser.name) in primary,
    )


def _gain(errors: np.ndarray, against: np.ndarray, resampling: Resampling) -> Gain:
    interval = resampling.interval(relative_gain(errors, against))
    p = resampling.p_value(errors - against)
    return Gain(interval.value, interval.low, interval.high, p)


def _measure_difference(
    line: _Line, other: _Line, measure: int, resampling: Resampling
) -> MeasureDifference:
    mine, theirs = line.measures[measure], other.measures[measure]
    interval = resampling.interval(mean_difference(mine, theirs))
    return MeasureDifference(
        system=line.system.name,
        against=other.system.name,
        measure=MEASURES[measure],
        difference=interval.value,
        low=interval.low,
        high=interval.high,
        p=resampling.p_value(mine - theirs),
    )
