"""NIST SPHERE audio, in which WSJ0's discs are written, compressed by Shorten.

libsndfile reads SPHERE, but not Shorten (https://github.com/libsndfile/libsndfile/issues/502):
FFmpeg, by way of PyAV, decodes that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sepasr.errors import UserError

_MAGIC = b"NIST_1A"
_REMEDY = "get the file again"


@dataclass(frozen=True)
class SphereHeader:
    """What the text at the beginning of a SPHERE file says.

    Attributes:
        frames: samples per channel.
        fs: sampling rate in Hz.
        channels: number of channels.
        coding: of the samples, e.g. "pcm,embedded-shorten-v1.09".
        checksum: sum of all samples modulo 2^16; None where it isn't given.
    """

    frames: int
    fs: int
    channels: int
    coding: str
    checksum: int | None

    @property
    def shortened(self) -> bool:
        """Whether Shorten has compressed the samples."""
        return "shorten" in self.coding


def read_sphere_header(path: str | Path) -> SphereHeader | None:
    """Read the header of a SPHERE file; None for any other file.

    Raises:
        UserError: the header lacks a number that it must have.
    """
    fields = _read_fields(Path(path))
    if fields is None:
        return None
    try:
        return SphereHeader(
            frames=int(fields["sample_count"]),
            fs=int(fields["sample_rate"]),
            channels=int(fields["channel_count"]),
            coding=fields.get("sample_coding", "pcm"),
            checksum=int(fields["sample_checksum"]) if "sample_checksum" in fields else None,
        )
    except KeyError as error:
        what = f"no {error.args[0]} in its SPHERE header"
    except ValueError as error:
        what = f"malformed SPHERE header: {error}"
    raise UserError(what, where=path, remedy=_REMEDY)


def _read_fields(path: Path) -> dict[str, str] | None:
    """The fields of a SPHERE header, `name -type value` a line; None for another file."""
    with open(path, "rb") as stream:
        if stream.readline(len(_MAGIC) + 2).strip() != _MAGIC:
            return None
        size = stream.readline().strip()
        text = stream.read(int(size) - stream.tell() if size.isdigit() else 0).decode("latin-1")
    fields = {}
    for line in text.partition("end_head")[0].splitlines():
        name, *rest = line.split(None, 2)[:3] or [""]
        if len(rest) == 2:
            fields[name] = rest[1].strip()
    return fields


def read_shortened(path: str | Path) -> tuple[np.ndarray, int] | None:
    """Decode a file that Shorten has compressed.

    Returns:
        Samples of shape (samples, channels), float32, full scale 1.0; the sampling rate in Hz. None
        for any other file.

    Raises:
        UserError: it can't be decoded, or the samples are not those that its header counts and
            sums up: the file is damaged.
    """
    header = read_sphere_header(path)
    if header is None or not header.shortened:
        return None
    import av  # imported late: few files are compressed

    try:
        with av.open(str(path), format="nistsphere") as stream:
            blocks = [frame.to_ndarray() for frame in stream.decode(audio=0)]
    except av.FFmpegError as error:
        what = f"FFmpeg can't decode it ({header.coding}): {error.strerror}"
        raise UserError(what, where=path, remedy=_REMEDY) from None
    samples = np.concatenate(blocks, axis=1) if blocks else np.empty((1, 0), np.int16)
    if samples.dtype != np.int16:
        remedy = "convert it to 16-bit WAV"
        raise UserError(f"not of 16-bit samples ({header.coding})", where=path, remedy=remedy)
    if samples.shape != (header.channels, header.frames):
        what = f"truncated: {samples.shape[1]} samples where its header has {header.frames}"
        raise UserError(what, where=path, remedy=_REMEDY)
    if header.checksum is not None and header.checksum not in _checksums(samples):
        what = f"damaged: its samples do not add up to the checksum {header.checksum} of its header"
        raise UserError(what, where=path, remedy=_REMEDY)
    return samples.T.astype(np.float32) / 32768, header.fs


def _checksums(samples: np.ndarray) -> tuple[int, int]:
    """Sums modulo 2^16, of the samples and of those with bytes in the other order.

    Some files were summed up on a machine of the other byte order.
    """
    swapped = samples.astype(np.int16).byteswap()
    return int(samples.sum(dtype=np.int64)) % 65536, int(swapped.sum(dtype=np.int64)) % 65536
