"""Whisper's encoder on PyTorch, for the number types that CTranslate2 is slow in or lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from sepasr.errors import UserError

AUTO = "auto"
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def chosen_type(asked: str | None, device: str) -> str | None:
    """The number type that a setting ``encoder_type`` stands for on this machine.

    ``auto`` is bfloat16 on a CPU that multiplies matrices of it (AMX): there the
    encoder, most of the work for a stream, takes a third of CTranslate2's time. Elsewhere it is
    none, which leaves the encoder to CTranslate2.

    Returns:
        A key of ``TYPES``, or None.

    Raises:
        UserError: it stands for none, or asks for one on another device than a CPU.
    """
    if asked == AUTO:
        return "bfloat16" if device == "cpu" and _multiplies_bfloat16() else None
    if asked is None:
        return None
    if asked not in TYPES:
        remedy = f"known: {AUTO}, {', '.join(TYPES)}, null"
        raise UserError(f"unknown encoder_type '{asked}'", remedy=remedy)
    if device != "cpu":
        remedy = "leave it out; on a GPU compute_type holds for all of the model"
        raise UserError(f"encoder_type {asked} is for a CPU, not for {device}", remedy=remedy)
    return asked


def type_for(folder: Path, asked: str | None, device: str) -> str | None:
    """What :func:`chosen_type` says, for one conversion.

    ``auto`` is none where its weights are quantised: only CTranslate2 computes with those.

    Raises:
        UserError: see :func:`chosen_type`; or a type is asked for of quantised weights.
    """
    chosen = chosen_type(asked, device)
    if chosen is None or not _is_quantised(folder):
        return chosen
    if asked == AUTO:
        return None
    remedy = f"set encoder_type: {AUTO} or null, or convert with --quantization float16"
    what = f"encoder_type {asked} can't be had of quantised weights"
    raise UserError(what, where=folder, remedy=remedy)


def _is_quantised(folder: Path) -> bool:
    from sepasr.encoder.whisper import quantised, stack_variables

    return bool(quantised(stack_variables(folder, "encoder")))


def _multiplies_bfloat16() -> bool:
    # Products of rows alone (AVX-512 BF16) are no faster than CTranslate2's of integers.
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


class TorchWhisperEncoder:
    """The encoder of a CTranslate2 conversion, one stream at a time.

    Several at a time are no faster: one fills the caches.

    Args:
        folder: the conversion, with weights that are not quantised.
        number_type: a key of ``TYPES``. Weights and states are in it.
        threads: of the computation.

    Attributes:
        engine: software and number type.

    Raises:
        UserError: the folder holds no such weights.
    """

    def __init__(self, folder: Path, number_type: str, threads: int) -> None:
        from sepasr.encoder.whisper import from_ctranslate2

        model: nn.Module = from_ctranslate2(folder)  # transformers types its `to` otherwise
        self._model = model.to(TYPES[number_type]).eval()
        self._type = number_type
        self._threads = threads
        self.engine = f"torch {torch.__version__} in {number_type}"

    @torch.inference_mode()
    def __call__(self, features: np.ndarray) -> np.ndarray:
        """States of the encoder.

        Args:
            features: (mel bins, 3000), the log-mel spectrogram of 30 s.

        Returns:
            (1, 1500, width), float32.

        Raises:
            UserError: they are not finite.
        """
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            heard = torch.from_numpy(features).to(TYPES[self._type])
            states = self._model(heard[None]).last_hidden_state.float()
        finally:
            torch.set_num_threads(before)
        if not torch.isfinite(states).all():
            what = f"states of Whisper's encoder in {self._type} are not finite"
            raise UserError(what, remedy="run it again, or set encoder_type: float32")
        return states.numpy()
