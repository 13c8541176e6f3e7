"""Correction of p-values for many comparisons."""

from __future__ import annotations

import numpy as np


def holm(p: np.ndarray) -> np.ndarray:
    """P-values that bound the chance of even one false finding among all comparisons.

    Holm, "A simple sequentially rejective multiple test procedure" (1979). It holds however the
    comparisons depend on each other, as those with one control do.

    Args:
        p: (comparisons,); NaN is an undefined one, which doesn't count.

    Returns:
        (comparisons,), at most 1.

    Raises:
        ValueError: one isn't between 0 and 1.
    """
    p = np.asarray(p, dtype=float)
    order, ordered = _in_order(p)
    multiplied = np.arange(len(order), 0, -1) * ordered
    return _put_back(p, order, np.maximum.accumulate(multiplied))


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """P-values that bound the expected share of false findings among what is found.

    Benjamini and Hochberg, "Controlling the false discovery rate" (1995); for comparisons that
    are independent or positively dependent.

    Args:
        p: (comparisons,); NaN is an undefined one, which doesn't count.

    Returns:
        (comparisons,), at most 1.

    Raises:
        ValueError: one isn't between 0 and 1.
    """
    p = np.asarray(p, dtype=float)
    order, ordered = _in_order(p)
    multiplied = len(order) / np.arange(1, len(order) + 1) * ordered
    return _put_back(p, order, np.minimum.accumulate(multiplied[::-1])[::-1])


def _in_order(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of those that are defined, the least first, and their values."""
    if p.ndim != 1 or ((p < 0) | (p > 1)).any():
        raise ValueError("p-values between 0 and 1 are wanted, (comparisons,)")
    order = np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]  # NaN come last
    return order, p[order]


def _put_back(p: np.ndarray, order: np.ndarray, adjusted: np.ndarray) -> np.ndarray:
    result = np.full(len(p), np.nan)
    result[order] = np.minimum(adjusted, 1.0)
    return result
