from __future__ import annotations

import numpy as np
import pytest

from sepasr.decode.guard import GuardConfig, Hypothesis, cap_words, cut_repeats


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("he said no no no", "he said no no no"),
        ("he said no no no no no", "he said no no no"),
        ("go on go on go on go on go on then", "go on go on go on then"),
        ("No, no. NO no! no", "No, no. NO"),
        ("a b a b a b a b a", "a b a b a b a"),
        ("x a b c d a b c d a b c d a b c d a b c d y", "x a b c d a b c d a b c d y"),
        ("one a b c d e a b c d e a b c d e a b c d e", None),  # five words are more than max_ngram
        ("... ... ... ... ...", "... ... ..."),
    ],
)
def test_cut_repeats(text: str, expected: str | None) -> None:
    kept = cut_repeats(text.split(), max_ngram=4, max_repeats=3)
    assert " ".join(kept) == (text if expected is None else expected)


def _longest_run(words: list[str], n: int) -> int:
    """Most copies in a row of any n words, by trying every place and number."""
    most = 1
    for start in range(len(words)):
        copies = 1
        first = words[start : start + n]
        while words[start + copies * n : start + (copies + 1) * n] == first and len(first) == n:
            copies += 1
        most = max(most, copies)
    return most


@pytest.mark.parametrize("seed", range(20))
def test_no_run_is_left_and_nothing_else_is_touched(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(50):
        words = [str(word) for word in rng.choice(["a", "b", "c"], size=40, p=[0.6, 0.3, 0.1])]
        max_ngram, max_repeats = int(rng.integers(1, 5)), int(rng.integers(1, 4))
        kept = cut_repeats(words, max_ngram, max_repeats)
        runs = [_longest_run(words, n) for n in range(1, max_ngram + 1)]
        if max(runs) <= max_repeats:
            assert kept == words
        else:
            assert len(kept) < len(words)
            rest = iter(words)
            assert all(word in rest for word in kept), "kept words are out of order"
        assert max(_longest_run(kept, n) for n in range(1, max_ngram + 1)) <= max_repeats
        assert cut_repeats(kept, max_ngram, max_repeats) == kept


def test_cap_on_tokens() -> None:
    guard = GuardConfig(max_tokens_per_second=2.5, extra_tokens=4)
    assert [guard.max_tokens(s) for s in (0.0, 0.1, 2.0, 2.1)] == [4, 5, 9, 10]


def test_cap_words() -> None:
    assert cap_words("a b  c", 3) == Hypothesis("a b c", 3, cut=False)
    assert cap_words("a b c d", 3) == Hypothesis("a b c", 3, cut=True)
    assert cap_words("", 1) == Hypothesis("", 0, cut=False)
