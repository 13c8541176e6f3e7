"""What a separator is trained towards: the settings of the loss, and the loss they name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch.utils.data import Dataset

from sepasr.encoder.base import AsrEncoder
from sepasr.errors import UserError
from sepasr.loss.embedding import EmbeddingLoss
from sepasr.loss.loss import SeparationLoss
from sepasr.loss.perturb import Perturbation
from sepasr.loss.signal import SignalLoss
from sepasr.loss.spectral import SpectralLoss
from sepasr.separator.model import Separator
from sepasr.train.module import LOG_EVERY
from sepasr.train.teacher import EMA, REMIX, TEACHER, Teacher

GRAPH_PIT = "graph_pit"
KINDS = ("signal", "spectral", "guided", "embedding_pit", GRAPH_PIT)
TRUE = "true"
REFERENCES = (TRUE, TEACHER, EMA, REMIX)
SCALE_ITEMS = 16
"""Mixtures over which the distances of several encoders are measured before training."""

_OF_AN_ENCODER = (
    "turns",
    "perturb_db",
    "perturb_gain_db",
    "perturb_shift",
    "compare_every",
    "keep_mb",
)


def _check_choice(what: str, value: str, name: str, known: Sequence[str]) -> None:
    if value not in known:
        remedy = f"loss.{name} is one of {', '.join(known)}"
        raise UserError(f"unknown {what} '{value}'", remedy=remedy)


@dataclass(frozen=True)
class LossConfig:
    """Which loss.

    Attributes:
        kind: ``signal`` (negative SI-SDR under PIT); ``spectral`` (L1 distance of magnitude
            spectra under the permutation of SI-SDR); ``guided`` (embedding distance under the
            permutation of SI-SDR); ``embedding_pit`` (embedding distance under its own);
            ``graph_pit`` (the distance of ``guided`` where there is an encoder, else of ``signal``,
            with references by :func:`sepasr.loss.graph_pit.coloured`).
        threshold_db: items under this loss are left out, for a loss in dB; null keeps all.
        signal_weight: weight of negative SI-SDR, in dB, added to another distance.
        turns: of several encoders one at each step, in turn, instead of the sum. Either way each
            one's distance is divided by what it was before training. In the log ``train/loss`` and
            ``train/embedding`` are those of the encoder whose turn it is, for an even number of
            encoders the same one in every line; ``train/embedding_NAME`` is of its last turn.
        perturb_db: level of what an encoder hears over white noise that is added to estimates and
            references alike, anew at every step; null adds none.
        perturb_gain_db: a random gain from minus to plus this, the same for both, applied after the
            encoder's own rule for the level; null leaves the level.
        perturb_shift: both are delayed alike by 0 to so many samples of the encoder's; null leaves
            them where they are.
        references: ``true``, or what stands in for references that are not to be known:
            ``teacher``, ``ema`` or ``remix`` (:class:`sepasr.train.teacher.Teacher`).
        ema_decay: of a teacher that follows as a moving average, per step; 1 lets it stay.
        student_db: level of a mixture over white noise that the student of a teacher hears and the
            teacher doesn't; null adds none.
        compare_every: steps between those at which the permutation of a guided loss is compared
            with the embedding's own, for ``train/permutations_differ``; 0 compares none.
        keep_mb: memory, for each encoder and process, for the embeddings of references that come
            again, as they do where segments of fixed mixtures lie on a grid (``mixing.grid_s``);
            what finds no room is embedded each time, by itself. 0 keeps none.
    """

    kind: str = "signal"
    threshold_db: float | None = None
    signal_weight: float = 0.0
    turns: bool = False
    perturb_db: float | None = None
    perturb_gain_db: float | None = None
    perturb_shift: int | None = None
    references: str = TRUE
    ema_decay: float = 0.99
    student_db: float | None = None
    compare_every: int = 0
    keep_mb: int = 0

    def __post_init__(self) -> None:
        if self.references == str(True):  # what YAML's own true comes to
            object.__setattr__(self, "references", TRUE)
        _check_choice("loss", self.kind, "kind", KINDS)
        _check_choice("references", self.references, "references", REFERENCES)
        if not 0 <= self.ema_decay <= 1:
            raise UserError(f"loss.ema_decay is {self.ema_decay}, not from 0 to 1")
        for name in ("signal_weight", "perturb_gain_db", "perturb_shift", "keep_mb"):
            if (getattr(self, name) or 0) < 0:
                raise UserError(f"loss.{name} is {getattr(self, name)}, less than 0")
        if self.keep_mb and (self.perturbation() is not None or self.references != TRUE):
            remedy = "set loss.keep_mb=0"
            raise UserError("the references are others at every step", remedy=remedy)
        if self.student_db is not None and self.references == TRUE:
            remedy = f"set loss.references to {TEACHER}, {EMA} or {REMIX}"
            raise UserError("loss.student_db is for the student of a teacher", remedy=remedy)
        if self.compare_every < 0 or self.compare_every % LOG_EVERY:
            cause = f"loss.compare_every is {self.compare_every}, but the log has a line"
            remedy = f"take a multiple of {LOG_EVERY}, or 0"
            raise UserError(f"{cause} every {LOG_EVERY} steps", remedy=remedy)

    def in_db(self, encoders: Sequence[object]) -> bool:
        """Whether it is SI-SDR itself, with these encoders or none."""
        return self.kind == "signal" or (self.kind == GRAPH_PIT and not encoders)

    def settings(self) -> dict[str, Any]:
        """Settings that aren't the default, and ``ema_decay`` where it is used."""
        found = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "kind"}
        if self.references not in (EMA, REMIX):
            del found["ema_decay"]
        for name in ("compare_every", "keep_mb"):  # the log and the time alone
            del found[name]
        return {
            name: value
            for name, value in found.items()
            if name == "ema_decay" or value != getattr(_DEFAULT, name)
        }

    def perturbation(self) -> Perturbation | None:
        """What is done to what encoders hear in training."""
        gain_db, shift = self.perturb_gain_db or 0.0, self.perturb_shift or 0
        if self.perturb_db is None and not gain_db and not shift:
            return None
        return Perturbation(self.perturb_db, gain_db, shift)


_DEFAULT = LossConfig()


def build_loss(config: LossConfig, encoders: Sequence[AsrEncoder], fs: int) -> SeparationLoss:
    """The loss that a configuration names, for signals of ``fs`` Hz.

    Raises:
        UserError: an encoder is missing, or what is for encoders is set where none is used.
    """
    in_db = config.in_db(encoders)
    if config.threshold_db is not None and not in_db:
        remedy = "set loss.threshold_db=null"
        raise UserError(f"the {config.kind} loss is not in dB", remedy=remedy)
    if in_db or config.kind == "spectral":
        if encoders:
            raise UserError(
                f"the {config.kind} loss uses no encoder, but '{encoders[0].name}' is given",
                remedy="leave --encoder out, or set loss.kind=guided",
            )
        unused = (*_OF_AN_ENCODER, "signal_weight") if in_db else _OF_AN_ENCODER
        idle = [n for n in unused if getattr(config, n) != getattr(_DEFAULT, n)]
        if idle:
            raise UserError(
                f"the {config.kind} loss has no use for loss.{idle[0]}",
                remedy="leave it out, or set loss.kind=guided",
            )
        if config.kind == "spectral":
            return SpectralLoss(fs, signal_weight=config.signal_weight)
        return SignalLoss()
    if not encoders:
        raise UserError(f"loss '{config.kind}' needs an encoder", remedy="give --encoder")
    if len(encoders) > 1 and config.references != TRUE:
        raise UserError(
            "what several encoders weigh is measured against true references",
            remedy="give one --encoder, or set loss.references=true",
        )
    if config.turns and len(encoders) == 1:
        raise UserError("loss.turns is for several encoders", remedy="give --encoder once more")
    return EmbeddingLoss(
        encoders,
        fs,
        guided=config.kind != "embedding_pit",
        signal_weight=config.signal_weight,
        turns=config.turns,
        perturbation=config.perturbation(),
        compare_every=config.compare_every,
        keep_bytes=config.keep_mb * 2**20,
    )


def build_teacher(config: LossConfig, separator: Separator, batch: int) -> Teacher | None:
    """What stands in for the references; None where they are known.

    Args:
        config: the loss's settings.
        separator: to be trained, with the weights it starts from.
        batch: mixtures of a batch.

    Raises:
        UserError: there is nothing in a batch to mix anew.
    """
    if config.references == TRUE:
        return None
    if config.references == REMIX and batch < 2:
        raise UserError(f"fit.batch is {batch}: nothing to remix", remedy="set it to 2 or more")
    return Teacher(separator, config.references, config.ema_decay, config.student_db)


def weigh_alike(
    loss: SeparationLoss,
    separator: Separator,
    dataset: Dataset,
    collate: Callable[[list[Any]], Any],
    batch: int,
) -> Mapping[str, float]:
    """Divide the distance of each of several encoders by what it is before training.

    Each is then 1 at the start, whatever the unit of its embeddings. It is measured on the first
    items of the training, against the references, and is a function of the starting weights and
    the data alone: an interrupted training finds the same.

    Args:
        loss: with one encoder, or none, it is left as it is.
        separator: with the weights it starts from.
        dataset: what is trained on.
        collate: makes a batch of items.
        batch: items at a time.

    Returns:
        By what the distances of several encoders are divided, by the encoder's name.

    Raises:
        UserError: a distance is 0 at the start, or not finite.
    """
    if not isinstance(loss, EmbeddingLoss) or len(loss.listeners) == 1:
        return {}
    sums, training = torch.zeros(len(loss.listeners)), separator.training
    separator.eval()
    for start in range(0, SCALE_ITEMS, batch):
        numbers = range(start, min(start + batch, SCALE_ITEMS))
        items = collate([dataset[number] for number in numbers])
        with torch.no_grad():
            estimates = separator(items.mixture)
        sums += len(numbers) * loss.measure(estimates, items.references, items.lengths)
    separator.train(training)
    scales = {}
    for listener, scale in zip(loss.listeners, (sums / SCALE_ITEMS).tolist(), strict=True):
        name = listener.encoder.name
        if not 0 < scale < float("inf"):
            raise UserError(f"its distance is {scale} at the start", where=f"encoder {name}")
        listener.scale = scales[name] = scale
    return scales
