"""Short copies of audio that a browser plays, and pictures of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

PEAK = 0.9
"""Of the loudest stream of a mixture, of full scale."""
WINDOW_S, HOP_S = 0.032, 0.010
RANGE_DB = 65
"""What a spectrogram shows below the loudest spot of its mixture."""
WIDEST, ROWS = 700, 128
"""Columns and rows of a spectrogram, in pixels, at most."""
LEVELS = 64
"""Shades of a spectrogram: more can't be told apart, and make the files larger."""


@dataclass(frozen=True)
class Clip:
    """A signal on the page.

    Attributes:
        label: what it is, to be heard by those who don't see the page.
        audio: file of the audio, seen from the page.
        picture: file of the spectrogram, likewise.
        seconds: duration.
        fs: sampling rate in Hz.
    """

    label: str
    audio: str
    picture: str
    seconds: float
    fs: int


class Album:
    """Writes the clips of one mixture: one gain for all, and one scale for all pictures.

    So what is louder on the page is louder in truth. Everything written is a function of the
    samples alone, which Ogg, with its random serial numbers, is not.

    Args:
        page: folder of the page.
        name: what the files' names start with.
        signals: every signal of the mixture, each (samples,), the mixture first.
        fs: their sampling rate in Hz.
    """

    def __init__(self, page: Path, name: str, signals: Sequence[np.ndarray], fs: int) -> None:
        self.page, self.name, self.fs = page, slug(name), fs
        peak = max((float(np.abs(signal).max()) for signal in signals), default=0.0)
        self.gain = PEAK / peak if peak > 0 else 1.0
        self.top_db = float(spectrum_db(signals[0] * self.gain, fs).max())
        for folder in ("audio", "spectrograms"):
            (page / folder).mkdir(parents=True, exist_ok=True)

    def add(self, part: str, label: str, samples: np.ndarray) -> Clip:
        """Write a signal (samples,); ``part`` tells its files from those of the mixture's others.

        The audio is 16-bit WAV, which every browser plays from any place: in a short FLAC file,
        Chromium finds none but the start.
        """
        name = f"{self.name}_{slug(part)}"
        audio, picture = f"audio/{name}.wav", f"spectrograms/{name}.png"
        soundfile.write(self.page / audio, samples * self.gain, self.fs, subtype="PCM_16")
        levels = spectrum_db(samples * self.gain, self.fs) - self.top_db
        shades = np.clip(np.round((1 + levels / RANGE_DB) * (LEVELS - 1)), 0, LEVELS - 1)
        rows, columns = shades.shape
        image = Image.frombytes("P", (columns, rows), shades[::-1].astype(np.uint8).tobytes())
        image.putpalette(_palette())
        image.save(self.page / picture, optimize=True)
        return Clip(label, audio, picture, len(samples) / self.fs, self.fs)


def slug(name: str) -> str:
    """A name that is safe in a file's name and in an address."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "x"


def spectrum_db(samples: np.ndarray, fs: int) -> np.ndarray:
    """Power over frequency and time.

    Args:
        samples: (samples,), at least one.
        fs: sampling rate in Hz.

    Returns:
        (rows, columns) in dB, low frequencies first; at most ``ROWS`` by ``WIDEST``. They span
        0 to fs / 2, and the whole duration.
    """
    window = round(WINDOW_S * fs)
    hop = max(round(HOP_S * fs), -(-len(samples) // WIDEST))
    padded = np.pad(samples.astype(np.float64), window // 2)
    columns = -(-len(samples) // hop)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][:columns]
    power = np.abs(np.fft.rfft(frames * np.hanning(window), axis=1)[:, 1:]) ** 2
    bins = power.shape[1]
    edges = np.linspace(0, bins, min(ROWS, bins) + 1).astype(int)  # of a row's frequencies
    merged = np.add.reduceat(power, edges[:-1], axis=1) / np.diff(edges)
    return 10 * np.log10(merged.T + 1e-10)


def _palette() -> list[int]:
    """Red, green and blue of every shade."""
    from matplotlib import colormaps

    colours = colormaps["magma"](np.linspace(0, 1, LEVELS))[:, :3]
    return [int(value) for value in np.round(255 * colours).ravel()]
