"""Recognisers: the same ears for every system, from a YAML file of a few lines."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from sepasr.config import load_config
from sepasr.decode import hearing
from sepasr.decode.guard import LENGTH, REPETITION, GuardConfig, Hypothesis, cut_repeats
from sepasr.errors import UserError
from sepasr.models import conf_file
from sepasr.plugins import function_of
from sepasr.separator.config import refuse_several

HUB = {"model", "package", "revision"}
# Modules with `build_decoder(config: RecogniserConfig, source: str) -> Decoder`, and the settings
# that each reads beside those of every recogniser. Imported when asked for: some take seconds.
KINDS = {
    "ctc": ("sepasr.decode.recognisers.ctc", {*HUB, "device"}),
    "espnet": (
        "sepasr.decode.recognisers.espnet",
        {*HUB, "beam", "ctc_weight", "lm", "lm_weight", "length_bonus", "device"},
    ),
    "whisper": (
        "sepasr.decode.recognisers.whisper",
        {*HUB, "language", "beam", "compute_type", "encoder_type", "device", "jobs"},
    ),
    "whisper_transformers": (
        "sepasr.decode.recognisers.whisper_transformers",
        {*HUB, "language", "beam", "device"},
    ),
    "moonshine": ("sepasr.decode.recognisers.moonshine", {"model", "package", "jobs"}),
    "pocketsphinx": ("sepasr.decode.recognisers.pocketsphinx", {"grammar", "jobs"}),
}
ONE_THREAD = {"moonshine", "pocketsphinx"}
"""Kinds that compute in one thread: on a machine of many cores, several processes read."""
COMMON = {"name", "family", "weights", "kind", "batch_size", "guard"}


@dataclass
class RecogniserConfig:
    """A recogniser of the evaluation, as ``conf/asr/NAME.yaml`` states it.

    Attributes:
        name: what tables call it.
        family: architecture and training it shares with encoders of the loss.
        weights: identity of its weights; a loss whose encoder has the same has "seen" it.
        kind: the software that runs it, a key of ``KINDS``, or a module of one's own.
        model: a directory, seen from the working directory or from the repository's root, or a
            name on the Hugging Face hub.
        package: the same model as an installed package carries it, see ``sepasr.models``.
        revision: branch, tag or commit of ``model`` on the hub.
        grammar: JSGF file that says which sentences there are (pocketsphinx), found as ``model``
            is; without one the bundled language model decides.
        language: two letters; it is never guessed, and en for a model that knows English alone.
        beam: hypotheses kept; 1 is greedy.
        ctc_weight: share of CTC in the score of a hypothesis (espnet), the attention decoder has
            the rest; 1 where a model has no such decoder. A transducer heeds neither.
        lm: directory or zip of a language model (espnet); without one, that of ``model``.
        lm_weight: what the language model's log probability counts (espnet); 0 is none.
        length_bonus: added to the score of a hypothesis for each token (espnet).
        compute_type: CTranslate2's number type, such as int8, float16, float32.
        encoder_type: number type of Whisper's encoder on PyTorch: float32, bfloat16, or auto for
            bfloat16 on a CPU that multiplies matrices of it; without one CTranslate2 runs it.
        device: cpu, cuda, or cuda:1 and so on.
        jobs: cores to use, as threads, or as processes by kinds in ``ONE_THREAD``; 0 means all.
        batch_size: streams decoded at a time. It does not change what is read.
        guard: the guard against hallucination.
    """

    name: str
    family: str
    weights: str
    kind: str
    model: str | None = None
    package: str | None = None
    revision: str | None = None
    grammar: str | None = None
    language: str = "en"
    beam: int = 1
    ctc_weight: float = 0.3
    lm: str | None = None
    lm_weight: float = 0.0
    length_bonus: float = 0.0
    compute_type: str = "int8"
    encoder_type: str | None = None
    device: str = "cpu"
    jobs: int = 0
    batch_size: int = 8
    guard: GuardConfig = field(default_factory=GuardConfig)


class Decoder(Protocol):
    """What one kind of recogniser brings: software that reads waveforms, and nothing else.

    Attributes:
        identity: all that decides what is read: weights, software, settings.
    """

    identity: dict[str, str]

    def decode(
        self, waveforms: Sequence[np.ndarray], max_tokens: Sequence[int]
    ) -> list[Hypothesis]:
        """Read a batch of waveforms; what is read in one does not depend on the others.

        Args:
            waveforms: each (samples,) float32 at 16 kHz, 0.1 to 30 s long.
            max_tokens: the most tokens that each may hold.
        """
        ...


@dataclass(frozen=True)
class Transcript:
    """What a recogniser read in a stream.

    Attributes:
        text: the words as the recogniser writes them, with single spaces.
        tokens: how many tokens it made of them, before any repetition was cut.
        guard: the rules of the guard that were hit: "length", "repetition".
    """

    text: str
    tokens: int
    guard: tuple[str, ...] = ()


RULES = {"level_db": hearing.LEVEL_DB, "window_s": hearing.MAX_WINDOW_S, "revision": 1}
"""What is done to every stream before and after a model reads it; the revision is to be raised when
that changes."""


class Recogniser:
    """A decoder behind the rules that hold for all: level, windows, batches, guard.

    Args:
        config: what the YAML says.
        decoder: the software that reads.

    Attributes:
        name: what tables call it.
        family: architecture and training it shares with encoders of the loss.
        weights: identity of its weights.
        fs: sampling rate of what it hears, 16000 Hz.
        batch_size: streams it decodes at a time.
        processes: how many should read side by side on one machine if nothing else is asked for.
        identity: SHA-256 of everything that decides what it reads in a given stream.
    """

    fs = hearing.FS

    def __init__(self, config: RecogniserConfig, decoder: Decoder) -> None:
        self.name, self.family, self.weights = config.name, config.family, config.weights
        self.batch_size = config.batch_size
        self.processes = cores(config.jobs) if config.kind in ONE_THREAD else 1
        self._guard = config.guard
        self._decoder = decoder
        described = {"kind": config.kind, "guard": asdict(config.guard)} | RULES | decoder.identity
        text = json.dumps(described, sort_keys=True)
        self.identity = hashlib.sha256(text.encode()).hexdigest()

    def transcribe(self, waveforms: Sequence[np.ndarray]) -> list[Transcript]:
        """Read streams.

        Each is brought to one level (:func:`sepasr.decode.hearing.to_level`) and cut into windows
        of at most 30 s, whose texts are joined.

        Args:
            waveforms: each (samples,) float32 at 16 kHz, of any scale and length.

        Returns:
            One transcript per waveform, in order; each depends on its waveform alone.
        """
        windows = [hearing.split_windows(hearing.to_level(waveform)) for waveform in waveforms]
        hypotheses = iter(self._decode([window for parts in windows for window in parts]))
        return [self._join([next(hypotheses) for _ in parts]) for parts in windows]

    def _decode(self, windows: Sequence[np.ndarray]) -> list[Hypothesis]:
        """Decode in batches of similar lengths, the longest first."""
        order = sorted(range(len(windows)), key=lambda i: -len(windows[i]))
        decoded: dict[int, Hypothesis] = {}
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            waveforms = [windows[i] for i in batch]
            caps = [self._guard.max_tokens(len(waveform) / self.fs) for waveform in waveforms]
            decoded.update(zip(batch, self._decoder.decode(waveforms, caps), strict=True))
        return [decoded[i] for i in range(len(windows))]

    def _join(self, hypotheses: Sequence[Hypothesis]) -> Transcript:
        words = [word for hypothesis in hypotheses for word in hypothesis.text.split()]
        kept = cut_repeats(words, self._guard.max_ngram, self._guard.max_repeats)
        hit = {
            LENGTH: any(hypothesis.cut for hypothesis in hypotheses),
            REPETITION: len(kept) < len(words),
        }
        return Transcript(
            text=" ".join(kept),
            tokens=sum(hypothesis.tokens for hypothesis in hypotheses),
            guard=tuple(rule for rule, was_hit in hit.items() if was_hit),
        )


def load_recogniser(
    name_or_path: str | Path,
    source: str = "auto",
    overrides: Iterable[str] = (),
    deltas: Iterable[str | Path] = (),
    device: str | None = None,
) -> Recogniser:
    """Load the recogniser of a YAML file.

    Args:
        name_or_path: path of a ``.yaml`` file, or the name of one in ``conf/asr``.
        source: where weights come from if ``model`` is no directory, see
            :func:`sepasr.decode.weights.weights_folder`.
        overrides: ``name=value`` strings that replace what the files say.
        deltas: YAML files laid over the first, such as a recipe's own settings.
        device: where it reads, if its kind can choose; without it, as the files say.

    Raises:
        UserError: there is no such recogniser, a setting is wrong, or the model is not to be had.
    """
    path = conf_file("asr", name_or_path)
    config = load_config(RecogniserConfig, [path, *deltas], overrides)
    return build_recogniser(on_device(config, device), source)


def build_recogniser(config: RecogniserConfig, source: str = "auto") -> Recogniser:
    """Load a recogniser by its settings; else as :func:`load_recogniser`."""
    check_recogniser(config)
    return Recogniser(config, _builder(config)(config, source))


def on_device(config: RecogniserConfig, device: str | None) -> RecogniserConfig:
    """The settings of a recogniser on another device, if its kind can choose."""
    if device is None or "device" not in heeded(config):
        return config
    return replace(config, device=device)


def _builder(config: RecogniserConfig) -> Callable[[RecogniserConfig, str], Decoder]:
    """``build_decoder`` of the kind's module."""
    module, _ = KINDS.get(config.kind, (config.kind, None))
    form = "build_decoder(config: RecogniserConfig, source: str) -> Decoder"
    return function_of(module, "build_decoder", form, _unknown(config))


def _unknown(config: RecogniserConfig) -> UserError:
    remedy = f"known: {', '.join(KINDS)}; or a module of yours on PYTHONPATH, such as lab.reader"
    where = f"recogniser {config.name}"
    return UserError(f"unknown kind '{config.kind}'", where=where, remedy=remedy)


def heeded(config: RecogniserConfig) -> set[str]:
    """The settings that a recogniser's kind heeds; a kind of one's own is taken to heed all.

    Raises:
        UserError: there is no such kind.
    """
    if config.kind in KINDS:
        return COMMON | KINDS[config.kind][1]
    if "." not in config.kind:
        raise _unknown(config)
    return {field.name for field in fields(config)}


def check_recogniser(config: RecogniserConfig) -> None:
    """Refuse what no recogniser could do, and settings that this kind would not heed.

    Raises:
        UserError: the kind is unknown, or a setting is wrong or none of this kind's.
    """
    where, known = f"recogniser {config.name}", heeded(config)
    refuse_several(where, config.name, config.family, config.weights)
    for setting in fields(config):
        if setting.name not in known and getattr(config, setting.name) != setting.default:
            what = f"'{setting.name}' is no setting of kind {config.kind}"
            raise UserError(what, where=where, remedy="remove it")
    guard = config.guard
    lowest = {
        "beam": (config.beam, 1),
        "batch_size": (config.batch_size, 1),
        "jobs": (config.jobs, 0),
        "ctc_weight": (config.ctc_weight, 0),
        "lm_weight": (config.lm_weight, 0),
        "guard.max_tokens_per_second": (guard.max_tokens_per_second, 0),
        "guard.extra_tokens": (guard.extra_tokens, 1),
        "guard.max_ngram": (guard.max_ngram, 1),
        "guard.max_repeats": (guard.max_repeats, 1),
    }
    for name, (value, least) in lowest.items():
        if value < least:
            raise UserError(f"{name} is {value}, less than {least}", where=where)


def _allowed() -> int:
    """Cores that this process may use, on a shared machine fewer than there are."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cores(jobs: int) -> int:
    """Cores that ``jobs`` asks for: itself, or with 0 all that this process should use.

    One among several workers should use one, which its OMP_NUM_THREADS says.
    """
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    return jobs or (int(allowed) if allowed.isdecimal() else 0) or _allowed()
