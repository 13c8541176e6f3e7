"""Encoders of transformers with a CTC head, read greedily."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from sepasr.decode.device import to_device
from sepasr.decode.guard import Hypothesis, cap_words
from sepasr.decode.hearing import FS
from sepasr.decode.recogniser import RecogniserConfig
from sepasr.decode.weights import digest, require_files, weights_folder
from sepasr.errors import UserError
from sepasr.weights import UNMASKED, pretrained_config, pretrained_model

# Those that mask padding in every layer, if their convolutions have layer norms and no adapter
# follows them. Others read waveforms of one length together: data2vec has five convolutions over
# positions and the Wav2Vec2 Conformer one in each layer, which see what lies beyond the mask.
MASKED = {"hubert", "wav2vec2", "wavlm"}
FAMILIES = {*MASKED, "data2vec-audio", "wav2vec2-bert", "wav2vec2-conformer"}
EXTRACTORS = ("processor_config.json", "preprocessor_config.json")
"""What a processor saves of its feature extractor, and what an extractor saves by itself."""


def collapse(path: Sequence[int], blank: int) -> list[int]:
    """The units of a CTC path: runs of one unit count once, then blanks fall away.

    >>> collapse([0, 7, 7, 0, 7, 3, 3], blank=0)
    [7, 7, 3]
    """
    return [unit for unit, _ in groupby(path) if unit != blank]


class Units(Protocol):
    """What the outputs of a CTC head stand for.

    Attributes:
        identity: what decides the text beside the model's files.
    """

    identity: Mapping[str, str]

    def text(self, path: Sequence[int]) -> str:
        """The text of a path, one output unit per frame."""
        ...


class SentencePieceUnits:
    """Units of a sentencepiece model, after the blank, which is unit 0.

    Args:
        file: the sentencepiece model.
        outputs: size of the CTC head.

    Raises:
        UserError: the two don't fit.
    """

    identity: Mapping[str, str] = {}

    def __init__(self, file: Path, outputs: int) -> None:
        from sentencepiece import SentencePieceProcessor

        try:
            self._pieces = SentencePieceProcessor(model_file=str(file))
        except (OSError, RuntimeError) as error:
            raise UserError("not a sentencepiece model", where=file) from error
        if outputs != self._pieces.get_piece_size() + 1:
            what = f"{self._pieces.get_piece_size()} pieces and a blank for {outputs} outputs"
            raise UserError(
                what, where=file, remedy="model and units belong to different trainings"
            )

    def text(self, path: Sequence[int]) -> str:
        """See :class:`Units`."""
        return self._pieces.decode([unit - 1 for unit in collapse(path, blank=0)])


class TokenizerUnits:
    """Units of a tokenizer of transformers; its special ones, such as ``<unk>``, are no text.

    Args:
        folder: where it was saved.
        outputs: size of the CTC head.
        blank: the head's output that stands for no unit.

    Raises:
        UserError: there is none, or it doesn't fit the head.
    """

    identity: Mapping[str, str] = {"special units": "left out"}

    def __init__(self, folder: Path, outputs: int, blank: int) -> None:
        from transformers import Wav2Vec2CTCTokenizer

        remedy = "a complete model has vocab.json (transformers) or spm.model (sentencepiece)"
        require_files(folder, ("vocab.json",), remedy)
        self._tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(folder)
        self._blank = blank
        own, padding = self._tokenizer.vocab_size, self._tokenizer.pad_token_id
        remedy = "take the units that it was trained with, and their tokenizer_config.json"
        # Tokenizers add <s> and </s> to a vocabulary without them: some heads count those, too.
        if outputs not in (own, len(self._tokenizer)):
            what = f"{own} units for {outputs} outputs"
            raise UserError(what, where=folder / "vocab.json", remedy=remedy)
        if padding != blank:
            what = f"the padding {self._tokenizer.pad_token} is unit {padding}, the blank {blank}"
            raise UserError(what, where=folder / "vocab.json", remedy=remedy)

    def text(self, path: Sequence[int]) -> str:
        """See :class:`Units`."""
        # Collapsed before: the tokenizer would leave out special units first, the blank among them.
        units = collapse(path, self._blank)
        return self._tokenizer.decode(units, group_tokens=False, skip_special_tokens=True)


class CtcDecoder:
    """Greedy CTC: the best unit of every frame, collapsed.

    Models with a group norm take statistics over time and were trained without an attention mask:
    padding would change what they read, so only waveforms of one length share a batch. Those that
    mask it are padded.

    Args:
        folder: a model made by ``save_pretrained``, in float32 or float16, with its units,
            ``vocab.json`` or ``spm.model``, and ``processor_config.json`` or
            ``preprocessor_config.json``, which says what is heard, waveforms or filterbanks.
        device: that the model runs on.

    Raises:
        UserError: the folder holds no such model.
    """

    def __init__(self, folder: Path, *, device: str) -> None:
        import transformers

        require_files(folder, ("config.json",), "a directory made by save_pretrained")
        config = pretrained_config(folder, **UNMASKED)
        if config.model_type not in FAMILIES:
            what = f"a {config.model_type} model, none of {', '.join(sorted(FAMILIES))}"
            raise UserError(what, where=folder, remedy="see conf/asr for models of other families")
        cls = transformers.AutoModelForCTC
        self._model = to_device(pretrained_model(cls, folder, config), device)
        self._extractor = _extractor(folder)
        if self._extractor.sampling_rate != FS:
            what = f"it hears {self._extractor.sampling_rate} Hz"
            raise UserError(what, where=folder, remedy=f"take a model for {FS} Hz")
        self._equal_lengths = not _is_masked(config)
        # Filterbanks are filled up to pairs of frames, even for a single waveform.
        self._mask = not self._equal_lengths or config.model_type == "wav2vec2-bert"
        self._units = self._read_units(folder, config)
        self.identity = {
            "model": digest(folder),
            "engine": f"transformers {transformers.__version__} on {self._model.device.type}",
            **self._units.identity,
        }

    @staticmethod
    def _read_units(folder: Path, config: Any) -> Units:
        pieces = folder / "spm.model"
        if pieces.is_file():
            return SentencePieceUnits(pieces, config.vocab_size)
        return TokenizerUnits(folder, config.vocab_size, config.pad_token_id)

    def decode(
        self, waveforms: Sequence[np.ndarray], max_tokens: Sequence[int]
    ) -> list[Hypothesis]:
        """See :class:`sepasr.decode.recogniser.Decoder`; tokens are words."""
        batches: dict[int, list[int]] = defaultdict(list)
        for i, waveform in enumerate(waveforms):
            batches[len(waveform) if self._equal_lengths else 0].append(i)
        texts: dict[int, str] = {}
        for rows in batches.values():
            paths = self._paths([waveforms[i] for i in rows])
            texts.update((i, self._units.text(path)) for i, path in zip(rows, paths, strict=True))
        return [cap_words(texts[i], cap) for i, cap in enumerate(max_tokens)]

    @torch.inference_mode()
    def _paths(self, waveforms: Sequence[np.ndarray]) -> list[list[int]]:
        """The best unit of each valid frame of each waveform."""
        heard = self._extractor(
            list(waveforms),
            sampling_rate=FS,
            padding=True,
            return_attention_mask=self._mask,
            return_tensors="pt",
        ).to(self._model.device)
        paths = self._model(**heard).logits.argmax(dim=-1).tolist()
        if not self._mask:
            return paths
        lengths = heard["attention_mask"].sum(-1)
        frames = self._model._get_feat_extract_output_lengths(lengths).tolist()
        return [path[:valid] for path, valid in zip(paths, frames, strict=True)]


def _is_masked(config: Any) -> bool:
    """Whether padding that is masked can't change what is read."""
    return (
        config.model_type in MASKED
        and config.feat_extract_norm == "layer"
        and not getattr(config, "add_adapter", False)
    )


def _extractor(folder: Path) -> Any:
    """What makes the model's input, as its training had it."""
    from transformers import AutoFeatureExtractor

    found = [name for name in EXTRACTORS if (folder / name).is_file()]
    if not found:
        what, remedy = f"neither {' nor '.join(EXTRACTORS)}", "save its processor there, too"
        raise UserError(what, where=folder, remedy=remedy)
    try:
        return AutoFeatureExtractor.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        cause = next(iter(str(error).splitlines()), type(error).__name__)
        what = f"{found[0]} is not usable: {cause}"
        raise UserError(what, where=folder, remedy="take the model's own") from error


def build_decoder(config: RecogniserConfig, source: str) -> CtcDecoder:
    """Load the model that a configuration names.

    Raises:
        UserError: it can't be had or loaded.
    """
    return CtcDecoder(
        weights_folder(config.model, config.package, source, config.revision), device=config.device
    )
