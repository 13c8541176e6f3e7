"""Whisper on CTranslate2, the engine of faster-whisper, many streams at a time.

Its encoder may run on PyTorch instead, see :mod:`sepasr.decode.recognisers.whisper_encoder`.
"""

from __future__ import annotations

import ctypes
import re
import site
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sepasr.decode.guard import Hypothesis
from sepasr.decode.hearing import FS, MAX_WINDOW_S
from sepasr.decode.recogniser import RecogniserConfig, cores
from sepasr.decode.recognisers.whisper_encoder import TorchWhisperEncoder, type_for
from sepasr.decode.weights import digest, require_files, weights_folder
from sepasr.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CUBLAS = "libcublas.so.12"
HOP = 160  # samples between frames of the spectrogram
FRAMES = round(MAX_WINDOW_S * FS) // HOP
# Half of the decoder's 448 positions, as in OpenAI's code: the other half is for a prompt.
MAX_TOKENS = 224
ENGLISH = "en"
SLOW_TOKENIZER = ("vocab.json", "merges.txt")
SPECIAL = re.compile(r"<\|[a-z]+\|>")
"""Tokens that are no text; not those of timestamps, which tokenizer.json has as others, too."""
ANY_TYPE = ("auto", "default")
"""Compute types that stand for one of those that a device has: its fastest, the stored weights'."""


def read_up_to(caps: Sequence[int], beam: int) -> int:
    """How many tokens a batch may get: one more than a cap tells a cut text from one that fits.

    From left to right, no text depends on where another one ends. What a beam keeps does depend on
    the end of the search, which therefore is the same in every batch.
    """
    return max(caps) + 1 if beam == 1 else MAX_TOKENS


def searched(beam: int) -> str:
    """What a beam is called in a decoder's identity."""
    return "1" if beam == 1 else f"{beam}, up to {MAX_TOKENS} tokens"


def spoken_language(language: str, multilingual: bool, folder: Path) -> str | None:
    """What a model is told of the language: nothing if it knows English alone.

    Raises:
        UserError: it knows English alone, and another one is spoken.
    """
    if multilingual:
        return language
    if language != ENGLISH:
        what, remedy = f"an English-only model for language {language}", "take a multilingual one"
        raise UserError(what, where=folder, remedy=remedy)
    return None


class WhisperTokens:
    """The tokens of one Whisper vocabulary.

    Args:
        folder: holds ``tokenizer.json``, or what a slow tokenizer of transformers saves:
            ``vocab.json``, ``merges.txt`` and the special tokens.

    Raises:
        UserError: neither is there.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        whole = folder / "tokenizer.json"
        if not whole.is_file() and all((folder / name).is_file() for name in SLOW_TOKENIZER):
            self._tokenizer = _from_slow(folder)
        else:
            remedy = f"a complete Whisper model has it, or else {' and '.join(SLOW_TOKENIZER)}"
            require_files(folder, (whole.name,), remedy)
            self._tokenizer = Tokenizer.from_file(str(whole))
        self._folder = folder

    def prompt(self, language: str | None) -> list[int]:
        """The tokens before the transcript, for a language, or None for an English-only model.

        Raises:
            UserError: the vocabulary lacks one of them.
        """
        middle = [] if language is None else [language, "transcribe"]
        names = [f"<|{name}|>" for name in ("startoftranscript", *middle, "notimestamps")]
        ids = []
        for name in names:
            token = self._tokenizer.token_to_id(name)
            if token is None:
                remedy = "check the language and the model"
                what = f"no token {name} in its vocabulary"
                raise UserError(what, where=self._folder, remedy=remedy)
            ids.append(token)
        return ids

    def hypothesis(self, tokens: Sequence[int], max_tokens: int) -> Hypothesis:
        """The text of generated tokens, cut after ``max_tokens``.

        Greedy decoding is from left to right, so this is what generating no more would have given;
        of a beam it is the beginning of the best text.
        """
        kept = tokens[:max_tokens]
        text = self._tokenizer.decode(list(kept), skip_special_tokens=True)
        return Hypothesis(" ".join(text.split()), len(kept), cut=len(tokens) > max_tokens)


def _from_slow(folder: Path) -> Tokenizer:
    from transformers import WhisperTokenizer

    loaded = WhisperTokenizer.from_pretrained(folder)
    tokenizer = loaded.backend_tokenizer
    # Where only special_tokens_map.json says which they are, they would stay in texts.
    special = [token for token in loaded.get_added_vocab() if SPECIAL.fullmatch(token)]
    tokenizer.add_special_tokens(special)
    return tokenizer


class WhisperDecoder:
    """Greedy or beam search from the 30 s window that Whisper was trained on.

    One pass at temperature 0, without timestamps, without context from other streams and without
    retrying at higher temperatures: what it reads first is its answer.

    Args:
        folder: a CTranslate2 conversion of a Whisper model.
        language: of the speech; en for a model that knows English alone.
        beam: hypotheses kept.
        compute_type: number type of CTranslate2's computation.
        encoder_type: number type of the encoder on PyTorch, see :func:`type_for`; None leaves
            the encoder to CTranslate2.
        device: cpu, cuda, or cuda:1 and so on.
        threads: of the computation on a CPU. Workers with streams of their own are a third faster
            than one with all the threads.
        streams: how many it is given at a time.

    Raises:
        UserError: the folder holds no such model, or the device can't run it so.
    """

    def __init__(
        self,
        folder: Path,
        *,
        language: str,
        beam: int,
        compute_type: str,
        encoder_type: str | None,
        device: str,
        threads: int,
        streams: int,
    ) -> None:
        import ctranslate2
        from faster_whisper.feature_extractor import FeatureExtractor

        kind, number = _checked_device(device, compute_type)
        remedy = "kind whisper reads CTranslate2 conversions; whisper_transformers reads the others"
        require_files(folder, ("model.bin", "config.json"), remedy)
        workers = max(1, min(threads, streams // 2)) if kind == "cpu" else 1
        # Two helpings for each of several, since some streams take longer than others.
        self._helping = streams if workers == 1 else -(-streams // (2 * workers))
        try:
            self._model = ctranslate2.models.Whisper(
                str(folder),
                device=kind,
                device_index=number,
                compute_type=compute_type,
                inter_threads=workers,
                intra_threads=max(1, threads // workers),
            )
        except (RuntimeError, ValueError) as error:
            raise UserError(f"cannot be loaded: {error}", where=folder, remedy=remedy) from error
        number_type = type_for(folder, encoder_type, kind)
        self._encoder = number_type and TorchWhisperEncoder(folder, number_type, threads)
        self._extractor = FeatureExtractor(feature_size=self._model.n_mels)
        self._tokens = WhisperTokens(folder)
        spoken = spoken_language(language, self._model.is_multilingual, folder)
        self._prompt = self._tokens.prompt(spoken)
        self._beam = beam
        self.identity = {
            "model": digest(folder),
            "engine": f"ctranslate2 {ctranslate2.__version__} on {self._model.device}",
            "compute_type": self._model.compute_type,
            "language": str(spoken),
            "beam": searched(beam),
        } | ({"encoder": self._encoder.engine} if self._encoder else {})

    def decode(
        self, waveforms: Sequence[np.ndarray], max_tokens: Sequence[int]
    ) -> list[Hypothesis]:
        """See :class:`sepasr.decode.recogniser.Decoder`; tokens are units of the vocabulary."""
        import ctranslate2

        caps = [min(cap, MAX_TOKENS - 1) for cap in max_tokens]
        pending = []
        for start in range(0, len(waveforms), self._helping):
            helping = waveforms[start : start + self._helping]
            features = [self.features(waveform) for waveform in helping]
            # CTranslate2 tells spectrograms from states by their shapes.
            heard = (
                np.concatenate([self._encoder(one) for one in features])
                if self._encoder
                else np.stack(features)
            )
            pending += self._model.generate(
                ctranslate2.StorageView.from_array(heard),
                [self._prompt] * len(helping),
                beam_size=self._beam,
                # CTranslate2 generates half of max_length.
                max_length=2 * max(read_up_to(caps, self._beam), len(self._prompt) + 1),
                asynchronous=True,
            )
        sequences = [part.result().sequences_ids[0] for part in pending]
        return [self._tokens.hypothesis(*pair) for pair in zip(sequences, caps, strict=True)]

    def features(self, waveform: np.ndarray) -> np.ndarray:
        """The log-mel spectrogram of a waveform and the silence that fills it up to 30 s.

        faster-whisper fills up the spectrogram with zeros instead, which is noise to the model. In
        OpenAI's code and in transformers it is silence that is appended, as it was in training.

        Args:
            waveform: (samples,) at 16 kHz, at most 30 s.

        Returns:
            (mel bins, 3000), float32.
        """
        # 50 ms of silence end in a frame without any speech; all later ones are like it.
        mel = self._extractor(waveform, padding=5 * HOP)
        missing = max(0, FRAMES - mel.shape[1])
        return np.pad(mel, ((0, 0), (0, missing)), mode="edge")[:, :FRAMES].copy()


def _load_cublas(device: str) -> None:
    """Load the cuBLAS that CTranslate2 will look for by this name once it computes.

    PyTorch's CUDA 13 brings another version; where pip installs this one no loader looks.

    Raises:
        UserError: there is none.
    """
    places = [Path(place, "nvidia", "cublas", "lib", CUBLAS) for place in site.getsitepackages()]
    for library in (CUBLAS, *map(str, filter(Path.is_file, places))):
        try:
            ctypes.CDLL(library)
            return
        except OSError as error:
            cause = error
    raise UserError(
        f"device '{device}' can't be used: CTranslate2 computes with CUDA 12: {cause}",
        remedy="tools/install.sh --torch cuda installs its cuBLAS, or take another recogniser, "
        "such as whisper_small_en_transformers",
    )


def _checked_device(device: str, compute_type: str) -> tuple[str, int]:
    """Kind and number of a device that CTranslate2 can use, with numbers of this type."""
    import ctranslate2

    named = re.fullmatch(r"cpu|cuda(?::(\d+))?", device)
    if not named:
        what = f"device '{device}' can't be used: CTranslate2 runs on cpu, cuda, cuda:1 and so on"
        raise UserError(what, remedy="use cpu, or kind whisper_transformers with its own model")
    kind, number = device.partition(":")[0], int(named[1] or 0)
    if kind == "cuda" and number >= (count := ctranslate2.get_cuda_device_count()):
        what = f"device '{device}' can't be used: CTranslate2 finds {count} GPUs"
        remedy = "use cpu, or " + ("another number" if count else "install the GPU's driver")
        raise UserError(what, remedy=remedy)
    if kind == "cuda":
        _load_cublas(device)
    types = ctranslate2.get_supported_compute_types(kind, number)
    if compute_type not in (*ANY_TYPE, *types):
        what, known = f"compute_type '{compute_type}' can't be had on {device}", sorted(types)
        raise UserError(what, remedy=f"there are {', '.join((*known, *ANY_TYPE))}")
    return kind, number


def build_decoder(config: RecogniserConfig, source: str) -> WhisperDecoder:
    """Load the model that a configuration names.

    Raises:
        UserError: it can't be had or loaded.
    """
    return WhisperDecoder(
        weights_folder(config.model, config.package, source, config.revision),
        language=config.language,
        beam=config.beam,
        compute_type=config.compute_type,
        encoder_type=config.encoder_type,
        device=config.device,
        threads=cores(config.jobs),
        streams=config.batch_size,
    )
