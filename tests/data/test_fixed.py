"""Fixed mixtures: each once per pass, a segment of it that is a function of seed and number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sepasr.data.audio import read_mono, write_audio
from sepasr.data.fixed import FixedMixtures
from sepasr.errors import UserError

FS = 16000
SAMPLES = 6400  # between the shortest and the longest of the mixtures


def mixtures(data_dirs, seed=0, segment_s=SAMPLES / FS) -> FixedMixtures:
    return FixedMixtures(data_dirs.mixtures, segment_s, seed)


def test_each_mixture_comes_once_per_pass(data_dirs):
    ids = [entry.id for entry in data_dirs.mixtures.mixtures]
    n = len(ids)
    passes = [[mixtures(data_dirs).mixture(n * p + i).id for i in range(n)] for p in range(4)]
    assert all(sorted(one) == ids for one in passes)
    assert len(set(map(tuple, passes))) > 1


def test_an_item_is_a_segment_of_its_files(data_dirs):
    dataset, starts = mixtures(data_dirs), set()
    for index in range(40):
        item, entry = dataset[index], dataset.mixture(index)
        assert item.mixture.shape == (SAMPLES,)
        assert item.references.shape == (2, SAMPLES)
        assert item.mixture.dtype == item.references.dtype == np.float32
        whole = np.pad(read_mono(entry.mixture), (0, SAMPLES))
        (start,) = (
            start
            for start in range(max(len(whole) - 2 * SAMPLES, 0) + 1)
            if np.array_equal(whole[start : start + 50], item.mixture[:50])
        )
        starts.add((entry.id, start))
        np.testing.assert_array_equal(item.mixture, whole[start : start + SAMPLES])
        listed = len(whole) - SAMPLES
        assert item.length == (listed if listed < SAMPLES else None)
        for reference, path in zip(item.references, entry.references, strict=True):
            padded = np.pad(read_mono(path), (0, SAMPLES))
            np.testing.assert_array_equal(reference, padded[start : start + SAMPLES])
    assert len(starts) > 20


def test_segments_on_a_grid_come_again(data_dirs):
    grid = 1600
    free = mixtures(data_dirs)
    dataset = FixedMixtures(data_dirs.mixtures, SAMPLES / FS, 0, grid_s=grid / FS)
    found: dict[str, set[bytes]] = {}
    for index in range(60):
        item, entry = dataset[index], dataset.mixture(index)
        assert entry == free.mixture(index)
        whole = np.pad(read_mono(entry.mixture), (0, SAMPLES))
        last = max(round(entry.duration_s * FS) - SAMPLES, 0)
        segments = [whole[start : start + SAMPLES] for start in range(0, last + 1, grid)]
        assert sum(np.array_equal(item.mixture, segment) for segment in segments) == 1
        found.setdefault(entry.id, set()).add(item.mixture.tobytes())
    assert max(map(len, found.values())) > 1


def test_an_item_is_a_function_of_seed_and_number(data_dirs):
    one, again, other = mixtures(data_dirs), mixtures(data_dirs), mixtures(data_dirs, seed=1)
    expected = [one[index].mixture for index in range(7)]
    for index in (3, 6, 0):
        np.testing.assert_array_equal(again[index].mixture, expected[index])
    assert any(not np.array_equal(other[i].mixture, expected[i]) for i in range(7))


def test_segments_in_which_a_speaker_is_silent_are_drawn_again(data_dirs):
    """As in mixtures that are as long as their longer sentence."""
    for entry in data_dirs.mixtures.mixtures:
        reference = read_mono(entry.references[1])
        reference[1000:] = 0
        write_audio(entry.references[1], reference, FS)
    dataset = mixtures(data_dirs, segment_s=0.05)
    heard = [np.abs(dataset[index].references[1]).max() > 0 for index in range(30)]
    assert np.mean(heard) > 0.6  # of segments drawn once a fifth at most would do


def test_files_that_are_shorter_than_listed_are_refused(data_dirs):
    entry = data_dirs.mixtures.mixtures[0]
    write_audio(entry.references[1], np.ones(100, np.float32), FS)
    only = replace(data_dirs.mixtures, mixtures=(entry,))
    with pytest.raises(UserError, match=r"mix0_s2\.wav: (100 samples where .* 9000|no samples)"):
        FixedMixtures(only, 0.4, seed=0)[0]
