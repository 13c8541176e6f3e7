"""A recogniser learns, is saved as others read it, and training it can be interrupted."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tones import (
    TEXTS,
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

from sepasr.config import load_config
from sepasr.data.datadir import NoiseDir, RoomDir, UtteranceDir
from sepasr.decode.recognisers.ctc import SentencePieceUnits
from sepasr.errors import UserError
from sepasr.train.ctc import CtcConfig, CtcModule, train_ctc
from sepasr.train.ctc_model import ModelConfig, save_recogniser
from sepasr.train.utterances import (
    BUCKET_SAMPLES,
    FS,
    MASKED_MEL,
    MASKED_S,
    Collate,
    HearingConfig,
    TrainingUtterances,
    mask,
    normalise_waveform,
)
from sepasr.train.wav2vec2 import filterbank, new_extractor, new_model

TINY = ModelConfig(
    pieces=14,
    conv_dim=[24, 32],
    width=16,
    layers=2,
    heads=2,
    hidden=32,
    position_kernel=5,
    position_groups=2,
)
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def pieces(tmp_path: Path) -> Path:
    return pieces_of_tones(tmp_path, TINY)


config = partial(short_training, TINY)


def train(out: Path, pieces: Path, dataset: Dataset, **changes) -> CtcModule:
    torch.manual_seed(0)
    module = CtcModule(new_model(TINY), pieces, config(**changes))
    return fit_tones(module, pieces, dataset, out)


@pytest.mark.slow
def test_it_learns_words_and_is_read_by_the_recogniser(tmp_path: Path, pieces: Path) -> None:
    module = train(tmp_path / "exp", pieces, Tones(), steps=300, batch=8)
    check_words_are_read(module, tmp_path / "exp")


@pytest.mark.parametrize("settings", [{}, {"keep": "best", "valid_every": 4}])
def test_killed_and_resumed_gives_equal_weights(
    tmp_path: Path, pieces: Path, settings: dict
) -> None:
    check_killed_and_resumed(partial(train, pieces=pieces, **settings), tmp_path)


def test_saved_directory_is_what_transformers_loads(tmp_path: Path, pieces: Path) -> None:
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    model = new_model(TINY).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_recogniser(model, new_extractor(), pieces, tmp_path / "saved")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())

    loaded = Wav2Vec2ForCTC.from_pretrained(tmp_path / "saved", dtype=torch.float32)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, before[name].half().float()), name
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(tmp_path / "saved")
    waveform = speech("low high", np.random.default_rng(0))
    heard = extractor(waveform, sampling_rate=FS, return_tensors="pt").input_values
    with torch.no_grad():
        torch.testing.assert_close(loaded(heard).logits, model(heard).logits, atol=0.02, rtol=0)
    stored = (tmp_path / "saved" / "model.safetensors").stat().st_size
    assert stored < 2.2 * sum(tensor.numel() for tensor in before.values()) + 10_000


def test_waveforms_are_normalised_as_transformers_does() -> None:
    from transformers import Wav2Vec2FeatureExtractor

    waveform = 0.3 + speech("middle", np.random.default_rng(0))
    heard = Wav2Vec2FeatureExtractor(do_normalize=True)(waveform, sampling_rate=FS)
    np.testing.assert_allclose(normalise_waveform(waveform), heard.input_values[0], atol=1e-5)


def test_units_stand_for_the_text(pieces: Path) -> None:
    collate = Collate(pieces)
    units = SentencePieceUnits(pieces, outputs=TINY.pieces + 1)
    for text in TEXTS:
        path = [unit for one in collate.units(text) for unit in (one, one, 0)]
        assert min(collate.units(text)) > 1  # neither blank nor unknown
        assert units.text(path) == text


def test_every_weight_that_is_trained_has_a_gradient(pieces: Path) -> None:
    """Else processes would wait for it in vain."""
    module = CtcModule(new_model(TINY), pieces, config())
    module.training_step(Collate(pieces)([Tones()[i] for i in range(3)]), 0).backward()
    assert all(p.grad is not None for p in module.parameters() if p.requires_grad)
    assert sum(not p.requires_grad for p in module.parameters()) == 1


def test_a_batch_says_what_an_utterance_says_alone(pieces: Path) -> None:
    module = CtcModule(new_model(TINY), pieces, config()).eval()
    collate = Collate(pieces)
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


def test_loss_is_that_of_transformers(pieces: Path) -> None:
    module = CtcModule(new_model(TINY), pieces, replace(config(), intermediate_weight=0.0)).eval()
    module.log = lambda *_, **__: None
    batch = Collate(pieces)([Tones()[0], Tones()[1]])
    labels = torch.full((2, int(batch.unit_lengths.max())), -100)
    for row, units in zip(labels, batch.units.split(batch.unit_lengths.tolist()), strict=True):
        row[: len(units)] = units
    expected = module.model(batch.waveforms, attention_mask=batch.mask, labels=labels).loss
    loss = module.training_step(batch, 0) * batch.unit_lengths.sum()
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("hz", [300.0, 1000.0, 3000.0])
def test_filters_give_the_envelope_of_their_band(hz: float) -> None:
    bank = filterbank(channels=128, kernel=400)
    np.testing.assert_array_equal(bank[126:], 0)
    np.testing.assert_allclose(bank.sum(1), 0, atol=1e-4)
    t = np.arange(400) / FS
    tones = [np.cos(2 * np.pi * hz * t + phase) for phase in np.linspace(0, 6, 25)]
    rectified = np.maximum(bank[:126] @ np.array(tones).T, 0).reshape(42, 3, 25).sum(1)
    loudest = rectified[rectified.mean(1).argmax()]
    assert loudest.max() < 1.2 * loudest.min()
    # 42 bands between 80 and 7500 Hz are 60 to 65 mel apart.
    spectrum = np.abs(np.fft.rfft(bank[3 * rectified.mean(1).argmax()], FS))
    assert 2595 * abs(np.log10((1 + spectrum.argmax() / 700) / (1 + hz / 700))) < 65


@pytest.mark.parametrize(
    ("change", "message"),
    [({"conv_stride": [160, 4]}, "640 samples"), ({"conv_dim": [24, 16]}, "no projection")],
)
def test_shapes_that_s3prl_cannot_carry(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        new_model(replace(TINY, **change))


def test_fairseq_model_of_s3prl_says_the_same() -> None:
    from s3prl.upstream.wav2vec2.wav2vec2_model import Wav2Vec2Config, Wav2Vec2Model

    model = new_model(TINY).eval()
    layers = zip(TINY.conv_dim, TINY.conv_kernel, TINY.conv_stride, strict=True)
    twin = Wav2Vec2Model(
        Wav2Vec2Config(
            extractor_mode="layer_norm",
            conv_feature_layers=str(list(layers)),
            conv_bias=True,
            layer_norm_first=True,
            encoder_layers=TINY.layers,
            encoder_embed_dim=TINY.width,
            encoder_ffn_embed_dim=TINY.hidden,
            encoder_attention_heads=TINY.heads,
            conv_pos=TINY.position_kernel,
            conv_pos_groups=TINY.position_groups,
        )
    )
    ours = sum(p.numel() for p in model.wav2vec2.parameters()) - TINY.width  # masked_spec_embed
    parts = (twin.feature_extractor, twin.post_extract_proj, twin.layer_norm, twin.encoder)
    assert ours == sum(p.numel() for part in parts for p in part.parameters())


def test_training_utterances_are_clean_first_and_of_similar_length(tmp_path: Path) -> None:
    sources, _ = data_directories(tmp_path)
    utterances = UtteranceDir.load(sources.utterances)
    hearing = HearingConfig(1, 0.0, 1.0, (0.0, 0.0), (100, 100), pool=3)
    dataset = TrainingUtterances(
        utterances, NoiseDir.load(sources.noise), RoomDir.load(sources.rooms), hearing, 4, seed=0
    )
    items = [dataset[i] for i in range(12)]
    lengths = np.array([len(item.waveform) for item in items]).reshape(3, 4)
    assert sorted(item.text for item in items) == sorted(u.text for u in utterances.utterances)
    spans = sorted((batch.min(), batch.max()) for batch in lengths)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    # The first batch is clean, in the others noise is as strong as speech, in the gaps as well.
    quietest = [np.abs(item.waveform[: FS // 20]).max() for item in items]
    assert max(quietest[:4]) < 0.01 < min(quietest[4:])
    np.testing.assert_array_equal(dataset[7].waveform, items[7].waveform)


def test_clean_steps_are_of_all_batches_of_a_step(tmp_path: Path) -> None:
    sources, _ = data_directories(tmp_path)
    utterances = UtteranceDir.load(sources.utterances)
    hearing = HearingConfig(clean_steps=3)
    datasets = [
        TrainingUtterances(utterances, None, None, hearing, batch, 0, batches)
        for batch, batches in ((8, 1), (2, 4))
    ]
    for dataset in datasets:
        assert dataset._heard(23) is dataset.clean
        assert dataset._heard(24) is dataset.augmented


def test_silence_counts_for_similar_lengths(tmp_path: Path) -> None:
    sources, _ = data_directories(tmp_path)
    hearing = HearingConfig(1, 0.0, 0.0, silence_share=0.5, silence_s=2.0, pool=3)
    dataset = TrainingUtterances(
        UtteranceDir.load(sources.utterances),
        NoiseDir.load(sources.noise),
        RoomDir.load(sources.rooms),
        replace(hearing, speed_percent=(100, 100)),
        4,
        seed=0,
    )
    lengths = np.array([len(dataset[i].waveform) for i in range(24)]).reshape(2, 3, 4)
    for pool in lengths[1:]:  # the first one is partly clean
        spans = sorted((batch.min(), batch.max()) for batch in pool)
        assert all(a[1] <= b[0] + 1 for a, b in pairwise(spans))
    longest = max(u.duration_s for u in UtteranceDir.load(sources.utterances).utterances)
    assert lengths[0, 0].max() <= longest * FS < lengths.max()


def test_masks_silence_stretches_and_bands_and_nothing_else() -> None:
    noise = np.random.default_rng(0).standard_normal(3 * FS).astype(np.float32)
    power = np.abs(np.fft.rfft(noise))
    for seed in range(20):
        np.testing.assert_allclose(
            mask(noise, 0, 0, np.random.default_rng(seed)), noise, atol=1e-5, rtol=0
        )
        silenced = mask(noise, 1, 0, np.random.default_rng(seed)) == 0
        (places,) = np.nonzero(silenced)
        assert len(places) <= MASKED_S * FS
        assert not len(places) or np.ptp(places) == len(places) - 1
        without = np.abs(np.fft.rfft(mask(noise, 0, 1, np.random.default_rng(seed))))
        (taken,) = np.nonzero(without < 1e-3 * power)
        edges = 2595 * np.log10(1 + taken / 3 / 700)
        assert not len(taken) or np.ptp(edges) <= MASKED_MEL
        kept = np.delete(np.arange(len(power)), taken)
        np.testing.assert_allclose(without[kept], power[kept], rtol=1e-2, atol=1e-2)
    both = [mask(noise, 3, 3, np.random.default_rng(seed)) for seed in range(20)]
    assert all(np.abs(masked - noise).max() > 1 for masked in both[:3])


def test_only_later_utterances_are_masked(tmp_path: Path) -> None:
    sources, _ = data_directories(tmp_path)
    utterances = UtteranceDir.load(sources.utterances)
    plain = HearingConfig(1, 0.0, 0.0, speed_percent=(100, 100), pool=3)
    heard = [
        TrainingUtterances(utterances, None, None, hearing, 4, seed=0)
        for hearing in (plain, replace(plain, masked_times=5, masked_bands=5))
    ]
    same = []
    for index in range(12):
        a, b = (dataset[index] for dataset in heard)
        assert a.text == b.text
        same.append(np.array_equal(a.waveform, b.waveform))
        np.testing.assert_array_equal(b.waveform, heard[1][index].waveform)
    assert all(same[:4])
    assert sum(same[4:]) <= 2  # it happens that no mask is drawn


def test_training_goes_on_from_a_recogniser_with_its_units(tmp_path: Path) -> None:
    sources, dev = data_directories(tmp_path)
    settings = {"model": vars(TINY), "fit": {"steps": 1, "batch": 4, "workers": 0}}
    (tmp_path / "tiny.yaml").write_text(json.dumps(settings))

    def train_from(init: Path | None, out: Path, *overrides: str) -> Path:
        train_ctc(
            config_files=[tmp_path / "tiny.yaml"],
            overrides=["fit.accelerator=cpu", *overrides],
            sources=sources,
            valid=dev,
            out=out,
            overwrite=False,
            init=init,
        )
        return out / "final"

    first = train_from(None, tmp_path / "first")
    second = train_from(first, tmp_path / "second", "fit.seed=5", "fit.optimizer.lr=1e-9")
    before, after = (load_file(folder / "model.safetensors") for folder in (first, second))
    for name, weight in before.items():  # those of another seed are elsewhere
        torch.testing.assert_close(after[name], weight, atol=1e-6, rtol=0)
    assert (second / "spm.model").read_bytes() == (first / "spm.model").read_bytes()
    with pytest.raises(UserError, match=r"layers.*\(32.*\), not \(48"):
        train_from(first, tmp_path / "wider", "model.hidden=48")
    with pytest.raises(UserError, match=r"no model\.safetensors of a recogniser"):
        train_from(tmp_path, tmp_path / "third")
    assert not (tmp_path / "third").exists()
    assert not (tmp_path / "wider").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.pieces=5000", "no 5000 units of these texts"),
        ("fit.devices=9", "1 batches to validate on, fewer than the 9 devices"),
        ("fit.precision=exact", "'exact'"),
        ("fit.optimizer.layer_decay=0.5", "layer_decay is for separators"),
    ],
)
def test_a_training_that_is_refused_removes_no_other(
    tmp_path: Path, setting: str, message: str
) -> None:
    sources, dev = data_directories(tmp_path)
    with pytest.raises(UserError, match=message):
        train_ctc(
            config_files=[],
            overrides=["fit.accelerator=cpu", "model.pieces=20", setting],
            sources=sources,
            valid=dev,
            out=tmp_path / "exp",
            overwrite=True,
        )
    assert not (tmp_path / "exp").exists()


def test_whole_training_from_directories_and_yaml(tmp_path: Path) -> None:
    sources, dev = data_directories(tmp_path)
    settings = {
        "model": vars(TINY),
        "fit": {"steps": 2, "batch": 4, "workers": 0, "valid_every": 2},
    }
    (tmp_path / "tiny.yaml").write_text(json.dumps(settings))
    out = tmp_path / "exp"
    for _ in range(2):  # the second call has nothing left to do
        train_ctc(
            config_files=[
                REPOSITORY / "conf" / "train" / "wav2vec2_ctc.yaml",
                tmp_path / "tiny.yaml",
            ],
            overrides=["fit.accelerator=cpu", "hearing.clean_steps=1"],
            sources=sources,
            valid=dev,
            out=out,
            overwrite=False,
        )
    names = {path.name for path in (out / "final").iterdir()}
    assert names == {"config.json", "model.safetensors", "preprocessor_config.json", "spm.model"}
    assert "valid/wer" in (out / "csv" / "from_step_0" / "metrics.csv").read_text()


def test_speech_of_another_rate_is_a_user_error(tmp_path: Path) -> None:
    sources, dev = data_directories(tmp_path, fs=8000)
    with pytest.raises(UserError, match="8000 Hz speech"):
        train_ctc(
            config_files=[],
            overrides=[],
            sources=sources,
            valid=dev,
            out=tmp_path / "exp",
            overwrite=False,
        )
    assert not (tmp_path / "exp").exists()


def test_the_recipes_model_fits_in_its_file() -> None:
    config = load_config(CtcConfig, [REPOSITORY / "conf" / "train" / "wav2vec2_ctc.yaml"])
    assert 2 * sum(p.numel() for p in new_model(config.model).parameters()) < 3.9e6
