"""Separate a recording of any length, rate and number of channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from sepasr.data.audio import resample, write_audio
from sepasr.data.scp import read_entry, read_table
from sepasr.errors import UserError
from sepasr.loss.pit import best_permutation, reorder
from sepasr.loss.si_sdr import pairwise_si_sdr
from sepasr.separator.model import Separator

SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif"}


@dataclass(frozen=True)
class Recording:
    """A recording to separate: the name its streams get, and a file or other entry of an scp."""

    name: str
    source: str


def find_recordings(source: str | Path) -> list[Recording]:
    """What a FILE, a folder of audio files, or a Kaldi ``wav.scp`` stands for.

    Raises:
        UserError: nothing is there, or two files of a folder would get the same name.
    """
    source = Path(source)
    if source.is_dir():
        files = sorted(p for p in source.iterdir() if p.suffix.lower() in SUFFIXES)
        names = [file.stem for file in files]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"two recordings named '{name}'", where=source, remedy="rename one")
        if not files:
            raise UserError("no audio files in this folder", where=source)
        return [Recording(file.stem, str(file)) for file in files]
    if source.suffix == ".scp":
        return [Recording(key, value) for key, value in read_table(source).items()]
    if not source.is_file():
        raise UserError("no such file or folder", where=source)
    return [Recording(source.stem, str(source))]


def _windows(samples: int, window: int, hop: int) -> Iterator[tuple[int, int]]:
    """Start and stop of each window; the last one ends with the signal."""
    start = 0
    while start + window < samples:
        yield start, start + window
        start += hop
    yield max(0, samples - window), samples


def separate_long(
    separator: Separator, mixture: Tensor, *, window_s: float = 8.0, overlap_s: float = 2.0
) -> Tensor:
    """Separate in overlapping windows whose speakers keep their order.

    The streams of a window are put into the order in which they fit those of the windows before
    best, by SI-SDR on what overlaps, and are faded over linearly.

    Args:
        separator: in evaluation mode.
        mixture: (samples,) at the separator's rate.
        window_s: length of a window in seconds; what is shorter is separated at once.
        overlap_s: overlap of neighbouring windows in seconds.

    Returns:
        (speakers, samples), float32.
    """
    samples = len(mixture)
    window, overlap = round(window_s * separator.fs), round(overlap_s * separator.fs)
    estimates = torch.zeros(separator.num_speakers, samples)
    done = 0
    spans = list(_windows(samples, window, window - overlap))
    device = next(separator.parameters()).device
    for start, stop in tqdm(spans, desc="separate", unit="window", disable=len(spans) == 1):
        with torch.inference_mode():
            current = separator(mixture[start:stop].to(device)).cpu()
        shared = done - start
        if shared > 0:
            before = estimates[:, start:done]
            cost = -pairwise_si_sdr(current[None, :, :shared], before[None])
            current = reorder(current[None], best_permutation(cost))[0]
            fade = torch.linspace(0, 1, shared)
            current[:, :shared] = fade * current[:, :shared] + (1 - fade) * before
        estimates[:, start:stop] = current
        done = stop
    return estimates


def read_recording(recording: Recording, channel: int | None = None) -> tuple[np.ndarray, int]:
    """One channel of a recording.

    Args:
        recording: what to read.
        channel: the channel to take, from 1; without it all channels are averaged.

    Returns:
        (samples,) float32 and the sampling rate in Hz.

    Raises:
        UserError: the recording can't be read or has no such channel.
    """
    samples, fs = read_entry(recording.source)
    if channel is None:
        return samples.mean(axis=1), fs
    if 1 <= channel <= samples.shape[1]:
        return samples[:, channel - 1], fs
    raise UserError(f"no channel {channel}, there are {samples.shape[1]}", where=recording.source)


def separate_recording(
    separator: Separator,
    recording: Recording,
    out: str | Path,
    channel: int | None = None,
    *,
    add_mixture: float = 0.0,
) -> list[Path]:
    """Write ``<name>_spk<s>.wav`` at the recording's own rate, as 16-bit PCM.

    Streams keep the recording's level. Where one of them would clip, all are turned down together,
    and a line says by how much.

    Args:
        separator: in evaluation mode.
        recording: what to separate.
        out: folder of the streams.
        channel: see :func:`read_recording`.
        add_mixture: what is added of the recording to each of its streams.

    Returns:
        The files, one per speaker.

    Raises:
        UserError: see :func:`read_recording`.
    """
    mono, fs = read_recording(recording, channel)
    estimates = separate_long(separator, resample(torch.from_numpy(mono), fs, separator.fs))
    streams = resample(estimates, separator.fs, fs).numpy()[:, : len(mono)]
    if add_mixture:
        streams = streams + np.float32(add_mixture) * mono
    peak = float(np.abs(streams).max())
    if peak > 1:
        streams = streams / np.float32(peak)
        tqdm.write(f"{recording.source}: turned down by {20 * np.log10(peak):.1f} dB, not to clip")
    paths = [Path(out) / f"{recording.name}_spk{s + 1}.wav" for s in range(len(streams))]
    for path, stream in zip(paths, streams, strict=True):
        write_audio(path, stream, fs, "PCM_16")
    return paths
