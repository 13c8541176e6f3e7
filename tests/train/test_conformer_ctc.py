"""A conformer on log-mel features is trained by the same loop as the Wav2Vec2 on waveforms."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tones import (
    Tones,
    check_killed_and_resumed,
    check_words_are_read,
    data_directories,
    fit_tones,
    pieces_of_tones,
    short_training,
    speech,
)
from torch.utils.data import Dataset

from sepasr.config import load_config, read_yaml
from sepasr.decode.hearing import to_level
from sepasr.errors import UserError
from sepasr.train.checkpoint import steps_done
from sepasr.train.ctc import CtcConfig, CtcModule, kind_of, train_ctc
from sepasr.train.ctc_model import ModelConfig, save_recogniser
from sepasr.train.schedule import OptimizerConfig
from sepasr.train.utterances import BUCKET_SAMPLES, FS, Collate, HearingConfig, UtteranceBatch
from sepasr.train.wav2vec2_bert import Wav2Vec2BertKind

TINY = ModelConfig(
    "wav2vec2_bert", pieces=14, width=16, layers=2, heads=2, hidden=32, depthwise_kernel=5
)
REPOSITORY = Path(__file__).parents[2]
YAML = REPOSITORY / "conf" / "train" / "conformer_ctc.yaml"


@pytest.fixture
def pieces(tmp_path: Path) -> Path:
    return pieces_of_tones(tmp_path, TINY)


config = partial(short_training, TINY)


def module_of(pieces: Path, **changes) -> CtcModule:
    torch.manual_seed(0)
    return CtcModule(Wav2Vec2BertKind.new_model(TINY), pieces, config(**changes))


def train(out: Path, pieces: Path, dataset: Dataset, **changes) -> CtcModule:
    return fit_tones(module_of(pieces, **changes), pieces, dataset, out)


@pytest.mark.slow
def test_it_learns_words_and_is_read_by_the_recogniser(tmp_path: Path, pieces: Path) -> None:
    optimizer = OptimizerConfig(lr=1e-2, warmup_steps=20, gradient_norm=1.0)
    module = train(
        tmp_path / "exp", pieces, Tones(), steps=150, batch=8, valid_every=75, optimizer=optimizer
    )
    check_words_are_read(module, tmp_path / "exp")


def test_killed_and_resumed_gives_equal_weights(tmp_path: Path, pieces: Path) -> None:
    whole = check_killed_and_resumed(partial(train, pieces=pieces), tmp_path)
    assert all(name.startswith("model.") for name in whole)


def test_saved_directory_hears_and_says_what_training_does(tmp_path: Path, pieces: Path) -> None:
    from transformers import AutoFeatureExtractor, AutoModelForCTC

    module = module_of(pieces).eval()
    folder = tmp_path / "saved"
    save_recogniser(module.model, module.kind.extractor(), pieces, folder)
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "model.safetensors", "preprocessor_config.json", "spm.model"}
    loaded = AutoModelForCTC.from_pretrained(folder, dtype=torch.float32)
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    for name, tensor in loaded.state_dict().items():
        expected = module.model.state_dict()[name].half().float()
        torch.testing.assert_close(tensor, expected, atol=0, rtol=0)
    rng = np.random.default_rng(0)
    silent = np.pad(0.3 * speech("low high", rng), (FS // 3, FS // 2))  # digital silence
    items = [Tones()[3], replace(Tones()[0], waveform=silent)]
    batch = Collate(pieces)(items)
    with torch.no_grad():
        heard, mask = module.kind.heard(module.model, batch)
        said, _middle, frames = module.log_probabilities(batch)
    for row, item in enumerate(items):
        made = extractor(to_level(item.waveform), sampling_rate=FS, return_tensors="pt")
        n = int(made.attention_mask.sum())
        assert n == int(mask[row].sum()) == int(frames[row])
        # Rounding changes the logarithm of next to nothing.
        torch.testing.assert_close(heard[row, :n], made.input_features[0, :n], atol=2e-3, rtol=0)
        with torch.no_grad():
            logits = loaded(**made).logits[0, :n]
        torch.testing.assert_close(logits.log_softmax(-1), said[row, :n], atol=0.02, rtol=0)


def test_a_batch_says_what_an_utterance_says_alone(pieces: Path) -> None:
    module, collate = module_of(pieces).eval(), Collate(pieces)
    items = [Tones()[i] for i in range(6)]
    assert len({len(item.waveform) for item in items}) > 1
    together = collate(items)
    assert together.waveforms.shape[1] % BUCKET_SAMPLES == 0
    with torch.no_grad():
        last, middle, frames = module.log_probabilities(together)
        for row, item in enumerate(items):
            one_last, one_middle, one_frames = module.log_probabilities(collate([item]))
            n = int(frames[row])
            assert n == int(one_frames[0])
            torch.testing.assert_close(last[row, :n], one_last[0, :n], atol=1e-4, rtol=0)
            torch.testing.assert_close(middle[row, :n], one_middle[0, :n], atol=1e-4, rtol=0)


def labels_of(batch: UtteranceBatch) -> torch.Tensor:
    labels = torch.full((len(batch.texts), int(batch.unit_lengths.max())), -100)
    for row, units in zip(labels, batch.units.split(batch.unit_lengths.tolist()), strict=True):
        row[: len(units)] = units
    return labels


def test_loss_is_that_of_transformers(pieces: Path) -> None:
    module = module_of(pieces).eval()
    module.log, module.intermediate_weight = lambda *_, **__: None, 0.0
    batch = Collate(pieces)([Tones()[0], Tones()[1]])
    heard, mask = module.kind.heard(module.model, batch)
    expected = module.model(heard, attention_mask=mask, labels=labels_of(batch)).loss
    loss = module.training_step(batch, 0) * batch.unit_lengths.sum()
    torch.testing.assert_close(loss, expected)


def test_the_intermediate_loss_reaches_the_first_layer_only(pieces: Path) -> None:
    module = module_of(pieces)
    module.log, module.intermediate_weight = lambda *_, **__: None, 1.0
    module.training_step(Collate(pieces)([Tones()[0]]), 0).backward()
    first, last = (
        sum(float(p.grad.norm()) for p in layer.parameters() if p.grad is not None)
        for layer in module.model.wav2vec2_bert.encoder.layers
    )
    assert first > 0
    assert last == 0


def test_trains_on_after_a_validation_of_the_same_length(pieces: Path) -> None:
    module = module_of(pieces)
    module.log = lambda *_, **__: None
    batch = Collate(pieces)([Tones()[0]])
    with torch.inference_mode():
        module.log_probabilities(batch)
    module.training_step(batch, 0).backward()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "rnn"}, r"unknown model\.kind 'rnn'.*there are wav2vec2, wav2vec2_bert"),
        ({"conv_dim": [8, 8]}, r"model\.conv_dim is no setting of kind wav2vec2_bert"),
        ({"kind": "wav2vec2"}, r"model\.depthwise_kernel is no setting of kind wav2vec2 "),
        ({"heads": 3}, "width 16 can't be shared out"),
        ({"depthwise_kernel": 4}, "4 frames, which is even"),
    ],
)
def test_models_that_there_are_not(change: dict, message: str) -> None:
    wrong = replace(TINY, **change)
    with pytest.raises(UserError, match=message):
        kind_of(wrong).new_model(wrong)


def train_from_yaml(root: Path, out: Path, model: dict, *files: Path, **more) -> Path:
    sources, dev = data_directories(root)
    fitted = {"steps": 2, "batch": 4, "workers": 0, "valid_every": 2}
    (root / "tiny.yaml").write_text(json.dumps({"model": model, "fit": fitted}))
    train_ctc(
        config_files=[*files, root / "tiny.yaml"],
        overrides=["fit.accelerator=cpu", "hearing.clean_steps=1", *more.pop("overrides", ())],
        sources=sources,
        valid=dev,
        out=out,
        overwrite=False,
        **more,
    )
    return out / "final"


def test_whole_training_from_directories_and_yaml_and_further(tmp_path: Path) -> None:
    shape = {name: getattr(TINY, name) for name in ("pieces", "width", "layers", "heads", "hidden")}
    first = train_from_yaml(tmp_path, tmp_path / "exp", shape, YAML)
    assert json.loads((first / "config.json").read_text())["model_type"] == "wav2vec2-bert"
    assert "valid/wer" in (tmp_path / "exp/csv/from_step_0/metrics.csv").read_text()
    second = train_from_yaml(tmp_path, tmp_path / "further", shape, YAML, init=first)
    assert (second / "spm.model").read_bytes() == (first / "spm.model").read_bytes()
    other = {"pieces": 14, "conv_dim": [24, 32], "width": 16, "heads": 2}
    with pytest.raises(UserError, match="weights of another network"):
        train_from_yaml(tmp_path, tmp_path / "other", other, init=first)


def test_a_training_begun_before_there_were_kinds_goes_on(tmp_path: Path) -> None:
    model = {"pieces": 14, "conv_dim": [24, 32], "width": 16, "layers": 2, "heads": 2, "hidden": 32}
    out = tmp_path / "exp"
    train_from_yaml(tmp_path, out, model)
    before = read_yaml(out / "config.yaml")
    for name in ("kind", "depthwise_kernel"):
        del before["model"][name]
    (out / "config.yaml").write_text(yaml.safe_dump(before))
    train_from_yaml(tmp_path, out, model, overrides=["fit.steps=3"])
    assert steps_done(out) == 3
    with pytest.raises(UserError, match=r"model\.kind was wav2vec2 and is wav2vec2_bert"):
        train_from_yaml(tmp_path, out, {"pieces": 14}, YAML)


def test_the_recipes_model_fits_in_its_file_and_hears_what_wav2vec2_mini_does() -> None:
    ours = load_config(CtcConfig, [YAML])
    assert (
        2 * sum(p.numel() for p in kind_of(ours.model).new_model(ours.model).parameters()) < 3.9e6
    )
    theirs = load_config(CtcConfig, [YAML.with_name("wav2vec2_ctc.yaml")])
    hearing: tuple[HearingConfig, ...] = (ours.hearing, theirs.hearing)
    assert replace(hearing[0], clean_steps=0) == replace(hearing[1], clean_steps=0)
    assert ours.model.pieces == theirs.model.pieces
