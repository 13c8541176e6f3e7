"""Scoring of a test set: from transcripts and separated audio to rows per mixture."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from sepasr.data.datadir import MixtureDir
from sepasr.data.scp import read_table
from sepasr.data.segments import read_segment_texts
from sepasr.decode.recognise import RECOGNISER, STREAMS, refuse_surplus, streams_digest
from sepasr.errors import UserError
from sepasr.score.log import ValueLog
from sepasr.score.measures import Task, measure_all
from sepasr.score.normalise import normalise, normalised_speakers
from sepasr.score.result import CLEAN, MEASURES, MIXTURE, RecogniserInfo, SystemInfo
from sepasr.score.rows import GuardRow, MeasureRow, Scores, UtteranceRow
from sepasr.score.wer import cpwer, orcwer

DIGITS = 4
"""Decimals that measures are kept with, so that files and results agree exactly."""


def score(
    data: MixtureDir,
    systems: Sequence[SystemInfo],
    recognisers: Sequence[RecogniserInfo],
    exp: str | Path,
    *,
    jobs: int = 1,
    cluster: Path | None = None,
    brief: bool = False,
) -> Scores:
    """Score what systems made of a test set.

    Read are ``exp/separate/<folder>/spk{1..}.scp``, and of every recogniser
    ``exp/decode/<folder>/<recogniser>/text_spk{1..}`` and ``guard.csv`` (``id,stream,rule``). The
    system ``mixture`` has no separated audio and one transcript, ``text_spk1``: its audio and
    transcript stand for every speaker. ``clean`` are the references: measured against themselves
    they would be perfect, so only their SRMR is given. Where speakers say several things (see
    :mod:`sepasr.data.segments`), the references of ORC-WER are single utterances, in the order in
    which they begin; else, and for cpWER, all that a speaker says, in the same words
    (:func:`sepasr.score.normalise.normalised_speakers`). Signal measures are kept in
    ``exp/measures.jsonl``, and taken again only of files that have changed.

    Args:
        data: the test set, with transcripts.
        systems: the rows of the table.
        recognisers: that have read every system.
        exp: folder of experiments.
        jobs: for the signal measures, as for :func:`sepasr.parallel.parallel_map`.
        cluster: likewise.
        brief: as for :func:`sepasr.score.measures.measure`.

    Raises:
        UserError: the set has no transcripts, a file is missing or lacks a mixture (with its id),
            transcripts are of other streams than there are now, or audio can't be read or is not
            as long as its mixture. Where transcripts don't say of which streams they are, as those
            of an earlier version, a line on stderr says so.
    """
    if not data.mixtures or any(mixture.texts is None for mixture in data.mixtures):
        raise UserError(
            "no transcripts: word errors need whole utterances",
            where=data.path,
            remedy="use a set with cut 'max'",
        )
    separate, decode = Path(exp) / "separate", Path(exp) / "decode"
    # All lists are read before the minutes that measures take, so that what is missing shows.
    pairs = [(system, recogniser) for system in systems for recogniser in recognisers]
    utterance_texts = read_segment_texts(data)
    _check_streams(pairs, separate, decode)
    transcripts = [_transcripts(data, *pair, decode) for pair in pairs]
    guard = [row for pair in pairs for row in _guard_rows(data, *pair, decode)]
    estimates = [_estimates(data, system, separate) for system in systems]
    log = ValueLog(Path(exp) / "measures.jsonl")
    measures = _measured(data, systems, estimates, log, jobs, cluster, brief)
    bar = tqdm(zip(pairs, transcripts, strict=True), "word errors", len(pairs), unit="decode")
    utterances = [
        row
        for (system, recogniser), texts in bar
        for row in _utterance_rows(
            data, system, recogniser, texts, utterance_texts, measures[system]
        )
    ]
    return Scores(
        tuple(utterances),
        tuple(row for system in systems for row in measures[system]),
        tuple(guard),
    )


def measure_streams(
    data: MixtureDir,
    streams: str | Path,
    *,
    jobs: int = 1,
    cluster: Path | None = None,
    brief: bool = False,
) -> list[MeasureRow]:
    """Signal measures of the streams that ``spk{1..}.scp`` in a folder list, a row per mixture.

    They are kept in ``measures.jsonl`` beside the lists, and taken again only of files that have
    changed. No transcripts are needed, so cut mixtures are measured, too.

    Args:
        data: the mixtures and their references.
        streams: the folder, whose name is the system's.
        jobs, cluster, brief: as for :func:`score`.

    Raises:
        UserError: a list is missing or lacks a mixture, or audio can't be read or is not as long
            as its mixture.
    """
    folder = Path(streams)
    system = SystemInfo(folder.name, folder.name)
    log = ValueLog(folder / "measures.jsonl")
    found = _measured(data, [system], [_listed(data, folder)], log, jobs, cluster, brief)
    return found[system]


def _streams(data: MixtureDir) -> range:
    """Numbers of the streams of a system, one per speaker, from 1."""
    return range(1, len(data.mixtures[0].references) + 1)


def _check_streams(
    pairs: Sequence[tuple[SystemInfo, RecogniserInfo]], separate: Path, decode: Path
) -> None:
    """Refuse transcripts of streams that have been replaced since by another separator's."""
    unstated = []
    for system, recogniser in pairs:
        now = streams_digest(separate / system.folder)
        if system.name in (MIXTURE, CLEAN) or now is None:
            continue
        path = decode / system.folder / recogniser.name / RECOGNISER
        try:
            read = json.loads(path.read_text(encoding="utf-8")).get(STREAMS)
        except FileNotFoundError:
            read = None
        except (ValueError, AttributeError) as error:
            what = f"does not say what was read: {error}"
            raise UserError(what, where=path, remedy="recognise again") from None
        if read is None:
            unstated.append(f"{system.folder}/{recogniser.name}")
        elif read != now:
            what = f"read other streams than {separate / system.folder} has now"
            raise UserError(what, where=path, remedy="recognise again")
    if unstated:
        print(
            f"sepasr: not stated of which streams the transcripts in {decode} are: "
            f"{', '.join(unstated)}; recognise again to have them checked",
            file=sys.stderr,
        )


def _transcripts(
    data: MixtureDir, system: SystemInfo, recogniser: RecogniserInfo, decode: Path
) -> list[tuple[str, ...]]:
    """For each mixture the text of every stream as the recogniser wrote it."""
    folder = decode / system.folder / recogniser.name
    streams = range(1, 2) if system.name == MIXTURE else _streams(data)
    refuse_surplus(folder / "text_spk{}", len(streams))
    files = [folder / f"text_spk{stream}" for stream in streams]
    return _columns(data, files, "recognise", empty_values=True)


def _estimates(data: MixtureDir, system: SystemInfo, separate: Path) -> list[tuple[Path, ...]]:
    """For each mixture the audio of every stream."""
    if system.name == MIXTURE:
        return [(mixture.mixture,) * len(mixture.references) for mixture in data.mixtures]
    if system.name == CLEAN:
        return [mixture.references for mixture in data.mixtures]
    return _listed(data, separate / system.folder)


def _listed(data: MixtureDir, folder: Path) -> list[tuple[Path, ...]]:
    """The same of what the lists in a folder say."""
    refuse_surplus(folder / "spk{}.scp", len(_streams(data)))
    files = [folder / f"spk{stream}.scp" for stream in _streams(data)]
    return [tuple(map(Path, row)) for row in _columns(data, files, "separate")]


def _columns(
    data: MixtureDir, files: Sequence[Path], stage: str, *, empty_values: bool = False
) -> list[tuple[str, ...]]:
    """For each mixture its values in several tables."""
    tables = []
    for file in files:
        table = read_table(file, empty_values=empty_values)
        for mixture in data.mixtures:
            if mixture.id not in table:
                raise UserError(
                    f"no entry for mixture '{mixture.id}'", where=file, remedy=f"{stage} again"
                )
        tables.append(table)
    return [tuple(table[mixture.id] for table in tables) for mixture in data.mixtures]


def _guard_rows(
    data: MixtureDir, system: SystemInfo, recogniser: RecogniserInfo, decode: Path
) -> Iterator[GuardRow]:
    """What was cut of these mixtures' transcripts. Of a subset, more mixtures have been read."""
    folder = decode / system.folder / recogniser.name
    path = folder / "guard.csv"
    ids = {mixture.id for mixture in data.mixtures}
    read = read_table(folder / "text_spk1", empty_values=True)
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            header, *lines = list(csv.reader(stream)) or [[]]
    except FileNotFoundError:
        raise UserError("no such file", where=path, remedy="recognise again") from None
    if header != ["id", "stream", "rule"]:
        what, remedy = "the header is not id,stream,rule", "recognise again"
        raise UserError(what, where=path, line=1, remedy=remedy)
    for number, cells in enumerate(lines, 2):
        if len(cells) != 3 or cells[0] not in read or not cells[1].isdecimal():
            what = "not the id of a mixture, the number of a stream and a rule"
            raise UserError(what, where=path, line=number, remedy="recognise again")
        mixture, channel, rule = cells
        if mixture in ids:
            yield GuardRow(system.name, system.seed, recogniser.name, mixture, int(channel), rule)


def _measured(
    data: MixtureDir,
    systems: Sequence[SystemInfo],
    estimates: Sequence[Sequence[tuple[Path, ...]]],
    log: ValueLog,
    jobs: int,
    cluster: Path | None,
    brief: bool,
) -> dict[SystemInfo, list[MeasureRow]]:
    """For each system its row for every mixture; estimates are those of each, in their order."""
    tasks = [Task(*row) for row in zip(data.mixtures, zip(*estimates, strict=True), strict=True)]
    measured = measure_all(tasks, data.info.fs, log, jobs, cluster, brief)
    return {
        system: [
            MeasureRow(
                system.name,
                system.seed,
                mixture.id,
                *(round(getattr(measures, name), DIGITS) for name in MEASURES),
            )
            for mixture, measures in zip(data.mixtures, column, strict=True)
        ]
        for system, column in zip(systems, zip(*measured, strict=True), strict=True)
    }


def _utterance_rows(
    data: MixtureDir,
    system: SystemInfo,
    recogniser: RecogniserInfo,
    transcripts: Sequence[tuple[str, ...]],
    utterance_texts: Mapping[str, tuple[tuple[int, str], ...]],
    measures: Sequence[MeasureRow],
) -> Iterator[UtteranceRow]:
    for mixture, texts, measured in zip(data.mixtures, transcripts, measures, strict=True):
        utterances = utterance_texts.get(mixture.id, ())
        references = normalised_speakers(mixture.texts or (), utterances)
        hypotheses = [normalise(text) for text in texts]
        # The one decode of an unseparated mixture stands for every speaker.
        per_speaker = hypotheses * len(references) if system.name == MIXTURE else hypotheses
        said = [normalise(text) for _, text in utterances] or references
        cp, orc = cpwer(references, per_speaker), orcwer(said, hypotheses)
        assert cp.words == orc.words
        yield UtteranceRow(
            system=system.name,
            seed=system.seed,
            recogniser=recogniser.name,
            mixture=mixture.id,
            words=cp.words,
            cp_errors=cp.errors,
            orc_errors=orc.errors,
            si_sdr=measured.si_sdr,
            si_sdri=measured.si_sdri,
        )
