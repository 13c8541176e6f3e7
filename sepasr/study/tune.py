"""Choice of the fine-tuning's learning rate and steps, on the development set.

Every system, the control among them, chooses from one and the same grid, by the mean cpWER over
the families of recognisers: at a high rate an embedding loss fits the separator to the family of
its own encoder and harms the others, which only a mean over families shows.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from omegaconf import OmegaConf

from sepasr.data.datadir import MixtureDir
from sepasr.data.scp import read_table
from sepasr.data.segments import read_segment_texts
from sepasr.decode.cache import TranscriptCache
from sepasr.decode.recognise import recognise, streams_of
from sepasr.decode.recogniser import Recogniser
from sepasr.decode.separate import load_separator, separate_directory
from sepasr.errors import UserError
from sepasr.files import atomic_path, write_text
from sepasr.score.normalise import normalise, normalised_speakers
from sepasr.score.wer import cpwer


@dataclass(frozen=True)
class Candidate:
    """A point of the grid: a learning rate, a number of steps, and the separator they gave."""

    lr: float
    steps: int
    model: Path

    @property
    def name(self) -> str:
        """A name for folders."""
        return f"lr{self.lr:g}_steps{self.steps}"


@dataclass(frozen=True)
class Outcome:
    """What a candidate came to on the development set.

    Attributes:
        candidate: the point of the grid.
        cpwer: by recogniser, as a fraction.
        family_mean: mean over the families of the mean over a family's recognisers.
    """

    candidate: Candidate
    cpwer: Mapping[str, float]
    family_mean: float


def family_mean(cpwer_by_name: Mapping[str, float], families: Mapping[str, str]) -> float:
    """Mean over families of the mean over a family's recognisers.

    >>> round(family_mean({"a": 0.1, "b": 0.3, "c": 0.5}, {"a": "x", "b": "x", "c": "y"}), 3)
    0.35
    """
    grouped: dict[str, list[float]] = {}
    for name, value in cpwer_by_name.items():
        grouped.setdefault(families[name], []).append(value)
    return mean(mean(values) for values in grouped.values())


def evaluate(
    candidates: Sequence[Candidate],
    data: MixtureDir,
    recognisers: Sequence[Recogniser],
    exp: str | Path,
    device: str = "cpu",
) -> list[Outcome]:
    """Separate and read the development set with every candidate.

    Args:
        candidates: the grid.
        data: the development set, with transcripts.
        recognisers: of as many families as there are.
        exp: folder of separated audio, transcripts and their cache.
        device: where the candidates separate.

    Raises:
        UserError: the set has no transcripts.
    """
    exp = Path(exp)
    if any(mixture.texts is None for mixture in data.mixtures):
        raise UserError("no transcripts to choose by", where=data.path, remedy="use cut 'max'")
    families = {recogniser.name: recogniser.family for recogniser in recognisers}
    outcomes = []
    with TranscriptCache(exp / "transcripts.sqlite") as cache:
        for candidate in candidates:
            folder = exp / "separate" / candidate.name
            separate_directory(load_separator(candidate.model, device), data, folder)
            rates = {}
            for recogniser in recognisers:
                read = exp / "decode" / candidate.name / recogniser.name
                streams, jobs = streams_of(data, folder), recogniser.processes
                recognise(streams, recogniser, cache, read, separated=folder, jobs=jobs)
                rates[recogniser.name] = _rate(data, read)
            outcomes.append(Outcome(candidate, rates, family_mean(rates, families)))
    return outcomes


def _rate(data: MixtureDir, read: Path) -> float:
    """cpWER of the transcripts in ``read``, with the words that a scoring counts."""
    utterances = read_segment_texts(data)
    speakers = range(1, len(data.mixtures[0].references) + 1)
    texts = [read_table(read / f"text_spk{s}", empty_values=True) for s in speakers]
    counts = [
        cpwer(
            normalised_speakers(mixture.texts or (), utterances.get(mixture.id, ())),
            [normalise(text[mixture.id]) for text in texts],
        )
        for mixture in data.mixtures
    ]
    return sum(c.errors for c in counts) / sum(c.words for c in counts)


def write_choice(outcomes: Sequence[Outcome], table: str | Path, choice: str | Path) -> Outcome:
    """Write the whole grid as CSV and the best of it as a YAML delta; equal ones: fewer steps.

    Other settings of a YAML that is there are kept, but not its comments.

    Returns:
        The best.
    """
    best = min(outcomes, key=lambda o: (o.family_mean, o.candidate.steps, o.candidate.lr))
    names = list(best.cpwer)
    with atomic_path(table) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["lr", "steps", "family_mean", *names])
        for outcome in outcomes:
            rates = [outcome.family_mean, *(outcome.cpwer[name] for name in names)]
            chosen = outcome.candidate
            writer.writerow([f"{chosen.lr:g}", chosen.steps, *(f"{rate:.4f}" for rate in rates)])
    kept = OmegaConf.load(choice) if Path(choice).exists() else OmegaConf.create()
    fit = {"steps": best.candidate.steps, "optimizer": {"lr": best.candidate.lr}}
    write_text(
        choice,
        "# Chosen on the development set by `sepasr tune`, by the mean cpWER over families.\n"
        + OmegaConf.to_yaml(OmegaConf.merge(kept, {"fit": fit})),
    )
    return best
