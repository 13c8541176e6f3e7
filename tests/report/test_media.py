import numpy as np
import pytest
import soundfile
from PIL import Image

from sepasr.report.media import PEAK, Album, spectrum_db

FS = 8000


def sine(frequency: float, seconds: float = 1.0, level: float = 0.1) -> np.ndarray:
    time = np.arange(round(seconds * FS)) / FS
    return (level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


@pytest.mark.parametrize("frequency", [500, 1000, 3500])
def test_a_tone_is_a_line_at_its_height(frequency):
    spectrum = spectrum_db(sine(frequency), FS)
    row = spectrum[:, 50].argmax()
    assert row / len(spectrum) == pytest.approx(frequency / (FS / 2), abs=0.02)


def test_pictures_are_no_wider_than_a_page():
    assert spectrum_db(sine(500, 60), FS).shape[1] <= 700


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


def test_silence_has_a_picture(tmp_path):
    silence = np.zeros(FS, np.float32)
    clip = Album(tmp_path, "m", [silence], FS).add("a", "a", silence)
    assert (tmp_path / clip.picture).is_file()


def test_names_of_files_are_plain(tmp_path):
    clip = Album(tmp_path, "../<b>\"'&", [sine(500)], FS).add("a/..\\#?", "label", sine(500))
    assert clip.audio == "audio/b_a.wav"
