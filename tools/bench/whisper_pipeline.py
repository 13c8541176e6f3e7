"""The pipeline of transformers for a Whisper of which there is only a CTranslate2 conversion."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from sepasr.encoder.ct2 import read_variables
from sepasr.encoder.whisper import from_ctranslate2

LANGUAGE = re.compile(r"<\|[a-z]{2,3}\|>")
MULTILINGUAL = 51865
"""Tokens of a multilingual vocabulary, or more; an English-only one has fewer."""


def whisper_pipeline(folder: Path, language: str, device: str) -> Any:
    """A pipeline that reads with the weights of the conversion, in float32.

    Args:
        folder: the conversion, with weights that are not quantised.
        language: of the speech, for multilingual models.
        device: that it runs on.
    """
    from transformers import WhisperFeatureExtractor, WhisperTokenizerFast, pipeline

    model = whisper_of(folder)
    # English-only models refuse to be told a language.
    multilingual = model.generation_config.is_multilingual
    spoken = {"language": language, "task": "transcribe"} if multilingual else {}
    return pipeline(
        "automatic-speech-recognition",
        model=model,
        tokenizer=WhisperTokenizerFast(tokenizer_file=str(folder / "tokenizer.json")),
        feature_extractor=WhisperFeatureExtractor(feature_size=model.config.num_mel_bins),
        device=device,
        generate_kwargs=spoken,
    )


def whisper_of(folder: Path) -> Any:
    """The model of transformers with the weights of a conversion.

    The settings of the search are those that the conversion came with.
    """
    from transformers import GenerationConfig, WhisperForConditionalGeneration

    encoder, stored = from_ctranslate2(folder), read_variables(folder)
    embeddings = stored["decoder/embeddings/weight"]
    layers = {name.split("/")[1] for name in stored if name.startswith("decoder/layer_")}
    config = encoder.config
    config.vocab_size = len(embeddings)
    config.decoder_layers = len(layers - {"layer_norm"})
    config.decoder_attention_heads = int(stored["decoder/num_heads"])
    config.decoder_ffn_dim = len(stored["decoder/layer_0/ffn/linear_0/bias"])
    added = json.loads((folder / "tokenizer.json").read_text("utf-8"))["added_tokens"]
    ids = {token["content"]: token["id"] for token in added}
    special = {
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|endoftext|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "decoder_start_token_id": ids["<|startoftranscript|>"],
    }
    config.update(special)
    model = WhisperForConditionalGeneration(config)
    model.model.encoder = encoder
    model.model.decoder.load_state_dict(_decoder_weights(stored, config.decoder_layers))
    model.tie_weights()
    came_with = json.loads((folder / "config.json").read_text("utf-8"))
    multilingual = config.vocab_size >= MULTILINGUAL
    tasks = {
        # The language is the code between the bars, such as <|en|>.
        "lang_to_id": {name: i for name, i in ids.items() if LANGUAGE.fullmatch(name)},
        "task_to_id": {"transcribe": ids["<|transcribe|>"]},
    }
    model.generation_config = GenerationConfig(
        is_multilingual=multilingual,
        no_timestamps_token_id=ids["<|notimestamps|>"],
        suppress_tokens=came_with["suppress_ids"],
        begin_suppress_tokens=came_with["suppress_ids_begin"],
        return_timestamps=False,
        max_length=config.max_target_positions,
        **(tasks if multilingual else {}),
        **special,
    )
    return model.eval()


def _decoder_weights(stored: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """CTranslate2's variables of the decoder under transformers' names, in float32."""
    found = {
        "embed_tokens.weight": stored["decoder/embeddings/weight"],
        "embed_positions.weight": stored["decoder/position_encodings/encodings"],
    }
    norms = {"decoder/layer_norm": "layer_norm"}
    for i in range(layers):
        source, target = f"decoder/layer_{i}", f"layers.{i}"
        norms[f"{source}/self_attention/layer_norm"] = f"{target}.self_attn_layer_norm"
        norms[f"{source}/attention/layer_norm"] = f"{target}.encoder_attn_layer_norm"
        norms[f"{source}/ffn/layer_norm"] = f"{target}.final_layer_norm"
        for kind in ("weight", "bias"):
            for ours, theirs in (("linear_0", "fc1"), ("linear_1", "fc2")):
                found[f"{target}.{theirs}.{kind}"] = stored[f"{source}/ffn/{ours}/{kind}"]
            own, other = f"{source}/self_attention", f"{source}/attention"
            # Query, key and value are one matrix; of what the encoder gives, key and value.
            parts = {
                "self_attn": [
                    *stored[f"{own}/linear_0/{kind}"].chunk(3),
                    stored[f"{own}/linear_1/{kind}"],
                ],
                "encoder_attn": [
                    stored[f"{other}/linear_0/{kind}"],
                    *stored[f"{other}/linear_1/{kind}"].chunk(2),
                    stored[f"{other}/linear_2/{kind}"],
                ],
            }
            for name, values in parts.items():
                for projection, value in zip(("q", "k", "v", "out"), values, strict=True):
                    found[f"{target}.{name}.{projection}_proj.{kind}"] = value
        for name in ("self_attn", "encoder_attn"):
            del found[f"{target}.{name}.k_proj.bias"]  # Whisper's key has none, its part is zeros
    for source, target in norms.items():
        found[f"{target}.weight"] = stored[f"{source}/gamma"]
        found[f"{target}.bias"] = stored[f"{source}/beta"]
    return {name: value.float() for name, value in found.items()}
