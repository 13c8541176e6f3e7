from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sepasr.data.audio import write_audio
from sepasr.data.datadir import Info, Mixture, MixtureDir
from sepasr.data.scp import write_table
from sepasr.decode.cache import TranscriptCache
from sepasr.decode.guard import GuardConfig, Hypothesis
from sepasr.decode.recognise import STREAMS, Stream, recognise, streams_digest, streams_of
from sepasr.decode.recogniser import Recogniser, RecogniserConfig
from sepasr.errors import UserError
from sepasr.models import REPOSITORY

FS = 16000
CONFIG = RecogniserConfig(name="counter", family="none", weights="none", kind="ctc", batch_size=2)


class Counter:
    """Reads the number of samples; a text for some lengths; is interrupted when told."""

    def __init__(self, texts: dict[int, str] | None = None, batches: int = 1000) -> None:
        self.identity = {"model": "counter"}
        self.texts = texts or {}
        self.batches = batches
        self.read: list[int] = []

    def decode(
        self, waveforms: Sequence[np.ndarray], max_tokens: Sequence[int]
    ) -> list[Hypothesis]:
        if self.batches == 0:
            raise KeyboardInterrupt
        self.batches -= 1
        self.read.extend(len(waveform) for waveform in waveforms)
        texts = [self.texts.get(len(waveform), f"n{len(waveform)}") for waveform in waveforms]
        return [Hypothesis(text, len(text.split()), cut=False) for text in texts]


@pytest.fixture
def streams(tmp_path: Path) -> list[Stream]:
    """Two streams of three mixtures, 6000, 6100, ... samples long."""
    rng = np.random.default_rng(0)
    made = []
    for i, (name, number) in enumerate((n, s) for n in ("m2", "m10", "m1") for s in (1, 2)):
        path = tmp_path / "streams" / f"{name}_{number}.wav"
        write_audio(path, rng.standard_normal(6000 + 100 * i).astype(np.float32) * 0.1, FS)
        made.append(Stream(name, number, path))
    return made


@pytest.fixture
def cache(tmp_path: Path) -> TranscriptCache:
    return TranscriptCache(tmp_path / "cache.sqlite")


def test_files_are_written(streams: list[Stream], cache: TranscriptCache, tmp_path: Path) -> None:
    decoder = Counter({6000: "so so so so so", 6300: "", 6400: "a b a b a b a b"})
    out = tmp_path / "out"
    recognise(streams[::-1], Recogniser(CONFIG, decoder), cache, out)
    assert (out / "text_spk1").read_text() == "m1 a b a b a b\nm10 n6200\nm2 so so so\n"
    assert (out / "text_spk2").read_text() == "m1 n6500\nm10\nm2 n6100\n"
    expected = "id,stream,rule\nm1,1,repetition\nm2,1,repetition\n"
    assert (out / "guard.csv").read_text() == expected
    reader = json.loads((out / "recogniser.json").read_text())
    assert reader["name"] == CONFIG.name
    assert reader["weights"] == CONFIG.weights
    names = ["guard.csv", "recogniser.json", "text_spk1", "text_spk2"]
    assert sorted(p.name for p in out.iterdir()) == names
    assert decoder.read == [6500, 6400, 6300, 6200, 6100, 6000]


def test_nothing_is_read_twice(
    streams: list[Stream], cache: TranscriptCache, tmp_path: Path
) -> None:
    first, second = Counter(), Counter()
    recognise(streams, Recogniser(CONFIG, first), cache, tmp_path / "a")
    recognise(streams, Recogniser(replace(CONFIG, name="again"), second), cache, tmp_path / "b")
    assert len(first.read) == 6
    assert second.read == []
    for name in ("text_spk1", "text_spk2", "guard.csv"):
        assert (tmp_path / "a" / name).read_text() == (tmp_path / "b" / name).read_text()


def test_what_was_read_is_noted(
    streams: list[Stream], cache: TranscriptCache, tmp_path: Path
) -> None:
    separated, out = tmp_path / "separated", tmp_path / "out"
    separated.mkdir()

    def noted() -> object:
        recognise(streams, Recogniser(CONFIG, Counter()), cache, out, separated=separated)
        return json.loads((out / "recogniser.json").read_text()).get(STREAMS)

    assert noted() is None  # nothing says how they came about, as of references
    found = []
    for weights in ("a", "b", "a"):
        (separated / "separator.json").write_text(weights)
        found.append(noted())
        assert found[-1] == streams_digest(separated)
    assert found[0] == found[2] != found[1]


@pytest.mark.slow
def test_workers_read_the_same(
    streams: list[Stream], cache: TranscriptCache, tmp_path: Path
) -> None:
    local = REPOSITORY / "conf" / "cluster" / "local.yaml"
    here, nobody = Counter({6300: "", 6400: "a b a b a b a b"}), Counter(batches=0)
    recogniser = Recogniser(CONFIG, here)
    recognise(streams, recogniser, cache, tmp_path / "there", jobs=2, cluster=local)
    assert here.read == []
    recognise(streams, Recogniser(CONFIG, nobody), cache, tmp_path / "known")
    with TranscriptCache(tmp_path / "empty.sqlite") as empty:
        recognise(streams, recogniser, empty, tmp_path / "here")
    for file in (tmp_path / "here").iterdir():
        for other in ("there", "known"):
            assert (tmp_path / other / file.name).read_text() == file.read_text()


def test_equal_streams_are_read_once(
    streams: list[Stream], cache: TranscriptCache, tmp_path: Path
) -> None:
    decoder = Counter()
    twins = [Stream(f"m{i}", 1, streams[0].path) for i in range(5)]
    recognise(twins, Recogniser(CONFIG, decoder), cache, tmp_path / "out")
    assert decoder.read == [6000]
    assert (tmp_path / "out" / "text_spk1").read_text().count("n6000\n") == 5


def test_a_change_is_read_again(
    streams: list[Stream], cache: TranscriptCache, tmp_path: Path
) -> None:
    recognise(streams, Recogniser(CONFIG, Counter()), cache, tmp_path / "out")
    guarded = replace(CONFIG, guard=GuardConfig(max_repeats=2))
    decoder = Counter()
    recognise(streams, Recogniser(guarded, decoder), cache, tmp_path / "out")
    assert len(decoder.read) == 6
    samples = np.full(6050, 0.1, dtype=np.float32)
    write_audio(streams[0].path, samples, FS)
    decoder = Counter()
    recognise(streams, Recogniser(CONFIG, decoder), cache, tmp_path / "out")
    assert decoder.read == [6050]


def test_interrupted_and_resumed(
    streams: list[Stream], cache: TranscriptCache, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    interrupted = Counter(batches=2)
    with pytest.raises(KeyboardInterrupt):
        recognise(streams, Recogniser(CONFIG, interrupted), cache, out)
    assert not out.exists()
    resumed = Counter()
    recognise(streams, Recogniser(CONFIG, resumed), cache, out)
    assert interrupted.read == [6500, 6400, 6300, 6200]
    assert resumed.read == [6100, 6000]
    assert (out / "text_spk1").read_text() == "m1 n6400\nm10 n6200\nm2 n6000\n"


def test_transcripts_of_two_readings_are_nobody_s(
    streams: list[Stream], cache: TranscriptCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    recognise(streams, Recogniser(CONFIG, Counter()), cache, out)

    def killed(path: Path, *given: object, **options: object) -> None:
        if path.name == "text_spk2":
            raise KeyboardInterrupt
        write_table(path, *given, **options)

    other = Recogniser(CONFIG, Counter({6000: "other"}))
    other.identity = "other"
    with monkeypatch.context() as patch:
        patch.setattr("sepasr.decode.recognise.write_table", killed)
        with pytest.raises(KeyboardInterrupt):
            recognise(streams, other, cache, out)
    assert "other" in (out / "text_spk1").read_text()
    assert not (out / "recogniser.json").exists()
    recognise(streams, other, cache, out)
    assert json.loads((out / "recogniser.json").read_text())["identity"] == "other"


def test_bad_streams_are_refused(
    streams: list[Stream], cache: TranscriptCache, tmp_path: Path
) -> None:
    recogniser = Recogniser(CONFIG, Counter())
    write_audio(tmp_path / "slow.wav", np.ones(100, dtype=np.float32), 8000)
    write_audio(tmp_path / "stereo.wav", np.ones((100, 2), dtype=np.float32), FS)
    cases = {
        "no streams": [],
        "stream 1 of 'm2' is named twice": [*streams, Stream("m2", 1, tmp_path / "x.wav")],
        "'m2' has no stream 2": [streams[0], *streams[2:]],
        "no such audio file": [Stream("m", 1, tmp_path / "missing.wav")],
        "sampling rate is 8000 Hz": [Stream("m", 1, tmp_path / "slow.wav")],
        "2 channels": [Stream("m", 1, tmp_path / "stereo.wav")],
    }
    for message, bad in cases.items():
        with pytest.raises(UserError) as caught:
            recognise(bad, recogniser, cache, tmp_path / "out")
        assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_streams_of_systems(tmp_path: Path) -> None:
    mixtures = tuple(
        Mixture(
            id=name,
            mixture=Path(f"{name}.wav"),
            references=(Path(f"{name}_s1.wav"), Path(f"{name}_s2.wav")),
            noise=None,
            texts=("one", "two"),
            speakers=("a", "b"),
            duration_s=1.0,
        )
        for name in ("m1", "m2")
    )
    info = Info(corpus="none", fs=FS, cut="max", condition="mix_both_reverb", reference="anechoic")
    data = MixtureDir(tmp_path, info, mixtures)
    for s in (1, 2):
        write_table(tmp_path / "ae" / f"spk{s}.scp", {m: f"/{m}_{s}.wav" for m in ("m1", "m2")})
    assert set(streams_of(data, tmp_path / "ae")) == {
        Stream(m, s, Path(f"/{m}_{s}.wav")) for m in ("m1", "m2") for s in (1, 2)
    }
    assert set(streams_of(data, tmp_path / "clean")) == {
        Stream(m, s, Path(f"{m}_s{s}.wav")) for m in ("m1", "m2") for s in (1, 2)
    }
    assert set(streams_of(data, tmp_path / "mixture")) == {
        Stream(m, 1, Path(f"{m}.wav")) for m in ("m1", "m2")
    }
    with pytest.raises(UserError, match=r"spk1.scp: no such file"):
        streams_of(data, tmp_path / "ae" / "seed1")


def test_a_stream_more_than_there_are_speakers_is_refused(tmp_path: Path) -> None:
    files = (tmp_path / "a.wav", tmp_path / "b.wav")
    one = Mixture("m1", tmp_path / "m1.wav", files, None, ("A", "B"), ("x", "y"), 1.0)
    data = MixtureDir(tmp_path, Info("tiny", FS), (one,))
    for s in (1, 2, 3):
        write_table(tmp_path / "other" / f"spk{s}.scp", {"m1": f"/m1_{s}.wav"})
    with pytest.raises(UserError, match=r"spk3\.scp: a stream more than the 2 speakers"):
        streams_of(data, tmp_path / "other")


def test_streams_of_another_program_are_told_from_those_that_replace_them(tmp_path: Path) -> None:
    samples = np.full(600, 0.1, np.float32)
    paths = {f"m{n}": str(tmp_path / f"{n}.wav") for n in range(20)}
    for path in paths.values():
        write_audio(path, samples, FS)
    write_table(tmp_path / "spk1.scp", paths)
    found = [streams_digest(tmp_path)]
    found.append(streams_digest(tmp_path))
    for path in paths.values():
        write_audio(path, samples / 2, FS)
    found.append(streams_digest(tmp_path))
    write_table(tmp_path / "spk1.scp", paths | {"m20": paths["m1"]})
    found.append(streams_digest(tmp_path))
    assert found[0] == found[1]
    assert len({*found, None}) == 4
