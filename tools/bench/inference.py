#!/usr/bin/env python3
"""Time to separate a mixture, against the plain network in float32.

    tools/bench/inference.py s

Ours in float32 and in bfloat16; the better counts whose estimates agree with the baseline's to
40 dB SI-SDR.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from paired import SPEEDUP, UnequalError, alternate, begin, fastest, keep, parser
from separators import (
    BFLOAT16,
    FLOAT32,
    Separator,
    agreement_db,
    built,
    check_outputs,
    plain_of,
    sources,
)

LEAST_DB = 40.0


def separating(separator: Separator, mixture: torch.Tensor, dtype: str):
    """A way to separate it."""

    def way() -> torch.Tensor:
        enabled = dtype == BFLOAT16
        with torch.inference_mode(), torch.autocast(mixture.device.type, torch.bfloat16, enabled):
            return separator(mixture)

    return way


def measure(size: str, options) -> dict:
    if options.weights:
        ours = Separator.from_pretrained(options.weights)
    else:
        ours = built(size, quick=options.quick)
    ours = ours.to(options.device).eval()
    baseline = plain_of(ours)
    difference = check_outputs(ours, baseline)
    if options.compile:
        ours.separator.compile(dynamic=True)
    seconds = 0.1 if options.quick else options.seconds
    mixture = sources(options.batch, seconds, ours.fs, options.device).sum(1)
    ways = {dtype: separating(ours, mixture, dtype) for dtype in options.dtypes}
    plain = separating(baseline, mixture, FLOAT32)
    agreed = {dtype: agreement_db(way(), plain()) for dtype, way in ways.items()}
    ways = {dtype: way for dtype, way in ways.items() if agreed[dtype] > LEAST_DB}
    if not ways:
        raise UnequalError(f"no estimates within {LEAST_DB:g} dB of the baseline's: {agreed}")
    taken = alternate([plain, *ways.values()], options.rounds, 2, options.device)
    best, spread = fastest(taken, list(ways))
    medians = ", ".join(
        f"{name} {median:.3f} s"
        for name, median in zip(["plain", *ways], np.median(taken, axis=0), strict=True)
    )
    levels = ", ".join(f"{dtype} {level:.0f} dB" for dtype, level in agreed.items())
    return keep(
        options,
        f"inference_{size}",
        spread,
        SPEEDUP,
        against="plain eager network, float32",
        dtype=best,
        note=f"{options.batch} x {seconds:g} s{', compiled' * options.compile}: {medians}; "
        f"SI-SDR against the baseline's estimates {levels}, outputs equal to {difference:.1e}",
    )


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    made = parser(__doc__, rounds=20, gpu=True)
    made.add_argument("sizes", nargs="+", help="names in conf/separator")
    made.add_argument("--weights", type=Path, help="folder of a trained separator of that size")
    made.add_argument("--batch", type=int, default=1)
    made.add_argument("--seconds", type=float, default=4.0, help="length of the mixture")
    made.add_argument("--dtypes", nargs="+", default=[FLOAT32, BFLOAT16])
    made.add_argument("--compile", action="store_true", help="ours through torch.compile")
    options = begin(made, arguments)
    return [measure(size, options) for size in options.sizes]


if __name__ == "__main__":
    main()
