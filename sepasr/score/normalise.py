"""The rule by which texts are compared: Whisper's English normaliser, on both sides, once."""

from __future__ import annotations

from functools import lru_cache

from whisper_normalizer.english import EnglishTextNormalizer

_normaliser = EnglishTextNormalizer()


@lru_cache(maxsize=1 << 16)  # every system is scored against the same references
def normalise(text: str) -> str:
    """Bring a text to the form in which words are counted.

    Lower case, no punctuation, spelt-out contractions, numbers as digits, American spelling, no
    fillers and nothing in brackets. The rule is not idempotent, so it is applied exactly once, to
    references and hypotheses alike, where they are read for scoring.

    Returns:
        Words separated by single spaces; empty if no word is left.
    """
    return " ".join(_normaliser(text).split())
