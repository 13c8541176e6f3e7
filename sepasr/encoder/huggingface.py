"""Wav2Vec2, HuBERT and WavLM of ``transformers``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sepasr.encoder.base import EncoderConfig, FrameModel, check_layer
from sepasr.encoder.level import within
from sepasr.errors import UserError
from sepasr.models import pretrained_config, pretrained_model, resolve_model

if TYPE_CHECKING:
    from transformers import HubertModel, Wav2Vec2Model, WavLMModel

FAMILIES = ("hubert", "wav2vec2", "wavlm")
# What would make an embedding random if the model were ever in training mode; an adapter would
# change the number of frames.
PLAIN = {
    "apply_spec_augment": False,
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
    "layerdrop": 0.0,
    "add_adapter": False,
}


class HuggingFaceFrames(FrameModel):
    """Frames of a Wav2Vec2, HuBERT or WavLM.

    Models with a group norm (the base sizes) take statistics over time, and were trained without
    an attention mask: padding changes their frames. Those with layer norms are masked.

    Args:
        model: the base model of ``transformers``.
        layer: ``last`` or a number of layers, see ``EncoderConfig``.
    """

    model: Any

    def __init__(self, model: Wav2Vec2Model | HubertModel | WavLMModel, layer: int | str) -> None:
        super().__init__()
        self.model = model
        self.shortest = receptive_field(model.config.conv_kernel, model.config.conv_stride)
        self.equal_lengths = model.config.feat_extract_norm == "group"
        self._layer = layer
        if isinstance(layer, int):
            # One is kept for layer 0, whose state is caught at its input.
            model.encoder.layers = model.encoder.layers[: max(layer, 1)]

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """The model's own count."""
        return self.model._get_feat_extract_output_lengths(lengths)

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """See ``FrameModel``."""
        mask = None
        if not self.equal_lengths:
            mask = within(lengths, waveform.shape[1]).long()
        states = self._layer != "last"
        output = self.model(waveform, attention_mask=mask, output_hidden_states=states)
        return output.hidden_states[self._layer] if states else output.last_hidden_state


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Samples that one frame of a stack of convolutions is made of."""
    field = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        field = (field - 1) * stride + kernel
    return field


def build_model(conf: EncoderConfig) -> HuggingFaceFrames:
    """Load the base model (without a CTC head) from a directory or the hub.

    Raises:
        UserError: it can't be loaded, is of another family than stated, or lacks the layer.
    """
    from transformers import AutoModel

    place = resolve_model(conf.model)
    config = pretrained_config(place, **PLAIN)
    if config.model_type not in FAMILIES or config.model_type != conf.family:
        cause = f"a model of type {config.model_type}, but the family is given as {conf.family}"
        raise UserError(cause, where=place, remedy=f"families here: {', '.join(FAMILIES)}")
    check_layer(conf, config.num_hidden_layers)
    return HuggingFaceFrames(pretrained_model(AutoModel, place, config), conf.layer)
