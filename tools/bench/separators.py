"""Separators of the benchmarks: ours and the plain reading of the same network, as equals."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from paired import ROOT, check_near
from torch import Tensor

from sepasr.config import load_config
from sepasr.loss.si_sdr import si_sdr
from sepasr.loss.signal import SignalLoss
from sepasr.separator.model import Separator, SeparatorConfig

sys.path.append(str(ROOT / "tests" / "separator"))
from plain_tdconformer import largest_difference, plain

FLOAT32, BFLOAT16 = "float32", "bfloat16"
TINY = {"channels": 16, "width": 16, "hidden": 16, "heads": 2, "layers": 1, "depthwise_kernel": 4}
EQUAL = 1e-4
"""Largest difference of two outputs in float32, over the largest sample."""


def built(size: str, overrides: Sequence[str] = (), *, quick: bool = False) -> Separator:
    """A separator of ``conf/separator`` with new weights; a tiny one where it is quick."""
    config = load_config(SeparatorConfig, [ROOT / "conf/separator" / f"{size}.yaml"], overrides)
    torch.manual_seed(0)
    return Separator(replace(config, **TINY) if quick else config)


def plain_of(separator: Separator) -> Separator:
    """The baseline, with weights of its own that are the same."""
    return plain(separator)


def check_outputs(ours: Separator, baseline: Separator, seconds: float = 0.25) -> float:
    """Largest relative difference of what both make of noise, without dropout, in float32.

    Raises:
        UnequalError: it is above :data:`EQUAL`.
    """
    mixture = sources(1, seconds, ours.fs, device_of(ours)).sum(1)
    training = ours.training
    with torch.no_grad():
        found, expected = ours.eval()(mixture), baseline.eval()(mixture)
    ours.train(training)
    baseline.train(training)
    difference = largest_difference(found, expected)
    check_near("outputs of the separators", difference, EQUAL)
    return difference


def device_of(separator: Separator) -> str:
    return next(separator.parameters()).device.type


def sources(batch: int, seconds: float, fs: int, device: str = "cpu", seed: int = 0) -> Tensor:
    """Two sounds of a batch, (batch, 2, samples): noise of low and of high frequencies.

    That is easy to learn, so that a loss curve has a slope.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(batch, 2, round(seconds * fs) + 8, generator=generator)
    low = noise[:, 0].unfold(-1, 9, 1).mean(-1)
    high = noise[:, 1].diff(n=2)[:, : low.shape[-1]] / 3
    return torch.stack([low, high], 1).to(device) / 10


def stepper(
    separator: Separator, dtype: str, *, fused: bool, lr: float = 1e-3
) -> Callable[[Tensor], float]:
    """A training step: references (batch, speakers, samples) to the loss in dB before the step.

    Forward, SI-SDR under PIT in float32, backward, clipping, Adam.
    """
    optimizer = torch.optim.Adam(separator.parameters(), lr, fused=fused)
    loss, device = SignalLoss(), device_of(separator)

    def step(references: Tensor) -> float:
        with torch.autocast(device, torch.bfloat16, enabled=dtype == BFLOAT16):
            estimates = separator(references.sum(1))
        value = loss(estimates.float(), references).value.mean()
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(separator.parameters(), 5.0)
        optimizer.step()
        return float(value.detach())

    return step


def agreement_db(found: Tensor, expected: Tensor) -> float:
    """The lowest SI-SDR of (..., samples) against another."""
    return float(si_sdr(found.float(), expected.float()).min())
