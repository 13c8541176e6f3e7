"""Headers of audio files: length, rate and channels without reading the samples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import soundfile

from sepasr.data.audio import read_audio
from sepasr.data.sphere import read_shortened, read_sphere_header
from sepasr.errors import UserError
from sepasr.parallel import parallel_map

# Opening a file waits for the disk or the network more than for a core: every process that reads
# headers has so many threads, and as many files at a time.
_THREADS, _TOGETHER = 16, 256
# The data size of a WAV that was written into a pipe, where its length was not yet known.
_STREAMED = 0x7FFF0000
# Samples by which the header of a whole MP3 may be wrong: the last of its frames.
_FRAME = 1152


class TruncatedError(UserError):
    """A file is shorter than its header says."""

    def __init__(self, path: Path, stated: str, there: str) -> None:
        self.what = f"truncated: {stated} by its header, {there} in the file"
        super().__init__(self.what, where=path, remedy="replace the file")


@dataclass(frozen=True)
class Header:
    """Length in samples per channel, sampling rate in Hz, and number of channels."""

    frames: int
    fs: int
    channels: int

    @property
    def duration_s(self) -> float:
        """Duration in seconds, to the microsecond that utt2dur keeps."""
        return round(self.frames / self.fs, 6)


def read_header(path: str | Path, fs: int | None = None, channels: int | None = None) -> Header:
    """Read and check the header of an audio file.

    Args:
        path: any file that :func:`sepasr.data.audio.read_audio` reads.
        fs: the sampling rate the file must have, in Hz; any is taken without it.
        channels: the number of channels the file must have; any is taken without it.

    Raises:
        UserError: the file is missing, not audio, empty, shorter than its header says, or of
            another rate or number of channels.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError("no such audio file", where=path, remedy="check path and corpus")
    header = _read(path)
    if header.frames == 0:
        raise UserError("no samples", where=path, remedy="replace the file")
    if fs is not None and header.fs != fs:
        raise UserError(
            f"sampling rate is {header.fs} Hz where {fs} Hz is expected",
            where=path,
            remedy="use the corpus of that rate, or resample",
        )
    if channels is not None and header.channels != channels:
        raise UserError(
            f"{header.channels} channels where {channels} is expected",
            where=path,
            remedy="extract one channel",
        )
    return header


def _read(path: Path) -> Header:
    try:
        info = soundfile.info(path, verbose=True)
        if info.format not in ("WAV", "WAVEX"):
            _read_last_sample(path, info.frames)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        # Only decoding all of it tells whether it is complete.
        decoded = read_shortened(path)
        if decoded is None:
            what = f"cannot be read as audio, or is truncated: {error}"
            raise UserError(what, where=path, remedy="replace the file") from None
        samples, rate = decoded
        return Header(len(samples), rate, samples.shape[1])
    _check_wav_size(path, info.extra_info)
    if info.format == "NIST":
        _check_sphere_size(path, info.frames)
    return Header(info.frames, info.samplerate, info.channels)


def _read_last_sample(path: Path, frames: int) -> None:
    """Compressed files keep their length in the header: only decoding the end tells."""
    with soundfile.SoundFile(path) as stream:
        stream.seek(max(frames - 1, 0))
        if frames == 0 or len(stream.read(1)):
            return
        stream.seek(0)  # the end of an MP3 that is cut off is nothing, without an error
        there = sum(iter(lambda: len(stream.read(1 << 16)), 0))
    if there < frames - _FRAME:
        raise TruncatedError(path, f"{frames} samples", f"{there}")


def _check_wav_size(path: Path, log: str) -> None:
    """libsndfile shortens a truncated WAV without an error, but notes both sizes in its log."""
    size = re.search(r"^data : (\d+) \(should be (\d+)\)", log, re.MULTILINE)
    if size and int(size[2]) < int(size[1]) < _STREAMED:
        raise TruncatedError(path, f"{size[1]} bytes of samples", f"{size[2]}")


def _check_sphere_size(path: Path, frames: int) -> None:
    """libsndfile shortens a truncated SPHERE file without a word."""
    sphere = read_sphere_header(path)
    if sphere is not None and frames < sphere.frames:
        raise TruncatedError(path, f"{sphere.frames} samples", f"{frames}")


def read_headers(
    paths: Sequence[Path],
    fs: int | None = None,
    *,
    channels: int | None = None,
    samples: bool = False,
    jobs: int = 1,
    cluster: Path | None = None,
) -> list[Header | UserError]:
    """Read and check many headers in parallel, with a progress bar.

    Args:
        paths: the files.
        fs: as for :func:`read_header`.
        channels: as for :func:`read_header`.
        samples: read all samples too, so that those that are not finite are found.
        jobs: as for :func:`sepasr.parallel.parallel_map`. One process has many threads already:
            more of them pay where all samples are read.
        cluster: likewise.

    Returns:
        For each path, in order, its header, or what is wrong with it.
    """

    starts = range(0, len(paths), _TOGETHER)
    groups = parallel_map(
        partial(_read_group, fs=fs, channels=channels, samples=samples),
        [tuple(paths[start : start + _TOGETHER]) for start in starts],
        jobs=jobs,
        cluster=cluster,
        description="audio files",
        unit="file",
        weight=len,
    )
    return [header for group in groups for header in group]


def _read_group(
    paths: Sequence[Path], fs: int | None, channels: int | None, samples: bool
) -> list[Header | UserError]:
    def read(path: Path) -> Header | UserError:
        try:
            header = read_header(path, fs, channels)
            if samples and len(read_audio(path)[0]) < header.frames - _FRAME:
                raise UserError("truncated", where=path, remedy="replace the file")
        except UserError as error:
            return error
        return header

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(read, paths))


def all_good(headers: Sequence[Header | UserError]) -> list[Header]:
    """The headers.

    Raises:
        UserError: the first problem among them.
    """
    good = []
    for header in headers:
        if isinstance(header, UserError):
            raise header
        good.append(header)
    return good
