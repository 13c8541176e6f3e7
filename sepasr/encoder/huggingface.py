"""Wav2Vec2, HuBERT, WavLM, data2vec-audio and Wav2Vec2-BERT of ``transformers``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sepasr.encoder.base import EncoderConfig, FrameModel, hub_options
from sepasr.encoder.layers import LAST, Layers
from sepasr.encoder.seamless import HOP, WINDOW, SeamlessMel, forget_rotations
from sepasr.errors import UserError
from sepasr.lengths import within
from sepasr.models import resolve_model
from sepasr.weights import UNMASKED, pretrained_config, pretrained_model

if TYPE_CHECKING:
    from transformers import (
        Data2VecAudioModel,
        HubertModel,
        Wav2Vec2BertModel,
        Wav2Vec2Model,
        WavLMModel,
    )

# Families, and the types that transformers gives their models.
FAMILIES = {
    "data2vec": "data2vec-audio",
    "hubert": "hubert",
    "wav2vec2": "wav2vec2",
    "wav2vec2_bert": "wav2vec2-bert",
    "wavlm": "wavlm",
}
# What would make an embedding random if the model were ever in training mode; an adapter would
# change the number of frames.
PLAIN = {
    **UNMASKED,
    "apply_spec_augment": False,
    "layerdrop": 0.0,
    "add_adapter": False,
}


class WaveformFrames(FrameModel):
    """Frames of a model that begins with convolutions over the waveform.

    Models with a group norm (the base sizes of all families but data2vec) take statistics over
    time and were trained without an attention mask: padding changes their frames. It also changes
    data2vec's, through positions made by several convolutions, of which only the first is masked.
    In all other models padding is masked.

    Args:
        model: the base model of ``transformers``.
        layers: the states that are given.
    """

    model: Any

    def __init__(
        self,
        model: Wav2Vec2Model | HubertModel | WavLMModel | Data2VecAudioModel,
        layers: Layers,
    ) -> None:
        super().__init__()
        self.model = model
        self.shortest = receptive_field(model.config.conv_kernel, model.config.conv_stride)
        data2vec = model.config.model_type == FAMILIES["data2vec"]
        self.equal_lengths = data2vec or model.config.feat_extract_norm == "group"
        self._layers = layers
        _drop_above(model, layers)

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """The model's own count."""
        return self.model._get_feat_extract_output_lengths(lengths)

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """See ``FrameModel``."""
        mask = None
        if not self.equal_lengths:
            mask = within(lengths, waveform.shape[1]).long()
        return _chosen(self.model, waveform, mask, self._layers)


class MelFrames(FrameModel):
    """Frames of a Wav2Vec2-BERT, which hears log-mel features.

    Args:
        model: the base model of ``transformers``.
        layers: the states that are given.
    """

    model: Any
    shortest = WINDOW + HOP
    equal_lengths = False

    def __init__(self, model: Wav2Vec2BertModel, layers: Layers) -> None:
        super().__init__()
        self.mel = SeamlessMel(model.config.feature_projection_input_dim // 2)
        self.model = model
        self._layers = layers
        _drop_above(model, layers)

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """One frame for two windows of the features."""
        return self.mel.frame_lengths(lengths)

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """See ``FrameModel``."""
        forget_rotations(self.model.encoder)
        features = self.mel(waveform, lengths)
        mask = within(self.frame_lengths(lengths), features.shape[1]).long()
        return _chosen(self.model, features, mask, self._layers)


def _drop_above(model: Any, layers: Layers) -> None:
    """Drop the layers above the highest one.

    One is kept for layer 0, whose state is caught at its input.
    """
    model.encoder.layers = model.encoder.layers[: max(layers.highest, 1)]


def _chosen(model: Any, heard: Tensor, mask: Tensor | None, layers: Layers) -> Tensor:
    """The states asked for.

    ``hidden_states`` are the inputs of the layers and the output of the topmost, all before a
    final norm; behind it is ``last_hidden_state``.
    """
    numbered = layers.names != (LAST,)
    output = model(heard, attention_mask=mask, output_hidden_states=numbered)
    states: dict[int | str, Tensor] = {LAST: output.last_hidden_state}
    if numbered:
        states.update(enumerate(output.hidden_states))
    return layers.combine(states)


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Samples that one frame of a stack of convolutions is made of."""
    field = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        field = (field - 1) * stride + kernel
    return field


def build_model(conf: EncoderConfig) -> FrameModel:
    """Load the base model (without a CTC head) from a directory or the hub.

    Raises:
        UserError: it can't be loaded, is of another family than stated, or lacks the layer.
    """
    from transformers import AutoModel

    place = resolve_model(conf.model)
    options = hub_options(conf, place)
    config = pretrained_config(place, **PLAIN, **options)
    if config.model_type != FAMILIES.get(conf.family):
        cause = f"a model of type {config.model_type}, but the family is given as {conf.family}"
        raise UserError(cause, where=place, remedy=f"families here: {', '.join(FAMILIES)}")
    layers = Layers.of(conf, config.num_hidden_layers)
    model = pretrained_model(AutoModel, place, config, **options)
    if conf.family == "wav2vec2_bert":
        return MelFrames(model, layers)
    return WaveformFrames(model, layers)
