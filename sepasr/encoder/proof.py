"""What is proven of every encoder before a loss may use it.

Several public routes to these models return frames that look right and pass no gradient back, or
frames that depend on what else is in the batch. Neither shows in a training curve, so each encoder
is tried on a little noise when it is built.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sepasr.errors import UserError

if TYPE_CHECKING:
    from sepasr.encoder.base import AsrEncoder

TOLERANCE = 1e-4  # relative error of frames computed in another batch
SHARE = 0.6  # length of the shorter utterance of the trial, by the longer one's


def prove(encoder: AsrEncoder) -> None:
    """Prove that a model is frozen, differentiable, and blind to the rest of a batch.

    It hears a second of noise and 0.6 s of noise in one batch, or what its limits allow, then the
    shorter one alone.

    Raises:
        UserError: one of the proofs fails; the message names the cause.
    """
    prove_frozen(encoder)
    waveform, lengths = _trial(encoder)
    waveform.requires_grad_()
    with torch.enable_grad():
        frames, counts = encoder(waveform, lengths)
    _check_shape(encoder, frames, counts)
    _check_gradient(encoder, frames, waveform)
    _check_independence(encoder, frames.detach(), waveform.detach(), lengths)


def prove_frozen(encoder: AsrEncoder) -> None:
    """Check that nothing of a model can be trained, and that all of it is in eval mode.

    Raises:
        UserError: a parameter wants a gradient, or a module is in training mode.
    """
    for name, parameter in [*encoder.model.named_parameters(), *encoder.named_parameters()]:
        if parameter.requires_grad:
            remedy = "leave parameters as AsrEncoder sets them"
            raise _refused(encoder, f"the encoder isn't frozen: {name} is trainable", remedy)
    for name, module in encoder.model.named_modules():
        if module.training:
            what = f"the encoder isn't frozen: {name or 'the model'} is in training mode"
            raise _refused(encoder, what, "let eval() reach every module")


def _trial(encoder: AsrEncoder) -> tuple[Tensor, Tensor]:
    """Two utterances of noise, a longer and a shorter one, and their lengths."""
    shortest, longest = encoder.model.shortest, encoder.model.longest
    long = max(encoder.fs, ceil(shortest / SHARE))
    if longest is not None:
        long = min(long, longest)
    short = max(int(SHARE * long), shortest)
    generator = torch.Generator().manual_seed(0)
    waveform = 0.05 * torch.randn(2, long, generator=generator)
    return waveform.to(encoder.device), torch.tensor([long, short])


def _check_shape(encoder: AsrEncoder, frames: Tensor, counts: Tensor) -> None:
    given, counted = frames.shape[1], int(counts.max())
    if given != counted:
        what = f"the model gives {given} frames where its frame_lengths counts {counted}"
        raise _refused(encoder, what, "correct frame_lengths")


def _check_gradient(encoder: AsrEncoder, frames: Tensor, waveform: Tensor) -> None:
    # Random, because the mean square of layer-normed frames is nearly constant.
    generator = torch.Generator().manual_seed(1)
    projection = torch.randn(frames.shape, generator=generator).to(frames.device)
    gradient = None
    with torch.enable_grad():
        projected = (frames * projection).sum()
    if projected.requires_grad:
        (gradient,) = torch.autograd.grad(projected, waveform, allow_unused=True)
    cause = None
    if gradient is None:
        cause = "the model computes under no_grad or detaches its input"
    elif not gradient.isfinite().all():
        cause = "it is not finite"
    elif not gradient.any():
        cause = "it is zero everywhere"
    elif not gradient.any(1).all():
        cause = "it is zero for one utterance of a batch"
    if cause is not None:
        remedy = "such an encoder can't train a separator; take another source"
        raise _refused(encoder, f"no gradient reaches the waveform: {cause}", remedy)


def _check_independence(
    encoder: AsrEncoder, frames: Tensor, waveform: Tensor, lengths: Tensor
) -> None:
    short = int(lengths[1])
    with torch.no_grad():
        alone, counts = encoder(waveform[1:, :short], lengths[1:])
    _check_shape(encoder, alone, counts)
    difference = (frames[1, : alone.shape[1]] - alone[0]).norm()
    error = float(difference / alone.norm().clamp_min(torch.finfo(alone.dtype).tiny))
    # Written so that NaN is refused.
    if not error <= TOLERANCE:
        what = f"an utterance's frames depend on its batch: relative error {error:.1e}"
        remedy = "declare equal_lengths = True in its FrameModel, or mask the padding"
        if encoder.model.equal_lengths:
            remedy = "nothing in it may be random or remember an earlier call"
        raise _refused(encoder, what, remedy)


def _refused(encoder: AsrEncoder, what: str, remedy: str) -> UserError:
    return UserError(what, where=f"encoder {encoder.name}", remedy=remedy)
