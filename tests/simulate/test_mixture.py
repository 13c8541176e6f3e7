from itertools import product

import numpy as np
import pytest

from sepasr.simulate import mixture, voices
from sepasr.simulate.mixture import MixturePlan, draw_pair, draw_plan, render, utterance_id
from sepasr.simulate.voices import FS, TEST, natural_speaker


def plan(seed: int, index: int = 0, snr_db: float = 10.0) -> MixturePlan:
    return draw_plan(
        np.random.default_rng(seed),
        index,
        part="test",
        speakers=TEST,
        rt60_s=(0.2, 0.4),
        snr_db=(snr_db, snr_db),
        gain_db=2.5,
        num_noises=5,
    )


def tones(lengths=(2 * FS, 3 * FS)) -> tuple[np.ndarray, np.ndarray]:
    """Two stand-ins for speech, of the level of speech."""
    rng = np.random.default_rng(0)
    first, second = (rng.standard_normal(n).astype(np.float32) for n in lengths)
    return 0.05 * first, 0.05 * second


def noise() -> np.ndarray:
    return np.random.default_rng(1).standard_normal(12 * FS).astype(np.float32)


@pytest.fixture(scope="module")
def rendered():
    drawn = plan(0)
    return drawn, render(drawn, tones(), noise())


def test_pairs_can_be_told_apart():
    rng = np.random.default_rng(0)
    pairs = [draw_pair(rng, TEST) for _ in range(400)]
    for a, b in pairs:
        assert a.id != b.id
        assert a.engine != b.engine or max(a.warp, b.warp) / min(a.warp, b.warp) >= 1.2
    mixed = np.mean([a.engine != b.engine for a, b in pairs])
    assert 0.4 < mixed < 0.6
    # Every speaker comes first and comes second.
    assert {a.id for a, _ in pairs} == {b.id for _, b in pairs}
    assert {a.engine + b.engine for a, b in pairs} == {
        "".join(both) for both in product(("hibari", "joe"), repeat=2)
    }


def test_names_are_those_of_wsj0_2mix():
    drawn = plan(1, index=60)
    first, gain_1, second, gain_2 = drawn.name.split("_")
    assert first == f"{drawn.speakers[0].id}c0120"
    assert second == f"{drawn.speakers[1].id}c0121"
    assert float(gain_1) == -float(gain_2) == pytest.approx(drawn.gains_db[0], abs=1e-5)
    assert abs(float(gain_1)) <= 2.5
    assert utterance_id(natural_speaker("joe", 0.875), 7) == "j30c0007"


def test_the_mixture_is_exactly_the_sum_of_its_parts(rendered):
    for signals in rendered[1]:
        total = (signals.s1_reverb + signals.s2_reverb) + signals.noise
        assert total.dtype == np.float32
        np.testing.assert_array_equal(signals.mix_both_reverb, total)


def test_noise_has_the_stated_distance_to_the_louder_speaker(rendered):
    drawn, (full, _) = rendered
    ends = [start + len(tone) for start, tone in zip(drawn.starts, tones(), strict=True)]
    sources = (full.s1_reverb, full.s2_reverb)
    power = [
        np.mean(source[start:end].astype(np.float64) ** 2)
        for source, start, end in zip(sources, drawn.starts, ends, strict=True)
    ]
    snr_db = 10 * np.log10(max(power) / np.mean(full.noise.astype(np.float64) ** 2))
    assert snr_db == pytest.approx(10.0, abs=0.01)


def test_gains_are_those_in_the_name(rendered):
    drawn, (full, _) = rendered
    energy = [np.sum(s.astype(np.float64) ** 2) for s in (full.s1_anechoic, full.s2_anechoic)]
    difference = drawn.gains_db[0] - drawn.gains_db[1] + 10 * np.log10(2 / 3)  # 2 s against 3 s
    assert 10 * np.log10(energy[0] / energy[1]) == pytest.approx(difference, abs=0.3)


def test_in_max_noise_begins_before_speech_and_ends_after(rendered):
    drawn, (full, _) = rendered
    low, high = mixture.LEAD_S
    for start, source in zip(drawn.starts, (full.s1_anechoic, full.s2_anechoic), strict=True):
        assert low * FS <= start <= (high + mixture.STAGGER_S) * FS
        assert not np.any(source[:start])
    length = max(start + len(t) for start, t in zip(drawn.starts, tones(), strict=True))
    assert len(full.mix_both_reverb) == length + drawn.tail
    assert np.all(np.abs(full.noise[:100]) > 0)
    assert abs(drawn.starts[0] - drawn.starts[1]) <= mixture.STAGGER_S * FS


def test_min_is_max_at_the_shorter_source(rendered):
    drawn, (full, cut) = rendered
    start, stop = drawn.starts[0], drawn.starts[0] + 2 * FS
    np.testing.assert_array_equal(cut.mix_both_reverb, full.mix_both_reverb[start:stop])
    np.testing.assert_array_equal(cut.s2_anechoic, full.s2_anechoic[start:stop])


def test_a_loud_mixture_is_scaled_as_a_whole():
    drawn = plan(2)
    quiet, _ = render(drawn, tones(), noise())
    loud, _ = render(drawn, tuple(20 * tone for tone in tones()), noise())
    assert np.abs(loud.mix_both_reverb).max() == pytest.approx(mixture.PEAK, rel=1e-4)
    scale = np.abs(loud.noise).max() / np.abs(quiet.noise).max()
    np.testing.assert_allclose(loud.s1_anechoic, scale * quiet.s1_anechoic, atol=1e-4)


def test_reverberant_and_anechoic_sources_are_aligned(rendered):
    _, (full, _) = rendered
    for reverb, anechoic in (
        (full.s1_reverb, full.s1_anechoic),
        (full.s2_reverb, full.s2_anechoic),
    ):
        spectrum = np.fft.rfft(reverb, 2**18) * np.conj(np.fft.rfft(anechoic, 2**18))
        assert np.fft.irfft(spectrum).argmax() == 0


def test_sentences_are_of_the_part_and_differ():
    for seed in range(20):
        first, second = plan(seed).sentences
        assert first != second


def test_stated_speech_level_leaves_headroom():
    assert voices.SPEECH_RMS * 10 ** (2.5 / 20) < mixture.PEAK / 8
