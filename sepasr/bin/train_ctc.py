"""``sepasr train_ctc``: train a small Wav2Vec2 recogniser."""

from __future__ import annotations

import argparse

from sepasr.bin.train import add_material_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_material_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Train, resuming what was begun in ``--out``."""
    from sepasr.train.ctc import train_ctc
    from sepasr.train.recipe import Sources

    train_ctc(
        config_files=options.config,
        overrides=options.overrides,
        sources=Sources(options.utterances, options.noise, options.rooms),
        valid=options.valid,
        out=options.out,
        overwrite=options.overwrite,
    )
