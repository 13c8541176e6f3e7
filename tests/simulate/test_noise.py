import numpy as np
import pytest

from sepasr.simulate import noise
from sepasr.simulate.noise import KINDS, NOISE_RMS, NOISE_S, draw_noise
from sepasr.simulate.voices import BABBLE_VOICES, FS


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def samples(kind):
    return draw_noise(kind, "tr", np.random.default_rng(0))


def test_length_and_level(samples):
    assert samples.dtype == np.float32
    assert len(samples) == NOISE_S * FS
    assert np.sqrt(np.mean(samples.astype(np.float64) ** 2)) == pytest.approx(NOISE_RMS, rel=1e-4)
    assert np.abs(samples).max() < 1.0


def test_it_is_not_stationary(samples):
    level = 10 * np.log10(np.mean(samples[: 140 * 1600].reshape(140, 1600) ** 2, axis=1))
    # The level of white noise in frames of 0.1 s varies by 0.15 dB (standard deviation).
    assert level.std() > 1.0


def test_a_seed_gives_the_same_samples_and_another_seed_others(kind, samples):
    np.testing.assert_array_equal(draw_noise(kind, "tr", np.random.default_rng(0)), samples)
    other = draw_noise(kind, "tr", np.random.default_rng(1))
    assert abs(np.corrcoef(samples, other)[0, 1]) < 0.2


@pytest.mark.parametrize("split", ["tr", "cv", "tt"])
def test_the_voices_of_babble_are_those_of_its_set_alone(split, monkeypatch):
    heard = set()

    def speak(speaker, sentence, rng):
        heard.add(speaker.voice)
        return rng.standard_normal(15 * FS, dtype=np.float32)

    monkeypatch.setattr(noise, "speak", speak)
    for seed in range(6):
        draw_noise("babble", split, np.random.default_rng(seed))
    assert heard == set(BABBLE_VOICES[split])
    assert not any(heard & set(BABBLE_VOICES[other]) for other in BABBLE_VOICES if other != split)
