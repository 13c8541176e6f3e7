"""What a study leaves: rows per mixture, and figures per variant that are computed from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sepasr.score.rows import read_rows, write_rows

FAMILY_MEAN = "family_mean"
"""In the place of a recogniser: the mean over families of the mean over a family's recognisers."""


@dataclass(frozen=True)
class StudyRow:
    """Word errors of one mixture as one recogniser reads it, and what the signal itself is worth.

    Attributes:
        variant: its name in the study.
        steps: of fine-tuning; 0 where nothing was trained.
        seed: of the training; None where nothing was trained.
        set: the data directory.
        recogniser: its name.
        mixture: its id.
        words: reference words.
        cp_errors: errors of cpWER.
        orc_errors: errors of ORC-WER.
        si_sdr: dB; this and the rest as in :class:`sepasr.score.measures.Measures`.
    """

    variant: str
    steps: int
    seed: int | None
    set: str
    recogniser: str
    mixture: str
    words: int
    cp_errors: int
    orc_errors: int
    si_sdr: float
    si_sdri: float
    pesq: float
    stoi: float
    estoi: float
    srmr: float


@dataclass(frozen=True)
class StudyResult:
    """A variant's figures over a set, as one recogniser reads it or as the mean over families.

    Attributes:
        study: name of the study.
        variant: as in :class:`StudyRow`, and so are steps and set.
        seed: None for the average over several seeds, or where nothing was trained.
        seeds: how many are averaged; 0 where nothing was trained.
        recogniser: its name, or ``FAMILY_MEAN``.
        family: of the recogniser.
        relation: the recogniser to the encoders of the variant's loss: ``seen``, ``kin``,
            ``unseen``; empty without an encoder.
        mixtures: of the set.
        words: reference words; NaN for the mean over families, as the next.
        cp_errors: errors of cpWER, a mean over seeds.
        cpwer: errors by words, as a fraction; with its 95 % interval.
        orcwer: likewise of ORC-WER, which lets a stream go on with another speaker between
            utterances.
        si_sdr: means over mixtures, in dB; the other measures likewise in their units.
        against: the variant it is compared with; empty where it isn't.
        against_steps: of that variant; None where there is none.
        gain: 1 - cpWER / cpWER of the other, as a fraction, with its 95 % interval. For the mean
            over families it is the mean over families of the gain.
        orc_gain: likewise in ORC-WER.
        p: of the paired permutation test over mixtures.
        p_holm: corrected for all comparisons of the set by single recognisers (Holm), and likewise
            for those by the mean over families.
        p_bh: the same by Benjamini and Hochberg.
        orc_p: of ``orc_gain``, uncorrected.
    """

    study: str
    variant: str
    steps: int
    seed: int | None
    seeds: int
    set: str
    recogniser: str
    family: str
    relation: str
    mixtures: int
    words: float
    cp_errors: float
    cpwer: float
    cpwer_low: float
    cpwer_high: float
    orcwer: float
    orcwer_low: float
    orcwer_high: float
    si_sdr: float
    si_sdri: float
    pesq: float
    stoi: float
    estoi: float
    srmr: float
    against: str
    against_steps: int | None
    gain: float
    gain_low: float
    gain_high: float
    orc_gain: float
    orc_gain_low: float
    orc_gain_high: float
    p: float
    p_holm: float
    p_bh: float
    orc_p: float


def write_study(out: Path, name: str, rows: list[StudyRow], results: list[StudyResult]) -> None:
    """Write ``NAME_utterances.csv`` and, last, ``NAME.csv``."""
    write_rows(out / f"{name}_utterances.csv", StudyRow, rows)  # type: ignore[type-var]
    write_rows(out / f"{name}.csv", StudyResult, results)  # type: ignore[type-var]


def read_study_rows(out: Path, name: str) -> tuple[StudyRow, ...]:
    """Read ``NAME_utterances.csv``.

    Raises:
        UserError: see :func:`sepasr.score.rows.read_rows`.
    """
    return read_rows(out / f"{name}_utterances.csv", StudyRow)  # type: ignore[type-var]


def read_study_results(out: Path, name: str) -> tuple[StudyResult, ...]:
    """Read ``NAME.csv``.

    Raises:
        UserError: see :func:`sepasr.score.rows.read_rows`.
    """
    return read_rows(out / f"{name}.csv", StudyResult)  # type: ignore[type-var]
