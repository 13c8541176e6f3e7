"""A Whisper small enough to be made, converted and run within a test."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from sepasr.models import packaged_model

SHAPE = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
}
LANGUAGES = {
    "lang_to_id": {"<|en|>": 50259, "<|de|>": 50261},
    "task_to_id": {"translate": 50358, "transcribe": 50359},
}


def tiny_whisper(folder: Path, multilingual: bool, **shape: int) -> Path:
    """A random Whisper with a real vocabulary, saved by transformers, that listens.

    Args:
        folder: where to.
        multilingual: which vocabulary it has.
        shape: settings of its ``WhisperConfig`` that differ.
    """
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

    source = packaged_model("whisper-base" if multilingual else "whisper-tiny.en")
    end = 50257 if multilingual else 50256
    special = {
        "eos_token_id": end,
        "bos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": end + 1,
    }
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=51865 if multilingual else 51864,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        **SHAPE | shape,
        **special,
    )
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8)  # else its text does not depend on what it hears
    stored = json.loads((source / "config.json").read_text())
    model.generation_config = GenerationConfig(
        is_multilingual=multilingual,
        no_timestamps_token_id=end + 106,
        suppress_tokens=stored["suppress_ids"],
        begin_suppress_tokens=stored["suppress_ids_begin"],
        **(LANGUAGES if multilingual else {}),
        alignment_heads=[[0, 0]],
        return_timestamps=False,
        max_length=448,
        **special,
    )
    model.save_pretrained(folder)
    shutil.copy(source / "tokenizer.json", folder)
    return folder
