"""`sepasr train` on every kind of material, and what does not fit together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from sepasr.bin.main import main
from sepasr.config import load_config
from sepasr.data.dynamic import MixingConfig
from sepasr.errors import UserError
from sepasr.separator.model import Provenance, Separator, SeparatorConfig
from sepasr.train.checkpoint import steps_done
from sepasr.train.material import check_heard
from sepasr.train.recipe import TrainConfig, starting_point

REPOSITORY = Path(__file__).parents[2]
TINY = {"channels": 16, "width": 8, "hidden": 8, "heads": 2, "layers": 1, "depthwise_kernel": 3}
CONFIG = {
    "mixing": {"segment_s": 0.1},
    "fit": {"steps": 1, "batch": 2, "workers": 0, "valid_every": 1, "accelerator": "cpu"},
}


@pytest.fixture
def train(data_dirs, tmp_path, capsys):
    """Runs `sepasr train` with these options; gives its status and what it says is wrong."""
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(CONFIG))
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))

    def run(*options: object, start: tuple = ("--separator", tmp_path / "tiny.yaml")):
        common = ["--config", tmp_path / "train.yaml", "--valid", data_dirs.mixtures.path]
        given = ["train", *common, "--out", tmp_path / "out", *start, *options]
        status = main([str(option) for option in given])
        return status, capsys.readouterr().err.splitlines()[-1:]

    return run


def described(out: Path) -> dict:
    return json.loads((out / "final" / "config.json").read_text())


def test_fixed_mixtures(train, data_dirs, tmp_path):
    mixtures = ("--mixtures", data_dirs.mixtures.path)
    assert train(*mixtures)[0] == 0
    assert not described(tmp_path / "out")["history"][-1]["dynamic_mixing"]
    # What changes memory alone may change on the way.
    assert train(*mixtures, "--set", "fit.steps=2", "checkpoint_activations=true")[0] == 0
    assert described(tmp_path / "out")["history"][-1]["steps"] == steps_done(tmp_path / "out") == 2
    status, said = train(*mixtures, "--rooms", data_dirs.rooms.path)
    assert status == 2
    assert "fixed mixtures have their noise and rooms" in said[0]
    status, said = train("--utterances", data_dirs.utterances.path)
    assert status == 2
    assert "data.mixtures was" in said[0] or "data.utterances was" in said[0]


def test_mixtures_with_a_lone_speaker_are_remembered(train, data_dirs, tmp_path):
    sources = ("--utterances", data_dirs.utterances.path)
    assert train(*sources, "--set", "mixing.lone_share=0.5")[0] == 0
    assert described(tmp_path / "out")["history"][-1]["lone_share"] == 0.5


def test_a_changed_corpus_is_another_training(train, data_dirs):
    utterances = ("--utterances", data_dirs.utterances.path, "--noise", data_dirs.noise.path)
    assert train(*utterances)[0] == 0
    fewer = replace(data_dirs.noise, noises=data_dirs.noise.noises[:1])
    fewer.write()
    status, said = train(*utterances)
    assert status == 2
    assert "data.noise was" in said[0]


@pytest.mark.parametrize("setting", ["fit.optimizer.schedule=plateau", "fit.keep=best"])
def test_what_is_validated_on_counts_where_something_follows_it(
    train, data_dirs, tmp_path, setting
):
    utterances = ("--utterances", data_dirs.utterances.path)
    plateau = (*utterances, "--set", setting, "--out", tmp_path / "other")
    assert train(*utterances)[0] == train(*plateau)[0] == 0
    kept = tmp_path / "other" / "config.yaml"
    before = yaml.safe_load(kept.read_text())
    fewer = replace(data_dirs.mixtures, mixtures=data_dirs.mixtures.mixtures[:3])
    fewer.write()
    assert train(*utterances)[0] == 0
    status, said = train(*plateau)
    assert status == 2
    assert "valid was" in said[0]
    del before["valid"]  # as of a training before this was part of it
    kept.write_text(yaml.safe_dump(before))
    assert train(*plateau)[0] == 0


def test_whole_mixtures_are_not_longer_than_an_encoder_hears(data_dirs):
    encoder = SimpleNamespace(name="ear", fs=16000, model=SimpleNamespace(longest=8000))
    mixtures = data_dirs.mixtures
    short, long = (replace(mixtures.mixtures[n], duration_s=s) for n, s in enumerate((0.5, 0.6)))
    with pytest.raises(UserError, match=rf"'{long.id}' lasts 0\.6 s, the encoder ear hears 0\.5 s"):
        check_heard(replace(mixtures, mixtures=(short, long)), [encoder])
    check_heard(replace(mixtures, mixtures=(short,)), [encoder])
    encoder.model.longest = None
    check_heard(replace(mixtures, mixtures=(long,)), [encoder])


@pytest.mark.parametrize("with_noise", [True, False])
def test_mixing_without_rooms(train, data_dirs, tmp_path, with_noise):
    noise = ("--noise", data_dirs.noise.path) if with_noise else ()
    assert train("--utterances", data_dirs.utterances.path, *noise)[0] == 0
    assert described(tmp_path / "out")["history"][-1]["dynamic_mixing"]


@pytest.mark.parametrize("setting", ["mixing.grid_s=0.1", "loss.keep_mb=1"])
def test_what_is_for_fixed_mixtures_alone(train, data_dirs, setting):
    status, said = train("--utterances", data_dirs.utterances.path, "--set", setting)
    assert status == 2
    assert "for fixed mixtures" in said[0]


def test_settings_of_a_new_separator(train, data_dirs, tmp_path):
    mixtures = ("--mixtures", data_dirs.mixtures.path)
    settings = ("--separator-set", "kernel=32", "stride=16")
    assert train(*mixtures, *settings, "--separator-set", "layers=2")[0] == 0
    config = described(tmp_path / "out")["config"]
    assert (config["kernel"], config["stride"], config["layers"]) == (32, 16, 2)
    again = ("--set", "fit.seed=1", "--out", tmp_path / "again")
    assert train(*mixtures, *again, start=("--init", tmp_path / "out" / "final"))[0] == 0
    status, said = train(*mixtures, *settings, start=("--init", tmp_path / "out" / "final"))
    assert status == 2
    assert "leave --separator-set out" in said[0]


def test_fine_tuning_has_the_dropout_of_pretraining(tmp_path):
    Separator(SeparatorConfig(**TINY), Provenance("anechoic")).save_pretrained(tmp_path)
    separator = starting_point(MixingConfig(), None, (), tmp_path)
    assert all(module.training for module in separator.modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--separator-set", "fs=8000"), "16000 Hz mixtures for a model of 8000 Hz"),
        (("--separator-set", "num_speakers=3"), "3 speakers, the mixtures have 2"),
        (
            ("--separator-set", "num_speakers=3", "--set", "mixing.num_speakers=3"),
            "mixtures of 2 speakers, training has 3",
        ),
        (("--set", "mixing.reference=reverb"), "has anechoic references, training uses reverb"),
        (("--set", "mixing.lone_share=0.1"), "mixing.lone_share is for mixing"),
    ],
)
def test_what_does_not_fit_fixed_mixtures(train, data_dirs, tmp_path, options, message):
    status, said = train("--mixtures", data_dirs.mixtures.path, *options)
    assert status == 2
    assert message in said[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["noise", "rooms"])
def test_noise_and_rooms_of_another_rate(train, data_dirs, tmp_path, kind):
    directory = getattr(data_dirs, kind)
    replace(directory, info=replace(directory.info, fs=8000)).write()
    status, said = train("--utterances", data_dirs.utterances.path, f"--{kind}", directory.path)
    assert status == 2
    assert f"{kind}: 8000 Hz {kind} for a model of 16000 Hz" in said[0]
    assert not (tmp_path / "out").exists()


EPOCH = 20_000 // 4  # steps
WHAMR = {  # names, then loss, steps and rate of the papers
    ("pretrain",): ("signal", 250 * EPOCH, 5e-5),
    ("pretrain", "pretrain_fixed"): ("signal", 200 * EPOCH, 5e-5),
    ("pretrain", "pretrain_fixed", "pretrain_fixed_xl"): ("signal", 200 * EPOCH, 1e-5),
    ("finetune", "finetune_sisdr"): ("signal", 30 * EPOCH, 2e-7),
    ("finetune", "finetune_ae_wav2vec2_base"): ("guided", 30 * EPOCH, 2e-7),
    ("finetune", "finetune_ae_whisper_small_en"): ("guided", 30 * EPOCH, 2e-7),
    ("finetune", "finetune_pit"): ("embedding_pit", 30 * EPOCH, 2e-7),
}


@pytest.mark.parametrize("names", WHAMR, ids="+".join)
def test_configurations_of_the_papers(names):
    folders = (REPOSITORY / "conf" / "train", REPOSITORY / "egs" / "whamr" / "conf" / "train")
    files = [folder / f"{name}.yaml" for name in names for folder in folders]
    config = load_config(TrainConfig, [file for file in files if file.is_file()])
    fit = config.fit
    assert (config.loss.kind, fit.steps, fit.optimizer.lr) == WHAMR[names]
    assert (fit.batch, config.mixing.segment_s, fit.optimizer.gradient_norm) == (4, 4.0, 5.0)
    assert config.mixing.speed_percent == (95, 105)
    assert fit.optimizer.weight_decay == 0  # Adam
    if names[0] == "pretrain":
        assert config.loss.threshold_db == -30
        plateau = (fit.optimizer.schedule, fit.optimizer.plateau_after, fit.optimizer.patience)
        assert plateau == ("plateau", 90 * EPOCH, 3)
        assert (fit.valid_every, fit.keep) == (EPOCH, "best")
