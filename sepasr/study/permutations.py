"""How often an embedding chooses another permutation than SI-SDR, by the kind of mixture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import binomtest

from sepasr.data.datadir import Mixture, MixtureDir, UtteranceDir
from sepasr.encoder.base import AsrEncoder, build_encoder
from sepasr.score.rows import write_rows
from sepasr.study.digest import encoder_content
from sepasr.study.meters import stack, values_of
from sepasr.study.training import encoder_settings

if TYPE_CHECKING:
    from sepasr.study.runner import Runner

ALL = "all"


@dataclass(frozen=True)
class ChoiceRow:
    """Whether the two permutations of a mixture's streams differ.

    Attributes:
        variant: with steps, seed and set as in :class:`sepasr.study.rows.StudyRow`.
        encoder: whose distance chooses.
        mixture: its id.
        kind: genders of the speakers, such as ``f+m``; ``all`` where they aren't known.
        differs: 1 if they do, else 0.
    """

    variant: str
    steps: int
    seed: int | None
    set: str
    encoder: str
    mixture: str
    kind: str
    differs: int


@dataclass(frozen=True)
class PermutationRow:
    """The share of mixtures on which the two permutations differ, with its 95 % interval.

    Attributes:
        variant: with steps, seed, set and encoder as in :class:`ChoiceRow`.
        kind: likewise, or ``all``.
        mixtures: of that kind.
        differ: the share.
        low: lower end of the interval, Clopper and Pearson's.
        high: upper end.
    """

    variant: str
    steps: int
    seed: int | None
    set: str
    encoder: str
    kind: str
    mixtures: int
    differ: float
    low: float
    high: float


def permutations_differ(
    encoder: AsrEncoder, mixture: Mixture, streams: Sequence[Path], fs: int
) -> bool:
    """Whether the encoder's distance and SI-SDR assign the streams otherwise."""
    from sepasr.loss.embedding import EmbeddingLoss

    estimates, references = stack(streams, fs), stack(mixture.references, fs)
    with torch.no_grad():
        loss = EmbeddingLoss(encoder, fs, guided=False)(estimates, references)
    return bool(loss.parts["permutations_differ"].any())


def compare_permutations(runner: Runner, encoders: Sequence[str]) -> list[PermutationRow]:
    """Write ``NAME_choices.csv`` and ``NAME_permutations.csv`` for the screen of a study.

    Args:
        runner: of the study, which has run.
        encoders: ``conf/encoder/NAME.yaml``.

    Raises:
        UserError: an encoder can't be had, or audio of a variant is missing.
    """
    choices = [choice for name in encoders for choice in _choices(runner, name)]
    table = permutation_table(choices)
    out = runner.place.out
    write_rows(out / f"{runner.name}_choices.csv", ChoiceRow, choices)  # type: ignore[type-var]
    path = out / f"{runner.name}_permutations.csv"
    write_rows(path, PermutationRow, table)  # type: ignore[type-var]
    return table


def permutation_table(choices: Sequence[ChoiceRow]) -> list[PermutationRow]:
    """The shares of each variant, over all mixtures and by the speakers' genders."""
    table = []
    places: dict[tuple, list[ChoiceRow]] = {}
    for choice in choices:
        place = (choice.variant, choice.steps, choice.seed, choice.set, choice.encoder)
        places.setdefault(place, []).append(choice)
    for place, mine in places.items():
        for kind in (ALL, *sorted({choice.kind for choice in mine} - {ALL})):
            values = np.array([float(c.differs) for c in mine if kind in (ALL, c.kind)])
            # Clopper and Pearson's interval, which has a width where all mixtures are alike, too.
            found = binomtest(int(values.sum()), len(values)).proportion_ci(0.95, "exact")
            share = (float(values.mean()), float(found.low), float(found.high))
            table.append(PermutationRow(*place, kind, len(values), *share))
    return table


def _choices(runner: Runner, name: str) -> Iterator[ChoiceRow]:
    """Of every separator of the screen."""
    conf = encoder_settings(runner.place, name, {})
    content = encoder_content(conf)
    encoder = cache(lambda: build_encoder(conf))

    def differ(*task: Any) -> float:
        return float(permutations_differ(encoder(), *task))

    kinds: dict[Path, dict[str, str]] = {}
    meters = {name: (f"permutation {content}", differ)}
    for point, data, _, mixture, value in values_of(runner, meters):
        if data.path not in kinds:
            kinds[data.path] = _kinds(data)
        place = (point.variant.name, point.steps, point.seed, data.path.name)
        yield ChoiceRow(*place, name, mixture.id, kinds[data.path][mixture.id], int(value))


def _kinds(data: MixtureDir) -> dict[str, str]:
    """Genders of each mixture's speakers, sorted; ``all`` where they aren't known."""
    utterances = data.path.with_name(f"{data.path.name}_utterances")
    genders = UtteranceDir.load(utterances).genders if utterances.is_dir() else {}
    if not all(speaker in genders for m in data.mixtures for speaker in m.speakers):
        return dict.fromkeys((m.id for m in data.mixtures), ALL)
    return {m.id: "+".join(sorted(genders[s] for s in m.speakers)) for m in data.mixtures}
