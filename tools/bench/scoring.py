#!/usr/bin/env python3
"""Time to score the transcripts of 3,000 mixtures: cpWER, ORC-WER, and intervals of both.

    tools/bench/scoring.py

Texts are drawn; words are read wrongly, left out, put in, and go to the other stream at random.
Every count is shown to be the one of meeteval.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from meeteval.wer.wer.cp import cp_word_error_rate
from meeteval.wer.wer.orc import orc_word_error_rate
from paired import SECONDS, Spread, UnequalError, alternate, begin, keep, parser

from sepasr.score.normalise import normalise
from sepasr.score.statistics import Resampling, rate
from sepasr.score.wer import cpwer, orcwer

VOCABULARY = 2000
ERRORS, STRAYS = 0.15, 0.03
"""Shares of the words that are read wrongly, and that are read in the other stream."""


def texts(mixtures: int, seed: int = 0) -> list[tuple[list[str], list[str]]]:
    """References and hypotheses of each mixture, two of about 17 words."""
    rng = np.random.default_rng(seed)
    words = np.array([f"W{number}" for number in range(VOCABULARY)])
    drawn = []
    for _ in range(mixtures):
        said = [rng.choice(words, rng.integers(5, 30)) for _ in range(2)]
        read: list[list[str]] = [[], []]
        for speaker, spoken in enumerate(said):
            for word in spoken:
                stream = speaker ^ int(rng.random() < STRAYS)
                chance = rng.random() / ERRORS
                if chance < 1 / 3:  # left out
                    continue
                wrong = str(rng.choice(words))
                read[stream] += [wrong] if chance < 2 / 3 else [str(word)]
                read[stream] += [wrong] if 2 / 3 <= chance < 1 else []
        order = rng.permutation(2)
        drawn.append(([" ".join(s) for s in said], [" ".join(read[i]) for i in order]))
    return drawn


def score(drawn: Sequence[tuple[list[str], list[str]]]) -> np.ndarray:
    """Reference words, cp errors and orc errors, (mixtures, 3); intervals are computed too.

    Texts are normalised anew, which a command does once: they would be kept from the last time.
    """
    normalise.cache_clear()
    counts = []
    for said, read in drawn:
        references, hypotheses = [normalise(t) for t in said], [normalise(t) for t in read]
        cp, orc = cpwer(references, hypotheses), orcwer(references, hypotheses)
        counts.append((cp.words, cp.errors, orc.errors))
    table = np.array(counts)
    resampling = Resampling(len(table))
    for errors in (table[:, 1], table[:, 2]):
        resampling.interval(rate(errors, table[:, 0]))
    return table


def by_meeteval(drawn: Sequence[tuple[list[str], list[str]]]) -> np.ndarray:
    """The same table."""
    counts = []
    for said, read in drawn:
        references, hypotheses = [normalise(t) for t in said], [normalise(t) for t in read]
        cp = cp_word_error_rate(references, hypotheses)
        orc = orc_word_error_rate(references, hypotheses)
        counts.append((cp.length, cp.errors, orc.errors))
    return np.array(counts)


def measure(options) -> dict:
    drawn = texts(50 if options.quick else options.mixtures)
    found, expected = score(drawn), by_meeteval(drawn)
    if not np.array_equal(found, expected):
        rows = np.flatnonzero((found != expected).any(1))
        raise UnequalError(f"other counts than meeteval's in {len(rows)} mixtures, first {rows[0]}")
    taken = alternate([lambda: score(drawn)], options.rounds, 0)[:, 0]
    wer = found[:, 1].sum() / found[:, 0].sum()
    return keep(
        options,
        "scoring_s",
        Spread.of(taken),
        SECONDS,
        against="nothing; counts equal to meeteval's",
        dtype="integers",
        note=f"{len(drawn)} mixtures of two speakers at cpWER {wer:.0%}, one process",
        packages=["meeteval"],
    )


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    made = parser(__doc__, rounds=10)
    made.add_argument("--mixtures", type=int, default=3000)
    return [measure(begin(made, arguments))]


if __name__ == "__main__":
    main()
