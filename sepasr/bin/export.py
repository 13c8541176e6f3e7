"""``sepasr export``: a separator in the form that another program loads."""

from __future__ import annotations

import argparse
from pathlib import Path

from sepasr.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", type=Path, help="directory of a separator")
    parser.add_argument(
        "--to",
        required=True,
        choices=("espnet", "onnx", "hub"),
        help="ESPnet's model directory, an ONNX file, or a repository of the Hugging Face hub",
    )
    parser.add_argument("-o", "--out", type=Path, help="directory (espnet) or file (onnx) to write")
    parser.add_argument("--repo", metavar="NAME", help="repository on the hub, USER/NAME")
    parser.add_argument("--private", action="store_true", help="a private one, where it is new")
    parser.add_argument(
        "--results", type=Path, help="a results.json, whose tables go into the hub's model card"
    )


def run(options: argparse.Namespace) -> None:
    """Export it and say where it is."""
    wanted, other = ("repo", "out") if options.to == "hub" else ("out", "repo")
    if getattr(options, wanted) is None or getattr(options, other) is not None:
        raise UserError(f"--to {options.to} takes --{wanted}, and not --{other}")
    if options.to != "hub" and (options.private or options.results):
        what = "--private and --results are for the hub"
        raise UserError(what, remedy="leave them out, or export --to hub")
    if options.to == "espnet":
        from sepasr.separator.espnet import export_espnet

        print(export_espnet(options.model, options.out))
    elif options.to == "onnx":
        from sepasr.separator.onnx import export_onnx

        print(export_onnx(options.model, options.out))
    else:
        from sepasr.separator.hub import push_to_hub

        private = True if options.private else None
        print(push_to_hub(options.model, options.repo, options.results, private=private))
