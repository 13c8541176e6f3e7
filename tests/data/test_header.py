from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hand_made import FS, write_wav

from sepasr.data.header import Header, all_good, read_header, read_headers
from sepasr.errors import UserError


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [(".wav", "FLOAT"), (".wav", "PCM_16"), (".wav", "PCM_24"), (".flac", "PCM_16")],
)
def test_length_rate_and_channels_are_those_of_the_samples(tmp_path, suffix, subtype):
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, np.zeros((1234, 3)), 8000, subtype=subtype)
    assert read_header(path) == Header(frames=1234, fs=8000, channels=3)


@pytest.mark.parametrize(
    ("suffix", "subtype"), [(".wav", "FLOAT"), (".wav", "PCM_16"), (".flac", "PCM_16")]
)
@pytest.mark.parametrize("kept", [0.99, 0.5])
def test_a_truncated_file_is_found(tmp_path, suffix, subtype, kept):
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, FS), FS, subtype=subtype)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(UserError, match=f"a{suffix}: .*truncated"):
        read_header(path)


def test_an_mp3_whose_end_is_missing_is_found(tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 10 * FS), FS)
    assert read_header(path).frames == pytest.approx(10 * FS, abs=2304)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"a\.mp3: truncated: \d+ samples by its header"):
        read_header(path)


def test_a_wav_from_a_pipe_is_not_taken_for_truncated(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(100), FS, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    assert data[36:40] == b"data"
    data[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert read_header(path).frames == 100


@pytest.mark.parametrize("content", [b"", b"not audio at all, but long enough to be a header"])
def test_what_is_not_audio_is_refused(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.wav: cannot be read as audio"):
        read_header(tmp_path / "a.wav")


def test_a_wav_without_samples_is_refused(tmp_path):
    write_wav(tmp_path / "a.wav", 0)
    with pytest.raises(UserError, match=r"a\.wav: no samples"):
        read_header(tmp_path / "a.wav")


def test_many_are_read_in_order_and_problems_stay_in_their_place(tmp_path):
    write_wav(tmp_path / "a.wav", 10)
    write_wav(tmp_path / "b.wav", 20, fs=8000)
    write_wav(tmp_path / "c.wav", 30, channels=2)
    write_wav(tmp_path / "d.wav", 40)
    paths = [tmp_path / f"{name}.wav" for name in "dcba"] + [tmp_path / "missing.wav"]
    good, stereo, slow, last, missing = read_headers(paths, FS, channels=1)
    assert good == Header(40, FS, 1)
    assert last == Header(10, FS, 1)
    assert "c.wav: 2 channels where 1" in str(stereo)
    assert "b.wav: sampling rate is 8000 Hz where 16000 Hz" in str(slow)
    assert "missing.wav: no such audio file" in str(missing)
    with pytest.raises(UserError, match="2 channels"):
        all_good([good, stereo, slow])


def test_samples_that_are_not_finite_are_only_found_on_request(tmp_path):
    soundfile.write(tmp_path / "a.wav", [0.0, np.nan], FS, subtype="FLOAT")
    assert read_headers([tmp_path / "a.wav"]) == [Header(2, FS, 1)]
    (problem,) = read_headers([tmp_path / "a.wav"], samples=True)
    assert "sample 1 is not finite" in str(problem)


@pytest.mark.parametrize("frames", [1, 12345, 2**31 - 1])
def test_the_duration_is_within_a_microsecond(frames):
    assert abs(Header(frames, FS, 1).duration_s - frames / FS) < 0.6e-6
