"""Headers of audio files: length, rate and channels without reading the samples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import soundfile
from tqdm import tqdm

from sepasr.data.audio import read_audio
from sepasr.errors import UserError

# Opening a file waits for the disk or the network, not for a core.
_THREADS = 16
# The data size of a WAV that was written into a pipe, where its length was not yet known.
_STREAMED = 0x7FFF0000


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
        path: any file that libsndfile reads.
        fs: the sampling rate the file must have, in Hz; any is taken without it.
        channels: the number of channels the file must have; any is taken without it.

    Raises:
        UserError: the file is missing, not audio, empty, shorter than its header says, or of
            another rate or number of channels.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError("no such audio file", where=path, remedy="check path and corpus")
    try:
        info = soundfile.info(path, verbose=True)
        if info.format not in ("WAV", "WAVEX"):
            _read_last_sample(path, info.frames)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise UserError(
            f"cannot be read as audio, or is truncated: {error}",
            where=path,
            remedy="replace the file",
        ) from None
    _check_wav_size(path, info.extra_info)
    if info.frames == 0:
        raise UserError("no samples", where=path, remedy="replace the file")
    if fs is not None and info.samplerate != fs:
        raise UserError(
            f"sampling rate is {info.samplerate} Hz where {fs} Hz is expected",
            where=path,
            remedy="use the corpus of that rate, or resample",
        )
    if channels is not None and info.channels != channels:
        raise UserError(
            f"{info.channels} channels where {channels} is expected",
            where=path,
            remedy="extract one channel",
        )
    return Header(info.frames, info.samplerate, info.channels)


def _read_last_sample(path: Path, frames: int) -> None:
    """Compressed files keep their length in the header: only decoding the end tells."""
    with soundfile.SoundFile(path) as stream:
        stream.seek(max(frames - 1, 0))
        stream.read(1)


def _check_wav_size(path: Path, log: str) -> None:
    """libsndfile shortens a truncated WAV without an error, but notes both sizes in its log."""
    size = re.search(r"^data : (\d+) \(should be (\d+)\)", log, re.MULTILINE)
    if size and int(size[2]) < int(size[1]) < _STREAMED:
        raise UserError(
            f"truncated: {size[1]} bytes of samples by its header, {size[2]} in the file",
            where=path,
            remedy="replace the file",
        )


def read_headers(
    paths: Sequence[Path],
    fs: int | None = None,
    *,
    channels: int | None = None,
    samples: bool = False,
) -> list[Header | UserError]:
    """Read and check many headers in parallel, with a progress bar.

    Args:
        paths: the files.
        fs: as for :func:`read_header`.
        channels: as for :func:`read_header`.
        samples: read all samples too, so that those that are not finite are found.

    Returns:
        For each path, in order, its header, or what is wrong with it.
    """

    def read(path: Path) -> Header | UserError:
        try:
            header = read_header(path, fs, channels)
            if samples:
                read_audio(path)
        except UserError as error:
            return error
        return header

    with ThreadPoolExecutor(_THREADS) as pool:
        bar = tqdm(pool.map(read, paths), total=len(paths), desc="audio files", unit="file")
        return list(bar)


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
