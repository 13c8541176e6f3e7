"""Perturbed copies into the encoder: what an embedding should say whatever is added to it.

An estimate and its reference are perturbed alike, so that their distance is 0 where they are equal.
What only one encoder notices, and only in one exact signal, then weighs less.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sepasr.lengths import within


@dataclass(frozen=True)
class Perturbation:
    """What is drawn for each mixture, and heard alike in its estimates and references.

    Attributes:
        snr_db: level of what an encoder hears over white noise that is added; None adds none.
        gain_db: a gain is drawn between minus and plus this.
        shift: a delay is drawn from 0 to this many samples at the encoder's rate.
    """

    snr_db: float | None = None
    gain_db: float = 0.0
    shift: int = 0

    def draw(self, mixtures: int, samples: int, generator: torch.Generator) -> Drawn:
        """Draw for a batch of mixtures.

        Args:
            mixtures: in the batch.
            samples: that the encoder hears of the longest one.
            generator: on the CPU, so that a seed gives the same on every device.
        """
        noise = None
        if self.snr_db is not None:
            noise = torch.randn(mixtures, samples, generator=generator) * _from_db(-self.snr_db)
        gains_db = self.gain_db * (2 * torch.rand(mixtures, generator=generator) - 1)
        shifts = torch.randint(self.shift + 1, (mixtures,), generator=generator)
        return Drawn(noise, 10 ** (gains_db / 20), shifts, self.shift)


@dataclass(frozen=True)
class Drawn:
    """What was drawn for a batch.

    Attributes:
        noise: (mixtures, samples), relative to the level of what is heard; None adds none.
        gains: (mixtures,), factors.
        shifts: (mixtures,), samples.
        longest_shift: that could have been drawn. Every utterance grows by as much, so that lengths
            stay few, and equal ones equal.
    """

    noise: Tensor | None
    gains: Tensor
    shifts: Tensor
    longest_shift: int

    def __call__(self, waveform: Tensor, lengths: Tensor, rms: float) -> tuple[Tensor, Tensor]:
        """Perturb utterances that are at their level already.

        Args:
            waveform: (mixtures * speakers, samples), the speakers of a mixture one after another,
                zero beyond their lengths.
            lengths: (mixtures * speakers,), samples.
            rms: the level to which all of them were brought. Noise is relative to it and not to
                each one's own, so that it is the same for an estimate and its reference.

        Returns:
            Waveforms, zero beyond their lengths, and their lengths.
        """
        samples = waveform.shape[1]
        gains, shifts = (_for_rows(drawn, waveform) for drawn in (self.gains, self.shifts))
        if self.noise is not None:
            noise = _for_rows(self.noise[:, :samples], waveform)
            waveform = waveform + rms * noise * within(lengths, samples)
        waveform = waveform * gains[:, None]
        if self.longest_shift:
            longer = F.pad(waveform, (0, self.longest_shift))
            places = torch.arange(longer.shape[1], device=waveform.device) - shifts[:, None]
            waveform = longer.gather(1, places % longer.shape[1])  # what comes round is zero
        return waveform, lengths + self.longest_shift


def _for_rows(drawn: Tensor, waveform: Tensor) -> Tensor:
    """What was drawn for each mixture, for each of its speakers."""
    return drawn.to(waveform.device).repeat_interleave(len(waveform) // len(drawn), 0)


def _from_db(level: float) -> float:
    return 10 ** (level / 20)
