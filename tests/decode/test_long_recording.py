"""Hours: one order, one level, constant memory, and what was done survives an interruption."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from conversation import FS, Knowing, conversation

from sepasr.data.audio import resample, write_audio
from sepasr.data.blocks import Feed, measure, read_blocks, resample_blocks
from sepasr.decode import long_recording, passes
from sepasr.decode.long_recording import separate_to_disk
from sepasr.decode.passes import OVERLAP_S, WINDOW_S, LongOptions, window_spans
from sepasr.decode.recording import Recording, find_recordings, separate_recording
from sepasr.errors import UserError


@pytest.fixture(scope="module")
def ten_minutes() -> np.ndarray:
    return conversation(600)


def separated(parts: np.ndarray, out: Path, **options) -> tuple[np.ndarray, Knowing]:
    separator = Knowing(parts)
    out.mkdir(exist_ok=True)
    soundfile.write(out / "talk.wav", separator.mixture, FS, "FLOAT")
    paths = separate_recording(separator, Recording("talk", str(out / "talk.wav")), out, **options)
    return np.stack([soundfile.read(path, dtype="float32")[0] for path in paths]), separator


def swapped_seconds(streams: np.ndarray, parts: np.ndarray) -> int:
    """Seconds in which a speaker is louder in the other's stream, in the best order of the two."""
    length = parts.shape[1] // FS * FS
    wrong = []
    for order in ((0, 1), (1, 0)):
        count = 0
        for s in (0, 1):
            truth = parts[s, :length].reshape(-1, FS)
            own, other = (streams[order[k], :length].reshape(-1, FS) for k in (s, 1 - s))
            loud = (truth**2).mean(1) > 1e-5
            count += int((loud & (abs((truth * own).sum(1)) < abs((truth * other).sum(1)))).sum())
        wrong.append(count)
    return min(wrong)


def test_nobody_swaps_in_ten_minutes_with_silences(ten_minutes, tmp_path):
    said = (ten_minutes[:2] ** 2).sum(0).reshape(-1, FS // 10).mean(1) > 1e-7
    edges = np.flatnonzero(np.diff(said.astype(int), prepend=1, append=1))
    assert np.diff(edges).max() >= 190  # 19 s of silence and more
    streams, _ = separated(ten_minutes, tmp_path)
    assert swapped_seconds(streams, ten_minutes) == 0


def test_without_a_voice_they_swap(ten_minutes, tmp_path, monkeypatch):
    monkeypatch.setattr(passes.MelStatistics, "__call__", lambda *_: None)
    streams, _ = separated(ten_minutes, tmp_path)
    assert swapped_seconds(streams, ten_minutes) > 10


def test_the_level_is_one_for_the_recording(tmp_path):
    parts = conversation(120, seed=2, noise=2e-3)
    streams, separator = separated(parts, tmp_path)
    total = streams.sum(0)
    # The separator keeps 1.1 of the speakers and 0.06 of the noise, whatever is said.
    said = parts[:2].sum(0)
    expected = 1.1 * said + 0.06 * parts[2]
    gain = (separator.mixture @ expected) / (expected @ expected)
    np.testing.assert_allclose(total, gain * expected, atol=1e-4)
    # Level window by window, and the noise of pauses comes up to what it is in the recording.
    pumped, window = np.zeros_like(total), round(WINDOW_S * FS)
    for start, stop in window_spans(len(total), window, window - round(OVERLAP_S * FS)):
        streams = separator(torch.from_numpy(separator.mixture[start:stop]))
        pumped[start:stop] = streams.sum(0).detach().numpy()
    seconds = (said.reshape(-1, FS) ** 2).sum(1)
    pauses = np.repeat(seconds == 0, FS)
    assert pumped[pauses].std() > 3 * total[pauses].std()


def test_fades_have_no_click(tmp_path, monkeypatch):
    parts = np.zeros((3, 60 * FS), np.float32)
    times = np.arange(60 * FS) / FS
    parts[0], parts[1] = 0.3 * np.sin(500 * times), 0.1 * np.sin(1700 * times)
    plain = Knowing.unscaled

    def wavering(separator: Knowing, mixture: torch.Tensor) -> torch.Tensor:
        return (0.7 + 0.3 * (separator.calls % 2)) * plain(separator, mixture)

    monkeypatch.setattr(Knowing, "unscaled", wavering)
    streams, separator = separated(parts, tmp_path)
    # A jump would stand out from the second difference, which is all frequency and level.
    smooth = [np.abs(np.diff(part, 2)).max() for part in (separator.mixture, *streams)]
    assert max(smooth[1:]) < 1.3 * smooth[0]


def test_what_is_skipped_is_not_kept():
    feed = Feed(np.full(10_000, k, np.float32) for k in range(1000))
    tracemalloc.start()
    try:
        assert set(feed.span(9_995_000, 10_000_000)) == {999}
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    parts = conversation(120, seed=3)
    whole, _ = separated(parts, tmp_path / "whole")
    separator = Knowing(parts)
    recording, out = Recording("talk", str(tmp_path / "whole" / "talk.wav")), tmp_path / "cut"
    separator.fails_at = 7
    with pytest.raises(KeyboardInterrupt):
        separate_recording(separator, recording, out)
    assert [path.name for path in out.iterdir()] == [".talk.separating"]
    windows = out / ".talk.separating" / "windows.f32"
    with windows.open("ab") as file:
        file.write(b"half a window")
    half = windows.with_name("talk_spk1.wav")  # as a kill while streams are written leaves it
    half.write_bytes(b"half a stream")
    rooms = []
    monkeypatch.setattr(
        long_recording.shutil,
        "disk_usage",
        lambda _: rooms.append(half.exists()) or SimpleNamespace(free=10**12),
    )
    separator.fails_at = -1
    steps = []
    paths = separate_recording(separator, recording, out, hook=lambda *told: steps.append(told))
    assert separator.calls == 20  # the windows of 120 s, none twice
    assert rooms == [False]  # it takes no room when room is looked for
    streams = [soundfile.read(path, dtype="float32")[0] for path in paths]
    np.testing.assert_array_equal(streams, whole)
    assert sorted(path.name for path in out.iterdir()) == [
        *("talk.separated.json", "talk_spk1.wav", "talk_spk2.wav")
    ]
    assert ("separate", 7, 20, recording.source) in steps
    assert ("separate", 6, 20, recording.source) not in steps
    for step in ("read", "separate", "order", "write"):
        done, total = [told[1:3] for told in steps if told[0] == step][-1]
        assert done == total
    # All is there: nothing is done again, unless it is asked for in another way.
    separate_recording(separator, recording, out)
    assert separator.calls == 20
    separate_recording(separator, recording, out, add_mixture=0.5)
    assert separator.calls == 40


def test_what_another_separator_left_is_not_used(tmp_path):
    parts = conversation(40, seed=3)
    separator = Knowing(parts)
    soundfile.write(tmp_path / "talk.wav", separator.mixture, FS, "FLOAT")
    (recording,) = find_recordings(tmp_path / "talk.wav")
    separator.fails_at = 3
    with pytest.raises(KeyboardInterrupt):
        separate_recording(separator, recording, tmp_path / "out")
    other = Knowing(parts)
    other.anchor.data += 1
    separate_recording(other, recording, tmp_path / "out")
    assert other.calls == 7


def test_a_stream_that_is_damaged_is_made_again(tmp_path):
    parts = conversation(20)
    before, _ = separated(parts, tmp_path)
    _, knowing = separated(parts, tmp_path)
    assert knowing.calls == 0
    for left in (1000, 0):
        (stream, *_) = sorted(tmp_path.rglob("*_spk1.wav"))
        stream.write_bytes(stream.read_bytes()[:left])
        again, knowing = separated(parts, tmp_path)
        assert knowing.calls > 0
        assert np.array_equal(again, before)


def test_two_runs_on_one_folder(tmp_path):
    parts = conversation(40, seed=3)
    separator = Knowing(parts)
    soundfile.write(tmp_path / "talk.wav", separator.mixture, FS, "FLOAT")
    (recording,) = find_recordings(tmp_path / "talk.wav")

    def second(step: str, *_: object) -> None:
        if step == "separate":
            separate_recording(Knowing(parts), recording, tmp_path / "out")

    with pytest.raises(UserError, match="another run is separating this recording"):
        separate_recording(separator, recording, tmp_path / "out", hook=second)


def test_a_full_disk_is_known_before(tmp_path, monkeypatch):
    parts = conversation(40, seed=3)
    monkeypatch.setattr(long_recording.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r"GB are needed on this disk, 0\.0 GB are free"):
        separated(parts, tmp_path)


def peak_bytes(minutes: int, folder: Path) -> int:
    folder.mkdir()
    separator = Knowing(np.tile(conversation(60, seed=5), minutes))
    separator.unscaled = lambda mixture: torch.stack([mixture, 0.5 * mixture])
    soundfile.write(folder / "a.wav", separator.mixture, FS, "FLOAT")
    (recording,) = find_recordings(folder / "a.wav")
    tracemalloc.start()
    try:
        separate_recording(separator, recording, folder / "out")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_flat(tmp_path):
    one, ten = peak_bytes(1, tmp_path / "one"), peak_bytes(10, tmp_path / "ten")
    assert ten < 1.1 * one


@pytest.mark.parametrize(("source", "target"), [(44100, 16000), (16000, 44100), (48000, 8000)])
@pytest.mark.parametrize("samples", [1, 440, 50_000])
def test_blocks_are_resampled_as_the_whole(source: int, target: int, samples: int) -> None:
    generator = np.random.default_rng(samples)
    whole = generator.normal(0, 0.3, (2, samples)).astype(np.float32)
    cuts = np.sort(generator.integers(0, samples + 1, 6))
    blocks = np.split(whole, cuts, axis=1)
    joined = np.concatenate(list(resample_blocks(blocks, source, target)), axis=1)
    expected = resample(torch.from_numpy(whole), source, target).numpy()
    assert joined.shape == expected.shape
    np.testing.assert_allclose(joined, expected, atol=1e-5)


def test_another_rate_and_channels(tmp_path):
    stereo = np.random.default_rng(0).uniform(-0.5, 0.5, (30 * 44100, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.flac", stereo, 44100)
    separator = Knowing(np.zeros((3, 8 * FS), np.float32))
    separator.unscaled = lambda mixture: torch.stack([mixture, 0.25 * mixture])
    (recording,) = find_recordings(tmp_path / "a.flac")
    paths = separate_recording(separator, recording, tmp_path, 2)
    streams = np.stack([soundfile.read(path)[0] for path in paths])
    assert streams.shape == (2, 30 * 44100)
    right = soundfile.read(tmp_path / "a.flac", dtype="float32")[0][:, 1]
    there = resample(torch.from_numpy(right), 44100, FS)
    expected = resample(there, FS, 44100).numpy()[: len(right)]
    np.testing.assert_allclose(streams.sum(0), expected, atol=1e-4)


def test_nothing_clips_and_silence_is_said(tmp_path, capsys):
    parts = conversation(40, seed=3)
    parts[0] += 9 * parts[1]
    parts[1] = 0
    streams, separator = separated(parts, tmp_path, add_mixture=0.0)
    said = capsys.readouterr().err  # what is printed are the streams' names
    down = np.abs(streams).max()
    assert down == pytest.approx(1, abs=1e-3)
    assert "turned down by" in said
    assert "stream" in said
    report = json.loads((tmp_path / "talk.separated.json").read_text())
    assert len(report["silent_streams"]) == 1
    total = streams.sum(0)
    share = (total @ separator.mixture) / (total @ total)
    np.testing.assert_allclose(total * share, separator.mixture, atol=2e-3)


def test_silence_alone_gives_silence(tmp_path, capsys):
    streams, _ = separated(np.zeros((3, 30 * FS), np.float32), tmp_path)
    assert not streams.any()
    assert "stream 1 is silent" in capsys.readouterr().err


def test_the_measure_finds_the_level_of_speech(tmp_path):
    tone = np.zeros(10 * FS, np.float32)
    tone[: 4 * FS] = 0.1 * np.sqrt(2) * np.sin(np.arange(4 * FS))
    write_audio(tmp_path / "a.wav", tone, FS)
    measured = measure(read_blocks(str(tmp_path / "a.wav")), FS)
    assert (measured.samples, measured.level_db) == (10 * FS, -20)
    tone[5] = np.nan
    write_audio(tmp_path / "a.wav", tone, FS)
    with pytest.raises(UserError, match="sample 5 is not finite"):
        measure(read_blocks(str(tmp_path / "a.wav")), FS)


def test_names_stay_in_the_folder(tmp_path):
    separator = Knowing(np.zeros((3, 8 * FS), np.float32))
    for name in ("../up", "a/b"):
        with pytest.raises(UserError, match="can't be the name of a file"):
            separate_recording(separator, Recording(name, "a.wav"), tmp_path)


def test_windows_may_be_of_another_length(tmp_path):
    parts = conversation(30, seed=3)
    separator = Knowing(parts, 4 * FS, 3 * FS)
    soundfile.write(tmp_path / "a.wav", separator.mixture, FS, "FLOAT")
    source = str(tmp_path / "a.wav")
    paths = [tmp_path / f"a_spk{s}.wav" for s in (1, 2)]
    measured = measure(read_blocks(source), FS)
    separate_to_disk(separator, source, FS, measured, paths, LongOptions(4.0, 1.0))
    streams = np.stack([soundfile.read(path, dtype="float32")[0] for path in paths])
    assert swapped_seconds(streams, parts) == 0


def test_what_is_said_of_other_streams_does_not_count(tmp_path):
    """A short recording of the same name takes their place: the long one is separated again."""
    parts = conversation(30, seed=4)
    whole, separator = separated(parts, tmp_path)
    soundfile.write(tmp_path / "short.wav", separator.mixture[:4000], FS, "FLOAT")
    separator.known[separator._key(separator.mixture[:64])] = 0
    separate_recording(separator, Recording("talk", str(tmp_path / "short.wav")), tmp_path)
    paths = separate_recording(separator, Recording("talk", str(tmp_path / "talk.wav")), tmp_path)
    again = np.stack([soundfile.read(path, dtype="float32")[0] for path in paths])
    np.testing.assert_array_equal(again, whole)
