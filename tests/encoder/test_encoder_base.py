import dataclasses
import re
import sys
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
import yaml
from encoder_helpers import encoded, encoder_config, frames_alone, noise
from torch import nn
from transformers import Wav2Vec2FeatureExtractor

from sepasr.config import load_config
from sepasr.encoder.base import (
    SOURCES,
    AsrEncoder,
    EncoderConfig,
    FrameModel,
    build_encoder,
    hub_options,
    load_encoder,
)
from sepasr.encoder.level import LEVELS
from sepasr.errors import UserError
from sepasr.loss.distance import DISTANCES

CONF = Path(__file__).parents[2] / "conf" / "encoder"


class Samples(FrameModel):
    """Gives back what it hears: a frame a sample, one dimension."""

    shortest, equal_lengths = 1, False

    def frame_lengths(self, lengths):
        return lengths

    def forward(self, waveform, lengths):
        return waveform[..., None]


class Convolution(FrameModel):
    """A frame for every four samples, with dropout and, like the base models, a norm over time."""

    shortest, longest, equal_lengths = 8, 4000, True

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv1d(1, 6, 8, stride=4), nn.GroupNorm(6, 6), nn.GELU(), nn.Dropout(0.5)
        )

    def frame_lengths(self, lengths):
        return (lengths - 8) // 4 + 1

    def forward(self, waveform, lengths):
        return self.layers(waveform[:, None]).transpose(1, 2)


class Parent(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.separator = nn.Linear(3, 3)
        self.encoder = encoder


LENGTHS = [900, 400, 900, 650]


def test_rms_level_is_that_of_the_valid_samples():
    encoder = AsrEncoder(encoder_config(level="rms"), Samples())
    heard, counts = encoder(3 * noise(4, 1000), torch.tensor(LENGTHS))
    assert counts.tolist() == LENGTHS
    assert heard.shape == (4, 900, 1)
    for row, length in enumerate(LENGTHS):
        rms = heard[row, :length].square().mean().sqrt()
        assert 20 * rms.log10() == pytest.approx(-25.0, abs=1e-3)
        assert not heard[row, length:].any()


def test_rms_level_takes_scale_away_and_keeps_silence_finite():
    encoder = AsrEncoder(encoder_config(level="rms"), Samples())
    lengths = torch.tensor(LENGTHS)
    loud, _ = encoder(noise(4, 900), lengths)
    soft, _ = encoder(0.01 * noise(4, 900), lengths)
    torch.testing.assert_close(loud, soft, rtol=1e-3, atol=0)
    silence = torch.zeros(1, 900, requires_grad=True)
    heard, _ = encoder(silence, torch.tensor([900]))
    heard.sum().backward()
    assert not heard.any()
    assert silence.grad.isfinite().all()


def test_model_level_is_the_feature_extractor_s():
    encoder = AsrEncoder(encoder_config(level="model"), Samples())
    waveform = noise(4, 900) + 0.05
    heard, _ = encoder(waveform, torch.tensor(LENGTHS))
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    cut = [row[:length].numpy() for row, length in zip(waveform, LENGTHS, strict=True)]
    expected = extractor(cut, sampling_rate=16000, padding=True, return_tensors="np").input_values
    np.testing.assert_allclose(heard[..., 0].numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("level", ["rms", "model"])
def test_frames_do_not_depend_on_the_batch(level):
    encoder = AsrEncoder(encoder_config(level=level), Convolution())
    waveform = noise(4, 1000)
    frames, counts = encoder(waveform, torch.tensor(LENGTHS))
    assert frames.shape == (4, 224, 6)
    assert counts.tolist() == [224, 99, 224, 161]
    for row, alone in enumerate(frames_alone(encoder, waveform, LENGTHS)):
        torch.testing.assert_close(frames[row, : counts[row]], alone)
        assert not frames[row, counts[row] :].any()


def test_what_lies_beyond_an_utterance_is_not_heard():
    encoder = AsrEncoder(encoder_config(level="rms"), Convolution())
    waveform, other = noise(4, 1000), torch.full((4, 1000), torch.nan)
    for row, length in enumerate(LENGTHS):
        other[row, :length] = waveform[row, :length]
    function = encoded(encoder, LENGTHS)
    assert torch.equal(function(waveform), function(other))


def test_a_parent_neither_trains_nor_saves_nor_converts_it():
    parent = Parent(AsrEncoder(encoder_config(), Convolution()))
    function = encoded(parent.encoder, LENGTHS)
    before = function(noise(4, 900))
    assert {name for name, _ in parent.named_parameters()} == {
        "separator.weight",
        "separator.bias",
    }
    assert set(parent.state_dict()) == {"separator.weight", "separator.bias"}
    parent.load_state_dict(parent.state_dict(), strict=True)
    parent.train().to(torch.bfloat16)
    assert parent.separator.weight.dtype == torch.bfloat16
    assert not any(p.requires_grad for p in parent.encoder.model.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        after = function(noise(4, 900))
    assert after.dtype == torch.float32
    assert torch.equal(before, after)


def test_a_move_of_the_parent_reaches_it():
    parent = Parent(AsrEncoder(encoder_config(), Convolution()))
    parent.to("meta")
    assert {p.device.type for p in parent.encoder.model.parameters()} == {"meta"}


class Training(lightning.LightningModule):
    def __init__(self, encoder):
        super().__init__()
        self.separator = nn.Linear(900, 900)
        self.encoder = encoder
        self.seen = []

    def training_step(self, waveform, batch_index):
        assert self.separator.training
        function = encoded(self.encoder, LENGTHS)
        self.seen.append(function(noise(4, 900)).detach())
        return function(self.separator(waveform)).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.slow
def test_embeddings_are_equal_in_the_middle_of_a_lightning_training(tmp_path):
    encoder = AsrEncoder(encoder_config(), Convolution())
    before = encoded(encoder, LENGTHS)(noise(4, 900))
    module = Training(encoder)
    weight = module.separator.weight.detach().clone()
    trainer = lightning.Trainer(
        max_steps=3,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, torch.utils.data.DataLoader(noise(12, 900), batch_size=4))
    assert len(module.seen) == 3
    assert all(torch.equal(before, frames) for frames in module.seen)
    assert not torch.equal(weight, module.separator.weight)
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert set(saved) == {"separator.weight", "separator.bias"}


@pytest.mark.parametrize(
    ("lengths", "cause"), [([900, 7], "7 samples; it needs 8"), ([4001, 900], "hears 4000 at most")]
)
def test_utterances_the_model_cannot_take(lengths, cause):
    encoder = AsrEncoder(encoder_config(), Convolution())
    with pytest.raises(UserError, match=cause):
        encoder(noise(2, 5000), torch.tensor(lengths))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"source": "tape"},
            "unknown source 'tape' .known: espnet, huggingface, s3prl, whisper; or a",
        ),
        ({"source": "whisper", "level": "loud"}, "unknown level 'loud' .known: rms, model"),
        (
            {"source": "whisper", "distance": "taxi"},
            "unknown distance 'taxi' .known: mse, l1, cosine, soft_dtw",
        ),
        ({"source": "whisper", "fs": 8000}, "fs is 8000 Hz, but the model hears 16000 Hz"),
        ({"source": "whisper", "layer": -1}, "layer -1: libraries differ .* or last"),
        ({"source": "whisper", "layer": 5}, "no layer '5' in a model of 4 layers"),
        ({"source": "whisper", "layer": "first"}, "no layer 'first'"),
        ({"model": "./nowhere"}, "./nowhere: no such model directory"),
        ({"source": "whisper", "model": "package:whisper-huge"}, "known: .*whisper-base"),
        ({"name": "a+b"}, r"name 'a\+b' holds '\+'.* .write plus in its place"),
        ({"family": "wavlm+"}, r"encoder tiny: family 'wavlm\+' holds '\+'"),
        ({"weights": "wavlm-base+"}, r"weights 'wavlm-base\+'"),
    ],
)
def test_wrong_configurations_are_one_line(changes, message):
    with pytest.raises(UserError, match=message) as raised:
        build_encoder(encoder_config(**({"model": "package:whisper-tiny.en"} | changes)))
    assert "\n" not in str(raised.value)


def test_unknown_name_lists_what_there_is():
    with pytest.raises(UserError, match=r"nothing\.yaml: no such .*wav2vec2_mini\.yaml"):
        load_encoder("nothing")


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configurations(path):
    conf = load_config(EncoderConfig, [path])
    assert conf.name == path.stem
    assert conf.distance in DISTANCES
    assert conf.level in LEVELS
    assert conf.fs == 16000
    stated = set(yaml.safe_load(path.read_text()))
    needed = {field.name for field in dataclasses.fields(EncoderConfig)}
    needed -= {"revision", "shuffle_seed"}
    assert stated >= needed
    lines = path.read_text().splitlines()
    assert len(lines) <= 25
    assert lines[0].startswith("# ")
    assert max(map(len, lines)) <= 100


def test_there_is_a_file_for_each_model_people_use():
    confs = [load_config(EncoderConfig, [path]) for path in CONF.glob("*.yaml")]
    assert len(confs) >= 14
    assert {conf.source for conf in confs} >= set(SOURCES)
    families = {conf.family for conf in confs}
    assert families >= {"data2vec", "hubert", "wav2vec2", "wav2vec2_bert", "wavlm", "whisper"}


def test_the_same_weights_are_said_to_be_the_same():
    by_name = {path.stem: load_config(EncoderConfig, [path]) for path in CONF.glob("*.yaml")}
    for one, other in [("s3prl_hubert", "hubert_base"), ("s3prl_wavlm_large", "wavlm_large")]:
        assert by_name[one].weights == by_name[other].weights
    seen = [by_name[name].weights for name in ("data2vec_audio_base", "s3prl_data2vec")]
    assert len(set(seen)) == 2  # fine-tuned, and not


def test_layer_may_be_given_as_an_override():
    path = CONF / "wav2vec2_base.yaml"
    assert load_config(EncoderConfig, [path], ["layer=6"]).layer == 6


OWN = """
import torch
from sepasr.encoder.base import FrameModel

class Blocks(FrameModel):
    shortest, equal_lengths = 4, False

    def frame_lengths(self, lengths):
        return lengths // 4

    def forward(self, waveform, lengths):
        frames = waveform.shape[1] // 4
        return waveform[:, : 4 * frames].unflatten(1, (frames, 4))

def build_model(conf):
    return Blocks() if conf.model == "blocks" else torch.nn.Identity()
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module of the user's own, importable as ``my_lab.NAME``."""
    (tmp_path / "my_lab").mkdir()
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, text):
        (tmp_path / "my_lab" / f"{name}.py").write_text(text)
        return f"my_lab.{name}"

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        del sys.modules[name]


def test_a_source_of_the_user_s_own(own_module):
    conf = encoder_config(source=own_module("encoder", OWN), model="blocks", level="rms")
    encoder = build_encoder(conf)
    frames, counts = encoder(noise(2, 400), torch.tensor([400, 201]))
    assert frames.shape == (2, 100, 4)
    assert counts.tolist() == [100, 50]


def test_a_model_at_hand_is_proven_as_any_other():
    """As in a notebook, where a class has no module that could be imported."""

    class Cut(Convolution):
        def forward(self, waveform, lengths):
            return super().forward(waveform.detach(), lengths)

    encoder = build_encoder(encoder_config(level="rms", source="none", model="none"), Convolution())
    assert encoder(noise(1, 400), torch.tensor([400]))[0].shape == (1, 99, 6)
    with pytest.raises(UserError, match="no gradient reaches the waveform"):
        build_encoder(encoder_config(level="rms"), Cut())


def test_what_is_wrong_with_a_source_of_the_user_s_own(own_module):
    source = own_module("encoder", OWN)
    with pytest.raises(
        UserError, match=r"my_lab.encoder: the model is a Identity, not a FrameModel"
    ):
        build_encoder(encoder_config(source=source, model="other"))
    with pytest.raises(UserError, match=r"my_lab.empty: the module has no build_model"):
        build_encoder(encoder_config(source=own_module("empty", "")))
    for source in ("my_lab.absent", "nobody.encoder", "my_lab.encoder.inner", "", ".x", "a b"):
        with pytest.raises(UserError, match=f"unknown source '{re.escape(source)}'"):
            build_encoder(encoder_config(source=source))
    # An error of the module itself isn't dressed up as one of the configuration.
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        build_encoder(encoder_config(source=own_module("needy", "import no_such_package")))


def test_a_revision_is_of_the_hub():
    named = encoder_config(revision="v1")
    assert hub_options(named, "org/model") == {"revision": "v1"}
    assert hub_options(encoder_config(), Path("model")) == {}
    with pytest.raises(UserError, match="tiny: revision 'v1' of what isn't on the hub"):
        hub_options(named, Path("model"))
