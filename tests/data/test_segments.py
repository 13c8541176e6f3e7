"""Single utterances of mixtures, in the order in which they begin."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sepasr.data.datadir import MixtureDir
from sepasr.data.segments import SEGMENT_TEXT, SEGMENTS, check_segments, read_segment_texts
from sepasr.data.validate import validate
from sepasr.errors import UserError


@pytest.fixture
def long(data_dirs) -> MixtureDir:
    """One mixture: ten starts late, though it is the first speaker's first."""
    texts = ("TEN ELEVEN TWELVE", "ONE TWO THREE")
    mixture = replace(data_dirs.mixtures.mixtures[0], texts=texts)
    data = replace(data_dirs.mixtures, mixtures=(mixture,))
    spoken = {
        "mix0_spk1_1": ("2.5 4.0", "TEN ELEVEN"),
        "mix0_spk1_2": ("10.0 12.0", "TWELVE"),
        "mix0_spk2_1": ("0.5 3.0", "ONE TWO"),
        "mix0_spk2_2": ("9.5 11.0", "THREE"),
    }
    segments = {key: f"mix0 {span}" for key, (span, _) in spoken.items()}
    data.write({SEGMENTS: segments, SEGMENT_TEXT: {key: text for key, (_, text) in spoken.items()}})
    return data


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_texts_are_in_the_order_of_time(long: MixtureDir) -> None:
    # 9.5 before 10.0, though not as text.
    utterances = ((2, "ONE TWO"), (1, "TEN ELEVEN"), (2, "THREE"), (1, "TWELVE"))
    assert read_segment_texts(long) == {"mix0": utterances}


def test_other_directories_have_none(data_dirs) -> None:
    assert read_segment_texts(data_dirs.mixtures) == {}


@pytest.mark.parametrize(
    ("name", "old", "new", "cause"),
    [
        (SEGMENTS, "2.5 4.0", "2.5", "segments:1: 'mix0 2.5' is no mixture, start and end"),
        (SEGMENTS, "2.5 4.0", "two 4.0", "segments:1: 'mix0 two 4.0' is no mixture"),
        (
            SEGMENTS,
            "mix0_spk2_2 mix0 9.5 11.0\n",
            "",
            "segment_text:4: id 'mix0_spk2_2' is not in segments",
        ),
        (SEGMENT_TEXT, "THREE", "FOUR", "utterances of 'mix0' are not the words"),
        (SEGMENT_TEXT, "mix0_spk2_2 THREE\n", "", "segment_text: no entry for id 'mix0_spk2_2'"),
    ],
)
def test_what_does_not_agree(long: MixtureDir, name: str, old: str, new: str, cause: str) -> None:
    assert validate(long.path) == []
    change(long.path / name, old, new)
    with pytest.raises(UserError, match=cause):
        read_segment_texts(long)
    (problem,) = validate(long.path)
    assert cause in str(problem)


def test_they_appear_with_their_directory_or_not_at_all(data_dirs, tmp_path: Path) -> None:
    data = replace(data_dirs.mixtures, path=tmp_path / "new")
    with pytest.raises(UserError, match="'mix0 1' is empty or holds white space"):
        data.write({SEGMENTS: {"mix0 1": "mix0 0 1"}})
    assert not data.path.exists()


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("mix0_spk2_2", "mix0_x_2", "segments:4: the id 'mix0_x_2' is not mix0_spkSPEAKER_NUMBER"),
        ("mix0_spk2_1", "mix0_spk1_3", "are not the words of its speakers"),
        ("mix0_spk2_2", "mix0_spk3_1", "are not the words of its speakers"),
    ],
)
def test_an_utterance_is_of_its_speaker(long: MixtureDir, old: str, new: str, cause: str) -> None:
    for name in (SEGMENTS, SEGMENT_TEXT):
        change(long.path / name, old, new)
    with pytest.raises(UserError, match=cause):
        read_segment_texts(long)


def test_a_mixture_that_is_none_of_the_directory(long: MixtureDir) -> None:
    with open(long.path / SEGMENTS, "a") as segments, open(long.path / SEGMENT_TEXT, "a") as text:
        segments.write("other_spk1_1 other 0.0 1.0\n")
        text.write("other_spk1_1 WORDS\n")
    with pytest.raises(UserError, match="segments:5: 'other' is no mixture of the directory"):
        check_segments(long)
    whole = read_segment_texts(long)
    assert whole.keys() == {"mix0"}  # of a part of a directory the tables say more


def test_a_part_of_a_directory(data_dirs, long: MixtureDir) -> None:
    assert read_segment_texts(replace(long, mixtures=())) == {}


def test_the_text_alone_is_missing(long: MixtureDir) -> None:
    (long.path / SEGMENT_TEXT).unlink()
    with pytest.raises(UserError, match="segment_text: no such file"):
        read_segment_texts(long)
