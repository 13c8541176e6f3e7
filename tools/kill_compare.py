"""What two folders differ in, of which one was made in a run that was killed and started again.

These may differ, and of them is compared what follows:

- WAV of floats that others than sepasr.data.audio have written: libsndfile writes the second of its
  making into the header. Samples and format.
- last.ckpt: Lightning counts what this process has done. Weights, optimiser, schedule and steps.
- csv/: a table for each start, and a kill takes lines that were not on disk yet. Each line that is
  there must be one of the undisturbed training.
- tensorboard/: times of the clock, name of the machine. Nothing.
- transcripts.sqlite: its pages. All rows.
- measures.jsonl: processes write each line when it is there. All lines, in any order.
- results.json, RESULTS.md: all but the date and the commit.
- The system's temporary folder, which is its own to clear: nothing.
"""

from __future__ import annotations

import csv
import filecmp
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

KINDS = (
    (r"/(csv|tensorboard)/", "log"),
    (r"\.wav$", "audio"),
    (r"\.(safetensors|ckpt)$", "weights"),
    (r"/text_spk\d+$|\.sqlite$|^said/", "transcripts"),
    (r"^results/|/measures\.jsonl$", "scores"),
)


def files_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}


def folders_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_dir()}


def differences(whole: Path, run: Path, makes: Sequence[str]) -> tuple[Counter[str], list[str]]:
    """How many files of each kind a stage has made as before; and what differs, anywhere.

    Args:
        whole: what the folder held after the undisturbed run.
        run: the folder.
        makes: what the stage makes in it. All else must be as it was, byte for byte.
    """
    filecmp.clear_cache()
    equal: Counter[str] = Counter()
    wrong = []
    before, now = files_below(whole), files_below(run)
    for name in sorted(before | now):
        mine = any(f"{name}/".startswith(f"{made}/") for made in makes)
        kind = next((kind for part, kind in KINDS if re.search(part, name)), "other")
        if kind == "log" and mine:
            continue
        if name not in now:
            wrong.append(f"{name}: missing")
        elif name not in before:
            wrong.append(f"{name}: left over")
        elif filecmp.cmp(whole / name, run / name, shallow=False) or (
            mine and same_content(whole / name, run / name)
        ):
            equal[kind if mine else "untouched"] += 1
        else:
            wrong.append(f"{name}: {kind} differs")
    wrong += [
        f"csv of {made}: {line}" for made in makes for line in other_lines(whole / made, run / made)
    ]
    now, before = folders_below(run), folders_below(whole)
    wrong += [f"{name}/: left over" for name in sorted(now - before) if "/csv/" not in name]
    return equal, wrong


def same_content(whole: Path, found: Path) -> bool:
    """Whether files whose bytes differ say the same; see the top."""
    if whole.suffix == ".wav":
        (a, fs), (b, other) = (soundfile.read(p, dtype="float64") for p in (whole, found))
        formats = {soundfile.info(p).subtype for p in (whole, found)}
        return fs == other and len(formats) == 1 and np.array_equal(a, b)
    if whole.suffix == ".ckpt":
        return same_checkpoint(whole, found)
    if whole.suffix == ".jsonl":
        a, b = (sorted(p.read_text().splitlines()) for p in (whole, found))
        return a == b
    if whole.suffix == ".sqlite":
        return rows_of(whole) == rows_of(found)
    if whole.name == "results.json":
        return undated(json.loads(whole.read_text())) == undated(json.loads(found.read_text()))
    if whole.name == "RESULTS.md":
        stamp = r"\d{4}-\d\d-\d\d|\b[0-9a-f]{12}\b\+?"
        a, b = (re.sub(stamp, "", p.read_text()) for p in (whole, found))
        return a == b
    return False


def undated(results: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in results.items() if key not in ("date", "commit")}


def rows_of(database: Path) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return sorted(connection.execute("SELECT * FROM transcripts"))
    finally:
        connection.close()


def same_checkpoint(whole: Path, found: Path) -> bool:
    import torch

    a, b = (torch.load(p, map_location="cpu", weights_only=True) for p in (whole, found))
    for one in (a, b):
        one.pop("loops"), one.pop("callbacks", None)
    return same_value(a, b)


def same_value(a: Any, b: Any) -> bool:
    """Equal to the last bit, tensors included."""
    if isinstance(a, dict):
        return (
            isinstance(b, dict) and a.keys() == b.keys() and all(same_value(a[k], b[k]) for k in a)
        )
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_value, a, b))
    if hasattr(a, "dtype"):
        return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    return bool(a == b)


def logged(folder: Path) -> dict[tuple[str, str], set[str]]:
    """Values by step and name, of all starts of a training."""
    values: dict[tuple[str, str], set[str]] = {}
    for table in folder.glob("csv/*/metrics.csv"):
        with table.open(newline="") as stream:
            for row in csv.DictReader(stream):
                for name, value in row.items():
                    if value:
                        values.setdefault((row["step"], name), set()).add(value)
    return values


def other_lines(whole: Path, run: Path) -> Iterator[str]:
    """What a training has logged that the undisturbed one has not."""
    before = logged(whole)
    for (step, name), values in logged(run).items():
        if values != before.get((step, name)):
            yield f"{name} of step {step} is {values}, was {before.get((step, name))}"
