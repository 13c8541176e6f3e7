"""The inference-only directory of a separator, from a training's checkpoint or from a directory."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch

from sepasr.errors import UserError
from sepasr.files import new_directory
from sepasr.foreign import read_pickle
from sepasr.separator.config import CONFIG, IN_CHECKPOINT, parse_description
from sepasr.separator.model import Separator
from sepasr.weights import load_exactly

PREFIX = "separator."
"""What the names of a separator's weights begin with in a training's checkpoint."""


def strip(source: str | Path, out: str | Path, dtype: str = "float32") -> Separator:
    """Write ``config.json``, ``model.safetensors`` and the model card, and prove them.

    What was written is loaded again, and must give on noise to the last bit what the source gives
    with its weights rounded to ``dtype``; until then nothing is at ``out``.

    Args:
        source: ``last.ckpt`` of a training, the folder it is in, or a separator's directory.
        out: directory to write to; it must be new or empty.
        dtype: how the weights are stored, one of :data:`sepasr.separator.config.DTYPES`.

    Returns:
        The separator that was loaded again.

    Raises:
        UserError: the source is none of these, is a pickle with code in it, lacks weights or has
            others; ``out`` holds something; or a weight is too large for ``dtype``.
    """
    separator = load(source)
    with new_directory(out) as folder:
        stored = getattr(torch, dtype)
        separator.save_pretrained(folder, stored)
        written = Separator.from_pretrained(folder)
        verify(rounded(separator, stored), written, source)
    return written


def load(source: str | Path) -> Separator:
    """The separator of a training's checkpoint, of its folder, or of a separator's directory.

    Raises:
        UserError: see :func:`strip`.
    """
    source = Path(source)
    if source.is_dir() and (source / CONFIG).is_file():
        return Separator.from_pretrained(source)
    from sepasr.train.average import AVERAGE
    from sepasr.train.checkpoint import LAST  # and Lightning with it

    path = source / LAST if source.is_dir() else source
    if not path.is_file():
        raise UserError(
            f"neither a {LAST} nor a {CONFIG}" if source.is_dir() else "no such file or directory",
            where=source,
            remedy="give a training's folder or checkpoint, or a separator's directory",
        )
    checkpoint = read_pickle(path)
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise UserError("no checkpoint of a training", where=path, remedy=f"give its {LAST}")
    if IN_CHECKPOINT not in checkpoint:
        raise UserError(
            "does not say which separator it trains",
            where=path,
            remedy="give final/ or a step's directory of that training, or resume it for a step",
        )
    config, provenance = parse_description(checkpoint[IN_CHECKPOINT], path)
    separator = Separator(config, provenance)
    state = checkpoint["state_dict"] | checkpoint.get(AVERAGE, {})
    # What isn't the separator's is shown in brackets, and refused with the rest.
    weights = {
        name.removeprefix(PREFIX) if name.startswith(PREFIX) else f"({name})": value
        for name, value in state.items()
    }
    remedy = "give a checkpoint of a separator's training, untouched"
    load_exactly(separator, weights, path, remedy=remedy)
    return separator.eval()


def rounded(separator: Separator, dtype: torch.dtype) -> Separator:
    """A copy whose weights went through ``dtype``."""
    copy = deepcopy(separator)
    with torch.no_grad():
        for value in copy.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.to(dtype))
    return copy


def verify(expected: Separator, written: Separator, where: str | Path) -> None:
    """Compare two separators on a second of noise.

    Raises:
        UserError: their estimates differ, or aren't finite.
    """
    generator = torch.Generator().manual_seed(0)
    mixture = torch.randn(1, expected.fs, generator=generator)
    with torch.inference_mode():
        before, after = expected.eval()(mixture), written.eval()(mixture)
    if not before.isfinite().all():
        raise UserError("its estimates are not finite", where=where, remedy="train it again")
    if not torch.equal(before, after):
        gap = (before - after).abs().max()
        raise UserError(f"what was written gives other estimates, by {gap:.1e}", where=where)
