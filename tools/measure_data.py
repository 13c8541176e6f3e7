#!/usr/bin/env python3
"""How fast rooms are computed, and stage 1 reads a corpus.

    tools/measure_data.py rooms
    tools/measure_data.py listing --jobs 2

``listing`` writes a WHAMR tree and a WSJ0 of names as in the real ones, whose 126,000 small files
are links to four recordings, and runs ``sepasr prepare`` on it. Its files are in memory: a disk is
slower.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

FS = 16000
SAMPLES = FS // 10
PARTS = ("mix_both_reverb", "s1_anechoic", "s2_anechoic", "noise")
# Speakers of WSJ0's subsets and mixtures of WHAMR's sets: cv's are heard in tr as well.
SPEAKERS = {"si_tr_s": 101, "si_et_05": 18}
UTTERANCES = {"si_tr_s": 124, "si_et_05": 100}  # of each speaker
SETS = {"tr": ("si_tr_s", 20_000), "cv": ("si_tr_s", 5_000), "tt": ("si_et_05", 3_000)}
CV_FROM = 99  # utterances of a speaker from this one on are cv's, those before are tr's


def rooms(options: argparse.Namespace) -> None:
    """Rooms a second: reverberant and anechoic responses of two speakers in each."""
    from sepasr.simulate.whamr_rooms import choose_rooms, impulse_responses

    bank = choose_rooms(None, options.number, seed=0)
    impulse_responses(bank.rooms[0])
    start = time.perf_counter()
    for room in bank.rooms:
        impulse_responses(room)
    taken = time.perf_counter() - start
    print(f"{options.number / taken:.1f} rooms a second and core, of WHAMR's distribution")


def listing(options: argparse.Namespace) -> None:
    """Seconds that stage 1 takes for so many mixtures as WHAMR has."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        files = write_corpora(place)
        command = [sys.executable, "-m", "sepasr.bin.main", "prepare", "whamr"]
        command += ["--corpus", "whamr", "--whamr", place / "whamr", "--wsj0", place / "wsj0"]
        command += ["--training", "--out", place / "data", "--jobs", str(options.jobs)]
        start = time.perf_counter()
        subprocess.run(command, check=True)
        taken = time.perf_counter() - start
    mixtures = sum(count for _, count in SETS.values())
    print(f"{taken:.0f} s for {mixtures} mixtures, {files} files, in {options.jobs} processes")


def write_corpora(place: Path) -> int:
    """Write WSJ0 and WHAMR.

    Every other utterance of a speaker is one recording, the rest another; each mixture is of both.

    Returns:
        How many audio files there are.
    """
    import soundfile

    rng = np.random.default_rng(0)
    sounds = dict(zip(PARTS[1:], rng.uniform(-0.2, 0.2, (3, SAMPLES)), strict=True))
    sounds[PARTS[0]] = sum(sounds.values())
    recorded = {}
    for name, sound in sounds.items():
        recorded[name] = place / f"{name}.wav"
        soundfile.write(recorded[name], sound, FS, subtype="FLOAT")
    files = 0
    for subset in SPEAKERS:
        dots: dict[Path, list[str]] = {}
        for number in range(SPEAKERS[subset]):
            for index in range(UTTERANCES[subset]):
                name = utterance(subset, number, index)
                path = place / "wsj0/11-1.1/wsj0" / subset / name[:3] / f"{name}.wav"
                link(recorded[PARTS[1 + index % 2]], path)
                dot = place / "wsj0/11-13.1/wsj0/transcrp/dots" / subset / name[:3]
                dots.setdefault(dot / f"{name[:6]}00.dot", []).append(f"TURNIPS ({name})\n")
                files += 1
        for path, lines in dots.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(lines))
    for name in SETS:
        for mixture in mixtures_of(name):
            for part in PARTS:
                link(recorded[part], place / f"whamr/wav16k/max/{name}/{part}/{mixture}.wav")
                files += 1
    return files


def utterance(subset: str, speaker: int, index: int) -> str:
    """A name as WSJ0 has them: speaker, style, session, number."""
    first = {"si_tr_s": "0", "si_et_05": "4"}[subset]
    return (
        f"{first}{speaker // 26:x}{chr(97 + speaker % 26)}c02{np.base_repr(index, 36).lower():0>2}"
    )


def mixtures_of(name: str) -> Iterator[str]:
    """Names of different mixtures, each of an even and an odd utterance of two speakers."""
    subset, count = SETS[name]
    low = CV_FROM + 1 if name == "cv" else 0
    high = CV_FROM if name == "tr" else UTTERANCES[subset]
    rng = np.random.default_rng(list(name.encode()))
    made: set[str] = set()
    while len(made) < count:
        speakers = rng.choice(SPEAKERS[subset], 2, replace=False)
        even, odd = rng.integers(low // 2, high // 2, 2) * 2 + (0, 1)
        first, second = utterance(subset, speakers[0], even), utterance(subset, speakers[1], odd)
        mixture = f"{first}_0.5_{second}_-0.5"
        if mixture not in made:
            made.add(mixture)
            yield mixture


def link(source: Path, path: Path) -> None:
    """Another name of a file; a copy where the file system has no room for more names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, path)
    except OSError:
        path.write_bytes(source.read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(required=True, metavar="WHAT")
    kind = kinds.add_parser("rooms", help=rooms.__doc__)
    kind.add_argument("--number", type=int, default=50)
    kind.set_defaults(run=rooms)
    kind = kinds.add_parser("listing", help=listing.__doc__)
    kind.add_argument("--jobs", type=int, default=0, help="processes, 0 for one on each core")
    kind.set_defaults(run=listing)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
