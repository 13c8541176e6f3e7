"""WHAMR made of WSJ0 and WHAM's noise, as the corpus's own scripts make it.

Each utterance is heard in its room by the left microphone, at 16 kHz, and scaled so that its
anechoic image has the energy that the utterance has in WHAM. In `max` speech starts somewhere in
the noise and rings until its end; in `min` all is cut to the shorter utterance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from scipy.signal import fftconvolve, resample_poly

from sepasr.data.audio import read_audio, read_mono, write_audio
from sepasr.data.header import all_good, read_headers
from sepasr.data.whamr_tree import CONDITIONS, Whamr
from sepasr.data.wsj0 import Wsj0
from sepasr.errors import UserError
from sepasr.files import MADE_OF, claim, sha256
from sepasr.parallel import parallel_map
from sepasr.simulate.whamr_plans import Plan, find_noise, find_tables, read_plans
from sepasr.simulate.whamr_rooms import FS, impulse_responses

PARTS = ("noise", *(f"s{speaker}_{room}" for room in ("anechoic", "reverb") for speaker in (1, 2)))
"""Folders of what mixtures are made of, which are always written."""


def make_signals(
    plan: Plan, utterances: Sequence[np.ndarray], noise: np.ndarray, fs: int, cut: str
) -> dict[str, np.ndarray]:
    """Make all signals of a mixture.

    Args:
        plan: what it is made of; its gains are for ``fs`` and ``cut``.
        utterances: two of (samples,) as recorded, float64, at 16 kHz.
        noise: (samples,), the left channel as recorded, float64, at 16 kHz; longer than the speech.
        fs: sampling rate of the signals in Hz, 16000 or 8000.
        cut: "max" or "min".

    Returns:
        (samples,) each, float64, by the name of its folder in WHAMR.
    """
    down = FS // fs
    targets = [  # what is heard without a room, in WHAM
        _quantise(resample_poly(utterance, 1, down) * gain) * plan.speech_gain
        for utterance, gain in zip(utterances, plan.gains, strict=True)
    ]
    sound = resample_poly(noise, 1, down) * plan.noise_gain
    start = plan.start // down
    length = len(sound)
    if cut == "min":
        length = min(map(len, targets))
        sound, start = sound[start : start + length], 0

    reverberant, anechoic = impulse_responses(plan.room)
    signals = {"noise": sound}
    for speaker, (utterance, target) in enumerate(zip(utterances, targets, strict=True)):
        dry = np.zeros(len(noise))  # the rest of it gives reverberation time to ring
        dry[: len(utterance)] = _quantise(utterance)
        direct, heard = (
            resample_poly(fftconvolve(response[speaker], dry), 1, down)
            for response in (anechoic, reverberant)
        )
        scale = np.sqrt(np.sum(target**2) / np.sum(direct**2))
        for room, image in (("anechoic", direct), ("reverb", heard)):
            placed = np.zeros(length)
            placed[start:] = image[: length - start] * scale
            signals[f"s{speaker + 1}_{room}"] = placed
    for room in ("anechoic", "reverb"):
        first, second = signals[f"s1_{room}"], signals[f"s2_{room}"]
        signals[f"mix_clean_{room}"] = first + second
        signals[f"mix_single_{room}"] = sound + first
        signals[f"mix_both_{room}"] = sound + first + second
    return signals


def _quantise(samples: np.ndarray) -> np.ndarray:
    """Rounded to 16 bits, as WSJ0-2mix was on disk."""
    return np.round(samples * 2**15) / 2**15


@dataclass(frozen=True)
class _Task:
    """A mixture to make: its plan, the two utterances' files, and that of the noise."""

    plan: Plan
    utterances: tuple[Path, ...]
    noise: Path
    folder: Path


def build_whamr(
    scripts: Path,
    wsj0: Path,
    noise: Path,
    out: Path,
    sets: Iterable[str],
    *,
    fs: int = FS,
    cut: str = "max",
    conditions: Sequence[str] = CONDITIONS[:1],
    allow_partial: bool = False,
    jobs: int = 1,
    cluster: Path | None = None,
) -> None:
    """Write a WHAMR tree, or what is missing of it: each file is either complete or not there.

    All tables and the headers of all files are read first.

    Args:
        scripts: a folder above the tables of WHAMR's scripts.
        wsj0: a folder above WSJ0's audio.
        noise: the folder wham_noise.
        out: the tree, which will hold `wav16k` or `wav8k`.
        sets: of "tr", "cv", "tt".
        fs: sampling rate in Hz: 16000 or 8000.
        cut: "max" or "min".
        conditions: folders of mixtures to write, besides :data:`PARTS`.
        allow_partial: accept tables of fewer mixtures than the complete corpus has.
        jobs: processes.
        cluster: see :func:`sepasr.parallel.parallel_map`.

    Raises:
        UserError: a table or file is missing or malformed; the audio is of another rate; what is
            there of a set was made of other tables or of a WSJ0 elsewhere.
    """
    for condition in conditions:
        Whamr(out, fs, cut, condition)  # refuses what WHAMR doesn't have
    plans = {s: read_plans(scripts, noise, s, fs, cut, allow_partial=allow_partial) for s in sets}
    audio = _find_utterances(wsj0, plans)
    top = out / f"wav{fs // 1000}k" / cut
    tasks = [
        _Task(
            plan,
            tuple(audio[utterance] for utterance in plan.utterances),
            find_noise(noise) / subset / f"{plan.name}.wav",
            top / subset,
        )
        for subset, plans_of_set in plans.items()
        for plan in plans_of_set
    ]
    folders = (*PARTS, *conditions)
    missing = [t for t in tasks if not all(path.exists() for path in _files(t, folders).values())]
    recorded = sorted({path for task in missing for path in task.utterances})
    all_good(read_headers(recorded, FS, channels=1, jobs=jobs, cluster=cluster))
    all_good(read_headers([task.noise for task in missing], FS, jobs=jobs, cluster=cluster))
    for subset in plans:
        _claim(top / subset, wsj0, find_tables(scripts, noise, subset))
    work = partial(_write_signals, folders, fs, cut)
    parallel_map(work, missing, jobs=jobs, cluster=cluster, description="WHAMR", unit="mixture")


def _claim(folder: Path, wsj0: Path, tables: Iterable[Path]) -> None:
    """Write beside the signals of a set what they are made of."""
    made_of = {"wsj0": str(wsj0.absolute()), **{table.name: sha256(table) for table in tables}}
    claim(
        folder / MADE_OF,
        yaml.safe_dump(made_of, width=1000),
        "the mixtures here were made of other tables, or of a WSJ0 elsewhere",
        remedy=f"remove {folder}, or correct the path if that WSJ0 was moved",
    )


def _find_utterances(wsj0: Path, plans: dict[str, list[Plan]]) -> dict[str, Path]:
    wanted = {
        u for plans_of_set in plans.values() for plan in plans_of_set for u in plan.utterances
    }
    found = Wsj0(wsj0).audio(wanted)
    for utterance in sorted(wanted - found.keys()):
        what = f"no audio of '{utterance}' ({len(wanted) - len(found)} like it)"
        remedy = "give a folder above all WSJ0 discs"
        raise UserError(what, where=f"{wsj0}/**/{utterance}.*", remedy=remedy)
    return found


def _files(task: _Task, folders: Iterable[str]) -> dict[str, Path]:
    return {folder: task.folder / folder / f"{task.plan.name}.wav" for folder in folders}


def _write_signals(folders: Sequence[str], fs: int, cut: str, task: _Task) -> None:
    utterances = [read_mono(path, FS).astype(np.float64) for path in task.utterances]
    noise = read_audio(task.noise, FS)[0][:, 0].astype(np.float64)
    if len(noise) < task.plan.start + max(map(len, utterances)):
        what = f"{len(noise)} samples, too few for the speech that starts at {task.plan.start}"
        raise UserError(what, where=task.noise, remedy="get WHAM's noise again")
    signals = make_signals(task.plan, utterances, noise, fs, cut)
    for folder, path in _files(task, folders).items():
        if not path.exists():
            write_audio(path, signals[folder], fs)
