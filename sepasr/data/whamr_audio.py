"""What the samples of a few mixtures tell about a WHAMR tree that names and headers don't.

- A mixture is the sum of its parts: else folders of different builds or channels were put together.
- An anechoic source is the WSJ0 utterance of its name, only delayed and scaled: else the tree was
  built from WSJ0's second microphone (.wv2), or WSJ0 here holds that. Results differ by 1 to 4 dB.
- In `max` an utterance is there in all its length: else its words are not all heard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import gcd
from pathlib import Path

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import resample_poly

from sepasr.data.audio import read_audio, read_mono
from sepasr.data.datadir import Mixture
from sepasr.errors import UserError
from sepasr.parallel import parallel_map

LARGEST_REST_DB = -40.0
"""What may be left of a mixture without its parts. Rounding to 16 bits leaves less."""
LEAST_LIKENESS = 0.99
"""Of an anechoic source to its utterance. The same recording reaches 0.999; what a microphone
elsewhere in the room has recorded does not, for the room alone."""
_FINE = 8  # delays are searched in eighths of a sample


@dataclass(frozen=True)
class Heard:
    """A mixture to hear.

    Attributes:
        mixture: its files.
        condition: e.g. "mix_both_reverb".
        cut: "max" or "min".
        originals: the utterance of WSJ0 behind each reference; None where it can't be found.
    """

    mixture: Mixture
    condition: str
    cut: str
    originals: tuple[Path | None, ...]


def hear_mixtures(
    items: Sequence[Heard], fs: int, *, jobs: int = 1, cluster: Path | None = None
) -> float:
    """Check that mixtures sound as they should.

    Args:
        items: the mixtures.
        fs: sampling rate in Hz.
        jobs: processes.
        cluster: see :func:`sepasr.parallel.parallel_map`.

    Returns:
        The mean SI-SDR of the mixtures against their references, in dB: what improvements
        (SI-SDRi) count from.

    Raises:
        UserError: one does not; it names the file and what is wrong.
    """
    work = partial(_hear, fs)
    levels = parallel_map(work, items, jobs=jobs, cluster=cluster, description="hear mixtures")
    return float(np.mean(levels))


def _hear(fs: int, item: Heard) -> float:
    mixture = read_mono(item.mixture.mixture, fs).astype(np.float64)
    _check_sum(item, mixture, fs)
    for number, original in enumerate(item.originals, 1):
        if original is not None:
            _check_original(item, number, original, len(mixture), fs)
    return float(
        np.mean([si_sdr(mixture, read_mono(file, fs)) for file in item.mixture.references])
    )


def _check_sum(item: Heard, mixture: np.ndarray, fs: int) -> None:
    _, kind, room = item.condition.split("_")
    names = [f"s1_{room}"] if kind == "single" else [f"s1_{room}", f"s2_{room}"]
    names += [] if kind == "clean" else ["noise"]
    path = item.mixture.mixture
    parts = [path.parents[1] / name / path.name for name in names]
    if not all(part.is_file() for part in parts):
        return  # nothing but the references must be there
    rest = mixture - np.sum([read_mono(part, fs) for part in parts], axis=0, dtype=np.float64)
    rest_db = 10 * np.log10((np.sum(rest**2) + 1e-12) / (np.sum(mixture**2) + 1e-12))
    if rest_db > LARGEST_REST_DB:
        what = f"not the sum of {', '.join(names)}: {rest_db:.0f} dB are left over"
        remedy = "its folders are of different builds or channels: build the corpus again"
        raise UserError(what, where=path, remedy=remedy)


def _check_original(item: Heard, number: int, original: Path, frames: int, fs: int) -> None:
    samples, original_fs = read_audio(original)
    common = gcd(fs, original_fs)
    utterance = resample_poly(samples[:, 0].astype(np.float64), fs // common, original_fs // common)
    path = item.mixture.mixture
    if item.cut == "max" and len(utterance) > frames:
        what = f"{frames} samples, but {original} alone has {len(utterance)}: it is cut as in min"
        raise UserError(
            what, where=path, remedy="put the files of max there, whose words are known"
        )
    source = path.parents[1] / f"s{number}_anechoic" / path.name
    if not source.is_file():
        return
    found = likeness(read_mono(source, fs).astype(np.float64), utterance)
    if found < LEAST_LIKENESS:
        what = f"not the recording of {original} (likeness {found:.2f} of 1)"
        remedy = (
            "if s1 and s2 are swapped or these are reverberant, put each file in its folder; if "
            "one is of WSJ0's second microphone (.wv2), give .wv1, and if WHAMR was built from "
            f".wv2, remove {path.parents[1]} and build it again"
        )
        raise UserError(what, where=source, remedy=remedy)


def likeness(signal: np.ndarray, original: np.ndarray) -> float:
    """How nearly a signal is a delayed and scaled copy of another, or of its beginning.

    Args:
        signal: (samples,).
        original: (samples,).

    Returns:
        From 0 to 1: the cosine between the two at the best delay, to an eighth of a sample.
    """
    size = next_fast_len(len(signal) + len(original) - 1, real=True)
    spectrum = rfft(signal, size) * rfft(original, size).conj()
    best = int(np.argmax(np.abs(irfft(spectrum, size))))
    delay = best if best <= size // 2 else best - size
    step = 2j * np.pi * np.arange(len(spectrum)) / size / _FINE
    shifted, by_step = spectrum * np.exp(step * _FINE * (delay - 1)), np.exp(step)
    product = 0.0
    for _ in range(2 * _FINE + 1):  # from a sample before the best whole number to one after
        product = max(product, abs(_first_sample(shifted, size)))
        shifted *= by_step
    heard = original[max(0, -delay) : len(signal) - delay]
    energy = np.sum(signal**2) * np.sum(heard**2)
    return float(product / np.sqrt(energy)) if energy > 0 else 0.0


def _first_sample(spectrum: np.ndarray, size: int) -> float:
    """Sample 0 of the inverse of a real signal's spectrum."""
    last = 0 if size % 2 else spectrum[-1].real
    return float(2 * spectrum.real.sum() - spectrum[0].real - last) / size


def si_sdr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """SI-SDR in dB between (samples,) signals, both zero-mean; within +-80 dB."""
    estimate = estimate - estimate.mean()
    reference = reference.astype(np.float64) - reference.mean()
    energy = max((estimate @ estimate) * (reference @ reference), 1e-12)
    cosine = np.clip((estimate @ reference) ** 2 / energy, 1e-8, 1 - 1e-8)
    return float(10 * np.log10(cosine / (1 - cosine)))
