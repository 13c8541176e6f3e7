"""A small Wav2Vec2 with a CTC head and sentencepiece units: made new, and saved.

It has layer norms and conv biases throughout and no other peculiarity, so that fairseq's Wav2Vec2,
as S3PRL carries it, can express it too and it can also be the frozen encoder of a loss.
"""

from __future__ import annotations

import copy
import io
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from sepasr.errors import UserError
from sepasr.files import atomic_path
from sepasr.models import load_strictly
from sepasr.train.utterances import BLANK, FS, mel_of

if TYPE_CHECKING:
    from transformers import Wav2Vec2ForCTC

PIECES = "spm.model"
WEIGHTS = "model.safetensors"
LONGEST_PIECE = 4
"""Characters. A small corpus would have whole words as units, each heard a few times only."""
PHASES = 3
FRAME_SAMPLES = 320
"""Samples per frame: the 20 ms that S3PRL takes every Wav2Vec2 to have."""


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the model.

    Attributes:
        pieces: sentencepiece units; the CTC head has one output more, the blank.
        conv_dim: channels of each convolution on the waveform.
        conv_kernel: their kernels, the first in samples.
        conv_stride: their strides; the product is 320.
        width: of the transformer.
        layers: of the transformer.
        heads: of its attention.
        hidden: width of its feed-forward parts.
        position_kernel: kernel of the convolutional positional embedding, in frames.
        position_groups: its groups.
        dropout: before the transformer's residual sums and before the CTC head.
    """

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
    dropout: float = 0.0


def new_model(config: ModelConfig) -> Wav2Vec2ForCTC:
    """A model of random weights, but for its first convolution, a :func:`filterbank`.

    The spare filters of the bank have a bias instead: through the layer norm they tell the level.

    Raises:
        UserError: S3PRL could not carry a model of this shape.
    """
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    if math.prod(config.conv_stride) != FRAME_SAMPLES:
        raise UserError(
            f"strides {config.conv_stride} make frames of {math.prod(config.conv_stride)} samples",
            remedy=f"S3PRL takes Wav2Vec2 to have {FRAME_SAMPLES}: change model.conv_stride",
        )
    if config.conv_dim[-1] == config.width:
        raise UserError(
            f"the last convolution is as wide as the transformer ({config.width}), where fairseq "
            "has no projection between them",
            remedy="change model.conv_dim or model.width",
        )
    model = Wav2Vec2ForCTC(
        Wav2Vec2Config(
            vocab_size=config.pieces + 1,
            pad_token_id=BLANK,
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.hidden,
            conv_dim=config.conv_dim,
            conv_kernel=config.conv_kernel,
            conv_stride=config.conv_stride,
            conv_bias=True,
            feat_extract_norm="layer",
            do_stable_layer_norm=True,
            num_conv_pos_embeddings=config.position_kernel,
            num_conv_pos_embedding_groups=config.position_groups,
            hidden_dropout=config.dropout,
            final_dropout=config.dropout,
            attention_dropout=0.0,
            activation_dropout=0.0,
            feat_proj_dropout=0.0,
            layerdrop=0.0,
            apply_spec_augment=False,
        )
    )
    filters = filterbank(config.conv_dim[0], config.conv_kernel[0])
    first = cast(Any, model).wav2vec2.feature_extractor.conv_layers[0].conv
    with torch.no_grad():
        first.weight.copy_(torch.from_numpy(filters)[:, None])
        first.bias.zero_()
        spare = config.conv_dim[0] % PHASES
        first.bias[len(filters) - spare :] = torch.tensor([1.0, -1.0])[:spare]
    return model


def load_weights(model: Wav2Vec2ForCTC, directory: Path) -> None:
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


def filterbank(channels: int, kernel: int) -> np.ndarray:
    """Band-pass filters to begin with, on the mel scale from 80 to 7500 Hz.

    They are cosines under Gaussian windows, each band in three phases 120 degrees apart: whatever
    the phase of a tone, the rectified outputs of the three sum to its envelope within 16 %, as the
    magnitude of a spectrogram would. A model with random filters has to find them first.

    Args:
        channels: the filters of a band stand together; up to two spare ones, at the end, are 0.
        kernel: their length in samples at 16 kHz.

    Returns:
        (channels, kernel), float32; no filter passes a constant, and high bands are amplified as
        speech falls, by 6 dB an octave above 500 Hz.
    """
    bands = channels // PHASES
    low, high = mel_of(80), mel_of(7500)
    mel = np.linspace(low, high, bands + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    centre, width = edges[1:-1, None, None], np.maximum((edges[2:] - edges[:-2]) / 2, 60.0)
    time = (np.arange(kernel) - (kernel - 1) / 2) / FS
    deviation = np.minimum(0.3 / width, kernel / FS / 5)[:, None, None]
    window = np.exp(-0.5 * (time / deviation) ** 2)
    phase = 2 * np.pi * np.arange(PHASES)[:, None] / PHASES
    filters = window * np.cos(2 * np.pi * centre * time + phase)
    filters -= window * filters.sum(-1, keepdims=True) / window.sum(-1, keepdims=True)
    filters *= np.sqrt((1 + (centre / 500) ** 2) / np.square(filters).sum(-1, keepdims=True))
    bank = np.zeros((channels, kernel), dtype=np.float32)
    bank[: bands * PHASES] = filters.reshape(-1, kernel)
    return bank


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


def save_recogniser(model: Wav2Vec2ForCTC, pieces: Path, directory: Path) -> None:
    """Write what :mod:`sepasr.decode.recognisers.ctc` reads, with weights in float16.

    Args:
        model: is left as it is.
        pieces: file of the sentencepiece model of its units.
        directory: made where it is missing.
    """
    from transformers import Wav2Vec2FeatureExtractor

    extractor = Wav2Vec2FeatureExtractor(
        sampling_rate=FS, do_normalize=True, return_attention_mask=True
    )
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy(pieces, directory / PIECES)
    extractor.save_pretrained(directory)
    copy.deepcopy(model).half().save_pretrained(directory)
