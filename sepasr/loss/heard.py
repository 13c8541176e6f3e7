"""What one encoder hears of estimates and references, and how far apart that is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sepasr.data.audio import resample, resampled_length
from sepasr.encoder.base import AsrEncoder
from sepasr.lengths import within
from sepasr.loss.distance import Distance, named_distance
from sepasr.loss.kept import KeptEmbeddings
from sepasr.loss.perturb import Perturbation
from sepasr.loss.pit import reorder


@dataclass(frozen=True)
class Heard:
    """Frames of estimates and of references, (batch, speakers, frames, width).

    Attributes:
        estimates: with gradient.
        references: without.
        counts: valid frames of each, (batch, speakers).
        distance: how they are compared.
        scale: what every distance is divided by.
    """

    estimates: Tensor
    references: Tensor
    counts: Tensor
    distance: Distance
    scale: float

    def ordered(self, permutation: Tensor) -> Tensor:
        """Distances (batch, speakers) of the references to the estimates assigned to them."""
        estimates = reorder(self.estimates, permutation)
        return self.distance(estimates, self.references, self.counts) / self.scale

    def pairwise(self) -> Tensor:
        """Distances (batch, references, estimates) of every two."""
        estimates, references = self.estimates[:, None], self.references[:, :, None]
        return self.distance(estimates, references, self.counts[:, :, None]) / self.scale


class Listener:
    """An encoder, the distance of its frames, and their resampled way to it.

    Args:
        encoder: gives the frames, and names the distance.
        fs: sampling rate of the signals in Hz. Where it isn't the encoder's, what the encoder hears
            is resampled, in the graph of the gradient.
        scale: what every distance is divided by.
        kept: keeps the frames of references that come again; without, they are made each time.

    Raises:
        UserError: the encoder's distance is unknown.
    """

    def __init__(
        self, encoder: AsrEncoder, fs: int, scale: float = 1.0, kept: KeptEmbeddings | None = None
    ) -> None:
        self.encoder, self.fs, self.scale, self.kept = encoder, fs, scale, kept
        self.distance = named_distance(encoder.distance, where=f"encoder {encoder.name}")

    def hear(
        self,
        estimates: Tensor,
        references: Tensor,
        lengths: Tensor,
        perturbation: Perturbation | None = None,
        generator: torch.Generator | None = None,
    ) -> Heard:
        """Run the encoder once per estimate and once per reference, never once per pair.

        Args:
            estimates: (batch, speakers, samples).
            references: (batch, speakers, samples).
            lengths: valid samples, (batch,).
            perturbation: what both are perturbed by, alike; None leaves them as they are.
            generator: draws it.
        """
        drawn = None
        if perturbation is not None:
            assert generator is not None
            samples = resampled_length(estimates.shape[-1], self.fs, self.encoder.fs)
            drawn = perturbation.draw(len(estimates), samples, generator)
        options = {} if drawn is None else {"perturb": drawn}
        with torch.no_grad():
            if self.kept is not None and drawn is None:
                reference_frames, counts = self.kept.embed(references, lengths, self._embed)
            else:
                reference_frames, counts = self._embed(references, lengths, **options)
        estimate_frames, _ = self._embed(estimates, lengths, **options)
        return Heard(estimate_frames, reference_frames, counts, self.distance, self.scale)

    def _embed(self, signals: Tensor, lengths: Tensor, **options: object) -> tuple[Tensor, Tensor]:
        """Frames (batch, speakers, frames, width) and their number (batch, speakers)."""
        batch, speakers, samples = signals.shape
        with torch.autocast(signals.device.type, enabled=False):
            valid = signals.float() * within(lengths, samples)[:, None]
            heard = resample(valid.flatten(0, 1), self.fs, self.encoder.fs)
            lengths = resampled_length(lengths, self.fs, self.encoder.fs)
            frames, counts = self.encoder(heard, lengths.repeat_interleave(speakers), **options)
        shape = (batch, speakers)
        return frames.unflatten(0, shape), counts.unflatten(0, shape)
