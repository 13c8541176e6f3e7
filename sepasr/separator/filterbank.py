"""ESPnet's learnt filterbank, as matrix products on a CPU.

Its convolutions have one channel on one side and strides of many samples, for which oneDNN has no
fast gradient: of a small separator's training step they took an eighth. As a product over frames
they give the same, with the same weights under the same names, in a tenth of the time.
"""

from __future__ import annotations

import torch
from espnet2.enh.decoder.conv_decoder import ConvDecoder
from espnet2.enh.encoder.conv_encoder import ConvEncoder
from torch import Tensor
from torch.nn import functional as F


class Analysis(ConvEncoder):
    """ESPnet's ``ConvEncoder``."""

    def forward(self, input: Tensor, ilens: Tensor, fs: int | None = None) -> tuple[Tensor, Tensor]:
        """Encode (batch, samples) to (batch, frames, channels), at least 0; see ESPnet's."""
        if input.device.type != "cpu":
            return super().forward(input, ilens, fs)
        frames = input.unfold(-1, self.kernel_size, self.stride)
        lengths = (ilens - self.kernel_size).div(self.stride, rounding_mode="trunc") + 1
        return F.relu(F.linear(frames, self.conv1d.weight.squeeze(1))), lengths


class Synthesis(ConvDecoder):
    """ESPnet's ``ConvDecoder``."""

    def forward(self, input: Tensor, ilens: Tensor, fs: int | None = None) -> tuple[Tensor, Tensor]:
        """Decode (batch, frames, channels) to (batch, samples); see ESPnet's."""
        kernel, stride = self.kernel_size, self.stride
        if input.device.type != "cpu" or kernel % stride:
            return super().forward(input, ilens)
        frames = F.linear(input, self.convtrans1d.weight.squeeze(1).t())
        # Overlap and add: the n-th hop of each frame falls n hops after the frame's own.
        hops = kernel // stride
        parts = frames.unflatten(-1, (hops, stride)).unbind(2)
        padded = [F.pad(part, (0, 0, n, hops - 1 - n)) for n, part in enumerate(parts)]
        wave = torch.stack(padded).sum(0).flatten(1)
        return F.pad(wave, (0, int(ilens.max()) - wave.shape[-1])), ilens
