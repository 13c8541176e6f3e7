#!/usr/bin/env python3
"""Write the results as a table into docs/benchmarks.md, between its two markers.

tools/bench/table.py
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from paired import GIGABYTES, MILLISECONDS, RESULTS, ROOT, SECONDS, SHARE, SPEEDUP, figure

from sepasr.files import write_text

PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- results: tools/bench/table.py -->", "<!-- end of results -->"
GOALS = {
    "train_step_s": (2.0, SPEEDUP),
    "train_step_m": (2.0, SPEEDUP),
    "train_step_l": (2.0, SPEEDUP),
    "train_memory_l": (0.5, SHARE),
    "train_memory_xl": (16.0, GIGABYTES),
    "inference_s": (1.5, SPEEDUP),
    "finetune_step": (2.0, SPEEDUP),
    "recognition": (3.0, SPEEDUP),
    "scoring_s": (10.0, SECONDS),
    "measures": (1.8, SPEEDUP),
    "mixing_ms": (3.0, MILLISECONDS),
    "hour_memory": (1.1, SHARE),
    "hour_swaps": (0.0, "swaps"),
}
"""Least speed-ups; of all other units the most."""
IN_ALL = ("python", "torch")


def reached(entry: dict) -> bool:
    """Whether the value is as good as its goal."""
    goal, unit = GOALS[entry["name"]]
    return entry["value"] >= goal if unit == SPEEDUP else entry["value"] <= goal


def rows(results: Sequence[dict]) -> list[str]:
    """Lines of Markdown: a row for each goal and each other figure, then machines and remarks."""
    known = {entry["name"]: entry for entry in results}
    names = []
    for name in GOALS:  # behind each what was measured of it otherwise
        names += [name, *sorted(other for other in known if other.startswith(f"{name}@"))]
    names += sorted(known.keys() - set(names))
    machines = list(dict.fromkeys(machine(known[name]) for name in names if name in known))
    table = ["| benchmark | result | goal | against | measured |", "|---|---|---|---|---|"]
    remarks = []
    for name in names:
        goal = ""
        if name in GOALS:
            least, unit = GOALS[name]
            goal = f"{least:g} {unit}{'' if unit == SPEEDUP else ' or less'}"
        if name not in known:
            table.append(f"| {name} | not measured | {goal} | | |")
            continue
        entry = known[name]
        if name in GOALS:
            goal += ", reached" if reached(entry) else ", not reached"
        measured = f"{entry['date']}, machine {machines.index(machine(entry)) + 1}"
        measured += f", {entry['commit']}" if entry.get("commit") else ""
        cells = [name, figure(entry), goal, entry["against"], measured]
        table.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
        types = ", ".join([entry["dtype"], *versions(entry, in_all=False)])
        remarks.append(f"- {name}: {types}; {entry['note']}")
    numbered = [f"{number}. {one}" for number, one in enumerate(machines, 1)]
    return [*table, "", "Machines:", "", *numbered, "", "Remarks:", "", *remarks]


def machine(entry: dict) -> str:
    """Where it was measured, with what all benchmarks run on."""
    return "; ".join([entry["machine"], ", ".join(versions(entry, in_all=True))])


def versions(entry: dict, *, in_all: bool) -> list[str]:
    """Of what takes part in all benchmarks, or of the others."""
    found = entry["versions"].items()
    return [f"{name} {number}" for name, number in found if (name in IN_ALL) == in_all]


def main(arguments: Sequence[str] | None = None) -> None:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--results", type=Path, default=RESULTS)
    made.add_argument("--page", type=Path, default=PAGE)
    options = made.parse_args(arguments)
    page = options.page.read_text("utf-8")
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        made.error(f"{options.page} lacks the lines '{BEGIN}' and '{END}', each once")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    table = "\n".join(rows(json.loads(options.results.read_text("utf-8"))))
    write_text(options.page, f"{before}{BEGIN}\n{table}\n{END}{after}")


if __name__ == "__main__":
    main()
