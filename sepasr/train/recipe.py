"""From configuration files and data directories to a trained separator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from sepasr.config import load_config
from sepasr.data.audio import resampled_length
from sepasr.data.batch import collate
from sepasr.data.datadir import fingerprint
from sepasr.data.dynamic import DynamicMixtures, MixingConfig
from sepasr.data.fixed import FixedMixtures
from sepasr.data.long import LongMixtures
from sepasr.encoder.base import AsrEncoder, load_encoder
from sepasr.errors import UserError
from sepasr.files import sha256
from sepasr.models import REPOSITORY
from sepasr.repository import commit
from sepasr.separator.config import SEVERAL
from sepasr.separator.grow import grow
from sepasr.separator.model import WEIGHTS, Provenance, Separator, SeparatorConfig
from sepasr.separator.networks import TD_CONFORMER
from sepasr.train.fit import check, fit
from sepasr.train.fit_config import LAST_STEP, FitConfig
from sepasr.train.layers import layer_depths
from sepasr.train.material import Sources, check_heard, fingerprints, load_mixtures
from sepasr.train.objective import (
    GRAPH_PIT,
    TRUE,
    LossConfig,
    build_loss,
    build_teacher,
    weigh_alike,
)
from sepasr.train.schedule import OptimizerConfig
from sepasr.train.separation import SeparationModule, WholeMixtures
from sepasr.train.workdir import claimed, is_first_process, note_origin
from sepasr.weights import weights_sha256

ENCODER_WEIGHTS = "encoder_weights"
_ADAM = OptimizerConfig()


@dataclass(frozen=True)
class TrainConfig:
    """A training: see the classes of its parts.

    Attributes:
        checkpoint_activations: see :class:`sepasr.separator.tdconformer.TDConformer`. It changes
            memory and time, not the result.
    """

    loss: LossConfig = field(default_factory=LossConfig)
    mixing: MixingConfig = field(default_factory=MixingConfig)
    checkpoint_activations: bool = False
    fit: FitConfig = field(default_factory=FitConfig)


def describe(
    config: TrainConfig, encoders: Sequence[AsrEncoder], material: Sources | Path
) -> dict[str, Any]:
    """What a separator records of a training; options that are off by default only where set."""
    fit = config.fit
    identity = {
        name: SEVERAL.join(getattr(encoder, name) for encoder in encoders)
        for name in ("name", "family", "weights")
    }
    description: dict[str, Any] = {
        "loss": config.loss.kind,
        "encoder": identity if encoders else None,
        "seed": fit.seed,
        "lr": fit.optimizer.lr,
        "batch": fit.batch * fit.accumulation * fit.devices * fit.num_nodes,
        "segment_s": config.mixing.segment_s,
        "dynamic_mixing": isinstance(material, Sources),
    }
    if config.mixing.utterances > 1:
        description["utterances"] = config.mixing.utterances
    if config.mixing.lone_share:
        description["lone_share"] = config.mixing.lone_share
    if settings := config.loss.settings():
        description["loss_settings"] = settings
    rate = {n: v for n, v in asdict(fit.optimizer).items() if v != getattr(_ADAM, n) and n != "lr"}
    if rate:
        description["optimizer"] = rate
    if fit.keep != LAST_STEP:
        description["keep"] = fit.keep
    return description | {n: v for n in ("average", "stay") if (v := getattr(fit, n))}


def starting_point(
    config: MixingConfig,
    files: Sequence[Path] | None,
    overrides: Sequence[str],
    init: Path | None,
    *,
    grow_speakers: bool = False,
) -> Separator:
    """A new separator, or one that is there, given more speakers where it may be grown.

    Raises:
        UserError: it is not for this number of speakers, or was trained towards other references.
    """
    if files is not None:
        shape = load_config(SeparatorConfig, files, overrides)
        separator = Separator(shape, Provenance(config.reference))
    else:
        assert init is not None
        if overrides:
            raise UserError("its shape is given", where=init, remedy="leave --separator-set out")
        separator = Separator.from_pretrained(init).train()  # Lightning leaves it as it finds it
        if separator.provenance.reference != config.reference:
            raise UserError(
                f"was trained towards {separator.provenance.reference} references, this training "
                f"uses {config.reference} ones",
                where=init,
                remedy="set mixing.reference accordingly",
            )
        if grow_speakers:
            separator = grow(separator, config.num_speakers)
    if separator.num_speakers != config.num_speakers:
        raise UserError(
            f"the separator has {separator.num_speakers} speakers, the mixtures have "
            f"{config.num_speakers}",
            remedy="set mixing.num_speakers, num_speakers of a new separator, or --grow-speakers",
        )
    return separator


def checkpoint_activations(separator: Separator, on: bool) -> None:
    """Choose whether layers are computed again for their gradients.

    Raises:
        UserError: it is wanted of a network that can't.
    """
    network = separator.config.network
    if network == TD_CONFORMER:
        separator.separator.checkpoint_activations = on
    elif on:
        raise UserError(
            f"the network {network} can't compute its activations again",
            remedy=f"set checkpoint_activations=false, or train a {TD_CONFORMER}",
        )


def check_material(config: TrainConfig, material: Sources | Path) -> None:
    """Refuse settings that this material has no use for, or that need other material.

    Raises:
        UserError: several utterances of fixed mixtures; Graph-PIT without several, or without
            true references; or what is for fixed mixtures alone.
    """
    mixes = isinstance(material, Sources)
    if mixes and (config.mixing.grid_s or config.loss.keep_mb):
        cause = "mixing.grid_s and loss.keep_mb are for fixed mixtures"
        raise UserError(cause, remedy="set them to 0, or give --mixtures")
    if not mixes and config.mixing.lone_share:
        remedy = "set it to 0, or give --utterances"
        raise UserError("mixing.lone_share is for mixing", remedy=remedy)
    if not mixes and config.mixing.utterances > 1:
        raise UserError("mixing.utterances is for mixing", remedy="give --utterances")
    if config.loss.kind == GRAPH_PIT:
        if config.mixing.utterances == 1:
            raise UserError(
                "graph_pit assigns several utterances per speaker, mixing.utterances is 1",
                remedy="set mixing.utterances and mixing.segment_s higher, or loss.kind=guided",
            )
        if config.loss.references != TRUE:
            raise UserError("graph_pit needs true references", remedy="set loss.references=true")


def train_separator(
    *,
    config_files: Sequence[Path],
    overrides: Sequence[str],
    separator_files: Sequence[Path] | None,
    separator_overrides: Sequence[str] = (),
    init: Path | None,
    grow_speakers: bool = False,
    encoder_files: Sequence[Sequence[Path]],
    material: Sources | Path,
    valid: Path,
    out: Path,
    overwrite: bool,
) -> None:
    """Train a new separator, or one that is there.

    Args:
        config_files: YAML of :class:`TrainConfig`, the base first.
        overrides: ``name=value``.
        separator_files: YAML of :class:`SeparatorConfig`, for a new separator.
        separator_overrides: ``name=value`` of a new separator.
        init: directory of a separator to start from.
        grow_speakers: whether it may have fewer speakers: see :func:`sepasr.separator.grow.grow`.
        encoder_files: for each encoder of the loss its YAML, the base first; none for a loss
            without.
        material: what to mix at every step, or the directory of fixed mixtures.
        valid: mixtures to validate on.
        out: checkpoints, logs and ``final/``, the trained separator.
        overwrite: take the place of a training with other inputs that is in ``out``.

    Raises:
        UserError: anything that does not fit, before the first step.
    """
    config = load_config(TrainConfig, config_files, overrides)
    check_material(config, material)
    encoders = [load_encoder(base, deltas=deltas) for base, *deltas in encoder_files]
    torch.manual_seed(config.fit.seed)
    separator = starting_point(
        config.mixing, separator_files, separator_overrides, init, grow_speakers=grow_speakers
    )
    loss = build_loss(config.loss, encoders, separator.fs)
    teacher = build_teacher(config.loss, separator, config.fit.batch)
    checkpoint_activations(separator, config.checkpoint_activations)
    dataset: DynamicMixtures | LongMixtures | FixedMixtures
    segment_s = config.mixing.segment_s
    data: Mapping[str, str | None]
    if isinstance(material, Sources):
        directories = material.load(separator.fs)
        dataset = DynamicMixtures(*directories, config.mixing, config.fit.seed, separator.fs)
        if config.mixing.utterances > 1:
            dataset = LongMixtures(dataset)
        data = fingerprints(*directories)
    else:
        fixed = load_mixtures(material, config.mixing, separator.fs)
        mixing = config.mixing
        dataset = FixedMixtures(fixed, mixing.segment_s, config.fit.seed, grid_s=mixing.grid_s)
        data = {"mixtures": fingerprint(fixed)}
        segment_s = min(segment_s, max(one.duration_s for one in fixed.mixtures))
    mixtures = load_mixtures(valid, config.mixing, separator.fs)
    described = [asdict(encoder.conf) for encoder in encoders]
    inputs = {
        **asdict(config),
        "encoder": described[0] if len(described) == 1 else described or None,
        # Where a model lies doesn't say that it is the same.
        ENCODER_WEIGHTS: [weights_sha256(encoder.model) for encoder in encoders],
        "init": init and sha256(init / WEIGHTS),
        "separator": separator.config.settings(),
        "data": data,
    }
    segment = round(segment_s * separator.fs)
    for encoder in encoders:
        heard = resampled_length(segment, separator.fs, encoder.fs)
        encoder.check_samples([heard, heard + (config.loss.perturb_shift or 0)])
    if config.fit.follows_validation:
        inputs["valid"] = fingerprint(mixtures)
        check_heard(mixtures, encoders)
        if not config.loss.in_db(encoders):  # before, SI-SDR was what all losses were validated by
            inputs["validated_by"] = "loss"
    if config.fit.optimizer.layer_decay != 1:
        layer_depths(separator)
    # A training from before these were recorded is taken to have had today's values.
    later = {name: inputs[name] for name in (ENCODER_WEIGHTS, "valid") if name in inputs}
    defaults = {**asdict(TrainConfig()), **later}
    description = describe(config, encoders, material)
    if scales := weigh_alike(loss, separator, dataset, collate, config.fit.batch):
        description["encoder_scales"] = dict(scales)
    threshold_db = config.loss.threshold_db
    graph = config.loss.kind == GRAPH_PIT
    module = SeparationModule(
        separator, loss, config.fit, threshold_db, description, teacher, graph=graph
    )
    whole = DataLoader(WholeMixtures(mixtures), batch_size=1, collate_fn=collate)
    check(config.fit, whole, out)

    validated_on = {
        "set": mixtures.path.name,
        "mixtures": len(mixtures.mixtures),
        "corpus": mixtures.info.corpus,
        "condition": mixtures.info.condition,
    }
    with claimed(out, inputs, overwrite=overwrite, defaults=defaults):
        if is_first_process():
            note_origin(out, commit(REPOSITORY), validated_on)
        fit(module, dataset, collate, whole, out)
