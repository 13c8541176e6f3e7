"""One map over many items: in this process, over its cores, or over the machines of a cluster.

Everything that a command does to many items goes through here. Dask carries it, so that a laptop
and a cluster differ in one YAML file of ``conf/cluster`` and in nothing else.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Generic, TypeVar

from tqdm import tqdm

from sepasr.errors import UserError

T = TypeVar("T")
R = TypeVar("R")

HERE_S = 1.0
WORTH_S = 10.0
"""Starting processes takes two to four seconds. Without a cluster file the first items are done
here; after a second of it processes are started if the rest promises to take longer than this."""
CHUNKS_PER_WORKER, LARGEST_CHUNK = 32, 64
"""Items travel in chunks, so that small ones don't drown in messages. There are enough chunks that
workers end at about the same time, and none so large that losing one would hurt."""
SHOWN = 200  # characters of an item in a message
_COMMAND = uuid.uuid4().hex


class ItemError(RuntimeError):
    """Something went wrong with an item, which the message names."""


@dataclass(frozen=True)
class OncePerProcess(Generic[R]):
    """Something that is costly to make and can't travel, such as a loaded model.

    Each process makes it once, when it first asks for it, and keeps it until it asks for another.
    What travels to workers is only how to make it::

        separator = OncePerProcess(load_separator, (folder, "cpu"))
        parallel_map(partial(separate, separator), mixtures, jobs=4, description="separate")

    Args:
        factory: a function of a module.
        arguments: of it; hashable and small.
        command: which command wants it. Workers that outlive a command forget what it has made.
    """

    factory: Callable[..., R]
    arguments: tuple[Hashable, ...] = ()
    command: str = field(default=_COMMAND, repr=False)

    def __call__(self) -> R:
        """What ``factory(*arguments)`` has made."""
        return _made(self)


@lru_cache(maxsize=1)
def _made(wanted: OncePerProcess[R]) -> R:
    return wanted.factory(*wanted.arguments)


def parallel_map(
    function: Callable[[T], R],
    items: Sequence[T],
    *,
    jobs: int = 1,
    cluster: Path | None = None,
    description: str,
    unit: str = "item",
    weight: Callable[[T], int] | None = None,
) -> list[R]:
    """Apply a function to every item, with a progress bar.

    Each item is done once, unless the worker that has it is lost: then its chunk of items is done
    again by another, up to ``sepasr.cluster.RETRIES`` times.

    Args:
        function: of a module, or a ``functools.partial`` of one: workers import it by its name. It
            and the items should be small, since they travel; what is large is read from files,
            or kept by :class:`OncePerProcess`.
        items: what to apply it to.
        jobs: processes of this machine, one thread each. With 1 all is done in this process, and
            with more whatever isn't worth starting them for. They stay for the next call.
        cluster: YAML of :class:`sepasr.cluster.ClusterConfig`, which says where the workers are.
        description: what is being done, for the bar.
        unit: what the bar counts.
        weight: how many units an item counts for, such as ``len`` of a batch; 1 without it.

    Returns:
        What the function returns for each item, in the order of the items.

    Raises:
        UserError: the one that the function raised, for the first item in order; or there are no
            workers, or they were lost again and again.
        OSError: likewise.
        ItemError: the function raised anything else; the item is named.
        TypeError: workers couldn't import the function.
    """
    completed = map_as_completed(
        function,
        items,
        jobs=jobs,
        cluster=cluster,
        description=description,
        unit=unit,
        weight=weight,
    )
    results = dict(completed)
    return [results[number] for number in range(len(items))]


def map_as_completed(
    function: Callable[[T], R],
    items: Sequence[T],
    *,
    jobs: int = 1,
    cluster: Path | None = None,
    description: str,
    unit: str = "item",
    weight: Callable[[T], int] | None = None,
) -> Iterator[tuple[int, R]]:
    """:func:`parallel_map` for a caller that keeps each result as soon as it is there.

    Yields:
        The number of an item and its result, in the order in which they come.
    """
    _check_importable(function)
    if jobs < 1:
        raise UserError(f"{jobs} is less than 1", where="jobs")
    weights = [1 if weight is None else weight(item) for item in items]
    with tqdm(total=sum(weights), desc=description, unit=unit, disable=not items) as bar:
        done = 0
        if cluster is None:
            for number, result in _here(function, items, jobs):
                yield number, result
                done += 1
                bar.update(weights[number])
        if done < len(items):
            for start, results in _by_workers(function, items, done, jobs, cluster):
                yield from enumerate(results, start)
                bar.update(sum(weights[start : start + len(results)]))


def _check_importable(function: Callable) -> None:
    inner: Callable = function
    while isinstance(inner, partial):
        inner = inner.func
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    if "<" in name:  # <lambda>, or <locals> of another function
        raise TypeError(f"parallel_map needs a function of a module, which {name} is not")


def _here(function: Callable[[T], R], items: Sequence[T], jobs: int) -> Iterator[tuple[int, R]]:
    """The items that are done in this process: all, or the first ones."""
    begin = time.monotonic()
    for number, item in enumerate(items):
        took = time.monotonic() - begin
        if jobs > 1 and took > HERE_S and took / number * (len(items) - number) > WORTH_S:
            return
        yield number, _apply(function, item)


def _apply(function: Callable[[T], R], item: T) -> R:
    try:
        return function(item)
    except (UserError, OSError):  # they say themselves what they are about
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise ItemError(f"{_shown(item)}: {what}") from error


def _shown(item: object) -> str:
    text = repr(item)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _by_workers(
    function: Callable[[T], R], items: Sequence[T], start: int, jobs: int, cluster: Path | None
) -> Iterator[tuple[int, list[R]]]:
    """Numbers of first items of chunks, from ``start`` on, and their results as they come."""
    from distributed import as_completed  # here: it takes a second

    from sepasr.cluster import connect, load_cluster

    config = load_cluster(cluster, jobs)
    client = connect(config)
    wanted = CHUNKS_PER_WORKER * max(config.workers, len(client.nthreads()))
    size = min(LARGEST_CHUNK, -(-(len(items) - start) // wanted))
    starts = range(start, len(items), size)
    chunks = [tuple(items[first : first + size]) for first in starts]
    work = partial(_apply_to_chunk, function, Path.cwd())
    futures = client.map(work, chunks, pure=False)
    numbers = {future: i for i, future in enumerate(futures)}
    unfinished, failed, error = set(numbers.values()), len(chunks), None
    try:
        # Results are fetched at once and let go: else they would be lost with their worker.
        for future, results in as_completed(futures, with_results=True, raise_errors=False):
            i = numbers[future]
            unfinished.discard(i)
            future.release()
            if isinstance(results, list):
                yield starts[i], results
            elif i < failed:
                # What comes later is given up; what comes earlier may fail too, and goes first.
                failed, error = i, results
                client.cancel(futures[i + 1 :])
            if failed < min(unfinished, default=len(chunks)):
                _raise(error, chunks[failed][0])
    finally:
        client.cancel(futures)


def _apply_to_chunk(function: Callable[[T], R], folder: Path, chunk: Sequence[T]) -> list[R]:
    try:
        os.chdir(folder)  # for relative paths
    except OSError:
        what = f"worker on {os.uname().nodename} has no such folder"
        remedy = "all machines of a cluster must see the same file system"
        raise UserError(what, where=folder, remedy=remedy) from None
    return [_apply(function, item) for item in chunk]


def _raise(failure: object, item: object) -> None:
    """Raise what Dask gives in place of results: an exception with type and traceback, or less."""
    from distributed import KilledWorker
    from distributed.scheduler import NoWorkerError

    error = failure[1] if isinstance(failure, tuple) else None
    if isinstance(error, KilledWorker):
        raise UserError(
            f"{error.allowed_failures + 1} workers were lost, one after the other, at or soon after"
            f" {_shown(item)}",
            remedy="the memory may be too small: take fewer workers, or give each more",
        )
    if error is None or isinstance(error, NoWorkerError):
        raise UserError("the workers or their scheduler are gone", remedy="run it again to go on")
    raise error
