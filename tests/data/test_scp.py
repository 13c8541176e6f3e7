from __future__ import annotations

import os
import subprocess

import kaldiio
import numpy as np
import pytest
import soundfile

from sepasr.data.audio import read_audio
from sepasr.data.scp import inspect_table, read_entry, read_table, write_table
from sepasr.errors import UserError

FS = 16000


def random_ids(rng, count):
    # Characters on which LC_ALL=C and language-aware orders differ.
    alphabet = list("aAbB09-_.~é")
    return {"".join(rng.choice(alphabet, rng.integers(1, 9))) for _ in range(count)}


@pytest.mark.parametrize("seed", range(5))
def test_what_is_written_is_read_and_sorted_as_sort_does(tmp_path, seed):
    rng = np.random.default_rng(seed)
    values = {key: f"a  value of {rng.integers(100)}" for key in random_ids(rng, 50)}
    write_table(tmp_path / "table", values)
    assert read_table(tmp_path / "table") == values

    environment = os.environ | {"LC_ALL": "C"}
    check = ["sort", "--check", "-k1,1", tmp_path / "table"]
    subprocess.run(check, env=environment, check=True)


def test_kaldiio_sees_the_same_entries(tmp_path):
    values = {"b": "/x/with space.wav", "a": "/x/a.wav", "A": "/x/b.ark:17"}
    write_table(tmp_path / "wav.scp", values)
    assert list(kaldiio.load_scp(str(tmp_path / "wav.scp"))) == list(
        read_table(tmp_path / "wav.scp")
    )


def test_empty_values_only_where_they_are_asked_for(tmp_path):
    values = {"a": "", "b": "WORDS"}
    write_table(tmp_path / "text", values, empty_values=True)
    assert read_table(tmp_path / "text", empty_values=True) == values
    with pytest.raises(UserError, match=r"text:1: no value for id 'a'"):
        read_table(tmp_path / "text")
    with pytest.raises(UserError, match="id 'a'"):
        write_table(tmp_path / "other", values)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "table: no entries"),
        ("a 1\n\nb 2\n", "table:2: blank line"),
        ("a 1\nb\n", "table:2: no value for id 'b'"),
        ("a 1\nb  \n", "table:2: no value for id 'b'"),
        ("a 1\nb 2\na 3\n", "table:3: duplicate id 'a', first in line 1"),
        ("b 1\nc 1\na 2\n", "table:3: id 'a' is out of order, it follows 'c'"),
        ("a 1\nb /some/pa", "table:2: the last line does not end in a newline"),
        ("a \xff\n", "table: not UTF-8"),
    ],
)
def test_a_malformed_table_is_refused_with_its_line(tmp_path, content, message):
    path = tmp_path / "table"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError) as error:
        read_table(path)
    assert message in str(error.value)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(UserError, match="table: no such file"):
        read_table(tmp_path / "table")


def test_all_problems_are_collected(tmp_path):
    (tmp_path / "table").write_text("b 1\na 2\n\nb 3\nc\nd 5")
    lines = [str(p).split(":")[1] for p in inspect_table(tmp_path / "table").problems]
    assert lines == ["2", "3", "4", "5", "6"]


@pytest.mark.parametrize("bad", [{"a b": "1"}, {"": "1"}, {"a": "1\n2"}, {"a": " 1"}, {}])
def test_what_a_line_cannot_hold_is_not_written(tmp_path, bad):
    with pytest.raises(UserError):
        write_table(tmp_path / "table", bad)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def pcm(tmp_path):
    samples = np.random.default_rng(0).uniform(-1, 1, (500, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, FS, subtype="PCM_16")
    return tmp_path / "a.wav"


def test_kaldiio_reads_the_same_samples(tmp_path, pcm):
    write_table(tmp_path / "wav.scp", {"a": str(pcm)})
    rate, samples = kaldiio.load_scp(str(tmp_path / "wav.scp"))["a"]
    ours, fs = read_entry(read_table(tmp_path / "wav.scp")["a"])
    assert rate == fs == FS
    np.testing.assert_array_equal(samples, ours * 32768)


@pytest.mark.parametrize("kind", ["file", "command", "archive"])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_U8", "PCM_24", "PCM_32", "FLOAT"])
def test_every_kind_of_entry_gives_the_same_samples(tmp_path, kind, subtype):
    path = tmp_path / "a.wav"
    ramp = np.linspace(-1, 1, 300)
    soundfile.write(path, ramp, FS, subtype=subtype)
    value = str(path)
    if kind == "command":
        value = f"cat {path} |"
    elif kind == "archive" and subtype not in ("PCM_16", "PCM_U8"):
        pytest.skip("kaldiio reads no other archives")
    elif kind == "archive":
        data = path.read_bytes()
        (tmp_path / "wav.ark").write_bytes(b"key " + data)
        value = f"{tmp_path}/wav.ark:4"
    samples, fs = read_entry(value, FS)
    assert (samples.dtype, samples.shape, fs) == (np.float32, (300, 1), FS)
    np.testing.assert_array_equal(samples, read_audio(path)[0])


def test_float_wav_is_read_though_kaldiio_cannot(tmp_path):
    samples = np.random.default_rng(0).uniform(-2, 2, 100).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, FS, subtype="FLOAT")
    np.testing.assert_array_equal(read_entry(str(tmp_path / "a.wav"))[0][:, 0], samples)
    with pytest.raises(ValueError, match="bytes_per_sample"):
        kaldiio.load_mat(str(tmp_path / "a.wav"))


def test_a_command_may_be_longer_than_the_name_of_a_file(pcm):
    samples, _ = read_entry(f"cat {pcm} | sed s/{'x' * 300}/x/ |")
    np.testing.assert_array_equal(samples, read_audio(pcm)[0])


def test_a_command_that_fails_after_its_audio_is_refused(pcm):
    with pytest.raises(UserError, match="the command ended with status 3"):
        read_entry(f"cat {pcm}; exit 3 |")


@pytest.mark.parametrize("value", ["missing.wav", "missing.ark:3", "false |", "echo text |"])
def test_an_entry_without_audio_is_named(value):
    with pytest.raises(UserError) as error:
        read_entry(value)
    assert str(error.value).startswith(value)


def test_the_rate_of_a_command_is_checked(pcm):
    with pytest.raises(UserError, match="16000 Hz where 8000 Hz"):
        read_entry(f"cat {pcm} |", 8000)
