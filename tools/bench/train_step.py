#!/usr/bin/env python3
"""Time of a training step of the separator, against the plain network in float32.

    tools/bench/train_step.py s m l

Forward, SI-SDR under PIT, backward, clipping, Adam. Ours in float32 and in bfloat16 (autocast; the
loss in float32): the better of them counts. Before that both are shown to compute the same: outputs
without dropout in float32, and loss curves, which may lie apart as far as those of the baseline
with other dropout do.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from paired import SPEEDUP, alternate, begin, check_near, fastest, keep, parser
from separators import (
    BFLOAT16,
    FLOAT32,
    Separator,
    built,
    check_outputs,
    plain_of,
    sources,
    stepper,
)

NOISE, FLOOR_DB = 2.0, 0.1
"""Curves are equal within so many times the noise, or so many dB where there is no dropout."""


def curve(separator: Separator, dtype: str, fused: bool, steps: int, seed: int, device: str):
    """Losses in dB of a training from the same weights on the same batches."""
    step = stepper(copy.deepcopy(separator), dtype, fused=fused)
    batches = [sources(2, 0.5, separator.fs, device, seed=n) for n in range(steps)]
    torch.manual_seed(seed)
    return np.array([step(batch) for batch in batches])


def check_curves(ours: Separator, baseline: Separator, dtype: str, steps: int, device: str) -> str:
    """Compare loss curves; the comparison in words.

    Raises:
        UnequalError: ours differs from the baseline by more than dropout makes of it.
    """
    first, *others = (curve(baseline, FLOAT32, False, steps, seed, device) for seed in range(3))
    found = curve(ours, dtype, True, steps, 0, device)
    noise = float(np.mean([rms(other - first) for other in others]))
    difference = rms(found - first)
    check_near(f"loss curves in {dtype}, dB", difference, max(NOISE * noise, FLOOR_DB))
    return f"loss curves of {steps} steps {difference:.2f} dB apart, dropout alone {noise:.2f} dB"


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def measure(size: str, options) -> dict:
    ours = built(size, options.set, quick=options.quick).to(options.device).train()
    baseline = plain_of(ours)
    difference = check_outputs(ours, baseline)
    said = {
        dtype: check_curves(ours, baseline, dtype, options.curve, options.device)
        for dtype in options.dtypes
    }
    seconds = 0.1 if options.quick else options.seconds
    batch = sources(options.batch, seconds, ours.fs, options.device)
    separators = [baseline, *(copy.deepcopy(ours) for _ in options.dtypes)]
    steps = [stepper(separators[0], FLOAT32, fused=False)]
    for separator, dtype in zip(separators[1:], options.dtypes, strict=True):
        if options.compile:
            separator.separator.compile(dynamic=True)
        steps.append(stepper(separator, dtype, fused=True))
    taken = alternate(
        [lambda step=step: step(batch) for step in steps],
        options.rounds,
        warmup=2,
        device=options.device,
    )
    best, spread = fastest(taken, options.dtypes)
    medians = ", ".join(
        f"{name} {median:.3f} s"
        for name, median in zip(["plain", *options.dtypes], np.median(taken, axis=0), strict=True)
    )
    return keep(
        options,
        f"train_step_{size}",
        spread,
        SPEEDUP,
        against="plain eager network, float32, Adam unfused",
        dtype=best,
        note=f"{options.batch} x {seconds:g} s{', compiled' * options.compile}: {medians}; "
        f"outputs equal to {difference:.1e}, {said[best]}",
    )


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    made = parser(__doc__, rounds=10, gpu=True)
    made.add_argument("sizes", nargs="+", help="names in conf/separator")
    made.add_argument("--batch", type=int, default=1)
    made.add_argument("--seconds", type=float, default=4.0, help="length of a mixture")
    made.add_argument("--curve", type=int, default=20, help="steps of the loss curves")
    made.add_argument("--dtypes", nargs="+", default=[FLOAT32, BFLOAT16])
    made.add_argument("--compile", action="store_true", help="ours through torch.compile")
    made.add_argument("--set", action="append", default=[], help="NAME=VALUE, on both sides")
    options = begin(made, arguments, apart=["curve"])
    return [measure(size, options) for size in options.sizes]


if __name__ == "__main__":
    main()
