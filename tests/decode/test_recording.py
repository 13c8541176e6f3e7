"""Own recordings: any rate, any channels, any length, speakers in one order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from sepasr.decode.recording import (
    Recording,
    find_recordings,
    separate_recording,
    stream_paths,
)
from sepasr.errors import UserError


class Halves(nn.Module):
    """Splits a signal into what is above and below zero, in an order that changes at each call."""

    fs, num_speakers = 1000, 2

    def __init__(self) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        self.calls = 0

    def forward(self, mixture):
        self.calls += 1
        streams = torch.stack([mixture.clamp_min(0), mixture.clamp_max(0)])
        return streams.flip(0) if self.calls % 2 else streams


def test_streams_have_the_rate_and_length_of_the_recording(tmp_path: Path) -> None:
    stereo = np.random.default_rng(0).uniform(-0.5, 0.5, (4410, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.flac", stereo, 44100)
    (recording,) = find_recordings(tmp_path / "a.flac")
    paths = separate_recording(Halves(), recording, tmp_path / "out")
    assert [path.name for path in paths] == ["a_spk1.wav", "a_spk2.wav"]
    for path in paths:
        info = soundfile.info(path)
        assert (info.samplerate, info.frames, info.channels) == (44100, 4410, 1)


def test_channels_are_averaged_or_chosen(tmp_path: Path) -> None:
    left, right = np.full(500, 0.4, np.float32), np.full(500, 0.2, np.float32)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), 1000, "FLOAT")
    (recording,) = find_recordings(tmp_path / "a.wav")
    for channel, level in ((None, 0.3), (1, 0.4), (2, 0.2)):
        paths = separate_recording(Halves(), recording, tmp_path, channel)
        streams = [soundfile.read(path)[0] for path in paths]
        assert np.sum(streams, axis=0) == pytest.approx(level, abs=1e-4)
    with pytest.raises(UserError, match=r"a\.wav: no channel 3, there are 2"):
        separate_recording(Halves(), recording, tmp_path, 3)


def test_a_path_is_a_recording(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "my talk.wav", np.full(500, 0.2, np.float32), 1000)
    paths = separate_recording(Halves(), str(tmp_path / "my talk.wav"), tmp_path / "out")
    assert [path.name for path in paths] == ["my talk_spk1.wav", "my talk_spk2.wav"]
    with pytest.raises(UserError, match=r"none\.wav: no such file"):
        separate_recording(Halves(), tmp_path / "none.wav", tmp_path / "out")


def test_the_recording_is_added_to_every_stream(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(np.arange(900) / 5).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", tone, 1000, "FLOAT")
    (recording,) = find_recordings(tmp_path / "a.wav")
    paths = separate_recording(Halves(), recording, tmp_path / "out", add_mixture=0.2)
    halves = [np.maximum(tone, 0), np.minimum(tone, 0)]
    streams = sorted((soundfile.read(path)[0] for path in paths), key=np.sum, reverse=True)
    for stream, half in zip(streams, halves, strict=True):
        assert stream == pytest.approx(half + 0.2 * tone, abs=1e-4)


def test_nothing_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loud = 2 * np.sin(np.arange(900) / 5).astype(np.float32)
    soundfile.write(tmp_path / "loud.wav", loud, 1000, "FLOAT")
    (recording,) = find_recordings(tmp_path / "loud.wav")
    streams = [
        soundfile.read(path)[0] for path in separate_recording(Halves(), recording, tmp_path)
    ]
    assert np.sum(streams, axis=0) == pytest.approx(loud / np.abs(loud).max(), abs=1e-4)
    assert "turned down by 6.0 dB" in capsys.readouterr().err


def test_a_folder_and_a_list_are_found_in_order(tmp_path: Path) -> None:
    for name in ("b.wav", "a.flac", "notes.txt"):
        (tmp_path / name).touch()
    assert [recording.name for recording in find_recordings(tmp_path)] == ["a", "b"]
    (tmp_path / "wav.scp").write_text("one /x/1.wav\ntwo /x/2.wav\n")
    assert [recording.name for recording in find_recordings(tmp_path / "wav.scp")] == ["one", "two"]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.wav: no such file"):
        find_recordings(tmp_path / "none.wav")
    with pytest.raises(UserError, match="no audio files"):
        find_recordings(tmp_path)
    (tmp_path / "a.wav").touch()
    (tmp_path / "a.flac").touch()
    with pytest.raises(UserError, match="2 recordings named 'a'"):
        find_recordings(tmp_path)


def test_what_is_not_finite_is_not_written(tmp_path: Path) -> None:
    class Broken(Halves):
        def forward(self, mixture):
            return super().forward(mixture) / 0

    soundfile.write(tmp_path / "a.wav", np.zeros(500), 1000, "FLOAT")
    (recording,) = find_recordings(tmp_path / "a.wav")
    with pytest.raises(UserError, match=r"a\.wav: the separator gives values that are not finite"):
        separate_recording(Broken(), recording, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_left_out_of_a_folder_is_said(tmp_path: Path, capsys) -> None:
    for name in ("a.wav", "b.m4a", "c.txt", "d.pdf", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "day2.wav").mkdir()
    assert [one.name for one in find_recordings(tmp_path)] == ["a"]
    said = "left out, not audio by their names: b.m4a, c.txt, d.pdf and 1 more"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["two\nlines", "ends\n", "bad\udcff", "../up", "nul\0"])
def test_names_that_no_list_holds_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="can't be the name of a file"):
        stream_paths(Recording(name, "a.wav"), tmp_path, 2)
    fine = "zwei Wörter, 会議\u3000\u200d"
    assert stream_paths(Recording(fine, "a.wav"), tmp_path, 1) == [tmp_path / f"{fine}_spk1.wav"]


@pytest.mark.parametrize("seconds", [0.9, 30])
def test_a_recording_that_is_cut_off_is_said_to_be(tmp_path: Path, capsys, seconds: float) -> None:
    tone = 0.1 * np.sin(np.arange(round(1000 * seconds)) / 5).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", tone, 1000, "FLOAT")
    separate_recording(Halves(), tmp_path / "a.wav", tmp_path / "out")
    assert "truncated" not in capsys.readouterr().err
    whole = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(whole[:-400])
    paths = separate_recording(Halves(), tmp_path / "a.wav", tmp_path / "out")
    assert "a.wav: truncated: " in capsys.readouterr().err
    assert soundfile.info(paths[0]).frames == len(tone) - 100


@pytest.mark.parametrize("seconds", [0.9, 30])
def test_an_offset_that_outweighs_the_rest_is_said(tmp_path: Path, capsys, seconds: float) -> None:
    tone = 0.1 * np.sin(np.arange(round(1000 * seconds)) / 5).astype(np.float32)
    for offset in (0.05, 0.09):  # of a root mean square of 0.07
        soundfile.write(tmp_path / "a.wav", tone + offset, 1000, "FLOAT")
        separate_recording(Halves(), tmp_path / "a.wav", tmp_path / "out")
        said = "a.wav: a constant offset of 0.09" in capsys.readouterr().err
        assert said == (offset > 0.07)
