"""From figures of pages to rows: what a study with variants leaves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sepasr.errors import UserError
from sepasr.report.figure_rows import compares, like, numbered, records_of, shown, there
from sepasr.report.figures import Cell, Record, RowAt, Source, Table
from sepasr.report.marks import Mark
from sepasr.score.multiple import benjamini_hochberg, holm
from sepasr.score.result import RecogniserInfo
from sepasr.study.facts import EncoderInfo, Facts
from sepasr.study.rows import FAMILY_MEAN, StudyResult, StudyRow
from sepasr.study.summary import summarise_study


def left(path: Path, study: str) -> Path:
    """A file that a study leaves.

    Raises:
        UserError: it is not there.
    """
    return there(path, f"./run.sh --stage 6 --study {study}")


class OfStudy(Source):
    """What the tables of a study with variants share: its record and its rows."""

    def __init__(self, name: str, out: Path, study: str) -> None:
        self.name, self.out, self.study = name, out, study
        self._paths = {
            ending: left(out / f"{study}{ending}", study) for ending in ("_utterances.csv", ".json")
        }
        path = self._paths[".json"]
        try:
            self.record = json.loads(path.read_text(encoding="utf-8"))
            stated = {k: self.record[k] for k in ("question", "commit", "date", "command")}
        except (ValueError, KeyError) as error:
            raise UserError(f"no record of a study: {error!r}", where=shown(path)) from None
        self.stated = Record(shown(path), stated)

    @cached_property
    def kept(self) -> list[RowAt]:
        """All rows of the study."""
        return numbered(self._paths["_utterances.csv"], StudyRow)

    @cached_property
    def facts(self) -> Facts:
        """What the rows don't say, from ``NAME.json``."""
        variants, control = self.record["variants"], self.record["control"]
        return Facts(
            study=self.study,
            order=tuple(variants),
            against={name: v["against"] or control for name, v in variants.items()},
            encoders={
                name: tuple(EncoderInfo(**encoder) for encoder in v["encoders"])
                for name, v in variants.items()
            },
            recognisers=tuple(RecogniserInfo(**info) for info in self.record["recognisers"]),
        )

    def provenance(self, records: Sequence[Record]) -> str:
        """Where a table of these records comes from, in one line."""
        names = {(r.fields["variant"], r.fields["set"]) for r in records}
        rows = [at.row for at in self.kept if (at.row.variant, at.row.set) in names]
        seeds = sorted({row.seed for row in rows if row.seed is not None})
        sets = list(dict.fromkeys(row.set for row in rows))
        mixtures = [f"{self.record['sets'][name]['mixtures']} of {name}" for name in sets]
        commits = [f"commit {self.record['commit']}"]
        for key, what in (("trained_at", "trained"), ("read_at", "read")):
            if self.record.get(key):  # the first versions didn't keep it
                commits.append(f"{what} at commit {', '.join(self.record[key])}")
        return (
            f"`{shown(self.out)}/{self.study}.csv`: {' · '.join(commits)} · seeds "
            f"{', '.join(map(str, seeds)) or 'none'} · mixtures: {', '.join(mixtures)}"
        )


class Study(OfStudy):
    """A study's variants, after their steps, as every recogniser reads them."""

    keys = ("variant", "steps", "seed", "set", "recogniser")

    def __init__(self, name: str, out: Path) -> None:
        super().__init__(name, out, name)
        self.records = records_of(out / f"{name}.csv", StudyResult)
        self._again = cache(self._summarise)

    def rows(self, record: Record, columns: Sequence[str]) -> list[RowAt]:
        """Of the variant, and for a gain of its control: of all seeds that are averaged."""
        cells = record.fields
        wanted = [(cells["variant"], cells["steps"]), (cells["against"], cells["against_steps"])]
        return [
            at
            for number, place in enumerate(wanted[: 1 + compares(columns)])
            for at in self.kept
            if (at.row.variant, at.row.steps) == place
            and at.row.set == cells["set"]
            and cells["recogniser"] in (FAMILY_MEAN, at.row.recogniser)
            and (number or cells["seeds"] != 1 or at.row.seed == cells["seed"])
        ]

    def _summarise(self, name: str, *wanted: tuple[str, int | None]) -> list[StudyResult]:
        """Of a set, variants after their steps."""
        rows = [at.row for at in self.kept]
        mine = [r for r in rows if r.set == name and (r.variant, r.steps) in wanted]
        return summarise_study(mine, self.facts)

    def recompute(self, record: Record) -> Record:
        """By :func:`sepasr.study.summary.summarise_study`, from the rows of this figure.

        The correction of its p-value takes the other ones of the set as ``NAME.csv`` has them.
        """
        cells = record.fields
        places = [(cells["variant"], cells["steps"]), (cells["against"], cells["against_steps"])]
        found = [
            result
            for result in self._again(cells["set"], *places)
            if all(getattr(result, key) == cells[key] for key in self.keys)
        ]
        if not found:
            remedy = "copy NAME.csv and NAME_utterances.csv of one run"
            raise UserError("no rows of that", where=record.place, remedy=remedy)
        together = [
            r
            for r in self.records
            if r.fields["set"] == cells["set"]
            and (r.fields["recogniser"] == FAMILY_MEAN) == (cells["recogniser"] == FAMILY_MEAN)
        ]
        p = np.array([found[0].p if r is record else r.fields["p"] for r in together])
        corrected: dict[str, Any] = {
            name: float(method(p)[together.index(record)])
            for name, method in (("p_holm", holm), ("p_bh", benjamini_hochberg))
        }
        return like(record, replace(found[0], **corrected))

    def table(self, mark: Mark) -> Table:
        """Word errors by recogniser, the gain over the control as the mean over families, SI-SDRi.

        p is that of the gain, corrected over all means over families of the set, shown or not.
        ``recogniser=`` chooses and orders the columns of word errors.
        """
        readers = mark.where.get("recogniser", ())
        self.check_fields(mark)
        wide = replace(mark, where={k: v for k, v in mark.where.items() if k != "recogniser"})
        records = self.select(wide)
        sets = list(dict.fromkeys(r.fields["set"] for r in records))
        if len(sets) > 1:
            raise mark.error(f"meets the sets {', '.join(sets)}", f"set={sets[0]}")
        means = {self._line(r): r for r in records if r.fields["recogniser"] == FAMILY_MEAN}
        single = [
            r
            for r in records
            if r.fields["recogniser"] != FAMILY_MEAN
            and (not readers or r.fields["recogniser"] in readers)
        ]
        if not single:
            raise mark.error("meets no recogniser")
        if mark.columns and mark.columns[0].partition(".")[0] != "cpwer":
            raise mark.error("asks for another column than cpwer", "leave it out")
        column = mark.columns[0] if mark.columns else "cpwer"
        lines = ("variant", "steps")
        table = self.pivot(mark, single, lines, "recogniser", column, _cpwer)
        controls = list(dict.fromkeys(filter(None, (r.fields["against"] for r in means.values()))))
        one = controls[0] if len(controls) == 1 else ""
        gain = f"gain over {one}" if one else "gain"
        table.header += [f"{gain}, mean over families (%)", "p (Holm)", "SI-SDRi (dB)"]
        for line in table.lines:
            mean = means[str(line[0]), str(line[1])]
            line += [Cell(mean, "gain"), Cell(mean, "p_holm"), Cell(mean, "si_sdri")]
            against, steps = (str(mean.fields[name] or "") for name in ("against", "against_steps"))
            others = ("" if one else against, f"{steps} steps" if steps != str(line[1]) else "")
            if against and any(others):
                line[0] = f"{line[0]}, against {', '.join(filter(None, others))}"
        table.note = f"{self.provenance(records)} · {self._corrected(sets[0])}"
        return table

    def _corrected(self, name: str) -> str:
        """Over how many comparisons the p-values of a set's means over families are corrected."""
        of_set = [r.fields for r in self.records if r.fields["set"] == name]
        p = [fields["p"] for fields in of_set if fields["recogniser"] == FAMILY_MEAN]
        count = sum(x == x for x in p)
        return f"p (Holm) over {count} comparison{'s' * (count != 1)} of {name}"

    @staticmethod
    def _line(record: Record) -> tuple[str, str]:
        return str(record.fields["variant"]), str(record.fields["steps"])


def _cpwer(record: Record) -> str:
    return f"cpWER (%) {record.fields['recogniser']}"
