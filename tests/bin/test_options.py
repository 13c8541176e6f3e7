"""An option that takes a list and is given more than once keeps the values of every time."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib import import_module

import pytest

from sepasr.bin.main import SUBCOMMANDS


def list_options(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for kind in action.choices.values():
                yield from list_options(kind)
        elif action.option_strings and action.nargs in ("*", "+"):
            yield action


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_no_value_is_lost(subcommand: str) -> None:
    parser = argparse.ArgumentParser()
    import_module(f"sepasr.bin.{subcommand}").add_arguments(parser)
    for action in list_options(parser):
        options = argparse.Namespace(**{action.dest: action.default})
        for value in "ab":
            action(parser, options, [value], action.option_strings[0])
        # An option that may name several things, with a list for each, has lists of them.
        assert getattr(options, action.dest) in (["a", "b"], [["a"], ["b"]]), action.dest
