#!/usr/bin/env python3
"""Peak memory of one training step, each in a process of its own.

    tools/bench/train_memory.py l          # as a share of the plain network's
    tools/bench/train_memory.py xl --alone # in GB

Ours in bfloat16 with activation checkpointing, the plain network in float32. On the CPU it is the
most that the process held, libraries included; on a GPU what was allocated.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from paired import GIGABYTES, SHARE, Spread, begin, keep, parser
from separators import BFLOAT16, FLOAT32, built, check_outputs, plain_of, sources, stepper

IN_GB = {"xl"}
"""Sizes whose goal is in GB; that of the others is a share, so that each names the other way."""


def peak_gb(device: str) -> float:
    """The most memory that this process has held, in 10^9 bytes."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage also counts what the parent held before this process began
        (line,) = (li for li in status.read_text().splitlines() if li.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def difference(size: str, options) -> float:
    """Largest relative difference of the two networks' outputs; refused where it is too large."""
    ours = built(size, options.set, quick=options.quick).to(options.device)
    return check_outputs(ours, plain_of(ours))


def step(size: str, options, ours: bool) -> float:
    """GB at the peak of a step."""
    separator = built(size, options.set, quick=options.quick).to(options.device).train()
    if ours:
        separator.separator.checkpoint_activations = True
    else:
        separator = plain_of(separator)
    references = sources(1, 0.1 if options.quick else options.seconds, separator.fs, options.device)
    stepper(separator, BFLOAT16 if ours else FLOAT32, fused=ours)(references)
    return peak_gb(options.device)


def apart(function, *given):
    """Call it in a new process, of as many threads as this one."""
    processes, threads = multiprocessing.get_context("spawn"), torch.get_num_threads()
    with processes.Pool(1, torch.set_num_threads, (threads,)) as pool:
        return pool.apply(function, given)


def measure(size: str, options) -> dict:
    equal = apart(difference, size, options)
    name = f"train_memory_{size}"
    if options.alone != (size in IN_GB):
        name += "_gb" if options.alone else "_share"
    ours = [apart(step, size, options, True) for _ in range(options.rounds)]
    note = f"1 x {options.seconds:g} s, checkpointing; outputs equal to {equal:.1e}"
    common = {"dtype": BFLOAT16, "against": "nothing"}
    if options.alone:
        return keep(options, name, Spread.of(ours), GIGABYTES, note=note, **common)
    plain = [apart(step, size, options, False) for _ in range(options.rounds)]
    common["against"] = "plain eager network, float32"
    shares = [mine / other for mine, other in zip(ours, plain, strict=True)]
    note = f"{note}; {Spread.of(ours).value:.2f} GB against {Spread.of(plain).value:.2f}"
    return keep(options, name, Spread.of(shares), SHARE, note=note, **common)


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    made = parser(__doc__, rounds=3, gpu=True)
    made.add_argument("sizes", nargs="+", help="names in conf/separator")
    made.add_argument("--seconds", type=float, default=4.0, help="length of the mixture")
    made.add_argument("--alone", action="store_true", help="in GB, without the plain network")
    made.add_argument("--set", action="append", default=[], help="NAME=VALUE, on both sides")
    options = begin(made, arguments, apart=["alone"])
    options.rounds = 1 if options.quick else options.rounds
    return [measure(size, options) for size in options.sizes]


if __name__ == "__main__":
    main()
