"""A Hugging Face Wav2Vec2 as a checkpoint of s3prl."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sepasr.errors import UserError
from sepasr.weights import UNMASKED, pretrained_config, pretrained_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Wav2Vec2Config

DOWNSAMPLING = 320  # samples a frame, which s3prl assumes of every Wav2Vec2


def convert_wav2vec2(place: Path) -> dict[str, Any]:
    """Make s3prl's checkpoint of a Hugging Face Wav2Vec2 directory by renaming its weights.

    s3prl's own converter starts from fairseq's checkpoints and imports fairseq.

    Returns:
        ``task_cfg``, ``model_cfg`` and ``model_weight``. ``normalize`` is off, because the level
        is set before the model (``EncoderConfig.level``) for every source alike.

    Raises:
        UserError: the model isn't a Wav2Vec2, or s3prl can't express it.
    """
    from transformers import Wav2Vec2Model

    config = pretrained_config(place, **UNMASKED)
    _check_expressible(place, config)
    model = pretrained_model(Wav2Vec2Model, place, config)
    convolutions = zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True)
    return {
        "task_cfg": {"normalize": False},
        "model_cfg": {
            "extractor_mode": "layer_norm" if config.feat_extract_norm == "layer" else "default",
            "encoder_layers": config.num_hidden_layers,
            "encoder_embed_dim": config.hidden_size,
            "encoder_ffn_embed_dim": config.intermediate_size,
            "encoder_attention_heads": config.num_attention_heads,
            "layer_norm_first": config.do_stable_layer_norm,
            "conv_feature_layers": str(list(convolutions)),
            "conv_bias": config.conv_bias,
            "conv_pos": config.num_conv_pos_embeddings,
            "conv_pos_groups": config.num_conv_pos_embedding_groups,
            "final_dim": 1,
        },
        "model_weight": _renamed(model),
    }


def _check_expressible(place: Path, config: Wav2Vec2Config) -> None:
    if config.model_type != "wav2vec2":
        cause = f"a model of type {config.model_type}; only a wav2vec2 directory is converted"
        raise UserError(cause, where=place, remedy="use source: huggingface")
    stride = 1
    for step in config.conv_stride:
        stride *= step
    wrong = {
        f"a frame of {stride} samples instead of {DOWNSAMPLING}": stride != DOWNSAMPLING,
        "a last convolution as wide as the layers (s3prl then has no projection)": (
            config.conv_dim[-1] == config.hidden_size
        ),
        "another activation than gelu": {config.hidden_act, config.feat_extract_activation}
        != {"gelu"},
        "a layer_norm_eps other than 1e-5": config.layer_norm_eps != 1e-5,
        "adapters": config.add_adapter or config.adapter_attn_dim is not None,
    }
    for cause, true in wrong.items():
        if true:
            what = f"s3prl can't express this Wav2Vec2: {cause}"
            raise UserError(what, where=place, remedy="use source: huggingface")


def _renamed(model: PreTrainedModel) -> dict[str, Tensor]:
    """Weights of ``Wav2Vec2Model`` under the names that s3prl took from fairseq."""
    norm = "2.1" if model.config.feat_extract_norm == "layer" else "2"
    names = {
        ".conv.parametrizations.weight.original0": ".0.weight_g",
        ".conv.parametrizations.weight.original1": ".0.weight_v",
        "feature_projection.layer_norm": "layer_norm",
        "feature_projection.projection": "post_extract_proj",
        "encoder.pos_conv_embed": "encoder.pos_conv",
        ".conv.": ".0.",
        ".attention.": ".self_attn.",
        ".feed_forward.intermediate_dense": ".fc1",
        ".feed_forward.output_dense": ".fc2",
        "masked_spec_embed": "mask_emb",
    }
    embed, width = model.config.conv_dim[-1], model.config.hidden_size
    # The mask and the heads of pretraining, which s3prl loads strictly and never uses here.
    weights = {
        "mask_emb": torch.zeros(width),
        "project_q.weight": torch.zeros(1, embed),
        "project_q.bias": torch.zeros(1),
        "final_proj.weight": torch.zeros(1, width),
        "final_proj.bias": torch.zeros(1),
    }
    for name, value in model.state_dict().items():
        for old, new in names.items():
            name = name.replace(old, new)
        if name.startswith("feature_extractor."):
            name = name.replace(".layer_norm.", f".{norm}.")
        elif name.startswith("encoder.layers."):
            name = name.replace(".layer_norm.", ".self_attn_layer_norm.")
        weights[name] = value
    return weights
