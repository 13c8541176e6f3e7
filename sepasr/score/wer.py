"""Word errors of one mixture: cpWER and ORC-WER by meeteval, alignments by jiwer.

All texts are normalised already (:mod:`sepasr.score.normalise`). A stream without words is scored
like any other: an empty hypothesis deletes every word of its reference, and against an empty
reference every word is an insertion. Counts are added up first and divided last, so a mixture
without reference words still contributes its insertions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import jiwer
from meeteval.wer.matching.cy_levenshtein import levenshtein_distance
from meeteval.wer.wer.cp import cp_word_error_rate
from meeteval.wer.wer.error_rate import ErrorRate
from meeteval.wer.wer.orc import orc_word_error_rate
from meeteval.wer.wer.siso import siso_word_error_rate

MOST_ASSIGNMENTS = 4**4
"""Of references to streams, that :func:`orcwer` tries one by one."""


@dataclass(frozen=True)
class Errors:
    """Counts of words and word errors, which add up over mixtures.

    Attributes:
        words: words of the references.
        substitutions: reference words read as another word.
        insertions: hypothesis words without a reference word.
        deletions: reference words without a hypothesis word.
    """

    words: int = 0
    substitutions: int = 0
    insertions: int = 0
    deletions: int = 0

    @property
    def errors(self) -> int:
        """Substitutions, insertions and deletions together."""
        return self.substitutions + self.insertions + self.deletions

    @property
    def rate(self) -> float:
        """Errors per reference word, as a fraction; NaN where there are no reference words."""
        return self.errors / self.words if self.words else float("nan")

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            self.words + other.words,
            self.substitutions + other.substitutions,
            self.insertions + other.insertions,
            self.deletions + other.deletions,
        )


Texts = Sequence[str] | Mapping[str, str]
"""Texts in their order, or by name: the values are scored, the names are not."""


def _errors(counts: ErrorRate) -> Errors:
    return Errors(counts.length, counts.substitutions, counts.insertions, counts.deletions)


def _listed(texts: Texts) -> list[str]:
    """The texts in their order.

    Raises:
        TypeError: it is one text, whose letters would be scored as words, or holds what is none.
    """
    values = list(texts.values() if isinstance(texts, Mapping) else texts)
    if isinstance(texts, str) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"a list of texts is wanted, one per speaker or stream, not {texts!r:.60}")
    return values


def cpwer(references: Texts, hypotheses: Texts) -> Errors:
    """Concatenated minimum-permutation word errors: the best one-to-one map of streams to speakers.

    Words are compared as they are, so normalise both before
    (:func:`sepasr.score.normalise.normalise`). A mixture that is recognised as a whole is scored by
    giving its one text as every hypothesis.

    Args:
        references: one text per speaker.
        hypotheses: one text per stream. A missing stream counts as an empty one, a surplus one as
            insertions.

    Raises:
        TypeError: one of them is a text, or holds what is none.

    >>> cpwer(["hello world", "good bye"], ["good buy", "hello world"])
    Errors(words=4, substitutions=1, insertions=0, deletions=0)
    """
    said, read = _listed(references), _listed(hypotheses)
    return _errors(cp_word_error_rate(said, read, reference_sort=False, hypothesis_sort=False))


def orcwer(references: Texts, hypotheses: Texts) -> Errors:
    """Optimal-reference-combination word errors: each utterance goes to the stream it fits best.

    Unlike :func:`cpwer`, one stream may take the utterances of several speakers, so that errors of
    the assignment of speakers to streams are not counted. A single hypothesis is compared with all
    references in a row.

    Few references are tried in every assignment, each group of them aligned with each stream once:
    meeteval's search, whose effort grows with the product of the lengths of the streams, takes
    seconds for three of 90 words. The result is the same.

    Words are compared as they are, as by :func:`cpwer`.

    Args:
        references: one text per utterance, in the order in which a stream would carry them.
        hypotheses: one text per stream; without any, all words are deleted.

    Raises:
        TypeError: one of them is a text, or holds what is none.

    >>> orcwer(["hello world", "good bye"], ["hello world good bye", ""]).errors
    0
    """
    # Empty ones cost nothing in any stream, and meeteval's search fails on some of them.
    utterances = [text for text in _listed(references) if text.split()]
    texts = [text for text in _listed(hypotheses) if text.split()] or [""]
    streams = range(len(texts))
    if len(streams) ** len(utterances) > MOST_ASSIGNMENTS:
        counts = orc_word_error_rate(utterances, texts, reference_sort=False, hypothesis_sort=False)
        return _errors(counts)

    said, read = [text.split() for text in utterances], [text.split() for text in texts]

    @cache
    def distance(stream: int, chosen: tuple[int, ...]) -> int:
        return levenshtein_distance([word for r in chosen for word in said[r]], read[stream])

    def carried(assignment: tuple[int, ...], stream: int) -> tuple[int, ...]:
        return tuple(reference for reference, s in enumerate(assignment) if s == stream)

    best = min(
        product(streams, repeat=len(utterances)),
        key=lambda assignment: sum(distance(s, carried(assignment, s)) for s in streams),
    )
    carried_texts = (" ".join(utterances[r] for r in carried(best, s)) for s in streams)
    return sum(map(_errors, map(siso_word_error_rate, carried_texts, texts)), Errors())


@dataclass(frozen=True)
class AlignedWord:
    """One step of an alignment.

    Attributes:
        reference: the word that was said; None for an insertion.
        hypothesis: the word that was read; None for a deletion.
    """

    reference: str | None
    hypothesis: str | None

    @property
    def correct(self) -> bool:
        """Whether the word was read as it was said."""
        return self.reference == self.hypothesis


def align(reference: str, hypothesis: str) -> list[AlignedWord]:
    """Align two texts word by word with the fewest errors (jiwer's Levenshtein alignment)."""
    said, read = reference.split(), hypothesis.split()
    if not said or not read:  # jiwer refuses an empty reference
        return [AlignedWord(w, None) for w in said] + [AlignedWord(None, w) for w in read]
    aligned: list[AlignedWord] = []
    for chunk in jiwer.process_words(" ".join(said), " ".join(read)).alignments[0]:
        left = said[chunk.ref_start_idx : chunk.ref_end_idx]
        right = read[chunk.hyp_start_idx : chunk.hyp_end_idx]
        if chunk.type == "insert":
            aligned += [AlignedWord(None, word) for word in right]
        elif chunk.type == "delete":
            aligned += [AlignedWord(word, None) for word in left]
        else:
            aligned += [AlignedWord(*pair) for pair in zip(left, right, strict=True)]
    return aligned
