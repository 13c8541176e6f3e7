"""Stage 1 for LibriMix: Libri2Mix, Libri3Mix, and LibriSpeech, of which they are made.

A tree is laid out as LibriMix's generator (:data:`GENERATOR`) writes it::

    Libri2Mix/wav16k/max/train-100/{s1,s2,noise,mix_clean,mix_both,mix_single}/<name>.wav
    Libri2Mix/wav16k/max/metadata/mixture_train-100_mix_both.csv

and so for Libri3Mix, `wav8k`, `min`, `train-360`, `dev` and `test`. A mixture's name joins its
utterances of LibriSpeech by `_`. The metadata give names and lengths; their absolute paths are
those of the machine that made the corpus, and are not used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sepasr.data import librispeech as speech
from sepasr.data.datadir import (
    Info,
    Mixture,
    MixtureDir,
    NoiseDir,
    UtteranceDir,
    write_directories,
)
from sepasr.data.librispeech import speaker_of
from sepasr.data.mixtures import (
    Spoken,
    check_complete,
    check_few,
    check_names,
    check_version,
    few_of,
    noises_of,
    read_mixtures,
    subfolder,
)
from sepasr.data.rows import read_rows
from sepasr.errors import UserError

GENERATOR = "https://github.com/JorisCos/LibriMix"
COUNTS = {
    2: {"train-100": 13_900, "train-360": 50_800, "dev": 3_000, "test": 3_000},
    3: {"train-100": 9_300, "train-360": 33_900, "dev": 3_000, "test": 3_000},
}
"""Mixtures of each complete subset, by number of speakers."""
SUBSETS = {
    "train-100": "train-clean-100",
    "train-360": "train-clean-360",
    "dev": "dev-clean",
    "test": "test-clean",
}
"""The subset of LibriSpeech that each is made of."""
CONDITIONS = ("mix_both", "mix_clean", "mix_single")
REFERENCE = "anechoic"
"""What LibriMix's references are called: no room is added, s1, s2, ... are the recordings."""
DIRECTORIES = ("tr", "cv", "tt", "tr_noise", "tr_utterances", "cv_utterances")
UTTERANCE = r"\d+-\d+-\d+"
"""The name of one of LibriSpeech: speaker, chapter, number."""


@dataclass(frozen=True)
class LibriMix:
    """One of the versions in which LibriMix can lie on disk.

    Attributes:
        folder: what holds Libri2Mix and Libri3Mix, or one of these itself.
        num_speakers: 2 or 3.
        fs: sampling rate in Hz: 16000 or 8000.
        cut: "max" or "min".
        condition: "mix_both", "mix_clean" (without noise) or "mix_single" (the first speaker and
            noise).
        reference: :data:`REFERENCE`.

    Raises:
        UserError: there is no such version of LibriMix.
    """

    folder: Path
    num_speakers: int = 2
    fs: int = 16000
    cut: str = "max"
    condition: str = "mix_both"
    reference: str = REFERENCE

    def __post_init__(self) -> None:
        check_version(
            "LibriMix",
            num_speakers=(self.num_speakers, tuple(COUNTS)),
            fs=(self.fs, (16000, 8000)),
            cut=(self.cut, ("max", "min")),
            condition=(self.condition, CONDITIONS),
            reference=(self.reference, (REFERENCE,)),
        )

    @property
    def references(self) -> int:
        """Speakers in each mixture: one in mix_single."""
        return 1 if self.condition == "mix_single" else self.num_speakers

    @property
    def noisy(self) -> bool:
        """Whether there is noise in the mixtures."""
        return self.condition != "mix_clean"

    @property
    def top(self) -> Path:
        """The folder of the subsets, such as `Libri2Mix/wav16k/max`.

        Raises:
            UserError: it isn't there.
        """
        name, rates = f"Libri{self.num_speakers}Mix", ("wav16k", "wav8k")
        given = self.folder.absolute()
        found = next(
            (f for f in (given / name, given) if any((f / r).is_dir() for r in rates)), None
        )
        remedy = f"make it with {GENERATOR}, and give the folder that holds {name}"
        if found is None:
            raise UserError("no such folder", where=given / name, remedy=remedy)
        return subfolder(subfolder(found, f"wav{self.fs // 1000}k", remedy), self.cut, remedy)

    def folders(self, subset: str) -> dict[str, Path]:
        """The folder that each scp of a data directory lists.

        Raises:
            UserError: one isn't there.
        """
        remedy = f"make it with {GENERATOR}"
        folder = subfolder(self.top, subset, remedy)
        names = {"wav.scp": self.condition}
        names |= {f"spk{s}.scp": f"s{s}" for s in range(1, self.references + 1)}
        names |= {"noise1.scp": "noise"} if self.noisy else {}
        return {scp: subfolder(folder, name, remedy) for scp, name in names.items()}

    def metadata(self, subset: str) -> Path:
        """The table of the mixtures of a subset."""
        return self.top / "metadata" / f"mixture_{subset}_{self.condition}.csv"

    def utterances(self, name: str) -> list[str]:
        """The utterances that are heard in a mixture, by its name."""
        return name.split("_")[: self.references]


def prepare_librimix(
    librimix: LibriMix,
    librispeech: str | Path,
    out: str | Path,
    *,
    train: str = "train-100",
    allow_partial: bool = False,
    few: Mapping[str, int] = MappingProxyType({}),
    corpus: str = "librimix",
    jobs: int = 1,
    cluster: Path | None = None,
) -> None:
    """Write all data directories of LibriMix: every one, or none if anything is wrong.

    Written are the mixtures of ``tr``, ``cv`` (dev) and ``tt`` (test); for dynamic mixing
    ``tr_utterances`` (the training subset of LibriSpeech, with the speakers' genders) and, for a
    noisy condition, ``tr_noise`` (that of the training mixtures); and ``cv_utterances``. Mixtures
    have texts where they are not cut (``max``). Utterances are LibriSpeech's own files, at 16 kHz
    whatever the rate of the mixtures. The header of every file is read.

    Args:
        librimix: where it is, and which version.
        librispeech: the folder LibriSpeech, or the one that holds it.
        out: the data directories are made in this folder.
        train: "train-100" or "train-360".
        allow_partial: accept fewer mixtures and utterances than the complete corpora have.
        few: as for :func:`sepasr.data.mixtures.few_of`.
        corpus: name of the corpus.
        jobs: as for :func:`sepasr.data.header.read_headers`.
        cluster: likewise.

    Raises:
        UserError: see :func:`check_tree`; or a file is missing, truncated, of another rate or of
            another length than its mixture or the metadata say; a transcript is missing.
    """
    out, sets = Path(out), {"tr": train, "cv": "dev", "tt": "test"}
    check_few(few, sets)
    lengths = check_tree(librimix, librispeech, train=train, allow_partial=allow_partial)
    folders = {subset: speech.find_subset(librispeech, SUBSETS[subset]) for subset in lengths}
    texts = {subset: speech.read_transcripts(folder) for subset, folder in folders.items()}
    spoken = {
        subset: _spoken(librimix, lengths[subset], texts[subset], folders[subset])
        for subset in lengths
    }
    info = Info(corpus, librimix.fs, librimix.cut, librimix.condition, librimix.reference)
    listed: list[MixtureDir] = []
    directories: list[NoiseDir | UtteranceDir] = []
    for name, subset in sets.items():
        mixtures = read_mixtures(
            librimix.folders(subset), spoken[subset], librimix.fs, jobs=jobs, cluster=cluster
        )
        _check_lengths(librimix, subset, mixtures, lengths[subset])
        listed.append(MixtureDir(out / name, info, mixtures))
        if name == "tr" and librimix.noisy:
            noise_info = Info(corpus, librimix.fs)
            directories.append(NoiseDir(out / "tr_noise", noise_info, noises_of(mixtures)))
        if name != "tt":
            directories.append(
                speech.read_utterances(
                    librispeech,
                    SUBSETS[subset],
                    texts[subset],
                    out / f"{name}_utterances",
                    allow_partial=allow_partial,
                    corpus=corpus,
                    jobs=jobs,
                    cluster=cluster,
                )
            )
    write_directories([*few_of(listed, few), *directories], out, DIRECTORIES)


def check_tree(
    librimix: LibriMix,
    librispeech: str | Path,
    *,
    train: str = "train-100",
    allow_partial: bool = False,
) -> dict[str, dict[str, int]]:
    """Check that folders, metadata and files are there; no audio is opened.

    Returns:
        By subset (``train``, "dev" and "test") the samples of each mixture, by name.

    Raises:
        UserError: a folder, file or the metadata is missing; a table is malformed; the number of
            mixtures, or of utterances to train with, is not that of the complete corpus.
    """
    if train not in ("train-100", "train-360"):
        raise UserError(f"LibriMix has no '{train}'", remedy="it has train-100 and train-360")
    lengths = {}
    for subset in (train, "dev", "test"):
        speech.find_subset(librispeech, SUBSETS[subset])
        folders, metadata = librimix.folders(subset), librimix.metadata(subset)
        names = _read_lengths(librimix, metadata)
        for folder in folders.values():
            check_names(folder, names, metadata)
        expected = COUNTS[librimix.num_speakers][subset]
        check_complete(len(names), expected, metadata, allow_partial=allow_partial)
        lengths[subset] = names
    for subset in (train, "dev"):
        folder = speech.find_subset(librispeech, SUBSETS[subset])
        speech.list_audio(folder, allow_partial=allow_partial)
        speech.read_genders(folder.parent / "SPEAKERS.TXT")
    return lengths


def _read_lengths(librimix: LibriMix, metadata: Path) -> dict[str, int]:
    """The samples of each mixture, by name."""
    if not metadata.is_file():
        remedy = (
            "LibriMix's generator writes it last, and skips folders that are there: remove the "
            "folder of this subset, and run it again"
        )
        raise UserError("no such file", where=metadata, remedy=remedy)
    sources = [f"source_{s}_path" for s in range(1, librimix.references + 1)]
    form = re.compile("_".join([UTTERANCE] * librimix.num_speakers))
    lengths = {}
    for name, row in read_rows(metadata, ["mixture_ID", "length", *sources]).items():
        surplus = f"source_{len(sources) + 1}_path"
        if surplus in row.values:
            raise row.problem(f"a '{surplus}' where mixtures of {len(sources)} are expected")
        if not form.fullmatch(name):
            raise row.problem(f"'{name}' is not {librimix.num_speakers} utterances joined by '_'")
        length = row.number("length")
        if length < 1 or not length.is_integer():
            raise row.problem(f"the length '{row['length']}' is not a number of samples")
        lengths[name] = int(length)
    return lengths


def _spoken(
    librimix: LibriMix, names: Mapping[str, int], texts: Mapping[str, str], folder: Path
) -> dict[str, Spoken]:
    spoken = {}
    for name in names:
        utterances = librimix.utterances(name)
        said = speech.texts_of(utterances, texts, folder) if librimix.cut == "max" else None
        spoken[name] = Spoken(tuple(map(speaker_of, utterances)), said)
    return spoken


def _check_lengths(
    librimix: LibriMix, subset: str, mixtures: tuple[Mixture, ...], lengths: Mapping[str, int]
) -> None:
    for mixture in mixtures:
        samples = round(mixture.duration_s * librimix.fs)
        if samples != lengths[mixture.id]:
            metadata = librimix.metadata(subset)
            what = f"{samples} samples where {metadata} has {lengths[mixture.id]}"
            raise UserError(what, where=mixture.mixture, remedy="make the subset again")
