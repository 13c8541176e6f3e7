#!/usr/bin/env python3
"""Time of the conformer layers alone, forward and backward, against torchaudio's Conformer.

    tools/bench/torchaudio_conformer.py s

At the same width, heads, layers and dropout, with a kernel shorter by one: torchaudio's must be
odd. Its layers differ in detail, so speed is compared and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from paired import SPEEDUP, Spread, alternate, begin, keep, parser
from separators import FLOAT32, built
from torch import Tensor, nn
from torchaudio.models import Conformer

from sepasr.separator.model import SeparatorConfig

FRAMES_PER_S = 1000
"""Of the published models, behind their subsampling at 16 kHz."""


def passing(network: nn.Module, run: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    def way() -> None:
        network.zero_grad()
        run(x).square().mean().backward()

    return way


def odd_kernel(config: SeparatorConfig) -> int:
    return config.depthwise_kernel - 1 + config.depthwise_kernel % 2


def torchaudio_of(config: SeparatorConfig) -> Conformer:
    """Layers of the same sizes and dropout."""
    made = Conformer(
        config.width,
        config.heads,
        config.hidden,
        config.layers,
        odd_kernel(config),
        config.dropout,
        use_group_norm=True,
        convolution_first=True,
    )
    for layer in made.conformer_layers:  # which has one rate for all
        layer.self_attn.dropout = config.attention_dropout
    return made


def measure(size: str, options) -> dict:
    separator = built(size, options.set, quick=options.quick).to(options.device).train()
    config, layers = separator.config, nn.Sequential(*separator.separator.layers)
    theirs = torchaudio_of(config).to(options.device).train()
    frames = 50 if options.quick else round(options.seconds * FRAMES_PER_S)
    x = torch.randn(options.batch, frames, config.width, device=options.device)
    lengths = torch.full((options.batch,), frames, device=options.device)
    ways = [
        passing(theirs, lambda x: theirs(x, lengths)[0], x),
        passing(layers, layers, x),
    ]
    taken = alternate(ways, options.rounds, 1, options.device)
    old, new = np.median(taken, axis=0)
    return keep(
        options,
        f"torchaudio_{size}",
        Spread.of(taken[:, 0] / taken[:, 1]),
        SPEEDUP,
        against=f"torchaudio's Conformer, kernel {odd_kernel(config)}",
        dtype=FLOAT32,
        note=f"layers alone, {options.batch} x {frames} frames: {old:.3f} s, {new:.3f} s",
        packages=["torchaudio"],
    )


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    made = parser(__doc__, rounds=10, gpu=True)
    made.add_argument("sizes", nargs="+", help="names in conf/separator")
    made.add_argument("--batch", type=int, default=1)
    made.add_argument("--seconds", type=float, default=4.0, help="length of a mixture")
    made.add_argument("--set", action="append", default=[], help="NAME=VALUE, on both sides")
    options = begin(made, arguments)
    return [measure(size, options) for size in options.sizes]


if __name__ == "__main__":
    main()
