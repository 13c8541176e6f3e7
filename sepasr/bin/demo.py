"""``sepasr demo``: a page on this machine that separates recordings and reads them."""

from __future__ import annotations

import argparse

from sepasr.bin.separate import PRETRAINED, separator_place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--model",
        type=separator_place,
        default=PRETRAINED,
        help="directory of a separator, or owner/name on the Hugging Face hub "
        "(default: %(default)s)",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps (default: cpu)")
    parser.add_argument(
        "--recogniser", default="whisper_base", help="a name in conf/asr, or a YAML (%(default)s)"
    )
    parser.add_argument("--asr-source", default="package", choices=["package", "hub"])
    parser.add_argument("--port", type=int, help="to listen on (default: the first free from 7860)")


def run(options: argparse.Namespace) -> None:
    """Show the page until interrupted."""
    from sepasr.decode.demo import build_page, check_gradio, launch

    check_gradio()  # before the seconds that models take

    from sepasr.decode.recogniser import load_recogniser
    from sepasr.decode.separate import load_separator

    separator = load_separator(options.model, options.device)
    recogniser = load_recogniser(options.recogniser, options.asr_source)
    launch(build_page(separator, recogniser), options.port)
