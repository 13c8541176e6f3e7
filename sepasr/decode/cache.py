"""Transcripts kept by content: what was read once is never read again."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np

from sepasr.decode.recogniser import Recogniser, Transcript
from sepasr.errors import UserError

WAIT_S = 60.0  # for another process to end its transaction


def cache_key(samples: np.ndarray, recogniser: Recogniser) -> str:
    """SHA-256 of a stream's float32 samples and of all that decides how it is read."""
    content = hashlib.sha256(recogniser.identity.encode())
    content.update(np.ascontiguousarray(samples, dtype=np.float32).tobytes())
    return content.hexdigest()


class TranscriptCache:
    """Transcripts in an SQLite file, for use in a ``with`` statement.

    Several processes may use one file. What was put is there after a kill or a power cut; what was
    being put is there as a whole or not at all.

    Args:
        path: the file; it is made where there is none.

    Raises:
        UserError: the file can't be opened, read or written, or is something else.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        with self._mendable():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._path, timeout=WAIT_S)
            with self._database:
                self._database.execute(
                    "CREATE TABLE IF NOT EXISTS transcripts"
                    " (key TEXT PRIMARY KEY, text TEXT, tokens INTEGER, guard TEXT) WITHOUT ROWID"
                )

    def __enter__(self) -> TranscriptCache:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._database.close()

    def get(self, keys: Iterable[str]) -> dict[str, Transcript]:
        """Transcripts of those keys that are here."""
        query = "SELECT text, tokens, guard FROM transcripts WHERE key = ?"
        found = {}
        with self._mendable():
            for key in keys:
                row = self._database.execute(query, (key,)).fetchone()
                if row is not None:
                    text, tokens, guard = row
                    found[key] = Transcript(text, tokens, tuple(guard.split()))
        return found

    def put(self, transcripts: Mapping[str, Transcript]) -> None:
        """Keep transcripts by key, all of them in one transaction."""
        rows = ((key, t.text, t.tokens, " ".join(t.guard)) for key, t in transcripts.items())
        with self._mendable(), self._database:
            self._database.executemany("INSERT OR REPLACE INTO transcripts VALUES (?,?,?,?)", rows)

    @contextmanager
    def _mendable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            busy = "is locked" in str(error)  # Python 3.10 tells no code
            mend = "check path and disk, or delete it: all in it can be read again"
            raise UserError(
                f"can't be used as a cache of transcripts: {error}",
                where=self._path,
                remedy="another process is writing to it: wait for it" if busy else mend,
            ) from error
