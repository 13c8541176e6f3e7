"""The ASR-encoder (AE) loss and the two ways of choosing its permutation.

Ravenscroft et al., "Transcription-Free Fine-Tuning of Speech Separation Models for Noisy and
Reverberant Multi-Speaker Automatic Speech Recognition" (Interspeech 2024, arXiv 2406.08914).
"""

from __future__ import annotations

import torch
from torch import Tensor, device

from sepasr.data.audio import resample, resampled_length
from sepasr.encoder.base import AsrEncoder
from sepasr.loss.loss import Loss
from sepasr.loss.pit import assigned, best_permutation, reorder
from sepasr.loss.si_sdr import pairwise_si_sdr, valid_samples


def embedding_distance(estimate: Tensor, reference: Tensor, frame_lengths: Tensor) -> Tensor:
    """Mean squared error over the valid frames and all dimensions of an embedding.

    Args:
        estimate: (..., frames, width).
        reference: broadcastable to ``estimate``.
        frame_lengths: valid frames, (...).

    Returns:
        (...), float32.
    """
    frames = estimate.shape[-2]
    valid = torch.arange(frames, device=estimate.device) < frame_lengths[..., None]
    square = (estimate.float() - reference.float()).square().mean(-1)
    return (square * valid).sum(-1) / frame_lengths.clamp_min(1)


class EmbeddingLoss:
    """Distance of a frozen ASR encoder's frames for the estimates and the references.

    Args:
        encoder: gives the frames; its own parameters take no part in training.
        fs: sampling rate of the signals in Hz. Where it isn't the encoder's, what the encoder hears
            is resampled, in the graph of the gradient; SI-SDR is that of the signals themselves.
        guided: True chooses the permutation by SI-SDR (guided PIT, the paper's method); False by
            the embedding distance itself (plain PIT, which the paper reports to fail).
        signal_weight: weight of an added negative SI-SDR in dB; 0 in the paper.
    """

    def __init__(
        self, encoder: AsrEncoder, fs: int, *, guided: bool = True, signal_weight: float = 0.0
    ) -> None:
        self.encoder = encoder
        self.fs = fs
        self.guided = guided
        self.signal_weight = signal_weight

    def to(self, device: device) -> EmbeddingLoss:
        """Move the encoder."""
        self.encoder.to(device)
        return self

    def __call__(
        self, estimates: Tensor, references: Tensor, lengths: Tensor | None = None
    ) -> Loss:
        """See :class:`sepasr.loss.loss.SeparationLoss`.

        The encoder runs once per estimate and once per reference, never once per pair.
        """
        if lengths is None:
            lengths = estimates.new_full((len(estimates),), estimates.shape[-1], dtype=torch.long)
        with torch.set_grad_enabled(self.signal_weight > 0 and torch.is_grad_enabled()):
            si_sdr = pairwise_si_sdr(estimates, references, lengths)
        with torch.no_grad():
            reference_frames, counts = self._embed(references, lengths)
        estimate_frames, _ = self._embed(estimates, lengths)
        if self.guided:
            permutation = best_permutation(-si_sdr)
            ordered = reorder(estimate_frames, permutation)
            distance = embedding_distance(ordered, reference_frames, counts)
        else:
            pairwise = embedding_distance(
                estimate_frames[:, None], reference_frames[:, :, None], counts[:, :, None]
            )
            permutation = best_permutation(pairwise)
            distance = assigned(pairwise, permutation)
        signal = assigned(si_sdr, permutation).mean(-1)
        embedding = distance.mean(-1)
        parts = {"si_sdr": signal.detach(), "embedding": embedding.detach()}
        value = embedding if self.signal_weight == 0 else embedding - self.signal_weight * signal
        return Loss(value, permutation, parts)

    def _embed(self, signals: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (batch, speakers, frames, width) and their number (batch, speakers)."""
        batch, speakers, samples = signals.shape
        with torch.autocast(signals.device.type, enabled=False):
            valid = signals.float() * valid_samples(lengths, samples)[:, None]
            heard = resample(valid.flatten(0, 1), self.fs, self.encoder.fs)
            lengths = resampled_length(lengths, self.fs, self.encoder.fs)
            frames, counts = self.encoder(heard, lengths.repeat_interleave(speakers))
        shape = (batch, speakers)
        return frames.unflatten(0, shape), counts.unflatten(0, shape)
