import os
import sys
from types import ModuleType

import pytest
import torch
from encoder_helpers import (
    encoded,
    encoder_config,
    frames_alone,
    noise,
    relative_error,
    with_gradient,
)
from espnet_zoo import CONFORMER, WIDTH, packed, read_by_espnet, weights_file, write_asr

import sepasr.encoder.espnet
from sepasr.encoder.base import build_encoder
from sepasr.encoder.espnet import build_model
from sepasr.errors import UserError

BRANCHFORMER = {
    "output_size": WIDTH,
    "attention_heads": 2,
    "cgmlp_linear_units": 32,
    "cgmlp_conv_kernel": 7,
    "num_blocks": 3,
    "rel_pos_type": "latest",
}
TRANSFORMER = {
    "output_size": WIDTH,
    "attention_heads": 2,
    "linear_units": 24,
    "num_blocks": 3,
    "input_layer": "conv2d6",
}
KINDS = {
    "conformer": {},
    "e_branchformer": {
        "encoder": "e_branchformer",
        "encoder_conf": {
            **BRANCHFORMER,
            "linear_units": 24,
            "merge_conv_kernel": 7,
            "use_ffn": True,
        },
    },
    "branchformer": {
        "encoder": "branchformer",
        "encoder_conf": BRANCHFORMER,
        "normalize": "utterance_mvn",
        "normalize_conf": {"norm_vars": True},
    },
    "transformer": {
        "encoder": "transformer",
        "encoder_conf": TRANSFORMER,
        "normalize": "utterance_mvn",
        "normalize_conf": {},
    },
    "interctc": {
        "encoder_conf": {
            **CONFORMER,
            "interctc_layer_idx": [1],
            "interctc_use_conditioning": True,
        },
        "model_conf": {"ctc_weight": 0.3, "interctc_weight": 0.5},
    },
    "rnn": {
        "encoder": "vgg_rnn",
        "encoder_conf": {"hidden_size": 8, "num_layers": 1, "output_size": WIDTH},
    },
    "sinc": {
        "frontend": "sliding_window",
        "frontend_conf": {"fs": 16000, "hop_length": 200},
        "normalize": None,
        "normalize_conf": {},
        "preencoder": "sinc",
        "preencoder_conf": {"fs": 16000},
        "encoder_conf": {**CONFORMER, "input_layer": "linear"},
    },
}
SAMPLES = 12345
pytestmark = pytest.mark.slow  # importing ESPnet's tasks alone takes ten seconds


def espnet(model, **changes):
    changes = {"family": "conformer", "level": "rms", "source": "espnet"} | changes
    return build_encoder(encoder_config(model=str(model), **changes))


@pytest.fixture(scope="module")
def conformer(tmp_path_factory):
    return write_asr(tmp_path_factory.mktemp("espnet") / "conformer")


@pytest.fixture
def damaged(tmp_path):
    """A model of this test's own."""
    return write_asr(tmp_path / "damaged")


@pytest.mark.parametrize("kind", list(KINDS))
def test_frames_and_gradient_are_those_of_espnets_encode(kind, tmp_path):
    folder = write_asr(tmp_path / kind, **KINDS[kind])
    model = build_model(encoder_config(model=str(folder), layer="last"))
    reference = read_by_espnet(folder)
    lengths = torch.tensor([SAMPLES] * 2)

    def encode(waveform):
        output, _ = reference.encode(waveform, lengths)
        return output[0] if isinstance(output, tuple) else output

    expected = with_gradient(encode, noise(2, SAMPLES))
    found = with_gradient(lambda waveform: model(waveform, lengths), noise(2, SAMPLES))
    for value, wanted in zip(found, expected, strict=True):
        assert wanted.any()
        assert relative_error(value, wanted) < 1e-4
    assert model.frame_lengths(lengths).tolist() == [expected[0].shape[1]] * 2
    # Of what doesn't make frames nothing is held.
    head = any("ctc" in name for name in model.state_dict())
    assert head == (kind == "interctc")
    # The whole encoder, its proofs included.
    espnet(folder)


def test_a_zip_is_the_directory(conformer, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = packed(conformer, tmp_path / "conformer.zip")
    waveform, lengths = noise(1, SAMPLES), torch.tensor([SAMPLES])
    torch.testing.assert_close(
        espnet(file)(waveform, lengths), espnet(conformer)(waveform, lengths), rtol=0, atol=0
    )


def test_layers_are_the_blocks_states(conformer):
    reference = read_by_espnet(conformer)
    waveform, lengths = noise(1, SAMPLES), torch.tensor([SAMPLES])
    states = []
    for block in reference.encoder.encoders:
        block.register_forward_hook(lambda module, given, made: states.append(made[0][0]))
    reference.encoder.encoders[0].register_forward_pre_hook(
        lambda module, given: states.append(given[0][0])
    )
    last, _ = reference.encode(waveform, lengths)
    for layer in (0, 1, 3):
        model = build_model(encoder_config(model=str(conformer), layer=layer))
        assert len(model.model.encoder.encoders) == max(layer, 1)
        torch.testing.assert_close(model(waveform, lengths), states[layer], rtol=1e-5, atol=1e-6)
    several = build_model(encoder_config(model=str(conformer), layer=[1, "last"]))
    expected = torch.cat([states[1], last], dim=-1)
    torch.testing.assert_close(several(waveform, lengths), expected, rtol=1e-5, atol=1e-6)
    # Behind the last block there is a norm.
    assert relative_error(states[3].detach(), last.detach()) > 0.01
    espnet(conformer, layer={1: 0.25, "last": 0.75})
    with pytest.raises(UserError, match="no layer '4' in a model of 3 layers"):
        espnet(conformer, layer=4)


def test_layers_that_cannot_be_told_apart(tmp_path):
    folder = write_asr(tmp_path / "rnn", **KINDS["rnn"])
    for layer in (0, 1, ["last", 1]):
        with pytest.raises(UserError, match="can't be told apart"):
            espnet(folder, layer=layer)


def test_frames_do_not_depend_on_the_batch(conformer):
    encoder = espnet(conformer)
    lengths = [SAMPLES, 9001, SAMPLES, 4000]
    waveform = noise(4, SAMPLES)
    frames, counts = encoder(waveform, torch.tensor(lengths))
    for row, alone in enumerate(frames_alone(encoder, waveform, lengths)):
        assert len(alone) == counts[row]
        torch.testing.assert_close(frames[row, : counts[row]], alone, rtol=1e-5, atol=1e-6)


def test_a_batch_of_unequal_lengths_would_change_them(conformer, monkeypatch):
    monkeypatch.setattr(sepasr.encoder.espnet.EspnetFrames, "equal_lengths", False)
    with pytest.raises(UserError, match="frames depend on its batch"):
        espnet(conformer)


def test_the_shortest_utterance_is_found(conformer):
    encoder = espnet(conformer)
    shortest = encoder.model.shortest
    frames, _ = encoder(noise(1, shortest), torch.tensor([shortest]))
    assert frames.shape[1] >= 1
    assert 400 < shortest < 4000
    with pytest.raises(UserError, match="use longer segments"):
        encoder(noise(1, shortest - 1), torch.tensor([shortest - 1]))


def test_training_mode_and_validation_change_nothing(conformer):
    encoder = espnet(conformer)
    waveform, lengths = noise(1, SAMPLES), torch.tensor([SAMPLES])
    before = encoder(waveform, lengths)[0]
    encoder.train()
    # The table of positions grows here, in a mode whose tensors know no gradient.
    with torch.inference_mode():
        encoder(noise(1, 200_000), torch.tensor([200_000]))
    after, gradient = with_gradient(encoded(encoder, [SAMPLES]), waveform)
    assert torch.equal(before, after)
    assert gradient.any()


def test_weights_are_accounted_for(damaged):
    weights = torch.load(weights_file(damaged))
    del weights["encoder.after_norm.weight"]
    torch.save(weights, weights_file(damaged))
    read_by_espnet(damaged)  # which does not mind
    with pytest.raises(UserError, match=r"1 tensors differ, first 'encoder\.after_norm\.weight'"):
        espnet(damaged)


def test_code_in_the_weights_is_not_executed(damaged, tmp_path):
    class Code:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trace"),)

    torch.save({**torch.load(weights_file(damaged)), "x": Code()}, weights_file(damaged))
    with pytest.raises(UserError, match="no pickle is executed"):
        espnet(damaged)
    assert not (tmp_path / "trace").exists()
    read_by_espnet(damaged)
    assert (tmp_path / "trace").exists()


def test_a_model_of_another_rate_is_refused(tmp_path):
    frontend = {"fs": "8k", "n_fft": 256, "hop_length": 80, "n_mels": 20}
    folder = write_asr(tmp_path / "telephone", frontend_conf=frontend)
    with pytest.raises(UserError, match="fs is 16000 Hz, but the model hears 8000 Hz"):
        espnet(folder)


def test_a_configuration_that_espnet_refuses_is_one_line(damaged):
    config = damaged / "exp/asr_tiny/config.yaml"
    config.write_text(config.read_text().replace("encoder: conformer", "encoder: transformator"))
    with pytest.raises(UserError, match=r"config\.yaml: ESPnet can't build this model") as raised:
        espnet(damaged)
    assert "\n" not in str(raised.value)


def test_revision_of_a_directory(conformer):
    with pytest.raises(UserError, match="leave out revision"):
        espnet(conformer, revision="main")


@pytest.fixture
def whisper(monkeypatch):
    """What ESPnet's WhisperFrontend takes of the package ``whisper``: a tiny random encoder."""
    mels, width = 80, 8

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = torch.nn.Conv1d(mels, width, 3, padding=1)
            self.conv2 = torch.nn.Conv1d(width, width, 3, stride=2, padding=1)
            self.register_buffer("positional_embedding", torch.randn(1500, width))
            self.blocks = torch.nn.ModuleList([torch.nn.Linear(width, width)])
            self.ln_post = torch.nn.LayerNorm(width)

    def load_model(name, download_root=None):
        model = torch.nn.Module()
        model.encoder = Encoder()
        return model

    package, audio = ModuleType("whisper"), ModuleType("whisper.audio")
    audio.HOP_LENGTH, audio.N_FFT = 160, 400
    filters = torch.rand(mels, 201, generator=torch.Generator().manual_seed(0))
    audio.mel_filters = lambda device, n_mels: filters.to(device)
    package.audio, package.load_model = audio, load_model
    package.available_models = lambda: ["tiny"]
    package.pad_or_trim = None
    monkeypatch.setitem(sys.modules, "whisper", package)
    monkeypatch.setitem(sys.modules, "whisper.audio", audio)


WHISPER = {
    "frontend": "whisper",
    "normalize": None,
    "normalize_conf": {},
    "encoder_conf": {**CONFORMER, "input_layer": "linear"},
}


def test_a_frozen_whisper_frontend_is_given_its_gradient(whisper, tmp_path, monkeypatch):
    frontend = {"whisper_model": "tiny", "freeze_weights": True}
    folder = write_asr(tmp_path / "whisper", frontend_conf=frontend, **WHISPER)
    encoder = espnet(folder)
    assert encoder.model.longest == 480_000
    monkeypatch.setattr(sepasr.encoder.espnet, "FREEZING", {})
    with pytest.raises(UserError, match="no gradient reaches the waveform"):
        espnet(folder)


def test_a_frontend_under_no_grad_is_refused(tmp_path):
    parts = [
        {"frontend_type": "default", "n_mels": 20, "hop_length": 160, "n_fft": 400},
        {"frontend_type": "default", "n_mels": 20, "hop_length": 160, "n_fft": 512},
    ]
    frontend = {"frontends": parts, "align_method": "linear_projection", "proj_dim": 10}
    folder = write_asr(
        tmp_path / "fused",
        frontend="fused",
        frontend_conf=frontend,
        **{"normalize": "utterance_mvn", "normalize_conf": {}},
    )
    with pytest.raises(UserError, match=r"no gradient reaches the waveform: .*no_grad"):
        espnet(folder)


def test_features_instead_of_waveforms(tmp_path):
    folder = write_asr(tmp_path / "features", input_size=20)
    with pytest.raises(UserError, match="it hears features, not waveforms"):
        espnet(folder)
