"""Reading, writing and resampling audio: the only module that does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import soundfile

from sepasr.data.sphere import read_shortened
from sepasr.errors import UserError
from sepasr.files import atomic_path

if TYPE_CHECKING:
    import torch
    import torchaudio

SUFFIXES = {
    *(".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif", ".au", ".caf", ".w64", ".rf64"),
    *(".sph", ".wv1"),
}
"""Of audio files, where a folder is looked through for them."""


def read_audio(
    path: str | Path, fs: int | None = None, *, start: int = 0, stop: int | None = None
) -> tuple[np.ndarray, int]:
    """Read samples ``start`` to ``stop`` of a file.

    Args:
        path: any file that libsndfile reads (WAV, FLAC, MP3, OGG, SPHERE, ...), and SPHERE that
            is compressed by Shorten.
        fs: the sampling rate the file must have, in Hz; any is taken without it.

    Returns:
        Samples of shape (samples, channels), float32, full scale 1.0; the sampling rate in Hz.

    Raises:
        UserError: the file is missing, unreadable, empty, of another rate, or holds samples that
            are not finite. A truncated WAV gives the samples there are:
            :func:`sepasr.data.header.read_header` finds those.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError("no such audio file", where=path, remedy="check path or scp entry")
    try:
        samples, rate = soundfile.read(
            path, start=start, stop=stop, dtype="float32", always_2d=True
        )
    except (soundfile.LibsndfileError, RuntimeError) as error:
        decoded = read_shortened(path)
        if decoded is None:
            what = f"cannot be read as audio: {error}"
            raise UserError(what, where=path, remedy="replace the file") from None
        samples, rate = decoded[0][start:stop], decoded[1]
    if fs is not None and rate != fs:
        raise UserError(
            f"sampling rate is {rate} Hz where {fs} Hz is expected",
            where=path,
            remedy="use the corpus of that rate, or resample",
        )
    if len(samples) == 0:
        raise UserError("no samples", where=path, remedy="the file is empty or truncated")
    if not np.isfinite(samples).all():
        first = int(np.flatnonzero(~np.isfinite(samples).all(axis=1))[0])
        raise UserError(
            f"sample {start + first} is not finite", where=path, remedy="repair the file"
        )
    return samples, rate


def read_mono(
    path: str | Path, fs: int | None = None, *, start: int = 0, stop: int | None = None
) -> np.ndarray:
    """Read a one-channel file as float32 samples of shape (samples,); see :func:`read_audio`."""
    samples, _ = read_audio(path, fs, start=start, stop=stop)
    if samples.shape[1] != 1:
        raise UserError(
            f"{samples.shape[1]} channels where one is expected",
            where=path,
            remedy="extract one channel",
        )
    return samples[:, 0]


def write_audio(path: str | Path, samples: np.ndarray, fs: int, subtype: str = "FLOAT") -> None:
    """Write (samples,) or (samples, channels) at ``fs`` Hz; the file appears only when complete.

    The same samples give the same bytes, whenever they are written.
    """
    with atomic_path(path) as temporary, refused_by_disk(path):
        soundfile.write(temporary, samples, fs, subtype=subtype)
        _clear_time(temporary)


def _clear_time(path: Path) -> None:
    """Set to 0 the second that libsndfile has written into the PEAK chunk of a WAV of floats.

    Fingerprints of data directories are of bytes: a corpus that is made again is the same corpus.
    """
    with open(path, "r+b") as stream:
        if stream.read(12)[:4] != b"RIFF":
            return
        while len(chunk := stream.read(8)) == 8 and not chunk.startswith(b"data"):
            size = int.from_bytes(chunk[4:], "little")
            if chunk.startswith(b"PEAK"):
                stream.seek(4, 1)  # the version; the time comes after it
                stream.write(bytes(4))
                return
            stream.seek(size + size % 2, 1)


@contextmanager
def refused_by_disk(path: str | Path) -> Iterator[None]:
    """Say in one line that a file can't be written.

    Raises:
        UserError: libsndfile couldn't write.
    """
    try:
        yield
    except (soundfile.LibsndfileError, AssertionError) as error:  # it asserts that all was written
        what = f"cannot be written: {error}".rstrip(": ")
        raise UserError(what, where=path, remedy="make room on the disk") from None


FILTER_ZEROS, ROLLOFF = 6, 0.99
"""torchaudio's defaults: zero crossings of its sinc on a side, share of the band that is left."""
LARGEST_KERNELS = 2**22
"""Source samples times target samples of the common period of two rates, up to which torchaudio's
kernels for all of a period's samples are kept, 16 MB."""


def common_period(source: int, target: int) -> tuple[int, int]:
    """Samples at both rates from one that they share to the next."""
    common = math.gcd(source, target)
    return source // common, target // common


def filter_width(source: int, target: int) -> int:
    """How many samples at ``source`` Hz the filter looks back, and ahead."""
    period, phases = common_period(source, target)
    return math.ceil(FILTER_ZEROS * period / (min(period, phases) * ROLLOFF))


def _is_long(source: int, target: int) -> bool:
    return math.prod(common_period(source, target)) > LARGEST_KERNELS


@lru_cache(maxsize=64)
def _resampler(source: int, target: int, device: torch.device) -> torchaudio.transforms.Resample:
    import torch
    import torchaudio  # imported late: with torch it costs seconds that most commands need not pay

    with torch.inference_mode(False):  # else no gradient could ever flow through it
        return torchaudio.transforms.Resample(source, target).to(device)


def resample(waveform: torch.Tensor, source: int, target: int) -> torch.Tensor:
    """Resample (..., samples) from ``source`` to ``target`` Hz with torchaudio's windowed sinc.

    The filter is linear, and a gradient flows through it. See :func:`resampled_length`.
    """
    period, phases = common_period(source, target)
    if period == phases:
        return waveform
    import torch  # here: see _resampler
    from torch.nn import functional as F

    if _is_long(source, target):
        with torch.autocast(waveform.device.type, enabled=False):
            return _interpolated(waveform, period, phases)
    resampler = _resampler(source, target, waveform.device)
    stride = resampler.orig_freq // resampler.gcd
    kernels, width = resampler.kernel[:, 0], resampler.width
    with torch.autocast(waveform.device.type, enabled=False):
        if 2 * stride < kernels.shape[1]:
            return resampler(waveform)
        # The same as one product. As the convolution that it is in torchaudio it is prepared anew
        # for every length, which takes a CPU longer than the convolution itself.
        windows = F.pad(waveform, (width, width + stride)).unfold(-1, kernels.shape[1], stride)
        samples = resampled_length(waveform.shape[-1], source, target)
        return (windows @ kernels.T).flatten(-2)[..., :samples]


def _interpolated(waveform: torch.Tensor, source: int, target: int) -> torch.Tensor:
    """What :func:`resample` does, with each sample's taps computed where it is.

    torchaudio has a kernel as long as the common period for each sample of one: of 44.1 kHz at 97 %
    of its speed they would take 3 GB. All but the few taps around a sample are zero.
    """
    import torch
    from torch.nn import functional as F

    pitch = min(source, target) * ROLLOFF / source
    width = filter_width(source, target)
    offsets = torch.arange(-width, width + 2, device=waveform.device)
    length = resampled_length(waveform.shape[-1], source, target)
    windows = F.pad(waveform, (width, width + 2)).unfold(-1, len(offsets), 1)
    pieces = []
    for places in (torch.arange(length, device=waveform.device) * source).split(2**16):
        before, fraction = places // target, (places % target).double() / target
        time = ((offsets - fraction[:, None]) * pitch).clamp(-FILTER_ZEROS, FILTER_ZEROS)
        window = torch.cos(time * (math.pi / FILTER_ZEROS / 2)) ** 2
        taps = torch.sinc(time) * window * pitch
        pieces.append((windows[..., before, :] * taps.to(waveform.dtype)).sum(-1))
    return torch.cat(pieces, -1)


Samples = TypeVar("Samples", int, "torch.Tensor")


def resampled_length(samples: Samples, source: int, target: int) -> Samples:
    """Samples that :func:`resample` makes of so many."""
    return -(-samples * target // source)


def read_resampled(path: str | Path, fs: int, target: int) -> np.ndarray:
    """Read a one-channel file of ``fs`` Hz as float32 samples of shape (samples,) at ``target`` Hz.

    Raises:
        UserError: see :func:`read_audio`.
    """
    samples = read_mono(path, fs)
    if fs == target:
        return samples
    import torch

    return resample(torch.from_numpy(samples), fs, target).numpy()


def change_speed(
    waveform: torch.Tensor, percent: int, source: int = 1, target: int = 1
) -> torch.Tensor:
    """Play (..., samples) at ``percent`` of its speed: tempo, pitch and formants move together.

    With rates in Hz it is resampled from ``source`` to ``target``, in the same pass where both have
    a short common period, as 16 and 48 kHz have.
    """
    if _is_long(source * percent, target * 100):
        return resample(resample(waveform, source, target), percent, 100)
    return resample(waveform, source * percent, target * 100)
