"""The guard against hallucination: two caps, the same for every system, and every hit counted."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

LENGTH = "length"
REPETITION = "repetition"


@dataclass
class GuardConfig:
    """How much text a recogniser may make of a stream.

    What a token is depends on the recogniser: a unit of the vocabulary for Whisper, whose decoder
    can run on without end, and a word for CTC and pocketsphinx, which the frames hold back.

    Attributes:
        max_tokens_per_second: tokens a stream may hold for each second of its duration.
        extra_tokens: tokens that it may hold on top, so that short streams are not cut.
        max_ngram: the longest sequence of words, in words, whose repetition is counted.
        max_repeats: how many times in a row such a sequence may stand.
    """

    max_tokens_per_second: float = 8.0
    extra_tokens: int = 8
    max_ngram: int = 4
    max_repeats: int = 3

    def max_tokens(self, duration_s: float) -> int:
        """Tokens allowed in ``duration_s`` seconds."""
        return math.ceil(self.max_tokens_per_second * duration_s) + self.extra_tokens


@dataclass(frozen=True)
class Hypothesis:
    """What a decoder read in one waveform.

    Attributes:
        text: its words, with single spaces.
        tokens: how many tokens they are.
        cut: whether the cap on tokens ended it.
    """

    text: str
    tokens: int
    cut: bool


def cap_words(text: str, max_tokens: int) -> Hypothesis:
    """Keep the first ``max_tokens`` words of a text whose tokens are words."""
    words = text.split()
    kept = words[:max_tokens]
    return Hypothesis(" ".join(kept), len(kept), cut=len(words) > max_tokens)


def cut_repeats(words: Sequence[str], max_ngram: int, max_repeats: int) -> list[str]:
    """Leave at most ``max_repeats`` copies in a row of any sequence of 1 to ``max_ngram`` words.

    Case and punctuation do not matter in the comparison. The first copies are the ones kept.

    >>> cut_repeats("so no No, no. no we go".split(), max_ngram=4, max_repeats=3)
    ['so', 'no', 'No,', 'no.', 'we', 'go']
    """
    kept: list[str] = []
    compared: list[str] = []
    for word in words:
        kept.append(word)
        compared.append(re.sub(r"[^\w']", "", word).lower())
        for n in range(1, max_ngram + 1):
            if _ends_in_copies(compared, n, max_repeats + 1):
                del kept[-n:], compared[-n:]
                break
    return kept


def _ends_in_copies(words: Sequence[str], n: int, copies: int) -> bool:
    """Whether the last ``n`` words are the last of ``copies`` equal sequences in a row."""
    if len(words) < n * copies:
        return False
    tail = words[-n * copies :]
    return tail[n:] == tail[:-n]
