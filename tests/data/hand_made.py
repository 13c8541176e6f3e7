"""A hand-made WHAMR and WSJ0: a few tiny files in the corpora's exact layout.

Sources are the utterances of WSJ0, delayed and scaled, and mixtures the sums of their parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

FS = 16000
# Two mixtures a set, of different lengths in samples; in neither order of lengths nor of creation.
MIXTURES = {
    "445c0206_0.60431_22gc0105_-0.60431": 1600,
    "22go010b_1.2_445c0206_-1.2": 2404,
}
NOISES = {"noise_a": 3200, "noise_b": 4800}
# One disc as LDC lays it out, with sessions 02 and 01, and one copied flat.
DOTS = {
    "11-13.1/wsj0/transcrp/dots/si_et_05/445/445c0200.dot": [
        r"The \"DOUBLE-QUOTE first ~ <one> . [cough] (445c0206)",
        "never used (445c0207)",
    ],
    "wsj0/transcrp/dots/si_et_05/22g/22gc0100.dot": ["Second, one %PERCENT (22GC0105)"],
    "wsj0/transcrp/dots/si_et_05/22g/22go0100.dot": ["third one .PERIOD (22go010b)  "],
}
TEXTS = {
    "445c0206": 'THE "DOUBLE-QUOTE FIRST ONE <NOISE>',
    "22gc0105": "SECOND, ONE PERCENT",
    "22go010b": "THIRD ONE .PERIOD",
}
UTTERANCES = {
    "11-1.1/wsj0/SI_ET_05/445/445C0206.WAV": 900,
    "wsj0/si_et_05/22g/22gc0105.wav": 800,
    "wsj0/si_et_05/22g/22go010b.wav": 700,
}
# Delay of each speaker in samples, and gain.
IMAGES = ((100, 0.9), (130, 0.7))
ECHO = 37


def write_wav(path: Path, frames: int, channels: int = 1, subtype: str = "FLOAT", fs: int = FS):
    """Noise that is different in every file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(str(path.name).encode()))
    samples = rng.uniform(-0.5, 0.5, (frames, channels)).astype(np.float32)
    with path.open("wb") as stream:
        soundfile.write(stream, samples, fs, subtype=subtype, format="WAV")


@dataclass(frozen=True)
class Corpora:
    """Where the trees are."""

    whamr: Path
    wsj0: Path
    noise: Path
    rirs: Path

    def folder(self, subset: str = "tt", cut: str = "max") -> Path:
        """The folder of a set at 16 kHz."""
        return self.whamr / "wav16k" / cut / subset


def signals(trees: Corpora, name: str, frames: int) -> dict[str, np.ndarray]:
    """All signals of a mixture by their folder's name: (frames,) each."""
    rng = np.random.default_rng(list(name.encode()))
    made = {"noise": rng.uniform(-0.1, 0.1, frames)}
    for speaker, (utterance, (delay, gain)) in enumerate(
        zip(name.split("_")[::2], IMAGES, strict=True), 1
    ):
        (file,) = (trees.wsj0 / f for f in UTTERANCES if f.lower().endswith(f"{utterance}.wav"))
        direct = np.zeros(frames)
        samples = soundfile.read(file)[0][: frames - delay]
        direct[delay : delay + len(samples)] = gain * samples
        made[f"s{speaker}_anechoic"] = direct
        made[f"s{speaker}_reverb"] = direct + 0.5 * np.roll(direct, ECHO)
    for room in ("anechoic", "reverb"):
        first, second = made[f"s1_{room}"], made[f"s2_{room}"]
        made[f"mix_both_{room}"] = first + second + made["noise"]
        made[f"mix_clean_{room}"] = first + second
        made[f"mix_single_{room}"] = first + made["noise"]
    return made


def write_mixture(trees: Corpora, subset: str, cut: str, name: str, frames: int) -> None:
    """Write a mixture and its parts."""
    for kind, samples in signals(trees, name, frames).items():
        path = trees.folder(subset, cut) / kind / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, FS, subtype="FLOAT")


def make_corpora(folder: Path, sets: Sequence[str] = ("cv", "tt")) -> Corpora:
    """Write all of them into a folder."""
    trees = Corpora(*(folder / name for name in ("whamr", "wsj0", "noise", "rirs")))
    for name, lines in DOTS.items():
        (trees.wsj0 / name).parent.mkdir(parents=True, exist_ok=True)
        (trees.wsj0 / name).write_text("".join(f"{line}\n" for line in lines))
    for name, frames in UTTERANCES.items():
        write_wav(trees.wsj0 / name, frames, subtype="PCM_16")
    for subset in sets:
        for cut in ("max", "min"):
            for name, frames in MIXTURES.items():
                write_mixture(trees, subset, cut, name, frames)
    for name, frames in NOISES.items():
        write_wav(trees.noise / f"{name}.wav", frames, channels=2)
    for room in ("room0", "room1"):
        write_wav(trees.rirs / f"{room}_reverb.wav", 400, channels=6)
        write_wav(trees.rirs / f"{room}_anechoic.wav", 100, channels=6)
    return trees
