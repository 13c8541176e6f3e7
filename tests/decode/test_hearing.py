from __future__ import annotations

import numpy as np
import pytest

from sepasr.decode.hearing import FS, split_windows, to_level


def _rms_db(waveform: np.ndarray) -> float:
    return 10 * np.log10(np.mean(np.square(waveform, dtype=np.float64)))


@pytest.mark.parametrize("gain", [1e-3, 0.1, 1.0, 40.0])
def test_level_does_not_depend_on_scale(gain: float) -> None:
    noise = np.random.default_rng(0).standard_normal(FS).astype(np.float32)
    levelled = to_level(np.float32(gain) * noise)
    assert levelled.dtype == np.float32
    assert _rms_db(levelled) == pytest.approx(-25, abs=1e-4)
    np.testing.assert_allclose(levelled, to_level(noise), rtol=1e-5)


def test_peak_stays_below_full_scale() -> None:
    click = np.zeros(FS, dtype=np.float32)
    click[100] = 0.1
    assert np.abs(to_level(click)).max() == pytest.approx(0.999)


@pytest.mark.parametrize("samples", [np.zeros(FS), np.full(FS, 1e-5), np.zeros(0)])
def test_silence_is_left_alone(samples: np.ndarray) -> None:
    silent = samples.astype(np.float32)
    np.testing.assert_array_equal(to_level(silent), silent)


def test_windows_are_the_stream_cut_in_its_pauses() -> None:
    rng = np.random.default_rng(1)
    stream = rng.standard_normal(75 * FS).astype(np.float32)
    pauses = [(24.0, 24.6), (50.2, 50.5)]
    for start, end in pauses:
        stream[round(start * FS) : round(end * FS)] *= 0.01
    windows = split_windows(stream)
    np.testing.assert_array_equal(np.concatenate(windows), stream)
    assert max(len(window) for window in windows) <= 30 * FS
    cuts = np.cumsum([len(window) for window in windows])[:-1] / FS
    assert len(cuts) == len(pauses)
    for cut, (start, end) in zip(cuts, pauses, strict=True):
        assert start + 0.095 <= cut <= end - 0.095  # the middle of its quietest 0.2 s


def test_windows_of_equal_loudness_end() -> None:
    windows = split_windows(np.ones(100 * FS, dtype=np.float32))
    assert sum(len(window) for window in windows) == 100 * FS
    assert all(20 * FS <= len(window) <= 30 * FS for window in windows[:-1])


def test_short_streams_are_padded_to_a_tenth_of_a_second() -> None:
    (window,) = split_windows(np.ones(10, dtype=np.float32))
    assert window.shape == (FS // 10,)
    assert window.sum() == 10
