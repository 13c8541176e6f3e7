"""Embeddings of references that come again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Frames = tuple[Tensor, Tensor]
"""Frames (batch, speakers, frames, width) and their number (batch, speakers)."""


class KeptEmbeddings:
    """Keeps what an encoder has made of each mixture's references, by what is in them.

    Each mixture is embedded by itself, whatever batch it is in: training that is interrupted, and
    finds nothing kept, gets the same to the last bit. What has been kept stays: passes come in
    other orders, and what came longest ago is what comes soonest.

    Args:
        most_bytes: how much is kept, in each process.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        self._kept: dict[bytes, Frames] = {}

    def embed(
        self,
        references: Tensor,
        lengths: Tensor,
        encode: Callable[[Tensor, Tensor], Frames],
    ) -> Frames:
        """Frames of references, from ``encode`` where they are not kept.

        Args:
            references: (batch, speakers, samples).
            lengths: valid samples, (batch,).
            encode: gives frames and their number for signals of such a shape, without gradient.
        """
        found = [
            self._one(references[n : n + 1], lengths[n : n + 1], encode)
            for n in range(len(references))
        ]
        longest = max(frames.shape[2] for frames, _ in found)
        padded = [F.pad(frames, (0, 0, 0, longest - frames.shape[2])) for frames, _ in found]
        frames, counts = torch.cat(padded), torch.cat([counts for _, counts in found])
        return frames.to(references.device), counts.to(references.device)

    def _one(
        self, references: Tensor, lengths: Tensor, encode: Callable[[Tensor, Tensor], Frames]
    ) -> Frames:
        key = _digest(references, lengths)
        if key in self._kept:
            return self._kept[key]
        frames, counts = encode(references, lengths)
        made = frames.cpu(), counts.cpu()
        if self.bytes + _size(made) <= self.most_bytes:
            self._kept[key] = made
            self.bytes += _size(made)
        return made


def _digest(references: Tensor, lengths: Tensor) -> bytes:
    said = hashlib.blake2b(repr((tuple(references.shape), lengths.tolist())).encode())
    said.update(references.detach().cpu().numpy().tobytes())
    return said.digest()


def _size(made: Frames) -> int:
    return sum(part.numel() * part.element_size() for part in made)
