"""Which hidden states of an encoder the loss compares: one, several, or a weighted sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum, isfinite
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sepasr.errors import UserError

if TYPE_CHECKING:
    from sepasr.encoder.base import EncoderConfig

LAST = "last"
SUM_TOLERANCE = 0.015  # weights written with two decimals


@dataclass(frozen=True)
class Layers:
    """The hidden states that a configuration asks for, of a model with a known number of layers.

    A number ``k`` is the state after k layers (0 is the input of the first), before any final
    norm; ``last`` is the model's final output. Negative numbers don't exist here: -1 is before the
    final norm in transformers and behind it in s3prl.

    Attributes:
        names: numbers in rising order, then ``last``.
        weights: what each state counts in the weighted sum, in the order of ``names``; None where
            the states stand side by side.
        highest: how many layers must be computed; those above can be dropped.
    """

    names: tuple[int | str, ...]
    weights: tuple[float, ...] | None
    highest: int

    @classmethod
    def of(cls, conf: EncoderConfig, num_layers: int) -> Layers:
        """Read ``conf.layer`` for a model of ``num_layers`` layers.

        Raises:
            UserError: it is malformed, or names a layer that the model lacks.
        """
        where = f"encoder {conf.name}"
        names, weights = _read(conf.layer, where)
        for name in names:
            if isinstance(name, int) and name > num_layers:
                cause = f"no layer '{name}' in a model of {num_layers} layers"
                raise UserError(cause, where=where, remedy=f"{_SINGLE} to {num_layers}, or {LAST}")
        highest = max(num_layers if isinstance(name, str) else name for name in names)
        return cls(names, weights, highest)

    @property
    def last(self) -> bool:
        """Whether the final output is among them."""
        return LAST in self.names

    def combine(self, states: Mapping[int | str, Tensor]) -> Tensor:
        """Make one embedding of the states.

        Args:
            states: (batch, frames, width) each, by name; those not asked for are left alone.

        Returns:
            (batch, frames, width): the only state, or the weighted sum. Several without weights
            stand side by side, (batch, frames, states * width), so that a mean over the
            dimensions weighs them alike.
        """
        chosen = [states[name] for name in self.names]
        if self.weights is not None:
            pairs = zip(self.weights, chosen, strict=True)
            return torch.stack([weight * state for weight, state in pairs]).sum(0)
        return chosen[0] if len(chosen) == 1 else torch.cat(chosen, dim=-1)


_SINGLE = "0 (input of the first layer)"


def check_form(layer: Any, where: str) -> None:
    """Check ``EncoderConfig.layer`` as far as it can be without a model.

    Raises:
        UserError: it is neither a number from 0 on, nor ``last``, nor a list of these, nor a
            mapping of these to weights that are positive and sum to 1.
    """
    _read(layer, where)


def _read(layer: Any, where: str) -> tuple[tuple[int | str, ...], tuple[float, ...] | None]:
    """Names in order, and their weights if any."""
    if isinstance(layer, Mapping):
        given = list(layer)
    else:
        given = list(layer) if isinstance(layer, list | tuple) else [layer]
    for name in given:
        _check_name(name, where)
    if not given or len(set(given)) < len(given):
        cause = f"layer {layer}: " + ("a layer is named twice" if given else "no layer is named")
        raise UserError(cause, where=where, remedy="name each layer once, such as [6, 9, last]")
    names = tuple(sorted(given, key=lambda name: (isinstance(name, str), name)))
    if not isinstance(layer, Mapping):
        return names, None
    weights = [layer[name] for name in names]
    if not all(_is_weight(weight) for weight in weights):
        remedy = "weights above 0, such as {6: 0.25, last: 0.75}"
        raise UserError(f"layer {layer}: not a weighting", where=where, remedy=remedy)
    # Besides slips of the pen this finds a mapping that was laid over another one: configurations
    # are merged, so the names of both are in it.
    if abs(fsum(weights) - 1) > SUM_TOLERANCE:
        cause = f"layer {layer}: the weights sum to {fsum(weights):.4g}, not 1"
        remedy = "a mapping laid over another keeps the other's layers; write it in one file"
        raise UserError(cause, where=where, remedy=remedy)
    return names, tuple(float(weight) for weight in weights)


def _is_weight(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and isfinite(value) and value > 0


def _check_name(name: Any, where: str) -> None:
    if name == LAST or (isinstance(name, int) and not isinstance(name, bool) and name >= 0):
        return
    cause = f"no layer '{name}'"
    if isinstance(name, int) and name < 0:
        cause = f"layer {name}: libraries differ in what a negative number means"
    raise UserError(cause, where=where, remedy=f"{_SINGLE} and up, or {LAST} (the final output)")
