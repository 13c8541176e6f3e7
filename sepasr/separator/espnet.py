"""A separator as ESPnet sees it, and the model directory that ESPnet loads.

ESPnet divides a model into encoder, separator and decoder. The level rule of
:class:`sepasr.separator.model.Separator` spans all three (it needs the mixture and the sum of the
decoded estimates), so that the whole of it becomes ESPnet's separator, from waveform to waveforms,
between the encoder and decoder named ``same``, which hand waveforms through.

Nothing here imports ESPnet's tasks; :mod:`sepasr.espnet` does, and makes the class known to them.
"""

from __future__ import annotations

import platform
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from espnet import __version__ as espnet_version
from espnet2.enh.separator.abs_separator import AbsSeparator
from torch import Tensor, nn
from torch.nn import functional as F

from sepasr.errors import UserError
from sepasr.files import new_directory
from sepasr.separator.config import SeparatorConfig
from sepasr.separator.model import Separator

NAME = "sepasr"
TRAIN_CONFIG = "config.yaml"
MODEL_FILE = "model.pth"
META = "meta.yaml"
HEADER = "# Written by `sepasr export --to espnet`. Import sepasr.espnet before ESPnet loads it.\n"


def refuse_other_keys(
    module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *unused: Any
) -> None:
    """Refuse weights unless there is one for every name of a module, and no others.

    A hook for ``register_load_state_dict_pre_hook``: it also runs where a caller asks for
    ``strict=False``, which ESPnet always does. (A wrong shape is an error of torch's in any case.)

    Raises:
        UserError: a name is missing, or is not one of the module's.
    """
    wanted = {prefix + name for name in module.state_dict()}
    if wrong := sorted(wanted ^ state_dict.keys()):
        problem = "is missing" if wrong[0] in wanted else "has no place in it"
        raise UserError(
            f"weights of another network: {len(wrong)} names differ, '{wrong[0]}' {problem}",
            remedy="use the model.pth that was written with this config.yaml",
        )


class EspnetSeparator(AbsSeparator):
    """A whole separator behind the interface of ESPnet's separators.

    Args:
        input_dim: what the encoder gives per sample: 1, as ESPnet's ``same`` does.
        config: the fields of :class:`sepasr.separator.model.SeparatorConfig`.

    Raises:
        UserError: the encoder is not ``same``, or the fields describe no separator.
    """

    def __init__(self, input_dim: int, **config: Any) -> None:
        super().__init__()
        if input_dim != 1:
            raise UserError(
                f"the separator '{NAME}' takes waveforms, not {input_dim} features",
                remedy="encoder: same, decoder: same",
            )
        try:
            self.model = Separator(SeparatorConfig(**config))
        except TypeError as error:
            raise UserError(f"separator_conf does not describe a separator: {error}") from None
        self.register_load_state_dict_pre_hook(refuse_other_keys)

    @property
    def num_spk(self) -> int:
        """How many speakers it separates."""
        return self.model.num_speakers

    def forward(
        self, input: Tensor, ilens: Tensor, additional: dict | None = None
    ) -> tuple[list[Tensor], Tensor, OrderedDict[str, Tensor]]:
        """Separate mixtures.

        Args:
            input: mixtures, (batch, samples), at the rate of the separator's configuration.
            ilens: samples of each, (batch,). Where they differ, each mixture is separated alone,
                so that the padding takes no part in its level.
            additional: not used.

        Returns:
            One waveform (batch, samples) per speaker; ``ilens``; no further outputs.

        Raises:
            UserError: the mixtures have several channels.
        """
        if input.ndim != 2:
            raise UserError(
                f"a mixture of {tuple(input.shape)}, and the separator hears one channel",
                remedy="take one channel of it",
            )
        samples = input.shape[-1]
        if bool((ilens == samples).all()):
            estimates = self.model(input)
        else:
            lengths = [int(length) for length in ilens]
            alone = [self.model(x[:n]) for x, n in zip(input, lengths, strict=True)]
            padded = [F.pad(e, (0, samples - e.shape[-1])) for e in alone]
            estimates = torch.stack(padded)
        return list(estimates.unbind(1)), ilens, OrderedDict()


def export_espnet(model: str | Path, out: str | Path) -> Path:
    """Write a separator as an ESPnet model directory.

    It holds ``config.yaml`` and ``model.pth``, which ``SeparateSpeech`` takes, and the
    ``meta.yaml`` by which ESPnet's model zoo finds the two. The weights are read back and their
    output compared before the directory appears; a failure leaves nothing behind.

    Args:
        model: directory that ``save_pretrained`` wrote.
        out: directory to make; it must be new or empty.

    Returns:
        ``out``.

    Raises:
        UserError: ``model`` holds no separator, or ``out`` holds something.
    """
    separator, out = Separator.from_pretrained(Path(model)), Path(out)
    settings = train_config(separator)
    weights = {
        f"separator.model.{name}": value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in separator.state_dict().items()
    }
    with new_directory(out) as folder:
        torch.save(OrderedDict(weights), folder / MODEL_FILE)
        _write_yaml(folder / TRAIN_CONFIG, settings, HEADER)
        _write_yaml(folder / META, _meta(separator))
        _verify(separator, settings, folder / MODEL_FILE)
    return out


def train_config(separator: Separator) -> dict[str, Any]:
    """The settings from which ESPnet's ``EnhancementTask`` builds the model."""
    return {
        "init": None,
        "encoder": "same",
        "encoder_conf": {},
        "separator": NAME,
        "separator_conf": separator.description()["config"],
        "decoder": "same",
        "decoder_conf": {},
        "model_conf": {},
        "num_spk": separator.num_speakers,
        "sample_rate": separator.fs,
    }


def _meta(separator: Separator) -> dict[str, Any]:
    return {
        "yaml_files": {"train_config": TRAIN_CONFIG},
        "files": {"model_file": MODEL_FILE},
        "espnet": espnet_version,
        "torch": torch.__version__,
        "python": platform.python_version(),
        NAME: asdict(separator.provenance),
    }


def _write_yaml(path: Path, content: dict[str, Any], header: str = "") -> None:
    # Tuples and versions that are a subclass of str have no place in plain YAML.
    plain = yaml.safe_dump(_plain(content), sort_keys=False)
    path.write_text(header + plain, encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def _verify(separator: Separator, settings: dict[str, Any], weights: Path) -> None:
    """Build from what was written what ESPnet would build, and compare."""
    holder = nn.Module()
    holder.separator = EspnetSeparator(1, **settings["separator_conf"])
    holder.eval().load_state_dict(torch.load(weights, weights_only=True))
    mixture = torch.randn(1, separator.fs // 4, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        streams, _, _ = holder.separator(mixture, torch.tensor([mixture.shape[-1]]))
        torch.testing.assert_close(torch.stack(streams, 1), separator(mixture), rtol=0, atol=0)
