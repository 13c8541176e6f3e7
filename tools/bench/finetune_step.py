#!/usr/bin/env python3
"""Time of a fine-tuning step, against losses that run the encoder for every pair or matched one.

    tools/bench/finetune_step.py mini whisper_tiny_en
    tools/bench/finetune_step.py mini whisper_tiny_en --kept   # of fixed mixtures, in a later pass

Both train the same separator in float32 with the ASR-encoder loss under guided PIT. Ours runs the
encoder once on all estimates and once, without gradient, on all references, unless their embeddings
are kept. The baseline runs it on both of every pair, with the references in the graph. As guided
PIT uses no other pairs than SI-SDR matches, ours is also measured against a loss that runs it on
these alone. Losses and gradients are shown to be equal.
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
from sepasr.loss.pit import assigned, best_permutation, reorder
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


def distance(encoder: nn.Module, estimate: Tensor, reference: Tensor) -> Tensor:
    """Of a pair of signals (batch, samples), each of which the encoder hears; (batch,)."""
    lengths = torch.full((len(reference),), reference.shape[-1], device=reference.device)
    said, counts = encoder(reference, lengths)
    heard, _ = encoder(estimate, lengths)
    return mean_square(heard, said, counts)


def per_pair(encoder: nn.Module, estimates: Tensor, references: Tensor) -> Tensor:
    """The loss of each mixture, (batch,), by the distances of all pairs."""
    references = references.detach().requires_grad_()
    rows = [
        torch.stack([distance(encoder, heard, said) for heard in estimates.unbind(1)], -1)
        for said in references.unbind(1)
    ]
    permutation = best_permutation(-pairwise_si_sdr(estimates, references))
    return assigned(torch.stack(rows, 1), permutation).mean(-1)


def matched(encoder: nn.Module, estimates: Tensor, references: Tensor) -> Tensor:
    """The same by those of the pairs that SI-SDR matches, which is taken first."""
    with torch.no_grad():
        permutation = best_permutation(-pairwise_si_sdr(estimates, references))
    references = references.detach().requires_grad_()
    pairs = zip(reorder(estimates, permutation).unbind(1), references.unbind(1), strict=True)
    return torch.stack([distance(encoder, *pair) for pair in pairs], -1).mean(-1)


def measure(options) -> list[dict]:
    ours = built(options.separator, quick=options.quick).to(options.device).train()
    encoder = Linear() if options.quick else load_encoder(options.encoder, options.set)
    keep_bytes = 2**30 if options.kept else 0
    loss = EmbeddingLoss(encoder.to(options.device), ours.fs, keep_bytes=keep_bytes)
    separators = [copy.deepcopy(ours), copy.deepcopy(ours), ours]
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

    values_of = [
        lambda estimates, said: per_pair(encoder, estimates, said),
        lambda estimates, said: matched(encoder, estimates, said),
        lambda estimates, said: loss(estimates, said).value,
    ]
    ways = [stepping(*pair) for pair in zip(separators, values_of, strict=True)]
    values = []
    for way in ways:
        torch.manual_seed(1)  # the dropout of all
        values.append(way())
    gradients = [
        torch.cat([weight.grad.flatten() for weight in separator.parameters()])
        for separator in separators
    ]
    differences = [abs(values[-1] / value - 1) for value in values[:-1]]
    for difference, gradient in zip(differences, gradients, strict=False):
        check_near("losses", difference, LOSS)
        check_near("gradients", largest_difference(gradients[-1], gradient), GRADIENT)
    taken = alternate(ways, options.rounds, 1, options.device)
    *old, new = np.median(taken, axis=0)
    name = "finetune_step_kept" if options.kept else "finetune_step"
    kept = ", embeddings of references kept" if options.kept else ""
    return [
        keep(
            options,
            name + behind,
            Spread.of(taken[:, number] / taken[:, -1]),
            SPEEDUP,
            against=f"encoder run per {pairs}, references in the graph",
            dtype=FLOAT32,
            note=f"separator {options.separator}, encoder {encoder.name}, {options.batch} x "
            f"{seconds:g} s{kept}: {old[number]:.3f} s, {new:.3f} s; losses equal to "
            f"{differences[number]:.1e}",
            packages=["transformers"],
        )
        for number, (behind, pairs) in enumerate([("", "pair"), ("_matched", "matched pair")])
    ]


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    made = parser(__doc__, rounds=10, gpu=True)
    made.add_argument("separator", nargs="?", default="mini", help="a name in conf/separator")
    made.add_argument("encoder", nargs="?", default="whisper_tiny_en", help="in conf/encoder")
    made.add_argument("--batch", type=int, default=4)
    made.add_argument("--seconds", type=float, default=4.0, help="length of a mixture")
    made.add_argument("--kept", action="store_true", help="references that have come before")
    made.add_argument("--set", action="append", default=[], help="NAME=VALUE, of the encoder")
    return measure(begin(made, arguments, apart=["kept"]))


if __name__ == "__main__":
    main()
