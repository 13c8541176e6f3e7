"""``sepasr tune``: choose learning rate and steps of a system's fine-tuning on the dev set."""

from __future__ import annotations

import argparse
from pathlib import Path

from sepasr.bin.separate import add_source_argument
from sepasr.bin.train import (
    add_common_arguments,
    add_encoder_argument,
    add_speech_arguments,
    encoder_files,
    material,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common_arguments(parser)
    add_speech_arguments(parser)
    parser.add_argument("--init", type=Path, required=True, help="separator to start from")
    add_encoder_argument(parser)
    parser.add_argument(
        "--lr", type=float, nargs="+", action="extend", required=True, help="learning rates to try"
    )
    parser.add_argument(
        "--steps", type=int, nargs="+", action="extend", required=True, help="steps to try"
    )
    parser.add_argument(
        "--recogniser",
        type=Path,
        nargs="+",
        action="append",
        required=True,
        help="YAML of a recogniser and what is laid over it; once for each recogniser",
    )
    add_source_argument(parser)
    parser.add_argument(
        "--device",
        help="where separators and recognisers run (default: cpu, and as their YAML says)",
    )
    parser.add_argument(
        "--num-valid", type=int, metavar="N", help="mixtures to choose by (default: all of --valid)"
    )
    parser.add_argument("--choice", type=Path, required=True, help="YAML to write the best to")


def run(options: argparse.Namespace) -> None:
    """Train with each learning rate once, as far as the most steps, and compare."""
    from sepasr.data.datadir import MixtureDir
    from sepasr.decode.recogniser import load_recogniser
    from sepasr.study.tune import Candidate, evaluate, write_choice
    from sepasr.train.recipe import train_separator

    recognisers = [
        load_recogniser(files[0], options.asr_source, deltas=files[1:], device=options.device)
        for files in options.recogniser
    ]
    heard = MixtureDir.load(options.valid)
    if options.num_valid is not None:
        heard = heard.spread_out(options.num_valid)
    longest = max(options.steps)
    candidates = []
    for lr in options.lr:
        out = options.out / "train" / f"lr{lr:g}"
        train_separator(
            config_files=options.config,
            # At a constant rate a shorter training is the beginning of a longer one.
            overrides=[
                *options.overrides,
                f"fit.steps={longest}",
                # The last one as well, for a call with more steps later on.
                f"fit.snapshots={sorted(set(options.steps))}",
                f"fit.optimizer.lr={lr}",
                "fit.optimizer.schedule=constant",
                "fit.keep=last",  # what is compared are the weights after so many steps
            ],
            separator_files=None,
            init=options.init,
            encoder_files=encoder_files(options),
            material=material(options),
            valid=options.valid,
            out=out,
            overwrite=options.overwrite,
        )
        candidates += [Candidate(lr, n, out / f"step{n}") for n in sorted(set(options.steps))]
    device = options.device or "cpu"
    outcomes = evaluate(candidates, heard, recognisers, options.out, device)
    best = write_choice(outcomes, options.out / "grid.csv", options.choice)
    print(f"{best.candidate.name}: {100 * best.family_mean:.1f} % cpWER, mean over families")
