"""Decode the streams of a system with a recogniser, into Kaldi text files."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sepasr.data.audio import read_resampled
from sepasr.data.datadir import MixtureDir, spread
from sepasr.data.scp import read_table, write_table
from sepasr.decode.cache import TranscriptCache, cache_key
from sepasr.decode.hearing import FS
from sepasr.decode.recogniser import Recogniser, Transcript
from sepasr.decode.separate import SEPARATOR
from sepasr.errors import UserError
from sepasr.files import atomic_path, sha256, write_text
from sepasr.parallel import map_as_completed

GUARD_HEADER = ("id", "stream", "rule")
RECOGNISER = "recogniser.json"
"""Who read, and what, beside the transcripts."""
STREAMS = "audio"
"""Its entry with the digest of the streams that were read; see :func:`streams_digest`."""

SAMPLED = 8
"""Streams whose bytes are part of it."""


@dataclass(frozen=True)
class Stream:
    """One output of a system.

    Attributes:
        id: the mixture it was separated from.
        number: which of its streams, from 1.
        path: mono audio.
        fs: its sampling rate in Hz; recognisers hear it at their own.
    """

    id: str
    number: int
    path: Path
    fs: int = FS


def streams_of(data: MixtureDir, separated: str | Path) -> list[Stream]:
    """The streams of a system, which the last part of its folder names.

    Args:
        data: the mixtures. Their own audio is the one stream of the system ``mixture``, their
            references are the streams of the system ``clean``.
        separated: folder with the lists ``spk1.scp``, ``spk2.scp``, ... of any other system.

    Raises:
        UserError: a list is missing or broken, or there are more than speakers.
    """
    separated, fs = Path(separated), data.info.fs
    if separated.name == "mixture":
        return [Stream(mixture.id, 1, mixture.mixture, fs) for mixture in data.mixtures]
    if separated.name == "clean":
        return [
            Stream(mixture.id, number, path, fs)
            for mixture in data.mixtures
            for number, path in enumerate(mixture.references, 1)
        ]
    speakers = len(data.mixtures[0].references)
    refuse_surplus(separated / "spk{}.scp", speakers)
    return [
        Stream(name, number, Path(path), fs)
        for number in range(1, speakers + 1)
        for name, path in read_table(separated / f"spk{number}.scp").items()
    ]


def refuse_surplus(pattern: Path, speakers: int) -> None:
    """Refuse more streams than speakers: what is said in them would go unheard, or unscored.

    Args:
        pattern: of their files, with ``{}`` in place of a stream's number.
        speakers: how many there are.

    Raises:
        UserError: there is a file of another stream.
    """
    path = pattern.with_name(pattern.name.format(speakers + 1))
    if path.exists():
        what = f"a stream more than the {speakers} speakers of the mixtures"
        raise UserError(what, where=path, remedy="leave out or merge what is not a speaker's")


def streams_digest(separated: str | Path) -> str | None:
    """What the streams in a folder are: SHA-256 of the ``separator.json`` beside their lists.

    It holds the separator's weights and the mixtures' names; where another program made the
    streams, their list is taken instead. Of eight first streams, spread over their list, the bytes
    count as well: what was made anew may have the names it had.

    Returns:
        None for a folder with neither, as of the mixtures and the references themselves.
    """
    made, listed = Path(separated, SEPARATOR), Path(separated, "spk1.scp")
    stated = next((path for path in (made, listed) if path.exists()), None)
    if stated is None:
        return None
    digest = hashlib.sha256(stated.read_bytes())
    streams = sorted(read_table(listed).values()) if listed.exists() else []
    for stream in spread(streams, min(SAMPLED, len(streams))):
        digest.update(sha256(stream).encode())
    return digest.hexdigest()


def recognise(
    streams: Sequence[Stream],
    recogniser: Recogniser,
    cache: TranscriptCache,
    out_dir: str | Path,
    *,
    separated: str | Path | None = None,
    load: Callable[[], Recogniser] | None = None,
    jobs: int = 1,
    cluster: Path | None = None,
) -> None:
    """Read every stream that the cache does not know, then write all transcripts.

    What was read is in the cache after every batch, so an interrupted call goes on where it was.
    ``out_dir`` gets ``text_spk1``, ``text_spk2``, ... (Kaldi text: an id and the words, or the id
    alone where nothing was read) and last ``guard.csv``, with a row ``id,stream,rule`` for each
    hit of the guard against hallucination, and ``recogniser.json``, which says who read, and of a
    separator's streams which.

    Args:
        streams: in any order; as many of every mixture.
        recogniser: reads them.
        cache: keeps what was read.
        out_dir: directory to write to; made if there is none.
        separated: folder of the streams' lists, so that transcripts of streams that have been
            separated again are told from those of the new ones.
        load: how each worker gets the recogniser, a :class:`sepasr.parallel.OncePerProcess`;
            without it, the recogniser travels with the work.
        jobs: as for :func:`sepasr.parallel.parallel_map`.
        cluster: likewise.

    Raises:
        UserError: a stream is missing, named twice, no mono audio, or of another rate.
    """
    _check(streams)
    # Before anything is read: what is separated again in the meantime does not pass for read.
    digest = streams_digest(separated) if separated is not None else None
    keys: dict[Stream, str] = {}
    samples: dict[str, int] = {}
    for stream in streams:
        waveform = read_resampled(stream.path, stream.fs, recogniser.fs)
        keys[stream] = cache_key(waveform, recogniser)
        samples[keys[stream]] = len(waveform)
    transcripts = cache.get(samples)
    missing = {key: stream for stream, key in keys.items() if key not in transcripts}
    # Those of like length together, the longest first: what does not fit in memory fails early.
    unread = sorted(missing, key=lambda key: -samples[key])
    size = max(1, min(recogniser.batch_size, -(-len(unread) // jobs)))  # something for everyone
    batches = [unread[start : start + size] for start in range(0, len(unread), size)]
    completed = map_as_completed(
        partial(_read, load or (lambda: recogniser)),
        [tuple(missing[key] for key in batch) for batch in batches],
        jobs=jobs,
        cluster=cluster,
        description=recogniser.name,
        unit="stream",
        weight=len,
    )
    for number, read in completed:
        known = dict(zip(batches[number], read, strict=True))
        cache.put(known)
        transcripts |= known
    # Gone before the first transcript changes: it would vouch for a mixture of two readings.
    (Path(out_dir) / RECOGNISER).unlink(missing_ok=True)
    _write({stream: transcripts[key] for stream, key in keys.items()}, Path(out_dir))
    reader = {a: getattr(recogniser, a) for a in ("name", "family", "weights", "identity")}
    if digest is not None:
        reader[STREAMS] = digest
    write_text(Path(out_dir) / RECOGNISER, json.dumps(reader, indent=2) + "\n")


def _read(load: Callable[[], Recogniser], streams: Sequence[Stream]) -> list[Transcript]:
    recogniser = load()
    waveforms = [read_resampled(stream.path, stream.fs, recogniser.fs) for stream in streams]
    return recogniser.transcribe(waveforms)


def _check(streams: Sequence[Stream]) -> None:
    """Every mixture has the same streams, each once."""
    if not streams:
        raise UserError("no streams to recognise", remedy="separate the mixtures first")
    named = {(stream.id, stream.number): stream for stream in streams}
    if len(named) < len(streams):
        twice = next(s for s in streams if named[s.id, s.number] is not s)
        raise UserError(f"stream {twice.number} of '{twice.id}' is named twice", where=twice.path)
    ids = {stream.id for stream in streams}
    for number in {stream.number for stream in streams}:
        for name in sorted(ids):
            if (name, number) not in named:
                remedy = "separate the mixtures again"
                raise UserError(f"'{name}' has no stream {number}", remedy=remedy)


def _write(transcripts: Mapping[Stream, Transcript], out_dir: Path) -> None:
    for number in sorted({stream.number for stream in transcripts}):
        texts = {s.id: t.text for s, t in transcripts.items() if s.number == number}
        write_table(out_dir / f"text_spk{number}", texts, empty_values=True)
    hits = sorted(
        (stream.id, stream.number, rule) for stream, t in transcripts.items() for rule in t.guard
    )
    with (
        atomic_path(out_dir / "guard.csv") as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        csv.writer(file, lineterminator="\n").writerows([GUARD_HEADER, *hits])
