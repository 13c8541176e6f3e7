"""Everything that results hold, value by value, to compare them with what rows give."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sepasr.report.cells import bounds_text, interval_text, p_text
from sepasr.report.figure_text import figure_text
from sepasr.report.table import MEASURES
from sepasr.score.result import Comparison, Gain, Results, SystemResult
from sepasr.score.statistics import Interval

UTTERANCES, MEASURED, GUARD, TABLE = "utterances.csv", "measures.csv", "guard.csv", "table.yaml"
"""What a value is computed from."""
IN_UTTERANCES = ("si_sdr", "si_sdri")
"""Measures that rows of word errors hold too."""
CLOSE = 1e-6
"""Relative difference of numbers that are the same but for rounding on another machine."""


@dataclass(frozen=True)
class Fact:
    """A value of results.

    Attributes:
        values: its numbers, or texts.
        text: as tables have it.
        needs: what it is computed from.
    """

    values: tuple[Any, ...]
    text: str
    needs: str = UTTERANCES

    def agrees(self, other: Fact) -> bool:
        """Whether the values are the same, but for rounding."""
        mine, theirs = self.values, other.values
        return len(mine) == len(theirs) and all(map(_alike, mine, theirs))

    def told(self, other: Fact) -> str:
        """Its text; or its values, where the other fact's text is the same."""
        return self.text if self.text != other.text else repr(self.values)


def _alike(mine: Any, theirs: Any) -> bool:
    if not (isinstance(mine, float) and isinstance(theirs, float)):
        return bool(mine == theirs)
    if math.isnan(mine) or math.isnan(theirs):
        return math.isnan(mine) and math.isnan(theirs)
    return math.isclose(mine, theirs, rel_tol=CLOSE, abs_tol=CLOSE / 1000)


def facts(results: Results) -> dict[tuple[str, str], Fact]:
    """Every value of results, by its place and its name.

    Left out is what no rows tell, but separators and recognisers: encoders, steps, rates, and what
    a recogniser is to a loss.
    """
    found: dict[tuple[str, str], Fact] = {
        ("seeds", "of all systems"): Fact((results.run.seeds,), str(results.run.seeds)),
        ("control", "name"): Fact((results.control,), str(results.control), TABLE),
    }
    for number, line in enumerate(results.systems):
        for name, fact in _of_system(line):
            found[f"systems[{number}]", name] = fact
        for reader, errors in line.wer.items():
            place = f"systems[{number}], {reader}"
            for name, interval in (("cpwer", errors.cpwer), ("orcwer", errors.orcwer)):
                found[place, name] = _interval(name, interval)
            hits = f"{errors.guard_hits} of {errors.streams}"
            found[place, "guard_hits"] = Fact((errors.guard_hits, errors.streams), hits, GUARD)
    for c in (*results.comparisons, *results.other_comparisons):
        for name, fact in _of_comparison(c):
            found[f"comparison of {c.system} by {c.recogniser}", name] = fact
    for d in results.measure_differences:
        interval = Interval(d.difference, d.low, d.high)
        text = f"{interval_text(interval, f'+.{MEASURES[d.measure][1]}f')}, p {p_text(d.p)}"
        values = (d.against, d.difference, d.low, d.high, d.p)
        place = f"measure_differences of {d.system}"
        found[place, d.measure] = Fact(values, text, _needs(d.measure))
    return found


def _needs(measure: str) -> str:
    return UTTERANCES if measure in IN_UTTERANCES else MEASURED


def _interval(name: str, interval: Interval, needs: str = UTTERANCES) -> Fact:
    text = figure_text(interval.columns(name), f"{name}.interval")
    return Fact((interval.value, interval.low, interval.high), text, needs)


def _of_system(line: SystemResult) -> Iterator[tuple[str, Fact]]:
    who = (line.name, line.seed, line.seeds)
    yield "name, seed and seeds", Fact(who, str(who))
    for name in MEASURES:
        yield name, _interval(name, getattr(line, name), _needs(name))


def _of_comparison(c: Comparison) -> Iterator[tuple[str, Fact]]:
    gains: Mapping[str, Gain] = {"gain": c, "orc_gain": c.orcwer}
    for name, gain in gains.items():
        bounds = bounds_text(gain.low, gain.high, "+.1f", 100)
        text = f"{100 * gain.relative_gain:+.1f} % {bounds}, p {p_text(gain.p)}"
        yield name, Fact((gain.relative_gain, gain.low, gain.high, gain.p), text)
    yield "against", Fact((c.against,), c.against)
    yield "primary", Fact((c.primary,), str(c.primary), TABLE)


def misplaced(results: Results) -> list[str]:
    """Comparisons whose relation is not that of their system's word errors, or not their list's."""
    relations = {
        (line.name, reader): errors.relation
        for line in results.lines
        for reader, errors in line.wer.items()
    }
    found = []
    for has_encoder, group in ((True, results.comparisons), (False, results.other_comparisons)):
        for c in group:
            expected = relations.get((c.system, c.recogniser))
            if c.relation != expected or (expected is not None) != has_encoder:
                place = f"comparison of {c.system} by {c.recogniser}"
                found.append(f"{place}: relation is {c.relation}, its word errors' is {expected}")
    return found
