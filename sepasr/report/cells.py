"""How figures are written in tables and sentences, and how tables are in Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sepasr.score.statistics import Interval

MISSING = "–"


def number_text(value: float, form: str, scale: float = 1) -> str:
    """``scale * value`` in the format ``form``; ``MISSING`` for NaN."""
    return MISSING if math.isnan(value) else f"{scale * value:{form}}"


def bounds_text(low: float, high: float, form: str, scale: float = 1) -> str:
    """The bounds of an interval, in brackets."""
    return f"[{number_text(low, form, scale)}, {number_text(high, form, scale)}]"


def interval_text(interval: Interval, form: str, scale: float = 1) -> str:
    """A value with its bounds; ``MISSING`` alone where it is undefined.

    >>> interval_text(Interval(0.083, 0.037, 0.13), "+.1f", 100)
    '+8.3 [+3.7, +13.0]'
    """
    text = number_text(interval.value, form, scale)
    bounds = bounds_text(interval.low, interval.high, form, scale)
    return text if text == MISSING else f"{text} {bounds}"


def p_text(p: float) -> str:
    """A p-value, or a bound for one as small as tests by 10 000 draws can show.

    >>> p_text(1 / 10_001)
    '< 0.0001'
    """
    return "< 0.0001" if p < 1e-4 else number_text(p, ".4f")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], labels: int) -> str:
    """A table whose first ``labels`` columns are text and the others figures, without a newline."""
    rule = "|---" * labels + "|---:" * (len(header) - labels) + "|"
    first, *rest = (f"| {' | '.join(cells)} |" for cells in (header, *rows))
    return "\n".join([first, rule, *rest])
