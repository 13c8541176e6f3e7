#!/usr/bin/env python3
"""Time to take the signal measures of mixtures in two processes, against one.

    tools/bench/measures.py

SI-SDR, PESQ, STOI, ESTOI and SRMR of files on disk, in one thread of each process. Workers that
take part stay from round to round, so that their start, of two to four seconds, is no part of the
time. The values are shown to be the same, to 1e-9.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np
import torch
from paired import SPEEDUP, Spread, UnequalError, alternate, begin, keep, parser
from sounds import FS, voice
from threadpoolctl import threadpool_limits

from sepasr.data.audio import write_audio
from sepasr.data.datadir import Mixture
from sepasr.score.log import ValueLog
from sepasr.score.measures import Task, measure_all


def tasks(folder: Path, mixtures: int, seconds: float) -> list[Task]:
    """Mixtures of two voices, and estimates with some of the other in them."""
    made = []
    for number in range(mixtures):
        sources = [voice(seconds, 2 * number + speaker) for speaker in range(2)]
        noise = np.random.default_rng(number).standard_normal(len(sources[0])) * 0.01
        sounds = {
            "mix": sources[0] + sources[1] + noise,
            "s1": sources[0],
            "s2": sources[1],
            "e1": sources[0] + 0.2 * sources[1] + noise,
            "e2": sources[1] + 0.2 * sources[0] + noise,
        }
        paths = {name: folder / f"{number}_{name}.wav" for name in sounds}
        for name, sound in sounds.items():
            write_audio(paths[name], sound.astype(np.float32), FS)
        mixture = Mixture(
            str(number),
            paths["mix"],
            (paths["s1"], paths["s2"]),
            None,
            None,
            ("a", "b"),
            seconds,
        )
        made.append(Task(mixture, ((paths["e1"], paths["e2"]),)))
    return made


def measure(options) -> dict:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        given = tasks(folder, 2 if options.quick else options.mixtures, options.seconds)

        def way(jobs: int) -> np.ndarray:
            log = folder / "measures.jsonl"
            log.unlink(missing_ok=True)
            found = measure_all(given, FS, ValueLog(log), jobs)
            return np.array([astuple(measures) for row in found for measures in row])

        one, two = way(1), way(options.jobs)
        same = np.allclose(one, two, rtol=1e-9, atol=1e-9, equal_nan=True)
        if not same or np.isnan(one).all(0).any():
            raise UnequalError("the measures are others, or undefined, in several processes")
        # Workers have one thread each: so has this process, which does the first items of both.
        torch.set_num_threads(1)
        with threadpool_limits(1):
            taken = alternate([lambda: way(1), lambda: way(options.jobs)], options.rounds, 0)
    old, new = np.median(taken, axis=0)
    return keep(
        options,
        "measures",
        Spread.of(taken[:, 0] / taken[:, 1]),
        SPEEDUP,
        against="one process, one thread",
        dtype="float64",
        note=f"{len(given)} mixtures of {options.seconds:g} s in {options.jobs} processes: "
        f"{old:.1f} s, {new:.1f} s; values equal",
        packages=["pesq", "pystoi", "scipy"],
    )


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    made = parser(__doc__, rounds=3)
    made.add_argument("--mixtures", type=int, default=80)
    made.add_argument("--seconds", type=float, default=4.0, help="length of a mixture")
    made.add_argument("--jobs", type=int, default=2)
    return [measure(begin(made, arguments))]


if __name__ == "__main__":
    main()
