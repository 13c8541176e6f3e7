"""The files of a data directory, in Kaldi's style, and all that must hold between them.

There are four kinds. Every file is a table (:mod:`sepasr.data.scp`) of the same ids, except
those by speaker (spk2...) and info.yaml, which holds :class:`Info`.

==========  ======================================================================================
mixtures    wav.scp spk1.scp .. spkN.scp [noise1.scp] [text_spk1 .. text_spkN] utt2spk spk2utt
            utt2dur; utt2spk joins the N speakers by `_`; no texts where sources are cut
utterances  wav.scp text utt2spk spk2utt utt2dur [spk2gender] [spk2similar]; spk2similar lists those
            who are too like them to be told apart in a mixture
noises      wav.scp utt2dur
rooms       reverb.scp anechoic.scp; channel s of both is the response at source position s
==========  ======================================================================================
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from sepasr.config import load_config
from sepasr.data.scp import Table, check_same_ids, inspect_table, write_table
from sepasr.errors import UserError
from sepasr.files import replaced_directory, write_text

INFO = "info.yaml"
NOISE_FILES = ["wav.scp", "utt2dur"]
ROOM_FILES = ["reverb.scp", "anechoic.scp"]
SPEAKER_FILES = ["spk2utt", "spk2gender", "spk2similar"]


@dataclass(frozen=True)
class Info:
    """Where the audio of a directory comes from.

    Attributes:
        corpus: name of the corpus.
        fs: sampling rate in Hz.
        cut: "max" (as long as the longer source) or "min" (as long as the shorter one); this and
            the next two are None where nothing is mixed.
        condition: what the mixtures hold, e.g. "mix_both_reverb".
        reference: "anechoic" or "reverb".
    """

    corpus: str
    fs: int
    cut: str | None = None
    condition: str | None = None
    reference: str | None = None


@dataclass(frozen=True)
class Contents:
    """The files of a directory, and everything that is wrong with them.

    Attributes:
        path: the directory.
        info: what info.yaml says; None where it can't be read.
        tables: by file name, in the order of the table above.
        problems: everything wrong, file by file.
    """

    path: Path
    info: Info | None
    tables: dict[str, Table]
    problems: tuple[UserError, ...]

    def columns(self, pattern: str) -> list[dict[str, str]]:
        """Values by id of the tables whose name matches, in order."""
        return [t.values for name, t in self.tables.items() if re.fullmatch(pattern, name)]


def mixture_files(path: Path) -> list[str]:
    """Files that a directory of mixtures needs, given the highest speaker that has a file."""
    present = {file.name for file in path.iterdir()} if path.is_dir() else set()
    numbers = [re.fullmatch(r"(?:spk|text_spk)(\d+)(?:\.scp)?", name) for name in present]
    speakers = range(1, 1 + max([1, *(int(match[1]) for match in numbers if match)]))
    names = ["wav.scp", *(f"spk{s}.scp" for s in speakers)]
    if "noise1.scp" in present:
        names.append("noise1.scp")
    if any(name.startswith("text_spk") for name in present):
        names += [f"text_spk{s}" for s in speakers]
    return [*names, "utt2spk", "spk2utt", "utt2dur"]


def utterance_files(path: Path) -> list[str]:
    """Files that a directory of single speakers needs, and the optional ones that are there."""
    names = ["wav.scp", "text", "utt2spk", "spk2utt", "utt2dur"]
    return [*names, *(name for name in ("spk2gender", "spk2similar") if (path / name).exists())]


def expected_files(path: Path) -> list[str]:
    """Files that a directory needs; its kind is told by those it has."""
    if any(path.glob("*spk1*")):
        return mixture_files(path)
    if any(path.glob("reverb.scp")):
        return ROOM_FILES
    if any((path / name).exists() for name in ("text", "utt2spk")):
        return utterance_files(path)
    return NOISE_FILES


def inspect(path: str | Path, names: list[str] | None = None) -> Contents:
    """Read a directory and collect every problem; no audio is opened.

    Args:
        path: the directory.
        names: the files it must have; by default those that its kind needs.

    Raises:
        UserError: there is no such directory.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError("no such data directory", where=path, remedy="stage 1 makes it")
    problems: list[UserError] = []
    info = None
    try:
        info = load_config(Info, [path / INFO])
    except UserError as error:
        problems.append(error)
    tables = {name: inspect_table(path / name) for name in names or expected_files(path)}
    problems += [problem for table in tables.values() for problem in table.problems]

    by_id = [t for name, t in tables.items() if t.values and name not in SPEAKER_FILES]
    problems += check_same_ids(by_id)
    if "spk1.scp" in tables:
        problems += _check_names(tables["wav.scp"])
    if info and info.cut == "min" and "text_spk1" in tables:
        what = "transcripts do not match sources that are cut (cut: min)"
        problems.append(UserError(what, where=path / "text_spk1", remedy="remove the texts"))
    if "utt2spk" in tables:
        references = [name for name in tables if re.fullmatch(r"spk\d+\.scp", name)]
        problems += _check_speakers(tables["utt2spk"], tables["spk2utt"], len(references))
    if "spk2gender" in tables:
        problems += _check_genders(tables["spk2gender"], tables["spk2utt"])
    if "spk2similar" in tables:
        problems += _check_similar(tables["spk2similar"], tables["spk2utt"])
    if "utt2dur" in tables:
        problems += _check_durations(tables["utt2dur"])
    return Contents(path, info, tables, tuple(problems))


def read_files(path: str | Path, names: list[str]) -> tuple[Info, Contents]:
    """Read a directory.

    Raises:
        UserError: there is no such directory, or the first problem that :func:`inspect` finds.
    """
    contents = inspect(path, names)
    if contents.problems or contents.info is None:
        raise contents.problems[0]
    return contents.info, contents


def _check_names(wav: Table) -> list[UserError]:
    """A mixture's id is the name of the files of its streams, which stay in their folder."""
    return [
        wav.problem(key, f"id '{key}' can't be the name of a file", "rename it in every table")
        for key in wav.values
        if "/" in key or "\0" in key
    ]


def check_joined(utt2spk: Table, references: int) -> list[UserError]:
    """Problems of a table whose values are not so many speakers joined by ``_``."""
    problems = []
    for key, pair in utt2spk.values.items():
        speakers = pair.split("_")
        if len(speakers) != references or not all(speakers):
            what = f"'{pair}' of id '{key}' is not {references} speakers joined by '_'"
            problems.append(utt2spk.problem(key, what))
    return problems


def _check_speakers(utt2spk: Table, spk2utt: Table, references: int) -> list[UserError]:
    problems = check_joined(utt2spk, references) if references else []
    if not utt2spk.values or not spk2utt.values:
        return problems  # one of the files can't be read, which is a problem already
    listed = set()
    for speaker, utterances in spk2utt.values.items():
        for key in utterances.split():
            listed.add(key)
            if utt2spk.values.get(key) != speaker:
                what = f"'{key}' is listed for '{speaker}', utt2spk has another speaker for it"
                problems.append(spk2utt.problem(speaker, what))
    for key, speaker in utt2spk.values.items():
        if key not in listed:
            what = f"'{key}' of '{speaker}' is not in spk2utt"
            problems.append(utt2spk.problem(key, what))
    return problems


def _check_genders(spk2gender: Table, spk2utt: Table) -> list[UserError]:
    return check_same_ids([spk2utt, spk2gender]) + [
        spk2gender.problem(speaker, f"gender '{gender}' of speaker '{speaker}'", "write f or m")
        for speaker, gender in spk2gender.values.items()
        if gender not in ("f", "m")
    ]


def _check_similar(spk2similar: Table, spk2utt: Table) -> list[UserError]:
    problems = []
    for speaker, others in spk2similar.values.items():
        for other in (speaker, *others.split()):
            if other not in spk2utt.values:
                what = f"speaker '{other}' is not in spk2utt"
                problems.append(spk2similar.problem(speaker, what))
    return problems


def _check_durations(utt2dur: Table) -> list[UserError]:
    problems = []
    for key, value in utt2dur.values.items():
        try:
            good = 0 < float(value) < math.inf
        except ValueError:
            good = False
        if value and not good:
            what = f"duration '{value}' of id '{key}' is not a positive number of seconds"
            problems.append(utt2dur.problem(key, what))
    return problems


def speaker_files(utt2spk: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The tables utt2spk and spk2utt."""
    spk2utt: dict[str, list[str]] = {}
    for key, speaker in utt2spk.items():
        spk2utt.setdefault(speaker, []).append(key)
    return {
        "utt2spk": dict(utt2spk),
        "spk2utt": {speaker: " ".join(keys) for speaker, keys in spk2utt.items()},
    }


def write_files(path: Path, info: Info, tables: Mapping[str, Mapping[str, str]]) -> None:
    """Write a directory, in place of the one that may be at ``path``.

    Raises:
        UserError: an id or a value that a table can't hold, tables that don't belong together, or
            ``path`` is not a data directory.
    """
    if path.exists() and not (path / INFO).is_file() and any(path.iterdir()):
        raise UserError(
            "exists and is not a data directory", where=path, remedy="choose another name"
        )
    with replaced_directory(path) as temporary:
        for name, values in tables.items():
            write_table(temporary / name, values)
        settings = {name: value for name, value in asdict(info).items() if value is not None}
        write_text(temporary / INFO, yaml.safe_dump(settings, sort_keys=False))
        for problem in inspect(temporary).problems[:1]:
            raise UserError(str(problem).replace(str(temporary), str(path)))
