"""The signal-level loss: negative SI-SDR under utterance-level PIT."""

from __future__ import annotations

from torch import Tensor, device

from sepasr.loss.loss import Loss, Moment
from sepasr.loss.pit import assigned, best_permutation
from sepasr.loss.si_sdr import pairwise_si_sdr


class SignalLoss:
    """Mean negative SI-SDR, in dB, over the speakers under the best permutation."""

    def __call__(
        self, estimates: Tensor, references: Tensor, lengths: Tensor | None = None
    ) -> Loss:
        """See :class:`sepasr.loss.loss.SeparationLoss`."""
        pairwise = -pairwise_si_sdr(estimates, references, lengths)
        permutation = best_permutation(pairwise)
        value = assigned(pairwise, permutation).mean(-1)
        return Loss(value, permutation, {"si_sdr": -value.detach()})

    def begin(self, moment: Moment) -> None:
        """It is the same at every moment."""

    def to(self, device: device) -> SignalLoss:
        """Nothing to move."""
        return self
