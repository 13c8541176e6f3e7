"""Options of the subcommands: lists that are given again, and what is written in two ways."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib import import_module

import pytest

from sepasr.bin.main import SUBCOMMANDS, parse


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


@pytest.mark.parametrize("flag", ["--dry-run", "--dry_run"])
def test_a_dry_run_of_a_study_is_written_either_way(flag: str) -> None:
    assert parse(["study", flag]).dry_run


@pytest.mark.parametrize("subcommand", [["separate", "a.wav", "-o", "b"], ["demo"]])
def test_a_separator_may_be_on_the_hub(subcommand: list[str]) -> None:
    assert parse([*subcommand, "--model", "owner/name"]).model == "owner/name"
