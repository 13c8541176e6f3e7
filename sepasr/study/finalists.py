"""The choice of finalists from the screen, by the rule that the study's YAML states before it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import mean

from sepasr.errors import UserError
from sepasr.study.config import StudyConfig
from sepasr.study.rows import FAMILY_MEAN, StudyResult


@dataclass(frozen=True)
class Finalist:
    """A variant that goes on, and how long it is trained.

    Attributes:
        variant: its name.
        steps: of its training.
        value: what the rule made of it on the screen's set.
        reason: ``rule``, ``control`` or ``kept``.
    """

    variant: str
    steps: int
    value: float
    reason: str


def choose_finalists(study: StudyConfig, results: Sequence[StudyResult]) -> list[Finalist]:
    """Choose by the study's rule, each variant at its own best steps; equal ones: fewer steps.

    The control and other variants that finalists are compared with go on at the steps with the
    least mean cpWER over families, and at those of the finalists, if they were screened there: the
    comparison is between equal steps where it can be.

    Args:
        study: with ``finalists``.
        results: of the screen.

    Raises:
        UserError: a variant that is to be compared has no results.
    """
    assert study.finalists is not None
    rule, names = study.finalists, [variant.name for variant in study.variants]
    candidates = {name: _best(name, results, rule.by) for name in candidates_of(study)}
    ordered = sorted(candidates.values(), key=lambda x: (-x.value, x.steps))
    chosen = ordered[: rule.choose]
    kept = [_best(name, results, "family_mean", "kept") for name in rule.keep]
    against: list[Finalist] = []
    for finalist in chain(chosen, kept, against):  # controls that are added have their own, too
        control = study.against(finalist.variant)
        values = _values(control, results, "family_mean")
        for steps in {_best_steps(values), finalist.steps} & {*values}:
            one = Finalist(control, steps, values[steps], "control")
            if one not in against:
                against.append(one)
    against.sort(key=lambda x: (names.index(x.variant), x.steps))
    going = {(x.variant, x.steps): x for x in reversed([*against, *chosen, *kept])}
    return list(reversed(going.values()))


def candidates_of(study: StudyConfig) -> list[str]:
    """Names of the variants that the rule may choose."""
    assert study.finalists is not None
    rule, names = study.finalists, [variant.name for variant in study.variants]
    fixed = {study.control, *rule.keep, *(study.against(name) for name in names)}
    return rule.among or [v.name for v in study.variants if v.trained and v.name not in fixed]


def _best(
    variant: str, results: Sequence[StudyResult], rule: str, reason: str = "rule"
) -> Finalist:
    """A variant at its best steps."""
    values = _values(variant, results, rule)
    steps = _best_steps(values)
    return Finalist(variant, steps, values[steps], reason)


def _best_steps(values: Mapping[int, float]) -> int:
    """A higher value is better."""
    return min(values, key=lambda steps: (-values[steps], steps))


def _values(variant: str, results: Sequence[StudyResult], rule: str) -> dict[int, float]:
    """What the rule makes of a variant after each of its numbers of steps."""
    by_steps: dict[int, list[StudyResult]] = {}
    for result in results:
        # Of several seeds the average decides.
        if result.variant == variant and result.seeds != 1:
            by_steps.setdefault(result.steps, []).append(result)
    if not by_steps:
        for result in results:
            if result.variant == variant:
                by_steps.setdefault(result.steps, []).append(result)
    if not by_steps:
        remedy = "look into what failed in the screen"
        raise UserError(f"variant '{variant}' has no results to choose by", remedy=remedy)
    return {steps: _value(found, rule) for steps, found in by_steps.items()}


def _value(results: Sequence[StudyResult], rule: str) -> float:
    """The negative mean cpWER over families, or the mean gain over the families not of the loss."""
    if rule == "family_mean":
        return -next(r.cpwer for r in results if r.recogniser == FAMILY_MEAN)
    loss = {r.family for r in results if r.relation in ("seen", "kin")}
    gains: dict[str, list[float]] = {}
    for r in results:
        if r.recogniser != FAMILY_MEAN and r.family not in loss and not math.isnan(r.gain):
            gains.setdefault(r.family, []).append(r.gain)
    return mean(mean(values) for values in gains.values()) if gains else -math.inf
