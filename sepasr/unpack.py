"""Zips that others made, unpacked so that nothing lands outside of their folder."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath

from sepasr.errors import UserError
from sepasr.files import sha256
from sepasr.models import cache_dir


def unpack_zip(file: Path, needed: str) -> Path:
    """Unpack a zip into the user's cache, once for each content.

    Args:
        file: the zip.
        needed: a member that it must have. A zip that is cut off inside of another zip passes for
            that one, as the weights that torch saves are.

    Returns:
        The folder of its members, named by the zip's SHA-256.

    Raises:
        UserError: it is no zip or a damaged one, lacks what is needed, one of its members would
            leave the folder or is not a plain file, or the cache can't be written.
    """
    folder = cache_dir() / "espnet" / sha256(file)
    if folder.is_dir():
        return folder
    try:
        with zipfile.ZipFile(file) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            if needed not in (info.filename for info in members):
                remedy = "it is cut off, or something else"
                raise UserError(f"no {needed} in this zip", where=file, remedy=remedy)
            for info in members:
                _check_member(file, info)
            folder.parent.mkdir(parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".unpacking."))
            try:
                for info in members:
                    target = fresh / info.filename
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(info) as source, open(target, "wb") as copy:
                        shutil.copyfileobj(source, copy)
                # Renamed when complete; another process may have been faster.
                with suppress(OSError):
                    os.rename(fresh, folder)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        remedy = "a directory or a complete zip of ESPnet's model zoo"
        raise UserError(f"can't be unpacked: {error}", where=file, remedy=remedy) from error
    except OSError as error:
        remedy = "free some space there or set XDG_CACHE_HOME"
        raise UserError(f"can't write: {error.strerror}", where=folder, remedy=remedy) from error
    return folder


def _check_member(file: Path, info: zipfile.ZipInfo) -> None:
    posix, windows = PurePosixPath(info.filename), PureWindowsPath(info.filename)
    kind = stat.S_IFMT(info.external_attr >> 16)
    wrong = {
        "has an absolute name": posix.is_absolute() or bool(windows.anchor),
        "would leave the folder": ".." in posix.parts or ".." in windows.parts,
        "is not a plain file": kind not in (0, stat.S_IFREG),
    }
    for cause, true in wrong.items():
        if true:
            what = f"its member '{info.filename}' {cause}"
            raise UserError(what, where=file, remedy="nothing was unpacked; do not trust this file")
