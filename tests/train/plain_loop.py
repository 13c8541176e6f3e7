"""The training of tiny_training written out as a loop, without Lightning: to compare with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tiny_training import TINY, Tones
from torch import Tensor, nn

from sepasr.data.batch import MixtureBatch, collate
from sepasr.loss.loss import Moment, SeparationLoss
from sepasr.loss.perturb import Drawn
from sepasr.loss.signal import SignalLoss
from sepasr.separator.model import Separator, SeparatorConfig

SEED, BATCH, LR = 3, 2, 1e-3
FS = 16000


class Frames(nn.Module):
    """An encoder of linear frames, another one for each name."""

    fs, distance = FS, "mse"

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.calls = name, 0
        generator = torch.Generator().manual_seed(ord(name))
        self.weight = torch.randn(8, 40, generator=generator) / 40**0.5

    def forward(
        self, waveform: Tensor, lengths: Tensor, perturb: Drawn | None = None
    ) -> tuple[Tensor, Tensor]:
        self.calls += 1
        if perturb is not None:
            waveform, lengths = perturb(waveform, lengths, 1.0)
        return waveform.unfold(1, 40, 40) @ self.weight.T, lengths // 40


def batch_of(number: int) -> MixtureBatch:
    tones = Tones()
    return collate([tones[index] for index in range(number * BATCH, (number + 1) * BATCH)])


def seed_of(number: int, *purpose: int) -> int:
    return int(np.random.SeedSequence([SEED, number, *purpose]).generate_state(1)[0])


def plain(
    steps: int,
    shape: SeparatorConfig = TINY,
    *,
    loss: SeparationLoss | None = None,
    lesson: Callable[[Separator, int, MixtureBatch], MixtureBatch] | None = None,
    penalty: Callable[[Separator], Tensor] | None = None,
    rate: Callable[[str], float] | None = None,
    after: Callable[[Separator], Any] | None = None,
) -> dict[str, Tensor]:
    """Adam at a constant rate.

    Args:
        steps: how many.
        shape: of the separator.
        loss: SI-SDR where it isn't given.
        lesson: what is learned in place of a batch, by the separator and the number of the batch.
        penalty: added to the loss.
        rate: by the name of a weight.
        after: called with the separator before the first and after every step.
    """
    torch.manual_seed(0)
    separator, loss = Separator(shape), loss or SignalLoss()
    groups = [
        {"params": [parameter], "lr": rate(name) if rate else LR}
        for name, parameter in separator.named_parameters()
    ]
    optimizer = torch.optim.Adam(groups if rate else list(separator.parameters()), LR, fused=True)
    if after:
        after(separator)
    for number in range(steps):
        batch = batch_of(number)
        if lesson:
            batch = lesson(separator, number, batch)
        torch.manual_seed(seed_of(number))
        estimates = separator(batch.mixture)
        loss.begin(Moment(number, seed_of(number, 1)))
        value = loss(estimates, batch.references).value
        total = value.sum() / len(value) + (penalty(separator) if penalty else 0)
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(separator.parameters(), 5.0)
        optimizer.step()
        if after:
            after(separator)
    return {name: value.clone() for name, value in separator.state_dict().items()}


def assert_near(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Weights of two ways to compute the same.

    The bias of an attention's keys is left out: it changes nothing, its gradient is rounding alone,
    and Adam makes steps of full length of that.
    """
    assert found.keys() == expected.keys()
    for name, value in found.items():
        if not name.endswith("attention.in_project.bias"):
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=5e-6)
