"""Data directories of what training mixes: utterances, noise and rooms."""

from __future__ import annotations

from pathlib import Path

from sepasr.data.datadir import Info, Noise, NoiseDir, Room, RoomDir, Utterance, UtteranceDir
from sepasr.data.header import all_good, read_headers
from sepasr.data.scp import read_table
from sepasr.data.wsj0 import find_transcripts, find_utterances, speaker_of
from sepasr.errors import UserError


def prepare_utterances(
    wsj0: str | Path,
    subset: str,
    out: str | Path,
    fs: int = 16000,
    *,
    similar: str | Path | None = None,
    genders: str | Path | None = None,
    corpus: str = "wsj0",
) -> UtteranceDir:
    """Write the data directory ``out`` of a subset of WSJ0, or of a corpus laid out like it.

    Args:
        wsj0: a folder above the subset and its transcripts, in any release's layout.
        subset: e.g. "si_tr_s".
        out: the data directory.
        fs: sampling rate of the corpus in Hz.
        similar: a table of speakers and, for each, those who are too like them to be told apart in
            a mixture; speakers of other subsets may be in it.
        genders: a table of speakers, "f" or "m"; speakers of other subsets may be in it.
        corpus: name of the corpus.

    Raises:
        UserError: no such utterances, a missing transcript, a file of another rate or truncated.
    """
    files = {u: file.absolute() for u, file in find_utterances(wsj0, subset).items()}
    texts = find_transcripts(wsj0, files)
    headers = all_good(read_headers(list(files.values()), fs, channels=1))
    utterances = tuple(
        Utterance(u, file, texts[u], speaker_of(u), header.duration_s)
        for (u, file), header in zip(files.items(), headers, strict=True)
    )
    speakers = {u.speaker for u in utterances}
    alike = _among(read_table(similar), speakers) if similar else {}
    known = read_table(genders) if genders else {}
    known = {speaker: gender for speaker, gender in known.items() if speaker in speakers}
    directory = UtteranceDir(Path(out), Info(corpus, fs), utterances, alike, known)
    directory.write()
    return directory


def _among(similar: dict[str, str], speakers: set[str]) -> dict[str, tuple[str, ...]]:
    """The part of a table of similar speakers that concerns ``speakers``."""
    rows = {
        a: tuple(b for b in similar[a].split() if b in speakers) for a in speakers & set(similar)
    }
    return {a: others for a, others in sorted(rows.items()) if others}


def prepare_noise(
    noise: str | Path, out: str | Path, fs: int = 16000, *, corpus: str = "wham_noise"
) -> NoiseDir:
    """Write the data directory ``out`` of a folder of noise recordings; ids are file names.

    Raises:
        UserError: no such folder or no WAV in it, a file of another rate or truncated.
    """
    files = _wav_files(noise)
    headers = all_good(read_headers(files, fs))
    noises = tuple(
        Noise(file.stem, file, header.duration_s)
        for file, header in zip(files, headers, strict=True)
    )
    directory = NoiseDir(Path(out), Info(corpus, fs), noises)
    directory.write()
    return directory


def prepare_rirs(
    rirs: str | Path, out: str | Path, fs: int = 16000, *, corpus: str = "rirs"
) -> RoomDir:
    """Write the data directory ``out`` of a folder of `<room>_reverb.wav`, `<room>_anechoic.wav`.

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
    headers = dict(zip(files, all_good(read_headers(list(files.values()), fs)), strict=True))
    for reverb, anechoic in pairs:
        if headers[reverb].channels != headers[anechoic].channels:
            what = f"{headers[anechoic].channels} channels, {reverb} has {headers[reverb].channels}"
            raise UserError(what, where=files[anechoic], remedy="make the responses again")
    rooms = tuple(
        Room(name, files[reverb], files[anechoic])
        for name, (reverb, anechoic) in zip(names, pairs, strict=True)
    )
    directory = RoomDir(Path(out), Info(corpus, fs), rooms)
    directory.write()
    return directory


def _wav_files(folder: str | Path) -> list[Path]:
    """The WAV files of a folder, sorted by name without suffix."""
    files = sorted(Path(folder).absolute().glob("*.wav"), key=lambda file: file.stem)
    if not files:
        raise UserError("no such folder, or no WAV files in it", where=folder)
    return files
