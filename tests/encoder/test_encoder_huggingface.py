import json

import pytest
import torch
from encoder_helpers import (
    encoded,
    encoder_config,
    frames_alone,
    noise,
    randomised,
    relative_error,
    with_gradient,
)
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from sepasr.encoder.base import build_encoder
from sepasr.encoder.huggingface import receptive_field
from sepasr.errors import UserError

CLASSES = {
    "hubert": (HubertConfig, HubertModel),
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
    "wavlm": (WavLMConfig, WavLMModel),
}
LAYERS = 3
LENGTHS = [9000, 5200, 9000, 7011]


def saved(path, cls, config_cls, **changes):
    """A tiny model with everything random that training would have: masks, LayerDrop, dropout."""
    settings = {
        "hidden_size": 16,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "conv_dim": (8, 12),
        "conv_kernel": (160, 8),
        "conv_stride": (80, 4),
        "num_feat_extract_layers": 2,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 2,
        "vocab_size": 10,
        "mask_time_prob": 0.5,
        "mask_feature_prob": 0.5,
        "mask_time_length": 2,
        "mask_feature_length": 2,
        "layerdrop": 0.5,
    }
    model = randomised(cls(config_cls(**(settings | changes)))).eval()
    model.save_pretrained(path)
    return model


def huggingface(path, family="wav2vec2", **changes):
    return build_encoder(encoder_config(family=family, model=f"{path}", **changes))


def unit_variance(waveform):
    centred = waveform - waveform.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + 1e-7).sqrt()


@pytest.mark.parametrize("layer", [0, 1, LAYERS, "last"])
@pytest.mark.parametrize(("stable", "norm"), [(False, "group"), (True, "layer")])
@pytest.mark.parametrize("family", sorted(CLASSES))
def test_frames_and_gradient_are_those_of_transformers(tmp_path, family, stable, norm, layer):
    config_cls, cls = CLASSES[family]
    library = saved(tmp_path, cls, config_cls, do_stable_layer_norm=stable, feat_extract_norm=norm)

    def called_directly(waveform):
        output = library(unit_variance(waveform), output_hidden_states=True)
        return output.last_hidden_state if layer == "last" else output.hidden_states[layer]

    waveform = noise(2, 9000)
    expected, expected_gradient = with_gradient(called_directly, waveform)
    encoder = huggingface(tmp_path, family, layer=layer)
    frames, gradient = with_gradient(encoded(encoder, [9000, 9000]), waveform)
    assert frames.shape == (2, 26, 16)
    assert relative_error(frames, expected) < 1e-5
    assert relative_error(gradient, expected_gradient) < 1e-4


def test_the_state_after_all_layers_is_before_the_final_norm(tmp_path):
    saved(tmp_path, Wav2Vec2Model, Wav2Vec2Config, do_stable_layer_norm=True)
    after_all = encoded(huggingface(tmp_path, layer=LAYERS), [9000])(noise(1, 9000))
    last = huggingface(tmp_path)
    normed = last.model.model.encoder.layer_norm(after_all)
    torch.testing.assert_close(normed, encoded(last, [9000])(noise(1, 9000)))
    assert relative_error(after_all, normed) > 0.1


@pytest.mark.parametrize(("stable", "norm"), [(False, "group"), (False, "layer"), (True, "layer")])
@pytest.mark.parametrize("family", sorted(CLASSES))
def test_frames_do_not_depend_on_the_batch(tmp_path, family, stable, norm):
    config_cls, cls = CLASSES[family]
    saved(tmp_path, cls, config_cls, do_stable_layer_norm=stable, feat_extract_norm=norm)
    encoder = huggingface(tmp_path, family)
    waveform = noise(4, 9000)
    frames, counts = encoder(waveform, torch.tensor(LENGTHS))
    assert counts.tolist() == [26, 15, 26, 20]
    for row, alone in enumerate(frames_alone(encoder, waveform, LENGTHS)):
        torch.testing.assert_close(frames[row, : counts[row]], alone, rtol=1e-4, atol=1e-5)
        assert not frames[row, counts[row] :].any()


def test_layer_normed_models_take_the_batch_in_one_go(tmp_path):
    saved(tmp_path / "layer", Wav2Vec2Model, Wav2Vec2Config, feat_extract_norm="layer")
    saved(tmp_path / "group", Wav2Vec2Model, Wav2Vec2Config, feat_extract_norm="group")
    assert not huggingface(tmp_path / "layer").model.equal_lengths
    assert huggingface(tmp_path / "group").model.equal_lengths


def test_a_ctc_model_gives_its_base_model(tmp_path):
    model = saved(tmp_path, Wav2Vec2ForCTC, Wav2Vec2Config)
    waveform = noise(1, 9000)
    expected = model.wav2vec2(unit_variance(waveform)).last_hidden_state
    torch.testing.assert_close(encoded(huggingface(tmp_path), [9000])(waveform), expected)


def test_weights_stored_in_half_precision_compute_in_float32(tmp_path):
    model = saved(tmp_path, Wav2Vec2Model, Wav2Vec2Config).half()
    model.save_pretrained(tmp_path)
    waveform = noise(1, 9000)
    expected = model.float()(unit_variance(waveform)).last_hidden_state
    frames = encoded(huggingface(tmp_path), [9000])(waveform)
    assert frames.dtype == torch.float32
    torch.testing.assert_close(frames, expected)


def test_training_mode_of_a_parent_changes_nothing(tmp_path):
    saved(tmp_path, Wav2Vec2Model, Wav2Vec2Config)
    parent = torch.nn.Sequential(huggingface(tmp_path))
    before, _ = parent[0](noise(4, 9000), torch.tensor(LENGTHS))
    parent.train()
    after, _ = parent[0](noise(4, 9000), torch.tensor(LENGTHS))
    assert torch.equal(before, after)


def test_shortest_utterance_has_one_frame(tmp_path):
    assert receptive_field((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)) == 400
    saved(tmp_path, Wav2Vec2Model, Wav2Vec2Config)
    encoder = huggingface(tmp_path)
    assert encoder.model.shortest == 720
    assert encoder(noise(1, 720), torch.tensor([720]))[0].shape == (1, 1, 16)
    with pytest.raises(UserError, match="719 samples; it needs 720"):
        encoder(noise(1, 719), torch.tensor([719]))


def test_loading_leaves_no_trace(tmp_path, capfd):
    saved(tmp_path, Wav2Vec2ForCTC, Wav2Vec2Config)
    capfd.readouterr()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    huggingface(tmp_path)
    assert torch.equal(torch.rand(1), expected)
    assert capfd.readouterr() == ("", "")


def test_another_family_than_stated(tmp_path):
    saved(tmp_path, HubertModel, HubertConfig)
    with pytest.raises(UserError, match="type hubert, but the family is given as wav2vec2"):
        huggingface(tmp_path)


def test_missing_weights_are_not_made_up(tmp_path):
    saved(tmp_path, Wav2Vec2Model, Wav2Vec2Config)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": LAYERS + 1}))
    with pytest.raises(
        UserError, match=r"16 weights of Wav2Vec2Model are missing: encoder\.layers\.3"
    ):
        huggingface(tmp_path)


def test_what_cannot_be_loaded_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="nobody/nothing: can't be loaded: "):
        huggingface("nobody/nothing")
    with pytest.raises(UserError, match="can't be loaded: Unrecognized model"):
        huggingface(tmp_path)
    model = saved(tmp_path, Wav2Vec2Model, Wav2Vec2Config)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="can't be loaded: ") as raised:
        huggingface(tmp_path)
    assert "\n" not in str(raised.value)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"can't be loaded: .*safetensors"):
        huggingface(tmp_path)
