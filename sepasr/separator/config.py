"""What a separator is: the shape of its network, and how its weights came about."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from sepasr.errors import UserError
from sepasr.separator.assembly import check_arguments, check_filterbank
from sepasr.separator.networks import CONV, TD_CONFORMER, WAVEFORM

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
NAME_ON_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
DTYPES = ("float32", "float16", "bfloat16")
"""How weights may be stored, by torch's names."""
IN_CHECKPOINT = "separator"
"""Under which name a training's checkpoint holds the description of its separator."""

_TD_CONFORMER = (
    "width",
    "hidden",
    "heads",
    "layers",
    "depthwise_kernel",
    "subsamplings",
    "dropout",
    "attention_dropout",
    "subsampling_padding",
)
_FRAMES = ("kernel", "stride")
_AT_LEAST_ONE = (
    *("channels", "kernel", "stride", "num_speakers", "width", "hidden", "heads", "layers"),
    *("depthwise_kernel", "fs"),
)


@dataclass(frozen=True)
class SeparatorConfig:
    """The shape of a separator; ``conf/separator/*.yaml`` names the published ones.

    Attributes:
        channels: channels of the learnt filterbanks (``conv``).
        kernel: their length in samples, or the window of the STFT.
        stride: their hop in samples.
        num_speakers: speakers to separate.
        width, hidden, heads, layers, depthwise_kernel, subsamplings, dropout, attention_dropout:
            see :class:`sepasr.separator.tdconformer.TDConformer`; of no other network.
        subsampling_padding: as those. Weights belong to the one that they were trained with, and
            descriptions of before there was a choice mean 1; the published networks have 0, which
            ``conf/separator/*.yaml`` say.
        fs: sampling rate in Hz.
        network: ``td_conformer``, a name of :data:`sepasr.separator.networks.NETWORKS`, or a class
            of one's own, ``MODULE.CLASS``.
        filterbank: what the network works on: ``conv`` (learnt filterbanks), ``stft`` (the complex
            spectrum) or ``waveform`` (nothing before and after it).
        arguments: what any other network's class is built with, by its own names.

    Raises:
        UserError: values that no network can be built from, or that this network has no use for.
    """

    channels: int = 256
    kernel: int = 16
    stride: int = 8
    num_speakers: int = 2
    width: int = 128
    hidden: int = 128
    heads: int = 8
    layers: int = 8
    depthwise_kernel: int = 64
    subsamplings: int = 1
    dropout: float = 0.1
    attention_dropout: float = 0.1
    fs: int = 16000
    network: str = TD_CONFORMER
    filterbank: str = CONV
    arguments: dict[str, Any] = field(default_factory=dict)
    subsampling_padding: int = 1

    def __post_init__(self) -> None:
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                what = f"{name} is {getattr(self, name)}, less than 1"
                raise UserError(what, remedy="set it to 1 or more")
        if self.subsamplings < 0:
            raise UserError(f"subsamplings is {self.subsamplings}", remedy="set it to 0 or more")
        if self.subsampling_padding not in (0, 1):
            what = f"subsampling_padding is {self.subsampling_padding}"
            raise UserError(what, remedy="set it to 0, or to 1 for weights that were trained so")
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                what = f"{name} is {getattr(self, name)}, not from 0 to less than 1"
                raise UserError(what, remedy="set it to 0 or more, and less than 1")
        check_filterbank(self)
        if self.width % self.heads:
            raise UserError(f"width {self.width} can't be divided among {self.heads} heads")
        if not 0 < self.stride <= self.kernel:
            raise UserError(f"stride {self.stride} is not between 1 and the kernel {self.kernel}")
        for name in self._idle():
            if getattr(self, name) != _DEFAULTS[name]:
                raise UserError(
                    f"the network {self.network} with filterbank {self.filterbank} has no use for "
                    f"{name}",
                    remedy="leave it out; an ESPnet network's own settings go into arguments",
                )
        check_arguments(self)

    def settings(self) -> dict[str, Any]:
        """The attributes that mean something for this network, as a mapping to keep in a file.

        A TD-Conformer's omit what came later (network, filterbank, and a padding that is the
        default), so that they equal what was written before.
        """
        idle = self._idle()
        if self.network == TD_CONFORMER:
            idle = (*idle, "network", "filterbank")
            if self.subsampling_padding == _DEFAULTS["subsampling_padding"]:
                idle = (*idle, "subsampling_padding")
        return {name: value for name, value in asdict(self).items() if name not in idle}

    def _idle(self) -> tuple[str, ...]:
        """Names of the attributes that this network has no use for."""
        if self.network == TD_CONFORMER:
            return ("arguments",)
        channels = () if self.filterbank == CONV else ("channels",)
        return *_TD_CONFORMER, *channels, *(_FRAMES if self.filterbank == WAVEFORM else ())


_DEFAULTS: dict[str, Any] = {
    one.name: {} if one.name == "arguments" else one.default for one in fields(SeparatorConfig)
}


SEVERAL = "+"
"""Between the names, families and weights of several encoders of one loss."""


def refuse_several(where: str, name: str, family: str, weights: str) -> None:
    """Refuse what would pass for several encoders, or never be found among them.

    Raises:
        UserError: one of them holds ``SEVERAL``.
    """
    for field_, value in (("name", name), ("family", family), ("weights", weights)):
        if SEVERAL in value:
            what = f"{field_} '{value}' holds '{SEVERAL}', which joins those of several encoders"
            raise UserError(what, where=where, remedy="write plus in its place")


@dataclass(frozen=True)
class Provenance:
    """How a checkpoint came about.

    Attributes:
        reference: what the training references were, ``anechoic`` or ``reverb``.
        history: one entry per training, the first one first: its loss, encoder, seed, steps and
            learning rate.
    """

    reference: str | None = None
    history: tuple[dict[str, Any], ...] = ()


def parse_description(description: Any, where: str | Path) -> tuple[SeparatorConfig, Provenance]:
    """Read what :meth:`sepasr.separator.model.Separator.description` gives.

    Raises:
        UserError: it describes something else.
    """
    try:
        for name, value in description["config"].items():
            kind = type(_DEFAULTS.get(name, value))
            # A whole number will do where a fraction may stand.
            if not isinstance(value, (int, float) if kind is float else kind):
                raise TypeError(f"{name} is {value!r}")
        config = SeparatorConfig(**description["config"])
        return config, Provenance(description.get("reference"), tuple(description["history"]))
    except UserError as error:
        raise UserError(str(error), where=where) from None
    except (KeyError, TypeError, AttributeError) as error:
        raise _no_description(error, where) from None


def _no_description(cause: Exception, where: str | Path) -> UserError:
    remedy = "give a directory written by training or save_pretrained"
    return UserError(f"does not describe a separator: {cause}", where=where, remedy=remedy)


def read_description(directory: str | Path) -> tuple[SeparatorConfig, Provenance]:
    """What the ``config.json`` of a separator's directory says; its weights are not read.

    Raises:
        UserError: there is none, or it describes something else.
    """
    path = Path(directory) / CONFIG
    if not path.is_file():
        raise UserError(
            f"no {CONFIG} of a separator",
            where=directory,
            remedy="give a directory written by training or save_pretrained",
        )
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _no_description(error, path) from None
    return parse_description(description, path)


def on_hub(name: str | Path) -> bool:
    """Whether this means a model on the hub, ``owner/model``, and no directory.

    A directory that exists comes first; a :class:`Path` always means a directory.
    """
    return isinstance(name, str) and bool(NAME_ON_HUB.fullmatch(name)) and not Path(name).exists()
