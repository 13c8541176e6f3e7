"""Transcripts beside what was said: which stream is whose, and every word with its error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from meeteval.wer.matching.cy_levenshtein import levenshtein_distance
from scipy.optimize import linear_sum_assignment

from sepasr.score.wer import AlignedWord, Errors, align

CORRECT, SUBSTITUTION, INSERTION, DELETION = "correct", "substitution", "insertion", "deletion"


def kind(word: AlignedWord) -> str:
    """What became of a word: one of the four names above."""
    if word.reference is None:
        return INSERTION
    if word.hypothesis is None:
        return DELETION
    return CORRECT if word.correct else SUBSTITUTION


@dataclass(frozen=True)
class Reading:
    """What was read of one speaker.

    Attributes:
        speaker: number from 1; None for a stream that no speaker is left for.
        stream: number from 1; None for a speaker that no stream is left for.
        words: reference and transcript, aligned.
    """

    speaker: int | None
    stream: int | None
    words: tuple[AlignedWord, ...]

    @property
    def errors(self) -> Errors:
        """The words and errors of this speaker."""
        kinds = [kind(word) for word in self.words]
        insertions = kinds.count(INSERTION)
        return Errors(
            words=len(kinds) - insertions,
            substitutions=kinds.count(SUBSTITUTION),
            insertions=insertions,
            deletions=kinds.count(DELETION),
        )


def read_streams(references: Sequence[str], hypotheses: Sequence[str]) -> list[Reading]:
    """Give every speaker the stream that leaves the fewest errors in all, as cpWER does.

    Args:
        references: one normalised text per speaker.
        hypotheses: one normalised text per stream. Missing streams count as empty, surplus ones as
            insertions.

    Returns:
        By speaker, surplus streams last. Their errors add up to those of
        :func:`sepasr.score.wer.cpwer`.
    """
    size = max(len(references), len(hypotheses))
    said = [*references, *[""] * (size - len(references))]
    read = [*hypotheses, *[""] * (size - len(hypotheses))]
    cost = np.array([[levenshtein_distance(s.split(), r.split()) for r in read] for s in said])
    readings = []
    for speaker, stream in zip(*linear_sum_assignment(cost), strict=True):
        readings.append(
            Reading(
                int(speaker) + 1 if speaker < len(references) else None,
                int(stream) + 1 if stream < len(hypotheses) else None,
                tuple(align(said[speaker], read[stream])),
            )
        )
    return readings


def total(readings: Sequence[Reading]) -> Errors:
    """The errors of all speakers together."""
    return sum((reading.errors for reading in readings), Errors())
