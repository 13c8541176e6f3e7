"""``sepasr demo``: a page on this machine that separates recordings and reads them."""

from __future__ import annotations

import argparse

from sepasr.bin.separate import add_reader_arguments, add_separator_arguments, reader_of


def port(text: str) -> int:
    """A number that a port may have."""
    value = int(text)
    if not 0 < value < 1 << 16:
        raise ValueError(text)
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_separator_arguments(parser)
    add_reader_arguments(parser)
    parser.add_argument(
        "--port", type=port, help="to listen on (default: the first free from 7860)"
    )


def run(options: argparse.Namespace) -> None:
    """Show the page until interrupted."""
    from sepasr.decode.demo import build_page, check_gradio, launch

    check_gradio()  # before the seconds that models take

    from sepasr.decode.separate import load_separator

    separator = load_separator(options.model, options.device)
    launch(build_page(separator, reader_of(options)), options.port)
