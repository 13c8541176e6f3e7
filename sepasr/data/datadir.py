"""Data directories as immutable records; sepasr.data.layout knows their files."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from sepasr.data.layout import (
    INFO,
    NOISE_FILES,
    ROOM_FILES,
    Info,
    mixture_files,
    read_files,
    speaker_files,
    utterance_files,
    write_files,
)
from sepasr.errors import UserError
from sepasr.files import sha256

__all__ = [
    "Info",
    "Mixture",
    "MixtureDir",
    "Noise",
    "NoiseDir",
    "Room",
    "RoomDir",
    "Utterance",
    "UtteranceDir",
    "fingerprint",
    "spread",
    "write_directories",
]

T = TypeVar("T")

HEARD = 8
"""Entries whose audio a fingerprint is of."""


@dataclass(frozen=True)
class Mixture:
    """A mixture of speakers and what it was made of.

    Attributes:
        id: its name.
        mixture: the audio to separate.
        references: one file per speaker, as long as the mixture.
        noise: the noise alone, as long as the mixture; None where there is none.
        texts: the words of each reference; None where there are none, as in cut sources.
        speakers: the speaker of each reference.
        duration_s: duration in seconds, to the microsecond.
    """

    id: str
    mixture: Path
    references: tuple[Path, ...]
    noise: Path | None
    texts: tuple[str, ...] | None
    speakers: tuple[str, ...]
    duration_s: float


@dataclass(frozen=True)
class Utterance:
    """An utterance of one speaker: name, audio, words, speaker, and duration in seconds."""

    id: str
    path: Path
    text: str
    speaker: str
    duration_s: float


@dataclass(frozen=True)
class Noise:
    """A noise recording: name, audio, and duration in seconds."""

    id: str
    path: Path
    duration_s: float


@dataclass(frozen=True)
class Room:
    """Impulse responses of a room: channel s of both files is that of source position s."""

    id: str
    reverb: Path
    anechoic: Path


@dataclass(frozen=True)
class MixtureDir:
    """A directory of mixtures, sorted by id and alike in speakers, noise and texts."""

    path: Path
    info: Info
    mixtures: tuple[Mixture, ...]

    @classmethod
    def load(cls, path: str | Path) -> MixtureDir:
        """Read and check a directory; no audio is opened.

        Raises:
            UserError: there is no such directory; a file is missing or malformed, not sorted, of
                other ids than the rest; speakers, durations or info.yaml make no sense. It names
                the file and line.
        """
        path = Path(path)
        info, contents = read_files(path, mixture_files(path))
        (wav,), (utt2spk,), (utt2dur,) = map(contents.columns, (r"wav\.scp", "utt2spk", "utt2dur"))
        references = contents.columns(r"spk\d+\.scp")
        noises = contents.columns(r"noise1\.scp")
        texts = contents.columns(r"text_spk\d+")
        mixtures = (
            Mixture(
                id=key,
                mixture=Path(file),
                references=tuple(Path(column[key]) for column in references),
                noise=Path(noises[0][key]) if noises else None,
                texts=tuple(column[key] for column in texts) if texts else None,
                speakers=tuple(utt2spk[key].split("_")),
                duration_s=float(utt2dur[key]),
            )
            for key, file in wav.items()
        )
        return cls(path, info, tuple(mixtures))

    def spread_out(self, count: int) -> MixtureDir:
        """So many of the mixtures, as far apart as they can be.

        Raises:
            UserError: there are fewer.
        """
        whole = len(self.mixtures)
        if not 0 < count <= whole:
            what = f"{count} mixtures are asked for, of {whole}"
            raise UserError(what, where=self.path, remedy="take another number, or all")
        return replace(self, mixtures=tuple(spread(self.mixtures, count)))

    def write(self, more: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """Write the directory, in place of the one that may be at ``path``.

        Args:
            more: further tables by name, such as those of :mod:`sepasr.data.segments`.

        Raises:
            UserError: there is nothing to write, an id or value that a table can't hold, or
                ``path`` is something else than a data directory.
            ValueError: the mixtures are not sorted by unique ids, or not alike.
        """
        _check_order(self.mixtures)
        tables = {"wav.scp": {m.id: str(m.mixture) for m in self.mixtures}}
        for m in self.mixtures:
            row = {f"spk{s}.scp": str(file) for s, file in enumerate(m.references, 1)}
            row |= {"noise1.scp": str(m.noise)} if m.noise else {}
            row |= {f"text_spk{s}": text for s, text in enumerate(m.texts or (), 1)}
            for name, value in row.items():
                tables.setdefault(name, {})[m.id] = value
        if any(len(table) != len(self.mixtures) for table in tables.values()):
            raise ValueError("mixtures of a directory must have the same files")
        tables |= speaker_files({m.id: "_".join(m.speakers) for m in self.mixtures})
        write_files(self.path, self.info, tables | _durations(self.mixtures) | dict(more or {}))


@dataclass(frozen=True)
class UtteranceDir:
    """A directory of utterances of single speakers, sorted by id.

    Attributes:
        path: the directory.
        info: where the audio comes from.
        utterances: sorted by id.
        similar: for a speaker, those too like them to be told apart in a mixture; a speaker
            without any has no entry.
        genders: "f" or "m" for every speaker; empty where it isn't known.
    """

    path: Path
    info: Info
    utterances: tuple[Utterance, ...]
    similar: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    genders: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path) -> UtteranceDir:
        """Read and check a directory; see :meth:`MixtureDir.load`."""
        path = Path(path)
        info, contents = read_files(path, utterance_files(path))
        wav, text, utt2spk, _, utt2dur = contents.columns("(?!spk2(gender|similar)).*")
        utterances = (
            Utterance(key, Path(file), text[key], utt2spk[key], float(utt2dur[key]))
            for key, file in wav.items()
        )
        similar = {
            speaker: tuple(others.split())
            for table in contents.columns("spk2similar")
            for speaker, others in table.items()
        }
        genders = {k: v for table in contents.columns("spk2gender") for k, v in table.items()}
        return cls(path, info, tuple(utterances), similar, genders)

    def write(self) -> None:
        """Write the directory; see :meth:`MixtureDir.write`."""
        _check_order(self.utterances)
        tables = {
            "wav.scp": {u.id: str(u.path) for u in self.utterances},
            "text": {u.id: u.text for u in self.utterances},
        }
        tables |= speaker_files({u.id: u.speaker for u in self.utterances})
        if self.similar:
            tables["spk2similar"] = {a: " ".join(others) for a, others in self.similar.items()}
        if self.genders:
            tables["spk2gender"] = dict(self.genders)
        write_files(self.path, self.info, tables | _durations(self.utterances))


@dataclass(frozen=True)
class NoiseDir:
    """A directory of noise recordings, sorted by id."""

    path: Path
    info: Info
    noises: tuple[Noise, ...]

    @classmethod
    def load(cls, path: str | Path) -> NoiseDir:
        """Read and check a directory; see :meth:`MixtureDir.load`."""
        info, contents = read_files(path, NOISE_FILES)
        wav, utt2dur = contents.columns(".*")
        noises = (Noise(key, Path(file), float(utt2dur[key])) for key, file in wav.items())
        return cls(Path(path), info, tuple(noises))

    def write(self) -> None:
        """Write the directory; see :meth:`MixtureDir.write`."""
        _check_order(self.noises)
        tables = {"wav.scp": {n.id: str(n.path) for n in self.noises}}
        write_files(self.path, self.info, tables | _durations(self.noises))


@dataclass(frozen=True)
class RoomDir:
    """A directory of room impulse responses, sorted by id."""

    path: Path
    info: Info
    rooms: tuple[Room, ...]

    @classmethod
    def load(cls, path: str | Path) -> RoomDir:
        """Read and check a directory; see :meth:`MixtureDir.load`."""
        info, contents = read_files(path, ROOM_FILES)
        reverb, anechoic = contents.columns(".*")
        rooms = (Room(key, Path(file), Path(anechoic[key])) for key, file in reverb.items())
        return cls(Path(path), info, tuple(rooms))

    def write(self) -> None:
        """Write the directory; see :meth:`MixtureDir.write`."""
        _check_order(self.rooms)
        tables = {
            "reverb.scp": {r.id: str(r.reverb) for r in self.rooms},
            "anechoic.scp": {r.id: str(r.anechoic) for r in self.rooms},
        }
        write_files(self.path, self.info, tables)


def write_directories(
    directories: Sequence[MixtureDir | UtteranceDir | NoiseDir | RoomDir],
    out: Path,
    known: Collection[str],
) -> None:
    """Write directories, and remove what an earlier preparation has left of those ``known``.

    Training and scoring take the directories that are there.

    Args:
        directories: what to write.
        out: the folder that they are in.
        known: names of all directories that there can be in it.
    """
    for directory in directories:
        directory.write()
    written = {directory.path for directory in directories}
    for name in known:
        if out / name not in written and (out / name / INFO).is_file():
            shutil.rmtree(out / name)


def _check_order(records: Sequence[Mixture | Utterance | Noise | Room]) -> None:
    ids = [record.id for record in records]
    if ids != sorted(set(ids)):
        raise ValueError("records must be sorted by unique ids")


def _durations(records: Sequence[Mixture | Utterance | Noise]) -> dict[str, dict[str, str]]:
    return {"utt2dur": {record.id: f"{record.duration_s:.6f}" for record in records}}


def spread(items: Sequence[T], count: int) -> list[T]:
    """So many of the items, as far apart as they can be, from the first on."""
    return [items[n * len(items) // count] for n in range(count)]


def fingerprint(directory: MixtureDir | UtteranceDir | NoiseDir | RoomDir) -> str:
    """Digest of what a directory lists, but not of where files lie.

    Names, words, speakers, durations; of utterances also who is similar to whom, and genders. Of
    up to eight entries, in equal steps from the first (not always to the end), the audio as well:
    a corpus made anew with other rooms or noise has the names and durations that it had.
    """
    entries: Sequence[object]
    if isinstance(directory, MixtureDir):
        entries = directory.mixtures
    elif isinstance(directory, UtteranceDir):
        entries = directory.utterances
    else:
        entries = directory.noises if isinstance(directory, NoiseDir) else directory.rooms
    digest = hashlib.sha256(repr(directory.info).encode())
    for entry in entries:
        facts = {name: value for name, value in vars(entry).items() if not _places(value)}
        digest.update(repr(facts).encode())
    for entry in entries[:: max(1, len(entries) // HEARD)][:HEARD]:
        for path in (path for value in vars(entry).values() for path in _places(value)):
            if path.is_file():
                digest.update(sha256(path).encode())
    if isinstance(directory, UtteranceDir):
        for table in (directory.similar, directory.genders):
            if table:
                digest.update(repr(sorted(table.items())).encode())
    return digest.hexdigest()


def _places(value: object) -> list[Path]:
    """The files that a field of an entry names."""
    values = value if isinstance(value, tuple) else (value,)
    return [one for one in values if isinstance(one, Path)]
