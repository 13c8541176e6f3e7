"""Any ESPnet ASR model, by ``espnet2.bin.asr_inference.Speech2Text``."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from sepasr.decode.device import to_device
from sepasr.decode.guard import Hypothesis
from sepasr.decode.hearing import FS
from sepasr.decode.recogniser import RecogniserConfig
from sepasr.decode.weights import weights_place
from sepasr.errors import UserError
from sepasr.foreign import (
    EspnetModel,
    espnet_built,
    espnet_import,
    espnet_snapshot,
    load_state,
    state_dict,
)
from sepasr.models import resolve_model

SPECIAL = re.compile(r"<.*>")  # <unk>, <sos/eos>, <NOISE>: no words
# Time-synchronous decoding. ESPnet's default search may add tokens to one frame without end.
TRANSDUCER = {"search_type": "tsd", "max_sym_exp": 3}
WORDS = ("bpe", "char", "hugging_face", "word")


class EspnetDecoder:
    """Beam search over the scores of CTC, attention decoder and language model, or a transducer.

    One waveform at a time, as ESPnet does it: a batch changes nothing. The search is ESPnet's own
    and ends by itself, with one token a frame at the latest; what the guard caps is its result.

    ``Speech2Text`` is built without files of weights, which it would unpickle, and without minding
    what is missing from them; they are read safely and loaded strictly afterwards.

    Args:
        model: the ASR model.
        lm: the language model, if one takes part.
        config: beam, weights of the scores, and device.

    Raises:
        UserError: the model can't be loaded, or not be searched so.
    """

    def __init__(
        self, model: EspnetModel, lm: EspnetModel | None, config: RecogniserConfig
    ) -> None:
        to_device(torch.nn.Linear(1, 1), config.device)
        _check(model)
        inference = espnet_import("espnet2.bin.asr_inference")
        # It warns of every search that ends at a token a frame; capping is the guard's task.
        logging.getLogger("espnet").setLevel(logging.ERROR)
        subsampling = espnet_import("espnet.nets.pytorch_backend.transformer.subsampling")
        self._too_short = subsampling.TooShortUttError
        weights = [state_dict(part) for part in (model, lm) if part is not None]
        for part in (model, lm):
            if part is not None:
                part.check_pickles()
        with tempfile.TemporaryDirectory() as folder:
            options = {
                "asr_train_config": _settings_file(model, Path(folder) / "asr.yaml"),
                "lm_train_config": lm and _settings_file(lm, Path(folder) / "lm.yaml"),
                "device": config.device,
                "beam_size": config.beam,
                "ctc_weight": config.ctc_weight,
                "lm_weight": config.lm_weight,
                "penalty": config.length_bonus,
                "transducer_conf": TRANSDUCER,
            }
            self._speech2text = espnet_built(lambda: inference.Speech2Text(**options), model.config)
        network = self._speech2text.asr_model
        load_state(network, weights[0], model.weights)
        if lm is not None:
            load_state(self._language_model(), _without_prefix(weights[1]), lm.weights)
        _check_scores(network, config, model.config)
        self.identity = {
            "model": model.digest(),
            "lm": lm.digest() if lm else "",
            "engine": f"espnet {version('espnet')} on {torch.device(config.device).type}",
            "beam": str(config.beam),
            "ctc_weight": str(config.ctc_weight),
            "lm_weight": str(config.lm_weight if lm else 0),
            "length_bonus": str(config.length_bonus),
        }

    def _language_model(self) -> Any:
        transducer = self._speech2text.beam_search_transducer
        return transducer.lm if transducer else self._speech2text.beam_search.scorers["lm"]

    def decode(
        self, waveforms: Sequence[np.ndarray], max_tokens: Sequence[int]
    ) -> list[Hypothesis]:
        """See :class:`sepasr.decode.recogniser.Decoder`; tokens are units of the vocabulary."""
        return [self._read(*pair) for pair in zip(waveforms, max_tokens, strict=True)]

    def _read(self, waveform: np.ndarray, cap: int) -> Hypothesis:
        try:
            found = self._speech2text(waveform)
        except self._too_short:
            return Hypothesis("", 0, cut=False)
        # Models with intermediate CTC losses give what those read, too.
        best = (found[0] if isinstance(found, tuple) else found)[:1]
        tokens = best[0][1] if best else []
        return Hypothesis(self._text(tokens[:cap]), min(len(tokens), cap), cut=len(tokens) > cap)

    def _text(self, tokens: Sequence[str]) -> str:
        tokenizer = self._speech2text.tokenizer
        space = getattr(tokenizer, "space_symbol", None)
        words = [t for t in tokens if t == space or not SPECIAL.fullmatch(t)]
        return " ".join(tokenizer.tokens2text(words).split())


def _settings_file(model: EspnetModel, file: Path) -> str:
    """The settings with absolute paths, for ESPnet to read."""
    file.write_text(yaml.safe_dump(model.settings, allow_unicode=True), encoding="utf-8")
    return str(file)


def _without_prefix(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of the language model alone, which training wraps in its loss."""
    return {name.removeprefix("lm."): value for name, value in weights.items()}


def _check(model: EspnetModel) -> None:
    if model.fs != FS:
        remedy = f"take a model for {FS} Hz"
        raise UserError(f"it hears {model.fs} Hz", where=model.config, remedy=remedy)
    units = model.settings.get("token_type")
    if units not in WORDS:
        remedy = f"a model with units of type {', '.join(WORDS)}"
        raise UserError(f"its units are of type {units}", where=model.config, remedy=remedy)
    # ESPnet looks for it only when the first tokens are to be joined.
    pieces = model.settings.get("bpemodel")
    if units == "bpe" and not (pieces and Path(pieces).is_file()):
        what = f"its sentencepiece model (bpemodel) is missing: {pieces}"
        raise UserError(what, where=model.config, remedy="complete the directory")


def _check_scores(network: Any, config: RecogniserConfig, where: Path) -> None:
    """Refuse what ESPnet would leave out of a hypothesis's score silently."""
    transducer = network.use_transducer_decoder
    wrong = {
        "it has no attention decoder (set ctc_weight: 1)": (
            not transducer and network.decoder is None and config.ctc_weight != 1
        ),
        "it has no CTC (set ctc_weight: 0)": (
            not transducer and network.ctc is None and config.ctc_weight != 0
        ),
        "a transducer takes a language model only with a beam above 1": (
            transducer and config.lm_weight != 0 and config.beam == 1
        ),
    }
    for cause, true in wrong.items():
        if true:
            raise UserError(cause, where=where)


def build_decoder(config: RecogniserConfig, source: str) -> EspnetDecoder:
    """Load the model that a configuration names: a directory, a zip, or a name on the hub.

    Raises:
        UserError: it can't be had or loaded.
    """
    place = weights_place(config.model, config.package, source, config.revision, espnet_snapshot)
    lm = None
    if config.lm_weight:
        own = resolve_model(config.lm) if config.lm else place
        if isinstance(own, str):
            raise UserError("no such language model", where=own, remedy="name a directory or a zip")
        lm = EspnetModel.find(own, kind="lm")
    elif config.lm:
        raise UserError(
            "lm without lm_weight", where=config.name, remedy="set lm_weight, such as 0.6"
        )
    return EspnetDecoder(EspnetModel.find(place), lm, config)
