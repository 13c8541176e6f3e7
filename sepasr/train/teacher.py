"""Training without references: what another separator makes of the mixtures stands in for them."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, device

from sepasr.loss.signal import SignalLoss
from sepasr.separator.model import Separator

TEACHER = "teacher"
"""Where a checkpoint has the teacher's weights, and the kind of teacher that never changes."""
EMA, REMIX = "ema", "remix"


@dataclass(frozen=True)
class Lesson:
    """What a separator is to learn from a batch.

    Attributes:
        mixture: (batch, samples).
        targets: in place of references, (batch, speakers, samples).
        si_sdr: of the teacher's own estimates against the references, (batch,) in dB: for the log
            alone.
    """

    mixture: Tensor
    targets: Tensor
    si_sdr: Tensor


class Teacher:
    """A separator whose estimates stand in for the references.

    Args:
        student: what is trained; the teacher begins as a copy of it.
        kind: ``teacher`` stays as it is; ``ema`` follows the student as a moving average; ``remix``
            does too, and its estimates are mixed anew, each speaker's from another mixture of the
            batch (RemixIT: Tzinis et al., arXiv 2202.08862). What the teacher leaves over, noise
            and reverberation, is mixed in as a further source.
        decay: of the moving average, per step; 1 lets the teacher stay as it is.
        noise_db: level of the mixture over white noise that the student alone hears; None adds
            none. A teacher that is a copy, and hears the same, has nothing to teach.

    It is no module, so that it is neither trained nor exported with the student.
    """

    def __init__(
        self, student: Separator, kind: str, decay: float, noise_db: float | None = None
    ) -> None:
        self.student, self.kind = student, kind
        self.decay = 1.0 if kind == TEACHER else decay
        self.noise_db = noise_db
        self.separator = deepcopy(student).requires_grad_(False).eval()
        self.signal_loss = SignalLoss()

    @property
    def mixes(self) -> bool:
        """Whether its mixtures are others than those it is given."""
        return self.kind == REMIX

    def to(self, device: device) -> Teacher:
        """Move the separator."""
        self.separator.to(device)
        return self

    @torch.no_grad()
    def lesson(
        self, mixture: Tensor, references: Tensor, seed: int, lengths: Tensor | None = None
    ) -> Lesson:
        """Make mixtures and targets.

        Args:
            mixture: (batch, samples).
            references: (batch, speakers, samples); only compared with, for the log.
            seed: of the order in which sources are mixed anew, and of the noise.
            lengths: valid samples, (batch,).
        """
        targets = self.separator(mixture)
        si_sdr = self.signal_loss(targets, references, lengths).parts["si_sdr"]
        if self.mixes:
            mixture, targets = remixed(mixture, targets, seed)
        if self.noise_db is not None:
            mixture = noisy(mixture, self.noise_db, seed, None if self.mixes else lengths)
        return Lesson(mixture, targets, si_sdr)

    @torch.no_grad()
    def update(self) -> None:
        """Follow the student, after its step."""
        if self.decay == 1:
            return
        mine: list[Tensor] = list(self.separator.parameters())
        theirs: list[Tensor] = list(self.student.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - self.decay)
        for own, other in zip(self.separator.buffers(), self.student.buffers(), strict=True):
            own.copy_(other)

    def state_dict(self) -> dict[str, Tensor]:
        """What can't be had from the student's first weights again."""
        return {} if self.decay == 1 else self.separator.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on with a teacher that was kept."""
        if self.decay != 1:
            self.separator.load_state_dict(state)


def noisy(mixture: Tensor, level_db: float, seed: int, lengths: Tensor | None = None) -> Tensor:
    """Mixtures (batch, samples) that are so many dB over white noise that is added to each.

    Beyond its length, (batch,), a mixture is zero, and takes no part in its level.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(mixture.shape, generator=generator).to(mixture)
    samples = mixture.shape[-1] if lengths is None else lengths[:, None]
    power = mixture.square().sum(-1, keepdim=True) / samples
    return mixture + noise * (power * 10 ** (-level_db / 10)).sqrt()


def remixed(mixture: Tensor, estimates: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Mixtures of estimates from several mixtures of a batch.

    Each of a mixture's sources, and what is left of it without them, takes a place in a random
    order of its own.

    Args:
        mixture: (batch, samples).
        estimates: (batch, speakers, samples).
        seed: of the orders.

    Returns:
        Mixtures, and the estimates that each is made of.
    """
    generator = torch.Generator().manual_seed(seed)
    left = mixture - estimates.sum(1)
    sources = [
        source[torch.randperm(len(mixture), generator=generator).to(mixture.device)]
        for source in (*estimates.unbind(1), left)
    ]
    targets = torch.stack(sources[:-1], 1)
    return targets.sum(1) + sources[-1], targets
