from itertools import permutations, product

import numpy as np
import pytest

from sepasr.score import wer
from sepasr.score.wer import Errors, align, cpwer, orcwer


def edit_distance(reference: list[str], hypothesis: list[str]) -> int:
    row = list(range(len(hypothesis) + 1))
    for i, word in enumerate(reference, 1):
        previous, row = row, [i]
        for j, other in enumerate(hypothesis, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (word != other)))
    return row[-1]


def cp_oracle(references: list[str], hypotheses: list[str]) -> int:
    streams = max(len(references), len(hypotheses))
    padded = references + [""] * (streams - len(references))
    offered = hypotheses + [""] * (streams - len(hypotheses))
    return min(
        sum(edit_distance(r.split(), h.split()) for r, h in zip(padded, order, strict=True))
        for order in permutations(offered)
    )


def orc_oracle(references: list[str], hypotheses: list[str]) -> int:
    best = []
    for assignment in product(range(len(hypotheses)), repeat=len(references)):
        streams = [[] for _ in hypotheses]
        for reference, stream in zip(references, assignment, strict=True):
            streams[stream] += reference.split()
        pairs = zip(streams, hypotheses, strict=True)
        best.append(sum(edit_distance(r, h.split()) for r, h in pairs))
    return min(best)


def random_text(generator: np.random.Generator) -> str:
    """Few words of few kinds, so that ties and empty streams are frequent."""
    return " ".join(generator.choice(list("abcd"), size=generator.integers(6)))


@pytest.mark.parametrize("speakers", [1, 2, 3])
@pytest.mark.parametrize("streams", [1, 2, 3])
def test_against_brute_force(speakers, streams):
    generator = np.random.default_rng(10 * speakers + streams)
    for _ in range(100):
        references = [random_text(generator) for _ in range(speakers)]
        hypotheses = [random_text(generator) for _ in range(streams)]
        words = sum(len(text.split()) for text in references)
        cp, orc = cpwer(references, hypotheses), orcwer(references, hypotheses)
        assert (cp.words, cp.errors) == (words, cp_oracle(references, hypotheses))
        assert (orc.words, orc.errors) == (words, orc_oracle(references, hypotheses))


def test_few_assignments_tried_and_many_searched_are_one_measure(monkeypatch):
    generator = np.random.default_rng(0)
    cases = [[[random_text(generator) for _ in range(3)] for _ in range(2)] for _ in range(50)]
    tried = [orcwer(*case).errors for case in cases]
    monkeypatch.setattr(wer, "MOST_ASSIGNMENTS", 0)
    assert [orcwer(*case).errors for case in cases] == tried
    monkeypatch.undo()
    five = [random_text(generator) for _ in range(5)]
    assert orcwer(five, five[::-1]).errors == 0


def test_speaker_swap_costs_nothing():
    assert cpwer(["a b", "c d"], ["c d", "a b"]) == Errors(words=4)


def test_orc_forgives_a_speaker_in_the_wrong_stream():
    references, hypotheses = ["a b", "c d"], ["a b c d", ""]
    assert cpwer(references, hypotheses) == Errors(words=4, insertions=2, deletions=2)
    assert orcwer(references, hypotheses) == Errors(words=4)


def test_one_decode_of_a_mixture_for_both_speakers():
    references, decode = ["a b c", "d e"], "a b c"
    assert cpwer(references, [decode, decode]).errors == 3  # d e read as a b c
    assert orcwer(references, [decode]) == Errors(words=5, deletions=2)


def test_streams_without_words():
    assert cpwer(["", ""], ["", ""]) == Errors()
    assert cpwer(["a b", ""], ["", ""]) == Errors(words=2, deletions=2)
    assert cpwer(["", ""], ["a", "b c"]) == Errors(insertions=3)
    assert orcwer(["", ""], ["a", "b c"]) == Errors(insertions=3)


def test_counts_add_up():
    counts = [cpwer(["a b", "c"], ["a", "d"]), cpwer(["", ""], ["x", ""])]
    total = sum(counts, Errors())
    assert total == Errors(words=3, substitutions=1, insertions=1, deletions=1)
    assert total.rate == 1.0
    assert np.isnan(Errors(insertions=2).rate)


def test_alignment_is_one_of_the_shortest():
    generator = np.random.default_rng(0)
    for _ in range(200):
        reference, hypothesis = random_text(generator), random_text(generator)
        aligned = align(reference, hypothesis)
        assert [w.reference for w in aligned if w.reference is not None] == reference.split()
        assert [w.hypothesis for w in aligned if w.hypothesis is not None] == hypothesis.split()
        errors = sum(not word.correct for word in aligned)
        assert errors == edit_distance(reference.split(), hypothesis.split())


def test_texts_by_name_are_scored_and_their_names_are_not():
    said, read = {"alice": "hello world", "bob": "good bye"}, {"b": "good bye", "a": "hello"}
    for score in (cpwer, orcwer):
        assert score(said, read) == Errors(words=4, deletions=1)


@pytest.mark.parametrize("score", [cpwer, orcwer])
def test_what_is_no_list_of_texts_is_refused(score):
    for said, read in (("hello", ["hello"]), (["hello"], "hello"), (["hello"], [None])):
        with pytest.raises(TypeError, match="a list of texts is wanted"):
            score(said, read)


@pytest.mark.parametrize("score", [cpwer, orcwer])
def test_without_a_stream_all_is_deleted(score):
    assert score(["a b", "c"], []) == Errors(words=3, deletions=3)


def test_empty_ones_among_many_streams():
    """Of such, meeteval's search finds 15, or fails."""
    references = ["", "w6 w1 w5 w4 w7", "w4 w0 w3 w3 w2", "w1", "w0 w4 w1"]
    hypotheses = ["w1 w7 w1 w6 w1 w4", "", "w5 w5 w3 w3 w5 w0 w5 w4 w3 w2", "w5 w1 w2"]
    assert orcwer(references, hypotheses).errors == orc_oracle(references, hypotheses) == 13
    generator = np.random.default_rng(0)
    for _ in range(20):
        references = [random_text(generator) for _ in range(4)] + [""]
        hypotheses = [random_text(generator) for _ in range(3)] + [""]
        assert orcwer(references, hypotheses).errors == orc_oracle(references, hypotheses)
