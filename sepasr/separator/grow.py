"""More speakers for a separator that is there: its weights are the start of a new training."""

from __future__ import annotations

import torch

from sepasr.errors import UserError
from sepasr.separator.config import SeparatorConfig
from sepasr.separator.model import Separator
from sepasr.separator.networks import TD_CONFORMER

MASK = ("separator.mask.weight", "separator.mask.bias")
"""The layer with rows for each speaker, those of the first one before those of the second."""


def grow(separator: Separator, num_speakers: int) -> Separator:
    """A separator of more speakers with the weights of one of fewer.

    The rows of the mask layer are repeated, speaker by speaker; all else is taken over. The streams
    that begin alike part in training: PIT gives each a reference of its own.

    Args:
        separator: a TD-Conformer.
        num_speakers: of the new one; for as many as it has, it is given back as it is.

    Raises:
        UserError: it has more speakers already, or is another network.
    """
    config = separator.config
    if num_speakers == config.num_speakers:
        return separator
    if num_speakers < config.num_speakers:
        raise UserError(
            f"a separator of {config.num_speakers} speakers can't have {num_speakers}",
            remedy="start from one with fewer, or train a new one",
        )
    if config.network != TD_CONFORMER:
        raise UserError(
            f"it isn't known which weights of the network {config.network} belong to a speaker",
            remedy=f"grow a {TD_CONFORMER}, or train a new separator",
        )
    settings = {**config.settings(), "num_speakers": num_speakers}
    with torch.random.fork_rng():  # new weights are drawn, and none of them stays
        grown = Separator(SeparatorConfig(**settings), separator.provenance)
    weights = separator.state_dict()
    for name in MASK:
        rows = weights[name].unflatten(0, (config.num_speakers, -1))
        speakers = torch.arange(num_speakers) % config.num_speakers
        weights[name] = rows[speakers].flatten(0, 1)
    grown.load_state_dict(weights)
    return grown.train(separator.training)
