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


def reached(entry: dict) -> bool:
    """Whether the value is as good as its goal."""
    goal, unit = GOALS[entry["name"]]
    return entry["value"] >= goal if unit == SPEEDUP else entry["value"] <= goal


def rows(results: Sequence[dict]) -> list[str]:
    """A line of Markdown for each goal, then for each other figure."""
    known = {entry["name"]: entry for entry in results}
    lines = [
        "| benchmark | result | goal | against | type | measured on | remarks |",
        "|---|---|---|---|---|---|---|",
    ]
    names = []
    for name in GOALS:  # behind each what was measured of it otherwise
        names += [name, *sorted(other for other in known if other.startswith(f"{name}@"))]
    for name in [*names, *sorted(known.keys() - set(names))]:
        goal = ""
        if name in GOALS:
            least, unit = GOALS[name]
            goal = f"{least:g} {unit}{'' if unit == SPEEDUP else ' or less'}"
        if name not in known:
            lines.append(f"| {name} | not measured | {goal} | | | | |")
            continue
        entry = known[name]
        if name in GOALS:
            goal += ", reached" if reached(entry) else ", not reached"
        torch = entry["versions"]["torch"]
        place = f"{entry['machine']}; torch {torch}; {entry['date']}"
        place += f"; {entry['commit']}" if entry.get("commit") else ""
        cells = [name, figure(entry), goal, entry["against"], entry["dtype"], place, entry["note"]]
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return lines


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
