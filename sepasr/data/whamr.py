"""Stage 1 for WHAMR, and for any corpus that is laid out as WHAMR and WSJ0 are."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from sepasr.data.datadir import Info, Mixture, MixtureDir, NoiseDir, RoomDir, UtteranceDir
from sepasr.data.mixtures import Spoken, noises_of, read_mixtures
from sepasr.data.utterances import read_noise, read_rirs, read_utterances
from sepasr.data.whamr_audio import Heard, hear_mixtures
from sepasr.data.whamr_tree import (
    COUNTS,
    Whamr,
    check_tree,
    is_noisy,
    is_reverberant,
    utterances_of,
)
from sepasr.data.wsj0 import Wsj0, speaker_of
from sepasr.errors import UserError

SPOKEN_PUNCTUATION = "o"
"""Fourth character (the style) of utterances whose punctuation is spoken ("verbalised")."""
STYLES = ("nvp", "vp")
"""Subsets of mixtures: with verbalised punctuation in no utterance, and in every one."""
DIRECTORIES = (
    *("tr", "cv", "tt", *(f"tt_{style}" for style in STYLES)),
    *("tr_utterances", "cv_utterances", "tr_noise", "tr_rooms"),
)
"""All that stage 1 can write."""
HEARD = 20
"""How many mixtures of each set are heard."""
WSJ0_FS = WHAM_FS = 16000
TRAINING_SUBSET = "si_tr_s"
"""The subset of WSJ0 that the sets tr and cv are made of."""


def read_sets(
    whamr: Whamr,
    wsj0: Wsj0 | None,
    out: str | Path,
    sets: Iterable[str] = tuple(COUNTS),
    *,
    allow_partial: bool = False,
    text: bool = True,
    styles: Sequence[str] = (),
    corpus: str = "whamr",
    jobs: int = 1,
    cluster: Path | None = None,
) -> list[MixtureDir]:
    """The data directory of each set, not yet written.

    The header of every file is read, and a few mixtures of each set are heard: see
    :mod:`sepasr.data.whamr_audio`.

    Args:
        whamr: where it is, and which version.
        wsj0: has the transcripts, and the audio if that is to be compared.
        out: the directories are in this folder, each named after its set.
        sets: of "tr", "cv", "tt".
        allow_partial: accept fewer mixtures than the complete corpus has.
        text: give the references their transcripts, which match the audio only if it isn't cut.
        styles: of :data:`STYLES`: subsets of tt, each in a directory `tt_STYLE` of its own. One
            without any mixture is left out.
        corpus: name of the corpus.
        jobs: processes.
        cluster: see :func:`sepasr.parallel.parallel_map`.

    Returns:
        The directories, in the order of ``sets``, then of ``styles``.

    Raises:
        UserError: see :func:`sepasr.data.whamr_tree.check_tree`; a transcript is missing; a file is
            truncated, of another rate, or of another length than its mixture; what is heard is not
            what it should be; text is asked for with cut "min".
    """
    if text and whamr.cut == "min":
        what = "transcripts do not match sources that are cut to the shorter one"
        raise UserError(what, where="cut min", remedy="use cut max, or do without text")
    if text and wsj0 is None:
        what = "transcripts are asked for without the folder of WSJ0"
        raise UserError(what, remedy="give it, or do without text")
    for style in styles:
        if style not in STYLES:
            raise UserError(f"unknown style '{style}'", remedy=f"there are {', '.join(STYLES)}")

    names = check_tree(whamr, sets, allow_partial=allow_partial)
    texts = None
    if text and wsj0 is not None:
        said = {u for subset in names.values() for name in subset for u in whamr.utterances(name)}
        texts = wsj0.transcripts(said)
    directories = []
    for subset, found in names.items():
        spoken = {
            name: Spoken(
                tuple(speaker_of(u) for u in whamr.utterances(name)),
                tuple(texts[u] for u in whamr.utterances(name)) if texts else None,
            )
            for name in found
        }
        folders = whamr.folders(subset)
        mixtures = read_mixtures(folders, spoken, whamr.fs, jobs=jobs, cluster=cluster)
        directories.append(MixtureDir(Path(out, subset), whamr.info(corpus), mixtures))
    _hear(whamr, wsj0, directories, jobs, cluster)
    return directories + [
        MixtureDir(Path(out, f"tt_{style}"), directory.info, chosen)
        for directory in directories
        for style in styles
        if directory.path.name == "tt" and (chosen := of_style(whamr, directory.mixtures, style))
    ]


def of_style(whamr: Whamr, mixtures: Iterable[Mixture], style: str) -> tuple[Mixture, ...]:
    """The mixtures of a style of :data:`STYLES`, by the utterances that are heard in them."""
    return tuple(
        mixture
        for mixture in mixtures
        if {u[3] == SPOKEN_PUNCTUATION for u in whamr.utterances(mixture.id)} == {style == "vp"}
    )


def _hear(
    whamr: Whamr,
    wsj0: Wsj0 | None,
    directories: Sequence[MixtureDir],
    jobs: int,
    cluster: Path | None,
) -> None:
    """Hear a few mixtures of each set, and say how well separated they already are."""
    few = {
        directory.path.name: directory.mixtures[:: max(1, len(directory.mixtures) // HEARD)][:HEARD]
        for directory in directories
    }
    said = {u for mixtures in few.values() for m in mixtures for u in whamr.utterances(m.id)}
    audio = wsj0.audio(said) if wsj0 is not None else {}
    for subset, mixtures in few.items():
        items = [
            Heard(m, whamr.condition, whamr.cut, tuple(map(audio.get, whamr.utterances(m.id))))
            for m in mixtures
        ]
        level_db = hear_mixtures(items, whamr.fs, jobs=jobs, cluster=cluster)
        missing = sum(original is None for item in items for original in item.originals)
        print(
            f"{subset}: mixtures have an SI-SDR of {level_db:.1f} dB, from which SI-SDRi counts "
            f"({len(items)} heard{f', {missing} utterances not in WSJ0' if missing else ''})",
            file=sys.stderr,
        )


def check_material(
    condition: str,
    sets: Collection[str],
    *,
    noise: str | Path | None = None,
    rirs: str | Path | None = None,
) -> None:
    """Check that training can hear what mixtures of a condition have; see :func:`read_material`.

    Raises:
        UserError: they have noise, and there is neither a set tr to take it from nor ``noise``; or
            they are reverberant, and there are no ``rirs``.
    """
    if is_noisy(condition) and "tr" not in sets and noise is None:
        what = f"mixtures of {condition} have noise, and there is none to train with"
        remedy = "name the set tr, whose noise it is, or a folder of noise with --noise"
        raise UserError(what, where=f"sets {' '.join(sets)}", remedy=remedy)
    if is_reverberant(condition) and rirs is None:
        what = f"mixtures of {condition} are reverberant, and there are no rooms to train in"
        raise UserError(what, remedy="name a folder of impulse responses with --rirs")


def read_material(
    directories: Sequence[MixtureDir],
    wsj0: Wsj0,
    out: str | Path,
    *,
    noise: str | Path | None = None,
    rirs: str | Path | None = None,
    jobs: int = 1,
    cluster: Path | None = None,
) -> list[UtteranceDir | NoiseDir | RoomDir]:
    """The data directories of what training mixes itself, not yet written.

    `tr_utterances` are the utterances that the set tr is made of; without this set, all of WSJ0's
    si_tr_s. None that is heard in cv or tt is among them, and no speaker of tt. They are WSJ0's own
    files, at 16 kHz whatever the rate of the mixtures. `cv_utterances` are those that cv is made
    of. `tr_noise` is the noise of tr, and `tr_rooms` what is in ``rirs``. Training hears what the
    mixtures' condition has: without reverberation there are no rooms, and in `clean` no noise. What
    the condition has must be there.

    Args:
        directories: of the sets, as :func:`read_sets` gives them.
        wsj0: has the audio and the transcripts.
        out: the directories are in this folder.
        noise: a folder of noise, where there is no tr: WHAM's, at 16 kHz whatever the rate of the
            mixtures.
        rirs: a folder of impulse responses, at the rate of the mixtures; needed where they are
            reverberant.
        jobs: processes.
        cluster: see :func:`sepasr.parallel.parallel_map`.

    Raises:
        UserError: an utterance of tr or cv is not in WSJ0; a file is missing, truncated, or of
            another rate; there is no noise or room where mixtures of the condition have them.
    """
    sets = {directory.path.name: directory for directory in directories}
    info = directories[0].info
    condition = info.condition or ""
    check_material(condition, sets, noise=noise, rirs=rirs)
    heard = {
        name: {u for mixture in directory.mixtures for u in utterances_of(mixture.id)}
        for name, directory in sets.items()
    }
    files = wsj0.utterances(TRAINING_SUBSET)
    training = heard.get("tr", files.keys()) - heard.get("cv", set()) - heard.get("tt", set())
    strangers = {speaker_of(utterance) for utterance in heard.get("tt", ())}
    chosen = {"tr": {u for u in training if speaker_of(u) not in strangers}}
    if "cv" in heard:
        chosen["cv"] = heard["cv"]

    if not chosen["tr"]:
        what = f"no utterance of {TRAINING_SUBSET} is left: all are heard in cv or tt"
        raise UserError(what, where=wsj0.folder, remedy="check the sets of WHAMR")
    for name, utterances in chosen.items():
        missing = sorted(utterances - files.keys())
        if missing:
            what = f"no audio of '{missing[0]}', which is heard in {name} ({len(missing)} like it)"
            where = f"{wsj0.folder}/**/{TRAINING_SUBSET}/**"
            raise UserError(what, where=where, remedy="give a folder above all WSJ0 discs")

    material: list[UtteranceDir | NoiseDir | RoomDir] = []
    recorded = {u: files[u] for utterances in chosen.values() for u in utterances}
    read = read_utterances(wsj0, recorded, WSJ0_FS, jobs=jobs, cluster=cluster)
    for name, utterances in chosen.items():
        path = Path(out, f"{name}_utterances")
        spoken = tuple(u for u in read if u.id in utterances)
        material.append(UtteranceDir(path, Info(info.corpus, WSJ0_FS), spoken))
    if is_noisy(condition) and "tr" in sets:
        noises = noises_of(sets["tr"].mixtures)
        material.append(NoiseDir(Path(out, "tr_noise"), Info(info.corpus, info.fs), noises))
    elif is_noisy(condition) and noise is not None:
        path = Path(out, "tr_noise")
        material.append(
            read_noise(noise, path, WHAM_FS, corpus=info.corpus, jobs=jobs, cluster=cluster)
        )
    if rirs is not None and is_reverberant(condition):
        path = Path(out, "tr_rooms")
        material.append(
            read_rirs(rirs, path, info.fs, corpus=info.corpus, jobs=jobs, cluster=cluster)
        )
    return material
