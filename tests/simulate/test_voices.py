from itertools import chain
from pathlib import Path

import espeakng_loader
import numpy as np
import pytest

from sepasr.simulate import voices
from sepasr.simulate.voices import FS, Speaker, natural_speaker, speak

SENTENCE = "the old farmer carried the basket near the fence"
SPEAKERS = {
    "hibari": natural_speaker("hibari", 0.9),
    "joe": natural_speaker("joe", 1.1),
    "espeak": voices.TRAIN["espeak"][0],
}


def say(speaker: Speaker, seed: int = 0, sentence: str = SENTENCE) -> np.ndarray:
    return speak(speaker, sentence, np.random.default_rng(seed))


def pitch_hz(samples: np.ndarray) -> float:
    """Median over voiced frames of the strongest autocorrelation lag between 70 and 400 Hz."""
    lags = np.arange(FS // 400, FS // 70)
    found = []
    for start in range(0, len(samples) - 2048, 512):
        frame = samples[start : start + 2048]
        power = np.sum(frame**2)
        correlation = np.array([np.sum(frame[lag:] * frame[:-lag]) for lag in lags])
        if power > 0.5 and correlation.max() > 0.5 * power:
            found.append(FS / lags[correlation.argmax()])
    return float(np.median(found))


def test_no_speaker_is_in_two_sets():
    train = [*chain.from_iterable(voices.TRAIN.values())]
    everyone = [*train, *voices.DEV, *voices.TEST]
    assert len({speaker.id for speaker in everyone}) == len(everyone)
    assert len({(s.engine, round(s.warp, 6), s.voice) for s in everyone}) == len(everyone)
    assert all(len(speaker.id) == 3 for speaker in everyone)
    assert {speaker.engine for speaker in (*voices.DEV, *voices.TEST)} == {"hibari", "joe"}


def test_babble_is_by_voices_that_nobody_else_has():
    heard = [speaker.voice for speaker in voices.TRAIN["espeak"]]
    heard += chain.from_iterable(voices.BABBLE_VOICES.values())
    assert len(set(heard)) == len(heard)


@pytest.mark.parametrize("engine", SPEAKERS)
def test_speech_has_the_stated_level_and_length(engine):
    samples = say(SPEAKERS[engine])
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert np.sqrt(np.mean(samples.astype(np.float64) ** 2)) == pytest.approx(voices.SPEECH_RMS)
    assert 2.0 < len(samples) / FS < 4.5
    assert np.abs(samples).max() < 1.0


@pytest.mark.parametrize("engine", SPEAKERS)
def test_silence_at_both_ends_is_trimmed(engine):
    samples = say(SPEAKERS[engine])
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    level = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)
    loud = np.flatnonzero(level > level.max() + voices.SILENCE_DB)
    assert loud[0] <= voices.MARGIN_S * 100
    assert len(level) - 1 - loud[-1] <= voices.MARGIN_S * 100 + 1


@pytest.mark.parametrize("engine", SPEAKERS)
def test_a_seed_gives_the_same_samples_whatever_was_said_before(engine):
    first = say(SPEAKERS[engine], seed=1)
    other = say(SPEAKERS[engine], seed=2, sentence="nobody noticed the shy actor on the stage")
    assert len(other) != len(first)
    np.testing.assert_array_equal(say(SPEAKERS[engine], seed=1), first)
    assert len(say(SPEAKERS[engine], seed=3)) != len(first)  # another tempo


@pytest.mark.parametrize("engine", ["hibari", "joe"])
def test_a_warp_moves_the_pitch_and_keeps_the_tempo(engine):
    low, high = say(natural_speaker(engine, 0.85)), say(natural_speaker(engine, 1.15))
    assert len(high) == pytest.approx(len(low), rel=0.2)  # played faster alone: 0.74 of it
    assert pitch_hz(high) / pitch_hz(low) == pytest.approx(1.15 / 0.85, rel=0.1)


def test_the_id_holds_the_warp():
    assert natural_speaker("hibari", 0.8125).id == "h25"
    assert all(s.warp == pytest.approx(0.5 + 0.0125 * int(s.id[1:])) for s in voices.TEST)


def test_espeak_has_every_voice():
    # espeak-ng takes an unknown variant of a voice for the plain voice, without a word.
    variants = {path.name for path in Path(espeakng_loader.get_data_path(), "voices/!v").iterdir()}
    named = [speaker.voice for speaker in (*voices.TRAIN["espeak"], *voices.TEST_ESPEAK)]
    named += chain.from_iterable(voices.BABBLE_VOICES.values())
    assert {name.split("+")[1] for name in named} <= variants
    assert {name.split("+")[0] for name in named} <= {"en-us", "en-gb-x-rp", "en-gb-scotland"}


def test_an_unknown_espeak_voice_is_named():
    with pytest.raises(ValueError, match="xx-none"):
        say(Speaker("e99", "espeak", voice="xx-none"))
