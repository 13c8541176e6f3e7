"""Weights into modules, every one of them accounted for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sepasr.errors import UserError
from sepasr.models import PICKLED_WEIGHTS, hub_model

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig

# Masking of the input, which happens in training alone; without it no weights are missing for it.
UNMASKED = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}


def pretrained_config(model: Path | str, **overrides: Any) -> Any:
    """Read a Hugging Face model's configuration.

    Args:
        model: directory, or name on the hub.
        overrides: values that replace the stored ones.

    Returns:
        The ``PretrainedConfig`` of the model's type.

    Raises:
        UserError: there is none, or it isn't readable.
    """
    from transformers import AutoConfig

    with _loading(model):
        return AutoConfig.from_pretrained(model, **overrides)


def pretrained_model(cls: Any, model: Path | str, config: PretrainedConfig, **options: Any) -> Any:
    """Load a Hugging Face model, with every weight accounted for and no pickle executed.

    Safetensors are preferred; where there are none, ``pytorch_model.bin`` is read if it holds
    nothing but tensors. ``from_pretrained`` fills in random numbers where a weight is missing and
    only warns; here that is an error. Weights that the class has no use for (a head, a decoder)
    are left in the file.

    Args:
        cls: class of ``transformers`` that has ``from_pretrained``.
        model: directory, or name on the hub.
        config: configuration to build the model with.
        options: further arguments of ``from_pretrained``, such as ``revision``.

    Returns:
        The model that ``cls`` makes, in float32 and in eval mode.

    Raises:
        UserError: the model can't be loaded, or lacks weights.
    """
    import torch

    revision = options.pop("revision", None)
    folder = hub_model(model, revision) if isinstance(model, str) else model
    pickled = _checked_pickles(folder)
    with _loading(model):
        loaded, info = cls.from_pretrained(
            folder,
            config=config,
            use_safetensors=not pickled,
            weights_only=True,
            dtype=torch.float32,
            output_loading_info=True,
            **options,
        )
    if missing := sorted(info["missing_keys"]):
        cause = f"{len(missing)} weights of {type(loaded).__name__} are missing: {missing[0]}, ..."
        raise UserError(cause, where=model, remedy="it is another network, or incomplete")
    return loaded


def _checked_pickles(folder: Path) -> bool:
    """Whether the weights are in pickles, which are then safe; safetensors go before them."""
    from sepasr.foreign import check_pickle

    if any(folder.glob("*.safetensors")):
        return False
    pickles = sorted(folder.glob(PICKLED_WEIGHTS))
    for file in pickles:
        check_pickle(file)
    return bool(pickles)


def load_strictly(module: nn.Module, path: Path) -> None:
    """Give a module the weights in a safetensors file, as float32: all of them and no others.

    Raises:
        UserError: the file can't be read, or holds weights that are not finite, or those of
            another network.
    """
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except Exception as error:  # noqa: BLE001 - safetensors has no public base class of errors
        remedy = "get or train it again"
        raise UserError(f"not a safetensors file: {error}", where=path, remedy=remedy) from None
    spoilt = next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)
    if spoilt is not None:
        what, remedy = f"weights that are not finite, such as '{spoilt}'", "get or train it again"
        raise UserError(what, where=path, remedy=remedy)
    load_exactly(
        module,
        {name: tensor.float() for name, tensor in tensors.items()},
        path,
        remedy="use the configuration it was trained with",
    )


def load_exactly(
    module: nn.Module, weights: Mapping[str, Tensor], where: str | Path, *, remedy: str
) -> None:
    """Give a module its weights: all of them and no others.

    Args:
        module: to be given the weights.
        weights: names and tensors.
        where: the file they come from, for the message.
        remedy: what to do where they don't fit.

    Raises:
        UserError: a name or a shape differs.
    """
    shapes, found = (
        {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        for tensors in (module.state_dict(), weights)
    )
    wrong = sorted(n for n in shapes.keys() | found.keys() if shapes.get(n) != found.get(n))
    if wrong:
        first = wrong[0]
        raise UserError(
            f"weights of another network: {len(wrong)} tensors differ, first '{first}': "
            f"{found.get(first, 'nothing')}, not {shapes.get(first, 'nothing')}",
            where=where,
            remedy=remedy,
        )
    module.load_state_dict(weights)


def weights_sha256(module: nn.Module, begin: str = "") -> str:
    """SHA-256 of a module's weights and their names, behind what else is to decide it."""
    import torch

    digest = hashlib.sha256(begin.encode())
    for key, tensor in module.state_dict().items():
        digest.update(key.encode())
        # As bytes: NumPy has no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@contextmanager
def _loading(model: Path | str) -> Iterator[None]:
    """Keep transformers quiet, and make one line of its failures."""
    from safetensors import SafetensorError
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        cause = next(iter(str(error).splitlines()), type(error).__name__)
        remedy = "a directory made by save_pretrained, or a name on the hub"
        raise UserError(f"can't be loaded: {cause}", where=model, remedy=remedy) from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
