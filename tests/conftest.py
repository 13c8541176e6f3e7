"""Tiny data directories of every kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sepasr.data.audio import write_audio
from sepasr.data.datadir import (
    Info,
    Mixture,
    MixtureDir,
    Noise,
    NoiseDir,
    Room,
    RoomDir,
    Utterance,
    UtteranceDir,
)

FS = 16000
LEVEL = 0.1
SPEAKERS = ("fa", "fb", "fc", "ma", "mb", "mc")
SOURCE_SAMPLES = (800, 2400)
MIXTURE_SAMPLES = (9000, 6000, 7000, 6000, 6500)
ECHOES = (0.2, 0.4, 0.6)


@dataclass(frozen=True)
class DataDirs:
    """One directory of each kind, written and loaded.

    Sources are LEVEL or -LEVEL at every sample, at random: gain and place can be read off. Each
    speaker, named by gender, has one of each length in SOURCE_SAMPLES. The rooms' direct path is
    1 at once, and position s has one echo of ECHOES[s] after 20 samples.
    """

    utterances: UtteranceDir
    noise: NoiseDir
    rooms: RoomDir
    mixtures: MixtureDir


def signs(samples: int, rng: np.random.Generator) -> np.ndarray:
    return (LEVEL * rng.choice([-1, 1], samples)).astype(np.float32)


@pytest.fixture
def data_dirs(tmp_path: Path) -> DataDirs:
    """Directories of this test's own, to be damaged at will."""
    rng = np.random.default_rng(0)
    wav = tmp_path / "wav"

    def write(name: str, samples: np.ndarray) -> Path:
        write_audio(wav / f"{name}.wav", samples, FS)
        return wav / f"{name}.wav"

    utterances = tuple(
        Utterance(key, write(key, signs(samples, rng)), "SOME WORDS", speaker, samples / FS)
        for speaker in SPEAKERS
        for key, samples in zip((f"{speaker}1", f"{speaker}2"), SOURCE_SAMPLES, strict=True)
    )
    noises = tuple(
        Noise(f"noise{n}", write(f"noise{n}", rng.uniform(-0.5, 0.5, 4000)), 4000 / FS)
        for n in range(2)
    )
    direct, echo = np.zeros((2, 50, len(ECHOES)), np.float32)
    direct[0], echo[20] = 1, ECHOES
    room = Room("room", write("room_reverb", direct + echo), write("room_anechoic", direct))
    mixtures = []
    for n, samples in enumerate(MIXTURE_SAMPLES):
        sources = [signs(samples, rng) for _ in range(2)]
        mixtures.append(
            Mixture(
                f"mix{n}",
                write(f"mix{n}", np.sum(sources, axis=0)),
                tuple(write(f"mix{n}_s{s}", source) for s, source in enumerate(sources, 1)),
                None,
                ("ONE", "TWO"),
                ("fa", "ma"),
                samples / FS,
            )
        )
    info = Info("tiny", FS)
    mixed = Info("tiny", FS, "max", "mix_both_reverb", "anechoic")
    genders = {speaker: speaker[0] for speaker in SPEAKERS}
    dirs = DataDirs(
        UtteranceDir(tmp_path / "utterances", info, utterances, {}, genders),
        NoiseDir(tmp_path / "noise", info, noises),
        RoomDir(tmp_path / "rooms", info, (room,)),
        MixtureDir(tmp_path / "mixtures", mixed, tuple(mixtures)),
    )
    for directory in (dirs.utterances, dirs.noise, dirs.rooms, dirs.mixtures):
        directory.write()
    return dirs
