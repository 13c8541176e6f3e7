"""The TD-Conformer read off its description, step by step: to compare with, in output and time.

In (batch, channels, frames) throughout, as the paper has it; every operation by PyTorch's own
module of its name, run one after the other, the attention scores written out. It shares no code
with :mod:`sepasr.separator.tdconformer`.
"""

from __future__ import annotations

import copy
from collections import OrderedDict

import torch
from torch import Tensor, nn

from sepasr.separator.model import Separator, SeparatorConfig


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of (batch, channels, frames)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class FeedForward(nn.Sequential):
    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__(
            ChannelNorm(width),
            nn.Conv1d(width, hidden, 1),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Conv1d(hidden, width, 1),
            nn.Dropout(dropout),
        )


class Convolution(nn.Sequential):
    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__(
            ChannelNorm(width),
            nn.Conv1d(width, 2 * width, 1),
            nn.GLU(1),
            nn.Conv1d(width, width, kernel, padding="same", groups=width),
            nn.GroupNorm(1, width),
            nn.SiLU(),
            nn.Conv1d(width, width, 1),
            nn.Dropout(dropout),
        )


class Attention(nn.Module):
    """Scores of every frame with every other, in memory."""

    def __init__(self, width: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = ChannelNorm(width)
        self.project_in = nn.Conv1d(width, 3 * width, 1)
        self.project_out = nn.Conv1d(width, width, 1)
        self.dropout = nn.Dropout(dropout)
        self.attention_dropout = nn.Dropout(attention_dropout)

    def forward(self, x: Tensor) -> Tensor:
        batch, width, frames = x.shape
        heads = (batch, self.heads, width // self.heads, frames)
        query, key, value = (
            part.reshape(heads) for part in self.project_in(self.norm(x)).chunk(3, dim=1)
        )
        scores = query.transpose(2, 3) @ key / (width // self.heads) ** 0.5
        weights = self.attention_dropout(scores.softmax(-1))
        mixed = value @ weights.transpose(2, 3)
        return self.dropout(self.project_out(mixed.reshape(batch, width, frames)))


class Layer(nn.Module):
    def __init__(self, config: SeparatorConfig) -> None:
        super().__init__()
        width, dropout = config.width, config.dropout
        self.first = FeedForward(width, config.hidden, dropout)
        self.convolution = Convolution(width, config.depthwise_kernel, dropout)
        self.attention = Attention(width, config.heads, dropout, config.attention_dropout)
        self.last = FeedForward(width, config.hidden, dropout)
        self.norm = ChannelNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.first(x) / 2
        x = x + self.convolution(x)
        x = x + self.attention(x)
        x = x + self.last(x) / 2
        return self.norm(x)


class Halving(nn.Conv1d):
    """Kernel 4, stride 2; what is shorter than the kernel is filled up with zeros."""

    def __init__(self, width: int, padding: int) -> None:
        super().__init__(width, width, 4, stride=2, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        missing = 4 - 2 * self.padding[0] - x.shape[-1]
        return super().forward(nn.functional.pad(x, (0, max(missing, 0))))


class PlainTDConformer(nn.Module):
    """The mask network, with the interface of ESPnet's separators."""

    def __init__(self, config: SeparatorConfig) -> None:
        super().__init__()
        channels, width = config.channels, config.width
        self.speakers = config.num_speakers
        self.bottleneck = nn.Sequential(
            ChannelNorm(channels), nn.Conv1d(channels, width, 1), nn.PReLU(width)
        )
        self.down = nn.ModuleList(
            nn.Sequential(
                Halving(width, config.subsampling_padding),
                nn.PReLU(width),
                ChannelNorm(width),
            )
            for _ in range(config.subsamplings)
        )
        self.layers = nn.Sequential(*(Layer(config) for _ in range(config.layers)))
        self.up = nn.ModuleList(
            nn.ConvTranspose1d(width, width, 4, stride=2, output_padding=1, bias=False)
            for _ in range(config.subsamplings)
        )
        self.after_up = nn.ModuleList(
            nn.Sequential(nn.PReLU(width), ChannelNorm(width)) for _ in range(config.subsamplings)
        )
        self.mask = nn.Sequential(
            ChannelNorm(width), nn.Conv1d(width, self.speakers * channels, 1), nn.ReLU()
        )

    def forward(
        self, encoded: Tensor, lengths: Tensor
    ) -> tuple[list[Tensor], Tensor, OrderedDict[str, Tensor]]:
        """Encoded (batch, frames, channels) to the same, masked, for each speaker."""
        x = self.bottleneck(encoded.transpose(1, 2))
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(x)
        x = x + self.layers(x)
        for up, after, skip in zip(self.up, self.after_up, reversed(skips), strict=True):
            x = after(up(x)[..., : skip.shape[-1]] + skip)
        masks = self.mask(x).transpose(1, 2).chunk(self.speakers, dim=-1)
        return [encoded * mask for mask in masks], lengths, OrderedDict()


_FEED_FORWARD = {"norm": "0.norm", "expand": "1", "contract": "4"}
_LAYER = {
    **{f"feed_forward_in.{ours}": f"first.{plain}" for ours, plain in _FEED_FORWARD.items()},
    "convolution.norm": "convolution.0.norm",
    "convolution.gate": "convolution.1",
    "convolution.depthwise": "convolution.3",
    "convolution.depthwise_norm": "convolution.4",
    "convolution.project": "convolution.6",
    "attention.norm": "attention.norm.norm",
    "attention.in_project": "attention.project_in",
    "attention.out_project": "attention.project_out",
    **{f"feed_forward_out.{ours}": f"last.{plain}" for ours, plain in _FEED_FORWARD.items()},
    "norm": "norm.norm",
}
_AROUND = {
    "bottleneck_norm": "bottleneck.0.norm",
    "bottleneck": "bottleneck.1",
    "bottleneck_activation": "bottleneck.2",
    "mask_norm": "mask.0.norm",
    "mask": "mask.1",
}


def names(config: SeparatorConfig) -> dict[str, str]:
    """Modules of the mask network that have weights: our name, the plain one's."""
    found = dict(_AROUND)
    for number in range(config.layers):
        found |= {f"layers.{number}.{o}": f"layers.{number}.{p}" for o, p in _LAYER.items()}
    for number in range(config.subsamplings):
        down, up = f"subsampling.{number}", f"supersampling.{number}"
        found |= {
            f"{down}.convolution": f"down.{number}.0",
            f"{down}.activation": f"down.{number}.1",
            f"{down}.norm": f"down.{number}.2.norm",
            f"{up}.convolution": f"up.{number}",
            f"{up}.activation": f"after_up.{number}.0",
            f"{up}.norm": f"after_up.{number}.1.norm",
        }
    return found


def plain_names(config: SeparatorConfig, ours: list[str]) -> dict[str, str]:
    """The plain network's name of each weight of ours."""
    modules = names(config)
    return {
        name: f"{modules[module]}.{kind}"
        for name in ours
        for module, _, kind in [name.rpartition(".")]
    }


def plain(separator: Separator) -> Separator:
    """A separator of the same weights and filterbanks around the plain network."""
    ours = separator.separator.state_dict()
    network = PlainTDConformer(separator.config)
    shapes = network.state_dict()
    renamed = {
        theirs: ours[name].reshape(shapes[theirs].shape)  # 1x1 convolutions have one more axis
        for name, theirs in plain_names(separator.config, list(ours)).items()
    }
    network.load_state_dict(renamed)
    other = copy.deepcopy(separator)
    other.separator = network.to(next(separator.parameters()).device)
    return other.train(separator.training)


def largest_difference(first: Tensor, second: Tensor) -> float:
    """Over the largest of the second."""
    with torch.no_grad():
        return float((first - second).abs().max() / second.abs().max().clamp_min(1e-12))
