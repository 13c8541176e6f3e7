"""How figures are written in pages and in cells of tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sepasr.report.cells import MISSING, bounds_text, number_text, p_text
from sepasr.report.table import MEASURES


@dataclass(frozen=True)
class Form:
    """How a column is written.

    Attributes:
        scale: what the value is multiplied by.
        decimals: digits behind the point.
        sign: ``+`` where positive values have a sign too.
        unit: what follows the value.
        interval: whether its interval follows unless it is left out.
    """

    scale: float = 1
    decimals: int = 2
    sign: str = "-"
    unit: str = ""
    interval: bool = False


RATE, GAIN = Form(100, 1, unit=" %"), Form(100, 1, "+", " %", interval=True)
CORRELATION = Form(1, 2, "+", interval=True)
DIFFERENCE = "_difference"
"""Ends the name of a signal measure: how much it is above the control's."""
FORMS = {
    **{"cpwer": RATE, "orcwer": RATE, "gain": GAIN, "orc_gain": GAIN},
    **{"differ": replace(RATE, interval=True), "correlation": CORRELATION, "spearman": CORRELATION},
    **{
        name: Form(decimals=decimals, unit=" dB" if "(dB)" in heading else "")
        for name, (heading, decimals) in MEASURES.items()
    },
}
FORMS |= {f"{name}{DIFFERENCE}": replace(FORMS[name], sign="+", interval=True) for name in MEASURES}
P_VALUES = {"p": "", "orc_p": "", "p_holm": " (Holm)", "p_bh": " (Benjamini-Hochberg)"}


def figure_text(fields: Mapping[str, Any], column: str, *, bare: bool = False) -> str:
    """A value as a page shows it; ``bare`` as a cell of a table does, without unit.

    >>> figure_text({"gain": 0.083, "gain_low": 0.037, "gain_high": 0.13}, "gain")
    '+8.3 % [+3.7, +13.0]'
    """
    name, _, how = column.partition(".")
    value = fields[name]
    if value is None or value != value:
        return MISSING
    if name in P_VALUES:
        text = p_text(value)
        relation = "p" if text.startswith("<") else "p ="
        return text if bare else f"{relation} {text}{P_VALUES[name]}"
    if name not in FORMS:
        return f"{value:g}" if isinstance(value, float) else str(value)
    form = FORMS[name]
    written = f"{form.sign}.{form.decimals}f", form.scale
    text = number_text(value, *written) + ("" if bare else form.unit)
    if how == "interval" or (form.interval and how != "value"):
        text += f" {bounds_text(fields[f'{name}_low'], fields[f'{name}_high'], *written)}"
    return text
