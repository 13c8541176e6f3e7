"""A separator from waveform to waveforms: encoder, mask network, decoder and the level rule."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sepasr.data.audio import resample
from sepasr.errors import UserError
from sepasr.separator.assembly import build
from sepasr.separator.config import (
    CONFIG,
    WEIGHTS,
    Provenance,
    SeparatorConfig,
    read_description,
)
from sepasr.separator.hub import Pretrained
from sepasr.separator.networks import WAVEFORM, find_network
from sepasr.separator.positions import renew_positions

__all__ = [
    "CONFIG",
    "WEIGHTS",
    "Provenance",
    "Separator",
    "SeparatorConfig",
    "match_level",
    "read_description",
]


LOWEST_RATE = 1000
"""Of a recording, in Hz: what is below is in kHz, or no rate."""
MOST_CHANNELS, LEAST_SAMPLES = 8, 100


def _is_interleaved(mixture: Tensor) -> bool:
    """Whether what should be (batch, samples) is (samples, channels), as soundfile reads a file."""
    return (
        mixture.ndim == 2
        and 1 <= mixture.shape[1] <= MOST_CHANNELS
        and mixture.shape[0] >= LEAST_SAMPLES
    )


def match_level(estimates: Tensor, mixture: Tensor) -> Tensor:
    """Scale estimates by one gain per mixture so that their sum fits the mixture best.

    SI-SDR leaves the scale of the estimates free, recognisers and embeddings do not. The gain is
    the least-squares one, g = <x, sum_c e_c> / |sum_c e_c|^2. It may be negative: SI-SDR leaves the
    sign free as well, and a recogniser that hears raw waveforms doesn't. Where the sum is silent
    the gain is 1: there is nothing to fit.

    Args:
        estimates: (batch, speakers, samples).
        mixture: (batch, samples).

    Returns:
        The scaled estimates.
    """
    total = estimates.sum(1)
    energy = total.square().sum(-1)
    product = (mixture * total).sum(-1)
    fits = energy > 1e-10
    gain = torch.where(fits, product / torch.where(fits, energy, 1.0), 1.0)
    return estimates * gain[:, None, None]


class Separator(nn.Module, Pretrained):
    """Separates mixtures into one waveform per speaker.

    Attributes:
        encoder, separator, decoder: the filterbanks and the network between them, each an ESPnet
            interface; see :func:`sepasr.separator.assembly.build`.

    >>> separator = Separator(SeparatorConfig(width=16, hidden=16, layers=1))
    >>> separator(torch.zeros(1, 1000)).shape
    torch.Size([1, 2, 1000])
    """

    def __init__(self, config: SeparatorConfig, provenance: Provenance | None = None) -> None:
        super().__init__()
        self.config = config
        self.provenance = provenance or Provenance()
        self.encoder, self.separator, self.decoder, self.framing = build(config)

    @property
    def fs(self) -> int:
        """Sampling rate in Hz."""
        return self.config.fs

    @property
    def num_speakers(self) -> int:
        """How many speakers it separates."""
        return self.config.num_speakers

    def forward(self, mixture: Tensor, sample_rate: int | None = None) -> Tensor:
        """Separate mixtures of any length.

        What a mixture is padded with is heard: separate mixtures of different lengths apart, or
        padded to a common length whatever else is in the batch. NaN in a mixture gives NaN.

        Args:
            mixture: (samples,) or (batch, samples), of any floating-point type.
            sample_rate: rate of ``mixture`` in Hz where it may differ from :attr:`fs`; it is
                resampled on the way in and the estimates on the way out.

        Returns:
            (speakers, samples) or (batch, speakers, samples): as long as the mixture, at the
            mixture's level (see :func:`match_level`), float32 whatever the mixture's type; float64
            where the weights are.

        Raises:
            UserError: the mixture has several channels, is of integers or no tensor, or the rate
                isn't one.
        """
        if not isinstance(mixture, Tensor):
            what, remedy = f"a mixture of type {type(mixture).__name__}", "give a torch tensor"
            raise UserError(what, remedy=remedy)
        if mixture.ndim not in (1, 2) or _is_interleaved(mixture):
            what = f"a mixture of {tuple(mixture.shape)}, and the separator hears one channel"
            raise UserError(what, remedy="give (samples,) or (batch, samples)")
        if sample_rate is not None and (sample_rate < LOWEST_RATE or sample_rate % 1):
            what, remedy = f"a sampling rate of {sample_rate:g}", "give a whole number, in Hz"
            raise UserError(what, remedy=remedy)
        if not mixture.is_floating_point():
            remedy = "give floating-point samples, full scale 1.0"
            raise UserError(f"a mixture of {mixture.dtype}", remedy=remedy)
        mixture = mixture.to(self._level_dtype())
        if mixture.ndim == 1:
            return self.forward(mixture[None], sample_rate)[0]
        if sample_rate is not None and sample_rate != self.fs:
            rate = int(sample_rate)
            estimates = self.forward(resample(mixture, rate, self.fs))
            return resample(estimates, self.fs, rate)[..., : mixture.shape[-1]]
        return match_level(self.unscaled(mixture), mixture)

    def unscaled(self, mixture: Tensor) -> Tensor:
        """Separate mixtures, but leave the streams at the scale at which the network makes them.

        In windows of one recording the scale is the same, relative to the recording, whatever is
        said in them: one gain can then be found for the whole (see :func:`match_level`).

        Args:
            mixture: (samples,) or (batch, samples) at :attr:`fs`.

        Returns:
            (speakers, samples) or (batch, speakers, samples), float32, or float64 where the weights
            are.
        """
        if mixture.ndim == 1:
            return self.unscaled(mixture[None])[0]
        samples = mixture.shape[-1]
        mixture = mixture.to(self._level_dtype())
        # The network hears every mixture at one level (its norms have an epsilon, so a quiet
        # recording would otherwise be another signal); the output goes back to the mixture's.
        rms = mixture.square().mean(-1, keepdim=True).sqrt()
        level = torch.where(rms > 1e-8, rms, 1.0)
        heard = mixture / level
        if self.config.filterbank == WAVEFORM:
            # TF-GridNet divides what it hears by its standard deviation, and silence has none: it
            # hears a click in its place, and the level rule makes silence of the estimates.
            click = F.pad(torch.ones_like(rms), (0, samples - 1))
            heard = torch.where(rms > 1e-8, heard, click)
        left, right = self.framing.padding(samples)
        padded = F.pad(heard, (left, right)).to(next(self.parameters()).dtype)
        estimates = self._separate(padded)[..., left : left + samples]
        return estimates.to(level.dtype) * level[:, None]

    def _level_dtype(self) -> torch.dtype:
        """What levels are taken in: in half precision the square of a quiet sample is zero."""
        return torch.promote_types(next(self.parameters()).dtype, torch.float32)

    def _separate(self, padded: Tensor) -> Tensor:
        """From whole frames (batch, samples) to streams (batch, speakers, samples)."""
        network = find_network(self.config.network)
        if network and network.positions and torch.is_grad_enabled():
            renew_positions(self.separator)
        float32 = (
            torch.autocast(padded.device.type, enabled=False)
            if network and network.float32
            else nullcontext()
        )
        lengths = torch.full((len(padded),), padded.shape[-1], device=padded.device)
        with float32:
            encoded, frame_lengths = self.encoder(padded, lengths)
            masked = self.separator(encoded, frame_lengths)[0]
            if isinstance(masked[0], list):  # SVoice in training: after each of its blocks
                masked = masked[-1]
            return torch.stack([self.decoder(item, lengths)[0] for item in masked], dim=1)
