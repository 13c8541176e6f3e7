"""A small CTC model with sentencepiece units, of any kind: its settings, units and files."""

from __future__ import annotations

import copy
import io
import shutil
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from sepasr.errors import UserError
from sepasr.files import atomic_path
from sepasr.train.utterances import BLANK, UtteranceBatch
from sepasr.weights import load_strictly

PIECES = "spm.model"
WEIGHTS = "model.safetensors"
LONGEST_PIECE = 4
"""Characters. A small corpus would have whole words as units, each heard a few times only."""


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the model.

    Attributes:
        kind: ``wav2vec2``, convolutions on the waveform and a transformer, or ``wav2vec2_bert``,
            a conformer on log-mel features.
        pieces: sentencepiece units; the CTC head has one output more, the blank.
        width: of the layers.
        layers: of the transformer or conformer.
        heads: of its attention.
        hidden: width of its feed-forward parts.
        dropout: before the residual sums of the feed-forward parts, of a transformer's attention
            and a conformer's convolutions, and before the CTC head.
        conv_dim: of ``wav2vec2``, as all below but the last: channels of each convolution on the
            waveform.
        conv_kernel: their kernels, the first in samples.
        conv_stride: their strides; the product is 320.
        position_kernel: kernel of the convolutional positional embedding, in frames.
        position_groups: its groups.
        depthwise_kernel: of ``wav2vec2_bert``: kernel of each layer's convolution over this frame
            and those before it, in frames.
    """

    kind: str = "wav2vec2"
    pieces: int = 120
    conv_dim: list[int] = field(default_factory=lambda: [128, 192])
    conv_kernel: list[int] = field(default_factory=lambda: [400, 4])
    conv_stride: list[int] = field(default_factory=lambda: [160, 2])
    width: int = 144
    layers: int = 5
    heads: int = 4
    hidden: int = 576
    position_kernel: int = 31
    position_groups: int = 8
    depthwise_kernel: int = 31
    dropout: float = 0.0

    def shared(self) -> dict[str, Any]:
        """What every kind hands to its configuration in ``transformers``, by the names there."""
        return {
            "vocab_size": self.pieces + 1,
            "pad_token_id": BLANK,
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.hidden,
            "hidden_dropout": self.dropout,
            "final_dropout": self.dropout,
            "attention_dropout": 0.0,
            "activation_dropout": 0.0,
            "feat_proj_dropout": 0.0,
            "layerdrop": 0.0,
            "apply_spec_augment": False,
        }


COMMON = {"kind", "pieces", "width", "layers", "heads", "hidden", "dropout"}
"""Settings that every kind heeds."""


class ModelKind(nn.Module):
    """What one kind of model brings to its training. It has no weights."""

    settings: ClassVar[set[str]]
    """Names in :class:`ModelConfig` that this kind heeds beyond the common ones."""

    @classmethod
    def new_model(cls, config: ModelConfig) -> Any:
        """A model of random weights.

        Raises:
            UserError: there is no such model, or a setting that it doesn't heed was changed.
        """
        default = ModelConfig()
        for name in (f.name for f in fields(config)):
            heeded = name in COMMON or name in cls.settings
            if not heeded and getattr(config, name) != getattr(default, name):
                raise UserError(
                    f"model.{name} is no setting of kind {config.kind}",
                    remedy=f"it has {', '.join(sorted(COMMON | cls.settings))}",
                )
        return cls.build(config)

    @classmethod
    @abstractmethod
    def build(cls, config: ModelConfig) -> Any:
        """See :meth:`new_model`."""

    @staticmethod
    @abstractmethod
    def extractor() -> Any:
        """The feature extractor of ``transformers`` that is saved beside the model."""

    @abstractmethod
    def heard(self, model: Any, batch: UtteranceBatch) -> tuple[Tensor, Tensor]:
        """What the model takes of a batch, and the attention mask over it."""

    @abstractmethod
    def readable(self, model: Any, states: Tensor) -> Tensor:
        """The output of a middle layer as the head would have that of the last one."""


def load_weights(model: nn.Module, directory: Path) -> None:
    """Give a model the weights that :func:`save_recogniser` wrote.

    Raises:
        UserError: there are none, or they are of a model of another shape.
    """
    for name in (WEIGHTS, PIECES):
        if not (directory / name).is_file():
            raise UserError(
                f"no {name} of a recogniser",
                where=directory,
                remedy="give a directory that train_ctc wrote: OUT/final",
            )
    load_strictly(model, directory / WEIGHTS)


def train_pieces(texts: Sequence[str], pieces: int, path: Path) -> None:
    """Find the sentencepiece units of texts (byte-pair encoding) and write them to ``path``.

    Raises:
        UserError: the texts don't allow for that many.
    """
    from sentencepiece import SentencePieceTrainer

    content = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=content,
            vocab_size=pieces,
            model_type="bpe",
            max_sentencepiece_length=LONGEST_PIECE,
            character_coverage=1.0,
            normalization_rule_name="identity",
            bos_id=-1,
            eos_id=-1,
            unk_id=0,
            minloglevel=2,
        )
    except RuntimeError as error:
        cause = str(error).rpartition("] ")[2]
        raise UserError(
            f"no {pieces} units of these texts: {cause}", remedy="set model.pieces"
        ) from None
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getvalue())


def save_recogniser(model: Any, extractor: Any, pieces: Path, directory: Path) -> None:
    """Write what :mod:`sepasr.decode.recognisers.ctc` reads, with weights in float16.

    Args:
        model: is left as it is.
        extractor: makes its input.
        pieces: file of the sentencepiece model of its units.
        directory: made where it is missing.
    """
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy(pieces, directory / PIECES)
    extractor.save_pretrained(directory)
    copy.deepcopy(model).half().save_pretrained(directory)
