"""A small Wav2Vec2 with a CTC head, made new.

It has layer norms and conv biases throughout and no other peculiarity, so that fairseq's Wav2Vec2,
as S3PRL carries it, can express it too and it can also be the frozen encoder of a loss.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import torch

from sepasr.errors import UserError
from sepasr.train.ctc_model import ModelConfig
from sepasr.train.utterances import BLANK, FS, mel_of

PHASES = 3
FRAME_SAMPLES = 320
"""Samples per frame: the 20 ms that S3PRL takes every Wav2Vec2 to have."""


def new_model(config: ModelConfig) -> Any:
    """A ``Wav2Vec2ForCTC`` of random weights, but that it begins with a :func:`filterbank`.

    The spare filters of the bank have a bias instead: through the layer norm they tell the level.

    Raises:
        UserError: S3PRL could not carry a model of this shape.
    """
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    if (samples := math.prod(config.conv_stride)) != FRAME_SAMPLES:
        raise UserError(
            f"strides {config.conv_stride} make frames of {samples} samples",
            remedy=f"S3PRL takes Wav2Vec2 to have {FRAME_SAMPLES}: change model.conv_stride",
        )
    if config.conv_dim[-1] == config.width:
        raise UserError(
            f"the last convolution is as wide as the transformer ({config.width}), where "
            "fairseq has no projection between them",
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
    # Nothing is masked, so that it has no gradient, for which several devices would wait.
    cast(Any, model).wav2vec2.masked_spec_embed.requires_grad_(False)
    filters = filterbank(config.conv_dim[0], config.conv_kernel[0])
    first = cast(Any, model).wav2vec2.feature_extractor.conv_layers[0].conv
    with torch.no_grad():
        first.weight.copy_(torch.from_numpy(filters)[:, None])
        first.bias.zero_()
        spare = config.conv_dim[0] % PHASES
        first.bias[len(filters) - spare :] = torch.tensor([1.0, -1.0])[:spare]
    return model


def new_extractor() -> Any:
    """The feature extractor of ``transformers`` that is saved beside the model."""
    from transformers import Wav2Vec2FeatureExtractor

    return Wav2Vec2FeatureExtractor(sampling_rate=FS, do_normalize=True, return_attention_mask=True)


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
