#!/usr/bin/env python3
"""An hour of conversation through `sepasr separate`: memory, speed, and who is in which stream.

    tools/bench/hour.py --data egs/mini_whamr/exp/data
    tools/bench/hour.py --data egs/mini_whamr/exp/data --parts swaps

The conversation is made of a corpus's utterances in turns that are known, in one room, with
overlaps and silences of up to 20 s. Each separation is a process of its own, whose peak of memory
is read when it ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from paired import REAL_TIME, ROOT, SHARE, Spread, begin, keep, parser
from separators import built
from train_memory import peak_gb

from sepasr.data.audio import read_audio, read_mono, write_audio
from sepasr.data.convolution import convolve
from sepasr.data.datadir import NoiseDir, RoomDir, UtteranceDir
from sepasr.data.dynamic import draw_noise, power, scaled_noise
from sepasr.data.scp import read_table
from sepasr.files import write_text

PRETRAINED = ROOT / "egs/mini_whamr/pretrained/separator"
PAUSES, CHANCES = (-0.8, 0.3, 1.0, 11.0, 20.0), (0.25, 0.35, 0.2, 0.1, 0.1)
"""Seconds from the end of a turn to the next; before 0 they overlap."""
SNR_DB = 20.0
WHOLE = 0.9
PAIRS = {"fm": "woman and man", "ff": "two women", "mm": "two men"}
COMMON: dict = {"dtype": "float32", "packages": ["numpy", "soundfile"]}


@dataclass(frozen=True)
class Conversation:
    """A mixture (samples,), what each speaker says in it (speakers, samples), and when.

    Attributes:
        turns: speaker, first sample and the one after the last of each utterance.
    """

    mixture: np.ndarray
    references: np.ndarray
    turns: list[tuple[int, int, int]]


def converse(data: Path, genders: str, seconds: float, seed: int) -> Conversation:
    """A conversation of two speakers of the development set, such as a woman and a man, "fm"."""
    rng = np.random.default_rng([seed, *genders.encode()])
    speech, rooms = UtteranceDir.load(data / "cv_utterances"), RoomDir.load(data / "tr_rooms")
    fs = speech.info.fs
    of = {s: [u for u in speech.utterances if u.speaker == s] for s in sorted(speech.genders)}
    pool = [s for s in of if speech.genders[s] == genders[0]]
    one = pool[int(rng.integers(len(pool)))]
    pool = [
        s
        for s in of
        if speech.genders[s] == genders[1] and s not in (one, *speech.similar.get(one, ()))
    ]
    speakers = [one, pool[int(rng.integers(len(pool)))]]

    samples = round(seconds * fs)
    dry, turns = np.zeros((2, samples), np.float32), []
    at, speaker = round(0.5 * fs), 0
    while True:
        said = of[speakers[speaker]]
        parts = [said[int(rng.integers(len(said)))] for _ in range(int(rng.integers(1, 4)))]
        for part in parts:
            sound = read_mono(part.path, fs)
            if at + len(sound) > samples:
                break
            dry[speaker, at : at + len(sound)] += sound
            turns.append((speaker, at, at + len(sound)))
            at += len(sound)
        else:
            at += round(rng.choice(PAUSES, p=CHANCES) * fs)
            speaker = 1 - speaker if rng.random() < 0.7 else speaker
            continue
        break

    room = rooms.rooms[int(rng.integers(len(rooms.rooms)))]
    reverb, anechoic = read_audio(room.reverb, fs)[0], read_audio(room.anechoic, fs)[0]
    images = [convolve(dry[n], reverb[:, n]) for n in range(2)]
    references = np.stack([convolve(dry[n], anechoic[:, n]) for n in range(2)])
    noise = NoiseDir.load(data / "tr_noise")
    pieces = [
        draw_noise(noise, min(10 * fs, samples), fs, rng) for _ in range(-(-samples // fs // 10))
    ]
    speaking = power(images[0][images[0] != 0]) if images[0].any() else 0.0
    background = scaled_noise(np.resize(np.concatenate(pieces), samples), speaking, SNR_DB)
    return Conversation(images[0] + images[1] + background, references, turns)


@dataclass(frozen=True)
class Run:
    """Streams (speakers, samples), the peak of memory in GB, and seconds."""

    streams: np.ndarray
    memory: float
    seconds: float


def separate(
    mixture: np.ndarray, fs: int, model: Path, threads: int, more: Sequence[str] = ()
) -> Run:
    """Separate it by the command line, in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        file, out, peak = Path(place, "talk.wav"), Path(place, "out"), Path(place, "peak")
        write_audio(file, mixture, fs)
        call = [sys.executable, __file__, "--inside", str(peak), str(threads)]
        call += [str(file), "--out", str(out), "--model", str(model), *more]
        start = time.perf_counter()
        subprocess.run(call, check=True, cwd=ROOT, stderr=subprocess.DEVNULL)
        taken = time.perf_counter() - start
        table = sorted(out.rglob("spk*.scp"))
        paths = [Path(next(iter(read_table(scp).values()))) for scp in table]
        streams = np.stack(
            [read_mono(path if path.is_absolute() else ROOT / path, fs) for path in paths]
        )
        return Run(streams, float(peak.read_text()), taken)


def inside(peak: str, threads: str, *arguments: str) -> None:
    """`sepasr separate` in this process, which then writes the most memory it has held."""
    import torch

    from sepasr.bin.main import main as sepasr

    torch.set_num_threads(int(threads) or os.cpu_count() or 1)
    status = sepasr(["separate", *arguments])
    if status:
        raise SystemExit(status)
    write_text(Path(peak), str(peak_gb("cpu")))


class Elsewhere(NamedTuple):
    """How often the speakers change streams, how many turns are in the other one, and of these
    those that neither stream has as a whole."""

    swaps: int
    turns: int
    split: int


def swaps(talk: Conversation, streams: np.ndarray) -> Elsewhere:
    """What is in the other stream.

    A turn is in the stream that correlates most with what was said. Speakers are where most of
    their turns are; a swap is a row of turns, one after the other, that are elsewhere. No order of
    the streams puts a turn right that is split: :data:`WHOLE` of its energy is in neither.
    """
    found, split = [], []
    for speaker, start, stop in talk.turns:
        said = talk.references[speaker, start:stop]
        parts = streams[:, start:stop]
        level = np.linalg.norm(parts, axis=1) + 1e-9
        said_in = parts @ said
        stream = int(np.argmax(np.abs(said_in) / level))
        found.append(stream if speaker == 0 else 1 - stream)  # where that puts the first speaker
        split.append(max(said_in**2) < WHOLE * np.sum(said_in**2))
    most = int(np.mean(found) > 0.5)
    elsewhere = np.array([place != most for place in found])
    begun = elsewhere & ~np.concatenate([[False], elsewhere[:-1]])
    return Elsewhere(int(begun.sum()), int(elsewhere.sum()), int((elsewhere & split).sum()))


def measure(options) -> list[dict]:
    return [entry for part in options.parts for entry in PARTS[part](options)]


def measure_swaps(options) -> list[dict]:
    """In conversations of ten minutes, as separated and with lone voices gathered."""
    seconds, rounds = (8.0, 1) if options.quick else (600.0, options.rounds)
    talks = [
        (PAIRS[genders], converse(options.data, genders, seconds, seed))
        for genders in (("fm",) if options.quick else PAIRS)
        for seed in range(rounds)
    ]
    entries = []
    for name, more in (("hour_swaps", ()), ("hour_swaps_gathered", ("--gather",))):
        counts, notes = [], []
        for who, talk in talks:
            found = swaps(talk, _run(talk, options, more=more).streams)
            counts.append(found.swaps)
            notes.append(
                f"{who}: {found.swaps} swap{'s' * (found.swaps != 1)} ({found.turns} of "
                f"{len(talk.turns)} turns in the other stream, {found.split} of them split over "
                "both)"
            )
        entries.append(
            keep(
                options,
                name,
                Spread.of([sum(counts)]),
                "swaps",
                against="nothing",
                note=f"{' '.join(('sepasr separate', *more))}; sum over {len(counts)} "
                f"conversations of {seconds:g} s, from {min(counts)} to {max(counts)} in one; "
                f"{'; '.join(notes)}",
                rounds=rounds,
                **COMMON,
            )
        )
    return entries


def measure_memory(options) -> list[dict]:
    """Of an hour against five minutes; and how long both sizes of separator take."""
    hour, short, brief_s = (16.0, 8.0, 4.0) if options.quick else (3600.0, 300.0, 60.0)
    long = _run(converse(options.data, "fm", hour, 0), options)
    brief = _run(converse(options.data, "fm", short, 0), options)
    with tempfile.TemporaryDirectory() as place:
        built("s", quick=options.quick).save_pretrained(place)
        slow = _run(converse(options.data, "fm", brief_s, 0), options, Path(place))
    share = long.memory / brief.memory
    memory = keep(
        options,
        "hour_memory",
        Spread.of([share]),
        SHARE,
        against=f"a recording of {short:g} s",
        note=f"{long.memory:.3f} GB against {brief.memory:.3f}, one run each",
        rounds=1,
        **COMMON,
    )
    return [
        _speed(options, "mini", long.seconds / hour, f"the recording of {hour:g} s"),
        _speed(options, "s", slow.seconds / brief_s, f"{brief_s:g} s, new weights"),
        memory,
    ]


PARTS = {"swaps": measure_swaps, "memory": measure_memory}


def _run(talk: Conversation, options, model: Path | None = None, more: Sequence[str] = ()) -> Run:
    fs = UtteranceDir.load(options.data / "cv_utterances").info.fs
    return separate(talk.mixture, fs, model or options.model, options.threads, more)


def _speed(options, size: str, factor: float, note: str) -> dict:
    return keep(
        options,
        f"real_time_{size}",
        Spread.of([factor]),
        REAL_TIME,
        against="the recording's length",
        note=f"{note}; one run of sepasr separate, from its start to its end",
        rounds=1,
        **COMMON,
    )


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    made = parser(__doc__, rounds=2)
    made.add_argument("--data", type=Path, required=True, help="cv_utterances, tr_noise, tr_rooms")
    made.add_argument("--model", type=Path, default=PRETRAINED, help="folder of a separator")
    made.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    return measure(begin(made, arguments, apart=["data", "parts"]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(*sys.argv[2:])
    else:
        main()
