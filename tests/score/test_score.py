import json
import math
import shutil
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest

from sepasr.bin.main import main
from sepasr.data.audio import write_audio
from sepasr.data.datadir import Info, Mixture, MixtureDir
from sepasr.data.scp import write_table
from sepasr.decode.recognise import STREAMS, streams_digest
from sepasr.errors import UserError
from sepasr.score.result import RecogniserInfo, Results, SystemInfo
from sepasr.score.rows import GuardRow, MeasureRow, read_rows
from sepasr.score.score import score

FS = 16_000
TEXTS = {"m1": ("Hello, World!", "it's twenty two"), "m2": ("the colour", "one dog")}
SYSTEMS = [
    SystemInfo("mixture", "mixture"),
    SystemInfo("clean", "clean"),
    SystemInfo("sisdr", "sisdr_seed7", seed=7, steps=10),
]
CTC = RecogniserInfo("ctc", "wav2vec2", "w2v2")


@pytest.fixture
def data(tmp_path) -> MixtureDir:
    """Two mixtures of two speakers with transcripts, decodes and separated audio."""
    generator = np.random.default_rng(0)
    mixtures, separated = [], [{}, {}]
    for name, texts in TEXTS.items():
        references = 0.1 * generator.standard_normal((2, FS // 2)).astype(np.float32)
        files = tuple(tmp_path / f"{name}_s{n}.wav" for n in range(2))
        for stream, (file, reference) in enumerate(zip(files, references, strict=True)):
            write_audio(file, reference, FS)
            estimate = tmp_path / f"{name}_e{stream}.wav"
            write_audio(estimate, reference + 0.1 * references[1 - stream], FS)
            separated[1 - stream][name] = str(estimate)
        write_audio(tmp_path / f"{name}.wav", references.sum(0), FS)
        mixtures.append(
            Mixture(name, tmp_path / f"{name}.wav", files, None, texts, ("a", "b"), 0.5)
        )
    for stream, table in enumerate(separated, 1):
        write_table(tmp_path / "exp/separate/sisdr_seed7" / f"spk{stream}.scp", table)
    transcribe(tmp_path, "mixture", {"m1": "hello world", "m2": ""})
    clean = [{name: texts[n] for name, texts in TEXTS.items()} for n in range(2)]
    transcribe(tmp_path, "clean", *clean)
    transcribe(
        tmp_path,
        "sisdr_seed7",
        {"m1": "IT IS 22", "m2": "The color one"},
        {"m1": "hello word", "m2": "dog"},
        guard="m2,1,length\n",
    )
    return MixtureDir(tmp_path / "data", Info("toy", FS, "max", "mix", "anechoic"), tuple(mixtures))


def transcribe(folder: Path, system: str, *streams: dict[str, str], guard: str = "") -> None:
    decode = folder / "exp/decode" / system / "ctc"
    for stream, texts in enumerate(streams, 1):
        write_table(decode / f"text_spk{stream}", texts, empty_values=True)
    (decode / "guard.csv").write_text("id,stream,rule\n" + guard)


def test_rows(data, tmp_path):
    scores = score(data, SYSTEMS, [CTC], tmp_path / "exp")
    found = {
        (row.system, row.mixture): (row.words, row.cp_errors, row.orc_errors)
        for row in scores.utterances
    }
    assert found == {
        ("mixture", "m1"): (5, 3, 3),  # 'it is 22' read as 'hello world', or left out
        ("mixture", "m2"): (4, 4, 4),
        ("clean", "m1"): (5, 0, 0),
        ("clean", "m2"): (4, 0, 0),
        ("sisdr", "m1"): (5, 1, 1),  # streams are swapped, 'word' for 'world'
        ("sisdr", "m2"): (4, 2, 2),  # 'one' in the wrong stream
    }
    assert scores.guard == (GuardRow("sisdr", 7, "ctc", "m2", 1, "length"),)
    assert {row.seed for row in scores.utterances if row.system == "sisdr"} == {7}


def test_measures_of_the_rows(data, tmp_path):
    scores = score(data, SYSTEMS, [CTC], tmp_path / "exp")
    measures = {(row.system, row.mixture): row for row in scores.measures}
    assert measures["mixture", "m1"].si_sdri == 0
    assert measures["sisdr", "m1"].si_sdr == pytest.approx(20, abs=1.5)
    clean = measures["clean", "m1"]
    assert math.isfinite(clean.srmr)
    assert math.isnan(clean.si_sdr)
    assert math.isnan(clean.pesq)
    for row in scores.utterances:
        measured = measures[row.system, row.mixture]
        assert (row.si_sdr, row.si_sdri) == pytest.approx(
            (measured.si_sdr, measured.si_sdri), nan_ok=True
        )


def remove_line(path: Path, start: str) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith(start)))


@pytest.mark.parametrize(
    "name",
    [
        "decode/sisdr_seed7/ctc/text_spk2",
        "decode/mixture/ctc/text_spk1",
        "separate/sisdr_seed7/spk1.scp",
    ],
)
def test_a_missing_mixture_is_named(data, tmp_path, name):
    remove_line(tmp_path / "exp" / name, "m2")
    with pytest.raises(UserError, match=rf"{name}: no entry for mixture 'm2'"):
        score(data, SYSTEMS, [CTC], tmp_path / "exp")


@pytest.mark.parametrize("name", ["text_spk2", "guard.csv"])
def test_a_missing_file_is_named(data, tmp_path, name):
    (tmp_path / "exp/decode/clean/ctc" / name).unlink()
    with pytest.raises(UserError, match=f"clean/ctc/{name}: no such file"):
        score(data, SYSTEMS, [CTC], tmp_path / "exp")


def test_transcripts_of_other_streams_are_refused(data, tmp_path, capsys):
    exp = tmp_path / "exp"
    separator = exp / "separate/sisdr_seed7/separator.json"
    reader = exp / "decode/sisdr_seed7/ctc/recogniser.json"
    separator.write_text('{"weights_sha256": "old"}')
    score(data, SYSTEMS, [CTC], exp)
    assert "not stated of which streams" in capsys.readouterr().err
    reader.write_text(json.dumps({STREAMS: streams_digest(separator.parent)}))
    score(data, SYSTEMS, [CTC], exp)
    assert capsys.readouterr().err.count("not stated") == 0
    separator.write_text('{"weights_sha256": "new"}')
    with pytest.raises(UserError, match=r"sisdr_seed7/ctc/recogniser\.json: read other streams"):
        score(data, SYSTEMS, [CTC], exp)
    reader.write_text("[]")
    with pytest.raises(UserError, match=r"recogniser\.json: does not say what was read"):
        score(data, SYSTEMS, [CTC], exp)


def test_a_stream_more_than_there_are_speakers_is_refused(data, tmp_path):
    exp = tmp_path / "exp"
    for name, cause in (
        ("decode/sisdr_seed7/ctc/text_spk3", "text_spk3: a stream more than the 2 speakers"),
        ("separate/sisdr_seed7/spk3.scp", "spk3.scp: a stream more than the 2 speakers"),
    ):
        score(data, SYSTEMS, [CTC], exp)
        (exp / name).write_text("m1 x\nm2 y\n")
        with pytest.raises(UserError, match=cause):
            score(data, SYSTEMS, [CTC], exp)
        (exp / name).unlink()


def test_signals_are_measured_without_transcripts(data, tmp_path, capsys):
    whole = score(data, SYSTEMS, [CTC], tmp_path / "exp")
    cut = [replace(m, texts=None) for m in data.mixtures]
    MixtureDir(data.path, replace(data.info, cut="min"), tuple(cut)).write()
    streams = tmp_path / "exp/separate/sisdr_seed7"
    call = ["measure", str(data.path), str(streams), "--rows", str(tmp_path / "rows.csv")]
    assert main(call) == 0
    rows = read_rows(tmp_path / "rows.csv", MeasureRow)
    assert [row.system for row in rows] == ["sisdr_seed7"] * 2
    expected = [row for row in whole.measures if row.system == "sisdr"]
    for row, other in zip(rows, expected, strict=True):
        assert astuple(row)[2:] == pytest.approx(astuple(other)[2:], nan_ok=True)
    said = capsys.readouterr().out
    assert "2 mixtures of toy, 16000 Hz, cut min, mix, anechoic references" in said
    assert f"{np.mean([row.si_sdri for row in rows]):.2f} [" in said
    streams.rename(streams.with_name("clean"))  # a name, here, like any other
    call[2] = str(streams.with_name("clean"))
    assert main([*call[:3], "--brief"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.count("–") == 4  # PESQ, STOI, ESTOI, SRMR
    assert f"{np.mean([row.si_sdri for row in rows]):.2f} [" in line


def test_the_command_heeds_the_settings_of_the_table(data, tmp_path):
    exp, table, out = tmp_path / "exp", tmp_path / "table.yaml", tmp_path / "out"
    for kind in ("separate", "decode"):
        shutil.copytree(exp / kind / "sisdr_seed7", exp / kind / "ae")
    encoder = {"name": "tiny", "family": "whisper", "weights": "tiny"}
    for folder, last in (("sisdr_seed7", {}), ("ae", {"encoder": encoder})):
        text = json.dumps({"history": [{"steps": 10, **last}]})
        (exp / "separate" / folder / "separator.json").write_text(text)
    folders = ["mixture", "clean", "sisdr_seed7", "ae"]

    def scored(identity: str) -> Results:
        reader = {"name": "ctc", "family": "wav2vec2", "weights": "w2v2", "identity": identity}
        for folder in folders:
            (exp / "decode" / folder / "ctc/recogniser.json").write_text(json.dumps(reader))
        call = ["score", "--recipe", "x", "--config", table, "--data", data.path, "--exp", exp]
        call += ["--systems", *folders, "--recognisers", "ctc", "--out", out]
        assert main([str(argument) for argument in call]) == 0
        return Results.read(out / "results.json")

    data.write()
    table.write_text(
        "control: sisdr_seed7\nprimary: [{system: ae, recogniser: ctc}]\nnotes: [Heed this.]\n"
    )
    one, again, other = (scored(identity) for identity in ("beam 1", "beam 1", "beam 5"))
    assert one.control == "sisdr_seed7"
    assert [(c.system, c.recogniser, c.primary) for c in one.comparisons] == [("ae", "ctc", True)]
    assert one.run.notes == ("Heed this.",)
    assert one.run.config_sha == again.run.config_sha != other.run.config_sha


def test_a_subset_is_scored_from_what_was_read_of_the_whole(data, tmp_path):
    whole = score(data, SYSTEMS, [CTC], tmp_path / "exp")
    subset = MixtureDir(data.path, data.info, data.mixtures[:1])
    part = score(subset, SYSTEMS, [CTC], tmp_path / "exp")
    assert {row.mixture for row in part.utterances} == {"m1"}
    assert [row.cp_errors for row in part.utterances] == [
        row.cp_errors for row in whole.utterances if row.mixture == "m1"
    ]
    assert part.guard == ()  # what was cut is of m2


@pytest.mark.parametrize("line", ["m9,1,length", "m1,one,length", "m1,1"])
def test_a_bad_line_of_the_guard_is_named(data, tmp_path, line):
    (tmp_path / "exp/decode/clean/ctc/guard.csv").write_text(f"id,stream,rule\n{line}\n")
    with pytest.raises(UserError, match=r"clean/ctc/guard\.csv:2: not the id"):
        score(data, SYSTEMS, [CTC], tmp_path / "exp")


def test_a_set_without_transcripts(data, tmp_path):
    cut = [
        Mixture(m.id, m.mixture, m.references, None, None, m.speakers, m.duration_s)
        for m in data.mixtures
    ]
    with pytest.raises(UserError, match="no transcripts"):
        score(MixtureDir(data.path, data.info, tuple(cut)), SYSTEMS, [CTC], tmp_path / "exp")
