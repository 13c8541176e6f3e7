"""Whisper's encoder with a log-mel spectrogram in torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from sepasr.encoder.base import EncoderConfig, FrameModel, hub_options
from sepasr.encoder.ct2 import read_variables
from sepasr.encoder.layers import LAST, Layers
from sepasr.errors import UserError
from sepasr.models import hub_model, resolve_model
from sepasr.weights import pretrained_config, pretrained_model

if TYPE_CHECKING:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

FFT, HOP = 400, 160  # samples at 16 kHz: windows of 25 ms every 10 ms


class LogMel(nn.Module):
    """The log-mel spectrogram of ``transformers.WhisperFeatureExtractor``, with a gradient.

    The operations and their order are the extractor's, so that the values are too, to the last bit
    for a single utterance.

    Args:
        bins: mel bins, 80 or (large-v3) 128.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, bins: int) -> None:
        super().__init__()
        from transformers import WhisperFeatureExtractor

        filters = WhisperFeatureExtractor(feature_size=bins).mel_filters
        self.register_buffer("window", torch.hann_window(FFT), persistent=False)
        self.register_buffer("filters", torch.from_numpy(filters).float(), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) at 16 kHz to (batch, bins, samples // 160)."""
        stft = torch.stft(waveform, FFT, HOP, window=self.window, return_complex=True)
        power = (stft[..., :-1].abs() ** 2).contiguous()
        log_mel = torch.clamp(self.filters.T @ power, min=1e-10).log10()
        log_mel = torch.maximum(log_mel, log_mel.amax(dim=(1, 2), keepdim=True) - 8.0)
        return (log_mel + 4.0) / 4.0


class WhisperFrames(FrameModel):
    """Frames of Whisper's encoder, 50 a second.

    Positions are cut to the segment instead of padding the segment to 30 s: the frames of a 3 s
    segment cost a tenth, and are not those of the padded window. On 30 s they are the same.
    The state after all layers is before the final norm; transformers, whose other models do the
    same, gives Whisper's output in its place.

    Args:
        encoder: the encoder of ``transformers``.
        layers: the states that are given.
    """

    shortest = FFT
    equal_lengths = True  # no attention mask

    def __init__(self, encoder: WhisperEncoder, layers: Layers) -> None:
        super().__init__()
        self.log_mel = LogMel(encoder.config.num_mel_bins)
        self.encoder = encoder
        self.longest = 2 * HOP * encoder.config.max_source_positions
        self._layers = layers
        encoder.layers = encoder.layers[: layers.highest]

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """One frame for every two, or the last one, of the spectrogram."""
        return (lengths // HOP + 1) // 2

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """``WhisperEncoder.forward``, which refuses any length but 30 s."""
        encoder = self.encoder
        hidden = gelu(encoder.conv1(self.log_mel(waveform)))
        hidden = gelu(encoder.conv2(hidden)).transpose(1, 2)
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        states: dict[int | str, Tensor] = {0: hidden}
        for number, layer in enumerate(encoder.layers, 1):
            states[number] = hidden = layer(hidden, None)
        if self._layers.last:
            states[LAST] = encoder.layer_norm(hidden)
        return self._layers.combine(states)


def build_model(conf: EncoderConfig) -> WhisperFrames:
    """Load the encoder from a CTranslate2 or Hugging Face directory, or one on the hub.

    Raises:
        UserError: it can't be loaded, isn't a Whisper, or lacks the layer.
    """
    place = resolve_model(conf.model)
    options = hub_options(conf, place)
    if isinstance(place, str):
        place = hub_model(place, options.get("revision"))
    if (place / "model.bin").is_file():
        encoder = from_ctranslate2(place)
    else:
        encoder = _from_huggingface(place)
    return WhisperFrames(encoder, Layers.of(conf, encoder.config.encoder_layers))


def _from_huggingface(place: Path) -> WhisperEncoder:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = pretrained_config(place)
    if config.model_type != "whisper":
        remedy = "see conf/encoder for models of other families"
        raise UserError(f"a {config.model_type} model, not a Whisper", where=place, remedy=remedy)
    # The names in files of WhisperForConditionalGeneration and of WhisperModel. The decoder's
    # weights aren't asked for and stay in the file.
    names = {r"^(model\.)?encoder\.": ""}
    return pretrained_model(WhisperEncoder, place, config, key_mapping=names)


def from_ctranslate2(folder: Path) -> WhisperEncoder:
    """Convert the encoder of a CTranslate2 Whisper back to ``transformers``.

    Nothing is lost where the file holds floating-point weights: float16 goes to float32 exactly.

    Raises:
        UserError: the folder holds no Whisper, or a quantised one.
    """
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    stored = stack_variables(folder, "encoder")
    if "conv1/weight" not in stored or "num_heads" not in stored:
        raise UserError("no Whisper encoder in model.bin", where=folder, remedy="check the model")
    if integers := quantised(stored):
        remedy = "convert with --quantization float16"
        raise UserError(f"quantised weights ({integers[0]})", where=folder, remedy=remedy)
    config = _config(stored)
    encoder = WhisperEncoder._from_config(config)
    encoder.load_state_dict(_state_dict(stored))
    return encoder


def stack_variables(folder: Path, which: str) -> dict[str, Tensor]:
    """The variables of a CTranslate2 model's ``encoder`` or ``decoder``, without that name.

    Raises:
        UserError: see :func:`read_variables`.
    """
    start = f"{which}/"
    found = read_variables(folder).items()
    return {name.removeprefix(start): value for name, value in found if name.startswith(start)}


def quantised(stored: dict[str, Tensor]) -> list[str]:
    """Names of the weights that are stored as integers."""
    return [n for n, v in stored.items() if v.dim() and not v.is_floating_point()]


def count_layers(stored: dict[str, Tensor]) -> int:
    """How many layers there are, by the names of variables."""
    first = {name.split("/")[0] for name in stored if name.startswith("layer_")}
    return len(first - {"layer_norm"})


def _config(stored: dict[str, Tensor]) -> WhisperConfig:
    from transformers import WhisperConfig

    width, bins, _ = stored["conv1/weight"].shape
    return WhisperConfig(
        d_model=width,
        num_mel_bins=bins,
        max_source_positions=len(stored["position_encodings/encodings"]),
        encoder_layers=count_layers(stored),
        encoder_attention_heads=int(stored["num_heads"]),
        encoder_ffn_dim=len(stored["layer_0/ffn/linear_0/bias"]),
    )


def _state_dict(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's variables under transformers' names, in float32."""
    convolutions = {
        f"{name}.{kind}": stored[f"{name}/{kind}"].float()
        for name in ("conv1", "conv2")
        for kind in ("weight", "bias")
    }
    return convolutions | stack_weights(stored)


def stack_weights(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """What encoder and decoder both have: positions, self-attention, feed-forward parts and norms.

    Args:
        stored: of one of them, see :func:`stack_variables`.

    Returns:
        Weights under transformers' names, in float32.
    """
    renamed = {"embed_positions.weight": stored["position_encodings/encodings"]}
    norms, linears = {"layer_norm": "layer_norm"}, {}
    for i in range(count_layers(stored)):
        source, target = f"layer_{i}", f"layers.{i}"
        norms[f"{source}/self_attention/layer_norm"] = f"{target}.self_attn_layer_norm"
        norms[f"{source}/ffn/layer_norm"] = f"{target}.final_layer_norm"
        linears[f"{source}/self_attention/linear_1"] = f"{target}.self_attn.out_proj"
        linears[f"{source}/ffn/linear_0"] = f"{target}.fc1"
        linears[f"{source}/ffn/linear_1"] = f"{target}.fc2"
        # Query, key and value are one matrix; Whisper's key has no bias, its part is zeros.
        for kind in ("weight", "bias"):
            parts = stored[f"{source}/self_attention/linear_0/{kind}"].chunk(3)
            for name, part in zip("qkv", parts, strict=True):
                renamed[f"{target}.self_attn.{name}_proj.{kind}"] = part
        del renamed[f"{target}.self_attn.k_proj.bias"]
    for source, target in linears.items():
        for kind in ("weight", "bias"):
            renamed[f"{target}.{kind}"] = stored[f"{source}/{kind}"]
    for source, target in norms.items():
        renamed[f"{target}.weight"] = stored[f"{source}/gamma"]
        renamed[f"{target}.bias"] = stored[f"{source}/beta"]
    return {name: value.float() for name, value in renamed.items()}
