"""Intervals and tests for what is measured on a set of mixtures.

The mixture is the unit that is drawn: its speakers are scored together, and with several seeds of
training its values are first averaged over the seeds. Intervals and p-values thus speak of other
mixtures of the same kind, not of other trainings, voices or rooms than those of the set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

DRAWS = 10_000


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval, all in the value's own unit; NaN where undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Ratio:
    """A ratio of two sums over mixtures: every figure of a table is one.

    Attributes:
        numerator: (mixtures,).
        denominator: (mixtures,), none negative.
    """

    numerator: np.ndarray
    denominator: np.ndarray


def rate(errors: np.ndarray, words: np.ndarray) -> Ratio:
    """Word errors per word; both (mixtures,)."""
    return Ratio(errors, words)


def mean(values: np.ndarray) -> Ratio:
    """Mean of (mixtures,) over the mixtures where it is defined, that is, not NaN."""
    defined = ~np.isnan(values)
    return Ratio(np.where(defined, values, 0.0), defined.astype(float))


def mean_difference(values: np.ndarray, against: np.ndarray) -> Ratio:
    """Mean of ``values - against`` over the mixtures where both are defined; both (mixtures,)."""
    return mean(values - against)


def relative_gain(errors: np.ndarray, against: np.ndarray) -> Ratio:
    """1 - rate / rate of the other on the same words: 0.2 is a fifth fewer errors."""
    return Ratio(against - errors, against)


class Resampling:
    """Intervals and tests over one set of mixtures, all from the same random draws.

    Args:
        mixtures: their number.
        draws: bootstrap samples, and sign patterns of the test.
        seed: of the draws.
    """

    def __init__(self, mixtures: int, draws: int = DRAWS, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        signs = generator.integers(2, size=(draws, mixtures), dtype=np.int8)
        self._signs = 2 * signs.astype(np.float32) - 1
        drawn = generator.integers(mixtures, size=(draws, mixtures), dtype=np.int32)
        # Single precision for memory and speed: it holds sums of words exactly up to 16 million.
        self._counts = np.empty((draws, mixtures), dtype=np.float32)
        for counts, row in zip(self._counts, drawn, strict=True):
            counts[:] = np.bincount(row, minlength=mixtures)

    def interval(self, ratio: Ratio) -> Interval:
        """A ratio with its 95 % interval, by a bootstrap that draws mixtures.

        Bias-corrected and accelerated (BCa; Efron, "Better bootstrap confidence intervals", 1987),
        as word errors are skewed. Draws in which the denominator is 0 are left out. Where all draws
        agree, as for a system without errors, the interval is its value.

        Returns:
            NaN for what is undefined: all of it where the denominator is 0, the bounds where there
            is but one mixture.
        """
        parts = np.stack([ratio.numerator, ratio.denominator], axis=1).astype(float)
        value, others = _divide(parts.sum(0)), _divide(parts.sum(0) - parts)
        if not np.isfinite(value):
            return Interval(np.nan, np.nan, np.nan)
        if len(parts) == 1:
            return Interval(float(value), np.nan, np.nan)
        drawn = _divide((self._counts @ parts.astype(np.float32)).astype(float))
        low, high = _bca(float(value), drawn[np.isfinite(drawn)], others[np.isfinite(others)])
        return Interval(float(value), low, high)

    def p_value(self, differences: np.ndarray) -> float:
        """Two-sided p-value of paired differences, by a permutation test over mixtures.

        If two systems are alike, the sign of their difference on a mixture is a coin's. The p-value
        is the share of sign patterns, the observed one among them, whose sum is at least as far
        from 0; the least is 1 / (draws + 1).

        Args:
            differences: (mixtures,); NaN where a pair is undefined, it is left out.

        Returns:
            NaN where no pair is defined.
        """
        pairs = np.where(np.isnan(differences), 0.0, differences)
        if np.isnan(differences).all():
            return np.nan
        # Sums of the same numbers in another order differ by rounding.
        observed = abs(pairs.sum()) - 1e-6 * np.abs(pairs).sum()
        reached = np.abs(self._signs @ pairs.astype(np.float32)) >= observed
        return float((reached.sum() + 1) / (len(reached) + 1))


def _divide(parts: np.ndarray) -> np.ndarray:
    """Quotient of (..., 2); not finite where the denominator is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return parts[..., 0] / parts[..., 1]


def _bca(value: float, drawn: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Bounds from the draws and from the values without one mixture each."""
    if not len(drawn) or np.ptp(drawn) <= 1e-6 * abs(value):
        return value, value
    # Bias: the share of draws below the value, ties by half.
    below = (np.mean(drawn < value) + np.mean(drawn <= value)) / 2
    bias = ndtri(np.clip(below, 0.5 / len(drawn), 1 - 0.5 / len(drawn)))
    # Acceleration: a sixth of the skewness.
    deviation = others.mean() - others
    spread = np.sum(deviation**2)
    acceleration = np.sum(deviation**3) / (6 * spread**1.5) if spread > 0 else 0.0
    shifted = bias + ndtri([0.025, 0.975])
    low, high = np.quantile(drawn, ndtr(bias + shifted / (1 - acceleration * shifted)))
    return float(low), float(high)
