"""What every loss of separation takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, device


@dataclass(frozen=True)
class Loss:
    """A loss per mixture and how it came about.

    Attributes:
        value: (batch,), float32; what training averages.
        permutation: (batch, speakers), int64; the estimate assigned to each reference.
        parts: named components for the log, (batch,) each, without gradient.
    """

    value: Tensor
    permutation: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Moment:
    """Where training stands when a batch is compared.

    Attributes:
        step: optimiser steps that are done; alike on all devices.
        seed: of what is drawn for the batch; another one for each batch and device.
        training: False in a validation, where nothing is drawn and every encoder is heard.
    """

    step: int = 0
    seed: int = 0
    training: bool = True


class SeparationLoss(Protocol):
    """A function of estimates and references under some assignment of speakers."""

    def __call__(
        self, estimates: Tensor, references: Tensor, lengths: Tensor | None = None
    ) -> Loss:
        """Compare estimates with references.

        Args:
            estimates: (batch, speakers, samples), floating-point.
            references: likewise, of the same shape.
            lengths: valid samples of each item, (batch,), integers; all of them without.

        Raises:
            TypeError, ValueError: see :func:`sepasr.loss.signals.check_signals`.
            NotFinite: what is compared holds NaN (:class:`sepasr.loss.pit.NotFinite`).
        """
        ...

    def begin(self, moment: Moment) -> None:
        """Hear, before each batch, of which moment it is."""
        ...

    def to(self, device: device) -> SeparationLoss:
        """Move what the loss holds (an encoder) to a device."""
        ...


def items_above(value: Tensor, threshold_db: float | None) -> Tensor:
    """Losses of the items that are not yet good enough.

    Args:
        value: loss per item, (batch,), in dB.
        threshold_db: items whose loss is below are left out (-30 in the paper); None keeps all.

    Returns:
        (kept,). A selection, not a product with a mask: 0 x NaN of an item that is left out would
        be NaN. The sum of none is 0, with a zero gradient.
    """
    return value if threshold_db is None else value[value.detach() >= threshold_db]
