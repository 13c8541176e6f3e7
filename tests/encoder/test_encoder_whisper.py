import hashlib
import sys
from copy import deepcopy
from types import ModuleType

import ctranslate2
import numpy as np
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
    with_gradient,
)
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2Model,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperModel,
)

from sepasr.encoder.base import AsrEncoder, FrameModel, build_encoder, load_encoder
from sepasr.encoder.proof import prove
from sepasr.encoder.whisper import LogMel, from_ctranslate2
from sepasr.errors import UserError
from sepasr.models import packaged_model

SAMPLES = 32000  # what the tiny model's 100 positions are: 2 s


# transformers gives the output in place of the state after all layers: see the test of that.
LAYER_FORMS = [0, 2, "last", [0, "last"], [1, 2], {1: 0.25, "last": 0.75}]


def tiny_config(layers=3, bins=80):
    return WhisperConfig(
        num_mel_bins=bins,
        d_model=16,
        encoder_layers=layers,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        max_source_positions=100,
        vocab_size=60,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )


def whisper(path, **changes):
    return build_encoder(
        encoder_config(family="whisper", source="whisper", level="rms", model=f"{path}", **changes)
    )


def voiced(seconds):
    """Harmonics under a moving envelope: something with the spectrum and pauses of speech."""
    generator = np.random.default_rng(0)
    time = np.arange(int(16000 * seconds)) / 16000
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.4 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    harmonics = sum(np.cos(k * phase + generator.uniform(0, 6)) / k for k in range(1, 30))
    envelope = np.clip(np.sin(2 * np.pi * 1.7 * time), 0, None) ** 2
    return (0.05 * harmonics * envelope + 1e-4 * generator.standard_normal(time.size)).astype(
        np.float32
    )


@pytest.mark.parametrize("bins", [80, 128])
@pytest.mark.parametrize("samples", [480_000, 48_000, 20_001])
def test_log_mel_is_the_feature_extractor_s_to_the_last_bit(bins, samples):
    waveform = voiced(samples / 16000)[:samples]
    expected = WhisperFeatureExtractor(feature_size=bins)(
        waveform, sampling_rate=16000, padding="longest", return_tensors="pt"
    ).input_features
    assert expected.shape == (1, bins, samples // 160)
    assert torch.equal(LogMel(bins)(torch.from_numpy(waveform)[None]), expected)


def test_log_mel_of_a_batch_takes_each_utterance_by_itself():
    log_mel = LogMel(80)
    quiet, loud = noise(1, 8000) * 0.001, noise(1, 8000, seed=1)
    both = log_mel(torch.cat([quiet, loud]))
    torch.testing.assert_close(both, torch.cat([log_mel(quiet), log_mel(loud)]))


def test_gradient_of_log_mel():
    log_mel = LogMel(20).double()
    waveform = noise(2, 900).double().requires_grad_()
    assert torch.autograd.gradcheck(log_mel, waveform, fast_mode=True)


def directly(library, layer, log_mel):
    """The states of transformers for a spectrogram."""
    output = library(log_mel, output_hidden_states=True)

    def state(name):
        return output.last_hidden_state if name == "last" else output.hidden_states[name]

    return embedding_of(layer, state)


@pytest.mark.parametrize("layer", LAYER_FORMS, ids=str)
@pytest.mark.parametrize("bins", [80, 128])
@pytest.mark.parametrize("cls", [WhisperModel, WhisperForConditionalGeneration])
def test_frames_and_gradient_are_those_of_transformers(tmp_path, cls, bins, layer):
    """As near to those of float64 as the rounding of the waveform alone allows.

    Where a band is all but empty the gradient hangs on the last bit of every sample.
    """
    model = randomised(cls(tiny_config(bins=bins))).eval()
    model.save_pretrained(tmp_path)
    library, log_mel = model.get_encoder(), LogMel(bins)
    waveform = noise(2, SAMPLES)
    expected, expected_gradient = with_gradient(
        lambda waveform: directly(library, layer, log_mel(at_rms(waveform))), waveform
    )
    encoder = whisper(tmp_path, layer=layer)
    frames, gradient = with_gradient(encoded(encoder, [SAMPLES, SAMPLES]), waveform)
    assert frames.shape == (2, 100, 32 if isinstance(layer, list) else 16)
    exact, exact_mel = deepcopy(library).double(), LogMel(bins).double()

    def exactly(waveform):
        return with_gradient(
            lambda heard: directly(exact, layer, exact_mel(at_rms(heard))), waveform
        )

    truth, true_gradient = exactly(waveform.double())
    rounded = [
        waveform * (1 + 2**-24 * 10 * noise(*waveform.shape, seed=s).double()) for s in range(4)
    ]
    rounding = max(relative_error(exactly(one)[1], true_gradient) for one in rounded)
    assert rounding < 3e-4
    for found in (frames, expected):
        assert relative_error(found, truth) < 1e-6
    for found in (gradient, expected_gradient):
        assert relative_error(found, true_gradient) < 3 * rounding + 2e-6


@pytest.mark.parametrize("layer", LAYER_FORMS, ids=str)
def test_float64_to_the_last_digits(tmp_path, layer):
    model = randomised(WhisperModel(tiny_config())).eval()
    model.save_pretrained(tmp_path)
    library, log_mel = model.get_encoder().double(), LogMel(80).double()
    frames = whisper(tmp_path, layer=layer).model.double()
    waveform, lengths = noise(1, SAMPLES).double(), torch.tensor([SAMPLES])
    expected = with_gradient(lambda heard: directly(library, layer, log_mel(heard)), waveform)
    found = with_gradient(lambda heard: frames(heard, lengths), waveform)
    for value, reference in zip(found, expected, strict=True):
        assert relative_error(value, reference) < 1e-10


@pytest.mark.parametrize(("layer", "kept"), [(0, 0), (2, 2), ([0, 1], 1), ([1, "last"], 3)])
def test_layers_above_the_highest_are_dropped(tmp_path, layer, kept):
    WhisperModel(tiny_config()).save_pretrained(tmp_path)
    assert len(whisper(tmp_path, layer=layer).model.encoder.layers) == kept


def test_the_state_after_all_layers_is_before_the_final_norm(tmp_path):
    """Unlike ``hidden_states[-1]``, which transformers ties to the output for Whisper."""
    randomised(WhisperModel(tiny_config())).save_pretrained(tmp_path)
    waveform = noise(1, SAMPLES)
    after_all = encoded(whisper(tmp_path, layer=3), [SAMPLES])(waveform)
    last = whisper(tmp_path, layer="last")
    normed = last.model.encoder.layer_norm(after_all)
    torch.testing.assert_close(normed, encoded(last, [SAMPLES])(waveform))
    assert relative_error(after_all, normed) > 0.1


def test_the_decoder_is_not_loaded(tmp_path):
    WhisperModel(tiny_config()).save_pretrained(tmp_path)
    names = [name for name, _ in whisper(tmp_path).model.named_parameters()]
    assert names
    assert all(name.startswith("encoder.") for name in names)


def test_frames_do_not_depend_on_the_batch(tmp_path):
    randomised(WhisperModel(tiny_config())).save_pretrained(tmp_path)
    encoder = whisper(tmp_path)
    lengths = [32000, 16077, 32000, 24160]
    frames, counts = encoder(noise(4, 32000), torch.tensor(lengths))
    assert counts.tolist() == [100, 50, 100, 76]
    for row, alone in enumerate(frames_alone(encoder, noise(4, 32000), lengths)):
        torch.testing.assert_close(frames[row, : counts[row]], alone, rtol=1e-4, atol=1e-5)
    # It has no mask: padded, its frames would be others.
    encoder.model.equal_lengths = False
    with pytest.raises(UserError, match=r"frames depend on its batch: .*declare equal_lengths"):
        prove(encoder)


def test_longer_than_its_positions(tmp_path):
    WhisperModel(tiny_config()).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="an utterance of 32001 samples; it hears 32000 at most"):
        whisper(tmp_path)(noise(1, 32001), torch.tensor([32001]))


@pytest.mark.slow
def test_packaged_tiny_en_is_what_ctranslate2_computes():
    """Both from the same float16 weights, on the window of 30 s that ctranslate2 takes."""
    encoder = load_encoder("whisper_tiny_en")
    waveform = torch.zeros(1, 480_000)
    waveform[0, : 16000 * 9] = torch.from_numpy(voiced(9))
    frames, counts = encoder(waveform, torch.tensor([480_000]))
    assert frames.shape == (1, 1500, 384)
    assert counts.tolist() == [1500]
    model = ctranslate2.models.Whisper(
        str(packaged_model("whisper-tiny.en")), compute_type="float32", intra_threads=1
    )
    features = LogMel(80)(at_rms(waveform)).numpy()
    encoded_there = model.encode(ctranslate2.StorageView.from_array(features))
    expected = torch.from_numpy(np.array(encoded_there))
    assert relative_error(frames, expected) < 1e-4
    torch.testing.assert_close(frames, expected, rtol=0, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("layer", [2, "last", [1, "last"], {3: 0.25, "last": 0.75}], ids=str)
def test_packaged_tiny_en_is_what_transformers_computes(layer):
    """Frames and gradient of the real weights, on the window of 30 s that transformers takes."""
    library, log_mel = from_ctranslate2(packaged_model("whisper-tiny.en")).eval(), LogMel(80)
    library.requires_grad_(False)
    waveform = torch.zeros(1, 480_000)
    waveform[0, : 16000 * 9] = torch.from_numpy(voiced(9))
    expected, expected_gradient = with_gradient(
        lambda waveform: directly(library, layer, log_mel(at_rms(waveform))), waveform
    )
    encoder = load_encoder("whisper_tiny_en", [f"layer={layer}"])
    frames, gradient = with_gradient(encoded(encoder, [480_000]), waveform)
    assert relative_error(frames, expected) < 1e-5
    assert relative_error(gradient, expected_gradient) < 1e-4


class Frontend(FrameModel):
    """ESPnet's ``WhisperFrontend`` as an encoder, its own name for the layers around it."""

    shortest, equal_lengths = 400, True

    def __init__(self, frontend):
        super().__init__()
        self.frontend = frontend

    def frame_lengths(self, lengths):
        return (lengths // 160 + 1) // 2

    def forward(self, waveform, lengths):
        return self.frontend(waveform, lengths)[0]


@pytest.fixture
def openai_whisper(monkeypatch):
    """What ``WhisperFrontend`` needs of OpenAI's package, around a tiny network."""
    network = torch.nn.Module()
    network.encoder = torch.nn.Module()
    network.encoder.conv1 = torch.nn.Conv1d(80, 16, 3, padding=1)
    network.encoder.conv2 = torch.nn.Conv1d(16, 16, 3, stride=2, padding=1)
    network.encoder.positional_embedding = torch.randn(1500, 16)
    network.encoder.blocks = torch.nn.ModuleList([torch.nn.Linear(16, 16)])
    network.encoder.ln_post = torch.nn.LayerNorm(16)
    audio = ModuleType("whisper.audio")
    audio.HOP_LENGTH, audio.N_FFT = 160, 400
    audio.mel_filters = lambda device, bins: LogMel(bins).filters.T
    package = ModuleType("whisper")
    package.audio, package.pad_or_trim = audio, None
    package.available_models = lambda: ["small"]
    package.load_model = lambda name, download_root: network
    monkeypatch.setitem(sys.modules, "whisper", package)
    monkeypatch.setitem(sys.modules, "whisper.audio", audio)


@pytest.mark.slow
def test_espnet_s_frozen_whisper_frontend_is_refused(openai_whisper):
    """Frozen, it computes under no_grad."""
    from espnet2.asr.frontend.whisper import WhisperFrontend

    conf = encoder_config(family="whisper", level="rms", name="frontend")
    prove(AsrEncoder(conf, Frontend(WhisperFrontend(freeze_weights=False))))
    with pytest.raises(UserError, match=r"frontend: no gradient reaches the waveform: .*no_grad"):
        prove(AsrEncoder(conf, Frontend(WhisperFrontend(freeze_weights=True))))


def test_a_revision_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    place, commit = tmp_path / "models--lab--tiny", hashlib.sha1(b"v1").hexdigest()
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "v1").write_text(commit)
    WhisperModel(tiny_config()).save_pretrained(place / "snapshots" / commit)
    assert whisper("lab/tiny", revision="v1").model.longest == SAMPLES
    with pytest.raises(UserError, match="lab/tiny: cannot be had from the hub"):
        whisper("lab/tiny")
    # A CTranslate2 model, such as recognisers name.
    (place / "refs" / "v2").write_text("2" * 40)
    (place / "snapshots" / ("2" * 40)).symlink_to(packaged_model("whisper-tiny.en"))
    assert whisper("lab/tiny", revision="v2").model.longest == 480_000
    with pytest.raises(UserError, match="revision 'v1' of what isn't on the hub"):
        whisper("package:whisper-tiny.en", revision="v1")


def test_another_network_and_missing_weights(tmp_path):
    Wav2Vec2Model(
        Wav2Vec2Config(
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=8,
            conv_dim=(8,),
            conv_kernel=(10,),
            conv_stride=(5,),
            num_feat_extract_layers=1,
            num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=1,
        )
    ).save_pretrained(tmp_path / "wav2vec2")
    with pytest.raises(UserError, match="wav2vec2: a wav2vec2 model, not a Whisper"):
        whisper(tmp_path / "wav2vec2")
    WhisperModel(tiny_config()).save_pretrained(tmp_path / "whisper")
    tiny_config(layers=4).save_pretrained(tmp_path / "whisper")
    with pytest.raises(UserError, match="15 weights of WhisperEncoder are missing"):
        whisper(tmp_path / "whisper")
