import hashlib
import json

import pytest
import torch
from encoder_helpers import (
    at_rms,
    embedding_of,
    encoded,
    encoder_config,
    frames_alone,
    noise,
    randomised,
    relative_error,
    unit_variance,
    with_gradient,
)
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForCTC,
    Wav2Vec2BertModel,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from sepasr.encoder.base import build_encoder
from sepasr.encoder.huggingface import receptive_field
from sepasr.encoder.proof import prove
from sepasr.encoder.seamless import SeamlessMel
from sepasr.errors import UserError

CLASSES = {
    "hubert": (HubertConfig, HubertModel),
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
    "wavlm": (WavLMConfig, WavLMModel),
}
LAYERS = 3
# One at every place, several side by side, and weightings, with and without the final output.
LAYER_FORMS = [
    0,
    LAYERS,
    "last",
    [1, LAYERS],
    [0, "last"],
    {1: 0.5, 2: 0.5},
    {2: 0.25, "last": 0.75},
]
# Stable layer norm, and the norm of the first convolutions.
VARIANTS = [(False, "group"), (False, "layer"), (True, "layer")]
LENGTHS = [9000, 5200, 9000, 7011]


DATA2VEC = {"conv_pos_kernel_size": 5, "num_conv_pos_embeddings": 3}


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


def bert(path, cls=Wav2Vec2BertModel, **changes):
    """A tiny Wav2Vec2-BERT that hears 80 mel bins."""
    settings = {
        "hidden_size": 16,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "conv_depthwise_kernel_size": 5,
        "vocab_size": 10,
        "mask_time_prob": 0.5,
        "mask_feature_prob": 0.5,
        "layerdrop": 0.5,
    }
    model = randomised(cls(Wav2Vec2BertConfig(**(settings | changes)))).eval()
    model.save_pretrained(path)
    return model


def directly(library, layer, heard, **options):
    """The states of transformers for what a model hears."""
    output = library(heard, output_hidden_states=True, **options)

    def state(name):
        return output.last_hidden_state if name == "last" else output.hidden_states[name]

    return embedding_of(layer, state)


@pytest.mark.parametrize("layer", LAYER_FORMS, ids=str)
@pytest.mark.parametrize(("stable", "norm"), [(False, "group"), (True, "layer")])
@pytest.mark.parametrize("family", sorted(CLASSES))
def test_frames_and_gradient_are_those_of_transformers(tmp_path, family, stable, norm, layer):
    config_cls, cls = CLASSES[family]
    library = saved(tmp_path, cls, config_cls, do_stable_layer_norm=stable, feat_extract_norm=norm)
    waveform = noise(2, 9000)
    expected, expected_gradient = with_gradient(
        lambda waveform: directly(library, layer, unit_variance(waveform)), waveform
    )
    encoder = huggingface(tmp_path, family, layer=layer)
    frames, gradient = with_gradient(encoded(encoder, [9000, 9000]), waveform)
    assert frames.shape == (2, 26, 32 if isinstance(layer, list) else 16)
    assert relative_error(frames, expected) < 1e-5
    assert relative_error(gradient, expected_gradient) < 1e-4


@pytest.mark.parametrize("layer", LAYER_FORMS, ids=str)
def test_frames_and_gradient_of_data2vec(tmp_path, layer):
    library = saved(tmp_path, Data2VecAudioModel, Data2VecAudioConfig, **DATA2VEC)
    waveform = noise(2, 9000)
    expected, expected_gradient = with_gradient(
        lambda waveform: directly(library, layer, unit_variance(waveform)), waveform
    )
    encoder = huggingface(tmp_path, "data2vec", layer=layer)
    frames, gradient = with_gradient(encoded(encoder, [9000, 9000]), waveform)
    assert relative_error(frames, expected) < 1e-5
    assert relative_error(gradient, expected_gradient) < 1e-4


@pytest.mark.parametrize("layer", LAYER_FORMS, ids=str)
def test_frames_and_gradient_of_wav2vec2_bert(tmp_path, layer):
    library = bert(tmp_path)
    mel, lengths = SeamlessMel(), torch.tensor([9000, 9000])

    def called_directly(waveform):
        return directly(library, layer, mel(at_rms(waveform), lengths))

    waveform = noise(2, 9000)
    expected, expected_gradient = with_gradient(called_directly, waveform)
    encoder = huggingface(tmp_path, "wav2vec2_bert", layer=layer, level="rms")
    frames, gradient = with_gradient(encoded(encoder, [9000, 9000]), waveform)
    assert frames.shape == (2, 27, 32 if isinstance(layer, list) else 16)
    assert relative_error(frames, expected) < 1e-5
    assert relative_error(gradient, expected_gradient) < 1e-4


@pytest.mark.parametrize("position", ["relative_key", "relative", "rotary"])
def test_a_batch_of_wav2vec2_bert_is_what_extractor_and_model_make_of_it(tmp_path, position):
    library = bert(tmp_path, position_embeddings_type=position)
    waveform = at_rms(noise(1, 9000)).expand(2, -1).clone()
    waveform[1, 7011:] = 0
    cut = [waveform[0].numpy(), at_rms(waveform[1:, :7011])[0].numpy()]
    heard = SeamlessM4TFeatureExtractor()(cut, sampling_rate=16000, return_tensors="pt")
    expected = library(**heard).last_hidden_state
    encoder = huggingface(tmp_path, "wav2vec2_bert", level="rms")
    frames, counts = encoder(waveform, torch.tensor([9000, 7011]))
    assert counts.tolist() == heard.attention_mask.sum(1).tolist() == [27, 21]
    for row, count in enumerate(counts.tolist()):
        assert relative_error(frames[row, :count], expected[row, :count]) < 1e-4
        assert not frames[row, count:].any()
    for row, alone in enumerate(frames_alone(encoder, waveform, [9000, 7011])):
        assert relative_error(frames[row, : counts[row]], alone) < 1e-4


def test_rotations_are_made_anew(tmp_path):
    """Those that are kept may be on another device by now, or can't be trained through."""
    bert(tmp_path, position_embeddings_type="rotary")
    encoder = huggingface(tmp_path, "wav2vec2_bert")
    waveform, lengths = noise(1, 9000), torch.tensor([9000])
    before, _ = encoder(waveform, lengths)
    kept = encoder.model.model.encoder.embed_positions
    kept.cached_rotary_positional_embedding.fill_(float("nan"))
    assert torch.equal(encoder(waveform, lengths)[0], before)


@pytest.mark.parametrize("layer", ["last", {1: 0.25, LAYERS: 0.75}], ids=str)
@pytest.mark.parametrize(("stable", "norm"), VARIANTS)
@pytest.mark.parametrize("family", sorted(CLASSES))
def test_float64_to_the_last_digits(tmp_path, family, stable, norm, layer):
    config_cls, cls = CLASSES[family]
    changes = {"do_stable_layer_norm": stable, "feat_extract_norm": norm}
    library = saved(tmp_path, cls, config_cls, **changes).double()
    model = huggingface(tmp_path, family, layer=layer).model.double()
    waveform, lengths = noise(2, 9000).double(), torch.tensor([9000, 9000])
    expected = with_gradient(lambda heard: directly(library, layer, heard), waveform)
    found = with_gradient(lambda heard: model(heard, lengths), waveform)
    for value, reference in zip(found, expected, strict=True):
        assert relative_error(value, reference) < 1e-10


@pytest.mark.parametrize("layer", [1, "last", {2: 0.25, "last": 0.75}], ids=str)
@pytest.mark.parametrize("family", ["data2vec", "wav2vec2_bert"])
def test_float64_of_the_other_families(tmp_path, family, layer):
    waveform, lengths = noise(2, 9000).double(), torch.tensor([9000, 9000])
    if family == "data2vec":
        library = saved(tmp_path, Data2VecAudioModel, Data2VecAudioConfig, **DATA2VEC).double()
        hear = torch.nn.Identity()
    else:
        library, mel = bert(tmp_path).double(), SeamlessMel().double()

        def hear(heard):
            return mel(heard, lengths)

    model = huggingface(tmp_path, family, layer=layer).model.double()
    expected = with_gradient(lambda heard: directly(library, layer, hear(heard)), waveform)
    found = with_gradient(lambda heard: model(heard, lengths), waveform)
    for value, reference in zip(found, expected, strict=True):
        assert relative_error(value, reference) < 1e-10


@pytest.mark.parametrize(
    ("layer", "kept"),
    [(0, 1), (1, 1), (2, 2), ([0, 2], 2), ({1: 0.5, 2: 0.5}, 2), ([1, "last"], 3)],
)
def test_layers_above_the_highest_are_dropped(tmp_path, layer, kept):
    saved(tmp_path / "wav2vec2", Wav2Vec2Model, Wav2Vec2Config)
    bert(tmp_path / "bert")
    for encoder in (
        huggingface(tmp_path / "wav2vec2", layer=layer),
        huggingface(tmp_path / "bert", "wav2vec2_bert", layer=layer),
    ):
        assert len(encoder.model.model.encoder.layers) == kept


def test_the_state_after_all_layers_is_before_the_final_norm(tmp_path):
    saved(tmp_path, Wav2Vec2Model, Wav2Vec2Config, do_stable_layer_norm=True)
    after_all = encoded(huggingface(tmp_path, layer=LAYERS), [9000])(noise(1, 9000))
    last = huggingface(tmp_path)
    normed = last.model.model.encoder.layer_norm(after_all)
    torch.testing.assert_close(normed, encoded(last, [9000])(noise(1, 9000)))
    assert relative_error(after_all, normed) > 0.1


@pytest.mark.parametrize(("stable", "norm"), VARIANTS)
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


@pytest.mark.parametrize("family", ["data2vec", "hubert", "wav2vec2", "wavlm"])
def test_padding_would_change_the_frames_of_models_without_a_mask(tmp_path, family):
    """Group norms take statistics over time; data2vec's positions see the padding."""
    if family == "data2vec":
        saved(tmp_path, Data2VecAudioModel, Data2VecAudioConfig, **DATA2VEC)
    else:
        config_cls, cls = CLASSES[family]
        saved(tmp_path, cls, config_cls, feat_extract_norm="group")
    encoder = huggingface(tmp_path, family)
    assert encoder.model.equal_lengths
    waveform, lengths = noise(4, 9000), torch.tensor(LENGTHS)
    frames, counts = encoder(waveform, lengths)
    for row, alone in enumerate(frames_alone(encoder, waveform, LENGTHS)):
        torch.testing.assert_close(frames[row, : counts[row]], alone, rtol=1e-4, atol=1e-5)
    encoder.model.equal_lengths = False
    with pytest.raises(UserError, match=r"frames depend on its batch: .*declare equal_lengths"):
        prove(encoder)


def test_layer_normed_models_without_their_mask(tmp_path):
    saved(tmp_path, Wav2Vec2Model, Wav2Vec2Config, feat_extract_norm="layer")
    encoder = huggingface(tmp_path)
    prove(encoder)
    encoder.model.model.register_forward_pre_hook(
        lambda _, heard, options: (heard, options | {"attention_mask": None}), with_kwargs=True
    )
    with pytest.raises(UserError, match="frames depend on its batch"):
        prove(encoder)


def test_layer_normed_models_take_the_batch_in_one_go(tmp_path):
    saved(tmp_path / "layer", Wav2Vec2Model, Wav2Vec2Config, feat_extract_norm="layer")
    saved(tmp_path / "group", Wav2Vec2Model, Wav2Vec2Config, feat_extract_norm="group")
    assert not huggingface(tmp_path / "layer").model.equal_lengths
    assert huggingface(tmp_path / "group").model.equal_lengths


def test_a_ctc_model_with_an_adapter_gives_its_base_model(tmp_path):
    model = bert(tmp_path, Wav2Vec2BertForCTC, add_adapter=True, output_hidden_size=16)
    waveform = noise(1, 9000)
    features = SeamlessMel()(at_rms(waveform), torch.tensor([9000]))
    hidden = model.wav2vec2_bert(features, output_hidden_states=True).hidden_states[LAYERS]
    encoder = huggingface(tmp_path, "wav2vec2_bert", level="rms")
    frames = encoded(encoder, [9000])(waveform)
    assert frames.shape == hidden.shape
    assert relative_error(frames, hidden) < 1e-5


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


@pytest.mark.parametrize("family", ["hubert", "wav2vec2", "wav2vec2_bert"])
def test_training_mode_and_autocast_of_a_parent_change_nothing(tmp_path, family):
    """Lightning switches all of its modules to training; dropout is 0.1 in these models."""
    if family == "wav2vec2_bert":
        bert(tmp_path, hidden_dropout=0.1, attention_dropout=0.1)
    else:
        saved(tmp_path, *reversed(CLASSES[family]))
    parent = torch.nn.Sequential(huggingface(tmp_path, family))
    before, _ = parent[0](noise(4, 9000), torch.tensor(LENGTHS))
    parent.train().to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        after, _ = parent[0](noise(4, 9000), torch.tensor(LENGTHS))
    assert torch.equal(before, after)
    # What it would be without: the model really has something random in it, and can be rounded.
    model = parent[0].model
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = model(noise(1, 9000), torch.tensor([9000]))
    exact = model(noise(1, 9000), torch.tensor([9000]))
    assert relative_error(rounded, exact) > 1e-4
    assert relative_error(model.train()(noise(1, 9000), torch.tensor([9000])), exact) > 1e-2


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


def in_hub_cache(cache, revision, save):
    """A model as the hub's client keeps it: one branch or tag, without what others have."""
    place = cache / "models--lab--tiny"
    (place / "refs").mkdir(parents=True, exist_ok=True)
    commit = hashlib.sha1(revision.encode()).hexdigest()
    (place / "refs" / revision).write_text(commit)
    return save(place / "snapshots" / commit)


def test_a_revision_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def save(path):
        return saved(path, Wav2Vec2Model, Wav2Vec2Config)

    def save_narrow(path):
        return saved(path, Wav2Vec2Model, Wav2Vec2Config, hidden_size=8)

    in_hub_cache(tmp_path, "main", save)
    in_hub_cache(tmp_path, "v1", save_narrow)
    for revision, width in [(None, 16), ("v1", 8)]:
        encoder = huggingface("lab/tiny", revision=revision)
        assert encoder(noise(1, 9000), torch.tensor([9000]))[0].shape[2] == width
    with pytest.raises(UserError, match="lab/tiny: can't be loaded"):
        huggingface("lab/tiny", revision="v2")
    save(tmp_path / "directory")
    with pytest.raises(UserError, match="revision 'v1' of what isn't on the hub"):
        huggingface(tmp_path / "directory", revision="v1")


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
    saved(tmp_path, Wav2Vec2Model, Wav2Vec2Config)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="can't be loaded: ") as raised:
        huggingface(tmp_path)
    assert "\n" not in str(raised.value)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"can't be loaded: .*safetensors"):
        huggingface(tmp_path)
