"""The contract of the loss's encoders: frozen, deterministic, differentiable at the waveform."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Union

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from sepasr.config import load_config
from sepasr.encoder.level import LEVELS, within
from sepasr.errors import UserError
from sepasr.models import REPOSITORY

DISTANCES = ("mse",)
# Modules that have `build_model(conf: EncoderConfig) -> FrameModel`; imported when asked for,
# because some take seconds.
SOURCES = {
    "huggingface": "sepasr.encoder.huggingface",
    "s3prl": "sepasr.encoder.s3prl",
    "whisper": "sepasr.encoder.whisper",
}


@dataclass
class EncoderConfig:
    """An encoder of the loss, as ``conf/encoder/NAME.yaml`` states it.

    Attributes:
        name: what tables call it.
        family: architecture and training it shares with recognisers (``wav2vec2``, ``whisper``).
        weights: identity of its weights; a recogniser with the same is "seen" by the loss.
        source: the route by which it is loaded, a key of ``SOURCES``.
        model: directory, name on the source's hub, or ``package:NAME`` (``sepasr.models``).
        layer: ``k`` for the hidden state after k transformer layers, as Hugging Face counts them
            (0 is the input of the first), or ``last`` for the model's final output, behind its
            final norm where it has one. Negative numbers are refused: -1 is before that norm in
            transformers and behind it in s3prl.
        distance: how frames are compared; ``mse`` is the paper's.
        level: what the waveform is brought to before the model hears it, a key of
            ``sepasr.encoder.level.LEVELS``.
        fs: sampling rate in Hz.
    """

    name: str
    family: str
    weights: str
    source: str
    model: str
    # typing.Union, since OmegaConf doesn't know `int | str` on Python 3.10.
    layer: Union[int, str]  # noqa: UP007
    distance: str
    level: str
    fs: int


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
        UserError: the rate isn't the model's, or the level or distance is unknown.
    """

    _place: Tensor

    def __init__(self, conf: EncoderConfig, model: FrameModel) -> None:
        super().__init__()
        _check_choice(conf, "level", conf.level, LEVELS)
        _check_choice(conf, "distance", conf.distance, DISTANCES)
        if conf.fs != model.fs:
            cause = f"fs is {conf.fs} Hz, but the model hears {model.fs} Hz"
            raise UserError(cause, where=f"encoder {conf.name}", remedy=f"set fs: {model.fs}")
        self.conf = conf
        self.name, self.family, self.weights = conf.name, conf.family, conf.weights
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

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Frames of each utterance, whatever else is in the batch.

        Args:
            waveform: (batch, samples), of any scale; what lies beyond an utterance isn't heard.
            lengths: (batch,) int64, valid samples of each utterance.

        Returns:
            Frames, (batch, frames, width) float32, zero beyond an utterance's own; and how many
            frames each utterance has, (batch,) int64.

        Raises:
            UserError: an utterance is too short or too long for the model.
        """
        samples = lengths.tolist()
        self._check_samples(samples)
        lengths = lengths.to(waveform.device)
        with torch.autocast(waveform.device.type, enabled=False):
            waveform = waveform[:, : max(samples)].float()
            valid = within(lengths, waveform.shape[1])
            waveform = self._level(waveform.masked_fill(~valid, 0.0), valid, lengths)
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

    def _check_samples(self, samples: list[int]) -> None:
        shortest, longest = self.model.shortest, self.model.longest
        if min(samples) < shortest:
            cause = f"an utterance of {min(samples)} samples; it needs {shortest} at least"
            raise UserError(cause, where=f"encoder {self.name}", remedy="use longer segments")
        if longest is not None and max(samples) > longest:
            cause = f"an utterance of {max(samples)} samples; it hears {longest} at most"
            raise UserError(cause, where=f"encoder {self.name}", remedy="use shorter segments")


def _check_choice(conf: EncoderConfig, field: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        cause = f"unknown {field} '{value}'"
        raise UserError(cause, where=f"encoder {conf.name}", remedy=f"known: {', '.join(known)}")


def check_layer(conf: EncoderConfig, layers: int) -> None:
    """Check that ``conf.layer`` is ``last`` or a number that a model of so many layers has.

    Raises:
        UserError: it is anything else.
    """
    if conf.layer == "last" or (isinstance(conf.layer, int) and 0 <= conf.layer <= layers):
        return
    cause = f"no layer '{conf.layer}' in a model of {layers} layers"
    if isinstance(conf.layer, int) and conf.layer < 0:
        cause = f"layer {conf.layer}: libraries differ in what a negative number means"
    remedy = f"0 (input of the first layer) to {layers}, or last (the final output)"
    raise UserError(cause, where=f"encoder {conf.name}", remedy=remedy)


def build_encoder(conf: EncoderConfig) -> AsrEncoder:
    """Load an encoder and prove that a gradient flows through it.

    Raises:
        UserError: the configuration or the model is wrong, or no gradient reaches the waveform.
    """
    _check_choice(conf, "source", conf.source, SOURCES)
    with _global_seeds_kept():
        encoder = AsrEncoder(conf, import_module(SOURCES[conf.source]).build_model(conf))
    prove_gradient(encoder)
    return encoder


@contextmanager
def _global_seeds_kept() -> Iterator[None]:
    """Constructors draw weights that are then overwritten, and s3prl seeds the generators with 0.

    What is random in training would otherwise depend on which encoder was loaded.
    """
    state = random.getstate()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(state)


def prove_gradient(encoder: AsrEncoder) -> None:
    """Check that the gradient of a random projection of the frames reaches the waveform.

    Several public routes to these models return frames that look right and pass nothing back. The
    projection is random because the mean square of layer-normed frames is nearly constant.

    Raises:
        UserError: no gradient reaches a second of noise, or one that is zero or not finite.
    """
    generator = torch.Generator().manual_seed(0)
    model = encoder.model
    samples = min(max(encoder.fs, model.shortest), model.longest or encoder.fs)
    waveform = 0.05 * torch.randn(1, samples, generator=generator)
    with torch.enable_grad():
        waveform = waveform.to(encoder.device).requires_grad_()
        frames, _ = encoder(waveform, torch.tensor([samples]))
        projection = torch.randn(frames.shape, generator=generator).to(encoder.device)
        projected = (frames * projection).sum()
        gradient = None
        if projected.requires_grad:
            (gradient,) = torch.autograd.grad(projected, waveform, allow_unused=True)
    cause = None
    if gradient is None:
        cause = "the model computes under no_grad or detaches its input"
    elif not gradient.isfinite().all():
        cause = "it is not finite"
    elif not gradient.any():
        cause = "it is zero everywhere"
    if cause is not None:
        what = f"no gradient reaches the waveform: {cause}"
        remedy = "such an encoder can't train a separator; take another source"
        raise UserError(what, where=f"encoder {encoder.name}", remedy=remedy)


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
    path = Path(path_or_name)
    if path.suffix != ".yaml":
        path = REPOSITORY / "conf" / "encoder" / f"{path_or_name}.yaml"
    return build_encoder(load_config(EncoderConfig, [path, *deltas], overrides))
