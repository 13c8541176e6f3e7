import os
import random
import subprocess
import sys
from pathlib import Path

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
from safetensors.torch import load_file, save_file
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
)

from sepasr.encoder.base import AsrEncoder, FrameModel, build_encoder
from sepasr.encoder.proof import prove
from sepasr.encoder.s3prl_convert import convert_wav2vec2
from sepasr.errors import UserError

pytestmark = pytest.mark.slow  # importing s3prl takes several seconds

LAYERS = 3
TWO = {"conv_dim": (8, 12), "conv_kernel": (160, 8), "conv_stride": (80, 4)}
THREE = {"conv_dim": (8, 8, 12), "conv_kernel": (40, 8, 6), "conv_stride": (20, 4, 4)}
SEVEN = {
    "conv_dim": (8, 8, 8, 8, 8, 8, 12),
    "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    "conv_stride": (5, 2, 2, 2, 2, 2, 2),
}
LENGTHS = [9000, 5200, 9000, 7011]


def saved(path, **changes):
    settings = {
        "hidden_size": 16,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 2,
        "vocab_size": 10,
    } | TWO
    settings |= changes
    settings["num_feat_extract_layers"] = len(settings["conv_dim"])
    model = randomised(Wav2Vec2ForCTC(Wav2Vec2Config(**settings))).eval()
    model.save_pretrained(path)
    return model


def s3prl(model, **changes):
    return build_encoder(encoder_config(source="s3prl", model=f"{model}", **changes))


@pytest.mark.parametrize(
    ("stable", "norm", "convolutions"),
    [
        (False, "group", TWO),
        (False, "group", SEVEN),
        (False, "layer", THREE),
        (True, "group", THREE),
        (True, "layer", TWO),
        (True, "layer", SEVEN),
    ],
)
def test_frames_and_gradient_are_those_of_transformers(tmp_path, stable, norm, convolutions):
    changes = {"do_stable_layer_norm": stable, "feat_extract_norm": norm, **convolutions}
    library = saved(tmp_path, conv_bias=norm == "layer", **changes).wav2vec2
    waveform = noise(2, 9000)
    for layer in (0, 1, [1, "last"]) if stable else (LAYERS, "last", {0: 0.25, 2: 0.75}):

        def called_directly(waveform, layer=layer):
            output = library(unit_variance(waveform), output_hidden_states=True)
            states = dict(enumerate(output.hidden_states)) | {"last": output.last_hidden_state}
            return embedding_of(layer, states.get)

        expected, expected_gradient = with_gradient(called_directly, waveform)
        encoder = s3prl(tmp_path, layer=layer)
        frames, gradient = with_gradient(encoded(encoder, [9000, 9000]), waveform)
        assert frames.shape == expected.shape
        assert relative_error(frames, expected) < 1e-5
        assert relative_error(gradient, expected_gradient) < 1e-4


def test_weights_without_the_vector_of_masking(tmp_path):
    """As those of facebook/wav2vec2-base-960h, whose configuration masks all the same."""
    saved(tmp_path)
    frames = encoded(s3prl(tmp_path), [9000])
    waveform = noise(1, 9000)
    expected = frames(waveform)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["wav2vec2.masked_spec_embed"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert torch.equal(encoded(s3prl(tmp_path), [9000])(waveform), expected)


def test_the_state_after_all_layers_when_only_the_normed_one_is_there(tmp_path):
    saved(tmp_path, do_stable_layer_norm=True)
    with pytest.raises(UserError, match=r"after layer 3 only behind the final norm .say layer: la"):
        s3prl(tmp_path, layer=LAYERS)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_frames_do_not_depend_on_the_batch(tmp_path, norm):
    saved(tmp_path, feat_extract_norm=norm)
    encoder = s3prl(tmp_path)
    waveform = noise(4, 9000)
    frames, counts = encoder(waveform, torch.tensor(LENGTHS))
    assert counts.tolist() == [26, 15, 26, 20]
    for row, alone in enumerate(frames_alone(encoder, waveform, LENGTHS)):
        torch.testing.assert_close(frames[row, : counts[row]], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("convolutions", [TWO, THREE, SEVEN], ids=["two", "three", "seven"])
def test_the_shortest_utterance(tmp_path, convolutions):
    saved(tmp_path, **convolutions)
    encoder = s3prl(tmp_path)
    shortest = encoder.model.shortest
    frames, counts = encoder(noise(1, shortest), torch.tensor([shortest]))
    assert frames.shape[1] == counts[0] > 5
    with pytest.raises(UserError, match="it needs 3200 at least"):
        encoder(noise(1, shortest), torch.tensor([shortest - 1]))


def test_a_checkpoint_file_of_s3prl(tmp_path):
    saved(tmp_path)
    torch.save(convert_wav2vec2(tmp_path), tmp_path / "checkpoint.pt")
    waveform = noise(1, 9000)
    expected = encoded(s3prl(tmp_path), [9000])(waveform)
    from_file = encoded(s3prl(tmp_path / "checkpoint.pt"), [9000])(waveform)
    assert torch.equal(from_file, expected)


class Upstream(FrameModel):
    """An upstream as s3prl gives it, without ESPnet's frontend."""

    shortest, equal_lengths = 3200, True

    def __init__(self, name, path):
        super().__init__()
        from s3prl.nn import S3PRLUpstream

        self.upstream = S3PRLUpstream(name, path_or_url=str(path))

    def frame_lengths(self, lengths):
        return (lengths - 1) // 320 + 1

    def forward(self, waveform, lengths):
        return self.upstream(waveform, lengths)[0][-1]


TINY = {
    "encoder_layers": LAYERS,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 24,
    "encoder_attention_heads": 2,
    "conv_pos": 8,
    "conv_pos_groups": 2,
    "conv_feature_layers": "[(8, 160, 80), (12, 8, 4)]",
}


def hubert_checkpoint(path, **changes):
    from s3prl.upstream.hubert.hubert_model import (
        HubertConfig,
        HubertModel,
        HubertPretrainingConfig,
    )

    config = TINY | {"label_rate": 50.0, "final_dim": 4} | changes
    model = randomised(HubertModel(HubertConfig(**config), HubertPretrainingConfig(), [["a", "b"]]))
    weights = model.state_dict()
    state = {"task_cfg": {"normalize": False}, "model_cfg": config, "model_weight": weights}
    torch.save(state | {"dictionaries_symbols": [["a", "b"]]}, path)


def wavlm_checkpoint(path, **changes):
    from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

    relative = {"relative_position_embedding": True, "num_buckets": 8, "max_distance": 20}
    config = TINY | relative | {"gru_rel_pos": True} | changes
    torch.save({"cfg": config, "model": randomised(WavLM(WavLMConfig(config))).state_dict()}, path)


def data2vec_checkpoint(path, **changes):
    from s3prl.upstream.data2vec.data2vec_model import Data2VecAudioConfig, Data2VecAudioModel

    config = TINY | {"extractor_mode": "layer_norm", "conv_pos": 15, "pos_conv_depth": 3} | changes
    model = Data2VecAudioModel(Data2VecAudioConfig(**config))
    model.remove_pretraining_modules()
    weights = dict(randomised(model).state_dict()) | {"_ema": {}}
    state = {"task_cfg": {"normalize": False}, "model_cfg": config, "model_weight": weights}
    torch.save(state, path)


def wav2vec2_checkpoint(path, layer_norm_first=False):
    folder = path.parent / "huggingface"
    saved(folder, do_stable_layer_norm=layer_norm_first)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    torch.save(convert_wav2vec2(folder), path)


CHECKPOINTS = {
    "data2vec": data2vec_checkpoint,
    "hubert": hubert_checkpoint,
    "wav2vec2": wav2vec2_checkpoint,
    "wavlm": wavlm_checkpoint,
}


def called_directly(path, family, layer):
    """ESPnet's own frontend, one for each state."""
    from espnet2.asr.frontend.s3prl import S3prlFrontend

    source = {"upstream": f"{family}_local", "path_or_url": str(path)}

    def states(waveform):
        lengths = torch.full((len(waveform),), waveform.shape[1])

        def state(name):
            frontend = S3prlFrontend(frontend_conf=source, layer=-1 if name == "last" else name)
            return frontend.eval().to(waveform.dtype)(waveform, lengths)[0]

        # The frontend counts a frame for every 320 samples and repeats the last ones.
        return embedding_of(layer, state)[:, :26]

    return states


@pytest.mark.parametrize("first", [False, True], ids=["norm last", "norm first"])
@pytest.mark.parametrize("family", sorted(CHECKPOINTS))
def test_checkpoints_of_every_family(tmp_path, family, first):
    path = tmp_path / "checkpoint.pt"
    CHECKPOINTS[family](path, layer_norm_first=first)
    waveform, lengths = noise(2, 9000), torch.tensor([9000, 9000])
    for layer in (0, 1, "last", [1, "last"], {1: 0.25, 2: 0.75}, LAYERS):
        if layer == LAYERS and first:
            with pytest.raises(UserError, match="after layer 3 only behind the final norm"):
                s3prl(path, family=family, layer=layer)
            continue
        direct = called_directly(path, family, layer)
        expected = with_gradient(
            lambda heard, direct=direct: direct(unit_variance(heard)), waveform
        )
        encoder = s3prl(path, family=family, layer=layer)
        found = with_gradient(encoded(encoder, [9000, 9000]), waveform)
        assert found[0].shape == (2, 26, 32 if isinstance(layer, list) else 16)
        assert relative_error(found[0], expected[0]) < 1e-5
        assert relative_error(found[1], expected[1]) < 1e-4
    # Once more the last one that was built, without the rounding.
    expected = with_gradient(direct, waveform.double())
    model = encoder.model.double()
    found = with_gradient(lambda heard: model(heard, lengths), waveform.double())
    for value, reference in zip(found, expected, strict=True):
        assert relative_error(value, reference) < 1e-6


@pytest.mark.parametrize("family", sorted(CHECKPOINTS))
def test_the_level_is_ours_whatever_the_checkpoint_asks_for(tmp_path, family):
    path, waveform = tmp_path / "checkpoint.pt", noise(1, 9000)
    CHECKPOINTS[family](path)

    def frames():
        return encoded(s3prl(path, family=family, level="rms"), [9000])(waveform)

    expected = frames()
    content = torch.load(path)
    content["cfg" if family == "wavlm" else "task_cfg"]["normalize"] = True
    torch.save(content, path)
    assert torch.equal(frames(), expected)
    if family == "wav2vec2":
        library = Wav2Vec2ForCTC.from_pretrained(tmp_path / "huggingface").wav2vec2.eval()
        assert relative_error(expected, library(at_rms(waveform)).last_hidden_state) < 1e-5


@pytest.mark.parametrize(
    ("layer", "kept"), [(0, 1), (1, 2), (2, 3), ([0, 1], 2), (LAYERS, 3), ([1, "last"], 3)]
)
def test_layers_above_the_highest_are_dropped(tmp_path, layer, kept):
    """One more is kept, at whose input s3prl catches the state."""
    hubert_checkpoint(tmp_path / "hubert.pt")
    encoder = s3prl(tmp_path / "hubert.pt", family="hubert", layer=layer)
    assert len(encoder.model.frontend.upstream.upstream.model.encoder.layers) == kept


@pytest.mark.parametrize("family", sorted(CHECKPOINTS))
def test_padding_would_change_the_frames(tmp_path, family):
    CHECKPOINTS[family](tmp_path / "checkpoint.pt")
    encoder = s3prl(tmp_path / "checkpoint.pt", family=family)
    prove(encoder)
    encoder.model.equal_lengths = False
    with pytest.raises(UserError, match=r"frames depend on its batch: .*declare equal_lengths"):
        prove(encoder)


@pytest.mark.parametrize("family", sorted(CHECKPOINTS))
def test_local_upstreams_of_s3prl_without_the_frontend_are_refused(tmp_path, family):
    """s3prl computes the convolutions under no_grad; ESPnet's frontend sets that right."""
    path = tmp_path / "checkpoint.pt"
    CHECKPOINTS[family](path)
    encoder = AsrEncoder(encoder_config(name=family), Upstream(f"{family}_local", path))
    assert encoder(noise(1, 9000), torch.tensor([9000]))[0].isfinite().all()
    with pytest.raises(UserError, match=f"{family}: no gradient reaches the waveform"):
        prove(encoder)
    through_frontend = s3prl(path, family=family)
    through_frontend.model.frontend.upstream.upstream.model.feature_grad_mult = 0.0
    with pytest.raises(UserError, match="no gradient reaches the waveform"):
        prove(through_frontend)


@pytest.mark.parametrize("family", ["hubert", "wav2vec2"])
def test_hugging_face_upstreams_of_s3prl_are_refused(tmp_path, family):
    """They hand the waveform to numpy."""
    if family == "wav2vec2":
        saved(tmp_path)
    else:
        settings = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
        settings |= {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16}
        settings |= TWO | {"num_feat_extract_layers": 2, "intermediate_size": 24}
        HubertModel(HubertConfig(**settings)).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path)
    name = f"hf_{family}_custom"
    encoder = AsrEncoder(encoder_config(name=name), Upstream(name, tmp_path))
    assert encoder(noise(1, 9000), torch.tensor([9000]))[0].isfinite().all()
    with pytest.raises(UserError, match=f"{name}: no gradient reaches the waveform"):
        prove(encoder)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"conv_dim": (8, 16)}, "a last convolution as wide as the layers"),
        ({"conv_stride": (80, 2)}, "a frame of 160 samples instead of 320"),
        ({"hidden_act": "relu"}, "another activation than gelu"),
        ({"layer_norm_eps": 1e-3}, "a layer_norm_eps other than 1e-5"),
    ],
)
def test_what_s3prl_cannot_express(tmp_path, changes, cause):
    saved(tmp_path, **changes)
    with pytest.raises(UserError, match=f"express this Wav2Vec2: {cause}.* .use source: hugging"):
        s3prl(tmp_path)


def test_bad_models_are_one_line(tmp_path):
    with pytest.raises(UserError, match="cvhubert: s3prl reads it through a task of ESPnet"):
        s3prl("cvhubert")
    with pytest.raises(UserError, match="s3prl knows no revisions"):
        s3prl("wav2vec2_base_960", revision="v1")
    hubert_checkpoint(tmp_path / "hubert.pt")
    with pytest.raises(UserError, match="can't be loaded by s3prl"):
        s3prl(tmp_path / "hubert.pt", family="wavlm")
    with pytest.raises(UserError, match="no layer '4' in a model of 3 layers"):
        s3prl(tmp_path / "hubert.pt", family="hubert", layer=4)
    with pytest.raises(UserError, match=r"no upstream 'wav2vec2_base_96' .wav2vec2_base_960"):
        s3prl("wav2vec2_base_96")
    for name in ("wavlm_local", "hf_wav2vec2_custom"):
        with pytest.raises(UserError, match=f"'{name}' needs a checkpoint .name the checkpoint fi"):
            s3prl(name)
    with pytest.raises(UserError, match="mini: no such model directory"):
        s3prl("./nowhere/mini")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    with pytest.raises(UserError, match="other pickles are not executed"):
        s3prl(tmp_path / "text.pt")
    torch.save({"model": {}}, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"can't be loaded by s3prl: .*not a valid checkpoint"):
        s3prl(tmp_path / "other.pt")
    config = HubertConfig(num_hidden_layers=1)
    config.save_pretrained(tmp_path / "hubert")
    with pytest.raises(UserError, match="type hubert; only a wav2vec2 directory is converted"):
        s3prl(tmp_path / "hubert")


class Harm:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("family", ["distiller", "hubert", "tera", "wavlm"])
def test_no_pickle_is_executed(tmp_path, family):
    """Some upstreams of s3prl ask torch for it: distiller and tera among them."""
    torch.save({"Config": Harm(tmp_path / "harmed")}, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="other pickles are not executed"):
        s3prl(tmp_path / "checkpoint.pt", family=family)
    assert not (tmp_path / "harmed").exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_global_seeds_are_kept(tmp_path):
    """s3prl seeds random and torch with 0 when it measures an upstream."""
    saved(tmp_path)
    random.seed(5)
    torch.manual_seed(5)
    expected = random.random(), torch.rand(1)
    random.seed(5)
    torch.manual_seed(5)
    s3prl(tmp_path)
    assert (random.random(), torch.rand(1)) == expected


def test_nothing_is_printed(tmp_path):
    saved(tmp_path)
    program = (
        "from sepasr.encoder import EncoderConfig, build_encoder; build_encoder(EncoderConfig("
        f"'tiny', 'wav2vec2', 'tiny', 's3prl', '{tmp_path}', 'last', 'mse', 'model', 16000))"
    )
    # Nor is the task of ESPnet imported that s3prl looks for, whose packages want the network.
    program += (
        "; import sys; assert not any(name.startswith('espnet2.tasks') for name in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
