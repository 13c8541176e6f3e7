from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sepasr.decode.cache import TranscriptCache
from sepasr.decode.recogniser import Transcript
from sepasr.errors import UserError

READ = {
    "a": Transcript("one two", 2),
    "b": Transcript("", 0, ("length", "repetition")),
    "c": Transcript("drei Käse", 4, ("length",)),
}


def test_what_was_put_is_found_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "below" / "cache.sqlite"
    with TranscriptCache(path) as cache:
        assert cache.get(READ) == {}
        cache.put(READ)
    with TranscriptCache(path) as cache:
        assert cache.get([*READ, "d"]) == READ
        assert cache.get(["c"]) == {"c": READ["c"]}


KILLED_WHILE_PUTTING = """
import os, signal, sys
from sepasr.decode.cache import TranscriptCache
from sepasr.decode.recogniser import Transcript

class Deadly(dict):
    def items(self):
        yield "new", Transcript("half", 1)
        os.kill(os.getpid(), signal.SIGKILL)

with TranscriptCache(sys.argv[1]) as cache:
    cache.put({"old": Transcript("whole", 1)})
    cache.put(Deadly())
"""


def test_a_kill_leaves_whole_batches(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_PUTTING, path], check=False)
    assert killed.returncode == -9
    with TranscriptCache(path) as cache:
        assert cache.get(["old", "new"]) == {"old": Transcript("whole", 1)}
        cache.put({"new": Transcript("now", 1)})
        assert cache.get(["new"]) == {"new": Transcript("now", 1)}


PUT_MANY = """
import sys
from sepasr.decode.cache import TranscriptCache
from sepasr.decode.recogniser import Transcript

with TranscriptCache(sys.argv[1]) as cache:
    for i in range(50):
        cache.put({f"{sys.argv[2]}{i}": Transcript(sys.argv[2], i), "both": Transcript("x", 1)})
"""


def test_two_processes_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    running = [subprocess.Popen([sys.executable, "-c", PUT_MANY, path, name]) for name in "pq"]
    assert [process.wait() for process in running] == [0, 0]
    with TranscriptCache(path) as cache:
        keys = [f"{name}{i}" for name in "pq" for i in range(50)]
        assert len(cache.get([*keys, "both"])) == 101


def test_a_cache_that_is_busy_is_not_to_be_deleted(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    with TranscriptCache(path) as cache, closing(sqlite3.connect(path)) as other:
        cache._database.execute("PRAGMA busy_timeout = 1")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match=r"locked \(another process is writing to it: wait"):
            cache.put({"a": Transcript("a", 1)})


@pytest.mark.parametrize("content", ["not a database" * 100, None])
def test_something_else_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "cache.sqlite"
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    with pytest.raises(UserError, match="can't be used as a cache") as caught:
        TranscriptCache(path)
    assert str(path) in str(caught.value)
