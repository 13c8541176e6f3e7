"""What is measured of separated streams for studies alone: DNSMOS, and an encoder's distance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from sepasr.data.audio import read_mono
from sepasr.data.datadir import Mixture, MixtureDir
from sepasr.encoder.base import AsrEncoder, build_encoder
from sepasr.errors import UserError
from sepasr.score.log import ValueLog
from sepasr.score.measures import is_silent
from sepasr.study.config import Probe
from sepasr.study.digest import encoder_content, override
from sepasr.study.training import encoder_settings

if TYPE_CHECKING:
    from sepasr.study.runner import Point, Runner

DNSMOS = "dnsmos"
DNSMOS_FS = 16_000

Meter = Callable[[Mixture, Sequence[Path], int], float]
"""Value of a mixture, from the files of its streams, at a sampling rate."""


def probe_name(probe: Probe) -> str:
    """What tables call a probe.

    >>> probe_name(Probe("whisper_tiny_en", {"layer": 2}))
    'whisper_tiny_en layer=2'
    """
    return " ".join([probe.encoder, *(override(k, v) for k, v in probe.set.items())])


def probe_meter(runner: Runner, probe: Probe) -> tuple[str, Meter]:
    """A key of what decides its values, and the meter of an encoder's distance."""
    conf = encoder_settings(runner.place, probe.encoder, probe.set)
    encoder = cache(lambda: build_encoder(conf))  # if it is needed
    return str(encoder_content(conf)), lambda *task: embedding_distance(encoder(), *task)


def embedding_distance(
    encoder: AsrEncoder, mixture: Mixture, streams: Sequence[Path], fs: int
) -> float:
    """The loss's distance of streams and references, under the permutation of SI-SDR."""
    from sepasr.loss.embedding import EmbeddingLoss

    references = stack(mixture.references, fs)
    with torch.no_grad():
        loss = EmbeddingLoss(encoder, fs)(stack(streams, fs), references)
    return float(loss.parts["embedding"])


def stack(files: Sequence[Path], fs: int) -> torch.Tensor:
    """Audio (1, speakers, samples)."""
    return torch.from_numpy(np.stack([read_mono(file, fs) for file in files]))[None]


def dnsmos_meter() -> Meter:
    """DNSMOS P.835, the overall score, as the package speechmos computes it.

    Raises:
        UserError: it isn't installed.
    """
    try:
        from speechmos import dnsmos
    except ImportError:
        remedy = "tools/install.sh --extras dnsmos, or leave dnsmos out of correlation.measures"
        raise UserError("DNSMOS needs the package speechmos", remedy=remedy) from None

    def value(mixture: Mixture, streams: Sequence[Path], fs: int) -> float:
        if fs != DNSMOS_FS:
            return float("nan")
        scores = []
        for file in streams:
            samples = read_mono(file, fs)
            if not is_silent(samples):
                samples = samples / max(1.0, np.abs(samples).max())  # it refuses what clips
                scores.append(dnsmos.run(samples, fs)["ovrl_mos"])
        return float(np.mean(scores)) if scores else float("nan")

    return value


def values_of(
    runner: Runner, meters: Mapping[str, tuple[str, Meter]]
) -> Iterator[tuple[Point, MixtureDir, str, Mixture, float]]:
    """Values of every separator of the screen; kept, so that nothing is measured twice.

    Args:
        runner: of a study that has run.
        meters: by name, a key of what decides the values, and what measures.

    Yields:
        Whose streams they are, the set, the name of the meter, the mixture, and the value.
    """
    log = ValueLog(runner.place.exp / "study" / "measures.jsonl")
    for point in tqdm(runner.screen.points, "measures", disable=not meters):
        evaluation, subject = runner.evaluation(runner.screen, point.variant), runner.subject(point)
        data = evaluation.data
        if subject.model is None:  # the mixture itself and the references
            continue
        streams = evaluation.streams(subject)
        for name, (key, meter) in meters.items():
            for mixture in data.mixtures:
                known = f"{evaluation.root.name}/{subject.key}/{mixture.id}/{key}"
                if known not in log.known:
                    value = meter(mixture, streams[mixture.id], data.info.fs)
                    log.add(known, [round(value, 6)])
                yield point, data, name, mixture, log.known[known][0]
