"""Sets that are made on request beside the corpus's own, of which they change no sample.

=========  ========================================================================================
3speakers  mixtures of three speakers for cv and tt
4speakers  of four
espeak     mixtures of two for tt, by artificial voices that nothing else in the corpus has
long       what long mixtures for cv and tt are made of: utterances, and rooms to say them in
=========  ========================================================================================

Mixtures lie in ``extra/NAME/SET/SIGNAL`` as WHAMR's do, with the tables ``utt2spk`` and
``text_spkN`` beside the folders of signals; what ``long`` holds lies in the layout of WSJ0 and of
the corpus's own rooms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from sepasr.data.audio import read_mono, write_audio
from sepasr.data.scp import write_table
from sepasr.errors import UserError
from sepasr.simulate import text, voices
from sepasr.simulate.corpus import (
    CorpusConfig,
    MixtureSet,
    make_rooms,
    make_utterance,
    noise_path,
    similar_speakers,
    sizes,
)
from sepasr.simulate.listing import Spoken, write_dots
from sepasr.simulate.mixture import MixturePlan, sound, utterance_id
from sepasr.simulate.tasks import Task, make_missing, making, prune, refuse_to_shrink
from sepasr.simulate.voices import FS, speak

FOLDER = "extra"
LONG = "long"
MOST = 100
"""Mixtures of a set, though of the corpus's own test set there may be more."""
LONG_UTTERANCES = 12
"""Utterances of each speaker to make long mixtures of."""
LONG_ROOMS = 20
"""Rooms of each set to say them in."""
_FIRST_LONG = 5000  # number of a speaker's first one: those of the corpus count from 0


def _both(tag: int, num_speakers: int = 2) -> tuple[MixtureSet, ...]:
    return (
        MixtureSet("cv", tag, "dev", "si_dt_05", voices.DEV, num_speakers),
        MixtureSet("tt", tag + 1, "test", "si_et_05", voices.TEST, num_speakers),
    )


EXTRA = {
    "3speakers": _both(40, 3),
    "4speakers": _both(42, 4),
    "espeak": (MixtureSet("tt", 44, "test", "si_et_05", voices.TEST_ESPEAK),),
    LONG: _both(46),
}
"""What can be asked for."""
_ROOM_TAGS = {"cv": 48, "tt": 49}


def build_extra_sets(
    config: CorpusConfig,
    names: Sequence[str],
    out: Path,
    *,
    jobs: int = 1,
    cluster: Path | None = None,
) -> None:
    """Make what is missing of some sets, and remove what a killed run has left.

    Args:
        config: what the corpus is made of; the sets have as many mixtures as its own, up to 100.
        names: of :data:`EXTRA`.
        out: directory of the corpus, which is complete.
        jobs: as for :func:`sepasr.parallel.parallel_map`.
        cluster: likewise.

    Raises:
        UserError: there is no such set, or a larger one; or another run is making the corpus.
    """
    for name in names:
        if name not in EXTRA:
            raise UserError(f"unknown extra set '{name}'", remedy=f"there are {', '.join(EXTRA)}")
    with making(out):
        _build(config, names, out, jobs, cluster)


def _build(
    config: CorpusConfig, names: Sequence[str], out: Path, jobs: int, cluster: Path | None
) -> None:
    tasks: list[Task] = []
    lists: list[Callable[[], set[Path]]] = []
    folders: list[Path] = []
    for name in names:
        folder = out / FOLDER / name
        if name == LONG:
            folders += [folder / "wsj0", folder / "rirs"]  # stage 1 mixes beside them
            tasks += [task for part in EXTRA[name] for task in _material(config, part, folder)]
            lists.append(partial(_list_speech, config, folder))
        else:
            folders.append(folder)
            for part in EXTRA[name]:
                plans = part.plans(config, MOST)
                if not plans:  # of a corpus without a dev set
                    continue
                lists.append(partial(_list_mixtures, plans, folder / part.set))
                tasks += [_mixture(config, part, *plan, out, folder) for plan in enumerate(plans)]
    files = {file for task in tasks for file in task.files}
    refuse_to_shrink(folders, files, sizes(config))
    tables = {table for write in lists for table in write()}
    make_missing(tasks, "extra sets", jobs=jobs, cluster=cluster)
    prune(folders, tables | files)


def _list_mixtures(plans: Sequence[MixturePlan], folder: Path) -> set[Path]:
    """Write who says what in each mixture."""
    tables = {"utt2spk": {p.name: "_".join(speaker.id for speaker in p.speakers) for p in plans}}
    for number in range(len(plans[0].speakers)):
        tables[f"text_spk{number + 1}"] = {p.name: p.sentences[number].upper() for p in plans}
    for name, table in tables.items():
        write_table(folder / name, table)
    return {folder / name for name in tables}


def _mixture(
    config: CorpusConfig, part: MixtureSet, index: int, plan: MixturePlan, out: Path, folder: Path
) -> Task:
    numbers = range(1, part.num_speakers + 1)
    signals = [f"s{number}_{room}" for number in numbers for room in ("anechoic", "reverb")]
    files = {
        signal: folder / part.set / signal / f"{plan.name}.wav"
        for signal in ("noise", "mix_both_reverb", *signals)
    }
    seed = (config.seed, part.tag, index)
    noise = noise_path(out, part.set, plan.noise)
    return Task(tuple(files.values()), partial(_make_mixture, seed, plan, noise, files))


def _make_mixture(
    seed: tuple[int, ...], plan: MixturePlan, noise: Path, files: dict[str, Path]
) -> None:
    said = zip(plan.speakers, plan.sentences, strict=True)
    # Numbers from 1: numpy takes a seed that ends in 0 for the one without it, the plan's.
    utterances = [
        speak(speaker, sentence, np.random.default_rng((*seed, source)))
        for source, (speaker, sentence) in enumerate(said, 1)
    ]
    for signal, samples in sound(plan, utterances, read_mono(noise, FS)).items():
        write_audio(files[signal], samples, FS)


def _spoken(config: CorpusConfig, part: MixtureSet) -> Iterator[Spoken]:
    """What each speaker says, to make long mixtures of."""
    for index in range(LONG_UTTERANCES * len(part.speakers)):
        number, which = divmod(index, len(part.speakers))
        speaker = part.speakers[which]
        sentence = text.draw(np.random.default_rng([config.seed, part.tag, index]), part.sentences)
        yield Spoken(part.wsj0, speaker, utterance_id(speaker, _FIRST_LONG + number), sentence)


def _list_speech(config: CorpusConfig, folder: Path) -> set[Path]:
    """Write transcripts, and who is too like whom to be set against them."""
    said = [spoken for part in EXTRA[LONG] for spoken in _spoken(config, part)]
    alike: dict[str, str] = {}
    for part in EXTRA[LONG]:
        alike |= similar_speakers(part.speakers)
    write_table(folder / "similar_speakers", alike)
    dots = write_dots(said, folder / "wsj0" / "transcrp" / "dots")
    return dots | {folder / "similar_speakers"}


def _material(config: CorpusConfig, part: MixtureSet, folder: Path) -> Iterator[Task]:
    for said in _spoken(config, part):
        yield Task((said.path(folder),), partial(make_utterance, config.seed, said, folder))
    seed = (config.seed, _ROOM_TAGS[part.set])
    yield from make_rooms(folder / "rirs" / part.set, LONG_ROOMS, seed, config.rt60_s)
