"""Makes separators of this package known to ESPnet: ``import sepasr.espnet``, then use ESPnet.

>>> import sepasr.espnet                                              # doctest: +SKIP
>>> from espnet2.bin.enh_inference import SeparateSpeech              # doctest: +SKIP
>>> separate = SeparateSpeech("exported/config.yaml", "exported/model.pth")  # doctest: +SKIP
>>> first, second = separate(mixture[None], fs=16000)                 # doctest: +SKIP

ESPnet's list of separators is closed, and it loads weights with ``strict=False``, so that a wrong
file passes without a word. Here the class enters the list, and every model that ESPnet builds
around it gets a hook that refuses weights with a missing or foreign name, whoever loads them. The
import takes as long as that of ESPnet's tasks, about 13 s.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from sepasr.config import read_yaml
from sepasr.errors import UserError
from sepasr.foreign import check_pickle, espnet_import
from sepasr.separator.espnet import (
    MODEL_FILE,
    NAME,
    TRAIN_CONFIG,
    EspnetSeparator,
    refuse_other_keys,
)

if TYPE_CHECKING:
    from espnet2.bin.enh_inference import SeparateSpeech

_task = espnet_import("espnet2.tasks.enh")


def load(directory: str | Path, **options: Any) -> SeparateSpeech:
    """ESPnet's ``SeparateSpeech`` of a directory that ``sepasr export --to espnet`` wrote.

    ESPnet itself runs code that a pickle holds; here the weights are looked through first, and no
    other network is built, which might load pickles of its own.

    Args:
        directory: with ``config.yaml`` and ``model.pth``.
        options: of ``SeparateSpeech``, such as ``segment_size`` and ``hop_size`` in seconds.

    Raises:
        UserError: a file is missing, describes another network, holds more than weights, or the
            weights of another network.
    """
    config, weights = Path(directory) / TRAIN_CONFIG, Path(directory) / MODEL_FILE
    if not config.is_file():
        remedy = "a directory written by sepasr export --to espnet"
        raise UserError(f"no {TRAIN_CONFIG}", where=directory, remedy=remedy)
    settings = read_yaml(config)
    for name, value in {"encoder": "same", "separator": NAME, "decoder": "same"}.items():
        if settings.get(name) != value:
            what = f"its {name} is {settings.get(name)}, not {value}"
            raise UserError(what, where=config, remedy="load it with ESPnet's SeparateSpeech")
    check_pickle(weights)
    inference = espnet_import("espnet2.bin.enh_inference")
    return inference.SeparateSpeech(str(config), str(weights), **options)


def _watch(module: nn.Module, name: str, submodule: nn.Module | None) -> None:
    # The separator sees only names under its own: those beside it are seen by the model it is in.
    if isinstance(submodule, EspnetSeparator) and isinstance(module, _task.ESPnetEnhancementModel):
        module.register_load_state_dict_pre_hook(refuse_other_keys)


_task.separator_choices.classes[NAME] = EspnetSeparator
register_module_module_registration_hook(_watch)
