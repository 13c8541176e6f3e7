"""Whisper on transformers, for checkpoints that were not converted to CTranslate2."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from sepasr.decode.device import to_device
from sepasr.decode.guard import Hypothesis
from sepasr.decode.hearing import FS
from sepasr.decode.recogniser import RecogniserConfig
from sepasr.decode.recognisers.whisper import (
    MAX_TOKENS,
    WhisperTokens,
    read_up_to,
    searched,
    spoken_language,
)
from sepasr.decode.weights import digest, require_files, weights_folder
from sepasr.errors import UserError
from sepasr.weights import pretrained_config, pretrained_model


class TransformersWhisperDecoder:
    """The same decoding as :class:`sepasr.decode.recognisers.whisper.WhisperDecoder`, in float32.

    Args:
        folder: a Whisper model made by ``save_pretrained``.
        language: of the speech; en for a model that knows English alone.
        beam: hypotheses kept.
        device: that the model runs on.

    Raises:
        UserError: the folder holds no such model.
    """

    def __init__(self, folder: Path, *, language: str, beam: int, device: str) -> None:
        import transformers

        remedy = "a directory made by save_pretrained, or kind whisper for a CTranslate2 conversion"
        require_files(folder, ("config.json", "generation_config.json"), remedy)
        config = pretrained_config(folder)
        if config.model_type != "whisper":
            what = f"a {config.model_type} model, not a Whisper"
            raise UserError(what, where=folder, remedy="see conf/asr for models of other families")
        cls = transformers.WhisperForConditionalGeneration
        self._model = to_device(pretrained_model(cls, folder, config), device)
        self._model.generation_config.max_length = None  # the guard says how long
        self._extractor = transformers.WhisperFeatureExtractor(feature_size=config.num_mel_bins)
        self._tokens = WhisperTokens(folder)
        multilingual = getattr(self._model.generation_config, "is_multilingual", None)
        if multilingual is None:
            what = "generation_config.json does not say whether it is multilingual"
            raise UserError(what, where=folder, remedy="take the one of openai/whisper-*")
        spoken = spoken_language(language, multilingual, folder)
        self._spoken = {"language": spoken, "task": "transcribe"} if spoken else {}
        self._prompt = self._tokens.prompt(spoken)
        self._beam = beam
        self.identity = {
            "model": digest(folder),
            "engine": f"transformers {transformers.__version__} on {self._model.device.type}",
            "language": str(spoken),
            "beam": searched(beam),
        }

    @torch.inference_mode()
    def decode(
        self, waveforms: Sequence[np.ndarray], max_tokens: Sequence[int]
    ) -> list[Hypothesis]:
        """See :class:`sepasr.decode.recogniser.Decoder`; tokens are units of the vocabulary."""
        caps = [min(cap, MAX_TOKENS - 1) for cap in max_tokens]
        heard = self._extractor(
            list(waveforms), sampling_rate=FS, return_attention_mask=True, return_tensors="pt"
        )
        generated = self._model.generate(
            **heard.to(self._model.device),
            **self._spoken,
            num_beams=self._beam,
            do_sample=False,
            return_timestamps=False,
            max_new_tokens=read_up_to(caps, self._beam),
        )
        return [
            self._tokens.hypothesis(self._transcript(row), cap)
            for row, cap in zip(generated.tolist(), caps, strict=True)
        ]

    def _transcript(self, row: list[int]) -> list[int]:
        """The generated tokens of a row, without prompt, end and padding."""
        if row[: len(self._prompt)] == self._prompt:
            row = row[len(self._prompt) :]
        end = self._model.generation_config.eos_token_id
        return row[: row.index(end)] if end in row else row


def build_decoder(config: RecogniserConfig, source: str) -> TransformersWhisperDecoder:
    """Load the model that a configuration names.

    Raises:
        UserError: it can't be had or loaded.
    """
    return TransformersWhisperDecoder(
        weights_folder(config.model, config.package, source, config.revision),
        language=config.language,
        beam=config.beam,
        device=config.device,
    )
