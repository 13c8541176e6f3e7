"""The embedded corpus on disk, in the layouts of WSJ0, WHAM and WHAMR.

Everything is a function of the seed, the set and the number of an item in it. A larger set holds
a smaller one, and neither the number of processes nor an interruption changes a sample.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from sepasr.data.audio import read_mono, write_audio
from sepasr.data.scp import write_table
from sepasr.errors import UserError
from sepasr.files import claim, write_text
from sepasr.simulate import text, voices
from sepasr.simulate.listing import Spoken, spoken_in, write_dots, write_metadata
from sepasr.simulate.mixture import (
    MixturePlan,
    Signals,
    draw_plan,
    render,
    too_similar,
    utterance_id,
)
from sepasr.simulate.noise import KINDS, draw_noise
from sepasr.simulate.rooms import ROOM_M, can_decay, draw_room, impulse_responses
from sepasr.simulate.tasks import Task, make_missing, making, prune, refuse_to_shrink
from sepasr.simulate.voices import FS, Speaker, speak

POSITIONS = 4
"""Source positions in each room of the training bank."""

_FOLDERS = ("wsj0", "wham_noise", "rirs", "whamr/wav16k")
"""What the corpus consists of."""


@dataclass(frozen=True)
class CorpusConfig:
    """What the embedded corpus is made of.

    Args:
        seed: of everything.
        num_train_hibari: training utterances by the woman's natural voice.
        num_train_joe: training utterances by the man's natural voice.
        num_train_espeak: training utterances by artificial voices.
        num_dev: mixtures of the set cv.
        num_test: mixtures of the set tt.
        num_rooms: rooms for training, each with four source positions.
        num_noises_train: noise files for training.
        num_noises: noise files for cv, and as many others for tt.
        rt60_s: range of the nominal reverberation time, in seconds.
        snr_db: range of the louder reverberant speaker against the noise, in dB.
        gain_db: one speaker is louder by up to this, the other softer by the same, in dB.
    """

    seed: int = 0
    num_train_hibari: int = 1700
    num_train_joe: int = 900
    num_train_espeak: int = 500
    num_dev: int = 32
    num_test: int = 24
    num_rooms: int = 250
    num_noises_train: int = 60
    num_noises: int = 15
    rt60_s: tuple[float, float] = (0.1, 0.4)
    snr_db: tuple[float, float] = (8.0, 20.0)
    gain_db: float = 2.5


@dataclass(frozen=True)
class MixtureSet:
    """Mixtures to be made, for cv or tt.

    Attributes:
        set: cv or tt, whose noise is heard.
        tag: seeds what is drawn, as no other set's.
        sentences: which sentences are said.
        wsj0: the set of WSJ0 that utterances stand in.
        speakers: who speaks.
        num_speakers: in each mixture.
    """

    set: str
    tag: int
    sentences: text.Part
    wsj0: str
    speakers: tuple[Speaker, ...]
    num_speakers: int = 2

    def plans(self, config: CorpusConfig, most: int | None = None) -> list[MixturePlan]:
        """Draw the mixtures, as many as ``config`` has in cv or tt, up to ``most``."""
        count = config.num_dev if self.set == "cv" else config.num_test
        return [
            draw_plan(
                np.random.default_rng([config.seed, self.tag, index]),
                index,
                part=self.sentences,
                speakers=self.speakers,
                rt60_s=config.rt60_s,
                snr_db=config.snr_db,
                gain_db=config.gain_db,
                num_noises=config.num_noises,
                num_speakers=self.num_speakers,
            )
            for index in range(count if most is None else min(count, most))
        ]


_SETS = {
    "cv": MixtureSet("cv", 1, "dev", "si_dt_05", voices.DEV),
    "tt": MixtureSet("tt", 2, "test", "si_et_05", voices.TEST),
}
_ENGINE_TAGS: dict[voices.Engine, int] = {"hibari": 10, "joe": 11, "espeak": 12}
_NOISE_TAGS = {"tr": 20, "cv": 21, "tt": 22}
_ROOM_TAG = 30
_SIZES = {
    *("num_train_hibari", "num_train_joe", "num_train_espeak", "num_dev", "num_test"),
    *("num_rooms", "num_noises_train"),
}


def build_corpus(
    config: CorpusConfig, out: Path, *, jobs: int = 1, cluster: Path | None = None
) -> None:
    """Make the corpus, or what is missing of it, and remove what a killed run has left.

    Args:
        config: what it is made of.
        out: its directory; may hold a smaller corpus, or part of one.
        jobs: as for :func:`sepasr.parallel.parallel_map`.
        cluster: likewise.

    Raises:
        UserError: the directory holds a corpus made with another seed or other conditions, a
            larger one, or one that isn't made here; another run is making it; or a value of
            ``config`` makes no sense.
    """
    _check(config)
    _claim(config, out)
    with making(out):
        _build(config, out, jobs, cluster)


def _build(config: CorpusConfig, out: Path, jobs: int, cluster: Path | None) -> None:
    training = list(_training_sentences(config))
    plans = {name: chosen.plans(config) for name, chosen in _SETS.items()}
    first = [*_speech(config, out, training), *_noises(config, out), *_rooms(config, out)]
    second = [_mixture(config, out, s, plan) for s in plans for plan in plans[s]]
    folders = [out / name for name in _FOLDERS]
    files = {file for task in (*first, *second) for file in task.files}
    refuse_to_shrink(folders, files, sizes(config))
    # Mixtures come second because they read the noise files.
    for tasks, description in ((first, "speech, noise and rooms"), (second, "mixtures")):
        make_missing(tasks, description, jobs=jobs, cluster=cluster)
    sentences = [
        *training,
        *(said for name in plans for said in spoken_in(plans[name], _SETS[name].wsj0)),
    ]
    dots = write_dots(sentences, out / "wsj0" / "transcrp" / "dots")
    for name, drawn in plans.items():
        write_metadata(name, drawn, _SETS[name].wsj0, out / "whamr" / "metadata")
    training_speakers = [speaker for engine in voices.TRAIN.values() for speaker in engine]
    write_table(out / "similar_speakers", similar_speakers(training_speakers))
    write_table(out / "speaker_genders", speaker_genders())
    write_text(out / "grammar.jsgf", text.jsgf())
    prune(folders, {*dots, *files})


def sizes(config: CorpusConfig) -> str:
    """How large the parts of a corpus are, in words."""
    return " ".join(f"{name}={getattr(config, name)}" for name in sorted(_SIZES))


def similar_speakers(speakers: Sequence[Speaker]) -> dict[str, str]:
    """For each speaker those whom no mixture should set against them."""
    alike = {a.id: [b.id for b in speakers if b != a and too_similar(a, b)] for a in speakers}
    return {a: " ".join(others) for a, others in alike.items() if others}


def speaker_genders() -> dict[str, str]:
    """``f`` or ``m`` for each speaker of the corpus."""
    training = [speaker for engine in voices.TRAIN.values() for speaker in engine]
    return {speaker.id: speaker.gender for speaker in (*training, *voices.DEV, *voices.TEST)}


def _check(config: CorpusConfig) -> None:
    for field in fields(config):
        value = getattr(config, field.name)
        least = 1 if field.name in ("num_noises", "num_noises_train") else 0
        if isinstance(value, int) and value < least:
            raise UserError(f"{value} is less than {least}", where=field.name)
        if not isinstance(value, int | float) and value[0] > value[1]:
            raise UserError("the range ends before it begins", where=field.name)
    low, high = config.rt60_s
    if low <= 0:
        raise UserError(f"{low} s is not above 0", where="rt60_s")
    if not can_decay([shortest for shortest, _ in ROOM_M], high):
        what = f"in no room does sound decay within {high} s, not even in the smallest"
        raise UserError(what, where="rt60_s", remedy="allow longer times")


def _claim(config: CorpusConfig, out: Path) -> None:
    conditions = {k: v for k, v in asdict(config).items() if k not in _SIZES}
    # Another grammar would give the utterances that are there another transcript.
    conditions["grammar_crc32"] = zlib.crc32(text.jsgf().encode())
    content = yaml.safe_dump({k: v if np.isscalar(v) else list(v) for k, v in conditions.items()})
    path = out / "conditions.yaml"
    for folder in (out / name for name in _FOLDERS):
        # The real corpora have these names.
        if not path.exists() and folder.exists() and any(folder.iterdir()):
            what = "not of a corpus that this command made: it would remove files there"
            raise UserError(what, where=folder, remedy="name another directory")
    claim(
        path,
        content,
        "the corpus here was made under other conditions",
        remedy=f"remove {out} or name another directory",
    )


def _training_sentences(config: CorpusConfig) -> Iterator[Spoken]:
    counts: dict[voices.Engine, int] = {
        "hibari": config.num_train_hibari,
        "joe": config.num_train_joe,
        "espeak": config.num_train_espeak,
    }
    for engine, speakers in voices.TRAIN.items():
        for index in range(counts[engine]):
            number, which = divmod(index, len(speakers))
            utterance = utterance_id(speakers[which], number)
            rng = np.random.default_rng([config.seed, _ENGINE_TAGS[engine], index])
            sentence = text.draw(rng, "train")
            yield Spoken("si_tr_s", speakers[which], utterance, sentence)


def _speech(config: CorpusConfig, out: Path, sentences: Iterable[Spoken]) -> Iterator[Task]:
    for said in sentences:
        yield Task((said.path(out),), partial(make_utterance, config.seed, said, out))


def make_utterance(seed: int, said: Spoken, out: Path) -> None:
    """Write what is said to its place in the corpus at ``out``."""
    # Utterance ids are unique in the corpus: as a number, one seeds what is drawn in speaking.
    number = int.from_bytes(said.utterance.encode(), "big")
    rng = np.random.default_rng([seed, number])
    write_audio(said.path(out), speak(said.speaker, said.sentence, rng), FS, "PCM_16")


def _noises(config: CorpusConfig, out: Path) -> Iterator[Task]:
    for split in _NOISE_TAGS:
        for index in range(config.num_noises_train if split == "tr" else config.num_noises):
            yield Task(
                (noise_path(out, split, index),),
                partial(_make_noise, config.seed, split, index, out),
            )


def noise_path(out: Path, split: str, index: int) -> Path:
    """A file of noise of the corpus at ``out``."""
    return out / "wham_noise" / split / f"{KINDS[index % len(KINDS)]}_{index:03d}.wav"


def _make_noise(seed: int, split: str, index: int, out: Path) -> None:
    rng = np.random.default_rng([seed, _NOISE_TAGS[split], index])
    samples = draw_noise(KINDS[index % len(KINDS)], split, rng)
    write_audio(noise_path(out, split, index), samples, FS, "PCM_16")


def _rooms(config: CorpusConfig, out: Path) -> Iterator[Task]:
    folder = out / "rirs" / "tr"
    yield from make_rooms(folder, config.num_rooms, (config.seed, _ROOM_TAG), config.rt60_s)


def make_rooms(
    folder: Path, count: int, seed: tuple[int, ...], rt60_s: tuple[float, float]
) -> Iterator[Task]:
    """The making of rooms of four source positions: two files of impulse responses for each."""
    for index in range(count):
        stem = folder / f"room{index:04d}"
        paths = Path(f"{stem}_reverb.wav"), Path(f"{stem}_anechoic.wav")
        yield Task(paths, partial(_make_rirs, (*seed, index), rt60_s, paths))


def _make_rirs(
    seed: tuple[int, ...], rt60_s: tuple[float, float], paths: tuple[Path, Path]
) -> None:
    rirs = impulse_responses(draw_room(np.random.default_rng(seed), rt60_s, POSITIONS))
    for path, rir in zip(paths, rirs, strict=True):
        write_audio(path, rir, FS)


def _mixture(config: CorpusConfig, out: Path, name: str, plan: MixturePlan) -> Task:
    root = out / "whamr" / "wav16k"
    signals = [
        root / cut / name / field.name / f"{plan.name}.wav"
        for cut in ("min", "max")
        for field in fields(Signals)
    ]
    speech = [said.path(out) for said in spoken_in([plan], _SETS[name].wsj0)]
    return Task((*speech, *signals), partial(_make_mixture, config.seed, name, plan, out))


def _make_mixture(seed: int, name: str, plan: MixturePlan, out: Path) -> None:
    said = spoken_in([plan], _SETS[name].wsj0)
    for one in said:
        make_utterance(seed, one, out)
    first, second = (read_mono(one.path(out), FS) for one in said)
    noise = read_mono(noise_path(out, name, plan.noise), FS)
    full, cut = render(plan, (first, second), noise)
    for folder, signals in (("min", cut), ("max", full)):
        for field in fields(Signals):
            path = out / "whamr" / "wav16k" / folder / name / field.name / f"{plan.name}.wav"
            write_audio(path, getattr(signals, field.name), FS)
