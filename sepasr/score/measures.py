"""Signal measures of separated speech, all mixtures in one parallel pass.

Rules, the same for every system:

- Estimates are assigned to references by the permutation of the best mean SI-SDR; the value of a
  mixture is the mean over its speakers.
- A measure against a silent reference, or of a signal too short for it, is undefined (NaN): it is
  left out of means. The reference alone decides it, for every system alike.
- A silent estimate of a speaker who speaks counts with the worst value of each scale that is
  defined: SI-SDR -80 dB, PESQ 1.04, STOI and ESTOI 0. Left out, silence would improve a system.
- SRMR needs no reference and has no worst value: it is the mean over the streams that are not
  silent, whoever speaks, so silence may improve it.
- PESQ is wide-band (ITU-T P.862.2) and hears both signals at one level; it is defined at 16 kHz
  only, and of references with at most 40 utterances, as :func:`most_utterances` counts them: its
  software has room for 50 and overwrites its memory beyond.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from scipy.signal import butter, sosfilt

from sepasr.data.audio import read_mono
from sepasr.data.datadir import Mixture
from sepasr.errors import UserError
from sepasr.loss.pit import best_permutation
from sepasr.loss.si_sdr import pairwise_si_sdr
from sepasr.parallel import map_as_completed
from sepasr.score.log import ValueLog
from sepasr.score.srmr import srmr

REVISION = 2
"""To be raised when anything here or in ``srmr.py`` changes a value: all is then measured anew."""
PACKAGES = ("pesq", "pystoi", "gammatone", "scipy")
"""Whose versions decide values, too."""
SILENCE = 1e-5
"""A signal that stays within this of its mean (-100 dB re full scale) is silent."""
WORST_SI_SDR_DB = -80.0
WORST_PESQ = 0.999 + 4 / (1 + math.exp(1.3669 * 0.5 + 3.8224))
"""The mapping of P.862.2 at the lowest raw score, -0.5: 1.04."""
PESQ_FS, PESQ_LEVEL_DB = 16_000, -25.0
PESQ_UTTERANCES, PESQ_SAFE_S = 40, 15.0
"""The most utterances that PESQ is given, and a duration too short to hold so many."""
STOI_SHORTEST_S = 0.4
"""STOI compares spans of 30 frames."""


@dataclass(frozen=True)
class Measures:
    """Signal measures of one mixture, means over its speakers; NaN where undefined.

    Attributes:
        si_sdr: dB, zero-mean.
        si_sdri: dB, what separation adds to the SI-SDR of the mixture.
        pesq: wide-band MOS-LQO, 1.04 to 4.64.
        stoi: short-time objective intelligibility, at most 1.
        estoi: extended STOI, at most 1.
        srmr: speech-to-reverberation modulation energy ratio.
    """

    si_sdr: float = math.nan
    si_sdri: float = math.nan
    pesq: float = math.nan
    stoi: float = math.nan
    estoi: float = math.nan
    srmr: float = math.nan


def measure(
    estimates: np.ndarray,
    references: np.ndarray,
    mixture: np.ndarray,
    fs: int,
    brief: bool = False,
) -> Measures:
    """Measure the estimates of one mixture.

    Args:
        estimates: (speakers, samples), in any order.
        references: (speakers, samples).
        mixture: (samples,).
        fs: sampling rate in Hz.
        brief: SI-SDR and its gain only; the others, which take a hundred times as long, are NaN.
    """
    speech = torch.from_numpy(references.astype(np.float64))[None]
    separated = torch.from_numpy(estimates.astype(np.float64))[None]
    unseparated = torch.from_numpy(mixture.astype(np.float64)).expand_as(speech)
    pairwise = pairwise_si_sdr(separated, speech)
    order = best_permutation(-pairwise)[0]
    si_sdr = pairwise[0, range(len(order)), order].numpy().copy()
    si_sdr_before = pairwise_si_sdr(unseparated, speech)[0, :, 0].numpy()

    pesq_, stoi_, estoi_ = np.full((3, len(order)), math.nan)
    for speaker, reference in enumerate(references):
        estimate = estimates[order[speaker]]
        if is_silent(reference):
            si_sdr[speaker] = math.nan
            continue
        silent = is_silent(estimate)
        if silent:
            si_sdr[speaker] = WORST_SI_SDR_DB
        if brief:
            continue
        # A silent estimate can't be measured: whether others could be, the reference tells.
        heard = reference if silent else estimate
        values = np.array(
            [
                pesq(heard, reference, fs),
                stoi(heard, reference, fs),
                stoi(heard, reference, fs, extended=True),
            ]
        )
        if silent:
            values = np.where(np.isnan(values), math.nan, (WORST_PESQ, 0.0, 0.0))
        pesq_[speaker], stoi_[speaker], estoi_[speaker] = values
    si_sdr_, si_sdri = _mean(si_sdr), _mean(si_sdr - si_sdr_before)
    if brief:
        return Measures(si_sdr_, si_sdri)
    return Measures(
        si_sdr=si_sdr_,
        si_sdri=si_sdri,
        pesq=_mean(pesq_),
        stoi=_mean(stoi_),
        estoi=_mean(estoi_),
        srmr=mean_srmr(estimates, fs),
    )


def is_silent(signal: np.ndarray) -> bool:
    """Whether (samples,) holds nothing but an offset."""
    return bool(np.abs(signal - signal.mean()).max() <= SILENCE)


def mean_srmr(signals: np.ndarray, fs: int) -> float:
    """Mean SRMR over those of (speakers, samples) that are not silent; NaN if all are."""
    return _mean([math.nan if is_silent(signal) else srmr(signal, fs) for signal in signals])


def pesq(estimate: np.ndarray, reference: np.ndarray, fs: int) -> float:
    """Wide-band PESQ of (samples,) signals that are not silent.

    Both are brought to an RMS of -25 dB re full scale, though P.862 aligns levels once more.

    Returns:
        MOS-LQO; NaN where PESQ finds no utterance in the reference or might find too many, the
        signals are shorter than 0.25 s or not at 16 kHz; the worst value where it finds none in
        the estimate.
    """
    import pesq as itu  # here: a compiled module that only this measure needs

    if fs != PESQ_FS:
        return math.nan
    if len(reference) > PESQ_SAFE_S * fs and most_utterances(reference) > PESQ_UTTERANCES:
        return math.nan
    reference, estimate = _levelled(reference), _levelled(estimate)
    try:
        return float(itu.pesq(fs, reference, estimate, "wb"))
    except itu.BufferTooShortError:
        return math.nan
    except itu.NoUtterancesError:
        try:
            itu.pesq(fs, reference, reference, "wb")
        except itu.NoUtterancesError:
            return math.nan
        return WORST_PESQ


def most_utterances(reference: np.ndarray) -> int:
    """How many utterances PESQ may find in (samples,) at 16 kHz, to within a few.

    It looks for speech in the power of frames of 4 ms in the telephone band. Stretches of at most 4
    frames are none, those with at most 50 frames in between are one, and utterances are 50 frames
    long with a margin of 2 at both ends. The level that tells speech from pauses is found by PESQ
    within 40 dB of the loudest frame; here every one counts, and the most unfavourable decides.
    """
    band = sosfilt(butter(4, (350, 2000), "bandpass", fs=PESQ_FS, output="sos"), reference)
    power = np.square(band[: len(band) // 64 * 64]).reshape(-1, 64).mean(1)
    most = 0
    for level_db in np.arange(0.5, 40):
        speech = power > power.max() * 10 ** (-level_db / 10)
        edges = np.flatnonzero(np.diff(speech, prepend=False, append=False))
        starts, stops = edges.reshape(-1, 2)[np.diff(edges)[::2] > 4].T
        apart = starts[1:] - stops[:-1] > 50
        first = np.append(starts[:1], starts[1:][apart])
        last = np.append(stops[:-1][apart], stops[-1:])
        most = max(most, int((last - first >= 46).sum()))
    return most


def stoi(estimate: np.ndarray, reference: np.ndarray, fs: int, *, extended: bool = False) -> float:
    """STOI or ESTOI of (samples,) signals by pystoi.

    Returns:
        At most 1; NaN where the reference has less than 30 frames of speech.
    """
    import pystoi  # here: only this measure needs it

    if len(reference) < STOI_SHORTEST_S * fs:
        return math.nan
    with warnings.catch_warnings(), _same_dither():
        warnings.filterwarnings("error", message="Not enough STFT frames")
        try:
            return float(pystoi.stoi(reference, estimate, fs, extended=extended))
        except RuntimeWarning:  # pystoi would go on with 1e-5
            return math.nan


@contextmanager
def _same_dither() -> Iterator[None]:
    """Let pystoi, whose ESTOI adds noise of 1e-16, draw the same for every file, in any order."""
    state = np.random.get_state()  # noqa: NPY002 - it is this generator that pystoi takes
    np.random.seed(0)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _levelled(signal: np.ndarray) -> np.ndarray:
    rms = np.sqrt(np.mean(np.square(signal, dtype=np.float64)))
    return signal * (10 ** (PESQ_LEVEL_DB / 20) / rms)


def _mean(values: Sequence[float] | np.ndarray) -> float:
    """Mean of what is defined; NaN if nothing is."""
    defined = np.asarray(values)[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan


@dataclass(frozen=True)
class Task:
    """A mixture and the audio of every system's estimates of it.

    Attributes:
        mixture: the mixture and its references.
        estimates: for each system one file per speaker. Where they are the references themselves,
            only SRMR is measured: a signal compared with itself says nothing.
    """

    mixture: Mixture
    estimates: tuple[tuple[Path, ...], ...]


def measure_all(
    tasks: Sequence[Task],
    fs: int,
    log: ValueLog,
    jobs: int = 1,
    cluster: Path | None = None,
    brief: bool = False,
) -> list[tuple[Measures, ...]]:
    """Measure every system on every mixture.

    Args:
        tasks: one per mixture.
        fs: the sampling rate that all audio must have, in Hz.
        log: keeps what was measured; nothing is measured twice.
        jobs: as for :func:`sepasr.parallel.parallel_map`.
        cluster: likewise.
        brief: as for :func:`measure`.

    Returns:
        For each task the measures of its systems, in order.

    Raises:
        UserError: audio is missing, of another rate or not as long as its mixture.
    """
    pairs = [(task.mixture, files) for task in tasks for files in task.estimates]
    keys = [_key(*pair, fs, brief) for pair in pairs]
    # By key, since several systems may have given the same.
    missing = {k: pair for k, pair in zip(keys, pairs, strict=True) if k not in log.known}
    completed = map_as_completed(
        partial(_measure_pair, fs=fs, brief=brief),
        list(missing.values()),
        jobs=jobs,
        cluster=cluster,
        description="signal measures",
        unit="mixture",
    )
    unknown = list(missing)
    for number, measures in completed:
        log.add(unknown[number], astuple(measures))
    found = (Measures(*log.known[key]) for key in keys)
    return [tuple(next(found) for _ in task.estimates) for task in tasks]


def _key(mixture: Mixture, estimates: Sequence[Path], fs: int, brief: bool) -> str:
    """What decides the measures: which files, as they are now, and what measures them."""
    files = (mixture.mixture, *mixture.references, *estimates)
    content = [REVISION, fs, *(version(name) for name in PACKAGES)]
    if brief:
        content.append("brief")
    elif mixture.duration_s > PESQ_SAFE_S:  # no other value depends on the limit
        content.append(f"at most {PESQ_UTTERANCES} utterances")
    for file in files:
        try:
            found = file.stat()
        except FileNotFoundError:
            raise UserError("no such audio file", where=file, remedy="separate again") from None
        content += [str(file), found.st_size, found.st_mtime_ns]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _measure_pair(pair: tuple[Mixture, tuple[Path, ...]], fs: int, brief: bool) -> Measures:
    mixture, files = pair
    unseparated = read_mono(mixture.mixture, fs)
    references = _read_streams(mixture.references, len(unseparated), fs)
    if files == mixture.references:
        return Measures() if brief else Measures(srmr=mean_srmr(references, fs))
    streams = _read_streams(files, len(unseparated), fs)
    return measure(streams, references, unseparated, fs, brief)


def _read_streams(files: Sequence[Path], samples: int, fs: int) -> np.ndarray:
    """Audio of one file per speaker, (speakers, samples)."""
    streams = [read_mono(file, fs) for file in files]
    for file, stream in zip(files, streams, strict=True):
        if len(stream) != samples:
            raise UserError(
                f"{len(stream)} samples where its mixture has {samples}",
                where=file,
                remedy="separate again, or check the data directory",
            )
    return np.stack(streams)
