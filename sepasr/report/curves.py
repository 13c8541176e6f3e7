"""What trainings have logged: a curve for every quantity, from CSV or from TensorBoard's files."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sepasr.errors import UserError
from sepasr.files import OLD
from sepasr.score.result import Results
from sepasr.train.workdir import CONFIG, ORIGIN, read_origin

CSV_FOLDER, TENSORBOARD_FOLDER = "csv", "tensorboard"
"""Where :func:`sepasr.train.fit.fit` logs to, below a training's folder."""
RESTART = "from_step_"
NOT_CURVES = ("epoch", "step", "hp_metric")


@dataclass(frozen=True)
class Curve:
    """A quantity over the steps of one training.

    Attributes:
        training: its folder below ``exp/finetune``, such as ``sisdr/seed1``.
        tag: what was logged, such as ``valid/loss``.
        steps: optimiser steps, rising.
        values: as many, in the unit of what was logged.
    """

    training: str
    tag: str
    steps: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def system(self) -> str:
        """The training's system, without its seed."""
        return self.training.partition("/")[0]

    @property
    def seed(self) -> int | None:
        """Its seed; None where the folder names none."""
        number = self.training.partition("/")[2].removeprefix("seed")
        return int(number) if number.isdecimal() else None


def of_results(curves: Sequence[Curve], results: Results) -> tuple[list[Curve], list[str]]:
    """The curves of the systems and seeds that results have.

    Returns:
        These curves, and the trainings of the others.
    """
    seeds = {line.name: line.seeds for line in results.lines}

    def belongs(curve: Curve) -> bool:
        if curve.system not in seeds:
            return False
        of_system = seeds[curve.system]
        # Where the folder or the results name no seed, there is but one.
        return curve.seed is None or not of_system or curve.seed in of_system

    mine = [curve for curve in curves if belongs(curve)]
    shown = {c.training for c in mine}
    return mine, sorted({c.training for c in curves} - shown)


def origin(exp: str | Path, curves: Collection[Curve]) -> str:
    """Where curves come from, in a line: commits, digest of settings, seeds, dev set.

    Args:
        exp: folder of experiments.
        curves: of trainings in folders below its ``finetune``.

    Raises:
        UserError: an ``origin.json`` is broken.
    """
    trainings = sorted({curve.training for curve in curves})
    folders = [Path(exp) / "finetune" / name for name in trainings]
    digest, settings = hashlib.sha256(), [f / CONFIG for f in folders if (f / CONFIG).is_file()]
    for file in settings:
        digest.update(file.read_bytes())
    found = [read_origin(folder / ORIGIN) for folder in folders]
    commits = dict.fromkeys(commit for one in found for commit in one["commits"])
    sets = dict.fromkeys(_set_in_words(one["valid"]) for one in found if one["valid"])
    seeds = sorted({curve.seed for curve in curves if curve.seed is not None})
    whole = bool(folders) and len(settings) == len(folders)  # that of some would pass for all's
    parts = {
        "commit": ", ".join(commits),
        "configuration": digest.hexdigest()[:12] if whole else "",
        "seeds": ", ".join(map(str, seeds)),
        "dev set": "; ".join(sets),
    }
    return " · ".join(["trainings", *(f"{k} {text or 'not stated'}" for k, text in parts.items())])


def _set_in_words(valid: Mapping[str, Any]) -> str:
    condition = f" ({valid['condition']})" if valid.get("condition") else ""
    corpus = f"{valid.get('corpus') or 'corpus not stated'}{condition}"
    return f"{valid.get('set', '')}, {valid.get('mixtures', '?')} mixtures of {corpus}"


def read_curves(exp: str | Path) -> list[Curve]:
    """All curves below ``exp/finetune``, by tag and training.

    Of a training that was broken off and went on, what was logged twice counts once, as it was
    logged last. A training that has made room for another is left out.

    Raises:
        UserError: there is no such folder, or a file can't be read.
    """
    if not Path(exp).is_dir():
        raise UserError("no such folder", where=exp, remedy="name the EXP of the run")
    root = Path(exp) / "finetune"
    places = {p.parent for name in (CSV_FOLDER, TENSORBOARD_FOLDER) for p in root.rglob(name)}
    places = {place for place in places if OLD not in place.relative_to(root).as_posix()}
    curves = []
    for place in sorted(places):
        points = _from_csv(place / CSV_FOLDER) or _from_tensorboard(place / TENSORBOARD_FOLDER)
        for tag, values in points.items():
            steps = tuple(sorted(values))
            training = place.relative_to(root).as_posix()
            curves.append(Curve(training, tag, steps, tuple(values[step] for step in steps)))
    return sorted(curves, key=lambda curve: (curve.tag, curve.training))


Points = dict[str, dict[int, float]]


def _from_csv(folder: Path) -> Points:
    """Values by tag and step of all (re)starts."""
    points: Points = {}
    for start, file in sorted(_starts(folder)):
        for values in points.values():
            for step in [step for step in values if step >= start]:
                del values[step]
        for tag, step, value in _cells(file):
            points.setdefault(tag, {})[step] = value
    return {tag: values for tag, values in points.items() if values}


def _starts(folder: Path) -> Iterator[tuple[int, Path]]:
    for file in folder.glob(f"{RESTART}*/metrics.csv"):
        number = file.parent.name.removeprefix(RESTART)
        if number.isdecimal():
            yield int(number), file


def _cells(file: Path) -> Iterator[tuple[str, int, float]]:
    with open(file, newline="", encoding="utf-8") as stream:
        for line, row in enumerate(csv.DictReader(stream), 2):
            try:
                step = int(row["step"])
                cells = [(tag, float(text)) for tag, text in row.items() if text]
            except (KeyError, TypeError, ValueError) as error:
                what = f"not a line of metrics: {error}"
                raise UserError(what, where=file, line=line, remedy="remove the file") from None
            for tag, value in cells:
                if tag not in NOT_CURVES and math.isfinite(value):
                    yield tag, step, value


def _from_tensorboard(folder: Path) -> Points:
    if not any(folder.glob("events.out.tfevents.*")):
        return {}
    # Imported late: it takes seconds, and is only needed where there is no CSV.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    log.Reload()
    return {
        tag: {event.step: event.value for event in log.Scalars(tag) if math.isfinite(event.value)}
        for tag in log.Tags()["scalars"]
        if tag not in NOT_CURVES
    }
