"""The log-mel features that Wav2Vec2-BERT hears, in torch."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from sepasr.lengths import within

WINDOW, HOP, FFT = 400, 160, 512  # samples at 16 kHz: windows of 25 ms every 10 ms
STRIDE = 2  # windows side by side in one frame
PREEMPHASIS = 0.97
FLOOR = 1.192092955078125e-07  # under the mel energies: float32's epsilon, as in Kaldi
# The scale of 16-bit integers, of which Kaldi's filterbank was made. It counts only at the floor.
SCALE = 2.0**15


class SeamlessMel(nn.Module):
    """The features of ``transformers.SeamlessM4TFeatureExtractor``, with a gradient.

    A Kaldi filterbank: windows without padding at the ends, each without its mean and
    pre-emphasised; mel energies in natural logarithms; each bin with zero mean and unit variance
    over the utterance; two windows side by side in a frame.

    Args:
        bins: mel bins.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, bins: int = 80) -> None:
        super().__init__()
        from transformers import SeamlessM4TFeatureExtractor

        extractor = SeamlessM4TFeatureExtractor(feature_size=bins, num_mel_bins=bins)
        for name in ("window", "mel_filters"):
            values = torch.from_numpy(getattr(extractor, name)).float()
            self.register_buffer(name.removeprefix("mel_"), values, persistent=False)

    @staticmethod
    def frame_lengths(lengths: Tensor) -> Tensor:
        """Whole frames of two windows, of so many samples: (batch,) int64 to (batch,) int64."""
        return _windows(lengths) // STRIDE

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Features of utterances; an odd window at an end only counts in the statistics.

        Args:
            waveform: (batch, samples), at least two windows long each.
            lengths: (batch,) int64, samples.

        Returns:
            (batch, frames, 2 * bins), zero beyond an utterance's own frames.
        """
        windows = waveform.unfold(-1, WINDOW, HOP) * SCALE
        windows = windows - windows.mean(-1, keepdim=True)
        first, rest = windows[..., :1], windows[..., 1:]
        rest = rest - PREEMPHASIS * windows[..., :-1]
        windows = torch.cat([first * (1 - PREEMPHASIS), rest], dim=-1) * self.window
        spectrum = torch.fft.rfft(windows, FFT)
        # Not abs(), whose gradient at zero isn't finite.
        power = spectrum.real.square() + spectrum.imag.square()
        log_mel = (power @ self.filters).clamp_min(FLOOR).log()
        normed = _normed(log_mel, _windows(lengths))
        frames = normed.shape[1] // STRIDE
        features = normed[:, : frames * STRIDE].reshape(len(normed), frames, -1)
        valid = within(self.frame_lengths(lengths), frames)
        return features.masked_fill(~valid[..., None], 0.0)


def forget_rotations(encoder: nn.Module) -> None:
    """Let a Wav2Vec2-BERT's encoder make its rotary positions anew.

    Those of the last length are kept as they are: on the device where they were made, and, made
    under inference mode, not to be trained through.
    """
    positions = encoder.embed_positions
    if hasattr(positions, "cached_sequence_length"):
        positions.cached_sequence_length = None  # type: ignore[union-attr]


def _windows(lengths: Tensor) -> Tensor:
    return cast(Tensor, (lengths - WINDOW) // HOP + 1)


def _normed(log_mel: Tensor, counts: Tensor) -> Tensor:
    """Zero mean and unit variance (of ``counts - 1`` degrees of freedom) over the valid windows."""
    valid = within(counts, log_mel.shape[1])[..., None]
    count = counts[:, None, None]
    mean = log_mel.masked_fill(~valid, 0.0).sum(1, keepdim=True) / count
    centred = (log_mel - mean).masked_fill(~valid, 0.0)
    variance = centred.square().sum(1, keepdim=True) / (count - 1)
    return centred / (variance + 1e-7).sqrt()
