"""SPHERE files by hand, also compressed by Shorten, whose format is that of its technical report.

Tony Robinson, SHORTEN: Simple lossless and near-lossless waveform compression, CUED/F-INFENG/
TR.156, 1994. Of its predictors only the first difference is used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

CODINGS = {2: "pcm,embedded-shorten-v2.00", 1: "pcm,embedded-shorten-v1.09"}
_S16LH = 5  # sample type: signed 16 bits, little endian
_DIFF1, _QUIT, _BLOCKSIZE = 1, 4, 5  # commands


class _Bits:
    def __init__(self) -> None:
        self.parts: list[str] = []

    def uvar(self, value: int, low: int) -> None:
        """Rice code: the high part in unary, `low` bits of the rest."""
        self.parts.append("0" * (value >> low) + "1")
        if low:
            self.parts.append(f"{value & ((1 << low) - 1):0{low}b}")

    def ulong(self, value: int) -> None:
        self.uvar(value.bit_length(), 2)
        self.uvar(value, value.bit_length())

    def bytes(self) -> bytes:
        text = "".join(self.parts)
        text += "0" * (-len(text) % 32)
        return int(text, 2).to_bytes(len(text) // 8, "big")


def shorten(samples: np.ndarray, version: int = 2, block: int = 64) -> bytes:
    """Compress (samples,) of int16."""
    bits = _Bits()
    for value in (_S16LH, 1, block, 0, 0, 0):  # type, channels, block, LPC, means, skipped bytes
        bits.ulong(value)
    previous = 0
    for start in range(0, len(samples), block):
        part = samples[start : start + block].astype(int)
        if len(part) < block:
            bits.uvar(_BLOCKSIZE, 2)
            bits.ulong(len(part))
        steps = np.diff(part, prepend=previous)
        previous = part[-1]
        codes = np.where(steps < 0, -2 * steps - 1, 2 * steps)
        low = max(1, int(codes.mean()).bit_length())
        bits.uvar(_DIFF1, 2)
        bits.uvar(low - 1, 3)
        for code in codes:
            bits.uvar(int(code), low)
    bits.uvar(_QUIT, 2)
    return b"ajkg" + bytes([version]) + bits.bytes()


def header(samples: np.ndarray, coding: str = "pcm", fs: int = 16000, **more: str) -> bytes:
    """The 1024 bytes at the beginning, as WSJ0 has them."""
    fields = {
        "database_id": "-s4 wsj0",
        "microphone": "-s22 Sennheiser HMD-414 mic",
        "channel_count": "-i 1",
        "sample_count": f"-i {len(samples)}",
        "sample_rate": f"-i {fs}",
        "sample_n_bytes": "-i 2",
        "sample_byte_format": "-s2 01",
        "sample_sig_bits": "-i 16",
        "sample_coding": f"-s{len(coding)} {coding}",
        "sample_checksum": f"-i {int(samples.astype(int).sum()) % 65536}",
    }
    fields |= more
    lines = "".join(f"{name} {value}\n" for name, value in fields.items() if value)
    return f"NIST_1A\n   1024\n{lines}end_head\n".encode().ljust(1024)


def write_shortened(path: Path, samples: np.ndarray, version: int = 2, **more: str) -> Path:
    """Write a compressed file of (samples,) of int16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header(samples, CODINGS[version], **more) + shorten(samples, version))
    return path


def write_sphere(path: Path, samples: np.ndarray, **more: str) -> Path:
    """Write a plain file of (samples,) of int16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header(samples, **more) + samples.astype("<i2").tobytes())
    return path
