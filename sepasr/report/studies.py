"""Figures of studies, as CSV: what a study's variants came to, one figure a line.

The first line names the columns, in any order; ``variant`` and ``value`` must be there, the others
may be missing or empty, and columns of other names are not looked at:

==========  ====================================================================================
study       name of the study; the file's own without it
variant     what was varied, as a reader should see it
measure     what the value is, such as ``cpWER``; one plot shows one measure
value       the figure
low, high   bounds of its interval
unit        of value, low and high, such as ``%`` or ``dB``
x           place on a numeric axis, such as a step or an SNR: the variant is a line over it
x_label     name and unit of that axis; one plot shows one axis
bin         number of a group along that axis, of which several may have one place
seed        of training; empty for a figure over several seeds
set         what it was measured on, such as ``dev`` or ``test``; one plot shows one set
mixtures    how many of the set it is over
recogniser  who read; empty where nobody did
family      the recogniser's
relation    seen, kin or unseen
==========  ====================================================================================

The tables that :mod:`sepasr.study` writes are read as well (:mod:`sepasr.report.study_tables`).
Beside ``NAME.csv`` may lie ``NAME.json``, a study's record of what it came from.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sepasr.errors import UserError
from sepasr.report.study_tables import read_cells

COUNTS = {"seed", "mixtures", "bin"}
NUMBERS = {"low", "high", "x"}


@dataclass(frozen=True)
class StudyRow:
    """One figure of a study; see the module for the fields. Numbers that are missing are NaN."""

    study: str
    variant: str
    value: float
    low: float = math.nan
    high: float = math.nan
    measure: str = ""
    unit: str = ""
    x: float = math.nan
    x_label: str = ""
    seed: int | None = None
    set: str = ""
    recogniser: str = ""
    family: str = ""
    relation: str = ""
    mixtures: int | None = None
    bin: int | None = None


@dataclass(frozen=True)
class Record:
    """What a study came from; what is not known is empty.

    Attributes:
        study: its name.
        question: what was asked.
        plot: ``steps`` where the number of steps is the axis of the plot; ``gains`` or ``lines``
            where variants are rows.
        commit: of the repository.
        config: digest of all variants' settings.
        date: ISO 8601.
        command: that ran the study.
        versions: of the software.
        trained_at: commits at which the trainings were made.
        read_at: commits at which their streams were read.
        sets: by set its corpus, rate, cut and references, in words.
    """

    study: str = ""
    question: str = ""
    plot: str = ""
    commit: str = ""
    config: str = ""
    date: str = ""
    command: str = ""
    versions: str = ""
    trained_at: str = ""
    read_at: str = ""
    sets: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, table: Path) -> Record:
        """The record beside a table: of ``NAME_more.csv`` too it is ``NAME.json``.

        Raises:
            UserError: it is not JSON.
        """
        names = [table.stem, table.stem.rpartition("_")[0]]
        places = [table.with_name(f"{name}.json") for name in names if name]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            return cls()
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise UserError(
                f"not JSON: {error}", where=path, remedy="run the study again"
            ) from None
        texts: dict[str, Any] = {
            f.name: str(content[f.name])
            for f in fields(cls)
            if f.name not in ("trained_at", "read_at", "sets") and content.get(f.name)
        }
        for name in ("trained_at", "read_at"):
            texts[name] = ", ".join(content.get(name) or ())
        texts["sets"] = {name: _in_words(known) for name, known in content.get("sets", {}).items()}
        if content.get("variants"):
            settings = json.dumps(content["variants"], sort_keys=True)
            texts["config"] = hashlib.sha256(settings.encode()).hexdigest()[:12]
        if content.get("versions"):
            versions = dict(content["versions"])
            texts["versions"] = " · ".join(f"{name} {text}" for name, text in versions.items())
        return cls(**texts)


def _in_words(known: Mapping[str, Any]) -> str:
    """Corpus, rate, cut and references of a set; empty where the record doesn't have them."""
    if not known.get("corpus"):
        return ""
    condition = f" ({known['condition']})" if known.get("condition") else ""
    cut, reference = known.get("cut") or "uncut", known.get("reference") or "unnamed"
    return f"{known['corpus']}{condition}, {known['fs']} Hz, {cut}, {reference} references"


@dataclass(frozen=True)
class Panel:
    """The rows that one plot shows: one study, measure, unit, set and axis.

    Attributes:
        seeds: of all trainings of that study and set. A figure over several seeds doesn't name
            them, but those of each seed do, which other panels may show.
    """

    study: str
    measure: str
    unit: str
    set: str
    x_label: str
    rows: tuple[StudyRow, ...]
    record: Record = field(default_factory=Record)
    seeds: tuple[int, ...] = ()

    @property
    def over_x(self) -> bool:
        """Whether variants are lines over a numeric axis."""
        return all(math.isfinite(row.x) for row in self.rows)

    @property
    def source(self) -> str:
        """Where the rows come from: commit, configuration, seeds, set, mixtures, corpus and so on.

        Of figures over unlike numbers of mixtures it is the least and the largest number.
        """
        mixtures = sorted({row.mixtures for row in self.rows if row.mixtures is not None})
        span = dict.fromkeys(map(str, [*mixtures[:1], *mixtures[-1:]]))
        parts = {
            "commit": self.record.commit,
            "configuration": self.record.config,
            "seeds": ", ".join(map(str, self.seeds)),
            "set": self.set,
            "mixtures": " to ".join(span),
        }
        lines = [f"{name} {text or 'not named'}" for name, text in parts.items()]
        # Records of an earlier version don't have these.
        later = {
            "corpus": self.record.sets.get(self.set, ""),
            "trained at commit": self.record.trained_at,
            "read at commit": self.record.read_at,
        }
        lines += [f"{name} {text or 'not stated'}" for name, text in later.items()]
        more = [self.record.date, self.record.command, self.record.versions]
        return " · ".join([f"study {self.study}", *lines, *filter(None, more)])


def read_studies(folder: str | Path) -> list[Panel]:
    """The panels of every study's table in a folder, by file name, then in the order of the lines.

    Raises:
        UserError: there is no such folder, or a line can't be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError("no such folder", where=folder, remedy="run a study first")
    return [
        panel
        for file in sorted(folder.glob("*.csv"))
        for panel in panels(read_study(file), Record.read(file))
    ]


def panels(rows: Iterable[StudyRow], record: Record) -> list[Panel]:
    """Rows of a study, gathered into what one plot each shows."""
    groups: dict[tuple[str, str, str, str, str], list[StudyRow]] = {}
    seeds: dict[tuple[str, str], set[int]] = defaultdict(set)
    for row in rows:
        key = (row.study, row.measure, row.unit, row.set, row.x_label)
        groups.setdefault(key, []).append(row)
        if row.seed is not None:
            seeds[row.study, row.set].add(row.seed)
    return [
        Panel(*key, tuple(group), record, tuple(sorted(seeds[key[0], key[3]])))
        for key, group in groups.items()
    ]


def read_study(file: str | Path) -> list[StudyRow]:
    """The rows of one file; those without a value are left out.

    A table of something else, such as the rows per mixture that may lie beside the studies, has no
    rows.

    Raises:
        UserError: a cell is not a number where one belongs, or a figure is there twice.
    """
    file = Path(file)
    with open(file, newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        header = set(reader.fieldnames or ())
        lines = list(enumerate(reader, 2))
    steps = Record.read(file).plot == "steps"
    rows: dict[tuple[object, ...], StudyRow] = {}
    for number, cells in lines:
        try:
            found = read_cells(header, {k: v.strip() for k, v in cells.items() if k and v}, steps)
            for texts in found:
                row = _row({"study": file.stem, **texts})
                _add(rows, row)
        except (ValueError, KeyError) as error:
            remedy = "run the study again"
            raise UserError(f"{error}", where=file, line=number, remedy=remedy) from None
    return list(rows.values())


def _add(rows: dict[tuple[object, ...], StudyRow], row: StudyRow) -> None:
    if math.isnan(row.value):
        return
    place = None if math.isnan(row.x) else (row.x, row.x_label, row.bin)
    key = (row.study, row.measure, row.set, row.variant, row.recogniser, row.seed, place)
    if key in rows:
        what = f"a second figure of '{row.variant}' of the same measure, set and recogniser"
        raise ValueError(what)
    rows[key] = row


def _row(cells: Mapping[str, str]) -> StudyRow:
    known = {field.name for field in fields(StudyRow)}
    texts = {name: text for name, text in cells.items() if name in known and text}
    value = float(texts.pop("value", "nan"))
    counts = {name: int(texts.pop(name)) for name in COUNTS & texts.keys()}
    numbers = {name: float(texts.pop(name)) for name in NUMBERS & texts.keys()}
    texts.setdefault("variant", "")
    return StudyRow(value=value, **texts, **counts, **numbers)  # type: ignore[arg-type]
