"""The pipeline of transformers for a Whisper of which there is only a CTranslate2 conversion."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from sepasr.encoder.whisper import (
    count_layers,
    from_ctranslate2,
    stack_variables,
    stack_weights,
)

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

    encoder, stored = from_ctranslate2(folder), stack_variables(folder, "decoder")
    config = encoder.config
    config.vocab_size = len(stored["embeddings/weight"])
    config.decoder_layers = count_layers(stored)
    config.decoder_attention_heads = int(stored["num_heads"])
    config.decoder_ffn_dim = len(stored["layer_0/ffn/linear_0/bias"])
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
    model.model.decoder.load_state_dict(_decoder_weights(stored))
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


def _decoder_weights(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """CTranslate2's variables of the decoder under transformers' names, in float32."""
    found = {"embed_tokens.weight": stored["embeddings/weight"]}
    for i in range(count_layers(stored)):
        source, target = f"layer_{i}/attention", f"layers.{i}.encoder_attn"
        for ours, kind in (("gamma", "weight"), ("beta", "bias")):
            found[f"{target}_layer_norm.{kind}"] = stored[f"{source}/layer_norm/{ours}"]
        for kind in ("weight", "bias"):
            # Key and value are one matrix; Whisper's key has no bias, its part is zeros.
            key, value = stored[f"{source}/linear_1/{kind}"].chunk(2)
            found[f"{target}.q_proj.{kind}"] = stored[f"{source}/linear_0/{kind}"]
            found[f"{target}.k_proj.{kind}"] = key
            found[f"{target}.v_proj.{kind}"] = value
            found[f"{target}.out_proj.{kind}"] = stored[f"{source}/linear_2/{kind}"]
        del found[f"{target}.k_proj.bias"]
    own = {name: value.float() for name, value in found.items()}
    return own | stack_weights(stored)
