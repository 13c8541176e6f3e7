"""How often an embedding chooses another permutation than SI-SDR, by the kind of mixture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sepasr.data.datadir import Mixture, UtteranceDir
from sepasr.data.scp import read_table
from sepasr.encoder.base import AsrEncoder, load_encoder
from sepasr.score.log import ValueLog
from sepasr.score.rows import write_rows
from sepasr.score.statistics import DRAWS, Resampling, mean
from sepasr.study.correlation import stack
from sepasr.study.digest import encoder_content

if TYPE_CHECKING:
    from sepasr.study.runner import Runner

ALL = "all"


@dataclass(frozen=True)
class PermutationRow:
    """The share of mixtures on which the two permutations differ, with its 95 % interval.

    Attributes:
        variant: with steps, seed and set as in :class:`sepasr.study.rows.StudyRow`.
        encoder: whose distance chooses.
        kind: genders of the speakers, such as ``f+m``, or ``all``.
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
    """Write ``NAME_permutations.csv`` for the screen of a study that has run.

    Args:
        runner: of the study.
        encoders: ``conf/encoder/NAME.yaml``.
        draws: of the bootstrap.

    Raises:
        UserError: an encoder can't be had, or audio of a variant is missing.
    """
    log = ValueLog(runner.place.exp / "study" / "measures.jsonl")
    table = []
    for name in encoders:
        first, *rest = runner.place.layers(f"encoder/{name}")
        encoder = load_encoder(first, deltas=rest)
        content = encoder_content(encoder.conf)
        for point in runner.screen.points:
            evaluation = runner.evaluation(runner.screen, point.variant)
            subject, data = runner.subject(point), evaluation.data
            if subject.model is None:
                continue
            folder = evaluation.separated(subject)
            tables = [
                read_table(folder / f"spk{s}.scp")
                for s in range(1, len(data.mixtures[0].references) + 1)
            ]
            values = []
            for mixture in data.mixtures:
                key = f"permutation {evaluation.root.name}/{subject.key}/{mixture.id}/{content}"
                if key not in log.known:
                    streams = [Path(files[mixture.id]) for files in tables]
                    log.add(key, [permutations_differ(encoder, mixture, streams, data.info.fs)])
                values.append(float(log.known[key][0]))
            kinds = _kinds(data.mixtures, data.path.with_name(f"{data.path.name}_utterances"))
            for kind in (ALL, *sorted(set(kinds) - {ALL})):
                mine = np.array([v for v, k in zip(values, kinds, strict=True) if kind in (ALL, k)])
                found = Resampling(len(mine), draws).interval(mean(mine))
                table.append(
                    PermutationRow(
                        point.variant.name,
                        point.steps,
                        point.seed,
                        data.path.name,
                        name,
                        kind,
                        len(mine),
                        found.value,
                        found.low,
                        found.high,
                    )
                )
    path = runner.place.out / f"{runner.name}_permutations.csv"
    write_rows(path, PermutationRow, table)  # type: ignore[type-var]
    return table


def _kinds(mixtures: Sequence[Mixture], utterances: Path) -> list[str]:
    """Genders of each mixture's speakers, sorted; ``all`` where they aren't known."""
    genders = UtteranceDir.load(utterances).genders if utterances.is_dir() else {}
    known = all(speaker in genders for mixture in mixtures for speaker in mixture.speakers)
    if not known:
        return [ALL] * len(mixtures)
    return ["+".join(sorted(genders[s] for s in mixture.speakers)) for mixture in mixtures]
