from __future__ import annotations

import numpy as np
import pytest
from sphere_files import header, write_shortened, write_sphere

from sepasr.data.audio import read_audio, read_mono
from sepasr.data.header import Header, read_header
from sepasr.data.sphere import read_sphere_header
from sepasr.errors import UserError


@pytest.fixture
def samples() -> np.ndarray:
    """A loud tone and faint noise, 1000 samples of int16."""
    rng = np.random.default_rng(0)
    tone = 20000 * np.sin(np.arange(1000) / 9) * (np.arange(1000) > 300)
    return (tone + rng.normal(0, 30, 1000)).astype(np.int16)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("length", [1000, 64, 1])
def test_what_shorten_has_compressed_is_read_to_the_last_bit(tmp_path, samples, version, length):
    path = write_shortened(tmp_path / "011c0201.wv1", samples[:length], version)
    read, fs = read_audio(path, 16000)
    assert (read.dtype, fs) == (np.float32, 16000)
    np.testing.assert_array_equal(read[:, 0] * 32768, samples[:length])
    assert read_header(path, 16000, channels=1) == Header(length, 16000, 1)


def test_plain_sphere_is_read_as_well(tmp_path, samples):
    path = write_sphere(tmp_path / "011c0201.wv1", samples)
    np.testing.assert_array_equal(read_mono(path, 16000) * 32768, samples)
    assert read_header(path) == Header(1000, 16000, 1)


def test_a_part_of_a_compressed_file(tmp_path, samples):
    path = write_shortened(tmp_path / "a.wv1", samples)
    np.testing.assert_array_equal(read_mono(path, start=100, stop=400) * 32768, samples[100:400])


def test_the_rate_is_that_of_the_header(tmp_path, samples):
    path = write_shortened(tmp_path / "a.wv1", samples, sample_rate="-i 8000")
    for read in (read_audio, read_header):
        with pytest.raises(UserError, match=r"a\.wv1: sampling rate is 8000 Hz where 16000 Hz"):
            read(path, 16000)


def test_a_checksum_over_swapped_bytes_is_taken(tmp_path, samples):
    swapped = int(samples.byteswap().sum(dtype=int)) % 65536
    path = write_shortened(tmp_path / "a.wv1", samples, sample_checksum=f"-i {swapped}")
    assert read_header(path).frames == 1000
    path = write_shortened(tmp_path / "a.wv1", samples, sample_checksum="")
    assert read_sphere_header(path).checksum is None
    assert read_header(path).frames == 1000


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def flip(path):
    data = bytearray(path.read_bytes())
    data[1500] ^= 0b100
    path.write_bytes(data)


def no_stream(path):
    path.write_bytes(path.read_bytes()[:1024] + b"RIFF" * 50)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "a.wv1: truncated: "),
        (flip, "a.wv1: damaged: its samples do not add up to the checksum"),
        (no_stream, "a.wv1: FFmpeg can't decode it (pcm,embedded-shorten-v2.00): "),
    ],
)
def test_a_damaged_file_is_named_with_the_cause(tmp_path, samples, damage, message):
    path = write_shortened(tmp_path / "a.wv1", samples)
    damage(path)
    for read in (read_audio, read_header):
        with pytest.raises(UserError) as error:
            read(path)
        assert message in str(error.value)


def test_a_truncated_plain_file_is_found(tmp_path, samples):
    path = write_sphere(tmp_path / "a.wv1", samples)
    cut(path)
    with pytest.raises(UserError, match=r"a\.wv1: truncated: 1000 samples by its header, 900 in"):
        read_header(path)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"sample_count": ""}, "a.wv1: no sample_count in its SPHERE header"),
        ({"sample_rate": "-i many"}, "a.wv1: malformed SPHERE header: "),
    ],
)
def test_a_header_that_lacks_something_is_named(tmp_path, samples, more, message):
    path = write_shortened(tmp_path / "a.wv1", samples, **more)
    with pytest.raises(UserError) as error:
        read_audio(path)
    assert message in str(error.value)


def test_other_files_have_no_sphere_header(tmp_path, samples):
    for content in (b"", b"RIFF", b"NIST", header(samples)[1:]):
        (tmp_path / "a").write_bytes(content)
        assert read_sphere_header(tmp_path / "a") is None
