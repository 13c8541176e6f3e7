"""Files that are either complete or absent."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from sepasr.errors import UserError

IN_THE_MAKING = re.compile(r"\..+\.[^.]+\.[^.]+")
"""Names of temporary files: a dot before the name, and a word between it and the suffix."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside ``path`` and rename it to ``path`` when the block ends well.

    The suffix is kept, because audio writers choose the container by it. When the block raises,
    the temporary file is removed and whatever was at ``path`` is untouched. What a killed process
    has left is taken up by the next one that writes ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, handle = _temporary_file(path)
    try:
        yield temporary
        # Until here only the owner could read it; a result is as readable as any other.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except BaseException:
        # Not once it is renamed: the name may be another process's by then.
        with suppress(OSError):
            temporary.unlink()
        raise
    finally:
        os.close(handle)


def _temporary_file(path: Path) -> tuple[Path, int]:
    """An empty file that this process has for itself, and the handle that locks it."""
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        if (handle := _locked(temporary, os.O_RDWR | os.O_CREAT)) is not None:
            os.truncate(handle, 0)
            return temporary, handle
    except BlockingIOError:  # another process is at it
        pass
    except OSError:  # no locks here: another process would go unnoticed
        with suppress(OSError):
            temporary.unlink()
    try:
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix
        )
    except OSError as error:
        error.filename = str(path)  # not a name that nobody knows
        raise
    return Path(name), handle


def _locked(path: Path, flags: int) -> int | None:
    """A handle that locks a file or directory; None if it was renamed or removed meanwhile.

    The lock ends with the process, however it ends.

    Raises:
        OSError: another process has it, or there is no such lock.
    """
    handle = os.open(path, flags, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_still(handle, path):
            return handle
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


def try_lock(lock: IO[str]) -> bool:
    """Lock an open file for this process alone. The lock ends with the process, however it ends.

    Returns:
        Whether no other process has it. Where a disk has no locks, as some that are shared in a
        network, nobody has.
    """
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def refuse_another(lock: IO[str], what: str, where: Path, remedy: str) -> None:
    """Lock an open file as :func:`try_lock` does.

    Raises:
        UserError: another process has it; ``what``, ``where`` and ``remedy`` are what it says.
    """
    if not try_lock(lock):
        raise UserError(what, where=where, remedy=remedy)


def _is_still(handle: int, path: Path) -> bool:
    """Whether an open file is the one of that name, which may have been renamed or removed."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), os.stat(path))
    return False


@contextmanager
def locked_folder(lock: Path, what: str, where: Path, remedy: str) -> Iterator[IO[str]]:
    """Reserve the folder of a lock file, made if missing, for this process; gives the locked file.

    Raises:
        UserError: see :func:`refuse_another`.
    """
    while True:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as stream:
            refuse_another(stream, what, where, remedy)
            if _is_still(stream.fileno(), lock):
                yield stream
                return


TRIES = 100
"""Times that a directory may be renamed by others just before it is locked."""


@contextmanager
def _fresh_directory(path: Path) -> Iterator[Path]:
    """An empty directory beside ``path``, removed when the block raises.

    As with :func:`atomic_path`, it is what a killed process has left, emptied.

    Raises:
        UserError: another process is writing ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, handle = path.with_name(f".{path.name}.part"), None
    for _ in range(TRIES):
        temporary.mkdir(exist_ok=True)
        try:
            handle = _locked(temporary, os.O_RDONLY)
        except BlockingIOError:
            what, remedy = "another run is writing this directory", "wait for it, or name another"
            raise UserError(what, where=path, remedy=remedy) from None
        except FileNotFoundError:  # another run has just renamed it
            continue
        except OSError:  # no locks here
            break
        if handle is not None:
            break
    try:
        for left in temporary.iterdir():
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            else:
                left.unlink()
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        if handle is not None:
            os.close(handle)


@contextmanager
def new_directory(path: str | Path) -> Iterator[Path]:
    """Give an empty directory beside ``path`` and rename it to ``path`` when the block ends well.

    When the block raises, nothing is left of it.

    Raises:
        UserError: ``path`` holds something already.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError("there is something already", where=path, remedy="name a new directory")
    with _fresh_directory(path) as folder:
        yield folder
        folder.replace(path)


@contextmanager
def replaced_directory(path: str | Path) -> Iterator[Path]:
    """Give a new directory beside ``path`` that takes its place when the block ends well."""
    path = Path(path)
    replaced = path.with_name(f".{path.name}.replaced")
    with _fresh_directory(path) as folder:
        if replaced.is_dir() and not path.exists():  # killed between the two renamings below
            replaced.rename(path)
        yield folder
        if path.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            path.rename(replaced)
        folder.rename(path)
        shutil.rmtree(replaced, ignore_errors=True)


OLD = ".old-"
"""Stands before the time in the name of a folder that was moved to make room for another."""


def whole_files(folder: str | Path, pattern: str) -> list[Path]:
    """What matches a pattern below a folder, sorted, but not what :func:`atomic_path` makes.

    Those are files in the making, or left by a killed process.

    Raises:
        UserError: the folder is there and can't be read; a pattern would match nothing.
    """
    folder = Path(folder)
    if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
        raise UserError("can't be read", where=folder, remedy="change its permissions")
    paths = folder.glob(pattern)
    return sorted(path for path in paths if not IN_THE_MAKING.fullmatch(path.name))


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8; the file appears only when it is complete."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


MADE_OF = "made_of.yaml"
"""The usual name of the file by which a folder is claimed."""


def claim(path: Path, content: str, what: str, *, remedy: str) -> None:
    """Write down what the folder of ``path`` is made of, unless that is there and says otherwise.

    Raises:
        UserError: it says otherwise; ``what`` and ``remedy`` are what the error says.
    """
    if path.is_file() and path.read_text(encoding="utf-8") != content:
        raise UserError(what, where=path, remedy=remedy)
    write_text(path, content)


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
