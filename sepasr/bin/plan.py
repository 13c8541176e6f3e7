"""``sepasr plan SUBCOMMAND ...``: what it would read, write and need. Nothing is touched."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

WRITTEN = ("out", "choice", "markdown")
"""Options that name what is written, of most subcommands."""
OTHERWISE = {"lengthen": ("out", "audio"), "measure": ("rows",)}
"""Of some they are others: what one writes, another reads."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from sepasr.bin.main import SUBCOMMANDS

    planned = [name for name in SUBCOMMANDS if name != "plan"]
    parser.add_argument("planned", choices=planned, metavar="SUBCOMMAND")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="its options")


def run(options: argparse.Namespace) -> None:
    """Print a line each for what is read, what is written, and what it takes."""
    from sepasr.bin.main import parse

    planned = parse([options.planned, *options.options])
    if options.planned == "submit":
        planned = parse(planned.command)
    names = OTHERWISE.get(planned.subcommand, WRITTEN)
    written = [path for name in names if (path := getattr(planned, name, None))]
    read = sorted(set(_paths(vars(planned))) - set(written))
    missing = [str(path) for path in read if not path.exists()]
    lines = {
        "reads": " ".join(str(path) for path in read if path.exists()),
        "reads, once it is there:": " ".join(missing),
        "writes": " ".join(map(str, written)),
    }
    for name, text in lines.items():
        if text:
            print(f"    {name} {text}")
    needs = getattr(planned, "needs", None)
    for line in needs(planned) if needs else ():
        print(f"    {line}")


def _paths(value: object) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _paths(one)
    elif isinstance(value, list):
        for one in value:
            yield from _paths(one)


def size(count: float) -> str:
    """Bytes for people."""
    if count < 0.1e9:
        return f"{count / 1e6:.1f} MB"
    return f"{count / 1e9:.2f} GB" if count < 1e9 else f"{count / 1e9:.1f} GB"
