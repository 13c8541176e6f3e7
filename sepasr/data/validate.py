"""Checks of data directories down to their audio: `python -m sepasr.data.validate DIR...`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from sepasr.data.datadir import MixtureDir
from sepasr.data.header import Header, read_headers
from sepasr.data.layout import Contents, inspect
from sepasr.data.scp import Table
from sepasr.data.segments import SEGMENTS, check_segments
from sepasr.errors import UserError

_SHOWN = 100
# utt2dur keeps microseconds; a sample lasts longer than this at every rate below 500 kHz.
_TOLERANCE_S = 2e-6


def validate(path: str | Path, *, samples: bool = False) -> list[UserError]:
    """Collect every problem of a data directory of any kind.

    Beyond what loading checks: each audio file exists, can be read, is not truncated, has the
    directory's rate and one channel (noises may have more; the two files of a room as many as each
    other); wav.scp agrees with utt2dur; references and noise are as long as their mixture; where
    there are segments, they are what the speakers say.

    Args:
        path: the directory.
        samples: read all samples too, so that those that are not finite are found.

    Returns:
        One error per problem, which names file and line; none for a good directory.

    Raises:
        UserError: there is no such directory.
    """
    contents = inspect(path)
    scps = [table for name, table in contents.tables.items() if name.endswith(".scp")]
    paths = [Path(file) for table in scps for file in table.values.values()]
    fs = contents.info.fs if contents.info else None
    mono = "spk2utt" in contents.tables
    found = iter(read_headers(paths, fs, channels=1 if mono else None, samples=samples))
    headers = {table.path.name: {key: next(found) for key in table.values} for table in scps}

    problems = list(contents.problems)
    for table in scps:
        for key, header in headers[table.path.name].items():
            if isinstance(header, UserError):
                problems.append(table.problem(key, str(header)))
    problems += _check_lengths(contents, headers)
    problems += _check_segments(contents)
    return problems


def _check_segments(contents: Contents) -> Iterator[UserError]:
    """The first problem of the tables of single utterances, where the others have none."""
    if not contents.problems and (contents.path / SEGMENTS).exists():
        try:
            check_segments(MixtureDir.load(contents.path))
        except UserError as error:
            yield error


def _check_lengths(
    contents: Contents, headers: dict[str, dict[str, Header | UserError]]
) -> Iterator[UserError]:
    """Compare each file with utt2dur, and with the file that the first scp has for its id."""
    main, *others = headers
    for key, first in headers[main].items():
        if isinstance(first, UserError):
            continue
        if "utt2dur" in contents.tables:
            yield from _check_duration(contents.tables["utt2dur"], key, first)
        for name in others:
            other = headers[name].get(key)
            if not isinstance(other, Header):
                continue
            if main == "reverb.scp" and other.channels != first.channels:
                what = f"{other.channels} channels of id '{key}', {main} has {first.channels}"
                yield contents.tables[name].problem(key, what)
            if main == "wav.scp" and other.frames != first.frames:
                what = f"{other.frames} samples of id '{key}', its mixture has {first.frames}"
                yield contents.tables[name].problem(key, what)


def _check_duration(utt2dur: Table, key: str, header: Header) -> Iterator[UserError]:
    try:
        duration_s = float(utt2dur.values[key])
    except (KeyError, ValueError):
        return  # already reported by inspect
    if abs(duration_s - header.frames / header.fs) > _TOLERANCE_S:
        what = f"{duration_s:.6f} s of id '{key}', its audio has {header.duration_s:.6f} s"
        yield utt2dur.problem(key, what)


def main(arguments: list[str] | None = None) -> int:
    """Check the directories named on the command line; 0 if all are good, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="validate_data_dir.sh", description=__doc__)
    parser.add_argument("directories", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--samples", action="store_true", help="read all samples: find NaN")
    options = parser.parse_intermixed_args(arguments)
    good = True
    for directory in options.directories:
        try:
            problems = validate(directory, samples=options.samples)
        except UserError as error:
            problems = [error]
        for problem in problems[:_SHOWN]:
            print(problem, file=sys.stderr)
        if len(problems) > _SHOWN:
            print(f"{directory}: {len(problems) - _SHOWN} more problems", file=sys.stderr)
        if not problems:
            print(f"{directory}: valid")
        good = good and not problems
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
