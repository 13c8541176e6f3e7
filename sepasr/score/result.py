"""The results of a run, as tables and pages show them, kept as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from sepasr.errors import UserError
from sepasr.files import write_text
from sepasr.score.statistics import Interval
from sepasr.separator.config import SEVERAL

MIXTURE, CLEAN = "mixture", "clean"
"""The systems that are not systems: nothing is separated, and the references themselves."""
MEASURES = ("si_sdr", "si_sdri", "pesq", "stoi", "estoi", "srmr")


@dataclass(frozen=True)
class SystemInfo:
    """A trained separator with one seed, or one of the rows ``mixture`` and ``clean``.

    Attributes:
        name: the row of the table; seeds of one system share it.
        folder: its folder below ``exp/separate`` and ``exp/decode``.
        encoder: the encoder of its last loss, or several, joined by ``SEVERAL``; None without one.
        encoder_family: the kinds of model, as a recogniser's, of the encoders of all its trainings,
            joined likewise; None where none had an encoder.
        encoder_weights: identities of their weights, as a recogniser's, likewise.
        seed: of its last training; None where the folder names none, as that of a starting point.
        steps: optimiser steps of its last training; None where nothing was trained.
        lr: its peak learning rate; None where nothing was trained, or that is not stated.
    """

    name: str
    folder: str
    encoder: str | None = None
    encoder_family: str | None = None
    encoder_weights: str | None = None
    seed: int | None = None
    steps: int | None = None
    lr: float | None = None


@dataclass(frozen=True)
class RecogniserInfo:
    """A recogniser: its name, the kind of model and the identity of its weights."""

    name: str
    family: str
    weights: str


def relation(system: SystemInfo, recogniser: RecogniserInfo) -> str | None:
    """How a recogniser stands to the losses a system was trained with, from its first training on.

    Returns:
        ``seen`` if one of them used the recogniser's weights, ``kin`` if another model of its
        family, else ``unseen``; None if none used an encoder.
    """
    if system.encoder_weights is None:
        return None
    weights, families = (
        (joined or "").split(SEVERAL) for joined in (system.encoder_weights, system.encoder_family)
    )
    return nearest_relation(weights, families, recogniser)


def nearest_relation(
    weights: Collection[str], families: Collection[str], recogniser: RecogniserInfo
) -> str:
    """How a recogniser stands to encoders of these weights and families: to the nearest one."""
    if recogniser.weights in weights:
        return "seen"
    return "kin" if recogniser.family in families else "unseen"


@dataclass(frozen=True)
class WordErrors:
    """Word error rates of a system read by one recogniser, as fractions.

    Attributes:
        cpwer: concatenated minimum-permutation word error rate.
        orcwer: optimal-reference-combination word error rate.
        guard_hits: streams in which the guard against hallucination was hit.
        streams: streams that were recognised.
        relation: see :func:`relation`.
    """

    cpwer: Interval
    orcwer: Interval
    guard_hits: int
    streams: int
    relation: str | None


@dataclass(frozen=True)
class SystemResult:
    """A system's figures over all mixtures, for one seed or averaged over its seeds.

    Attributes:
        name: as in :class:`SystemInfo`, and so are encoder, seed, steps and lr.
        seed: None for the average over several seeds too, which differs from a system without one
            by its ``seeds``.
        seeds: the seeds that the figures are averaged over; empty for a system without.
        si_sdr: dB; the other measures as in :class:`sepasr.score.measures.Measures`.
        wer: word error rates by recogniser.
    """

    name: str
    encoder: str | None
    seed: int | None
    seeds: tuple[int, ...]
    steps: int | None
    si_sdr: Interval
    si_sdri: Interval
    pesq: Interval
    stoi: Interval
    estoi: Interval
    srmr: Interval
    wer: Mapping[str, WordErrors]
    lr: float | None = None


@dataclass(frozen=True)
class Gain:
    """1 - WER / WER of the other, as a fraction, with 95 % interval and paired p-value."""

    relative_gain: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Comparison(Gain):
    """The relative gain in cpWER of a system over another, both averaged over their seeds.

    Attributes:
        orcwer: the gain in ORC-WER.
        primary: whether the comparison was named as primary before the run.
    """

    system: str
    against: str
    recogniser: str
    relation: str | None
    orcwer: Gain
    primary: bool


@dataclass(frozen=True)
class MeasureDifference:
    """A mean paired difference of a signal measure, in the measure's unit."""

    system: str
    against: str
    measure: str
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Run:
    """Where results come from.

    Attributes:
        recipe: name of the recipe.
        commit: of the repository.
        config_sha: digest of the configuration.
        date: of scoring, ISO 8601.
        seeds: of the fine-tuned systems.
        fs: sampling rate in Hz.
        cut: ``max`` or ``min``.
        reference: ``anechoic`` or ``reverb``.
        mixtures: number of test mixtures.
        speakers: in each of them.
        notes: sentences that belong below every table, such as on the voices of the test set.
        corpus: name of the test set's corpus; None where it is not stated.
        condition: what its mixtures hold, such as ``mix_both_reverb``; None likewise.
        versions: by package, Python among them, of the software that has scored; empty where it is
            not stated.
    """

    recipe: str
    commit: str
    config_sha: str
    date: str
    seeds: tuple[int, ...]
    fs: int
    cut: str | None
    reference: str | None
    mixtures: int
    speakers: int
    notes: tuple[str, ...] = ()
    corpus: str | None = None
    condition: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """All that tables, figures and pages show.

    Attributes:
        run: where the results come from.
        systems: in the table's order; the first of a name is the one over all its seeds.
        control: the system that the others are compared with; None if there is none.
        comparisons: of systems with an encoder in their loss, against the control.
        other_comparisons: of systems without, against the control.
        measure_differences: of both kinds, against the control.
    """

    run: Run
    control: str | None
    recognisers: tuple[RecogniserInfo, ...]
    systems: tuple[SystemResult, ...]
    comparisons: tuple[Comparison, ...]
    other_comparisons: tuple[Comparison, ...]
    measure_differences: tuple[MeasureDifference, ...]

    @property
    def lines(self) -> tuple[SystemResult, ...]:
        """One entry per system, over all its seeds."""
        first = {system.name: system for system in reversed(self.systems)}
        return tuple(system for system in self.systems if system is first[system.name])

    def write(self, path: str | Path) -> None:
        """Write ``results.json``: the fields of ``run`` at the top, then the rest; NaN as null."""
        content = asdict(self)
        content = content.pop("run") | content
        text = json.dumps(_null_for_nan(content), indent=1, ensure_ascii=False, allow_nan=False)
        write_text(path, text + "\n")

    @classmethod
    def read(cls, path: str | Path) -> Results:
        """Read what :meth:`write` wrote; what an earlier version didn't write has its default.

        Raises:
            UserError: the file is missing or not such a file.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            known = [one.name for one in fields(Run) if one.name in content]
            run = {name: content.pop(name) for name in known}
            return _build(cls, {"run": run} | content)
        except FileNotFoundError:
            raise UserError("no such results", where=path, remedy="run the scoring stage") from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"not a results file: {error!r}", where=path) from None


_NO_DEFAULT = (MISSING, MISSING)


def _null_for_nan(content: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(content, dict):
        return {key: _null_for_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_null_for_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content


def _build(kind: Any, content: Any) -> Any:
    """An object of a type, of dataclasses, tuples and mappings, from the content of a JSON file."""
    if is_dataclass(kind):
        types = get_type_hints(kind)
        optional = {f.name for f in fields(kind) if (f.default, f.default_factory) != _NO_DEFAULT}
        # What has no default must be there.
        names = [name for name in types if name in content or name not in optional]
        return kind(**{name: _build(types[name], content[name]) for name in names})  # type: ignore[operator]
    if get_origin(kind) is tuple:
        return tuple(_build(get_args(kind)[0], item) for item in content)
    if get_origin(kind) is Mapping:
        return {key: _build(get_args(kind)[1], value) for key, value in content.items()}
    return math.nan if kind is float and content is None else content
