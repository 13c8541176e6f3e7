"""Word errors of whole recordings: transcripts in SegLST or STM against references in either."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import meeteval

from sepasr.errors import UserError
from sepasr.score.normalise import normalise
from sepasr.score.wer import Errors, cpwer, orcwer


@dataclass(frozen=True)
class Segment:
    """Words of one speaker.

    Attributes:
        session: the recording.
        speaker: who says them; of a hypothesis, the stream.
        start_s: when they begin, in seconds; 0 where it isn't stated.
        words: not normalised.
    """

    session: str
    speaker: str
    start_s: float
    words: str


@dataclass(frozen=True)
class SessionErrors:
    """Word errors of a recording.

    Attributes:
        session: its name.
        cp: by speaker, see :func:`sepasr.score.wer.cpwer`.
        orc: by utterance, see :func:`sepasr.score.wer.orcwer`; None where it wasn't asked for.
    """

    session: str
    cp: Errors
    orc: Errors | None


def read_segments(paths: Iterable[str | Path]) -> list[Segment]:
    """The segments of SegLST (``.json``) or STM (``.stm``) files, as meeteval reads them.

    Raises:
        UserError: a file is neither, a segment has no recording, speaker or words, or a recording
            is in two files.
    """
    segments: list[Segment] = []
    origin: dict[str, Path] = {}
    for path in map(Path, paths):
        if not path.is_file():
            raise UserError("no such file", where=path, remedy="check the path")
        try:
            for line in meeteval.io.load(path).to_seglst():
                start_s = float(line.get("start_time") or 0)
                names = (str(line["session_id"]), str(line["speaker"]))
                if not isinstance(line["words"], str):
                    raise TypeError(f"words are {line['words']!r}, not text")
                segments.append(Segment(*names, start_s, line["words"]))
                other = origin.setdefault(names[0], path)
                if other is not path:
                    what = f"recording '{names[0]}' is in {other} already"
                    raise UserError(what, where=path, remedy="name each file once")
        except (ValueError, TypeError, AssertionError, ArithmeticError, LookupError) as error:
            what = f"neither SegLST (.json) nor STM (.stm): {error}"
            if isinstance(error, KeyError):
                what = f"a segment has no {error}"
            raise UserError(what, where=path, remedy="write it in one of these") from None
    return segments


def score_sessions(
    reference: Sequence[Segment], hypothesis: Sequence[Segment], *, orc: bool = False
) -> list[SessionErrors]:
    """Score every recording of the reference; of one without hypothesis all words are deleted.

    Segments are normalised one by one (:func:`sepasr.score.normalise.normalise`) and joined in the
    order in which they begin.

    Args:
        reference: what was said.
        hypothesis: what was read.
        orc: take ORC-WER as well, whose effort grows with the product of the streams' lengths: for
            minutes, not for hours.

    Raises:
        UserError: the hypothesis has a recording that the reference has not, which may be empty.
    """
    said, read = _by_session(reference), _by_session(hypothesis)
    if not said:
        raise UserError("the reference has no segments", remedy="name the file of what was said")
    unknown = [name for name in read if name not in said]
    if unknown:
        remedy = f"name it as the reference does: {', '.join(list(said)[:3])}"
        raise UserError("no reference for this recording", where=unknown[0], remedy=remedy)
    found = []
    for name, segments in said.items():
        streams = _by_speaker(read.get(name, []))
        counts = None
        if orc:
            counts = orcwer([normalise(one.words) for one in segments], streams)
        found.append(SessionErrors(name, cpwer(_by_speaker(segments), streams), counts))
    return found


def _by_session(segments: Sequence[Segment]) -> dict[str, list[Segment]]:
    sessions: dict[str, list[Segment]] = defaultdict(list)
    for one in sorted(segments, key=lambda one: one.start_s):
        sessions[one.session].append(one)
    return dict(sessions)


def _by_speaker(segments: Sequence[Segment]) -> list[str]:
    """What each one says, in the order in which they are first heard."""
    speakers: dict[str, list[str]] = defaultdict(list)
    for one in segments:
        speakers[one.speaker].append(normalise(one.words))
    return [" ".join(filter(None, texts)) for texts in speakers.values()]
