#!/usr/bin/env python3
"""How fast rooms are computed, and stage 1 reads a corpus.

    tools/bench/data.py

For the second a WHAMR tree and a WSJ0 are written, of names as in the real ones, whose 126,000
small files are links to four recordings, and `sepasr prepare` runs on them. They are in memory: a
disk is slower.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from paired import RATE, SECONDS, Spread, begin, keep, parser, seconds

FS = 16000
SAMPLES = FS // 10
PARTS = ("mix_both_reverb", "s1_anechoic", "s2_anechoic", "noise")
# Speakers of WSJ0's subsets and mixtures of WHAMR's sets: cv's are heard in tr as well.
SPEAKERS = {"si_tr_s": 101, "si_et_05": 18}
UTTERANCES = {"si_tr_s": 124, "si_et_05": 100}  # of each speaker
SETS = {"tr": ("si_tr_s", 20_000), "cv": ("si_tr_s", 5_000), "tt": ("si_et_05", 3_000)}
CV_FROM = 99  # utterances of a speaker from this one on are cv's, those before are tr's


QUICK = {"tr": ("si_tr_s", 4), "cv": ("si_tr_s", 4), "tt": ("si_et_05", 4)}


def rooms(options) -> dict:
    """Reverberant and anechoic responses of two speakers in each room, on one core."""
    from sepasr.simulate.whamr_rooms import choose_rooms, impulse_responses

    found = choose_rooms(None, 2 if options.quick else 50, seed=0).rooms
    impulse_responses(found[0])
    rates = [1 / seconds(lambda room=room: impulse_responses(room)) for room in found]
    return keep(
        options,
        "rooms_per_s",
        Spread.of(rates),
        RATE,
        against="nothing",
        dtype="float64",
        note=f"{len(found)} rooms of WHAMR's distribution, the median of one",
        packages=["numpy", "scipy"],
        rounds=1,
    )


def listing(options) -> dict:
    """Stage 1 on so many mixtures as WHAMR has."""
    jobs = options.threads or os.cpu_count() or 1
    sets = QUICK if options.quick else SETS
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        files = write_corpora(place, sets)
        command = [sys.executable, "-m", "sepasr.bin.main", "prepare", "whamr"]
        command += ["--corpus", "whamr", "--whamr", str(place / "whamr")]
        command += ["--wsj0", str(place / "wsj0"), "--jobs", str(jobs)]
        command += ["--rirs", str(place / "rirs")]
        command += [*(["--allow-partial"] if options.quick else []), "--training", "--out"]
        taken = [
            seconds(lambda out=place / f"data{number}": prepare([*command, str(out)]))
            for number in range(options.rounds)
        ]
    mixtures = sum(count for _, count in sets.values())
    return keep(
        options,
        "listing_s",
        Spread.of(taken),
        SECONDS,
        against="nothing",
        dtype="float32",
        note=f"{mixtures} mixtures, {files} files in memory, {jobs} processes",
        packages=["soundfile"],
    )


def prepare(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)


def write_corpora(place: Path, sets: Mapping[str, tuple[str, int]]) -> int:
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
    for room in ("room0_reverb", "room0_anechoic"):  # training has some, whose number is small
        link(recorded[PARTS[1]], place / "rirs" / f"{room}.wav")
    files = 2
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
    for name, (subset, count) in sets.items():
        for mixture in mixtures_of(name, subset, count):
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


def mixtures_of(name: str, subset: str, count: int) -> Iterator[str]:
    """Names of different mixtures, each of an even and an odd utterance of two speakers."""
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


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    options = begin(parser(__doc__, rounds=3), arguments)
    return [rooms(options), listing(options)]


if __name__ == "__main__":
    main()
