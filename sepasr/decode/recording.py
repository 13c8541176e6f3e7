"""Separate a recording of any length, rate and number of channels."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sepasr.data.audio import SUFFIXES, resample, resampled_length, write_audio
from sepasr.data.blocks import (
    BLOCK,
    Measured,
    frame_levels,
    frame_seconds,
    header_of,
    measure,
    one_channel,
    read_blocks,
)
from sepasr.data.scp import read_entry, read_table
from sepasr.decode.activity import LEAST_S, active_frames
from sepasr.decode.long_recording import separate_to_disk, summary_path
from sepasr.decode.passes import LongOptions
from sepasr.decode.progress import Hook, no_hook
from sepasr.decode.streams import (
    check_finite,
    say_offset,
    say_silent,
    say_truncated,
    say_turned_down,
    silent_streams,
)
from sepasr.errors import UserError
from sepasr.files import whole_files
from sepasr.separator.model import Separator

SHOWN = 3
"""Names of files that are left out, before it is only said how many more there are."""


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
        entries = [p for p in whole_files(source, "*") if not p.name.startswith(".")]
        files = [p for p in entries if p.suffix.lower() in SUFFIXES and not p.is_dir()]
        others = [p.name + "/" * p.is_dir() for p in entries if p not in files and not _is_ours(p)]
        if files and others:
            more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
            what = f"left out, not audio by their names: {', '.join(others[:SHOWN])}{more}"
            print(f"{source}: {what} (name them to have them separated)", file=sys.stderr)
        for name, count in Counter(file.stem for file in files).items():
            if count > 1:
                what = f"{count} recordings named '{name}'"
                raise UserError(what, where=source, remedy="rename all but one")
        if not files:
            raise UserError("no audio files in this folder", where=source, remedy="name another")
        return [Recording(file.stem, str(file)) for file in files]
    if source.suffix == ".scp":
        return [Recording(key, value) for key, value in read_table(source).items()]
    if not source.is_file():
        raise UserError("no such file or folder", where=source, remedy="check the path")
    return [Recording(source.stem, str(source))]


def _is_ours(entry: Path) -> bool:
    """Whether it is a folder of streams or transcripts."""
    return any((entry / name).exists() for name in ("spk1.scp", "transcripts.sqlite"))


def separate_at_once(separator: Separator, mixture: Tensor) -> Tensor:
    """Streams (speakers, samples) of a mixture (samples,), on the CPU, without gradient."""
    device = next(separator.parameters()).device
    with torch.inference_mode():
        return separator(mixture.to(device)).cpu()


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
    return one_channel(samples, channel, recording.source), fs


def stream_paths(recording: Recording, out: str | Path, speakers: int) -> list[Path]:
    """The files that the streams of a recording are written to.

    Raises:
        UserError: its name would lead out of the folder, or can't be listed.
    """
    name = recording.name
    encodable = name.encode(errors="ignore").decode() == name
    if "/" in name or "\0" in name or name.splitlines() != [name] or not encodable:
        what = f"'{recording.name}' can't be the name of a file"
        raise UserError(what, where=recording.source, remedy="give it another name")
    return [Path(out) / f"{recording.name}_spk{s + 1}.wav" for s in range(speakers)]


def separate_recording(
    separator: Separator,
    recording: Recording | str | Path,
    out: str | Path,
    channel: int | None = None,
    *,
    add_mixture: float = 0.0,
    gather: bool = False,
    hook: Hook = no_hook,
) -> list[Path]:
    """Write ``<name>_spk<s>.wav`` at the recording's own rate, as 16-bit PCM.

    Streams keep the recording's level. Where one of them would clip, all are turned down together,
    and a line says by how much; another one names streams in which nobody speaks. What is longer
    than a window is separated by :func:`sepasr.decode.long_recording.separate_to_disk`, which goes
    on where it was interrupted.

    Args:
        separator: in evaluation mode.
        recording: what to separate; a path stands for the recording that is named after its file.
        out: folder of the streams.
        channel: see :func:`read_recording`.
        add_mixture: what is added of the recording to each of its streams.
        gather: whether a lone voice is put into one stream of what is longer than a window; see
            :mod:`sepasr.decode.lone`.
        hook: is told how far the work is.

    Returns:
        The files, one per speaker.

    Raises:
        UserError: see :func:`read_recording`; or a stream would be written over the recording.
    """
    if not isinstance(recording, Recording):
        recording = _recording_of(Path(recording))
    paths = stream_paths(recording, out, separator.num_speakers)
    if any(path.resolve() == Path(recording.source).resolve() for path in paths):
        what = "one of its streams would take this recording's place"
        raise UserError(what, where=recording.source, remedy="name another folder for the streams")
    options = LongOptions(channel=channel, add_mixture=add_mixture, gather=gather)
    long: Measured | None = None
    header = header_of(recording.source)
    if header:
        say_truncated(recording.source)
    if header and _is_long(*header, separator, options):
        samples, fs = header
        long = measure(_told(recording, samples, channel, hook), fs)
    if long is None or not _is_long(long.samples, fs, separator, options):
        mono, fs = read_recording(recording, channel)
        # An entry that is not a file has no header, and its length is known only now.
        long = measure([mono], fs) if _is_long(len(mono), fs, separator, options) else None
    if long is not None:
        say_offset(recording.source, long.offset, long.rms)
        separate_to_disk(separator, recording.source, fs, long, paths, options, hook=hook)
        return paths
    measured = measure([mono], fs)
    say_offset(recording.source, measured.offset, measured.rms)
    estimates = separate_at_once(separator, resample(torch.from_numpy(mono), fs, separator.fs))
    check_finite(estimates.numpy(), recording.source)
    streams = resample(estimates, separator.fs, fs).numpy()[:, : len(mono)]
    active = active_frames(frame_levels(streams, fs), measured.level_db)
    active_s = active.sum(1) * frame_seconds(fs)
    silent = silent_streams(active_s) if len(mono) > LEAST_S * fs else []
    if add_mixture:
        streams = streams + np.float32(add_mixture) * mono
    peak = float(np.abs(streams).max())
    if peak > 1:
        streams = streams / np.float32(peak)
        say_turned_down(recording.source, 20 * np.log10(peak))
    summary_path(paths).unlink(missing_ok=True)  # it is of other streams
    for path, stream in zip(paths, streams, strict=True):
        write_audio(path, stream, fs, "PCM_16")
    say_silent(recording.source, silent)
    hook("separate", 1, 1, recording.source)
    return paths


def _recording_of(file: Path) -> Recording:
    """The recording that a file is.

    Raises:
        UserError: it is none.
    """
    if not file.is_file():
        raise UserError("no such file", where=file, remedy="check the path")
    return Recording(file.stem, str(file))


def _is_long(samples: int, fs: int, separator: Separator, options: LongOptions) -> bool:
    """Whether one window does not hold so many samples."""
    window = round(options.window_s * separator.fs)
    return resampled_length(samples, fs, separator.fs) > window


def _told(
    recording: Recording, samples: int, channel: int | None, hook: Hook
) -> Iterator[np.ndarray]:
    """Blocks of a recording, while the hook is told how far its reading is."""
    total = -(-samples // BLOCK)
    for number, block in enumerate(read_blocks(recording.source, channel), 1):
        hook("read", min(number, total), total, recording.source)
        yield block
