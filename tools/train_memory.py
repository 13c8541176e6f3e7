#!/usr/bin/env python3
"""Peak memory and time of one training step, with and without activation checkpointing.

    tools/train_memory.py s m --seconds 4

Forward, SI-SDR under PIT, backward, Adam; float32, batch 1. Each in a process of its own: on the
CPU it is the peak of what the process holds in memory, libraries included; on a GPU what is
allocated.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from pathlib import Path

CONF = Path(__file__).parents[1] / "conf" / "separator"


def step(name: str, seconds: float, checkpointing: bool, device: str) -> tuple[float, float, float]:
    """MiB before the step, MiB at its peak, seconds it takes."""
    import torch

    from sepasr.config import load_config
    from sepasr.loss.signal import SignalLoss
    from sepasr.separator.model import Separator, SeparatorConfig

    torch.manual_seed(0)
    separator = Separator(load_config(SeparatorConfig, [CONF / f"{name}.yaml"])).to(device)
    separator.separator.checkpoint_activations = checkpointing
    optimizer = torch.optim.Adam(separator.parameters())
    references = torch.randn(1, 2, round(seconds * separator.fs), device=device)

    def peak() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
            return torch.cuda.max_memory_allocated() / 2**20
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20

    before, start = peak(), time.perf_counter()
    SignalLoss()(separator(references.sum(1)), references).value.mean().backward()
    optimizer.step()
    after = peak()
    return before, after, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("separators", nargs="+", help="names in conf/separator")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of the mixture")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    print(f"one step, {options.seconds:g} s, batch 1, {options.device}")
    print("separator  checkpointing  MiB before  MiB at peak  seconds")
    for name in options.separators:
        for checkpointing in (False, True):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                given = (name, options.seconds, checkpointing, options.device)
                before, peak, seconds = pool.apply(step, given)
            word = "yes" if checkpointing else "no"
            print(f"{name:9}  {word:13}  {before:10.0f}  {peak:11.0f}  {seconds:7.1f}", flush=True)


if __name__ == "__main__":
    main()
