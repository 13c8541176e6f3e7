"""The rule by which texts are compared: Whisper's English normaliser, on both sides, once."""

from __future__ import annotations

from collections.abc import Sequence
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


def normalised_speakers(texts: Sequence[str], utterances: Sequence[tuple[int, str]]) -> list[str]:
    """What each speaker says, brought to the form in which words are counted.

    Utterances are brought to it one by one and then joined, so that all references of a mixture
    have the same words, whether they are counted by speaker or by utterance: "we counted twenty"
    and "five cats came" hold 20 and 5. A hypothesis has no such bounds. Where it reads both in a
    row, the rule makes 25 of them, which counts as an error in cpWER and in ORC-WER.

    Args:
        texts: one per speaker.
        utterances: speakers, from 1, and their words, in the order of time; may be empty.
    """
    if not utterances:
        return [normalise(text) for text in texts]
    said = [
        [normalise(text) for who, text in utterances if who == s] for s in range(1, len(texts) + 1)
    ]
    return [" ".join(filter(None, parts)) for parts in said]
