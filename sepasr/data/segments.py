"""Mixtures in which a speaker says several things: where each utterance is, and its words.

Beside the tables of a data directory lie Kaldi's ``segments`` (mixture, start and end in seconds)
and ``segment_text``, both by ``MIXTURE_spkS_N``.
"""

from __future__ import annotations

import re
from collections import defaultdict

from sepasr.data.datadir import MixtureDir
from sepasr.data.scp import check_same_ids, inspect_table
from sepasr.errors import UserError

SEGMENTS, SEGMENT_TEXT = "segments", "segment_text"
_REMEDY = "prepare the directory again"


def read_segment_texts(data: MixtureDir) -> dict[str, tuple[tuple[int, str], ...]]:
    """For each mixture the speaker, from 1, and the words of every utterance, as they begin.

    Where ``data`` has a part of its directory's mixtures, the tables' other lines are left out.

    Returns:
        Utterances by mixture; nothing for a directory without such tables.

    Raises:
        UserError: a table is malformed or lacks an utterance; a line has no start and end in a
            mixture, or its id no speaker; or the utterances of a mixture are not what its speakers
            say.
    """
    segments, words = (inspect_table(data.path / name) for name in (SEGMENTS, SEGMENT_TEXT))
    if not segments.path.exists():
        return {}
    problems = [*segments.problems, *words.problems, *check_same_ids([segments, words])]
    if problems:
        raise problems[0]
    found: dict[str, list[tuple[float, float, int, str]]] = defaultdict(list)
    for key, value in segments.values.items():
        mixture, *times = value.split()
        try:
            start, end = map(float, times)
        except ValueError:
            raise segments.problem(key, f"'{value}' is no mixture, start and end") from None
        match = re.fullmatch(rf"{re.escape(mixture)}_spk(\d+)_\d+", key)
        if match is None:
            raise segments.problem(key, f"the id '{key}' is not {mixture}_spkSPEAKER_NUMBER")
        found[mixture].append((start, end, int(match[1]), words.values[key]))
    for one in data.mixtures:
        said: dict[int, list[str]] = defaultdict(list)
        for *_, speaker, text in found.get(one.id, []):
            said[speaker] += text.split()
        texts = {s: sorted(text.split()) for s, text in enumerate(one.texts or (), 1) if text}
        if {speaker: sorted(spoken) for speaker, spoken in said.items() if spoken} != texts:
            what = f"the utterances of '{one.id}' are not the words of its speakers"
            raise UserError(what, where=words.path, remedy=_REMEDY)
    return {
        one.id: tuple(span[2:] for span in sorted(found[one.id]))
        for one in data.mixtures
        if one.id in found
    }


def check_segments(data: MixtureDir) -> None:
    """Check the tables of a whole directory.

    Raises:
        UserError: as :func:`read_segment_texts`, and for an utterance of no mixture.
    """
    read_segment_texts(data)
    segments, known = inspect_table(data.path / SEGMENTS), {one.id for one in data.mixtures}
    for key, value in segments.values.items():
        if value.split()[0] not in known:
            raise segments.problem(key, f"'{value.split()[0]}' is no mixture of the directory")
