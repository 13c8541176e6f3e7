"""LibriSpeech: the utterances of a subset, their transcripts and the speakers' genders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from sepasr.data.datadir import Info, UtteranceDir
from sepasr.data.utterances import recorded_utterances
from sepasr.errors import UserError
from sepasr.files import whole_files

FS = 16000
COUNTS = {
    "train-clean-100": 28_539,
    "train-clean-360": 104_014,
    "dev-clean": 2_703,
    "test-clean": 2_620,
}
"""Utterances of each complete subset."""
SOURCE = "https://www.openslr.org/12"


def speaker_of(utterance: str) -> str:
    """The speaker of an utterance `speaker-chapter-number`."""
    return utterance.partition("-")[0]


def find_subset(librispeech: str | Path, subset: str) -> Path:
    """The folder of a subset, e.g. "dev-clean".

    Args:
        librispeech: the folder LibriSpeech, or the one that holds it.
        subset: its name.

    Raises:
        UserError: there is no such folder.
    """
    top = Path(librispeech).absolute()
    for folder in (top / subset, top / "LibriSpeech" / subset):
        if folder.is_dir():
            return folder
    remedy = f"get it from {SOURCE}, and give the folder LibriSpeech"
    raise UserError("no such folder", where=top / subset, remedy=remedy)


def transcript_file(folder: Path, utterance: str) -> Path:
    """The file that holds the transcript of an utterance of a subset."""
    chapter = utterance.rpartition("-")[0]
    return folder / chapter.replace("-", "/") / f"{chapter}.trans.txt"


def read_transcripts(folder: Path) -> dict[str, str]:
    """Read the transcripts of a subset, from `<speaker>/<chapter>/<speaker>-<chapter>.trans.txt`.

    Args:
        folder: of the subset.

    Returns:
        Text by utterance, in upper case without punctuation, as it stands there.

    Raises:
        UserError: there is none, or a line is not an utterance of that chapter and its words.
    """
    texts: dict[str, str] = {}
    for file in whole_files(folder, "*/*/*.trans.txt"):
        chapter = file.name.removesuffix(".trans.txt")
        for number, line in enumerate(_read_lines(file), 1):
            utterance, _, text = line.strip().partition(" ")
            if not utterance.startswith(f"{chapter}-") or not text or utterance in texts:
                what = f"'{line.strip()}' is not a new utterance of the chapter, and its words"
                raise UserError(what, where=file, line=number, remedy="get the file again")
            texts[utterance] = text
    if not texts:
        where = folder / "<speaker>/<chapter>/<speaker>-<chapter>.trans.txt"
        raise UserError("no transcripts", where=where, remedy=f"get them from {SOURCE}")
    return texts


def texts_of(utterances: Iterable[str], texts: Mapping[str, str], folder: Path) -> tuple[str, ...]:
    """The transcripts of utterances of a subset.

    Raises:
        UserError: one is missing; it names the file that should have it.
    """
    utterances = tuple(utterances)
    for utterance in utterances:
        if utterance not in texts:
            where = transcript_file(folder, utterance)
            raise UserError(f"no transcript of '{utterance}'", where=where, remedy=_AGAIN)
    return tuple(texts[utterance] for utterance in utterances)


_AGAIN = f"get the subset from {SOURCE} again"


def read_genders(file: Path) -> dict[str, str]:
    """Read SPEAKERS.TXT, whose lines are `id | F or M | subset | minutes | name`.

    Returns:
        "f" or "m" by speaker.

    Raises:
        UserError: the file is missing, or a line is malformed.
    """
    genders = {}
    for number, line in enumerate(_read_lines(file), 1):
        if line.startswith(";") or not line.strip():
            continue
        speaker, *fields = (field.strip() for field in line.split("|"))
        if not fields or fields[0] not in ("F", "M"):
            what = f"'{line.strip()}' is not of the form 'id | F or M | ...'"
            raise UserError(what, where=file, line=number, remedy=_AGAIN)
        genders[speaker] = fields[0].lower()
    return genders


def list_audio(folder: Path, *, allow_partial: bool = False) -> dict[str, Path]:
    """The audio of a subset by utterance; no file is opened.

    Raises:
        UserError: there is less of it than the complete subset has, and that is not allowed.
    """
    files = {file.stem: file for file in whole_files(folder, "*/*/*.flac")}
    if len(files) != COUNTS[folder.name] and not allow_partial:
        what = f"{len(files)} utterances where the complete subset has {COUNTS[folder.name]}"
        raise UserError(what, where=folder, remedy="complete it, or allow a partial corpus")
    return files


def read_utterances(
    librispeech: str | Path,
    subset: str,
    texts: Mapping[str, str],
    out: str | Path,
    *,
    allow_partial: bool = False,
    corpus: str = "librispeech",
    jobs: int = 1,
    cluster: Path | None = None,
) -> UtteranceDir:
    """The data directory ``out`` of a subset, not yet written; every file's header is checked.

    Args:
        librispeech: see :func:`find_subset`.
        subset: e.g. "train-clean-100".
        texts: what :func:`read_transcripts` gives for it.
        out: the data directory.
        allow_partial: accept fewer utterances than the complete subset has.
        corpus: name of the corpus.
        jobs: as for :func:`sepasr.data.header.read_headers`.
        cluster: likewise.

    Raises:
        UserError: the subset is not complete; an utterance has no audio or no transcript, a
            speaker no gender; a file is truncated, of another rate or of several channels.
    """
    folder = find_subset(librispeech, subset)
    files = list_audio(folder, allow_partial=allow_partial)
    for utterance in sorted(texts.keys() - files.keys()):
        where = transcript_file(folder, utterance).with_name(f"{utterance}.flac")
        raise UserError("no such file, but there is a transcript of it", where=where, remedy=_AGAIN)
    names = sorted(files)
    spoken = texts_of(names, texts, folder)
    known = read_genders(folder.parent / "SPEAKERS.TXT")
    genders = {}
    for speaker in sorted({speaker_of(name) for name in names}):
        if speaker not in known:
            where = folder.parent / "SPEAKERS.TXT"
            raise UserError(f"no speaker '{speaker}', who is in {folder}", where=where)
        genders[speaker] = known[speaker]
    utterances = recorded_utterances(
        files, dict(zip(names, spoken, strict=True)), speaker_of, FS, jobs=jobs, cluster=cluster
    )
    return UtteranceDir(Path(out), Info(corpus, FS), utterances, genders=genders)


def _read_lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError("no such file", where=file, remedy=_AGAIN) from None
    except UnicodeDecodeError:
        raise UserError("not a text file", where=file, remedy=_AGAIN) from None
