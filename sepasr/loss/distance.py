"""How the frames of an estimate and of a reference are compared."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from sepasr.errors import UserError
from sepasr.lengths import within
from sepasr.loss.soft_dtw import soft_alignment_cost

GAMMA = 0.1
"""Softness of ``soft_dtw``, in units of the reference frames' variance. Meghanani and Hain use 0.1
for frames of unit length (LASER, arXiv 2406.09153), whose variance is 1 at most."""

NO_VARIANCE = 1e-8
"""Least variance of a reference that ``soft_dtw`` divides by: constant frames align anyhow."""

NO_NORM = 1e-12
"""Sum of squares up to which a frame has no direction for ``cosine``."""


class Distance(Protocol):
    """A distance of frames, 0 for equal ones."""

    def __call__(self, estimate: Tensor, reference: Tensor, frame_lengths: Tensor) -> Tensor:
        """Compare frames; what lies beyond an utterance's own plays no part, not even NaN.

        Args:
            estimate: (..., frames, width).
            reference: of the same number of frames and dimensions, (...) broadcastable.
            frame_lengths: valid frames of both, broadcastable to (...); an utterance of none has
                distance 0.

        Returns:
            (...), float32: per frame, whatever the number of frames and dimensions.
        """
        ...


def mean_square(estimate: Tensor, reference: Tensor, frame_lengths: Tensor) -> Tensor:
    """Mean of the squared difference, over frames and dimensions: the paper's. See ``Distance``."""
    difference = _valid(estimate, frame_lengths) - _valid(reference, frame_lengths)
    return _mean(difference.square().mean(-1), frame_lengths)


def mean_absolute(estimate: Tensor, reference: Tensor, frame_lengths: Tensor) -> Tensor:
    """Mean of the absolute difference, over frames and dimensions. See ``Distance``."""
    difference = _valid(estimate, frame_lengths) - _valid(reference, frame_lengths)
    return _mean(difference.abs().mean(-1), frame_lengths)


def cosine(estimate: Tensor, reference: Tensor, frame_lengths: Tensor) -> Tensor:
    """1 - cosine of the angle between two frames, 0 to 2, mean over the frames. See ``Distance``.

    A frame of zeros has no direction: its distance from any other is 1, that of a right angle, with
    a gradient of zero.
    """
    estimate, reference = _valid(estimate, frame_lengths), _valid(reference, frame_lengths)
    product = (estimate * reference).sum(-1)
    norms = [frames.square().sum(-1) for frames in (estimate, reference)]
    directed = (norms[0] > NO_NORM) & (norms[1] > NO_NORM)
    lengths = [torch.where(directed, norm, 1.0).sqrt() for norm in norms]
    cosines = torch.where(directed, product, 0.0) / (lengths[0] * lengths[1])
    return _mean(_valid(1 - cosines[..., None], frame_lengths)[..., 0], frame_lengths)


def soft_dtw(estimate: Tensor, reference: Tensor, frame_lengths: Tensor) -> Tensor:
    """Divergence of soft dynamic time warping, per frame of the reference. See ``Distance``.

    A mean square compares frames at the same place, and part of what a transformer's frames say is
    their place; an alignment compares what was said, wherever it is (Meghanani and Hain,
    "Position-invariant fine-tuning of speech enhancement models with self-supervised speech
    representations", arXiv 2601.21084).

    The cost of a pair of frames is the mean over dimensions of their squared difference. Soft-DTW
    by itself is neither 0 for equal sequences nor least there: the softer, the lower it is for
    smoothed ones. Therefore the divergence of Blondel, Mensch and Vert (arXiv 2010.08354) is used,
    S(x, y) - (S(x, x) + S(y, y)) / 2: 0 for equal sequences, with a gradient of zero. For a small
    gamma, and frames that are aligned as they are, it is the mean square.

    Gamma is ``GAMMA`` times the variance of the reference's frames around their mean over time. A
    fixed one would be hard for an encoder with large numbers, and for one with small numbers so
    soft that every alignment counts alike; this way a factor on all frames is its square on the
    distance, as with the mean square.
    """
    with torch.autocast(estimate.device.type, enabled=False):
        estimate, reference = _valid(estimate, frame_lengths), _valid(reference, frame_lengths)
        # It leaves every difference as it is, and loses fewer digits of those of large numbers.
        centre = _mean_over_frames(reference.detach(), frame_lengths)
        estimate, reference = estimate - centre, reference - centre
        spread = _valid(reference.detach(), frame_lengths).square().mean(-1)
        gamma = GAMMA * _mean(spread, frame_lengths).clamp_min(NO_VARIANCE)
        pairs = ((estimate, reference), (estimate, estimate), (reference, reference))
        costs = [_costs(*pair) / gamma[..., None, None] for pair in pairs]
        shape = torch.broadcast_shapes(*(cost.shape[:-2] for cost in costs))
        batch = torch.stack([cost.expand(shape + cost.shape[-2:]) for cost in costs])
        lengths = frame_lengths.expand(batch.shape[:-2])
        value = soft_alignment_cost(batch.flatten(0, -3), lengths.flatten()).view(lengths.shape)
        across, own_estimate, own_reference = value
        divergence = across - (own_estimate + own_reference) / 2
        return divergence * gamma / frame_lengths.clamp_min(1)


DISTANCES: dict[str, Distance] = {
    "mse": mean_square,
    "l1": mean_absolute,
    "cosine": cosine,
    "soft_dtw": soft_dtw,
}


def named_distance(name: str, where: str) -> Distance:
    """The distance of that name.

    Args:
        name: a key of ``DISTANCES``.
        where: who asks for it, for the message.

    Raises:
        UserError: there is none.
    """
    if name not in DISTANCES:
        cause = f"unknown distance '{name}'"
        raise UserError(cause, where=where, remedy=f"known: {', '.join(DISTANCES)}")
    return DISTANCES[name]


def _valid(frames: Tensor, frame_lengths: Tensor) -> Tensor:
    """Frames as float32, zero beyond an utterance's own."""
    valid = within(frame_lengths, frames.shape[-2])
    return frames.float().masked_fill(~valid[..., None], 0.0)


def _mean(per_frame: Tensor, frame_lengths: Tensor) -> Tensor:
    """Mean over the valid frames of what is zero beyond them, (..., frames) to (...)."""
    return per_frame.sum(-1) / frame_lengths.clamp_min(1)


def _mean_over_frames(frames: Tensor, frame_lengths: Tensor) -> Tensor:
    """The same for vectors, (..., frames, width) to (..., 1, width)."""
    return frames.sum(-2, keepdim=True) / frame_lengths.clamp_min(1)[..., None, None]


def _costs(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared difference of every two frames, (..., frames, frames)."""
    squares = first.square().mean(-1)[..., :, None] + second.square().mean(-1)[..., None, :]
    return squares - 2 * (first @ second.transpose(-1, -2)) / first.shape[-1]
