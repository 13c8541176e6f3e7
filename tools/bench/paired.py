"""What the benchmarks share: pairs of runs in one process, their ratio, and where it is kept."""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import platform
import pstats
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from sepasr.files import write_text
from sepasr.repository import UNKNOWN, commit

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results.json")
APART = frozenset({"rounds", "threads", "results", "quick", "sizes"})
"""Options that make no other benchmark: how often and where it runs, or in its name anyway."""
DRAWS = 10_000
FEWEST = 6
"""Values that a 95 % interval takes: 5 lie on one side of the true median in 6 % of the cases."""
SPEEDUP, SECONDS, MILLISECONDS, GIGABYTES, SHARE = "x faster", "s", "ms", "GB", "x of it"
REAL_TIME, RATE = "x its length", "a second"
MADE = ("tools/bench/results.json", "docs/benchmarks.md")
"""What measuring changes in the repository, and no code."""


class UnequalError(RuntimeError):
    """The two ways don't compute the same, so that their times say nothing."""


@dataclass(frozen=True)
class Spread:
    """A median over pairs with its 95 % interval, by a bootstrap that draws pairs.

    Of fewer than :data:`FEWEST` there is no such interval: low and high are the least and the most.
    """

    value: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray, seed: int = 0) -> Spread:
        """Of one value for each pair."""
        values = np.asarray(values, dtype=float)
        count, middle = len(values), float(np.median(values))
        if count < FEWEST:
            return cls(middle, float(values.min()), float(values.max()), count)
        rng = np.random.default_rng(seed)
        drawn = np.median(values[rng.integers(count, size=(DRAWS, count))], axis=1)
        low, high = np.percentile(drawn, [2.5, 97.5])
        return cls(middle, float(low), float(high), count)


def alternate(
    ways: Sequence[Callable[[], object]], rounds: int, warmup: int = 1, device: str = "cpu"
) -> np.ndarray:
    """Seconds of each of several ways in each round, (rounds, ways).

    In every other round they run in the opposite order, so that neither a drift of the machine nor
    what one leaves in the caches favours any.
    """
    for _ in range(warmup):
        for way in ways:
            way()
    taken = np.empty((rounds, len(ways)))
    for number in range(rounds):
        order = range(len(ways))
        for index in reversed(order) if number % 2 else order:
            taken[number, index] = seconds(ways[index], device)
    return taken


def seconds(way: Callable[[], object], device: str = "cpu") -> float:
    """How long it takes."""
    _wait(device)
    start = time.perf_counter()
    way()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def profile(way: Callable[[], object], parts: Sequence[Callable]) -> str:
    """Where the time of a run goes, such as ``read 21 %, convolve 50 %``.

    By cProfile, which slows down calls, but not what compiled code does in one: shares of much
    Python are a bit too large.

    Args:
        way: what is run.
        parts: functions in Python, of which none calls another. The time of a part holds that of
            what it calls.
    """
    watched = cProfile.Profile()
    watched.runcall(way)
    stats = pstats.Stats(watched)
    found = {name: row[3] for name, row in stats.stats.items()}  # type: ignore[attr-defined]
    shares = []
    for part in parts:
        code = part.__code__
        taken = found.get((code.co_filename, code.co_firstlineno, code.co_name), 0.0)
        shares.append(f"{part.__name__} {taken / stats.total_tt:.0%}")  # type: ignore[attr-defined]
    return ", ".join(shares).replace("%", " %")


def fastest(taken: np.ndarray, names: Sequence[str]) -> tuple[str, Spread]:
    """Of (rounds, 1 + ways), the way of the best ratio to the first column, and that ratio."""
    spreads = {name: Spread.of(taken[:, 0] / taken[:, 1 + i]) for i, name in enumerate(names)}
    best = max(spreads, key=lambda name: spreads[name].value)
    return best, spreads[best]


def check_near(what: str, found: float, bound: float) -> None:
    """Refuse a difference beyond ``bound``, or none that is a number.

    Raises:
        UnequalError: it is.
    """
    if not found <= bound:
        raise UnequalError(f"{what}: a difference of {found:.3g}, more than {bound:.3g}")


def figure(entry: Mapping) -> str:
    """Value and unit of an entry, and between them what is known of the spread."""
    low, high, count = entry["low"], entry["high"], entry.get("count")
    spread = f"{low:g} to {high:g}"
    if low == high:
        return f"{entry['value']:g} {entry['unit']}"
    if count is None:  # older entries
        spread += ", rounds not recorded"
    else:
        spread = f"from {spread}" if count < FEWEST else f"95 %: {spread}"
    return f"{entry['value']:g} ({spread}) {entry['unit']}"


def keep(
    options: argparse.Namespace,
    name: str,
    spread: Spread,
    unit: str,
    *,
    against: str,
    dtype: str,
    note: str,
    packages: Sequence[str] = (),
    rounds: int | None = None,
) -> dict:
    """Put a figure in the place of the one of its name, print it and give it.

    Behind the name stands what isn't as it is by default: goals are those of the defaults. The note
    is said with the settings laid over the YAML, and with how many rounds there were: ``rounds``
    where it isn't as many as were asked for.
    """
    name += f"@{','.join(options.differing)}" if options.differing else ""
    note += f"; set {' '.join(options.set)}" if options.set else ""
    rounds = options.rounds if rounds is None else rounds
    note += f"; {rounds} round{'s' * (rounds != 1)}"
    entry = {
        "name": name,
        **{key: float(f"{getattr(spread, key):.4g}") for key in ("value", "low", "high")},
        "count": spread.count,
        "unit": unit,
        "against": against,
        "dtype": dtype,
        "machine": machine(options.device),
        "versions": versions(packages),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "commit": commit_at_start(),
        "note": note,
    }
    kept = json.loads(options.results.read_text("utf-8")) if options.results.is_file() else []
    kept = sorted([e for e in kept if e["name"] != name] + [entry], key=lambda e: e["name"])
    write_text(options.results, json.dumps(kept, indent=2) + "\n")
    print(f"{name}: {figure(entry)}; {note}", flush=True)
    return entry


@lru_cache
def commit_at_start() -> str | None:
    """The code's commit when a benchmark began, with ``+`` where it differs; None without git."""
    found = commit(ROOT, besides=MADE)
    return None if found == UNKNOWN else found


def machine(device: str = "cpu") -> str:
    """The processor and how many threads of it, or the accelerator."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    model = platform.processor() or platform.machine()
    file = Path("/proc/cpuinfo")
    if file.is_file():
        models = [line for line in file.read_text().splitlines() if line.startswith("model name")]
        model = models[0].partition(":")[2].strip() if models else model
    return f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of Python, torch and what else took part."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def parser(doc: str | None, rounds: int, *, gpu: bool = False) -> argparse.ArgumentParser:
    """The options of every benchmark; ``--device`` of those that can run on a GPU."""
    made = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    made.set_defaults(device="cpu", set=(), differing=())  # of those without such options
    made.add_argument("--rounds", type=int, default=rounds, help="pairs of runs")
    made.add_argument("--threads", type=int, default=0, help="of torch; 0 for one on each core")
    if gpu:
        made.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    made.add_argument("--results", type=Path, default=RESULTS, help="the list to put figures in")
    made.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all?")
    return made


def differing(
    made: argparse.ArgumentParser, options: argparse.Namespace, apart: Container[str]
) -> list[str]:
    """What isn't as it is by default, such as ``cuda``, ``compile``, ``batch=8``.

    In the order in which the options were added, whatever that of the command line.
    """
    found = []
    for name, value in vars(options).items():
        if name in apart or shown(value) == shown(made.get_default(name)):
            continue
        if name == "set":
            found += sorted(value)
        elif name == "device":
            found.append(value)
        else:
            found.append(name if value is True else f"{name}={shown(value)}")
    return found


def shown(value: object) -> str:
    """A setting in a few characters; of files outside the repository the name alone."""
    if isinstance(value, Path):
        path = value.resolve()
        return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    if isinstance(value, list | tuple):
        return "+".join(map(shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def begin(
    made: argparse.ArgumentParser, arguments: Sequence[str] | None, apart: Iterable[str] = ()
) -> argparse.Namespace:
    """Read the options and set threads and seeds.

    A quick run is no measurement: it must name a list of its own. Options of ``apart`` are no part
    of the name, besides those of :data:`APART`.
    """
    options = made.parse_args(arguments)
    options.differing = differing(made, options, APART.union(apart))
    if options.device == "cuda" and not torch.cuda.is_available():
        made.error("--device cuda: torch finds no GPU here")
    if options.quick:
        if options.results == RESULTS:
            made.error("--quick measures nothing: give --results a file of its own")
        options.rounds = 2
    commit_at_start()
    torch.set_num_threads(options.threads or os.cpu_count() or 1)
    torch.manual_seed(0)
    return options
