"""A loss on magnitude spectra: what an embedding loss is without what the encoder has learned."""

from __future__ import annotations

import torch
from torch import Tensor, device

from sepasr.encoder.level import rms_level
from sepasr.lengths import whole, within
from sepasr.loss.loss import Loss, Moment
from sepasr.loss.pit import assigned, best_permutation, reorder
from sepasr.loss.si_sdr import pairwise_si_sdr

WINDOWS_S = (0.016, 0.032, 0.064)
"""Lengths of the windows in seconds; each moves on by a quarter of itself."""


class SpectralLoss:
    """L1 distance of STFT magnitudes at several resolutions, under the permutation of SI-SDR.

    The magnitudes of Yamamoto, Song and Kim, "Parallel WaveGAN" (arXiv 1910.11480), without their
    logarithm: the mean over frames and frequencies of the absolute difference, divided by the
    reference's mean magnitude, so that every resolution counts alike; then the mean over the
    resolutions and speakers. Estimates and references are brought to one level before, as encoders
    hear them: SI-SDR, which chooses the permutation, leaves the scale free.

    Args:
        fs: sampling rate of the signals in Hz.
        signal_weight: weight of an added negative SI-SDR in dB.
    """

    def __init__(self, fs: int, *, signal_weight: float = 0.0) -> None:
        self.sizes = [round(seconds * fs / 4) * 4 for seconds in WINDOWS_S]
        self.signal_weight = signal_weight

    def begin(self, moment: Moment) -> None:
        """It is the same at every moment."""

    def to(self, device: device) -> SpectralLoss:
        """Nothing to move."""
        return self

    def __call__(
        self, estimates: Tensor, references: Tensor, lengths: Tensor | None = None
    ) -> Loss:
        """See :class:`sepasr.loss.loss.SeparationLoss`."""
        if lengths is None:
            lengths = whole(estimates)
        with torch.set_grad_enabled(self.signal_weight > 0 and torch.is_grad_enabled()):
            si_sdr = pairwise_si_sdr(estimates, references, lengths)
        permutation = best_permutation(-si_sdr)
        signal = assigned(si_sdr, permutation).mean(-1)
        with torch.autocast(estimates.device.type, enabled=False):
            estimate = _at_one_level(reorder(estimates, permutation).float(), lengths)
            reference = _at_one_level(references.detach().float(), lengths)
            distances = [_distance(estimate, reference, lengths, size) for size in self.sizes]
        spectral = torch.stack(distances).mean(0).mean(-1)
        parts = {"si_sdr": signal.detach(), "spectral": spectral.detach()}
        value = spectral if self.signal_weight == 0 else spectral - self.signal_weight * signal
        return Loss(value, permutation, parts)


def _distance(estimates: Tensor, references: Tensor, lengths: Tensor, size: int) -> Tensor:
    """Relative L1 distance at one resolution, (batch, speakers)."""
    estimate, reference = (_magnitudes(x, size) for x in (estimates, references))
    # Windows are centred on samples 0, hop, 2 hop, ...; those on an item's samples are its own.
    own = within(lengths // (size // 4) + 1, estimate.shape[-1])[:, None, None]
    difference = ((estimate - reference).abs() * own).sum((-2, -1))
    whole = (reference * own).sum((-2, -1))
    return difference / whole.clamp_min(1e-5 * own.sum((-2, -1)))


def _at_one_level(signals: Tensor, lengths: Tensor) -> Tensor:
    """Each of (batch, speakers, samples) at one RMS over its valid samples, zero beyond them."""
    batch, speakers, samples = signals.shape
    rows = lengths.repeat_interleave(speakers)
    valid = within(rows, samples)
    level = rms_level(signals.flatten(0, 1).masked_fill(~valid, 0.0), valid, rows)
    return level.unflatten(0, (batch, speakers))


def _magnitudes(signals: Tensor, size: int) -> Tensor:
    """(batch, speakers, samples) to (batch, speakers, frequencies, frames)."""
    spectra = torch.stft(
        signals.flatten(0, 1),
        size,
        hop_length=size // 4,
        window=torch.hann_window(size, device=signals.device),
        pad_mode="constant",
        return_complex=True,
    )
    return spectra.abs().unflatten(0, signals.shape[:2])
