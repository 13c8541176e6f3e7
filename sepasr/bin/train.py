"""``sepasr train``: pretrain or fine-tune a separator."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sepasr.errors import UserError

if TYPE_CHECKING:
    from sepasr.train.material import Sources


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what every training takes, apart from its speech."""
    parser.add_argument(
        "--config",
        type=Path,
        nargs="+",
        action="extend",
        required=True,
        help="how to train; a later file is laid over the earlier ones",
    )
    parser.add_argument(
        "--set", nargs="*", action="extend", default=[], metavar="NAME=VALUE", dest="overrides"
    )
    parser.add_argument("--noise", type=Path, help="data directory of noise to add")
    parser.add_argument("--rooms", type=Path, help="data directory of rooms to speak in")
    parser.add_argument("--valid", type=Path, required=True, help="data directory to validate on")
    parser.add_argument("--out", type=Path, required=True, help="where checkpoints and logs go")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="move another training that is in OUT",
    )


def add_speech_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the two ways to have mixtures."""
    speech = parser.add_mutually_exclusive_group(required=True)
    speech.add_argument(
        "--utterances",
        type=Path,
        help="data directory of single utterances, mixed anew at every step",
    )
    speech.add_argument("--mixtures", type=Path, help="data directory of fixed mixtures")


def add_encoder_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the encoders of the loss; see :func:`encoder_files`."""
    parser.add_argument(
        "--encoder",
        type=Path,
        nargs="*",
        action="append",
        default=[],
        help="YAML of the loss's encoder; a later file is laid over the earlier ones. Given more "
        "than once, it names an encoder each time, and their distances are added",
    )


def encoder_files(options: argparse.Namespace) -> list[list[Path]]:
    """For each encoder of the loss the files that describe it."""
    return [files for files in options.encoder if files]


def material(options: argparse.Namespace) -> Sources | Path:
    """What the options say is to be trained on.

    Raises:
        UserError: noise or rooms are given for mixtures that are fixed.
    """
    from sepasr.train.material import Sources

    if options.mixtures is None:
        return Sources(options.utterances, options.noise, options.rooms)
    if options.noise or options.rooms:
        raise UserError(
            "fixed mixtures have their noise and rooms",
            where=options.mixtures,
            remedy="leave --noise and --rooms out, or give --utterances",
        )
    return options.mixtures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common_arguments(parser)
    add_speech_arguments(parser)
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument(
        "--separator", type=Path, nargs="+", action="extend", help="YAML of a new separator"
    )
    start.add_argument("--init", type=Path, help="directory of a trained separator to start from")
    parser.add_argument(
        "--grow-speakers",
        action="store_true",
        help="the trained separator may have fewer speakers: its mask layer's rows are repeated",
    )
    parser.add_argument(
        "--separator-set",
        nargs="*",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="laid over the YAML of a new separator: num_speakers=3 fs=8000 ...",
    )
    add_encoder_argument(parser)


def needs(options: argparse.Namespace) -> list[str]:
    """Steps, memory, disk and operations; a starting point that isn't there yet tells less."""
    from sepasr.bin.plan import size
    from sepasr.config import load_config
    from sepasr.encoder.base import EncoderConfig, check_encoder
    from sepasr.separator.model import CONFIG, SeparatorConfig, read_description
    from sepasr.separator.networks import TD_CONFORMER
    from sepasr.train.footprint import (
        BYTES_PER_COPY,
        CHECKPOINT_BYTES_PER_PARAMETER,
        Copies,
        count_parameters,
        footprint,
        forward_flops,
    )
    from sepasr.train.recipe import TrainConfig

    config = load_config(TrainConfig, options.config, options.overrides)
    encoders = [load_config(EncoderConfig, files) for files in encoder_files(options)]
    for encoder in encoders:
        check_encoder(encoder)
    fit = config.fit
    per_step = fit.batch * fit.accumulation * fit.devices * fit.num_nodes
    mixtures = fit.steps * per_step
    validations, whole = fit.steps // fit.valid_every, _valid(options.valid)
    lines = [
        f"steps: {fit.steps} of {per_step} mixtures of {config.mixing.segment_s:g} s",
        f"validations: {validations}"
        + (f" of {len(whole)} mixtures of {sum(whole) / len(whole):.1f} s" if whole else ""),
        *(f"encoder of the loss: {one.name}, {one.model}" for one in encoders),
    ]
    if options.separator:
        shape = load_config(SeparatorConfig, options.separator, options.separator_set)
    elif (options.init / CONFIG).is_file():
        shape, _ = read_description(options.init)
    else:
        return lines
    copies = Copies.of(config)
    if shape.network != TD_CONFORMER:
        parameters = count_parameters(shape)
        each = CHECKPOINT_BYTES_PER_PARAMETER + BYTES_PER_COPY * copies.checkpoint
        return [
            *lines,
            f"parameters: {parameters:,}",
            f"memory and operations: not estimated for the network {shape.network}",
            f"disk: {size(each * parameters)} for a checkpoint",
        ]
    samples = round(config.mixing.segment_s * shape.fs)
    taken = footprint(
        shape, fit.batch, samples, checkpoint_activations=config.checkpoint_activations
    )
    copy = BYTES_PER_COPY * taken.parameters
    needed, kept = taken.memory + copies.memory * copy, taken.checkpoint + copies.checkpoint * copy
    memory = f"memory of each process: about {size(needed)} in float32"
    if encoders:
        memory += ", and the encoder of the loss"
    lines += [
        f"parameters: {taken.parameters:,}",
        memory,
        f"disk: {size(kept)} for a checkpoint",
        _operations("steps", taken.flops / fit.batch * mixtures),
    ]
    if validations and whole:
        mean = round(sum(whole) / len(whole) * shape.fs)
        forward = forward_flops(shape, 1, mean)
        lines.append(_operations("validations", forward * len(whole) * validations))
    return lines


def _operations(what: str, count: float) -> str:
    return f"operations of the {what}: {count:.1e}, {count / 1e14 / 3600:.1f} h at 100 TFLOP/s"


def _valid(path: Path) -> list[float]:
    """Seconds of each mixture to validate on; none where there is no such directory yet."""
    from sepasr.data.datadir import MixtureDir

    if not path.is_dir():
        return []
    return [mixture.duration_s for mixture in MixtureDir.load(path).mixtures]


def run(options: argparse.Namespace) -> None:
    """Train, resuming what was begun in ``--out``."""
    from sepasr.train.recipe import train_separator

    if options.grow_speakers and options.init is None:
        raise UserError("--grow-speakers is for --init", remedy="set num_speakers of the new one")
    train_separator(
        config_files=options.config,
        overrides=options.overrides,
        separator_files=options.separator,
        separator_overrides=options.separator_set,
        init=options.init,
        grow_speakers=options.grow_speakers,
        encoder_files=encoder_files(options),
        material=material(options),
        valid=options.valid,
        out=options.out,
        overwrite=options.overwrite,
    )
