"""What trainings have logged: a curve for every quantity, from CSV or from TensorBoard's files."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sepasr.errors import UserError
from sepasr.files import OLD

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


def read_curves(exp: str | Path) -> list[Curve]:
    """All curves below ``exp/finetune``, by tag and training.

    Of a training that was broken off and went on, what was logged twice counts once, as it was
    logged last. A training that has made room for another is left out.

    Raises:
        UserError: a file can't be read.
    """
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
