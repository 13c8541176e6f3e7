#!/usr/bin/env python3
"""Time to mix a training item, of 4 s at 16 kHz, on one core.

    tools/bench/mixing.py                              # sounds of its own
    tools/bench/mixing.py --data egs/mini_whamr/exp/data   # a prepared corpus

With all that dynamic mixing draws anew: speakers, utterances, speed, rooms, gains and noise. That
an item is a function of its number alone is shown before.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from paired import MILLISECONDS, Spread, UnequalError, begin, keep, parser, profile, seconds
from sounds import FS, voice

from sepasr.data.audio import change_speed, read_audio, write_audio
from sepasr.data.convolution import convolve
from sepasr.data.datadir import Info, Noise, NoiseDir, Room, RoomDir, Utterance, UtteranceDir
from sepasr.data.dynamic import DynamicMixtures, MixingConfig

SPEAKERS, EACH, ROOMS, NOISES = 12, 5, 20, 6
TAPS = FS // 2


def corpus(folder: Path) -> None:
    """Write directories like those that stage 1 writes."""
    rng = np.random.default_rng(0)
    info = Info("drawn", FS)

    def write(name: str, sound: np.ndarray) -> Path:
        write_audio(folder / f"{name}.wav", sound.astype(np.float32), FS)
        return folder / f"{name}.wav"

    utterances = []
    for speaker in range(SPEAKERS):
        for number in range(EACH):
            length, name = float(rng.uniform(3, 8)), f"{speaker:02d}_{number}"
            path = write(name, voice(length, 100 * speaker + number))
            utterances.append(Utterance(name, path, "WORDS", f"{speaker:02d}", length))
    noises = [
        Noise(f"noise{n}", write(f"noise{n}", rng.uniform(-0.1, 0.1, 20 * FS)), 20.0)
        for n in range(NOISES)
    ]
    rooms = []
    for n in range(ROOMS):
        decay = np.exp(-np.arange(TAPS) / (0.05 * FS))[:, None]
        late = rng.standard_normal((TAPS, 2)) * decay
        direct = np.zeros((TAPS, 2))
        direct[40 + n] = 1
        reverb = write(f"reverb{n:02d}", direct + 0.1 * late)
        rooms.append(Room(f"room{n:02d}", reverb, write(f"anechoic{n:02d}", direct)))
    UtteranceDir(folder / "tr_utterances", info, tuple(utterances)).write()
    NoiseDir(folder / "tr_noise", info, tuple(noises)).write()
    RoomDir(folder / "tr_rooms", info, tuple(rooms)).write()


def mixtures_of(data: Path, options) -> DynamicMixtures:
    return DynamicMixtures(
        UtteranceDir.load(data / "tr_utterances"),
        NoiseDir.load(data / "tr_noise"),
        RoomDir.load(data / "tr_rooms"),
        MixingConfig(segment_s=options.seconds),
        seed=0,
    )


def check_items(mixtures: DynamicMixtures, again: DynamicMixtures) -> None:
    """Refuse items that depend on which were asked for before."""
    forward = [mixtures[index] for index in range(8)]
    for index in reversed(range(8)):
        item, other = forward[index], again[index]
        pairs = (item.mixture, other.mixture), (item.references, other.references)
        if not all(np.array_equal(*pair) for pair in pairs):
            raise UnequalError(f"item {index} is another when it is asked for again")


def measure(options) -> dict:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        if options.data is None:
            corpus(Path(place))
        data = options.data or Path(place)
        mixtures = mixtures_of(data, options)
        check_items(mixtures, mixtures_of(data, options))
        count = 5 if options.quick else options.items

        def items(start: int) -> None:
            for index in range(start, start + count):
                mixtures[index]

        items(0)
        taken = [seconds(lambda n=n: items(n * count)) / count for n in range(options.rounds)]
        shares = profile(lambda: items(0), [convolve, read_audio, change_speed])
    return keep(
        options,
        "mixing_ms",
        Spread.of(np.array(taken) * 1000),
        MILLISECONDS,
        against="nothing",
        dtype="float32",
        note=f"mixtures of {options.seconds:g} s at {mixtures.fs} Hz, one core, "
        f"{'a prepared corpus' if options.data else 'drawn sounds'}, files in the cache; "
        f"by a profile, {shares}",
        packages=["numpy", "scipy", "soundfile"],
    )


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    made = parser(__doc__, rounds=10)
    made.add_argument("--data", type=Path, help="holds tr_utterances, tr_noise and tr_rooms")
    made.add_argument("--seconds", type=float, default=4.0, help="length of a mixture")
    made.add_argument("--items", type=int, default=100, help="items of a round")
    return [measure(begin(made, arguments))]


if __name__ == "__main__":
    main()
