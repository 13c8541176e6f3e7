"""What a training takes of memory and disk, counted without running it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sepasr.separator.model import Separator, SeparatorConfig
from sepasr.train.best import BEST
from sepasr.train.objective import TRUE
from sepasr.train.recipe import TrainConfig
from sepasr.train.teacher import EMA, REMIX

BYTES_PER_PARAMETER = 16
"""Weights, gradients and Adam's two moments, in float32."""
CHECKPOINT_BYTES_PER_PARAMETER = 12
BYTES_PER_COPY = 4
"""Of each parameter, where weights are kept once more."""


@dataclass(frozen=True)
class Copies:
    """How often a training keeps weights besides those that it trains.

    Attributes:
        memory: in memory, on each device.
        checkpoint: in a checkpoint.
    """

    memory: int
    checkpoint: int

    @classmethod
    def of(cls, config: TrainConfig) -> Copies:
        """Those of an average, a teacher, and a start to stay near."""
        loss, fit = config.loss, config.fit
        average, teacher, stay = fit.average > 0, loss.references != TRUE, fit.stay > 0
        best = fit.keep == BEST  # in the memory of the CPU
        follows = loss.references in (EMA, REMIX) and loss.ema_decay < 1
        return cls(average + teacher + stay, average + follows + best)


@dataclass(frozen=True)
class Footprint:
    """What a training takes.

    Attributes:
        parameters: of the separator.
        activations: bytes of what the forward pass of one batch keeps for the backward pass.
        flops: floating-point operations of one training step, the backward pass counted as two
            forward passes.
    """

    parameters: int
    activations: int
    flops: int

    @property
    def memory(self) -> int:
        """Bytes for weights, gradients, optimiser and activations, in float32.

        Work space of the kernels, the encoder of an embedding loss, and :class:`Copies` come on
        top.
        """
        return BYTES_PER_PARAMETER * self.parameters + self.activations

    @property
    def checkpoint(self) -> int:
        """Bytes of a checkpoint to resume from, without :class:`Copies`."""
        return CHECKPOINT_BYTES_PER_PARAMETER * self.parameters


def footprint(
    config: SeparatorConfig,
    batch: int,
    samples: int,
    *,
    checkpoint_activations: bool = False,
) -> Footprint:
    """Count on tensors that have shapes, but no contents.

    Args:
        config: the shape of a TD-Conformer; of other networks only the parameters are counted, by
            :func:`count_parameters`.
        batch: mixtures.
        samples: of each mixture.
        checkpoint_activations: each layer's are computed again in the backward pass, so that those
            of one layer at a time are kept.
    """
    config = _without_seeds(config)
    kept = _kept(config, batch, samples)
    if checkpoint_activations:
        inputs = _kept(config, batch, samples, checkpoint_activations=True)
        kept = inputs + (kept - inputs) // config.layers
    with FakeTensorMode():
        parameters = count_parameters(config)
    return Footprint(parameters, kept, 3 * forward_flops(config, batch, samples))


def forward_flops(config: SeparatorConfig, batch: int, samples: int) -> int:
    """Floating-point operations of a forward pass; arguments are those of :func:`footprint`."""
    # The counter doesn't know a CPU's fused attention.
    operations = FlopCounterMode(display=False)
    with FakeTensorMode(), operations, sdpa_kernel(SDPBackend.MATH):
        _forward(Separator(_without_seeds(config)), batch, samples)
    return operations.get_total_flops()


def _without_seeds(config: SeparatorConfig) -> SeparatorConfig:
    """Attention keeps no more with dropout than without, but draws a seed, which has contents."""
    return replace(config, attention_dropout=0.0)


def count_parameters(config: SeparatorConfig) -> int:
    """Parameters of a separator, of whichever network."""
    return sum(parameter.numel() for parameter in Separator(config).parameters())


def _kept(
    config: SeparatorConfig, batch: int, samples: int, *, checkpoint_activations: bool = False
) -> int:
    """Bytes that a forward pass keeps for the backward pass."""
    kept: dict[int, Tensor] = {}  # by storage; holding the tensors keeps the keys from recurring

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with FakeTensorMode():
        separator = Separator(config).train()
        separator.separator.checkpoint_activations = checkpoint_activations
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            _forward(separator, batch, samples)
        for parameter in separator.parameters():
            kept.pop(parameter.untyped_storage()._cdata, None)
        return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _forward(separator: Separator, batch: int, samples: int) -> None:
    encoded, frames = separator.encoder(torch.zeros(batch, samples), torch.full((batch,), samples))
    for masked in separator.separator(encoded, frames)[0]:
        # The decoder itself would ask a tensor without contents for the length to cut to.
        separator.decoder.convtrans1d(masked.transpose(1, 2)).square()
