from itertools import combinations

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from sepasr.simulate import rooms
from sepasr.simulate.rooms import Room, draw_room, impulse_responses
from sepasr.simulate.voices import FS

RT60_S = (0.1, 0.5)


@pytest.fixture(scope="module", params=range(3))
def room(request):
    return draw_room(np.random.default_rng(request.param), RT60_S, 4)


@pytest.fixture(scope="module")
def rirs(room):
    return impulse_responses(room)


def lag(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.correlate(one, other, "full").argmax()) - (len(other) - 1)


def test_direct_sound_is_aligned_with_the_anechoic_reference(rirs):
    reverberant, anechoic = rirs
    for source in range(reverberant.shape[1]):
        direct = anechoic[:, source]
        until = direct.argmax() + 20  # no reflection comes with so short a detour
        assert lag(reverberant[:until, source], direct[:until]) == 0


def test_before_the_first_reflection_both_are_equal(room, rirs):
    reverberant, anechoic = rirs
    microphone = np.array(room.microphone)
    for index, source in enumerate(np.array(room.sources)):
        direct = np.linalg.norm(source - microphone)
        images = [np.where(np.arange(3) == axis, -source, source) for axis in range(3)]
        images += [
            np.where(np.arange(3) == axis, 2 * np.array(room.size) - source, source)
            for axis in range(3)
        ]
        detour = min(np.linalg.norm(image - microphone) for image in images) - direct
        # A reflection is spread by the fractional delay filter, 40 samples to each side.
        until = int((direct + detour) / 343 * FS) - 2
        np.testing.assert_allclose(
            reverberant[:until, index], anechoic[:until, index], rtol=0, atol=1e-5
        )
        assert anechoic[:, index].argmax() == pytest.approx(direct / 343 * FS + 40, abs=1)


def test_the_anechoic_response_has_unit_energy_and_no_tail(rirs):
    reverberant, anechoic = rirs
    np.testing.assert_allclose(np.sum(anechoic**2, axis=0), 1.0, rtol=1e-5)
    for source in range(anechoic.shape[1]):
        assert np.all(anechoic[anechoic[:, source].argmax() + 50 :, source] == 0)
    assert np.all(np.sum(reverberant**2, axis=0) > 1.0)


def test_shapes(rirs):
    reverberant, anechoic = rirs
    assert reverberant.shape == anechoic.shape
    assert reverberant.shape[1] == 4
    assert len(reverberant) <= rooms.RIR_S * FS
    assert reverberant.dtype == anechoic.dtype == np.float32


def test_decay_is_near_the_nominal_time():
    room = Room((6.0, 5.0, 3.0), 0.3, (3.1, 2.4, 1.5), ((2.0, 1.6, 1.4),))
    reverberant, _ = impulse_responses(room)
    # The image method piles up an offset near 0 Hz, which decays more slowly.
    high_pass = butter(4, 100, "highpass", fs=FS, output="sos")
    heard = sosfilt(high_pass, reverberant[:, 0].astype(np.float64))
    left = np.cumsum(heard[::-1] ** 2)[::-1]
    decay_db = 10 * np.log10(left / left[0] + 1e-20)
    from_5, to_25 = np.argmax(decay_db < -5), np.argmax(decay_db < -25)
    assert 3 * (to_25 - from_5) / FS == pytest.approx(0.3, rel=0.2)


@pytest.mark.parametrize("seed", range(20))
def test_drawn_rooms_keep_to_the_stated_ranges(seed):
    room = draw_room(np.random.default_rng(seed), RT60_S, 4)
    assert RT60_S[0] <= room.rt60_s <= RT60_S[1]
    for length, (low, high) in zip(room.size, rooms.ROOM_M, strict=True):
        assert low - 1e-3 <= length <= high + 1e-3
    sources = np.array(room.sources)
    distances = np.linalg.norm(sources - room.microphone, axis=1)
    assert np.all(distances >= rooms.DISTANCE_M[0] - 0.01)
    assert np.all(distances <= rooms.DISTANCE_M[1] + 0.01)
    assert np.all(sources >= rooms.WALL_M - 1e-3)
    assert np.all(sources <= np.array(room.size) - rooms.WALL_M + 2e-3)
    for one, other in combinations(sources, 2):
        assert np.linalg.norm(one - other) >= rooms.SEPARATION_M - 0.01
    low, high = rooms.HEIGHT_M
    heights = np.array([room.microphone[2], *sources[:, 2]])
    assert np.all((heights >= low - 1e-3) & (heights <= high + 1e-3))
    offset = np.array(room.microphone[:2]) - np.array(room.size[:2]) / 2
    assert np.all(np.abs(offset) <= rooms.MIC_OFFSET_M + 2e-3)
