"""S3PRL's upstreams, through ESPnet's ``S3prlFrontend``."""

from __future__ import annotations

import logging
import tempfile
import warnings
from difflib import get_close_matches
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sepasr.encoder.base import EncoderConfig, FrameModel, check_layer
from sepasr.errors import UserError
from sepasr.models import pretrained_config, pretrained_model, resolve_model

if TYPE_CHECKING:
    from espnet2.asr.frontend.s3prl import S3prlFrontend
    from transformers import PreTrainedModel, Wav2Vec2Config

DOWNSAMPLING = 320  # samples a frame, which s3prl assumes of every Wav2Vec2


class S3prlFrames(FrameModel):
    """Frames of an s3prl upstream.

    ``S3prlFrontend`` counts a frame for every 320 samples and repeats the last one where the model
    gives fewer; where the model's convolutions are known, the frames are cut to what they gave.
    Utterances of one length go together, because s3prl counts frames without a mask.

    Args:
        frontend: ESPnet's frontend. It sets the upstream's ``feature_grad_mult`` to 1; s3prl
            itself sets 0, with which no gradient reaches the waveform.
    """

    shortest = 10 * DOWNSAMPLING  # s3prl fails an assertion on much less
    equal_lengths = True

    def __init__(self, frontend: S3prlFrontend) -> None:
        super().__init__()
        # A second copy of the weights, kept by the frontend for reloading them in training.
        frontend.pretrained_params = None
        self.frontend = frontend
        self._convolutions = _convolutions(frontend)

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """The convolutions' count; s3prl's where there are none."""
        if not self._convolutions:
            return (lengths - 1) // self.frontend.hop_length + 1
        for kernel, stride in self._convolutions:
            lengths = (lengths - kernel) // stride + 1
        return lengths

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """See ``FrameModel``."""
        frames, _ = self.frontend(waveform, lengths)
        return frames[:, : int(self.frame_lengths(lengths).max())]


def _convolutions(frontend: S3prlFrontend) -> list[tuple[int, int]]:
    model = getattr(frontend.upstream.upstream, "model", None)
    blocks = getattr(getattr(model, "feature_extractor", None), "conv_layers", ())
    convolutions = [m for block in blocks for m in block.modules() if isinstance(m, nn.Conv1d)]
    return [(conv.kernel_size[0], conv.stride[0]) for conv in convolutions]


def build_model(conf: EncoderConfig) -> S3prlFrames:
    """Load an upstream.

    ``conf.model`` is a name of s3prl's hub (``wav2vec2_base_960``), a checkpoint file for
    s3prl's ``<family>_local``, or a Hugging Face Wav2Vec2 directory, which is converted.

    Raises:
        UserError: it can't be loaded, can't be converted, or lacks the layer.
    """
    place = resolve_model(conf.model)
    if isinstance(place, str):
        frontend = _frontend(conf, place, None)
    elif place.is_file():
        frontend = _frontend(conf, f"{conf.family}_local", place)
    else:
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Path(folder) / "wav2vec2.pt"
            torch.save(convert_wav2vec2(place), checkpoint)
            frontend = _frontend(conf, "wav2vec2_local", checkpoint)
    return S3prlFrames(frontend)


def _frontend(conf: EncoderConfig, upstream: str, path: Path | None) -> S3prlFrontend:
    # It warns of an upstream that nobody asked for.
    logging.getLogger("s3prl.upstream.espnet_hubert.expert").setLevel(logging.ERROR)
    from espnet2.asr.frontend.s3prl import S3prlFrontend
    from s3prl.nn import S3PRLUpstream

    known = S3PRLUpstream.available_names()
    if upstream not in known:
        near = ", ".join(get_close_matches(upstream, known)) or "see s3prl.hub"
        raise UserError(f"s3prl has no upstream '{upstream}'", where=conf.name, remedy=near)
    source: dict[str, Any] = {"upstream": upstream}
    if path is not None:
        source["path_or_url"] = str(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # its weight_norm is torch's old one
            frontend = S3prlFrontend(
                fs=conf.fs,
                frontend_conf=source,
                layer=conf.layer if isinstance(conf.layer, int) else -1,
            )
    except UnpicklingError as error:
        cause = "not a checkpoint of tensors and plain values; other pickles are not executed"
        raise UserError(cause, where=conf.model, remedy="convert it with s3prl") from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        cause = f"can't be loaded by s3prl: {next(iter(str(error).splitlines()), error)}"
        raise UserError(cause, where=conf.model, remedy=f"upstream {upstream}") from error
    _check_state(conf, frontend)
    return frontend


def _check_state(conf: EncoderConfig, frontend: S3prlFrontend) -> None:
    """s3prl's states are the inputs of the layers, then the output behind the final norm."""
    layers = frontend.upstream.num_layers - 1
    check_layer(conf, layers)
    model = getattr(frontend.upstream.upstream, "model", None)
    norm = getattr(getattr(model, "encoder", None), "layer_norm_first", False)
    if norm and conf.layer == layers:
        cause = f"s3prl gives the state after layer {layers} only behind the final norm"
        raise UserError(cause, where=f"encoder {conf.name}", remedy="say layer: last")


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

    config = pretrained_config(place)
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
