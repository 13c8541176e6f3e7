"""Architectures of models that are published on the Hugging Face hub.

With them a network of the same shape can be made where its weights can't be had: its frames mean
nothing, but its parameters, its rate and its cost are those of the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


@dataclass(frozen=True)
class Architecture:
    """The shape of an encoder, as its ``config.json`` on the hub states it.

    What isn't here (convolutions, positions) is the same in all models of a kind, and the default
    of the kind's configuration in ``transformers``.

    Attributes:
        kind: ``model_type`` in ``transformers``.
        width: dimensions of a frame.
        layers: transformer layers of the encoder.
        heads: attention heads of a layer.
        feed_forward: width inside a layer's feed-forward part.
        layer_norms: whether there are layer norms in the convolutions and before the layers' parts,
            instead of one group norm and norms behind.
        conv_bias: whether the convolutions have biases.
        mel_bins: of Whisper's spectrogram.
    """

    kind: str
    width: int
    layers: int
    heads: int
    feed_forward: int
    layer_norms: bool = False
    conv_bias: bool = False
    mel_bins: int = 80

    def config(self) -> PretrainedConfig:
        """The configuration of ``transformers``."""
        from transformers import AutoConfig

        if self.kind == "whisper":
            return AutoConfig.for_model(
                self.kind,
                d_model=self.width,
                encoder_layers=self.layers,
                encoder_attention_heads=self.heads,
                encoder_ffn_dim=self.feed_forward,
                num_mel_bins=self.mel_bins,
            )
        norms: dict[str, Any] = {}
        if self.kind in ("wav2vec2", "hubert", "wavlm"):
            norms = {
                "feat_extract_norm": "layer" if self.layer_norms else "group",
                "do_stable_layer_norm": self.layer_norms,
                "conv_bias": self.conv_bias,
            }
        return AutoConfig.for_model(
            self.kind,
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=self.feed_forward,
            **norms,
        )

    def random_model(self, seed: int = 0) -> PreTrainedModel:
        """The network with random weights; of a Whisper the encoder alone."""
        import torch
        from transformers import AutoModel
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if self.kind == "whisper":
                return WhisperEncoder._from_config(self.config())
            return AutoModel.from_config(self.config())

    def save_random(self, folder: Path) -> None:
        """Write the network with random weights, as ``from_pretrained`` reads it."""
        from safetensors.torch import save_file

        model = self.random_model()
        model.config.save_pretrained(folder)
        save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})


_WAV2VEC2_BASE = Architecture("wav2vec2", 768, 12, 12, 3072)
_WAV2VEC2_LARGE = Architecture("wav2vec2", 1024, 24, 16, 4096)
# Layer norms: all that were trained on Libri-Light, or on many languages.
_WAV2VEC2_LARGE_LV60 = Architecture("wav2vec2", 1024, 24, 16, 4096, True, True)
_HUBERT_BASE = Architecture("hubert", 768, 12, 12, 3072)
_HUBERT_LARGE = Architecture("hubert", 1024, 24, 16, 4096, True, True)
_WAVLM_BASE = Architecture("wavlm", 768, 12, 12, 3072)
_WAVLM_LARGE = Architecture("wavlm", 1024, 24, 16, 4096, True)
_DATA2VEC_BASE = Architecture("data2vec-audio", 768, 12, 12, 3072)
_DATA2VEC_LARGE = Architecture("data2vec-audio", 1024, 24, 16, 4096)
_W2V_BERT = Architecture("wav2vec2-bert", 1024, 24, 16, 4096)
_WHISPER_TINY = Architecture("whisper", 384, 4, 6, 1536)
_WHISPER_BASE = Architecture("whisper", 512, 6, 8, 2048)
_WHISPER_SMALL = Architecture("whisper", 768, 12, 12, 3072)
_WHISPER_MEDIUM = Architecture("whisper", 1024, 24, 16, 4096)
_WHISPER_LARGE_V2 = Architecture("whisper", 1280, 32, 20, 5120)
_WHISPER_LARGE_V3 = Architecture("whisper", 1280, 32, 20, 5120, mel_bins=128)

PUBLISHED = {
    "facebook/wav2vec2-base": _WAV2VEC2_BASE,
    "facebook/wav2vec2-base-100h": _WAV2VEC2_BASE,
    "facebook/wav2vec2-base-960h": _WAV2VEC2_BASE,
    "facebook/wav2vec2-large": _WAV2VEC2_LARGE,
    "facebook/wav2vec2-large-960h": _WAV2VEC2_LARGE,
    "facebook/wav2vec2-large-lv60": _WAV2VEC2_LARGE_LV60,
    "facebook/wav2vec2-large-960h-lv60": _WAV2VEC2_LARGE_LV60,
    "facebook/wav2vec2-large-960h-lv60-self": _WAV2VEC2_LARGE_LV60,
    "facebook/wav2vec2-large-xlsr-53": _WAV2VEC2_LARGE_LV60,
    "facebook/wav2vec2-xls-r-300m": _WAV2VEC2_LARGE_LV60,
    "facebook/hubert-base-ls960": _HUBERT_BASE,
    "facebook/hubert-large-ll60k": _HUBERT_LARGE,
    "facebook/hubert-large-ls960-ft": _HUBERT_LARGE,
    "microsoft/wavlm-base": _WAVLM_BASE,
    "microsoft/wavlm-base-plus": _WAVLM_BASE,
    "microsoft/wavlm-large": _WAVLM_LARGE,
    "facebook/data2vec-audio-base": _DATA2VEC_BASE,
    "facebook/data2vec-audio-base-960h": _DATA2VEC_BASE,
    "facebook/data2vec-audio-large": _DATA2VEC_LARGE,
    "facebook/data2vec-audio-large-960h": _DATA2VEC_LARGE,
    "facebook/w2v-bert-2.0": _W2V_BERT,
    "openai/whisper-tiny": _WHISPER_TINY,
    "openai/whisper-tiny.en": _WHISPER_TINY,
    "openai/whisper-base": _WHISPER_BASE,
    "openai/whisper-base.en": _WHISPER_BASE,
    "openai/whisper-small": _WHISPER_SMALL,
    "openai/whisper-small.en": _WHISPER_SMALL,
    "openai/whisper-medium": _WHISPER_MEDIUM,
    "openai/whisper-medium.en": _WHISPER_MEDIUM,
    "openai/whisper-large-v2": _WHISPER_LARGE_V2,
    "openai/whisper-large-v3": _WHISPER_LARGE_V3,
    "openai/whisper-large-v3-turbo": _WHISPER_LARGE_V3,
}
"""By name on the hub."""
