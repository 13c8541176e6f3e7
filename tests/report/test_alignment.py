import jiwer
import numpy as np
import pytest

from sepasr.report.alignment import kind, read_streams, total
from sepasr.score.wer import AlignedWord, Errors, cpwer

WORDS = ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("x", "x", "correct"),
        ("x", "y", "substitution"),
        (None, "y", "insertion"),
        ("x", None, "deletion"),
    ],
)
def test_kinds(reference, hypothesis, expected):
    assert kind(AlignedWord(reference, hypothesis)) == expected


def sentences(rng: np.random.Generator, number: int) -> list[str]:
    return [" ".join(rng.choice(WORDS, rng.integers(1, 8))) for _ in range(number)]


def test_errors_of_a_reading_are_those_of_jiwer():
    rng = np.random.default_rng(0)
    for _ in range(50):
        reference, hypothesis = sentences(rng, 2)
        (reading,) = read_streams([reference], [hypothesis])
        counted = jiwer.process_words(reference, hypothesis)
        assert reading.errors == Errors(
            len(reference.split()), counted.substitutions, counted.insertions, counted.deletions
        )


@pytest.mark.parametrize("speakers", [1, 2, 3])
@pytest.mark.parametrize("streams", [1, 2, 3])
def test_streams_are_given_as_cpwer_gives_them(speakers, streams):
    rng = np.random.default_rng(10 * speakers + streams)
    for _ in range(30):
        said, read = sentences(rng, speakers), sentences(rng, streams)
        readings = read_streams(said, read)
        assert total(readings).errors == cpwer(said, read).errors
        assert total(readings).words == cpwer(said, read).words
        taken = [reading.stream for reading in readings if reading.stream]
        assert sorted(taken) == list(range(1, streams + 1))
        assert [reading.speaker for reading in readings][:speakers] == [*range(1, speakers + 1)]


def test_swapped_streams_are_told():
    readings = read_streams(["a b c", "d d"], ["d d", "a b"])
    assert [(reading.speaker, reading.stream) for reading in readings] == [(1, 2), (2, 1)]
    assert [kind(word) for word in readings[0].words] == ["correct", "correct", "deletion"]


def test_an_empty_stream_deletes_every_word():
    (reading,) = read_streams(["a b"], [""])
    assert reading.errors == Errors(words=2, deletions=2)
