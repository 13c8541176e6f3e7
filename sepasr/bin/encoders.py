"""``sepasr encoders``: what each encoder of the loss is and costs, as a table."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="ENCODER",
        help="YAML file, or name of one in conf/encoder; by default all whose source is ours",
    )
    parser.add_argument(
        "--random",
        action="store_true",
        help="where a model isn't at hand, take a network of its shape with random weights",
    )
    parser.add_argument(
        "--separator",
        default="mini",
        help="whose own step costs are compared with: YAML file, or name of one in conf/separator",
    )
    parser.add_argument("--batch", type=int, default=8, help="mixtures of a step")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a mixture")
    parser.add_argument("--repeats", type=int, default=5, help="measurements, for their median")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="page whose table to replace, between markers"
    )


def run(options: argparse.Namespace) -> None:
    """Try one encoder after the other, then print the table or put it in its page."""
    from sepasr.config import load_config
    from sepasr.encoder.base import SOURCES, EncoderConfig
    from sepasr.models import REPOSITORY, conf_file
    from sepasr.separator.model import Separator, SeparatorConfig
    from sepasr.study import encoders as study

    if options.markdown:
        study.split_page(options.markdown)  # a mistake is told before the measurements
    names = options.names or sorted(
        path.stem for path in (REPOSITORY / "conf" / "encoder").glob("*.yaml")
    )
    confs = [load_config(EncoderConfig, [conf_file("encoder", name)]) for name in names]
    if not options.names:  # without the template for a module of the user's own
        confs = [conf for conf in confs if conf.source in SOURCES]
    shape = load_config(SeparatorConfig, [conf_file("separator", options.separator)])
    trial = study.Trial(Separator(shape), options.batch, options.seconds, options.repeats)
    rows = []
    for conf in confs:
        row = study.try_encoder(conf, trial, random=options.random)
        print(row.cause or f"{conf.name}: tried", flush=True)
        rows.append(row)
    table = f"{study.markdown_table(rows)}\n{study.conditions(_command(options))}"
    if options.markdown:
        study.replace_table(options.markdown, table)
    else:
        print(f"\n{table}", end="")


def _command(options: argparse.Namespace) -> list[str]:
    """What was asked for, with the defaults spelt out."""
    words = ["sepasr", "encoders", *options.names, *["--random"] * options.random]
    for name in ("separator", "batch", "seconds", "repeats"):
        words += [f"--{name}", str(getattr(options, name))]
    return words
