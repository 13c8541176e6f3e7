"""How often an embedding chooses another permutation than SI-SDR, by the kind of mixture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sepasr.config import load_config
from sepasr.data.datadir import Mixture, UtteranceDir
from sepasr.encoder.base import AsrEncoder, EncoderConfig, load_encoder
from sepasr.score.log import ValueLog
from sepasr.score.rows import write_rows
from sepasr.score.statistics import DRAWS, Resampling, mean
from sepasr.study.correlation import stack
from sepasr.study.digest import encoder_content

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
        low: lower end of the interval, by a bootstrap over mixtures.
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


def compare_permutations(
    runner: Runner, encoders: Sequence[str], draws: int = DRAWS
) -> list[PermutationRow]:
    """Write ``NAME_choices.csv`` and ``NAME_permutations.csv`` for the screen of a study.

    Args:
        runner: of the study, which has run.
        encoders: ``conf/encoder/NAME.yaml``.
        draws: of the bootstrap.

    Raises:
        UserError: an encoder can't be had, or audio of a variant is missing.
    """
    choices = [choice for name in encoders for choice in _choices(runner, name)]
    table = permutation_table(choices, draws)
    out = runner.place.out
    write_rows(out / f"{runner.name}_choices.csv", ChoiceRow, choices)  # type: ignore[type-var]
    path = out / f"{runner.name}_permutations.csv"
    write_rows(path, PermutationRow, table)  # type: ignore[type-var]
    return table


def permutation_table(choices: Sequence[ChoiceRow], draws: int = DRAWS) -> list[PermutationRow]:
    """The shares of each variant, over all mixtures and by the speakers' genders."""
    table = []
    places: dict[tuple, list[ChoiceRow]] = {}
    for choice in choices:
        place = (choice.variant, choice.steps, choice.seed, choice.set, choice.encoder)
        places.setdefault(place, []).append(choice)
    for place, mine in places.items():
        for kind in (ALL, *sorted({choice.kind for choice in mine} - {ALL})):
            values = np.array([float(c.differs) for c in mine if kind in (ALL, c.kind)])
            found = Resampling(len(values), draws).interval(mean(values))
            share = (found.value, found.low, found.high)
            table.append(PermutationRow(*place, kind, len(values), *share))
    return table


def _choices(runner: Runner, name: str) -> Iterator[ChoiceRow]:
    """Of every separator of the screen; kept, so that nothing is compared twice."""
    log = ValueLog(runner.place.exp / "study" / "measures.jsonl")
    first, *rest = runner.place.layers(f"encoder/{name}")
    content = encoder_content(load_config(EncoderConfig, [first, *rest]))
    encoder = cache(lambda: load_encoder(first, deltas=rest))
    for point in runner.screen.points:
        evaluation = runner.evaluation(runner.screen, point.variant)
        subject, data = runner.subject(point), evaluation.data
        if subject.model is None:
            continue
        streams = evaluation.streams(subject)
        kinds = _kinds(data.mixtures, data.path.with_name(f"{data.path.name}_utterances"))
        for mixture, kind in zip(data.mixtures, kinds, strict=True):
            key = f"permutation {evaluation.root.name}/{subject.key}/{mixture.id}/{content}"
            if key not in log.known:
                files = streams[mixture.id]
                log.add(key, [permutations_differ(encoder(), mixture, files, data.info.fs)])
            yield ChoiceRow(
                point.variant.name,
                point.steps,
                point.seed,
                data.path.name,
                name,
                mixture.id,
                kind,
                int(log.known[key][0]),
            )


def _kinds(mixtures: Sequence[Mixture], utterances: Path) -> list[str]:
    """Genders of each mixture's speakers, sorted; ``all`` where they aren't known."""
    genders = UtteranceDir.load(utterances).genders if utterances.is_dir() else {}
    known = all(speaker in genders for mixture in mixtures for speaker in mixture.speakers)
    if not known:
        return [ALL] * len(mixtures)
    return ["+".join(sorted(genders[s] for s in mixture.speakers)) for mixture in mixtures]
