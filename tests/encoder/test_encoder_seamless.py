import numpy as np
import pytest
import torch
from encoder_helpers import noise, relative_error
from transformers import SeamlessM4TFeatureExtractor

from sepasr.encoder.seamless import SeamlessMel

LENGTHS = [16000, 9000, 15999, 7161]  # 98, 54, 98 and 43 windows


def extracted(waveforms, **options):
    extractor = SeamlessM4TFeatureExtractor(**options)
    cut = [waveform.numpy() for waveform in waveforms]
    return extractor(cut, sampling_rate=16000, return_tensors="pt")


def with_pauses(samples):
    """Noise over 80 dB of level, and half a second of digital silence."""
    waveform = noise(1, samples)[0] * 10 ** (-4 * torch.linspace(0, 1, samples))
    waveform[samples // 2 : samples // 2 + 8000] = 0
    return waveform


@pytest.mark.parametrize("samples", [16000, 15999, 20001, 24480, 560])
def test_features_are_the_feature_extractor_s(samples):
    waveform = noise(1, samples)
    mel = SeamlessMel()
    expected = extracted(waveform).input_features
    lengths = torch.tensor([samples])
    kept = mel.frame_lengths(lengths)
    # The extractor pads an odd number of windows and masks the frame with the padding in it.
    features = mel(waveform, lengths)
    assert features.shape == (1, int(kept), 160)
    np.testing.assert_allclose(features, expected[:, : int(kept)], rtol=0, atol=1e-3)
    precise = mel.double()(waveform.double(), lengths)
    assert relative_error(precise, expected[:, : int(kept)]) < 1e-5


def test_features_of_quiet_and_silent_passages():
    waveform = with_pauses(32000)
    expected = extracted([waveform]).input_features
    features = SeamlessMel()(waveform[None], torch.tensor([32000]))
    assert features.isfinite().all()
    assert relative_error(features, expected) < 1e-4


def test_another_number_of_bins():
    waveform = noise(1, 16000)
    expected = extracted(waveform, feature_size=40, num_mel_bins=40).input_features
    assert relative_error(SeamlessMel(40)(waveform, torch.tensor([16000])), expected) < 1e-4


def test_a_batch_is_what_the_extractor_makes_of_it():
    waveform = noise(4, 16000)
    for row, length in enumerate(LENGTHS):
        waveform[row, length:] = 0
    mel, lengths = SeamlessMel(), torch.tensor(LENGTHS)
    features = mel(waveform, lengths)
    batch = extracted([row[:length] for row, length in zip(waveform, LENGTHS, strict=True)])
    counts = mel.frame_lengths(lengths)
    assert counts.tolist() == batch.attention_mask.sum(1).tolist() == [49, 27, 49, 21]
    valid = batch.attention_mask[..., None].bool()
    assert relative_error(features, batch.input_features * valid) < 1e-4
    assert not features[~valid[..., 0]].any()


def test_gradient():
    mel = SeamlessMel(8).double()
    waveform = noise(2, 1200).double().requires_grad_()
    lengths = torch.tensor([1200, 900])
    check = torch.autograd.gradcheck
    assert check(lambda heard: mel(heard, lengths), waveform, fast_mode=True, eps=1e-7, atol=1e-3)


def test_gradient_of_silence_is_finite():
    waveform = torch.zeros(1, 1200, requires_grad=True)
    features = SeamlessMel()(waveform, torch.tensor([1200]))
    features.square().sum().backward()
    assert features.abs().max() < 0.01  # rounding: the variance is divided by no less than 1e-7
    assert waveform.grad.isfinite().all()
