"""Examples to look at and listen to: which mixtures, and what every system made of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sepasr.data.audio import read_mono
from sepasr.data.datadir import Mixture, MixtureDir
from sepasr.data.scp import read_table
from sepasr.data.segments import read_segment_texts
from sepasr.errors import UserError
from sepasr.report.alignment import Reading, read_streams, total
from sepasr.report.media import Album, Clip
from sepasr.score.normalise import normalise, normalised_speakers
from sepasr.score.result import CLEAN, MIXTURE, Results, SystemResult
from sepasr.score.rows import UtteranceRow

DIFFERENT, TYPICAL = "different", "typical"
ALL = ""
"""Stands for every recogniser together."""


@dataclass(frozen=True)
class Choice:
    """A mixture that is shown, and its word errors.

    Attributes:
        rank: among all mixtures by difference, from 1.
        mixture: its id.
        why: ``different`` for those where systems differ most, ``typical`` for those drawn at
            even distances from the rest of the ranking.
        words: of its references.
        errors: errors per word by recogniser and system, over seeds; recogniser ``ALL`` is the
            mean over recognisers.
        difference: by recogniser likewise, the largest less the smallest rate of trained systems.
    """

    rank: int
    mixture: str
    why: str
    words: int
    errors: Mapping[str, Mapping[str, float]]
    difference: Mapping[str, float]


@dataclass(frozen=True)
class Heard:
    """What a recogniser read in the streams of a system.

    Attributes:
        recogniser: its name.
        relation: to the loss of the system: seen, kin, unseen; None without an encoder.
        readings: by speaker.
    """

    recogniser: str
    relation: str | None
    readings: tuple[Reading, ...]

    @property
    def errors(self) -> int:
        """Word errors of all speakers together."""
        return total(self.readings).errors

    @property
    def words(self) -> int:
        """Words that were said."""
        return total(self.readings).words


@dataclass(frozen=True)
class SystemStreams:
    """What a system made of a mixture, with one of its seeds; SI-SDRi in dB, NaN if undefined."""

    name: str
    seed: int | None
    si_sdri: float
    clips: tuple[Clip, ...]
    heard: tuple[Heard, ...]


@dataclass(frozen=True)
class Example:
    """A mixture on the page.

    Attributes:
        choice: which it is, and its word errors.
        mixture: its audio; None where there is nothing but rows.
        references: its speakers', with what each says.
        systems: what was made of it; the mixture itself first, if it was read.
    """

    choice: Choice
    mixture: Clip | None = None
    references: tuple[tuple[Clip, str, str], ...] = ()
    systems: tuple[SystemStreams, ...] = ()


def choose(rows: Sequence[UtteranceRow], results: Results, number: int) -> list[Choice]:
    """The mixtures to show, those where the trained systems differ most first.

    Two thirds are the first of that ranking. The last third is taken at even distances from the
    rest of it, so that a listener doesn't hear extremes alone.

    Args:
        rows: of a run.
        results: of the same run.
        number: how many mixtures, at most.
    """
    names = [line.name for line in results.lines]
    trained = [name for name in names if name not in (MIXTURE, CLEAN)] or names
    readers = [recogniser.name for recogniser in results.recognisers]
    errors: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    words: dict[str, int] = {}
    for row in rows:
        if row.system in names and row.recogniser in readers:
            words[row.mixture] = row.words
            rate = row.cp_errors / max(1, row.words)
            errors[row.mixture, row.recogniser, row.system].append(rate)
    choices = []
    for mixture in sorted(words):
        by_reader: dict[str, dict[str, float]] = {}
        for reader in readers:
            rates = {n: errors[mixture, reader, n] for n in names if errors[mixture, reader, n]}
            by_reader[reader] = {n: float(np.mean(values)) for n, values in rates.items()}
        by_reader[ALL] = {
            n: float(np.mean([by_reader[r][n] for r in readers]))
            for n in names
            if all(n in by_reader[r] for r in readers)
        }
        difference = {}
        for reader, rates_of in by_reader.items():
            values = [rates_of[n] for n in trained if n in rates_of]
            difference[reader] = max(values) - min(values) if values else 0.0
        choices.append(Choice(0, mixture, "", words[mixture], by_reader, difference))
    choices.sort(key=lambda choice: (-choice.difference[ALL], choice.mixture))
    return _sample(choices, number)


def _sample(ranking: Sequence[Choice], number: int) -> list[Choice]:
    number = min(number, len(ranking))
    first = -(-2 * number // 3) if number < len(ranking) else number
    rest = len(ranking) - first
    places = [first + int((i + 0.5) * rest / (number - first)) for i in range(number - first)]
    return [
        Choice(
            place + 1,
            ranking[place].mixture,
            DIFFERENT if place < first else TYPICAL,
            ranking[place].words,
            ranking[place].errors,
            ranking[place].difference,
        )
        for place in [*range(first), *places]
    ]


class Gallery:
    """The audio and the transcripts of a run, for examples of it.

    Args:
        results: of the run.
        rows: of the same run.
        data: directory of its test set.
        exp: its folder of experiments.
        page: folder of the page, for audio and pictures.

    Raises:
        UserError: a system has not been separated or read in ``exp``.
    """

    def __init__(
        self,
        results: Results,
        rows: Sequence[UtteranceRow],
        data: MixtureDir,
        exp: Path,
        page: Path,
    ) -> None:
        self.results, self.exp, self.page, self.fs = results, exp, page, data.info.fs
        self.mixtures = {mixture.id: mixture for mixture in data.mixtures}
        self.streams = range(1, len(data.mixtures[0].references) + 1)
        self.errors = {(r.system, r.seed, r.recogniser, r.mixture): r.cp_errors for r in rows}
        self.si_sdri = {(r.system, r.seed, r.mixture): r.si_sdri for r in rows}
        self.utterances = read_segment_texts(data)
        self.tables: dict[Path, dict[str, str]] = {}

    def example(self, choice: Choice) -> Example:
        """Read what there is of a mixture, and write its audio and pictures.

        Raises:
            UserError: the test set, ``exp`` or the rows lack the mixture, or its transcripts in
                ``exp`` have other errors than the rows: they are of another run.
        """
        mixture = self.mixtures.get(choice.mixture)
        if mixture is None or mixture.texts is None:
            what = f"no mixture '{choice.mixture}' with transcripts"
            remedy = "name the test set of these results"
            raise UserError(what, where="--data", remedy=remedy)
        audio = {
            line.name: self._estimates(line, mixture)
            for line in self.results.lines
            if line.name not in (MIXTURE, CLEAN)
        }
        sources = [read_mono(path, self.fs) for path in (mixture.mixture, *mixture.references)]
        signals = [*sources, *(signal for streams in audio.values() for signal in streams)]
        album = Album(self.page, f"{choice.rank:04d}_{mixture.id[:40]}", signals, self.fs)
        references = tuple(
            (album.add(f"reference_{s}", f"reference {s} of {mixture.id}", samples), who, text)
            for s, (samples, who, text) in enumerate(
                zip(sources[1:], mixture.speakers, mixture.texts, strict=True), 1
            )
        )
        clips = {
            name: tuple(
                album.add(f"{number}_{name}_{s}", f"stream {s} of {name}, {mixture.id}", samples)
                for s, samples in enumerate(streams, 1)
            )
            for number, (name, streams) in enumerate(audio.items(), 1)
        }
        systems = tuple(
            SystemStreams(
                line.name,
                _seed(line),
                self.si_sdri.get((line.name, _seed(line), mixture.id), math.nan),
                clips.get(line.name, ()),
                self._heard(line, mixture),
            )
            for line in self.results.lines
        )
        whole = album.add("mixture", f"the mixture {mixture.id}", sources[0])
        return Example(choice, whole, references, systems)

    def _estimates(self, line: SystemResult, mixture: Mixture) -> list[np.ndarray]:
        folder = self._folder(self.exp / "separate", line)
        return [
            read_mono(self._entry(folder / f"spk{stream}.scp", mixture.id), self.fs)
            for stream in self.streams
        ]

    def _heard(self, line: SystemResult, mixture: Mixture) -> tuple[Heard, ...]:
        folder = self._folder(self.exp / "decode", line)
        utterances = self.utterances.get(mixture.id, ())
        references = normalised_speakers(mixture.texts or (), utterances)
        heard = []
        for recogniser, errors in line.wer.items():
            streams = [1] * len(references) if line.name == MIXTURE else list(self.streams)
            files = [folder / recogniser / f"text_spk{stream}" for stream in streams]
            texts = [normalise(self._entry(file, mixture.id)) for file in files]
            readings = tuple(read_streams(references, texts))
            found = Heard(recogniser, errors.relation, readings)
            expected = self.errors.get((line.name, _seed(line), recogniser, mixture.id))
            if expected is None:
                seed = f", seed {_seed(line)}" if line.seeds else ""
                raise UserError(
                    f"no row of {line.name}{seed} by {recogniser} for '{mixture.id}'",
                    where="--rows",
                    remedy="name the rows of these results",
                )
            if expected != found.errors:
                raise UserError(
                    f"{found.errors} word errors in '{mixture.id}', the rows have {expected}",
                    where=folder / recogniser,
                    remedy="name the EXP and the data that the results come from",
                )
            heard.append(found)
        return tuple(heard)

    def _folder(self, root: Path, line: SystemResult) -> Path:
        seed = _seed(line)
        seeded = root / line.name / f"seed{seed}"
        if seed is not None and seeded.is_dir():
            return seeded
        if (root / line.name).is_dir():
            return root / line.name
        raise UserError("no such folder", where=root / line.name, remedy="name the EXP of the run")

    def _entry(self, file: Path, mixture: str) -> str:
        if file not in self.tables:
            self.tables[file] = read_table(file, empty_values=file.suffix != ".scp")
        if mixture not in self.tables[file]:
            raise UserError(f"no entry for mixture '{mixture}'", where=file)
        return self.tables[file][mixture]


def _seed(line: SystemResult) -> int | None:
    """The seed that is shown of a system."""
    return min(line.seeds) if line.seeds else None
