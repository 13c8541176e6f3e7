"""Who said what and when, in formats that their readers take."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import meeteval
import numpy as np
import pytest
import soundfile
from conversation import FS, Knowing

from sepasr.bin.main import main
from sepasr.data.blocks import frame_samples
from sepasr.data.scp import read_table
from sepasr.decode import recogniser as recogniser_module
from sepasr.decode import separate as separate_module
from sepasr.decode.activity import segments
from sepasr.decode.cache import TranscriptCache
from sepasr.decode.guard import Hypothesis
from sepasr.decode.recogniser import Recogniser, RecogniserConfig
from sepasr.decode.transcribe import transcribe_streams
from sepasr.decode.transcript_formats import FORMATS, Said

SAID = [
    Said(0.2, 2.7, 1, "hello there, Ann"),
    Said(2.0, 3.5, 2, "a < b & c"),
    Said(3725.5, 3726.0, 1, "ß été"),
]


def read_seglst(path: Path) -> meeteval.io.SegLST:
    return meeteval.io.SegLST.load(path)


class Pitch:
    """Says "low" or "high", and how many seconds it hears."""

    identity = {"software": "none"}  # noqa: RUF012

    def decode(self, waveforms, max_tokens):
        words = []
        for wave in waveforms:
            peak = np.abs(np.fft.rfft(wave)).argmax() * 16000 / len(wave)
            words.append(f"{'low' if peak < 600 else 'high'} {len(wave) / 16000:.1f}")
        return [Hypothesis(text, 2, cut=False) for text in words]


@pytest.fixture
def recogniser() -> Recogniser:
    return Recogniser(RecogniserConfig("pitch", "none", "none", "none"), Pitch())


def turns(seconds: float, *said: tuple[float, float], hertz: float) -> np.ndarray:
    times = np.arange(round(seconds * FS)) / FS
    wave = 0.2 * np.sin(2 * np.pi * hertz * times)
    return wave * np.any([(a <= times) & (times < b) for a, b in said], axis=0)


@pytest.fixture
def streams() -> np.ndarray:
    """A low and a high voice; the low one leaks into the other stream, 20 dB down."""
    low = turns(90, (1, 3), (3.4, 5), (20, 21), (30, 75), hertz=300)
    high = turns(90, (4, 6), (80, 80.05), (85, 90), hertz=1200)
    return np.stack([low, high + 0.1 * low]).astype(np.float32)


def test_segments_are_where_the_speaker_is_heard(streams, recogniser, tmp_path):
    paths = [tmp_path / "1.wav", tmp_path / "2.wav"]
    for path, stream in zip(paths, streams, strict=True):
        soundfile.write(path, stream, FS, "PCM_16")
    steps = []
    said = transcribe_streams(recogniser, paths, FS, hook=lambda *told: steps.append(told[1:3]))
    assert [(one.start_s, one.end_s, one.speaker, one.text) for one in said] == [
        (0.8, 5.2, 1, "low 4.4"),  # a pause of 0.4 s is bridged
        (3.8, 6.2, 2, "high 2.4"),  # the low voice leaks into this stream, and is not read there
        (19.8, 21.2, 1, "low 1.4"),
        (29.8, 52.5, 1, "low 22.7"),  # longer than a window: cut into equal parts
        (52.5, 75.2, 1, "low 22.7"),
        (84.8, 90.0, 2, "high 5.2"),
    ]
    assert steps[-1] == (6, 6)


def test_what_was_read_before_an_interruption_is_not_read_again(
    streams, recogniser, tmp_path, monkeypatch
):
    paths = [tmp_path / "1.wav", tmp_path / "2.wav"]
    for path, stream in zip(paths, streams, strict=True):
        soundfile.write(path, stream, FS, "PCM_16")
    recogniser.batch_size = 2
    whole = transcribe_streams(recogniser, paths, FS)
    heard, decode = [], Pitch.decode

    def decode_two_batches(self, waveforms, max_tokens):
        if len(heard) == 4:
            raise KeyboardInterrupt
        heard.extend(len(wave) for wave in waveforms)
        return decode(self, waveforms, max_tokens)

    monkeypatch.setattr(Pitch, "decode", decode_two_batches)
    with TranscriptCache(tmp_path / "read.sqlite") as cache:
        with pytest.raises(KeyboardInterrupt):
            transcribe_streams(recogniser, paths, FS, cache=cache)
        before, heard[:] = len(heard), []
        assert before == 4
        assert transcribe_streams(recogniser, paths, FS, cache=cache) == whole
        assert len(heard) == len(whole) - before
        heard[:] = []
        assert transcribe_streams(recogniser, paths, FS, cache=cache) == whole
        assert heard == []


def test_silence_has_no_segments(recogniser, tmp_path):
    soundfile.write(tmp_path / "1.wav", np.zeros(3 * FS), FS)
    assert transcribe_streams(recogniser, [tmp_path / "1.wav"], FS) == []
    assert segments(np.zeros(100, bool), 30) == []


def test_what_is_too_long_is_cut_in_its_pauses_or_else_into_equal_parts():
    active = np.ones(5000, bool)  # 100 s
    assert segments(active, 30) == [(0, 25), (25, 50), (50, 75), (75, 100)]
    active[1200:1210] = active[1300:1305] = active[100:110] = False
    parts = segments(active, 30)
    assert parts[0] == pytest.approx((0, 24.1))
    assert [stop - start for start, stop in parts[1:]] == pytest.approx([75.9 / 3] * 3)
    assert [stop for _, stop in parts[:-1]] == [start for start, _ in parts[1:]]
    # What is kept of the silence around speech is no pause to cut in.
    active = np.zeros(1600, bool)
    active[10:1495] = True
    np.testing.assert_allclose(segments(active, 30), [(0, 15.05), (15.05, 30.1)])


def test_segments_are_in_seconds_at_any_rate():
    """At 11025 Hz a frame of 0.02 s is 220 samples: an hour of them is 8 s less than an hour."""
    frame_s = frame_samples(11025) / 11025
    active = np.zeros(30_000, bool)
    active[15_000:15_100] = True
    ((start, stop),) = segments(active, 30, frame_s)
    assert (start, stop) == pytest.approx((15_000 * frame_s - 0.2, 15_100 * frame_s + 0.2))


def test_meeteval_reads_seglst_and_ctm(tmp_path):
    (tmp_path / "a.json").write_text(FORMATS["seglst"][1]("my talk", SAID))
    read = read_seglst(tmp_path / "a.json")
    assert [
        (s["session_id"], s["speaker"], float(s["start_time"]), float(s["end_time"]), s["words"])
        for s in read
    ] == [("my_talk", str(s.speaker), s.start_s, s.end_s, s.text) for s in SAID]
    (tmp_path / "a.ctm").write_text(FORMATS["ctm"][1]("my talk", SAID))
    words = meeteval.io.CTM.load(tmp_path / "a.ctm").lines
    first = [line for line in words if str(line.channel) == "1"]
    assert [line.word for line in first] == ["hello", "there,", "Ann", "ß", "été"]
    assert float(first[0].begin_time) == 0.2
    assert float(first[2].begin_time + first[2].duration) == pytest.approx(2.7, abs=2e-3)
    assert float(first[0].duration) == pytest.approx(2.5 * 5 / 14, abs=1e-3)


def test_seglst_scores(tmp_path):
    (tmp_path / "a.json").write_text(FORMATS["seglst"][1]("talk", SAID))
    swapped = [Said(s.start_s, s.end_s, 3 - s.speaker, s.text) for s in SAID]
    (tmp_path / "b.json").write_text(FORMATS["seglst"][1]("talk", swapped))
    one, other = (read_seglst(tmp_path / f"{n}.json") for n in "ab")
    (rate,) = meeteval.wer.cpwer(one, other).values()
    assert (rate.errors, rate.length) == (0, 10)


def test_captions():
    assert FORMATS["srt"][1]("talk", SAID) == (
        "1\n00:00:00,200 --> 00:00:02,700\nSpeaker 1: hello there, Ann\n\n"
        "2\n00:00:02,000 --> 00:00:03,500\nSpeaker 2: a < b & c\n\n"
        "3\n01:02:05,500 --> 01:02:06,000\nSpeaker 1: ß été\n"
    )
    vtt = FORMATS["vtt"][1]("talk", SAID)
    start = "WEBVTT\n\n00:00:00.200 --> 00:00:02.700\n<v Speaker 1>hello there, Ann\n"
    assert vtt.startswith(start)
    assert "<v Speaker 2>a &lt; b &amp; c\n" in vtt
    text = FORMATS["text"][1]("talk", SAID).splitlines()
    assert text[2] == "talk 01:02:05.500 speaker 1: ß été"
    for _, write in FORMATS.values():
        assert write("talk", []).strip() in ("", "WEBVTT", "[]")


@pytest.fixture
def commands(streams, recogniser, tmp_path, monkeypatch):
    """Runs a subcommand with a separator that knows the recording."""
    parts = np.concatenate([streams, np.zeros((1, streams.shape[1]), np.float32)])
    parts[1] -= 0.1 * parts[0]
    parts[2] = 1e-5 * np.random.default_rng(0).normal(size=parts.shape[1])
    separator = Knowing(parts)
    soundfile.write(tmp_path / "my tälk.wav", separator.mixture, FS, "FLOAT")
    monkeypatch.setattr(separate_module, "load_separator", lambda *_: separator)
    monkeypatch.setattr(recogniser_module, "load_recogniser", lambda *_, **__: recogniser)
    return lambda name, *given: main([name, str(tmp_path / "my tälk.wav"), *map(str, given)])


@pytest.mark.parametrize(
    ("given", "device"),
    [
        ([], None),  # its YAML decides
        (["--device", "cuda:1"], "cuda:1"),
        (["--device", "mps"], None),
        (["--device", "cuda", "--asr-device", "cpu"], "cpu"),
    ],
)
def test_the_recogniser_reads_on_the_gpu_of_the_separator(
    commands, recogniser, monkeypatch, given, device
):
    asked = []

    def load(*_, device):
        asked.append(device)
        return recogniser

    monkeypatch.setattr(recogniser_module, "load_recogniser", load)
    assert commands("transcribe", *given) == 0
    assert asked == [device]


def test_transcribe_writes_what_is_asked_for(commands, tmp_path, capsys):
    out = tmp_path / "out put"
    assert commands("transcribe", "-o", out, "--format", "srt", "ctm", "seglst") == 0
    names = {path.name for path in out.iterdir()} - {"transcripts.sqlite"}
    ends = ("_spk1.wav", "_spk2.wav", ".separated.json", ".srt", ".ctm", ".seglst.json")
    assert names == {f"my tälk{end}" for end in ends}
    said = read_seglst(out / "my tälk.seglst.json")
    low = {s["speaker"] for s in said if s["words"].startswith("low")}
    high = {s["speaker"] for s in said if s["words"].startswith("high")}
    assert len(low) == len(high) == 1
    assert low != high
    capsys.readouterr()
    assert commands("transcribe") == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"my tälk 00:00:00\.\d+ speaker \d: low 4\.\d", lines[0])
    assert len(lines) == len(said)
    assert commands("transcribe", "--format", "srt", "vtt") == 2
    assert "add --out" in capsys.readouterr().err


def test_separate_lists_the_streams_and_checks_the_speakers(commands, tmp_path, capsys):
    assert commands("separate", "-o", tmp_path / "out", "--speakers", 3) == 2
    assert "separates 2 speakers, not 3" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert commands("separate", "-o", tmp_path / "out", "--speakers", 2) == 0
    expected = f"my_tälk {tmp_path}/out/my tälk_spk2.wav\n"
    assert (tmp_path / "out" / "spk2.scp").read_text() == expected


def test_a_list_keeps_what_was_separated_before(commands, tmp_path):
    assert commands("separate", "-o", tmp_path / "out") == 0
    (tmp_path / "more").mkdir()
    for name in ("other", "gone"):
        shutil.copy(tmp_path / "my tälk.wav", tmp_path / "more" / f"{name}.wav")
        given = ["separate", str(tmp_path / "more" / f"{name}.wav"), "-o", str(tmp_path / "out")]
        assert main(given) == 0
    (tmp_path / "out" / "gone_spk2.wav").unlink()
    assert commands("separate", "-o", tmp_path / "out") == 0
    for s in (1, 2):
        assert read_table(tmp_path / "out" / f"spk{s}.scp") == {
            "my_tälk": f"{tmp_path}/out/my tälk_spk{s}.wav",
            "other": f"{tmp_path}/out/other_spk{s}.wav",
        }


def test_several_recordings_are_transcribed(commands, tmp_path):
    (tmp_path / "more").mkdir()
    other = tmp_path / "more" / "other.wav"
    shutil.copy(tmp_path / "my tälk.wav", other)
    assert commands("transcribe", other, "-o", tmp_path / "out") == 0
    said = [(tmp_path / "out" / f"{name}.txt").read_text() for name in ("my tälk", "other")]
    assert said[0].replace("my tälk", "other") == said[1] != ""


@pytest.mark.parametrize("what", ["info.yaml", "separator.json"])
def test_lists_of_something_else_are_kept(commands, tmp_path, capsys, what):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / what).touch()
    (tmp_path / "out" / "spk1.scp").write_text("a b\n")
    for command in ("separate", "transcribe"):
        assert commands(command, "-o", tmp_path / "out") == 2
        assert f"{tmp_path}/out: " in capsys.readouterr().err
    assert (tmp_path / "out" / "spk1.scp").read_text() == "a b\n"
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_what_cannot_be_read_keeps_nothing_else_back(commands, tmp_path, capsys):
    (tmp_path / "broken.wav").write_text("no audio")
    assert commands("separate", tmp_path / "broken.wav", "-o", tmp_path / "out") == 2
    errors = capsys.readouterr().err
    assert "broken.wav: cannot be read as audio" in errors
    assert errors.endswith("(mend them and run it again)\n")
    assert "1 of 2 recordings can't be separated" in errors
    assert (tmp_path / "out" / "spk1.scp").read_text().startswith("my_tälk ")
    (tmp_path / "sub").mkdir()
    soundfile.write(tmp_path / "sub" / "my_tälk.wav", np.zeros(FS), FS)
    assert commands("separate", tmp_path / "sub", "-o", tmp_path / "out") == 2
    assert "named 'my_tälk', as is" in capsys.readouterr().err


def test_streams_are_not_put_among_the_recordings(commands, tmp_path, capsys):
    (folder := tmp_path / "talks").mkdir()
    soundfile.write(folder / "a.wav", np.zeros(FS), FS)
    for name in ("separate", "transcribe"):
        assert main([name, str(folder), "-o", str(folder)]) == 2
        assert "streams here would be taken for recordings" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["a.wav"]
    soundfile.write(tmp_path / "b_spk1.wav", np.zeros(FS), FS)
    (tmp_path / "wav.scp").write_text(f"b {tmp_path}/b_spk1.wav\n")
    assert main(["separate", str(tmp_path / "wav.scp"), "-o", str(tmp_path)]) == 2
    assert "would take the place of this input" in capsys.readouterr().err


def test_several_documents_are_not_printed_as_one(commands, tmp_path, capsys):
    (folder := tmp_path / "talks").mkdir()
    for name in ("a.wav", "b.wav"):
        soundfile.write(folder / name, np.zeros(FS), FS)
    for kind in ("srt", "seglst"):
        assert main(["transcribe", str(folder), "--format", kind]) == 2
        assert f"{kind} of several recordings" in capsys.readouterr().err


def test_bars_show_the_remaining_time(commands, tmp_path, capsys):
    assert commands("separate", "-o", tmp_path / "out") == 0
    errors = capsys.readouterr().err
    assert re.search(r"separate: .*/15 \[.*<", errors)
