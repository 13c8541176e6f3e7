"""A user's mistake is one line that says what, where and the remedy; nothing is half-written."""

from __future__ import annotations

import fcntl
import io
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tqdm import tqdm

from sepasr.bin.main import SUBCOMMANDS, main
from sepasr.data.audio import write_audio
from sepasr.separator.model import Separator, SeparatorConfig
from sepasr.train.workdir import ORIGIN, read_origin

FS = 16000
TINY = {"channels": 16, "width": 8, "hidden": 8, "heads": 2, "layers": 1, "depthwise_kernel": 3}
PRETRAIN = """
mixing: {segment_s: 0.1}
fit: {steps: 1, batch: 2, workers: 0, valid_every: 1, accelerator: cpu}
"""


@pytest.fixture
def refused(capsys, monkeypatch):
    """Runs a command that must fail; returns its one line."""
    monkeypatch.setattr("sepasr.parallel.tqdm", partial(tqdm, file=io.StringIO()))

    def run(*arguments: object) -> str:
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        captured = capsys.readouterr()
        (line,) = captured.err.splitlines()
        assert line.startswith(f"sepasr {arguments[0]}: ")
        assert "Traceback" not in captured.out + line
        return line

    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    Separator(SeparatorConfig(**TINY)).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def train(data_dirs, tmp_path):
    """Arguments of a training that would work; keywords replace or add options."""
    (tmp_path / "pretrain.yaml").write_text(PRETRAIN)
    (tmp_path / "tiny.yaml").write_text("".join(f"{k}: {v}\n" for k, v in TINY.items()))

    def arguments(**changes: object) -> list[object]:
        options = {
            "config": tmp_path / "pretrain.yaml",
            "separator": tmp_path / "tiny.yaml",
            "utterances": data_dirs.utterances.path,
            "noise": data_dirs.noise.path,
            "rooms": data_dirs.rooms.path,
            "valid": data_dirs.mixtures.path,
            "out": tmp_path / "out",
        } | changes
        given = [(f"--{name}", value) for name, value in options.items() if value is not None]
        return ["train", *(part for option in given for part in option)]

    return arguments


def nan(path: Path) -> None:
    samples = np.zeros(2400, np.float32)
    samples[100] = np.nan
    write_audio(path, samples, FS)


BAD_AUDIO = {
    "missing": (lambda path: path.unlink(missing_ok=True), "no such"),
    "empty": (lambda path: path.write_bytes(b""), "cannot be read as audio"),
    "no samples": (lambda path: write_audio(path, np.zeros(0), FS), "no samples"),
    "text": (lambda path: path.write_text("no audio\n"), "cannot be read as audio"),
    "nan": (nan, "sample 100 is not finite"),
}
bad_audio = pytest.mark.parametrize(("damage", "message"), BAD_AUDIO.values(), ids=BAD_AUDIO)


def other_rate(directory, fs: int = 8000):
    """The same directory, which says that its audio has another rate."""
    changed = replace(directory, info=replace(directory.info, fs=fs))
    changed.write()
    return changed


def remove_entry(table: Path, key: str) -> None:
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(line for line in lines if line.split()[0] != key))


def rewrite(table: Path, pattern: str, replacement: str) -> None:
    table.write_text(re.sub(pattern, replacement, table.read_text()))


@bad_audio
def test_separate_a_bad_recording(refused, model, tmp_path, damage, message):
    damage(tmp_path / "a.wav")
    line = refused("separate", tmp_path / "a.wav", "-o", tmp_path / "out", "--model", model)
    assert f"{tmp_path}/a.wav: {message}" in line
    assert not (tmp_path / "out").exists()


def test_separate_folders_and_lists(refused, model, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "wav.scp").write_text(f"a {tmp_path}/nowhere.wav\n")
    (tmp_path / "broken.scp").write_text("a\n")
    for source, message in (
        ("empty", "empty: no audio files"),
        ("wav.scp", "nowhere.wav: no such audio file"),
        ("broken.scp", "broken.scp:1: no value for id 'a'"),
    ):
        line = refused("separate", tmp_path / source, "-o", tmp_path / "out", "--model", model)
        assert message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["separate", "transcribe"])
def test_no_stream_takes_the_place_of_another_recording(refused, model, tmp_path, command):
    folder = tmp_path / "here"
    for name in ("a", "a_spk1"):
        write_audio(folder / f"{name}.wav", np.full(1600, 0.1, np.float32), FS)
    (folder / "b.scp").write_text(f"a {folder}/a.wav\nb {folder}/../here/a_spk1.wav\n")
    before = {file: file.read_bytes() for file in folder.iterdir()}
    line = refused(command, folder / "b.scp", "-o", folder, "--model", model)
    assert f"{folder}/a_spk1.wav: a stream or a list of streams would take the place" in line
    assert {file: file.read_bytes() for file in folder.iterdir()} == before


def test_separate_keeps_what_it_reads(refused, model, tmp_path):
    for name in ("a", "a_spk1"):
        write_audio(tmp_path / f"{name}.wav", np.full(1600, 0.1, np.float32), FS)
    (tmp_path / "spk1.scp").write_text(f"b {tmp_path}/a.wav\n")
    (tmp_path / "both.scp").write_text(f"a {tmp_path}/a.wav\nb {tmp_path}/a_spk1.wav\n")
    (tmp_path / "a.txt").write_text("what was said, by hand")
    before = {file: file.read_bytes() for file in tmp_path.glob("*.*")}
    for given, place in (("both.scp", "a_spk1.wav"), ("spk1.scp", "spk1.scp")):
        line = refused("separate", tmp_path / given, "-o", tmp_path, "--model", model)
        assert f"{tmp_path}/{place}: a stream or a list of streams would take" in line
    for command in ("separate", "transcribe"):
        line = refused(command, tmp_path / "a.wav", "-o", tmp_path, "--model", model)
        assert f"{tmp_path}: streams here would be taken for recordings, or replace" in line
    assert {file: file.read_bytes() for file in tmp_path.glob("*.*")} == before


def test_separate_without_such_a_channel_or_device(refused, model, tmp_path):
    write_audio(tmp_path / "a.wav", np.zeros((100, 2)), FS)
    given = ("separate", tmp_path / "a.wav", "-o", tmp_path / "out", "--model", model)
    assert "no channel 3, there are 2" in refused(*given, "--channel", 3)
    assert "device 'abacus' can't be used" in refused(*given, "--device", "abacus")
    assert not (tmp_path / "out").exists()


def test_separate_refuses_options_of_the_other_kind_of_input(refused, model, data_dirs, tmp_path):
    rest = ("-o", tmp_path / "out", "--model", model)
    for option in (("--jobs", 2), ("--batch", 2), ("--cluster", "local.yaml")):
        assert "are for data directories" in refused("separate", tmp_path, *rest, *option)
    mixtures = data_dirs.mixtures.path
    for option in (("--channel", 1), ("--gather",)):
        assert "are for recordings" in refused("separate", mixtures, *rest, *option)
    assert not (tmp_path / "out").exists()


def test_recognise_takes_a_name_with_a_device(refused, data_dirs, tmp_path):
    given = ("--data", data_dirs.mixtures.path, "--exp", tmp_path, "--systems", "nobody")
    line = refused("recognise", "--recogniser", "pocketsphinx", "--device", "cpu", *given)
    assert str(tmp_path / "separate/nobody") in line


def test_separate_with_a_checkpoint_of_another_network(refused, model, tmp_path):
    Separator(SeparatorConfig(**{**TINY, "width": 4})).save_pretrained(tmp_path / "other")
    write_audio(tmp_path / "a.wav", np.zeros(100), FS)
    given = ("separate", tmp_path / "a.wav", "-o", tmp_path / "out", "--model")
    (tmp_path / "other" / "config.json").write_bytes((model / "config.json").read_bytes())
    line = refused(*given, tmp_path / "other")
    assert f"{tmp_path}/other/model.safetensors: weights of another network" in line
    assert "no config.json of a separator" in refused(*given, tmp_path / "nowhere")
    assert not (tmp_path / "out").exists()


def test_separate_a_data_directory_with_a_missing_entry(refused, model, data_dirs, tmp_path):
    mixtures = data_dirs.mixtures.path
    remove_entry(mixtures / "spk2.scp", "mix3")
    line = refused("separate", mixtures, "-o", tmp_path / "out", "--model", model)
    assert "spk2.scp: no entry for id 'mix3', which wav.scp has in line 4" in line
    assert not (tmp_path / "out").exists()


def test_separate_a_data_directory_of_another_rate(refused, model, data_dirs, tmp_path):
    other_rate(data_dirs.mixtures)
    given = ("separate", data_dirs.mixtures.path, "-o", tmp_path / "out", "--model", model)
    assert "8000 Hz mixtures for a separator of 16000 Hz" in refused(*given)
    assert not (tmp_path / "out").exists()


@bad_audio
def test_separate_a_data_directory_with_bad_audio(
    refused, model, data_dirs, tmp_path, damage, message
):
    last = min(data_dirs.mixtures.mixtures, key=lambda m: m.duration_s)
    damage(last.mixture)
    given = ("separate", data_dirs.mixtures.path, "-o", tmp_path / "out", "--model", model)
    assert f"{last.mixture}: {message}" in refused(*given)
    assert not list((tmp_path / "out").glob("spk*.scp"))


def test_separate_audio_that_is_not_as_long_as_listed(refused, model, data_dirs, tmp_path):
    write_audio(data_dirs.mixtures.mixtures[4].mixture, np.zeros(9000), FS)
    line = refused("separate", data_dirs.mixtures.path, "-o", tmp_path / "out", "--model", model)
    assert "mix4.wav: 9000 samples where the data directory has 6500 for 'mix4'" in line
    assert not list((tmp_path / "out").glob("spk*.scp"))


@pytest.mark.parametrize("name", ["utterances", "noise", "rooms", "valid"])
def test_train_without_a_data_directory(refused, train, tmp_path, name):
    line = refused(*train(**{name: tmp_path / "nowhere"}))
    assert f"{tmp_path}/nowhere: no such data directory (stage 1 makes it)" in line
    assert not (tmp_path / "out").exists()


def test_train_with_a_missing_entry(refused, train, data_dirs, tmp_path):
    remove_entry(data_dirs.utterances.path / "text", "fb1")
    assert "text: no entry for id 'fb1', which wav.scp has in line 3" in refused(*train())
    assert not (tmp_path / "out").exists()


def test_train_at_another_rate(refused, train, data_dirs, tmp_path):
    other_rate(data_dirs.utterances)
    assert "8000 Hz speech for a model of 16000 Hz" in refused(*train())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", [0, 1])
@bad_audio
def test_train_on_bad_audio(refused, train, data_dirs, tmp_path, damage, message, workers):
    for utterance in data_dirs.utterances.utterances:
        damage(utterance.path)
    line = refused(*train(set=f"fit.workers={workers}"))
    assert re.search(rf"wav/[fm][abc][12]\.wav: {message}", line)
    assert not (tmp_path / "out" / "final").exists()


CONFIGS = {
    "unknown name": ("mixing: {segments_s: 3}", "segments_s"),
    "wrong type": ("fit: {steps: many}", "'many'"),
    "no YAML": ("fit: {steps: [1}", "not valid YAML"),
    "a list": ("- fit", "a mapping of names to values is expected"),
    "no text": ("\0", "not valid YAML"),
}


@pytest.mark.parametrize(("text", "message"), CONFIGS.values(), ids=CONFIGS)
def test_train_with_a_bad_configuration(refused, train, tmp_path, text, message):
    (tmp_path / "bad.yaml").write_text(text)
    line = refused(*train(config=tmp_path / "bad.yaml"))
    assert f"{tmp_path}/bad.yaml:" in line
    assert message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("fit.step=3", "Key 'step' not in"),
        ("fit.steps=many", "'many'"),
        ("steps", "not of the form name=value"),
        ("fit.steps=[1", "override"),
        ("loss.kind=magic", "unknown loss 'magic'"),
        ("loss.kind=guided", "needs an encoder"),
        ("fit.optimizer.schedule=steep", "unknown learning-rate schedule 'steep'"),
        ("fit.accelerator=abacus", "'abacus'"),
        ("fit.precision=exact", "'exact'"),
        ("fit.devices=6", "5 batches to validate on, fewer than the 6 devices"),
        ("mixing.num_speakers=3", "set mixing.num_speakers"),
        ("mixing.reference=reverb", "has anechoic references"),
    ],
)
def test_train_with_a_bad_override(refused, train, tmp_path, setting, message):
    assert message in refused(*train(set=setting))
    assert not (tmp_path / "out").exists()


def test_train_from_a_checkpoint_of_another_network(refused, train, model, tmp_path):
    rewrite(model / "config.json", r'"layers": 1', '"layers": 2')
    line = refused(*train(separator=None, init=model))
    assert f"{model}/model.safetensors: weights of another network" in line
    assert not (tmp_path / "out").exists()


ENCODER = """
name: mine
family: whisper
weights: whisper-tiny.en
source: {source}
model: {model}
layer: last
distance: mse
level: rms
fs: 16000
"""


@pytest.mark.parametrize(
    ("source", "model", "message"),
    [
        ("magic", "package:whisper-tiny.en", "unknown source 'magic'"),
        ("whisper", "package:whisper-huge", "known: "),
        ("whisper", "./nowhere", "./nowhere: no such model directory or file"),
    ],
)
def test_train_with_an_unknown_encoder(refused, train, tmp_path, source, model, message):
    (tmp_path / "mine.yaml").write_text(ENCODER.format(source=source, model=model))
    line = refused(*train(set="loss.kind=guided", encoder=tmp_path / "mine.yaml"))
    assert message in line
    line = refused(*train(set="loss.kind=guided", encoder=tmp_path / "nowhere.yaml"))
    assert f"{tmp_path}/nowhere.yaml: no such configuration" in line
    assert not (tmp_path / "out").exists()


def test_train_into_the_folder_of_another_training(refused, train, tmp_path, capsys):
    assert main([str(argument) for argument in train()]) == 0
    origin = read_origin(tmp_path / "out" / ORIGIN)
    assert len(origin["commits"]) == 1
    assert {"set", "mixtures", "corpus", "condition"} == origin["valid"].keys()
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    line = refused(*train(set="fit.seed=5"))
    assert f"{tmp_path}/out: holds another training: fit.seed was 0 and is 5" in line
    assert "--overwrite" in line
    assert before == {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}


def test_train_where_another_training_is_at_work(refused, train, tmp_path):
    assert main([str(argument) for argument in train()]) == 0
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    with (tmp_path / "out" / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for more in ({}, {"set": "fit.seed=5", "overwrite": ""}):
            line = refused(*(a for a in train(**more) if a != ""))
            assert f"{tmp_path}/out: another training is at work here" in line
    assert before == {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}


RECOGNISER = "name: mine\nfamily: pocketsphinx\nweights: pocketsphinx-en-us\nkind: {kind}\n"


@pytest.fixture
def recognise(data_dirs, tmp_path):
    """Arguments of a decoding that would work."""

    def arguments(kind: str = "pocketsphinx", more: str = "", system: str = "clean"):
        (tmp_path / "mine.yaml").write_text(RECOGNISER.format(kind=kind) + more)
        return (
            *("recognise", "--recogniser", tmp_path / "mine.yaml"),
            *("--data", data_dirs.mixtures.path, "--exp", tmp_path / "exp", "--systems", system),
        )

    return arguments


def test_recognise_with_an_unknown_recogniser(refused, recognise, tmp_path):
    assert "unknown kind 'parrot'" in refused(*recognise("parrot"))
    assert "'beam' is no setting of kind pocketsphinx" in refused(*recognise(more="beam: 4\n"))
    assert "jobs is -1, less than 0" in refused(*recognise(more="jobs: -1\n"))
    assert "no_such_key" in refused(*recognise(more="no_such_key: 4\n"))
    line = refused(*recognise()[:2], tmp_path / "nobody.yaml", *recognise()[3:])
    assert f"{tmp_path}/nobody.yaml: no such configuration" in line
    assert not (tmp_path / "exp").exists()


def test_recognise_what_is_not_there(refused, recognise, data_dirs, tmp_path):
    assert "spk1.scp: no such file" in refused(*recognise(system="nothing"))
    nan(data_dirs.mixtures.mixtures[2].references[0])
    assert "mix2_s1.wav: sample 100 is not finite" in refused(*recognise())
    write_audio(data_dirs.mixtures.mixtures[2].references[0], np.zeros(100), 8000)
    assert "mix2_s1.wav: sampling rate is 8000 Hz" in refused(*recognise())
    assert not (tmp_path / "exp" / "decode").exists()


def test_transcribe(refused, model, tmp_path):
    write_audio(tmp_path / "a.wav", np.zeros(1000), FS)
    given = ("transcribe", tmp_path / "a.wav", "--model", model)
    assert "nobody.yaml: no such configuration" in refused(*given, "--recogniser", "nobody")
    given = ("transcribe", tmp_path / "b.wav", "--model", model, "--recogniser", "pocketsphinx")
    assert f"{tmp_path}/b.wav: no such file" in refused(*given)


@pytest.mark.parametrize(
    ("kind", "option", "message"),
    [
        ("utterances", "--wsj0", "nowhere: no such folder"),
        ("noise", "--noise", "nowhere: no such folder"),
        ("rooms", "--rirs", "nowhere: no such folder"),
        ("whamr", "--whamr", "nowhere: no such folder"),
    ],
)
def test_prepare_from_nothing(refused, tmp_path, kind, option, message):
    given = ("prepare", kind, option, tmp_path / "nowhere", "--corpus", "x")
    more = ("--no-text",) if kind == "whamr" else ()
    assert message in refused(*given, "--out", tmp_path / "out", *more)
    assert not (tmp_path / "out").exists()


def test_score_and_show_without_results(refused, data_dirs, tmp_path):
    given = ("score", "--recipe", "x", "--data", data_dirs.mixtures.path, "--exp", tmp_path / "exp")
    more = ("--recognisers", "nobody", "--out", tmp_path / "out")
    assert "nothing/separator.json: no such file" in refused(*given, "--systems", "nothing", *more)
    assert "recogniser.json: no such file" in refused(*given, "--systems", "clean", *more)
    assert not (tmp_path / "out").exists()
    assert "no such results" in refused("show", tmp_path / "results.json")
    (tmp_path / "results.json").write_text("{}")
    for place in (tmp_path / "results.json", tmp_path):
        assert f"{tmp_path}/results.json: not a results file" in refused("show", place)


def test_simulate_with_a_bad_setting(refused, tmp_path):
    line = refused("simulate", "--out", tmp_path / "out", "--set", "num_moons=2")
    assert "num_moons" in line
    assert not (tmp_path / "out").exists()


def test_unknown_options_and_subcommands(capsys):
    with pytest.raises(SystemExit) as unknown:
        main(["levitate"])
    assert unknown.value.code == 2
    assert "invalid choice: 'levitate'" in capsys.readouterr().err
    for subcommand in SUBCOMMANDS:
        with pytest.raises(SystemExit) as unknown:
            main([subcommand, "--no-such-option"])
        assert unknown.value.code == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith(f"sepasr {subcommand}: error: ")
