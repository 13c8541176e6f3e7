"""Moonshine, a transformer on the waveform itself (arXiv 2410.15608), as ONNX Runtime runs it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sepasr.decode.guard import Hypothesis
from sepasr.decode.recogniser import RecogniserConfig
from sepasr.decode.weights import digest, require_files, weights_folder
from sepasr.errors import UserError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

ENCODER, DECODER, VOCABULARY = "encoder_model.ort", "decoder_model_merged.ort", "tokenizer.bin"
BEGIN, END = 1, 2
BYTES = range(3, 259)
"""Units that are a byte each. Those before are no text."""
MAX_TOKENS = 192
"""The decoder has 194 positions."""


class MoonshineDecoder:
    """Greedy decoding of one waveform at a time, without padding.

    Its weights are rounded to 8 bits with scales that are found anew for each input, so that what
    is read in a stream would depend on what is read beside it.

    Args:
        folder: encoder, decoder and vocabulary, as the package moonshine-voice carries them.

    Raises:
        UserError: the folder holds no such model, or ONNX Runtime can't load it.
    """

    def __init__(self, folder: Path) -> None:
        remedy = "kind moonshine reads the models of the package moonshine-voice 0.0.49 to 0.1.0"
        require_files(folder, (ENCODER, DECODER, VOCABULARY), remedy)
        content = digest(folder)
        _load(folder, content)
        self._folder, self._content = folder, content
        self.identity = {"model": content, "engine": f"onnxruntime {version('onnxruntime')}"}

    def decode(
        self, waveforms: Sequence[np.ndarray], max_tokens: Sequence[int]
    ) -> list[Hypothesis]:
        """See :class:`sepasr.decode.recogniser.Decoder`; tokens are units of the vocabulary."""
        model = _load(self._folder, self._content)
        return [
            model.read(waveform, min(cap, MAX_TOKENS))
            for waveform, cap in zip(waveforms, max_tokens, strict=True)
        ]


@lru_cache(maxsize=1)
def _load(folder: Path, _content: str) -> _Model:
    """The model of this process; the content's digest makes it a new one when that has changed."""
    return _Model(folder)


class _Model:
    def __init__(self, folder: Path) -> None:
        self._encoder, self._decoder = (_session(folder / name) for name in (ENCODER, DECODER))
        self._units = read_vocabulary(folder / VOCABULARY)
        self._past = [x for x in self._decoder.get_inputs() if x.name.startswith("past_key_")]
        self._told = [output.name for output in self._decoder.get_outputs()]

    def read(self, waveform: np.ndarray, cap: int) -> Hypothesis:
        """Read (samples,) until the end or one token more than ``cap``, which tells a cut text."""
        heard = waveform[None].astype(np.float32)
        mask = np.ones(heard.shape, np.int64)  # of samples, for the decoder, too
        [states] = self._encoder.run(None, {"input_values": heard, "attention_mask": mask})
        fixed = {"encoder_hidden_states": states, "encoder_attention_mask": mask}
        # The first step makes the keys and values of the encoder's states, which then stay.
        cache = {x.name: np.zeros((1, x.shape[1], 0, x.shape[3]), np.float32) for x in self._past}
        tokens: list[int] = []
        last = BEGIN
        while len(tokens) <= cap:
            told = self._step(last, bool(tokens), fixed, cache)
            last = int(told["logits"][0, -1].argmax())
            if last == END:
                break
            for name in cache:
                if not tokens or ".decoder." in name:
                    cache[name] = told[name.replace("past_key_values", "present")]
            tokens.append(last)
        kept = tokens[:cap]
        return Hypothesis(self.text(kept), len(kept), cut=len(tokens) > cap)

    def _step(
        self, last: int, later: bool, fixed: dict[str, np.ndarray], cache: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        given: dict[str, Any] = {
            "input_ids": np.array([[last]], np.int64),
            "use_cache_branch": np.array([later]),
        }
        return dict(zip(self._told, self._decoder.run(None, given | fixed | cache), strict=True))

    def text(self, tokens: Sequence[int]) -> str:
        """What units of the vocabulary spell."""
        spelled = b"".join(self._units[token] for token in tokens if token >= BYTES.start)
        return " ".join(spelled.decode("utf-8", "replace").replace("\u2581", " ").split())


def _session(file: Path) -> InferenceSession:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own have no common class
        raise UserError(f"cannot be loaded: {error}", where=file) from error


def read_vocabulary(file: Path) -> list[bytes]:
    """Read the units, in order: each is its length in one byte, or two from 128 on, and its bytes.

    Raises:
        UserError: the file ends within a unit.
    """
    content = file.read_bytes()
    units, place = [], 0
    while place < len(content):
        length, place = content[place], place + 1
        if length >= 128 and place < len(content):
            length, place = length - 128 + 128 * content[place], place + 1
        if place + length > len(content):
            raise UserError("ends within a unit", where=file, remedy="copy it again")
        units.append(content[place : place + length])
        place += length
    return units


def build_decoder(config: RecogniserConfig, source: str) -> MoonshineDecoder:
    """Load the model that a configuration names.

    Raises:
        UserError: it can't be had or loaded.
    """
    return MoonshineDecoder(weights_folder(config.model, config.package, source))
