"""The contract of the loss's encoders: frozen, deterministic, differentiable at the waveform."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from sepasr.config import load_config
from sepasr.encoder.config import EncoderConfig
from sepasr.encoder.level import LEVELS, RMS
from sepasr.encoder.proof import prove
from sepasr.encoder.shuffle import shuffle_weights
from sepasr.errors import UserError
from sepasr.lengths import within
from sepasr.loss.distance import named_distance
from sepasr.models import conf_file, refuse_revision
from sepasr.plugins import function_of

# Modules that have `build_model(conf: EncoderConfig) -> FrameModel`; imported when asked for,
# because some take seconds.
SOURCES = {
    "espnet": "sepasr.encoder.espnet",
    "huggingface": "sepasr.encoder.huggingface",
    "s3prl": "sepasr.encoder.s3prl",
    "whisper": "sepasr.encoder.whisper",
}


class Perturb(Protocol):
    """Changes what a model hears, once it is at its level (``sepasr.loss.perturb``)."""

    def __call__(self, waveform: Tensor, lengths: Tensor, rms: float) -> tuple[Tensor, Tensor]:
        """(batch, samples) of an RMS of ``rms``, and lengths (batch,), to others of as many."""
        ...


class FrameModel(nn.Module, ABC):
    """What one family of encoders brings: a model from waveforms to frames.

    ``AsrEncoder`` does the rest: level, float32, freezing, batches of unequal lengths.

    Attributes:
        fs: sampling rate in Hz.
        shortest: fewest samples that it can take.
        longest: most samples that it can take; None where there is no limit.
        equal_lengths: True where padding would change an utterance's frames (no attention mask, a
            norm over time). It is then only called with utterances of one length.
    """

    fs: int = 16000
    shortest: int
    longest: int | None = None
    equal_lengths: bool

    @abstractmethod
    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Frames of utterances of so many samples: (batch,) int64 to (batch,) int64."""

    @abstractmethod
    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Frames of waveforms that are zero beyond their lengths.

        Args:
            waveform: (batch, samples) float32, as long as the longest utterance.
            lengths: (batch,) int64, samples.

        Returns:
            (batch, frames, width), as long as the longest utterance's frames.
        """


class AsrEncoder(nn.Module):
    """A frozen ASR encoder through which a gradient flows to the waveform.

    The model is held outside of the module tree. A parent module therefore neither saves its
    weights in checkpoints, nor gives them to an optimiser, nor switches on its dropout, LayerDrop
    or masking with ``.train()``; there is nothing to filter or to override. A move to another
    device reaches it all the same; a change of the parent's number type does not, because frames
    are computed in float32.

    Args:
        conf: what the YAML says.
        model: the model; it is frozen and put in eval mode here.

    Raises:
        UserError: the rate isn't the model's, or the level is unknown.
    """

    _place: Tensor

    def __init__(self, conf: EncoderConfig, model: FrameModel) -> None:
        super().__init__()
        where = f"encoder {conf.name}"
        if conf.level not in LEVELS:
            remedy = f"known: {', '.join(LEVELS)}"
            raise UserError(f"unknown level '{conf.level}'", where=where, remedy=remedy)
        if conf.fs != model.fs:
            cause = f"fs is {conf.fs} Hz, but the model hears {model.fs} Hz"
            raise UserError(cause, where=where, remedy=f"set fs: {model.fs}")
        self.conf = conf
        self.name, self.family, self.weights = conf.identity
        self.fs, self.distance = conf.fs, conf.distance
        self._level = LEVELS[conf.level]
        self._held = (model.requires_grad_(False).eval(),)
        self.register_buffer("_place", torch.empty(0), persistent=False)

    @property
    def model(self) -> FrameModel:
        """The model inside, for inspection."""
        return self._held[0]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._place.device

    def _apply(self, fn: Any, recurse: bool = True) -> AsrEncoder:
        super()._apply(fn, recurse)
        self.model.to(self.device)
        return self

    def forward(
        self, waveform: Tensor, lengths: Tensor, perturb: Perturb | None = None
    ) -> tuple[Tensor, Tensor]:
        """Frames of each utterance, whatever else is in the batch.

        Args:
            waveform: (batch, samples), of any scale; what lies beyond an utterance isn't heard.
            lengths: (batch,) int64, valid samples of each utterance.
            perturb: done to what the level rule gives.

        Returns:
            Frames, (batch, frames, width) float32, zero beyond an utterance's own; and how many
            frames each utterance has, (batch,) int64.

        Raises:
            UserError: an utterance is too short or too long for the model.
        """
        samples = lengths.tolist()
        self.check_samples(samples)
        lengths = lengths.to(waveform.device)
        with torch.autocast(waveform.device.type, enabled=False):
            waveform = waveform[:, : max(samples)].float()
            valid = within(lengths, waveform.shape[1])
            waveform = self._level(waveform.masked_fill(~valid, 0.0), valid, lengths)
            if perturb is not None:
                waveform, lengths = perturb(waveform, lengths, RMS[self.conf.level])
                samples = lengths.tolist()
                self.check_samples(samples)
            if self.model.equal_lengths:
                frames = self._by_length(waveform, lengths, samples)
            else:
                frames = self.model(waveform, lengths)
        frame_lengths = self.model.frame_lengths(lengths)
        valid = within(frame_lengths, frames.shape[1])
        return frames.masked_fill(~valid[..., None], 0.0), frame_lengths

    def _by_length(self, waveform: Tensor, lengths: Tensor, samples: list[int]) -> Tensor:
        frames: dict[int, Tensor] = {}
        for length in set(samples):
            rows = [row for row, count in enumerate(samples) if count == length]
            group = self.model(waveform[rows, :length], lengths[rows])
            frames.update(zip(rows, group, strict=True))
        return pad_sequence([frames[row] for row in range(len(samples))], batch_first=True)

    def check_samples(self, samples: Sequence[int]) -> None:
        """Refuse utterances of so many samples, at the encoder's rate, if one is not heard.

        Raises:
            UserError: it is too short or too long for the model.
        """
        shortest, longest = self.model.shortest, self.model.longest
        if min(samples) < shortest:
            cause = f"an utterance of {min(samples)} samples; it needs {shortest} at least"
            raise UserError(cause, where=f"encoder {self.name}", remedy="use longer segments")
        if longest is not None and max(samples) > longest:
            cause = f"an utterance of {max(samples)} samples; it hears {longest} at most"
            raise UserError(cause, where=f"encoder {self.name}", remedy="use shorter segments")


def build_encoder(conf: EncoderConfig, model: FrameModel | None = None) -> AsrEncoder:
    """Load an encoder and prove that it can serve as a loss (``sepasr.encoder.proof``).

    Args:
        conf: its configuration.
        model: what gives the frames, in place of what ``conf.source`` and ``conf.model`` name: one
            of a class of your own, as in a notebook. It is frozen, and set to evaluation mode.

    Raises:
        UserError: the configuration or the model is wrong, or a proof fails.
    """
    named_distance(conf.distance, where=f"encoder {conf.name}")
    with _global_seeds_kept():
        model = _builder(conf)(conf) if model is None else model
        if not isinstance(model, FrameModel):
            cause = f"the model is a {type(model).__name__}, not a FrameModel"
            raise UserError(cause, where=conf.source, remedy="derive it from FrameModel")
        if conf.shuffle_seed is not None:
            shuffle_weights(model, conf.shuffle_seed)
        encoder = AsrEncoder(conf, model)
    prove(encoder)
    return encoder


def check_encoder(conf: EncoderConfig) -> None:
    """Check a configuration as far as it can be without the model, and without what loads it.

    Raises:
        UserError: the distance or the source is unknown.
    """
    named_distance(conf.distance, where=f"encoder {conf.name}")
    if conf.source not in SOURCES:
        _builder(conf)


def _builder(conf: EncoderConfig) -> Callable[[EncoderConfig], FrameModel]:
    """``build_model`` of the source's module."""
    name = SOURCES.get(conf.source, conf.source)
    remedy = f"known: {', '.join(SOURCES)}; or a module of yours on PYTHONPATH"
    where = f"encoder {conf.name}"
    unknown = UserError(f"unknown source '{conf.source}'", where=where, remedy=remedy)
    form = "build_model(conf: EncoderConfig) -> FrameModel"
    return function_of(name, "build_model", form, unknown)


def hub_options(conf: EncoderConfig, place: Path | str) -> dict[str, str]:
    """What ``from_pretrained`` needs besides the model's name.

    Args:
        conf: the encoder's configuration.
        place: what ``resolve_model`` made of ``conf.model``.

    Raises:
        UserError: a revision is asked of something that isn't on the hub.
    """
    if conf.revision is None:
        return {}
    if isinstance(place, Path):
        refuse_revision(conf.revision, f"encoder {conf.name}")
    return {"revision": conf.revision}


@contextmanager
def _global_seeds_kept() -> Iterator[None]:
    """Constructors draw weights that are then overwritten, and s3prl seeds the generators with 0.

    What is random in training would otherwise depend on which encoder was loaded.
    """
    state = random.getstate()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(state)


def load_encoder(
    path_or_name: str | Path,
    overrides: Iterable[str] = (),
    *,
    deltas: Iterable[str | Path] = (),
) -> AsrEncoder:
    """Build the encoder of a YAML file.

    Args:
        path_or_name: path of a ``.yaml`` file, or the name of one in ``conf/encoder``.
        overrides: ``name=value`` strings that replace what the files say.
        deltas: YAML files laid over the first, such as a recipe's own settings.

    Raises:
        UserError: see ``build_encoder``; or there is no such file.
    """
    path = conf_file("encoder", path_or_name)
    return build_encoder(load_config(EncoderConfig, [path, *deltas], overrides))
