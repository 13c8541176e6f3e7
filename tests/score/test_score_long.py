"""ORC-WER of mixtures in which speakers say several things: by utterance, against brute force."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from meeteval.wer.wer.orc import orc_word_error_rate

from sepasr.data.audio import write_audio
from sepasr.data.datadir import Info, Mixture, MixtureDir
from sepasr.data.scp import write_table
from sepasr.data.segments import SEGMENT_TEXT, SEGMENTS
from sepasr.score.result import RecogniserInfo, SystemInfo
from sepasr.score.rows import UtteranceRow
from sepasr.score.score import score
from sepasr.score.wer import orcwer

FS = 16_000
SYSTEM = SystemInfo("sisdr", "sisdr/seed1", seed=1, steps=1)
CTC = RecogniserInfo("ctc", "wav2vec2", "w2v2")
# Speaker, start in seconds, words.
SAID = [(1, 0.0, "a b c"), (2, 0.2, "d e"), (1, 2.5, "f g"), (2, 3.0, "h i j k"), (2, 9.9, "l")]


def edit_distance(reference: list[str], hypothesis: list[str]) -> int:
    row = list(range(len(hypothesis) + 1))
    for i, word in enumerate(reference, 1):
        previous, row = row, [i]
        for j, other in enumerate(hypothesis, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (word != other)))
    return row[-1]


def brute_force(utterances: list[str], streams: list[str]) -> int:
    """Every utterance on every stream, in the order given."""
    found = []
    for chosen in product(range(len(streams)), repeat=len(utterances)):
        carried = [
            [
                word
                for u, s in zip(utterances, chosen, strict=True)
                if s == stream
                for word in u.split()
            ]
            for stream in range(len(streams))
        ]
        pairs = zip(carried, streams, strict=True)
        found.append(sum(edit_distance(words, text.split()) for words, text in pairs))
    return min(found)


def rows(
    folder: Path, streams: list[str], *, mixture: bool = False, said: Sequence = SAID
) -> list[UtteranceRow]:
    """Score one long mixture of two speakers, read as ``streams``."""
    rng = np.random.default_rng(0)
    names = ("m", "s1", "s2")
    files = {name: folder / f"{name}.wav" for name in names}
    for file in files.values():
        write_audio(file, 0.1 * rng.standard_normal(FS // 2).astype(np.float32), FS)
    texts = tuple(" ".join(words for s, _, words in said if s == n) for n in (1, 2))
    references = (files["s1"], files["s2"])
    one = Mixture("m", files["m"], references, None, texts, ("x", "y"), 0.5)
    data = MixtureDir(folder / "data", Info("toy", FS, "max", "mix", "anechoic"), (one,))
    data.write()
    keys = {f"m_spk{s}_{n}": (start, words) for n, (s, start, words) in enumerate(said)}
    write_table(
        data.path / SEGMENTS, {k: f"m {start} {start + 1}" for k, (start, _) in keys.items()}
    )
    write_table(data.path / SEGMENT_TEXT, {key: words for key, (_, words) in keys.items()})
    system = SystemInfo("mixture", "mixture") if mixture else SYSTEM
    decode = folder / "exp/decode" / system.folder / "ctc"
    for number, text in enumerate(streams, 1):
        write_table(decode / f"text_spk{number}", {"m": text}, empty_values=True)
        separated = folder / "exp/separate" / system.folder / f"spk{number}.scp"
        write_table(separated, {"m": str(references[number - 1])})
    (decode / "guard.csv").write_text("id,stream,rule\n")
    return list(score(data, [system], [CTC], folder / "exp").utterances)


def test_a_stream_that_changes_its_speaker_costs_cpwer_alone(tmp_path: Path) -> None:
    """After a pause the streams go on with each other's speaker."""
    (row,) = rows(tmp_path, ["a b c h i j k", "d e f g l"])
    assert (row.words, row.orc_errors) == (12, 0)
    assert row.cp_errors > 0


def test_errors_are_those_of_the_best_assignment(tmp_path: Path) -> None:
    streams = ["a x c f g", "d e h j k l m"]
    (row,) = rows(tmp_path, streams)
    assert row.orc_errors == brute_force([words for *_, words in SAID], streams) == 3


def test_utterances_of_one_stream_keep_their_order(tmp_path: Path) -> None:
    """What is said later isn't found before what is said earlier."""
    (row,) = rows(tmp_path, ["f g a b c", "d e h i j k l"])
    assert row.orc_errors == brute_force([w for *_, w in SAID], ["f g a b c", "d e h i j k l"]) == 4


def test_one_decode_of_the_mixture_carries_all(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, ["a b c d e f g h i j k l"], mixture=True)
    assert row.orc_errors == 0
    assert row.cp_errors == 12  # each speaker's words are insertions to the other


def test_numbers_on_both_sides_of_a_pause(tmp_path: Path) -> None:
    """Both rates have the same references: 20 and 5, of which a reading in one go makes 25."""
    said = [(1, 0.0, "we counted twenty"), (1, 2.0, "five cats came"), (2, 1.0, "a b")]
    (row,) = rows(tmp_path, ["we counted twenty five cats came", "a b"], said=said)
    assert (row.words, row.cp_errors, row.orc_errors) == (8, 2, 2)


@pytest.mark.parametrize(("utterances", "streams"), [(6, 2), (8, 2), (10, 2), (4, 3), (6, 3)])
def test_many_utterances_against_meeteval_and_brute_force(utterances: int, streams: int) -> None:
    """Few are tried one by one, many go through meeteval's search: both are exact."""
    rng = np.random.default_rng(utterances * streams)
    for _ in range(3):
        said = [" ".join(rng.choice(list("abc"), rng.integers(1, 4))) for _ in range(utterances)]
        read = [" ".join(rng.choice(list("abc"), rng.integers(2, 7))) for _ in range(streams)]
        found = orcwer(said, read)
        counts = orc_word_error_rate(said, read, reference_sort=False, hypothesis_sort=False)
        assert found.errors == counts.errors == brute_force(said, read)
        assert found.words == sum(len(text.split()) for text in said)
