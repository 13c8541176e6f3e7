"""Training mixtures: one, and a batch of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class MixtureItem:
    """A training mixture (samples,) and its references (speakers, samples), float32.

    Attributes:
        mixture, references: as above.
        utterances: where a speaker says several things, each for itself, (utterances, samples).
        spans: first sample of each, and the one after its last, (utterances, 2).
        length: samples before the padding; None where there is none.
    """

    mixture: np.ndarray
    references: np.ndarray
    utterances: np.ndarray | None = None
    spans: np.ndarray | None = None
    length: int | None = None


@dataclass(frozen=True)
class MixtureBatch:
    """Mixtures (batch, samples) and references (batch, speakers, samples), all equally long.

    Attributes:
        mixture, references: as above.
        utterances: (batch, utterances, samples), where a speaker says several things.
        spans: where each of them is, (batch, utterances, 2).
        lengths: samples before the padding, (batch,); None where nothing is padded.
    """

    mixture: Tensor
    references: Tensor
    utterances: Tensor | None = None
    spans: Tensor | None = None
    lengths: Tensor | None = None

    def to(self, device: torch.device, non_blocking: bool = False) -> MixtureBatch:
        """Move to a device."""
        tensors = (self.mixture, self.references, self.utterances, self.spans, self.lengths)
        moved = [t if t is None else t.to(device, non_blocking=non_blocking) for t in tensors]
        return MixtureBatch(*moved)  # type: ignore[arg-type]


def collate(items: Sequence[MixtureItem]) -> MixtureBatch:
    """Stack items of equal length, and of equally many utterances; for a ``DataLoader``."""
    names = ["mixture", "references"]
    if items[0].utterances is not None:
        names += ["utterances", "spans"]
    tensors = {
        name: torch.from_numpy(np.stack([getattr(item, name) for item in items])) for name in names
    }
    if any(item.length is not None for item in items):
        lengths = [len(item.mixture) if item.length is None else item.length for item in items]
        tensors["lengths"] = torch.tensor(lengths)
    return MixtureBatch(**tensors)
