"""The tables that studies write, line by line, as the figures that a page shows of them."""

from __future__ import annotations

from collections.abc import Mapping, Set

from sepasr.study.conditions import LABELS

MEAN_OF_FAMILIES = "mean over families"
KINDS = {
    "systems": "between the systems of a mixture",
    "mixtures": "between all mixtures of all systems",
}
Cells = Mapping[str, str]


def read_cells(header: Set[str], cells: Cells, over_steps: bool) -> list[dict[str, str]]:
    """The figures of a line, by the names of :class:`sepasr.report.studies.StudyRow`.

    Args:
        header: the table's columns, by which it is told what it holds.
        cells: by column; empty ones are left out.
        over_steps: whether steps are the axis of the study's plot.

    Raises:
        ValueError: a cell is not a number where one belongs.
        KeyError: a cell is empty where none may be, or a condition has another name.
    """
    if "mixture" in header:  # values of single mixtures, not figures
        return []
    if {"variant", "value"} <= header:
        return [dict(cells)]
    if {"variant", "steps", "cpwer", "gain"} <= header:
        return _results(cells, over_steps)
    if {"condition", "bin", "cpwer"} <= header:
        return _difficulty(cells)
    if {"variant", "encoder", "kind", "differ"} <= header:
        return _permutation(cells)
    if {"measure", "kind", "correlation"} <= header:
        return _correlation(cells)
    return []


def _trained(cells: Cells) -> str:
    """A variant, and for how many steps it was trained, if it was."""
    steps = int(cells["steps"])
    return f"{cells['variant']}, {steps} steps" if steps else cells["variant"]


def _percent(cells: Cells, name: str, ends: str = "") -> dict[str, str]:
    """A fraction and its interval, in per cent; ``ends`` begins the names of its ends."""
    columns = {"value": name, "low": f"{ends}low", "high": f"{ends}high"}
    return {
        key: repr(100 * float(cells[column])) for key, column in columns.items() if column in cells
    }


def _results(cells: Cells, over_steps: bool) -> list[dict[str, str]]:
    """Of variants: word errors, and the gain where there is one to compare with.

    Over steps it is word errors and SI-SDR, as the course is what was asked.
    """
    names = ("study", "variant", "set", "mixtures", "family", "seed")
    shared = {name: cells[name] for name in names if name in cells}
    reader = cells["recogniser"]
    is_mean = reader == "family_mean"
    shared["recogniser"] = MEAN_OF_FAMILIES if is_mean else reader
    errors = {**shared, "measure": "cpWER", "unit": "%", **_percent(cells, "cpwer", "cpwer_")}
    if over_steps:
        place = {"x": cells["steps"], "x_label": "steps of fine-tuning"}
        found = [{**errors, **place}]
        if is_mean and "si_sdr" in cells:
            signal = {"measure": "SI-SDR", "unit": "dB", "value": cells["si_sdr"]}
            found.append({**shared, **place, **signal, "recogniser": ""})
        return found
    variant = _trained(cells)
    found = [{**errors, "variant": variant}]
    if "against" in cells:
        gain = {"measure": f"gain in cpWER over {cells['against']}", "unit": "%"}
        if cells.get("against_steps", cells["steps"]) != cells["steps"]:
            variant += f" against {cells['against_steps']}"
        found.append({**shared, **gain, "variant": variant, **_percent(cells, "gain", "gain_")})
    return found


def _difficulty(cells: Cells) -> list[dict[str, str]]:
    """Word errors along a condition, at the median of each group of mixtures."""
    if int(cells["bin"]) == 0:  # the correlation, which is no figure of a group
        return []
    label = {"x": repr(float(cells["median"])), "x_label": LABELS[cells["condition"]]}
    names = ("study", "recogniser", "mixtures", "bin")
    shared = {name: cells[name] for name in names if name in cells}
    errors = {"measure": "cpWER", "unit": "%", **_percent(cells, "cpwer", "cpwer_")}
    return [{**shared, **label, **errors, "variant": cells["system"]}]


def _permutation(cells: Cells) -> list[dict[str, str]]:
    """How often an encoder's permutation isn't that of SI-SDR; kinds of mixtures as its readers."""
    measure = f"mixtures to which {cells['encoder']} assigns the streams otherwise than SI-SDR"
    kept = {name: cells[name] for name in ("set", "mixtures", "seed") if name in cells}
    texts = {"variant": _trained(cells), "measure": measure, "unit": "%"}
    return [{**kept, **texts, "recogniser": cells["kind"], **_percent(cells, "differ")}]


def _correlation(cells: Cells) -> list[dict[str, str]]:
    kind = KINDS.get(cells["kind"], cells["kind"])
    texts = {"value": cells.get("correlation", "nan"), "variant": cells["measure"]}
    names = ("recogniser", "low", "high", "mixtures")
    texts |= {name: cells[name] for name in names if name in cells}
    return [{**texts, "measure": f"rank correlation with cpWER, {kind}"}]
