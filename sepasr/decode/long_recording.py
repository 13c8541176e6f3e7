"""Separate hours of audio from disk to disk, in constant memory, and go on after an interruption.

The work is done in passes over windows (:mod:`sepasr.decode.passes`). Here is what makes a run of
them: one at a time in a folder, and a record of what the streams are, by which a complete one isn't
done again.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from torch import nn
from tqdm import tqdm

from sepasr.data.blocks import Measured, header_of
from sepasr.decode.cells import CELL_S
from sepasr.decode.passes import LongOptions, Passes
from sepasr.decode.progress import Hook, no_hook
from sepasr.files import write_text


def separate_to_disk(
    separator: nn.Module,
    source: str,
    fs: int,
    measured: Measured,
    paths: list[Path],
    options: LongOptions,
    *,
    hook: Hook = no_hook,
) -> None:
    """Write the streams of a recording that is longer than a window, at its rate, as 16-bit PCM.

    While it works, all is in a hidden folder beside the first stream. ``NAME.separated.json``,
    beside the streams, says how they were made; if they are already those of this separator and
    recording, nothing is done.

    Args:
        separator: in evaluation mode.
        source: a file, or another entry of a wav.scp.
        fs: its sampling rate in Hz.
        measured: what a first pass over the recording told.
        paths: the files to write, one per speaker, in one folder.
        options: how.
        hook: is told how far the work is.

    Raises:
        UserError: the recording can't be read, the disk has no room, or another run is at it.
    """
    summary, name = summary_path(paths), _name(paths)
    folder = summary.parent / f".{name}.separating"
    work = Passes(separator, source, fs, measured, options, hook, folder)
    windows = work.file
    identity = work.identity | {"add_mixture": options.add_mixture, "gather": options.gather}
    if _is_done(summary, identity, paths) and not windows.folder.is_dir():
        _say_done(source)
        return
    with windows.locked():
        if _is_done(summary, identity, paths):  # by another run, or interrupted at the very end
            _say_done(source)
            shutil.rmtree(windows.folder, ignore_errors=True)
            return
        windows.prepare(2 * work.speakers * measured.samples)
        work.separate()
        work.gain = windows.gain()
        orders = work.order()
        owner = work.owners(orders) if options.gather and work.speakers > 1 else None
        silent, turned_down_db = work.write(orders, owner, paths, summary)
        report = {
            "gain": work.gain,
            "turned_down_db": round(turned_down_db, 2),
            "silent_streams": silent,
            "gathered_s": None if owner is None else round(float((owner >= 0).sum() * CELL_S), 1),
            **identity,
        }
        write_text(summary, json.dumps(report, indent=2) + "\n")
        # Where another run waits at the lock already, it removes the rest.
        shutil.rmtree(windows.folder, ignore_errors=True)


def _say_done(source: str) -> None:
    tqdm.write(f"{source}: separated before, left as it is", file=sys.stderr)


def _name(paths: list[Path]) -> str:
    return paths[0].stem.rsplit("_", 1)[0]


def summary_path(paths: list[Path]) -> Path:
    """The file that says what the streams of a long recording are."""
    return paths[0].with_name(f"{_name(paths)}.separated.json")


def _is_done(summary: Path, identity: dict[str, object], paths: list[Path]) -> bool:
    """Whether the streams are there as a whole, and made like this."""
    whole = (identity["samples"], identity["fs"])
    if not summary.is_file() or any(header_of(str(path)) != whole for path in paths):
        return False
    try:
        report = json.loads(summary.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(report, dict) and identity.items() <= report.items()
