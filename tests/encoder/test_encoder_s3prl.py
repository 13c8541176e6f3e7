import random
import subprocess
import sys

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
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
)

from sepasr.encoder.base import AsrEncoder, FrameModel, build_encoder, prove_gradient
from sepasr.encoder.s3prl import convert_wav2vec2
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


def unit_variance(waveform):
    centred = waveform - waveform.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + 1e-7).sqrt()


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
    for layer in (0, 1, "last") if stable else (LAYERS, "last"):

        def called_directly(waveform, layer=layer):
            output = library(unit_variance(waveform), output_hidden_states=True)
            return output.last_hidden_state if layer == "last" else output.hidden_states[layer]

        expected, expected_gradient = with_gradient(called_directly, waveform)
        encoder = s3prl(tmp_path, layer=layer)
        frames, gradient = with_gradient(encoded(encoder, [9000, 9000]), waveform)
        assert frames.shape == expected.shape
        assert relative_error(frames, expected) < 1e-5
        assert relative_error(gradient, expected_gradient) < 1e-4


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


@pytest.mark.parametrize("name", ["wav2vec2_local", "hf_wav2vec2_custom"])
def test_routes_of_s3prl_without_a_gradient_are_refused(tmp_path, name):
    saved(tmp_path)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path)
    torch.save(convert_wav2vec2(tmp_path), tmp_path / "checkpoint.pt")
    path = tmp_path / "checkpoint.pt" if name == "wav2vec2_local" else tmp_path
    encoder = AsrEncoder(encoder_config(name=name), Upstream(name, path))
    assert encoder(noise(1, 9000), torch.tensor([9000]))[0].isfinite().all()
    with pytest.raises(UserError, match=f"{name}: no gradient reaches the waveform"):
        prove_gradient(encoder)


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
    with pytest.raises(UserError, match=r"no upstream 'wav2vec2_base_96' .wav2vec2_base_960"):
        s3prl("wav2vec2_base_96")
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
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
