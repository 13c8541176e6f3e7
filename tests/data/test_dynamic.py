"""Dynamic mixing: items are pure functions of seed and number, drawn from the stated ranges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from sepasr.data.audio import read_audio, read_mono, resample, write_audio
from sepasr.data.datadir import Room, Utterance
from sepasr.data.dynamic import DynamicMixtures, MixingConfig, draw_noise
from sepasr.data.dynamic_utterances import DynamicUtterances
from sepasr.errors import UserError

FS = 16000
LEVEL = 0.1  # of every sample of the sources, see data_dirs
CONFIG = MixingConfig(segment_s=0.1)
SAMPLES = 1600


def mixtures(data_dirs, config=CONFIG, seed=0, **changes) -> DynamicMixtures:
    utterances = replace(data_dirs.utterances, **changes)
    return DynamicMixtures(utterances, data_dirs.noise, data_dirs.rooms, config, seed)


def utterances(data_dirs, seed=0, **settings) -> DynamicUtterances:
    return DynamicUtterances(
        data_dirs.utterances, data_dirs.noise, data_dirs.rooms, seed, **settings
    )


def arrays(item) -> list[np.ndarray]:
    return [value for value in vars(item).values() if isinstance(value, np.ndarray)]


def equal(a, b) -> bool:
    return all(map(np.array_equal, arrays(a), arrays(b)))


def as_it_is(item):
    return item


def power_db(signal) -> float:
    return 10 * np.log10(np.mean(np.square(signal, dtype=np.float64)))


def with_another_room(data_dirs):
    """The echoes of the second room are as late, but 0.1 stronger."""
    (room,) = data_dirs.rooms.rooms
    reverb, other = read_audio(room.reverb)[0], room.reverb.with_name("other_reverb.wav")
    reverb[20] += np.float32(0.1)
    write_audio(other, reverb, FS)
    rooms = (room, Room("other", other, room.anechoic))
    return replace(data_dirs, rooms=replace(data_dirs.rooms, rooms=rooms))


def echo_of(image, direct) -> float:
    """How strong the echo is that an image has, after 20 samples."""
    delayed = np.pad(direct, (20, 0))[: len(direct)]
    return round(float(delayed @ (image - direct) / (delayed @ delayed)), 3)


def drawn_speakers(dataset, draws=2000) -> list[list[str]]:
    return [dataset.draw_speakers(np.random.default_rng([1, n])) for n in range(draws)]


@pytest.mark.parametrize("make", [mixtures, utterances])
@pytest.mark.parametrize("workers", [0, 2])
def test_an_item_is_a_function_of_seed_and_number(data_dirs, make, workers):
    numbers = [7, 0, 1000003, 3, 7, 1]
    expected = {n: make(data_dirs)[n] for n in sorted(numbers)}
    loader = DataLoader(
        make(data_dirs), sampler=numbers, batch_size=None, num_workers=workers, collate_fn=as_it_is
    )
    items = list(loader)
    assert all(equal(item, expected[n]) for n, item in zip(numbers, items, strict=True))
    assert not equal(items[1], items[3])
    assert not any(equal(make(data_dirs, seed=1)[n], expected[n]) for n in numbers)


def test_shapes_and_types(data_dirs):
    item = mixtures(data_dirs, replace(CONFIG, num_speakers=3))[0]
    assert (item.mixture.shape, item.references.shape) == ((SAMPLES,), (3, SAMPLES))
    assert item.mixture.dtype == item.references.dtype == np.float32


def test_speakers_differ_and_each_is_drawn(data_dirs):
    pairs = drawn_speakers(mixtures(data_dirs))
    assert all(len(set(pair)) == 2 for pair in pairs)
    assert {speaker for pair in pairs for speaker in pair} == set(data_dirs.utterances.genders)


def test_speakers_are_drawn_as_often_as_they_have_utterances(data_dirs):
    fewer = tuple(u for u in data_dirs.utterances.utterances if u.id not in ("fa1", "fb1"))
    config = replace(CONFIG, num_speakers=1)
    drawn = [s for (s,) in drawn_speakers(mixtures(data_dirs, config, utterances=fewer))]
    assert drawn.count("fa") / len(drawn) == pytest.approx(0.1, abs=0.03)
    assert drawn.count("mc") / len(drawn) == pytest.approx(0.2, abs=0.03)


def test_similar_speakers_are_never_mixed(data_dirs):
    similar = {"fa": ("fb", "ma"), "fb": ("fa",), "ma": ("fa",)}
    for share in (None, 0.5):
        dataset = mixtures(data_dirs, replace(CONFIG, same_gender=share), similar=similar)
        pairs = {frozenset(pair) for pair in drawn_speakers(dataset)}
        assert len(pairs) == 15 - 2  # all pairs of six but those


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_share_of_mixtures_of_one_gender(data_dirs, share):
    pairs = drawn_speakers(mixtures(data_dirs, replace(CONFIG, same_gender=share)))
    women = sum(a[0] == b[0] == "f" for a, b in pairs) / len(pairs)
    men = sum(a[0] == b[0] == "m" for a, b in pairs) / len(pairs)
    tolerance = 0.04 if 0 < share < 1 else 0
    assert women + men == pytest.approx(share, abs=tolerance)
    assert women == pytest.approx(share / 2, abs=0.04)


def test_noise_is_at_the_drawn_level_below_the_loudest_image(data_dirs):
    config = replace(CONFIG, reference="reverb", snr_db=(-6.0, 3.0), gain_db=(-10.0, 10.0))
    dataset = mixtures(data_dirs, config)
    snrs = []
    for item in map(dataset.__getitem__, range(60)):
        noise = item.mixture - item.references.sum(0)
        snrs.append(max(map(power_db, item.references)) - power_db(noise))
    assert min(snrs) >= -6.001
    assert max(snrs) <= 3.001
    assert max(snrs) - min(snrs) > 6  # it is drawn, not fixed


def test_noise_may_be_below_the_loudest_anechoic_speech(data_dirs):
    config = replace(CONFIG, snr_of="anechoic", snr_db=(-6.0, 3.0), gain_db=(-10.0, 10.0))
    dataset = mixtures(data_dirs, config)
    heard = mixtures(data_dirs, replace(config, reference="reverb"))
    snrs = []
    for item, images in ((dataset[n], heard[n]) for n in range(60)):
        assert np.array_equal(item.mixture, images.mixture)
        noise = item.mixture - images.references.sum(0)
        snrs.append(max(map(power_db, item.references)) - power_db(noise))
    assert min(snrs) >= -6.001
    assert max(snrs) <= 3.001
    assert max(snrs) - min(snrs) > 6
    with pytest.raises(UserError, match=r"mixing\.snr_of is 'dry', not anechoic or reverb"):
        replace(config, snr_of="dry")


def test_references_are_the_direct_paths_at_the_positions_of_the_images(data_dirs):
    reverb = mixtures(data_dirs, replace(CONFIG, reference="reverb"))
    anechoic = mixtures(data_dirs)
    for n in range(20):
        np.testing.assert_array_equal(reverb[n].mixture, anechoic[n].mixture)
        echoes = set()
        for image, direct in zip(reverb[n].references, anechoic[n].references, strict=True):
            delayed, echo = np.pad(direct, (20, 0))[:SAMPLES], echo_of(image, direct)
            np.testing.assert_allclose(image, direct + np.float32(echo) * delayed, atol=1e-6)
            echoes.add(echo)
        assert len(echoes) == 2
        assert echoes < {0.2, 0.4, 0.6}  # as data_dirs has them


def test_every_position_of_every_room_is_drawn(data_dirs):
    two = with_another_room(data_dirs)
    reverb, anechoic = mixtures(two, replace(CONFIG, reference="reverb")), mixtures(two)
    pairs = [
        {echo_of(*one) for one in zip(reverb[n].references, anechoic[n].references, strict=True)}
        for n in range(60)
    ]
    assert set().union(*pairs) == {0.2, 0.4, 0.6} | {0.3, 0.5, 0.7}
    assert all(pair < {0.2, 0.4, 0.6} or pair < {0.3, 0.5, 0.7} for pair in pairs)  # in one room
    single = utterances(two, room_share=1, noise_share=0)
    dry = utterances(two, room_share=0, noise_share=0)
    echoes = {echo_of(single[n].waveform, dry[n].waveform) for n in range(60)}
    assert echoes == {0.2, 0.4, 0.6} | {0.3, 0.5, 0.7}


def test_every_noise_is_drawn_from_anywhere_in_it(data_dirs):
    dataset = mixtures(data_dirs, replace(CONFIG, reference="reverb"))
    noises = [read_mono(noise.path) for noise in data_dirs.noise.noises]
    heard = set()
    for item in map(dataset.__getitem__, range(60)):
        noise = item.mixture - item.references.sum(0)
        likeness = np.stack([np.correlate(whole, noise, "valid") for whole in noises])
        number, start = np.unravel_index(likeness.argmax(), likeness.shape)
        excerpt = noises[number][start : start + SAMPLES]
        assert np.corrcoef(excerpt, noise)[0, 1] > 0.9999
        heard.add((int(number), int(start)))
    starts = {start for _, start in heard}
    assert {number for number, _ in heard} == {0, 1}
    assert len(starts) > 40
    assert min(starts) < 240
    assert max(starts) > 2160  # of 2400


def test_a_speaker_says_any_of_their_utterances(data_dirs):
    of_one = tuple(u for u in data_dirs.utterances.utterances if u.speaker == "fa")
    config = replace(CONFIG, num_speakers=1, speed_percent=(100, 100))
    dataset = mixtures(data_dirs, config, utterances=of_one)
    lengths = {int((np.abs(dataset[n].references) > 0.01).sum()) for n in range(20)}
    assert lengths == {800, SAMPLES}  # of 800 and 2400


def test_without_rooms_and_noise_the_sources_are_their_own_references(data_dirs):
    for noise in (data_dirs.noise, None):
        dataset = DynamicMixtures(data_dirs.utterances, noise, None, CONFIG, 0)
        spectra = set()
        for item in map(dataset.__getitem__, range(10)):
            rest = item.mixture - item.references.sum(0)
            assert (np.abs(rest).max() > 0.01) == (noise is not None)
            spectra |= {float(np.abs(reference).max()) for reference in item.references}
        assert len(spectra) == 20
    # Without a change of speed and level they are the files.
    config = replace(CONFIG, gain_db=(0, 0), speed_percent=(100, 100))
    item = DynamicMixtures(data_dirs.utterances, None, None, config, 0)[0]
    assert set(np.abs(item.references).ravel()) <= {0, np.float32(LEVEL)}


def test_without_rooms_and_noise_an_utterance_is_clean(data_dirs):
    shares = {"room_share": 1, "noise_share": 1, "speed_percent": (100, 100)}
    dataset = DynamicUtterances(data_dirs.utterances, None, None, 0, **shares)
    expected = read_mono(dataset.utterance(3).path)
    np.testing.assert_array_equal(dataset[3].waveform, expected)


def test_gains_cover_their_range(data_dirs):
    config = replace(CONFIG, gain_db=(-2.0, 4.0), speed_percent=(100, 100))
    dataset = mixtures(data_dirs, config)
    peaks = np.concatenate([np.abs(dataset[n].references).max(1) for n in range(60)])
    gains = 20 * np.log10(peaks / LEVEL)
    assert gains.min() == pytest.approx(-2, abs=0.3)
    assert gains.max() == pytest.approx(4, abs=0.3)
    assert (gains > -2.001).all()
    assert (gains < 4.001).all()


def test_speeds_cover_their_range(data_dirs, tmp_path):
    tone = np.sin(2 * np.pi * 2000 * np.arange(2 * FS) / FS)
    write_audio(tmp_path / "tone.wav", tone, FS)
    tones = tuple(Utterance(f"{s}1", tmp_path / "tone.wav", "LA", s, 2.0) for s in ("fa", "ma"))
    config = replace(CONFIG, segment_s=1.0, speed_percent=(95, 105))
    dataset = mixtures(data_dirs, config, utterances=tones)
    references = np.concatenate([dataset[n].references for n in range(40)])
    frequencies_hz = np.abs(np.fft.rfft(references * np.hanning(FS))).argmax(1)
    assert set(frequencies_hz) == set(range(1900, 2101, 20))


@pytest.mark.parametrize("samples", [800, 2400])
def test_short_sources_are_placed_and_long_ones_cut(data_dirs, samples):
    chosen = tuple(u for u in data_dirs.utterances.utterances if u.duration_s == samples / FS)
    sources = [np.sign(read_mono(u.path)) for u in chosen]
    config = replace(CONFIG, speed_percent=(100, 100))
    dataset = mixtures(data_dirs, config, utterances=chosen)
    starts = set()
    for n in range(20):
        for reference in dataset[n].references:
            heard = np.sign(np.where(np.abs(reference) > 0.01, reference, 0))
            (active,) = np.nonzero(heard)
            assert len(active) == active[-1] - active[0] + 1 == min(samples, SAMPLES)
            speech = heard[active]
            matches = [
                start - active[0]
                for source in sources
                for start in range(samples - len(speech) + 1)
                if np.array_equal(source[start : start + len(speech)], speech)
            ]
            assert len(matches) == 1
            starts.update(matches)
    assert len(starts) > 30
    assert all(-SAMPLES < start <= abs(samples - SAMPLES) for start in starts)


def test_noise_that_is_too_short_is_repeated_and_silence_stays(data_dirs, tmp_path):
    long = replace(CONFIG, segment_s=0.5)
    assert np.abs(mixtures(data_dirs, long)[0].mixture[-2000:]).max() > 0.001
    for noise in data_dirs.noise.noises:
        write_audio(noise.path, np.zeros(4000), FS)
    item = mixtures(data_dirs, replace(CONFIG, reference="reverb"))[0]
    np.testing.assert_allclose(item.mixture, item.references.sum(0), atol=1e-6)


def test_noise_is_heard_on_the_left_at_the_rate_of_the_mixture(data_dirs):
    def draw(samples, fs):
        return draw_noise(data_dirs.noise, samples, fs, np.random.default_rng(0))

    excerpt, whole = draw(1600, FS), draw(4000, FS)
    for noise in data_dirs.noise.noises:
        left = read_mono(noise.path)
        write_audio(noise.path, np.stack([left, np.zeros_like(left)], axis=1), FS)
    np.testing.assert_array_equal(draw(1600, FS), excerpt)
    halved = resample(torch.from_numpy(whole), FS, FS // 2).numpy()
    np.testing.assert_array_equal(draw(2000, FS // 2), halved)


def test_noise_that_has_become_shorter_is_refused(data_dirs):
    for noise in data_dirs.noise.noises:
        write_audio(noise.path, np.zeros(3000), FS)
    with pytest.raises(UserError, match=r"noise\d\.wav: 3000 samples where .* 4000 for 'noise"):
        mixtures(data_dirs, replace(CONFIG, segment_s=0.3))[0]


def test_one_of_two_speakers_is_silent_for_a_while(data_dirs):
    plain = replace(CONFIG, segment_s=0.05, speed_percent=(100, 100))
    config = replace(plain, lone_share=0.5, silent=(0.3, 0.6))
    whole, partly = mixtures(data_dirs, plain), mixtures(data_dirs, config)
    kinds, silences = set(), []
    for n in range(200):
        before, after = whole[n].references, partly[n].references
        changed = [s for s in range(2) if not np.array_equal(before[s], after[s])]
        kinds.add(tuple(changed))
        for speaker in changed:
            silent = np.abs(after[speaker]) < 1e-6
            # One stretch, at the beginning or the end; all else as it would have been.
            assert np.abs(np.diff(silent.astype(int))).sum() == 1
            np.testing.assert_allclose(after[speaker][~silent], before[speaker][~silent], atol=1e-6)
            silences.append((silent.mean(), silent[0]))
    assert kinds == {(), (0,), (1,)}
    assert len(silences) == pytest.approx(100, abs=25)
    assert {at_the_beginning for _, at_the_beginning in silences} == {True, False}
    shares = [share for share, _ in silences]
    assert 0.3 <= min(shares) < 0.33
    assert 0.57 < max(shares) <= 0.6


def test_nobody_is_silent_for_all_they_say(data_dirs):
    short = tuple(u for u in data_dirs.utterances.utterances if u.duration_s == 800 / FS)
    config = replace(CONFIG, lone_share=1.0, silent=(0.7, 0.9))
    dataset = mixtures(data_dirs, config, utterances=short)
    assert all(np.abs(dataset[n].references).max(1).min() > 0.01 for n in range(50))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_speakers": 0}, "mixing.num_speakers is 0"),
        ({"reference": "reverberant"}, "mixing.reference is 'reverberant'"),
        ({"same_gender": 1.5}, "mixing.same_gender is 1.5"),
        ({"lone_share": 1.5}, "mixing.lone_share is 1.5"),
        ({"lone_share": 0.1, "utterances": 2}, "one utterance"),
        ({"silent": (0.2, 1.2)}, "mixing.silent"),
        ({"silent": (-0.1, 0.2)}, "mixing.silent"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        MixingConfig(**settings)


def test_too_few_speakers_are_refused(data_dirs):
    with pytest.raises(UserError, match="6 speakers, too few for mixtures of 7"):
        mixtures(data_dirs, replace(CONFIG, num_speakers=7))


@pytest.mark.parametrize("genders", [{}, dict.fromkeys(["fa", "fb", "fc", "ma", "mb", "mc"], "f")])
def test_same_gender_needs_women_and_men(data_dirs, genders):
    mixtures(data_dirs, genders=genders)
    with pytest.raises(UserError, match="spk2gender"):
        mixtures(data_dirs, replace(CONFIG, same_gender=0.5), genders=genders)


def test_mixtures_of_one_gender_need_as_many_of_each(data_dirs):
    one_man = tuple(u for u in data_dirs.utterances.utterances if u.speaker not in ("ma", "mb"))
    pairs = drawn_speakers(mixtures(data_dirs, replace(CONFIG, same_gender=0), utterances=one_man))
    assert all("mc" in pair for pair in pairs)
    with pytest.raises(UserError, match=r"3 women and 1 men .* needs 2 of each"):
        mixtures(data_dirs, replace(CONFIG, same_gender=0.5), utterances=one_man)


def test_speakers_of_whom_none_may_be_mixed_are_refused(data_dirs):
    names = tuple(data_dirs.utterances.genders)
    dataset = mixtures(data_dirs, similar={a: tuple(b for b in names if b != a) for a in names})
    with pytest.raises(UserError, match=r"found no 2 speakers to mix .*spk2similar"):
        dataset[0]


def test_rooms_with_too_few_positions_are_refused(data_dirs):
    with pytest.raises(UserError, match=r"room_reverb\.wav: 3 source positions"):
        mixtures(data_dirs, replace(CONFIG, num_speakers=4))[0]


def test_each_utterance_comes_once_per_pass(data_dirs):
    dataset = utterances(data_dirs)
    ids = [u.id for u in data_dirs.utterances.utterances]
    passes = [
        [dataset.utterance(len(ids) * epoch + n).id for n in range(len(ids))] for epoch in range(3)
    ]
    assert all(sorted(one) == ids for one in passes)
    assert len(set(map(tuple, passes))) == 3
    assert passes[0] != [utterances(data_dirs, seed=1).utterance(n).id for n in range(len(ids))]


def test_a_clean_utterance_is_the_file(data_dirs):
    dataset = utterances(data_dirs, room_share=0, noise_share=0, speed_percent=(100, 100))
    for n in range(12):
        expected = dataset.utterance(n)
        assert dataset[n].text == expected.text
        np.testing.assert_array_equal(dataset[n].waveform, read_mono(expected.path))


def test_noise_and_rooms_of_single_utterances(data_dirs):
    clean = utterances(data_dirs, room_share=0, noise_share=0)
    noisy = utterances(data_dirs, room_share=0, noise_share=1, snr_db=(5.0, 25.0))
    snrs = [
        power_db(clean[n].waveform) - power_db(noisy[n].waveform - clean[n].waveform)
        for n in range(40)
    ]
    assert 4.999 < min(snrs) < max(snrs) < 25.001
    assert max(snrs) - min(snrs) > 12
    in_room = utterances(data_dirs, room_share=1, noise_share=0)
    for n in range(12):
        dry, wet = clean[n].waveform, in_room[n].waveform
        np.testing.assert_allclose(wet[:20], dry[:20], atol=1e-6)
        assert len(wet) == len(dry)
        assert np.abs(wet - dry).max() > 0.01


def test_shares_of_noisy_and_reverberant_utterances(data_dirs):
    clean = utterances(data_dirs, room_share=0, noise_share=0)
    for share in ({"room_share": 0.3, "noise_share": 0}, {"room_share": 0, "noise_share": 0.3}):
        some = utterances(data_dirs, **share)
        changed = [
            not np.allclose(some[n].waveform, clean[n].waveform, atol=1e-5) for n in range(200)
        ]
        assert np.mean(changed) == pytest.approx(0.3, abs=0.1)


def test_silence_around_some_utterances(data_dirs):
    plain = utterances(data_dirs, room_share=0, noise_share=0, speed_percent=(100, 100))
    settings = {"room_share": 0, "speed_percent": (100, 100), "silence_s": 0.5}
    some = utterances(data_dirs, noise_share=0, silence_share=0.3, **settings)
    spans = np.array([some.silence(n) for n in range(400)])
    assert np.mean(spans.sum(1) > 0) == pytest.approx(0.3, abs=0.1)
    assert 0.45 < spans.sum(1).max() <= 0.5
    assert np.all(spans.max(0) > 0.3)
    noisy = utterances(data_dirs, noise_share=1, silence_share=1, snr_db=(10, 10), **settings)
    whole = utterances(data_dirs, noise_share=0, silence_share=1, **settings)
    for n in range(40):
        before, after = (round(seconds * FS) for seconds in some.silence(n))
        waveform = some[n].waveform
        assert len(waveform) == pytest.approx(some.duration_s(n) * FS, abs=2)
        np.testing.assert_array_equal(waveform[before : len(waveform) - after], plain[n].waveform)
        assert not waveform[:before].any()
        # The ratio is that of the speech alone: LEVEL is the root of its mean square.
        noise = noisy[n].waveform - whole[n].waveform
        assert power_db(noise) == pytest.approx(20 * np.log10(LEVEL) - 10, abs=0.2)


def test_speech_of_a_higher_rate_is_resampled(data_dirs):
    config = replace(CONFIG, segment_s=0.3, speed_percent=(100, 100), gain_db=(0, 0))
    item = DynamicMixtures(data_dirs.utterances, None, None, config, 0, 8000)[5]
    assert item.references.shape == (2, 2400)
    halved = [
        resample(torch.from_numpy(read_mono(u.path)), 16000, 8000).numpy()
        for u in data_dirs.utterances.utterances
    ]
    for reference in item.references:  # each is one of the sources, whole, somewhere
        distances = [
            np.abs(reference[at : at + len(source)] - source).max()
            for source in halved
            for at in range(2400 - len(source) + 1)
        ]
        assert min(distances) < 1e-6
