"""A small CTC model with sentencepiece units: its shape, units and files."""

from __future__ import annotations

import copy
import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from sepasr.errors import UserError
from sepasr.weights import load_strictly

PIECES = "spm.model"
WEIGHTS = "model.safetensors"
LONGEST_PIECE = 4
"""Characters. A small corpus would have whole words as units, each heard a few times only."""


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the model.

    Attributes:
        pieces: sentencepiece units; the CTC head has one output more, the blank.
        conv_dim: channels of each convolution on the waveform.
        conv_kernel: their kernels, the first in samples.
        conv_stride: their strides; the product is 320.
        position_kernel: kernel of the convolutional positional embedding, in frames.
        position_groups: its groups.
        width: of the transformer's layers.
        layers: of the transformer.
        heads: of its attention.
        hidden: width of its feed-forward parts.
        dropout: before the residual sums of attention and feed-forward parts, and before the CTC
            head.
    """

    pieces: int = 120
    conv_dim: list[int] = field(default_factory=lambda: [128, 192])
    conv_kernel: list[int] = field(default_factory=lambda: [400, 4])
    conv_stride: list[int] = field(default_factory=lambda: [160, 2])
    position_kernel: int = 31
    position_groups: int = 8
    width: int = 144
    layers: int = 5
    heads: int = 4
    hidden: int = 576
    dropout: float = 0.0


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


def train_pieces(texts: Sequence[str], pieces: int) -> bytes:
    """Find the sentencepiece units of texts (byte-pair encoding).

    Returns:
        The content of a file of them.

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
    return content.getvalue()


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
