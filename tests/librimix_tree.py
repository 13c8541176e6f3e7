"""LibriMix and LibriSpeech made by hand: seconds of audio in the corpora's exact layout."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

LIBRISPEECH_FS = 16000
SUBSETS = {"train-100": "train-clean-100", "dev": "dev-clean", "test": "test-clean"}
# Three speakers in each subset, two utterances of each. Of speaker 60 the name holds a `|`.
SPEAKERS = {
    "train-100": {"19": "F", "60": "M", "103": "F"},
    "dev": {"84": "F", "174": "M", "251": "M"},
    "test": {"1089": "M", "121": "F", "237": "F"},
}
WORDS = ("HE", "HOPED", "THERE", "WOULD", "BE", "STEW", "FOR", "DINNER", "TURNIPS", "AND", "MORE")


def utterances(subset: str) -> dict[str, str]:
    """Text by utterance."""
    ids = [f"{s}-{int(s) + 7}-{n:04d}" for s in SPEAKERS[subset] for n in range(2)]
    return {u: " ".join(np.roll(WORDS, i)[: 3 + i]) for i, u in enumerate(ids)}


def mixtures(subset: str, num_speakers: int) -> list[str]:
    """Names of two mixtures, not in the order of their names."""
    first, second = list(utterances(subset))[0::2], list(utterances(subset))[1::2]
    return ["_".join(second[::-1][:num_speakers]), "_".join(first[:num_speakers])]


def voice(utterance: str, seconds: float) -> np.ndarray:
    """Bursts of noise, (samples,) at LibriSpeech's rate."""
    rng = np.random.default_rng(list(utterance.encode()))
    time = np.arange(round(seconds * LIBRISPEECH_FS)) / LIBRISPEECH_FS
    return 0.1 * rng.standard_normal(len(time)) * np.sin(2 * np.pi * 2 * time) ** 2


def make_librispeech(folder: Path, seconds: float = 0.3) -> Path:
    """Write LibriSpeech, each utterance a little longer than the one before."""
    top = folder / "LibriSpeech"
    lines = [";ID  |SEX| SUBSET           |MINUTES| NAME"]
    for subset, name in SUBSETS.items():
        for i, (utterance, text) in enumerate(utterances(subset).items()):
            speaker, chapter, _ = utterance.split("-")
            place = top / name / speaker / chapter
            place.mkdir(parents=True, exist_ok=True)
            samples = voice(utterance, seconds * (1 + i / 10))
            soundfile.write(place / f"{utterance}.flac", samples, LIBRISPEECH_FS)
            with open(place / f"{speaker}-{chapter}.trans.txt", "a") as stream:
                stream.write(f"{utterance} {text}\n")
        for speaker, sex in SPEAKERS[subset].items():
            reader = "William | Bill" if speaker == "60" else "A Reader"
            lines.append(f"{speaker:<4} | {sex} | {name:<16} | 25.03 | {reader}")
    (top / "SPEAKERS.TXT").write_text("".join(f"{line}\n" for line in lines))
    return top


def make_librimix(
    folder: Path,
    num_speakers: int = 2,
    fs: int = 16000,
    cuts: Sequence[str] = ("max", "min"),
    seconds: float = 0.3,
) -> Path:
    """Write LibriMix as its generator does, with the absolute paths of another machine."""
    top = folder / f"Libri{num_speakers}Mix" / f"wav{fs // 1000}k"
    for cut in cuts:
        for subset in SUBSETS:
            rows: dict[str, list[dict[str, object]]] = {}
            for name in mixtures(subset, num_speakers):
                signals = _signals(name, subset, cut, fs, seconds)
                for kind, samples in signals.items():
                    file = top / cut / subset / kind / f"{name}.wav"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    soundfile.write(file, samples, fs)
                for kind in ("mix_both", "mix_clean", "mix_single"):
                    row = _metadata(name, subset, kind, list(signals), len(samples))
                    rows.setdefault(kind, []).append(row)
            (top / cut / "metadata").mkdir(parents=True, exist_ok=True)
            for kind, table in rows.items():
                path = top / cut / "metadata" / f"mixture_{subset}_{kind}.csv"
                with open(path, "w", newline="") as stream:
                    writer = csv.DictWriter(stream, list(table[0]))
                    writer.writeheader()
                    writer.writerows(table)
    return folder


def _signals(name: str, subset: str, cut: str, fs: int, seconds: float) -> dict[str, np.ndarray]:
    """Sources, noise and mixtures by folder."""
    order = list(utterances(subset))
    sources = [
        voice(u, seconds * (1 + order.index(u) / 10))[:: LIBRISPEECH_FS // fs]
        for u in name.split("_")
    ]
    length = (max if cut == "max" else min)(map(len, sources))
    sources = [np.pad(s, (0, max(0, length - len(s))))[:length] for s in sources]
    noise = 0.01 * np.random.default_rng(len(name)).standard_normal(length)
    signals = {f"s{i}": source for i, source in enumerate(sources, 1)}
    mixed = {
        "mix_clean": np.sum(sources, axis=0),
        "mix_both": np.sum(sources, axis=0) + noise,
        "mix_single": sources[0] + noise,
    }
    return signals | mixed | {"noise": noise}


def _metadata(
    name: str, subset: str, kind: str, folders: Sequence[str], length: int
) -> dict[str, object]:
    def path(folder: str) -> str:
        return f"/home/other/storage/{subset}/{folder}/{name}.wav"

    sources = [f for f in folders if f[0] == "s"][: 1 if kind == "mix_single" else None]
    row: dict[str, object] = {"mixture_ID": name, "mixture_path": path(kind)}
    row |= {f"source_{f[1:]}_path": path(f) for f in sources}
    row |= {"noise_path": path("noise")} if kind != "mix_clean" else {}
    return row | {"length": length}
