"""What the tests of every encoder need."""

from dataclasses import replace

import torch

from sepasr.encoder.base import EncoderConfig


def encoder_config(**changes):
    base = EncoderConfig(
        name="tiny",
        family="wav2vec2",
        weights="tiny",
        source="huggingface",
        model="nowhere/tiny",
        layer="last",
        distance="mse",
        level="model",
        fs=16000,
    )
    return replace(base, **changes)


def noise(batch, samples, seed=0):
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))


def relative_error(value, expected):
    return float(((value - expected).norm() / expected.norm()).detach())


def with_gradient(function, waveform):
    """Frames, and the gradient at the waveform of a fixed random projection of them."""
    waveform = waveform.clone().requires_grad_()
    frames = function(waveform)
    projection = torch.randn(frames.shape, generator=torch.Generator().manual_seed(7))
    (gradient,) = torch.autograd.grad((frames * projection).sum(), waveform)
    return frames.detach(), gradient


def encoded(encoder, lengths):
    """The encoder as a function of the waveform alone."""
    return lambda waveform: encoder(waveform, torch.tensor(lengths))[0]


def frames_alone(encoder, waveform, lengths):
    """Each utterance's frames when it is a batch by itself, without padding."""
    alone = (
        encoder(waveform[row : row + 1, :length], torch.tensor([length]))[0][0]
        for row, length in enumerate(lengths)
    )
    return list(alone)


def randomised(model, seed=0):
    """Give every parameter a value of its own, so that none is swapped or left out unseen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def embedding_of(layer, state):
    """What ``EncoderConfig.layer`` asks for, written down again; ``state`` gives one by name."""
    if isinstance(layer, dict):
        return sum(weight * state(name) for name, weight in layer.items())
    if isinstance(layer, list):
        return torch.cat([state(name) for name in layer], dim=-1)
    return state(layer)


def unit_variance(waveform):
    """Zero mean and unit variance of utterances without padding, written down again."""
    centred = waveform - waveform.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + 1e-7).sqrt()


def at_rms(waveform):
    """-25 dB re full scale, written down again."""
    rms = waveform.square().mean(1, keepdim=True).sqrt()
    return waveform / rms * 10 ** (-25 / 20)
