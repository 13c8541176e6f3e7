"""TD-Conformer: a mask network of conformer layers between learnt filterbanks.

The network of Ravenscroft et al., "On Time Domain Conformer Models for Monaural Speech Separation
in Noisy Reverberant Acoustic Environments" (ASRU 2023, arXiv 2310.06125). Everything here works on
(batch, frames, channels), so that normalisation and 1x1 convolution (which is a linear layer there)
need no transposition. The convolutions over time see the same memory as an image of one row, with
the channels last: that layout they take as it is, where a one-dimensional convolution would copy.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from espnet2.enh.separator.abs_separator import AbsSeparator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sepasr.separator.attention import attention_with_dropout
from sepasr.separator.depthwise import as_frames, as_image, depthwise

FEW_FRAMES = 1024
"""On a CPU in bfloat16, the gradient of PyTorch's fused attention takes twice the time of plain
products up to about so many frames; their scores still are small."""


class ChannelPReLU(nn.Module):
    """PReLU with one slope per channel of (batch, frames, channels)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        """Give a tensor of the shape of ``x``."""
        x = x.to(self.weight.dtype).transpose(1, 2)
        kind = x.device.type
        if not (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)):
            return F.prelu(x, self.weight).transpose(1, 2)
        # The residual stream begins behind it, and autocast would take PReLU to lower precision.
        with torch.autocast(kind, enabled=False):
            return F.prelu(x, self.weight).transpose(1, 2)


class GlobalNorm(nn.Module):
    """GroupNorm with one group: normalises over frames and channels together."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Give a tensor of the shape of ``x``, (batch, frames, channels)."""
        return as_frames(F.group_norm(as_image(x), 1, self.weight, self.bias))


class FeedForward(nn.Module):
    """LayerNorm, linear to ``hidden``, SiLU, dropout, linear back, dropout."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Give a tensor of the shape of ``x``, (batch, frames, width)."""
        hidden = self.dropout(F.silu(self.expand(self.norm(x))))
        return self.dropout(self.contract(hidden))


class ConvolutionModule(nn.Module):
    """LayerNorm, gated 1x1 convolution, depthwise convolution, GroupNorm, SiLU, 1x1 convolution."""

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, kernel, groups=width)
        self.depthwise_norm = GlobalNorm(width)
        self.project = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Give a tensor of the shape of ``x``, (batch, frames, width)."""
        x = F.glu(self.gate(self.norm(x)), dim=-1)
        x = depthwise(x, self.depthwise.weight, self.depthwise.bias)
        return self.dropout(self.project(F.silu(self.depthwise_norm(x))))


class SelfAttention(nn.Module):
    """LayerNorm and multi-head self-attention without positional encoding."""

    def __init__(self, width: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_dropout = attention_dropout
        self.norm = nn.LayerNorm(width)
        self.in_project = nn.Linear(width, 3 * width)
        self.out_project = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Give a tensor of the shape of ``x``, (batch, frames, width)."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.in_project(self.norm(x)).chunk(3, dim=-1)
        )
        rate = self.attention_dropout if self.training else 0.0
        on_cpu_with_grad = x.device.type == "cpu" and torch.is_grad_enabled()
        if rate > 0 and x.device.type == "cpu":
            heads = attention_with_dropout(query, key, value, rate)
        elif query.dtype == torch.bfloat16 and key.shape[-2] <= FEW_FRAMES and on_cpu_with_grad:
            heads = _written_out(query, key, value)
        else:
            heads = F.scaled_dot_product_attention(query, key, value, dropout_p=rate)
        return self.dropout(self.out_project(heads.transpose(1, 2).flatten(-2)))


def _written_out(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention with all of its scores, each (batch, heads, frames, width)."""
    with torch.autocast("cpu", enabled=False):
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        return torch.softmax(scores, -1) @ value


class ConformerLayer(nn.Module):
    """Half-step feed-forward, convolution, self-attention, half-step feed-forward, LayerNorm."""

    def __init__(
        self,
        width: int,
        hidden: int,
        heads: int,
        kernel: int,
        dropout: float,
        attention_dropout: float,
    ) -> None:
        super().__init__()
        self.feed_forward_in = FeedForward(width, hidden, dropout)
        self.convolution = ConvolutionModule(width, kernel, dropout)
        self.attention = SelfAttention(width, heads, dropout, attention_dropout)
        self.feed_forward_out = FeedForward(width, hidden, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Give a tensor of the shape of ``x``, (batch, frames, width)."""
        x = torch.add(x, self.feed_forward_in(x), alpha=0.5)
        x = x + self.convolution(x)
        x = x + self.attention(x)
        x = torch.add(x, self.feed_forward_out(x), alpha=0.5)
        return self.norm(x)


class Subsampling(nn.Module):
    """Halve the frames: convolution of kernel 4 and stride 2, PReLU, LayerNorm.

    Without padding, frame j is made of frames 2j to 2j + 3, which are those that
    :class:`Supersampling` makes of it again. A padding of 1 begins one frame earlier.
    """

    def __init__(self, width: int, padding: int = 0) -> None:
        super().__init__()
        self.padding = padding
        self.convolution = nn.Conv1d(width, width, 4, stride=2, padding=padding)
        self.activation = ChannelPReLU(width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, width) to (batch, max(1, frames // 2 - 1 + padding), width)."""
        least = 4 - 2 * self.padding  # frames that the kernel needs
        if x.shape[1] < least:
            x = F.pad(x, (0, 0, 0, least - x.shape[1]))
        weight, bias = self.convolution.weight.unsqueeze(2), self.convolution.bias
        image = F.conv2d(as_image(x), weight, bias, stride=(1, 2), padding=(0, self.padding))
        return self.norm(self.activation(as_frames(image)))


class Supersampling(nn.Module):
    """Double the frames, cut to the length of the skip, add it, PReLU, LayerNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.ConvTranspose1d(
            width, width, 4, stride=2, output_padding=1, bias=False
        )
        self.activation = ChannelPReLU(width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(batch, frames, width) and the skip (batch, more frames, width) to the skip's shape."""
        weight = self.convolution.weight.unsqueeze(2)
        image = F.conv_transpose2d(as_image(x), weight, stride=(1, 2), output_padding=(0, 1))
        return self.norm(self.activation(as_frames(image)[:, : skip.shape[1]] + skip))


class TDConformer(AbsSeparator):
    """The mask network: one mask per speaker on an encoded mixture.

    Args:
        input_dim: channels of the encoder (256 in the published models).
        num_spk: speakers, C.
        width: width of the conformer layers, B.
        hidden: width inside the feed-forward modules, F.
        heads: attention heads.
        layers: conformer layers, K.
        kernel: kernel of the depthwise convolutions, in (subsampled) frames.
        subsamplings: how often the frames are halved before the conformer layers.
        dropout: dropout rate of the feed-forward, convolution and attention outputs.
        attention_dropout: dropout rate of the attention weights. Apart from ``dropout``, because
            on a CPU it keeps PyTorch's fused attention, which is several times faster than ours
            with dropout, from being used.
        subsampling_padding: frames of zeros on either side before they are halved; 0 in the
            published models.

    Attributes:
        checkpoint_activations: whether training keeps only the input of each conformer layer and
            runs the layer once more, with the same dropout, for its gradient: less memory, about a
            third more time.
    """

    def __init__(
        self,
        input_dim: int,
        num_spk: int = 2,
        width: int = 128,
        hidden: int = 128,
        heads: int = 8,
        layers: int = 8,
        kernel: int = 64,
        subsamplings: int = 1,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        subsampling_padding: int = 0,
    ) -> None:
        super().__init__()
        self.checkpoint_activations = False
        self._num_spk = num_spk
        self.bottleneck_norm = nn.LayerNorm(input_dim)
        self.bottleneck = nn.Linear(input_dim, width)
        self.bottleneck_activation = ChannelPReLU(width)
        self.subsampling = nn.ModuleList(
            Subsampling(width, subsampling_padding) for _ in range(subsamplings)
        )
        self.layers = nn.ModuleList(
            ConformerLayer(width, hidden, heads, kernel, dropout, attention_dropout)
            for _ in range(layers)
        )
        self.supersampling = nn.ModuleList(Supersampling(width) for _ in range(subsamplings))
        self.mask_norm = nn.LayerNorm(width)
        self.mask = nn.Linear(width, num_spk * input_dim)

    @property
    def num_spk(self) -> int:
        """How many speakers it separates."""
        return self._num_spk

    def masks(self, encoded: Tensor) -> Tensor:
        """Masks (batch, speakers, frames, channels), at least 0, of (batch, frames, channels)."""
        x = self.bottleneck_activation(self.bottleneck(self.bottleneck_norm(encoded)))
        skips = []
        for subsample in self.subsampling:
            skips.append(x)
            x = subsample(x)
        stack = x
        for layer in self.layers:
            if self.checkpoint_activations and torch.is_grad_enabled():
                stack = checkpoint(layer, stack, use_reentrant=False)
            else:
                stack = layer(stack)
        x = x + stack
        for supersample, skip in zip(self.supersampling, reversed(skips), strict=True):
            x = supersample(x, skip)
        masks = F.relu(self.mask(self.mask_norm(x)))
        return masks.unflatten(-1, (self.num_spk, -1)).transpose(1, 2)

    def forward(
        self, input: Tensor, ilens: Tensor, additional: dict | None = None
    ) -> tuple[list[Tensor], Tensor, OrderedDict[str, Tensor]]:
        """Mask the encoded mixture, as ESPnet's separators do.

        Args:
            input: encoded mixture, (batch, frames, channels).
            ilens: frames of each item, (batch,); handed through.
            additional: not used.

        Returns:
            One masked representation (batch, frames, channels) per speaker; ``ilens``; the masks,
            named ``mask_spk1`` and on.
        """
        masks = self.masks(input).unbind(1)
        named = OrderedDict((f"mask_spk{i + 1}", mask) for i, mask in enumerate(masks))
        return [input * mask for mask in masks], ilens, named
