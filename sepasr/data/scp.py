"""Kaldi tables: text files of `id value` lines, sorted by id under LC_ALL=C."""

from __future__ import annotations

import struct
import subprocess
import tempfile
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sepasr.data.audio import read_audio
from sepasr.errors import UserError
from sepasr.files import write_text


@dataclass(frozen=True)
class Table:
    """What one file holds and all that is wrong with it.

    Attributes:
        path: the file.
        values: value by id, in the file's order; a line with a problem may still be here.
        lines: line number, counted from 1, by id.
        problems: everything wrong, in the file's order.
    """

    path: Path
    values: dict[str, str]
    lines: dict[str, int]
    problems: tuple[UserError, ...]

    def problem(self, key: str, what: str, remedy: str | None = None) -> UserError:
        """The error ``what`` at the line of the id ``key``."""
        return UserError(what, where=self.path, line=self.lines.get(key), remedy=remedy)


def inspect_table(path: str | Path, *, empty_values: bool = False) -> Table:
    """Read a table and collect every problem: see :func:`read_table`, which raises the first."""
    path = Path(path)
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    problems: list[UserError] = []
    previous = ""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return _unreadable(path, "no such file")
    except UnicodeDecodeError as error:
        return _unreadable(path, f"not UTF-8 text: byte {error.start} is {error.reason}")
    if not text:
        return _unreadable(path, "no entries")

    rows = text.split("\n")
    unfinished = rows.pop()
    if unfinished:
        rows.append(unfinished)
    for number, row in enumerate(rows, 1):
        key, *rest = row.split(None, 1) or [""]
        value = rest[0].strip() if rest else ""
        if not key:
            problems.append(UserError("blank line", where=path, line=number, remedy="remove it"))
            continue
        if key in lines:
            what = f"duplicate id '{key}', first in line {lines[key]}"
            problems.append(UserError(what, where=path, line=number, remedy="remove one"))
            continue
        if key < previous:
            what = f"id '{key}' is out of order, it follows '{previous}'"
            problems.append(UserError(what, where=path, line=number, remedy="LC_ALL=C sort"))
        if not value and not empty_values:
            what = f"no value for id '{key}'"
            problems.append(UserError(what, where=path, line=number, remedy="complete the line"))
        values[key], lines[key], previous = value, number, key
    if unfinished:
        what = "the last line does not end in a newline: the file may be cut off"
        problems.append(UserError(what, where=path, line=len(rows), remedy="write it again"))
    return Table(path, values, lines, tuple(problems))


def _unreadable(path: Path, what: str) -> Table:
    return Table(path, {}, {}, (UserError(what, where=path, remedy="write it again"),))


def read_table(path: str | Path, *, empty_values: bool = False) -> dict[str, str]:
    """Read the values of a table by id, in the order of the ids.

    Args:
        path: UTF-8 text; each line is an id, white space and a value, which may hold spaces.
        empty_values: let ids stand alone, their value is "" then: transcripts can be empty.

    Raises:
        UserError: the file is missing, empty, cut off or not UTF-8, or a line is blank, has no
            value, repeats an id or is not sorted by the bytes of its id (LC_ALL=C).
    """
    table = inspect_table(path, empty_values=empty_values)
    if table.problems:
        raise table.problems[0]
    return table.values


def write_table(path: str | Path, values: Mapping[str, str], *, empty_values: bool = False) -> None:
    """Write a table sorted by id; what :func:`read_table` reads is equal to ``values``.

    Raises:
        UserError: no entries, an id with white space, or a value that is empty (unless
            ``empty_values``), spans lines, or starts or ends with white space.
    """
    if not values:
        raise UserError("no entries to write", where=path)
    rows = []
    # str compares by code points, which is the order of the bytes of UTF-8, and so of LC_ALL=C.
    for key, value in sorted(values.items()):
        if key.split() != [key]:
            raise UserError(f"id '{key}' is empty or holds white space", where=path)
        if value != value.strip() or "\n" in value or not (value or empty_values):
            raise UserError(f"value {value!r} of id '{key}' can't be kept on a line", where=path)
        rows.append(f"{key} {value}".rstrip() + "\n")
    write_text(path, "".join(rows))


def check_same_ids(tables: Sequence[Table]) -> list[UserError]:
    """Problems of tables that do not have the ids of the first one."""
    problems = []
    for table in tables[1:]:
        first = tables[0]
        for key, line in first.lines.items():
            if key not in table.values:
                what = f"no entry for id '{key}', which {first.path.name} has in line {line}"
                problems.append(UserError(what, where=table.path, remedy="add or remove it"))
        for key in table.values:
            if key not in first.values:
                what = f"id '{key}' is not in {first.path.name}"
                problems.append(table.problem(key, what, "add or remove it"))
    return problems


def is_file(value: str) -> bool:
    """Whether a value of a wav.scp is a file; a command can be longer than any name of one."""
    try:
        return Path(value).is_file()
    except OSError:
        return False


def read_entry(value: str, fs: int | None = None) -> tuple[np.ndarray, int]:
    """Read the audio that a value of a wav.scp stands for.

    A file is read by :func:`sepasr.data.audio.read_audio`, because kaldiio 2.18 refuses float WAV
    and SPHERE; so is what a command (`sph2pipe -f wav a.wv1 |`), which is executed, writes. All
    else that Kaldi allows, an archive with an offset (`wav.ark:123`), is left to kaldiio.

    Args:
        value: the value of the entry.
        fs: the sampling rate the audio must have, in Hz; any is taken without it.

    Returns:
        Samples of shape (samples, channels), float32, full scale 1.0; the sampling rate in Hz.

    Raises:
        UserError: nothing can be read, or the rate is another one.
    """
    if is_file(value) or not (value.endswith("|") or ":" in value):
        return read_audio(value, fs)
    if value.endswith("|"):
        return _read_command(value, fs)
    import kaldiio  # imported late: only entries that are not files need it

    try:
        content = kaldiio.load_mat(value)
    except (OSError, EOFError, ValueError, RuntimeError, AssertionError, struct.error) as error:
        raise _not_audio(value, f"{type(error).__name__} {error}") from None
    except (wave.Error, kaldiio.python_wave.Error) as error:
        raise _not_audio(value, str(error)) from None
    if not isinstance(content, tuple) or len(content[1]) == 0:
        raise _not_audio(value, "no samples")
    rate, samples = content
    if fs is not None and rate != fs:
        what = f"sampling rate is {rate} Hz where {fs} Hz is expected"
        raise UserError(what, where=value, remedy="resample the archive")
    if samples.dtype == np.uint8:
        samples = samples.astype(np.int16) - 128 << 8
    if samples.dtype == np.int16:
        samples = samples.astype(np.float32) / 32768
    return samples.reshape(len(samples), -1).astype(np.float32), rate


def _read_command(value: str, fs: int | None) -> tuple[np.ndarray, int]:
    done = subprocess.run(value[:-1], shell=True, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        what = f"the command ended with status {done.returncode}"
        raise UserError(what, where=value, remedy="run it by itself")
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        file.write(done.stdout)
        file.flush()
        try:
            return read_audio(file.name, fs)
        except UserError as error:
            cause = str(error).replace(file.name, "what the command writes")
            raise UserError(cause, where=value) from None


def _not_audio(value: str, cause: str) -> UserError:
    remedy = "name a file, a command that writes audio, or an archive of PCM WAV"
    return UserError(f"kaldiio can't read the entry: {cause}", where=value, remedy=remedy)
