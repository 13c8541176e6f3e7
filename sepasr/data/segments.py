"""Mixtures in which a speaker says several things: where each utterance is, and its words.

Beside the tables of a data directory lie Kaldi's ``segments`` (mixture, start and end in seconds)
and ``segment_text``, both by ``MIXTURE_spkS_N``.
"""

from __future__ import annotations

from collections import defaultdict

from sepasr.data.datadir import MixtureDir
from sepasr.data.scp import check_same_ids, inspect_table
from sepasr.errors import UserError

SEGMENTS, SEGMENT_TEXT = "segments", "segment_text"
_REMEDY = "prepare the directory again"


def read_segment_texts(data: MixtureDir) -> dict[str, tuple[str, ...]]:
    """For each mixture the words of every utterance, in the order in which they begin.

    Returns:
        Texts by mixture; nothing for a directory without such tables.

    Raises:
        UserError: a table is malformed or lacks an utterance; a line has no start and end in a
            known mixture; or the utterances of a mixture are not what its speakers say.
    """
    segments, words = (inspect_table(data.path / name) for name in (SEGMENTS, SEGMENT_TEXT))
    if not segments.path.exists():
        return {}
    problems = [*segments.problems, *words.problems, *check_same_ids([segments, words])]
    if problems:
        raise problems[0]
    found: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for key, value in segments.values.items():
        mixture, *times = value.split()
        try:
            start, end = map(float, times)
        except ValueError:
            raise segments.problem(key, f"'{value}' is no mixture, start and end") from None
        found[mixture].append((start, end, words.values[key]))
    for one in data.mixtures:
        said = " ".join(text for _, _, text in found.get(one.id, [])).split()
        if sorted(said) != sorted(" ".join(one.texts or ()).split()):
            what = f"the utterances of '{one.id}' are not the words of its speakers"
            raise UserError(what, where=words.path, remedy=_REMEDY)
    unknown = found.keys() - {one.id for one in data.mixtures}
    if unknown:
        what = f"'{min(unknown)}' is no mixture of the directory"
        raise UserError(what, where=segments.path, remedy=_REMEDY)
    return {key: tuple(text for *_, text in sorted(said)) for key, said in found.items()}
