#!/usr/bin/env python3
"""Time of a fine-tuning step, against a loss that runs the encoder for every pair.

    tools/bench/finetune_step.py mini whisper_tiny_en
    tools/bench/finetune_step.py mini whisper_tiny_en --kept   # of fixed mixtures, in a later pass

Both train the same separator in float32 with the ASR-encoder loss under guided PIT. Ours runs the
encoder once on all estimates and once, without gradient, on all references, unless their embeddings
are kept. The baseline runs it on both of every pair, with the references in the graph. Loss and
gradients are shown to be equal.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from paired import SPEEDUP, Spread, alternate, begin, check_near, keep, parser
from separators import FLOAT32, built, largest_difference, sources
from torch import Tensor, nn

from sepasr.encoder.base import load_encoder
from sepasr.loss.distance import mean_square
from sepasr.loss.embedding import EmbeddingLoss
from sepasr.loss.pit import assigned, best_permutation
from sepasr.loss.si_sdr import pairwise_si_sdr

LOSS, GRADIENT = 1e-4, 1e-2
"""Largest relative differences. Encoders norm what they hear, which magnifies rounding."""


class Linear(nn.Module):
    """An encoder for quick runs."""

    name, fs, distance = "linear", 16000, "mse"

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return waveform.unfold(1, 40, 40) @ self.weight, lengths // 40


def per_pair(encoder: nn.Module, estimates: Tensor, references: Tensor) -> Tensor:
    """The loss of each mixture, (batch,)."""
    references = references.detach().requires_grad_()
    speakers, samples = references.shape[1:]
    lengths = torch.full((len(references),), samples, device=references.device)

    def distance(reference: int, estimate: int) -> Tensor:
        said, counts = encoder(references[:, reference], lengths)
        heard, _ = encoder(estimates[:, estimate], lengths)
        return mean_square(heard, said, counts)

    rows = [torch.stack([distance(r, e) for e in range(speakers)], -1) for r in range(speakers)]
    permutation = best_permutation(-pairwise_si_sdr(estimates, references))
    return assigned(torch.stack(rows, 1), permutation).mean(-1)


def measure(options) -> dict:
    ours = built(options.separator, quick=options.quick).to(options.device).train()
    encoder = Linear() if options.quick else load_encoder(options.encoder, options.set)
    keep_bytes = 2**30 if options.kept else 0
    loss = EmbeddingLoss(encoder.to(options.device), ours.fs, keep_bytes=keep_bytes)
    baseline = copy.deepcopy(ours)
    seconds = 0.1 if options.quick else options.seconds
    batch = sources(options.batch, seconds, ours.fs, options.device)

    def stepping(separator, value_of):
        optimizer = torch.optim.Adam(separator.parameters(), 1e-7, fused=True)

        def step() -> float:
            value = value_of(separator(batch.sum(1)), batch).mean()
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            return float(value.detach())

        return step

    ways = [
        stepping(baseline, lambda estimates, said: per_pair(encoder, estimates, said)),
        stepping(ours, lambda estimates, said: loss(estimates, said).value),
    ]
    values = []
    for way in ways:
        torch.manual_seed(1)  # the dropout of both
        values.append(way())
    difference = abs(values[1] / values[0] - 1)
    check_near("losses", difference, LOSS)
    gradients = [
        torch.cat([weight.grad.flatten() for weight in separator.parameters()])
        for separator in (ours, baseline)
    ]
    check_near("gradients", largest_difference(*gradients), GRADIENT)
    taken = alternate(ways, options.rounds, 1, options.device)
    old, new = np.median(taken, axis=0)
    kept = ", embeddings of references kept" if options.kept else ""
    return keep(
        options,
        "finetune_step_kept" if options.kept else "finetune_step",
        Spread.of(taken[:, 0] / taken[:, 1]),
        SPEEDUP,
        against="encoder run per pair, references in the graph",
        dtype=FLOAT32,
        note=f"separator {options.separator}, encoder {encoder.name}, {options.batch} x "
        f"{seconds:g} s{kept}: {old:.3f} s, {new:.3f} s; losses equal to {difference:.1e}",
        packages=["transformers"],
    )


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    made = parser(__doc__, rounds=10, gpu=True)
    made.add_argument("separator", nargs="?", default="mini", help="a name in conf/separator")
    made.add_argument("encoder", nargs="?", default="whisper_tiny_en", help="in conf/encoder")
    made.add_argument("--batch", type=int, default=4)
    made.add_argument("--seconds", type=float, default=4.0, help="length of a mixture")
    made.add_argument("--kept", action="store_true", help="references that have come before")
    made.add_argument("--set", action="append", default=[], help="NAME=VALUE, of the encoder")
    return [measure(begin(made, arguments, apart=["kept"]))]


if __name__ == "__main__":
    main()
