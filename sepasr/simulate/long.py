"""A set of long mixtures on disk, in which each speaker says several things."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sepasr.data.audio import write_audio
from sepasr.data.datadir import Info, Mixture, MixtureDir
from sepasr.data.dynamic import MixingConfig
from sepasr.data.long import LongMixture, LongMixtures
from sepasr.data.segments import SEGMENT_TEXT, SEGMENTS
from sepasr.errors import UserError
from sepasr.files import MADE_OF, claim
from sepasr.parallel import parallel_map


@dataclass(frozen=True)
class LongConfig(MixingConfig):
    """What long mixtures are drawn from, where nothing else is asked for."""

    utterances: int = 3


def write_long_mixtures(
    mixtures: LongMixtures,
    count: int,
    out: str | Path,
    audio: str | Path,
    *,
    corpus: str,
    made_of: dict[str, Any],
    jobs: int = 1,
    cluster: Path | None = None,
) -> MixtureDir:
    """Write the first mixtures, each as long as what is said in it, as a data directory.

    References and texts are by speaker: all of a speaker's utterances, in order. Each utterance by
    itself is in the tables of :mod:`sepasr.data.segments`. Files that are there are not written
    again.

    Args:
        mixtures: draws them.
        count: how many.
        out: the data directory.
        audio: folder of its audio; not in ``out``, which is replaced as a whole.
        corpus: name of the corpus, for the tables.
        made_of: what decides the audio besides the mixing, such as fingerprints.
        jobs: as for :func:`sepasr.parallel.parallel_map`.
        cluster: likewise.

    Raises:
        UserError: ``audio`` holds mixtures of something else, or is in ``out``.
    """
    out, audio = Path(out).absolute(), Path(audio).absolute()
    if audio.is_relative_to(out):
        raise UserError("the audio is in its data directory", where=audio, remedy="name another")
    _claim(audio, {**asdict(mixtures.config), "seed": mixtures.mixtures.seed, **made_of})
    rows = parallel_map(
        partial(_write, mixtures, audio),
        range(count),
        jobs=jobs,
        cluster=cluster,
        description="long mixtures",
        unit="mixture",
    )
    segments, words = {}, {}
    for mixture, spans, texts in rows:
        for speaker, (where, said) in enumerate(zip(spans, texts, strict=True), 1):
            for number, ((start, end), text) in enumerate(zip(where, said, strict=True), 1):
                key = f"{mixture.id}_spk{speaker}_{number}"
                segments[key] = f"{mixture.id} {start:.6f} {end:.6f}"
                words[key] = text
    directory = MixtureDir(out, _info(mixtures, corpus), tuple(row[0] for row in rows))
    directory.write({SEGMENTS: segments, SEGMENT_TEXT: words})
    return directory


Row = tuple[Mixture, list[list[tuple[float, float]]], list[list[str]]]


def _write(mixtures: LongMixtures, audio: Path, index: int) -> Row:
    """Write a mixture's audio; gives its record, and by speaker where and what is said."""
    long, fs = mixtures.draw(index), mixtures.fs
    name = f"long{index:05d}"
    signals = {
        "mixture": long.item.mixture,
        **{f"s{s}": reference for s, reference in enumerate(long.item.references, 1)},
    }
    if long.noise is not None:
        signals["noise"] = long.noise.astype(np.float32)
    paths = {signal: audio / f"{name}_{signal}.wav" for signal in signals}
    for signal, path in paths.items():
        if not path.is_file():
            write_audio(path, signals[signal], fs)
    texts = [[utterance.text for utterance in said] for said in long.said]
    record = Mixture(
        id=name,
        mixture=paths["mixture"],
        references=tuple(paths[f"s{s}"] for s in range(1, len(texts) + 1)),
        noise=paths.get("noise"),
        texts=tuple(" ".join(said) for said in texts),
        speakers=tuple(said[0].speaker for said in long.said),
        duration_s=len(long.item.mixture) / fs,
    )
    return record, _seconds(long, fs), texts


def _seconds(long: LongMixture, fs: int) -> list[list[tuple[float, float]]]:
    assert long.item.spans is not None
    spans: Sequence = np.split(long.item.spans / fs, len(long.said))
    return [[(float(start), float(end)) for start, end in mine] for mine in spans]


def _info(mixtures: LongMixtures, corpus: str) -> Info:
    noise = "clean" if mixtures.mixtures.noise is None else "both"
    room = "anechoic" if mixtures.mixtures.rooms is None else "reverb"
    return Info(corpus, mixtures.fs, "max", f"mix_{noise}_{room}", mixtures.config.reference)


def _claim(audio: Path, decides: dict[str, Any]) -> None:
    del decides["segment_s"]  # each is as long as what is said
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in decides.items()}
    claim(
        audio / MADE_OF,
        yaml.safe_dump(plain),
        "the mixtures here were made of something else",
        remedy=f"remove {audio}, or name another folder",
    )
