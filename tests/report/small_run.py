"""A small made-up run: audio, transcripts, logs, rows and results that fit each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sepasr.data.audio import write_audio
from sepasr.data.datadir import Info, Mixture, MixtureDir
from sepasr.data.scp import write_table
from sepasr.files import write_text
from sepasr.score.normalise import normalise
from sepasr.score.result import RecogniserInfo, Run, SystemInfo
from sepasr.score.rows import MeasureRow, Scores, UtteranceRow
from sepasr.score.summary import summarise
from sepasr.score.wer import cpwer, orcwer

FS = 8000
RECOGNISERS = (
    RecogniserInfo("whisper_base", "whisper", "base"),
    RecogniserInfo("ctc", "wav2vec2", "mini"),
)
SENTENCES = (
    "the grey cat sleeps on a warm chair",
    "please open both windows before noon",
    "our train leaves from platform seven",
    "she found an old map under the desk",
    "fresh bread costs more this winter",
    "they painted their wooden boat green",
    "nobody answered when i rang the bell",
    "a light rain fell over the quiet town",
)
WRONG = ("blue", "house", "never", "walk", "paper")
ERRORS = {"pretrained": 0.5, "sisdr": 0.45, "ae_whisper": 0.25}  # share of words per system
STUDY = """variant,measure,unit,set,recogniser,seed,value,low,high
fixed,cpWER,%,dev,whisper_base,,41.0,38.2,44.1
cosine,cpWER,%,dev,whisper_base,1,39.5,,
cosine,cpWER,%,dev,whisper_base,2,40.5,,
fixed,cpWER,%,dev,ctc,,102.0,99.0,105.5
cosine,cpWER,%,dev,ctc,,47.0,44.0,51.0
"""
STEPS = """variant,measure,unit,set,x,x_label,value,low,high
2e-7,SI-SDR,dB,dev,0,steps,4.6,4.2,5.0
2e-7,SI-SDR,dB,dev,100,steps,4.7,4.3,5.1
1e-4,SI-SDR,dB,dev,0,steps,4.6,4.2,5.0
1e-4,SI-SDR,dB,dev,100,steps,3.9,3.4,4.3
"""


@dataclass(frozen=True)
class SmallRun:
    """Where the parts of the run are."""

    data: Path
    exp: Path
    results: Path
    studies: Path


def tone(speaker: int, sentence: str, rng: np.random.Generator) -> np.ndarray:
    """A stand-in for speech: a buzz in syllables, whose pitch tells the speaker."""
    time = np.arange(round(0.25 * FS * len(sentence.split()))) / FS
    buzz = sum(np.sin(2 * np.pi * (110 + 70 * speaker) * k * time) / k for k in range(1, 9))
    gate = np.clip(np.sin(2 * np.pi * 4 * time + rng.uniform(0, 6)), 0, 1)
    return (0.08 * buzz * gate).astype(np.float32)


def garbled(text: str, share: float, rng: np.random.Generator) -> str:
    """A text with that share of its words replaced, left out or followed by another."""
    words = []
    for word in text.split():
        fate = rng.choice(["keep", "replace", "drop", "add"], p=[1 - share, *[share / 3] * 3])
        other = str(rng.choice(WRONG))
        words += {"keep": [word], "replace": [other], "drop": [], "add": [word, other]}[fate]
    return " ".join(words)


def make_run(
    folder: Path,
    names: Sequence[str] = ("m1", "m2", "m3", "m4"),
    *,
    texts: Sequence[str] = SENTENCES,
    speak: Callable[[int, str, np.random.Generator], np.ndarray] = tone,
    fs: int = FS,
    seeds: Sequence[int] = (1, 2),
    primary: Sequence[tuple[str, str]] = (("ae_whisper", "ctc"),),
) -> SmallRun:
    """Write all that a page can be made from."""
    rng = np.random.default_rng(7)
    wav, exp = folder / "wav", folder / "exp"

    def write(name: str, samples: np.ndarray) -> Path:
        write_audio(wav / f"{name}.wav", samples.astype(np.float32), fs)
        return wav / f"{name}.wav"

    mixtures, sources = [], {}
    for number, name in enumerate(sorted(names)):
        said = tuple(texts[(2 * number + s) % len(texts)] for s in range(2))
        spoken = [speak(s, text, rng) for s, text in enumerate(said)]
        length = max(map(len, spoken))
        sources[name] = np.stack([np.pad(s, (0, length - len(s))) for s in spoken])
        noise = 0.01 * rng.standard_normal(length)
        mixtures.append(
            Mixture(
                name,
                write(f"mix{number}", sources[name].sum(0) + noise),
                tuple(write(f"mix{number}_{s}", x) for s, x in enumerate(sources[name], 1)),
                None,
                said,
                ("fa", "mb"),
                length / fs,
            )
        )
    data = MixtureDir(
        folder / "data", Info("made-up", fs, "max", "noisy", "anechoic"), tuple(mixtures)
    )
    data.write()

    systems = [SystemInfo("mixture", "mixture"), SystemInfo("clean", "clean")]
    systems.append(SystemInfo("pretrained", "pretrained", steps=400))
    encoder = ("tiny", "whisper", "tiny")
    systems += [SystemInfo("sisdr", f"sisdr/seed{n}", seed=n, steps=100) for n in seeds]
    systems += [SystemInfo("ae_whisper", f"ae_whisper/seed{n}", *encoder, n, 100) for n in seeds]
    utterances, measures = [], []
    for system in systems:
        share = ERRORS.get(system.name, 0.0)
        if share:
            for s in range(2):
                table = {}
                for number, mixture in enumerate(mixtures):
                    own, other = sources[mixture.id][[s, 1 - s]]
                    label = f"{system.folder.replace('/', '_')}_{number}_{s}"
                    table[mixture.id] = str(write(label, own + share * other))
                write_table(exp / "separate" / system.folder / f"spk{s + 1}.scp", table)
        read: dict[str, list[str]] = {}
        for recogniser in RECOGNISERS:
            for mixture in mixtures:
                said = mixture.texts or ()
                if system.name == "mixture":
                    read[mixture.id] = [garbled(said[0], 0.4, rng)]
                else:  # the streams are in the other order
                    read[mixture.id] = [garbled(text, share, rng) for text in said][
                        :: -1 if share else 1
                    ]
                heard = [normalise(text) for text in read[mixture.id]]
                references = [normalise(text) for text in said]
                cp = cpwer(references, heard * (2 if system.name == "mixture" else 1))
                orc = orcwer(references, heard).errors
                key = (system.name, system.seed, recogniser.name, mixture.id)
                si_sdri = math.nan if system.name == "clean" else 7.0 - share + (system.seed or 0)
                utterances.append(UtteranceRow(*key, cp.words, cp.errors, orc, 5.0, si_sdri))
            for stream in range(len(read[mixture.id])):
                write_table(
                    exp / "decode" / system.folder / recogniser.name / f"text_spk{stream + 1}",
                    {key: streams[stream] for key, streams in read.items()},
                    empty_values=True,
                )
        for mixture in mixtures:
            values = (*rng.normal(5, 9, 2), *rng.normal(2, 0.2, 3), 6 + rng.normal(0, 20))
            measures.append(MeasureRow(system.name, system.seed, mixture.id, *values))
        if "/" in system.folder:
            log = ["epoch,step,train/loss,valid/loss,valid/si_sdri,lr-Adam"]
            log += [f"0,{n * 10 + 9},{2 / (n + 1) + 0.1 * rng.normal()},,," for n in range(10)]
            log += [f"0,{n * 25 + 24},,{1 / (n + 1)},{7 - 1 / (n + 1)}," for n in range(4)]
            place = exp / "finetune" / system.folder / "csv/from_step_0/metrics.csv"
            write_text(place, "\n".join(log) + "\n")

    results = folder / "results"
    scores = Scores(tuple(utterances), tuple(measures), ())
    scores.write(results)
    note = "All of this is made up."
    run = Run(
        *("made_up", "abc1234", "feed", "2026-11-01"),
        *(tuple(seeds), fs, "max", "anechoic", len(mixtures), 2, (note,)),
        versions={"torch": "2.0"},
    )
    summarise(
        scores, systems, RECOGNISERS, run, control="sisdr", primary=set(primary), draws=200
    ).write(results / "results.json")
    write_text(folder / "studies/learning_rate.csv", STUDY)
    write_text(folder / "studies/steps.csv", STEPS)
    return SmallRun(folder / "data", exp, results, folder / "studies")
