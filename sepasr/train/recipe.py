"""From configuration files and data directories to a trained separator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from sepasr.config import load_config
from sepasr.data.datadir import MixtureDir, NoiseDir, RoomDir, UtteranceDir
from sepasr.data.dynamic import DynamicMixtures, MixingConfig
from sepasr.encoder.base import AsrEncoder, load_encoder
from sepasr.errors import UserError
from sepasr.files import sha256
from sepasr.loss.embedding import EmbeddingLoss
from sepasr.loss.loss import SeparationLoss
from sepasr.loss.signal import SignalLoss
from sepasr.separator.model import WEIGHTS, Provenance, Separator, SeparatorConfig
from sepasr.train.fit import FitConfig, fit
from sepasr.train.separation import SeparationModule, WholeMixtures, collate
from sepasr.train.workdir import claim


@dataclass(frozen=True)
class LossConfig:
    """Which loss.

    Attributes:
        kind: ``signal`` (negative SI-SDR under PIT); ``guided`` (embedding distance under the
            permutation of SI-SDR); ``embedding_pit`` (embedding distance under its own).
        threshold_db: items under this loss are left out, for ``signal``; null keeps all.
        signal_weight: weight of negative SI-SDR, in dB, added to an embedding distance.
    """

    kind: str = "signal"
    threshold_db: float | None = None
    signal_weight: float = 0.0


@dataclass(frozen=True)
class TrainConfig:
    """A training: see the classes of its parts."""

    loss: LossConfig = field(default_factory=LossConfig)
    mixing: MixingConfig = field(default_factory=MixingConfig)
    fit: FitConfig = field(default_factory=FitConfig)


@dataclass(frozen=True)
class Sources:
    """Data directories that training material is mixed from."""

    utterances: Path
    noise: Path
    rooms: Path


def build_loss(config: LossConfig, encoder: AsrEncoder | None) -> SeparationLoss:
    """The loss that a configuration names.

    Raises:
        UserError: an unknown kind, or an encoder missing or given where none is used.
    """
    if config.kind not in ("signal", "guided", "embedding_pit"):
        raise UserError(
            f"unknown loss '{config.kind}'", remedy="loss.kind is signal, guided or embedding_pit"
        )
    if config.kind == "signal":
        if encoder is not None:
            raise UserError(
                f"the signal loss uses no encoder, but '{encoder.name}' is given",
                remedy="leave --encoder out, or set loss.kind=guided",
            )
        return SignalLoss()
    if encoder is None:
        raise UserError(f"loss '{config.kind}' needs an encoder", remedy="give --encoder")
    return EmbeddingLoss(
        encoder, guided=config.kind == "guided", signal_weight=config.signal_weight
    )


def describe(config: TrainConfig, encoder: AsrEncoder | None) -> dict[str, Any]:
    """What a separator remembers of a training."""
    return {
        "loss": config.loss.kind,
        "encoder": encoder and {a: getattr(encoder, a) for a in ("name", "family", "weights")},
        "seed": config.fit.seed,
        "lr": config.fit.optimizer.lr,
        "batch": config.fit.batch * config.fit.accumulation,
        "segment_s": config.mixing.segment_s,
    }


def train_separator(
    *,
    config_files: Sequence[Path],
    overrides: Sequence[str],
    separator_files: Sequence[Path] | None,
    init: Path | None,
    encoder_files: Sequence[Path],
    sources: Sources,
    valid: Path,
    out: Path,
    overwrite: bool,
) -> None:
    """Train a new separator, or one that is there, on dynamically mixed material.

    Args:
        config_files: YAML of :class:`TrainConfig`, the base first.
        overrides: ``name=value``.
        separator_files: YAML of :class:`SeparatorConfig`, for a new separator.
        init: directory of a separator to start from.
        encoder_files: YAML of the loss's encoder, the base first; none for the signal loss.
        sources: what to mix.
        valid: mixtures to validate on.
        out: checkpoints, logs and ``final/``, the trained separator.
        overwrite: remove a training with other inputs that is in ``out``.

    Raises:
        UserError: anything that does not fit, before the first step.
    """
    config = load_config(TrainConfig, config_files, overrides)
    encoder = load_encoder(encoder_files[0], deltas=encoder_files[1:]) if encoder_files else None
    loss = build_loss(config.loss, encoder)
    torch.manual_seed(config.fit.seed)
    if separator_files is not None:
        separator = Separator(
            load_config(SeparatorConfig, separator_files),
            Provenance(config.mixing.reference),
        )
    else:
        assert init is not None
        separator = Separator.from_pretrained(init)
        if separator.provenance.reference != config.mixing.reference:
            raise UserError(
                f"was trained towards {separator.provenance.reference} references, this training "
                f"uses {config.mixing.reference} ones",
                where=init,
                remedy="set mixing.reference accordingly",
            )
    if separator.num_speakers != config.mixing.num_speakers:
        raise UserError(
            f"the separator has {separator.num_speakers} speakers, the mixtures have "
            f"{config.mixing.num_speakers}",
            remedy="set mixing.num_speakers",
        )
    dataset = DynamicMixtures(
        UtteranceDir.load(sources.utterances),
        NoiseDir.load(sources.noise),
        RoomDir.load(sources.rooms),
        config.mixing,
        config.fit.seed,
    )
    if dataset.fs != separator.fs:
        raise UserError(
            f"{dataset.fs} Hz speech for a separator of {separator.fs} Hz",
            where=sources.utterances,
            remedy="set fs in the separator's YAML",
        )
    mixtures = MixtureDir.load(valid)
    if mixtures.info.reference != config.mixing.reference:
        raise UserError(
            f"has {mixtures.info.reference} references, training uses {config.mixing.reference}",
            where=valid,
            remedy="prepare it with the same reference",
        )
    module = SeparationModule(
        separator, loss, config.fit, config.loss.threshold_db, describe(config, encoder)
    )
    inputs = {
        **asdict(config),
        "encoder": encoder and asdict(encoder.conf),
        "init": init and sha256(init / WEIGHTS),
        "separator": asdict(separator.config),
        "data": {name: str(path) for name, path in asdict(sources).items()},
    }
    claim(out, inputs, overwrite=overwrite)
    whole = DataLoader(WholeMixtures(mixtures), batch_size=1, collate_fn=collate)
    fit(module, dataset, collate, whole, out)
