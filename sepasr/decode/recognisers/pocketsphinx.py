"""pocketsphinx with its US English model: Gaussian mixtures, another family than all networks."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sepasr.decode.guard import Hypothesis, cap_words
from sepasr.decode.recogniser import RecogniserConfig
from sepasr.errors import UserError
from sepasr.files import sha256
from sepasr.models import REPOSITORY

if TYPE_CHECKING:
    from pocketsphinx import Decoder


SEARCH = {"beam": 1e-64, "pbeam": 1e-64, "wbeam": 1e-48, "bestpath": False}
"""With a grammar. The library's beams lose the sentence in noise, and its last pass, the best path
through the lattice, takes most of the time and reads no better: without it and with wider beams
separated streams have a third fewer word errors in half the time."""


class PocketsphinxDecoder:
    """Reads each waveform as if it were the first: no adaptation is carried over.

    It hears 16-bit samples: full scale, 1.0, is 32767. Where no sentence of the grammar ends with
    the waveform, the likeliest beginning of one is read, or nothing.

    Args:
        grammar: JSGF file of the sentences there are; without one, the bundled trigrams decide.

    Raises:
        UserError: the grammar is missing, wrong, or has words without a known pronunciation.
    """

    def __init__(self, grammar: Path | None) -> None:
        digest = "" if grammar is None else sha256(grammar)
        _load(grammar, digest)
        self._grammar, self._digest = grammar, digest
        # The package's version stands for its acoustic model, dictionary and language model.
        search = "" if grammar is None else " ".join(f"{k}={v}" for k, v in SEARCH.items())
        engine = f"pocketsphinx {version('pocketsphinx')} {search}".rstrip()
        self.identity = {"engine": engine, "grammar": digest}

    def decode(
        self, waveforms: Sequence[np.ndarray], max_tokens: Sequence[int]
    ) -> list[Hypothesis]:
        """See :class:`sepasr.decode.recogniser.Decoder`; tokens are words."""
        texts = [_read(waveform, self._grammar, self._digest) for waveform in waveforms]
        return [cap_words(text, cap) for text, cap in zip(texts, max_tokens, strict=True)]


@lru_cache(maxsize=1)
def _load(grammar: Path | None, digest: str) -> Decoder:
    """The decoder of this process; the digest makes it a new one when the grammar has changed."""
    from pocketsphinx import Decoder

    options: dict[str, Any] = {} if grammar is None else {"jsgf": str(grammar), **SEARCH}
    with tempfile.NamedTemporaryFile("r", suffix=".log") as log:
        try:
            return Decoder(loglevel="ERROR", logfn=log.name, **options)
        except RuntimeError as error:
            # The cause is only in its log: `ERROR: "file.c", line 1: cause`.
            causes = [line.split(": ", 2)[-1].strip() for line in log if line.startswith("ERROR")]
            what = f"pocketsphinx refuses it: {causes[0] if causes else error}"
            raise UserError(what, where=grammar, remedy="mend the grammar") from error


def _read(waveform: np.ndarray, grammar: Path | None, digest: str) -> str:
    decoder = _load(grammar, digest)
    decoder.reinit_feat()  # forget the cepstral mean of what was heard before
    decoder.start_utt()
    samples = np.round(np.clip(waveform, -1.0, 1.0) * 32767).astype(np.int16)
    decoder.process_raw(samples.tobytes(), full_utt=True)
    decoder.end_utt()
    best = decoder.hyp()
    return "" if best is None else best.hypstr


def build_decoder(config: RecogniserConfig, source: str) -> PocketsphinxDecoder:
    """Load the bundled model, whatever the source, with the grammar that a configuration names.

    Raises:
        UserError: the grammar can't be used.
    """
    return PocketsphinxDecoder(_grammar_file(config.grammar))


def _grammar_file(grammar: str | None) -> Path | None:
    """The grammar, seen from the working directory or from the repository's root."""
    if grammar is None:
        return None
    for candidate in (Path(grammar), REPOSITORY / grammar):
        # pocketsphinx itself crashes on a missing file.
        if candidate.is_file():
            return candidate.resolve()
    remedy = "make the corpus first (stage 0), or remove the setting: the language model decides"
    raise UserError("no such grammar", where=grammar, remedy=remedy)
