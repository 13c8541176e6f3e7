import numpy as np
import pytest
import soundfile
from PIL import Image

from sepasr.report.media import PEAK, ROWS, WIDEST, Album, spectrum_db

FS = 8000


def sine(frequency: float, seconds: float = 1.0, level: float = 0.1, fs: int = FS) -> np.ndarray:
    time = np.arange(round(seconds * fs)) / fs
    return (level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


@pytest.mark.parametrize("frequency", [500, 1000, 3500])
def test_a_tone_is_a_line_at_its_height(frequency):
    spectrum = spectrum_db(sine(frequency), FS)
    row = spectrum[:, 50].argmax()
    assert row / len(spectrum) == pytest.approx(frequency / (FS / 2), abs=0.02)


@pytest.mark.parametrize("fs", [8000, 11025, 16000, 22050, 44100, 47000])
def test_a_picture_has_all_frequencies_in_few_rows(fs):
    middle, top = sine(fs / 4, fs=fs), np.tile([0.1, -0.1], fs // 2)
    for samples, height in ((middle, 0.5), (top, 1.0)):
        spectrum = spectrum_db(samples, fs)
        assert len(spectrum) <= ROWS
        place = (spectrum[:, 50].argmax() + 0.5) / len(spectrum)
        assert place == pytest.approx(height, abs=1 / len(spectrum))
    assert spectrum[:, 50].max() > spectrum_db(middle, fs)[:, 50].max() - 3


@pytest.mark.parametrize("seconds", [1, 7, 7.005, 20])
def test_a_picture_has_all_of_the_time_in_few_columns(seconds):
    click = np.zeros(round(seconds * FS), np.float32)
    click[3 * len(click) // 4] = 1
    level = spectrum_db(click, FS).max(0)
    assert len(level) <= WIDEST
    assert level.argmax() / len(level) == pytest.approx(0.75, abs=1 / len(level))


def test_one_gain_for_all_signals_of_a_mixture(tmp_path):
    loud, quiet = sine(500, level=1.8), sine(500, level=0.2)
    album = Album(tmp_path, "m", [loud, quiet], FS)
    for part, samples in (("a", loud), ("b", quiet)):
        clip = album.add(part, part, samples)
        written, fs = soundfile.read(tmp_path / clip.audio)
        assert fs == FS
        assert soundfile.info(tmp_path / clip.audio).subtype == "PCM_16"
        assert np.abs(written).max() == pytest.approx(PEAK * samples.max() / loud.max(), rel=1e-3)


def test_a_picture_stands_upright(tmp_path):
    album = Album(tmp_path, "m", [sine(3500)], FS)
    clip = album.add("a", "a", sine(3500))
    picture = np.asarray(Image.open(tmp_path / clip.picture).convert("RGB")).sum(2)
    assert picture[: len(picture) // 4].mean() > 3 * picture[len(picture) // 2 :].mean()


def test_one_scale_for_all_pictures_of_a_mixture(tmp_path):
    loud, quiet = sine(500, level=1.8), sine(500, level=0.018)
    album = Album(tmp_path, "m", [loud, quiet], FS)
    clips = [album.add(name, name, samples) for name, samples in (("a", loud), ("b", quiet))]
    pictures = [Image.open(tmp_path / clip.picture).convert("RGB") for clip in clips]
    bright = [np.asarray(picture).astype(int).sum(2).max() for picture in pictures]
    assert bright[1] < 0.7 * bright[0]


def test_silence_has_a_picture(tmp_path):
    silence = np.zeros(FS, np.float32)
    clip = Album(tmp_path, "m", [silence], FS).add("a", "a", silence)
    assert (tmp_path / clip.picture).is_file()


def test_names_of_files_are_plain(tmp_path):
    clip = Album(tmp_path, "../<b>\"'&", [sine(500)], FS).add("a/..\\#?", "label", sine(500))
    assert clip.audio == "audio/b_a.wav"
