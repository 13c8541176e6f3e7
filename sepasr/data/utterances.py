"""Data directories of what training mixes: utterances, noise and rooms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from sepasr.data.audio import SUFFIXES
from sepasr.data.datadir import Info, Noise, NoiseDir, Room, RoomDir, Utterance, UtteranceDir
from sepasr.data.header import all_good, read_headers
from sepasr.data.scp import read_table
from sepasr.data.wsj0 import Wsj0, speaker_of
from sepasr.errors import UserError
from sepasr.files import whole_files

NO_WORDS = "-"
"""What stands in text where nobody wrote down what is said: training a separator doesn't ask."""


def read_subset(
    wsj0: str | Path,
    subset: str,
    out: str | Path,
    fs: int = 16000,
    *,
    similar: str | Path | None = None,
    genders: str | Path | None = None,
    corpus: str = "wsj0",
    jobs: int = 1,
    cluster: Path | None = None,
) -> UtteranceDir:
    """The data directory ``out`` of a subset of WSJ0, or of a corpus laid out like it.

    It is not yet written, nor are those of the other functions here.

    Args:
        wsj0: a folder above the subset and its transcripts, in any release's layout.
        subset: e.g. "si_tr_s".
        out: the data directory.
        fs: sampling rate of the corpus in Hz.
        similar: a table of speakers and, for each, those who are too like them to be told apart in
            a mixture; speakers of other subsets may be in it.
        genders: a table of speakers, "f" or "m"; speakers of other subsets may be in it.
        corpus: name of the corpus.
        jobs: as for :func:`sepasr.data.header.read_headers`.
        cluster: likewise.

    Raises:
        UserError: no such utterances, a missing transcript, a file of another rate or truncated.
    """
    corpus_files = Wsj0(wsj0)
    files = corpus_files.utterances(subset)
    alike = read_table(similar) if similar else {}
    known = read_table(genders) if genders else {}
    speakers = {speaker_of(utterance) for utterance in files}
    return UtteranceDir(
        Path(out),
        Info(corpus, fs),
        read_utterances(corpus_files, files, fs, jobs=jobs, cluster=cluster),
        _among(alike, speakers),
        {speaker: gender for speaker, gender in known.items() if speaker in speakers},
    )


def read_utterances(
    wsj0: Wsj0,
    files: Mapping[str, Path],
    fs: int = 16000,
    *,
    jobs: int = 1,
    cluster: Path | None = None,
) -> tuple[Utterance, ...]:
    """Utterances of WSJ0 with their transcripts, sorted; every file's header is checked.

    Args:
        wsj0: has the transcripts.
        files: audio by utterance.
        fs: sampling rate of the corpus in Hz.
        jobs: as for :func:`sepasr.data.header.read_headers`.
        cluster: likewise.

    Raises:
        UserError: a missing transcript, a file of another rate or truncated.
    """
    texts = wsj0.transcripts(files.keys())
    return recorded_utterances(files, texts, speaker_of, fs, jobs=jobs, cluster=cluster)


def recorded_utterances(
    files: Mapping[str, Path],
    texts: Mapping[str, str],
    speaker: Callable[[str], str],
    fs: int,
    *,
    jobs: int = 1,
    cluster: Path | None = None,
) -> tuple[Utterance, ...]:
    """The records of utterances, sorted; every file's header is checked.

    Args:
        files: audio by utterance.
        texts: what is said in each.
        speaker: the speaker of an utterance, by its name.
        fs: sampling rate in Hz.
        jobs: as for :func:`sepasr.data.header.read_headers`.
        cluster: likewise.

    Raises:
        UserError: a file is truncated, of another rate or of several channels.
    """
    names = sorted(files)
    paths = [files[name].absolute() for name in names]
    headers = all_good(read_headers(paths, fs, channels=1, jobs=jobs, cluster=cluster))
    return tuple(
        Utterance(name, path, texts[name], speaker(name), header.duration_s)
        for name, path, header in zip(names, paths, headers, strict=True)
    )


def read_speech(
    folder: str | Path,
    out: str | Path,
    fs: int = 16000,
    *,
    text: str | Path | None = None,
    genders: str | Path | None = None,
    corpus: str = "speech",
    jobs: int = 1,
    cluster: Path | None = None,
) -> UtteranceDir:
    """The data directory ``out`` of a folder of speech, with a folder in it for each speaker.

    An id is the path below ``folder``, joined by ``-``. In a speaker's name ``_`` becomes ``-``,
    because ``_`` joins the speakers of a mixture.

    Args:
        folder: holds ``SPEAKER/...`` with audio of any format, at any depth.
        out: the data directory.
        fs: sampling rate in Hz.
        text: a table of ids and words; without it, all are :data:`NO_WORDS`.
        genders: a table of speakers, "f" or "m".
        corpus: name of the corpus.
        jobs: as for :func:`sepasr.data.header.read_headers`.
        cluster: likewise.

    Raises:
        UserError: no such folder or no audio below a speaker's, two files of one id, no words of
            an id in ``text``, a file of another rate, truncated or of several channels.
    """
    folder = Path(folder).absolute()
    files: dict[str, Path] = {}
    speakers: dict[str, str] = {}
    for path in whole_files(folder, "*/**/*"):
        if path.suffix.lower() not in SUFFIXES:
            continue
        speaker, *rest = path.relative_to(folder).with_suffix("").parts
        speaker = speaker.replace("_", "-")
        name = "-".join([speaker, *rest])
        if name in files:
            what = f"the same id '{name}' as {files[name]}"
            raise UserError(what, where=path, remedy="rename one of them")
        files[name], speakers[name] = path, speaker
    if not files:
        raise UserError("no audio in any SPEAKER/ of this folder", where=folder)
    said = read_table(text) if text else dict.fromkeys(files, NO_WORDS)
    for name in files:
        if text and name not in said:
            raise UserError(f"no words of '{name}'", where=text, remedy="add a line")
    recorded = recorded_utterances(
        files, said, speakers.__getitem__, fs, jobs=jobs, cluster=cluster
    )
    known = read_table(genders) if genders else {}
    mine = {one: known[one] for one in sorted(set(speakers.values())) if one in known}
    return UtteranceDir(Path(out), Info(corpus, fs), recorded, genders=mine)


def _among(similar: dict[str, str], speakers: set[str]) -> dict[str, tuple[str, ...]]:
    """The part of a table of similar speakers that concerns ``speakers``."""
    rows = {
        a: tuple(b for b in similar[a].split() if b in speakers) for a in speakers & set(similar)
    }
    return {a: others for a, others in sorted(rows.items()) if others}


def read_noise(
    noise: str | Path,
    out: str | Path,
    fs: int = 16000,
    *,
    corpus: str = "wham_noise",
    jobs: int = 1,
    cluster: Path | None = None,
) -> NoiseDir:
    """The data directory ``out`` of a folder of noise recordings; ids are file names.

    Raises:
        UserError: no such folder or no WAV in it, a file of another rate or truncated.
    """
    files = _wav_files(noise)
    headers = all_good(read_headers(files, fs, jobs=jobs, cluster=cluster))
    noises = tuple(
        Noise(file.stem, file, header.duration_s)
        for file, header in zip(files, headers, strict=True)
    )
    return NoiseDir(Path(out), Info(corpus, fs), noises)


def read_rirs(
    rirs: str | Path,
    out: str | Path,
    fs: int = 16000,
    *,
    corpus: str = "rirs",
    jobs: int = 1,
    cluster: Path | None = None,
) -> RoomDir:
    """The data directory ``out`` of a folder of `<room>_reverb.wav`, `<room>_anechoic.wav`.

    Raises:
        UserError: no such folder or no WAV in it, another name, one file of a room is missing or
            of another number of channels than the other, a file of another rate or truncated.
    """
    files = {file.stem: file for file in _wav_files(rirs)}
    names = sorted({stem.rpartition("_")[0] for stem in files})
    pairs = [(f"{name}_reverb", f"{name}_anechoic") for name in names]
    expected = {stem for pair in pairs for stem in pair}
    for stem in sorted(expected ^ set(files)):
        what = "no such file" if stem in expected else "neither <room>_reverb nor <room>_anechoic"
        raise UserError(what, where=Path(rirs, f"{stem}.wav"), remedy="make the responses again")
    found = read_headers(list(files.values()), fs, jobs=jobs, cluster=cluster)
    headers = dict(zip(files, all_good(found), strict=True))
    for reverb, anechoic in pairs:
        if headers[reverb].channels != headers[anechoic].channels:
            what = f"{headers[anechoic].channels} channels, {reverb} has {headers[reverb].channels}"
            raise UserError(what, where=files[anechoic], remedy="make the responses again")
    rooms = tuple(
        Room(name, files[reverb], files[anechoic])
        for name, (reverb, anechoic) in zip(names, pairs, strict=True)
    )
    return RoomDir(Path(out), Info(corpus, fs), rooms)


def _wav_files(folder: str | Path) -> list[Path]:
    """The WAV files of a folder, sorted by name without suffix."""
    files = sorted(whole_files(Path(folder).absolute(), "*.wav"), key=lambda file: file.stem)
    if not files:
        raise UserError("no such folder, or no WAV files in it", where=folder)
    return files
