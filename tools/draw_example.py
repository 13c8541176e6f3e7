"""Draw one separated mixture: tools/draw_example.py DATA SEPARATED OUT.png [ID].

DATA is a data directory of mixtures, SEPARATED a folder with spk1.scp, spk2.scp, ... Streams are
put into the order of the references.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch

from sepasr.data.audio import read_mono
from sepasr.data.datadir import MixtureDir
from sepasr.data.scp import read_table
from sepasr.files import atomic_path
from sepasr.loss.pit import reorder
from sepasr.loss.signal import SignalLoss

mpl.use("Agg")
from matplotlib import pyplot as plt


def main(data: str, separated: str, out: str, name: str | None = None) -> None:
    directory = MixtureDir.load(data)
    entry = next(m for m in directory.mixtures if name in (None, m.id))
    fs = directory.info.fs
    mixture = read_mono(entry.mixture, fs)
    references = np.stack([read_mono(path, fs) for path in entry.references])
    numbers = range(1, len(references) + 1)
    lists = [read_table(Path(separated) / f"spk{s}.scp") for s in numbers]
    streams = np.stack([read_mono(table[entry.id], fs) for table in lists])
    loss = SignalLoss()(torch.from_numpy(streams)[None], torch.from_numpy(references)[None])
    streams = reorder(torch.from_numpy(streams)[None], loss.permutation)[0].numpy()

    panels = {"mixture: two talkers, room, noise": mixture}
    panels |= {f"separated, talker {s}": streams[s - 1] for s in numbers}
    panels |= {f"reference, talker {s}": references[s - 1] for s in numbers}
    figure, axes = plt.subplots(len(panels), 1, figsize=(8, 1.5 * len(panels)), sharex=True)
    for axis, (title, signal) in zip(axes, panels.items(), strict=True):
        signal = signal / np.abs(signal).max() + 1e-7 * np.random.default_rng(0).standard_normal(
            len(signal)
        )
        axis.specgram(signal, NFFT=512, noverlap=384, Fs=fs / 1000, vmin=-100, vmax=-25)
        axis.set_title(title, fontsize=9, loc="left")
        axis.set_ylabel("kHz", fontsize=8)
    # The rate is given in kHz, so time is in milliseconds.
    axes[-1].set_xlabel("ms", fontsize=8)
    figure.tight_layout()
    with atomic_path(out) as temporary:
        figure.savefig(temporary, dpi=70)


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    main(*sys.argv[1:])
