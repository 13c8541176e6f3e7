"""Word errors of recordings, against meeteval's own."""

from __future__ import annotations

import json
from pathlib import Path

import meeteval
import numpy as np
import pytest

from sepasr.bin.main import main
from sepasr.decode.transcript_formats import Said, to_seglst
from sepasr.errors import UserError
from sepasr.score.sessions import Segment, read_segments, score_sessions
from sepasr.score.wer import Errors


def drawn(rng: np.random.Generator, sessions: int, speakers: int) -> list[Segment]:
    """Segments in any order, of words that the normaliser leaves alone."""
    found = [
        Segment(f"s{n}", f"p{s}", float(rng.uniform(0, 60)), " ".join(rng.choice(list("bcdfg"), 3)))
        for n in range(sessions)
        for s in range(speakers)
        for _ in range(4)
    ]
    return [found[k] for k in rng.permutation(len(found))]


def seglst(segments: list[Segment]) -> meeteval.io.SegLST:
    names = ("session_id", "speaker", "start_time", "words")
    rows = [dict(zip(names, vars(one).values(), strict=True)) for one in segments]
    return meeteval.io.SegLST(rows)


def test_counts_are_meeteval_s() -> None:
    rng = np.random.default_rng(0)
    reference, hypothesis = drawn(rng, 3, 2), drawn(rng, 3, 3)
    scored = score_sessions(reference, hypothesis, orc=True)
    pair = [seglst(sorted(side, key=lambda one: one.start_s)) for side in (reference, hypothesis)]
    cp, orc = meeteval.wer.cpwer(*pair), meeteval.wer.orcwer(*pair)
    assert {one.session for one in scored} == set(cp) == {"s0", "s1", "s2"}
    for one in scored:
        assert one.orc is not None
        assert (one.cp.errors, one.cp.words) == (cp[one.session].errors, cp[one.session].length)
        assert (one.orc.errors, one.orc.words) == (orc[one.session].errors, orc[one.session].length)


def test_both_sides_are_normalised_and_in_the_order_of_time(tmp_path: Path) -> None:
    lines = "talk 1 ann 5.0 7.0 on the Colour wheel\n;; a comment\ntalk 1 ann 0.5 2.0 It's TWENTY\n"
    (tmp_path / "said.stm").write_text(lines + "talk 1 bob 2.0 3.0 uh, goodbye!\n")
    read = to_seglst("talk", [Said(0.4, 2.5, 2, "it is 20"), Said(5, 7, 2, "on the color wheel")])
    (tmp_path / "read.json").write_text(read)
    reference, hypothesis = (read_segments([tmp_path / n]) for n in ("said.stm", "read.json"))
    (one,) = score_sessions(reference, hypothesis)
    assert (one.session, one.cp, one.orc) == ("talk", Errors(8, deletions=1), None)


def test_the_command(tmp_path: Path, capsys) -> None:
    (tmp_path / "said.stm").write_text("a 1 x 0 1 red fox\nb 1 x 0 1 a black cat\n")
    (tmp_path / "a.seglst.json").write_text(to_seglst("a", [Said(0, 1, 1, "red fox runs")]))
    (tmp_path / "b.seglst.json").write_text("[]\n")
    files = [str(tmp_path / n) for n in ("said.stm", "a.seglst.json", "b.seglst.json")]
    assert main(["wer", *files, "--orc"]) == 0
    told = capsys.readouterr()
    assert "b: nothing was read" in told.err
    assert [line.split() for line in told.out.splitlines()[-3:]] == [
        ["a", "50.0", "50.0", "2", "0", "1", "0"],
        ["b", "100.0", "100.0", "3", "0", "0", "3"],
        ["all", "80.0", "80.0", "5", "0", "1", "3"],
    ]


@pytest.mark.parametrize(
    ("name", "text", "cause"),
    [
        ("a.json", "{", "neither SegLST"),
        ("a.json", "[1]", "neither SegLST"),
        ("a.json", json.dumps([{"session_id": "a", "words": "x"}]), "a segment has no 'speaker'"),
        ("a.json", json.dumps([{"session_id": "a", "speaker": 1, "words": None}]), "not text"),
        (
            "a.json",
            json.dumps([{"session_id": "a", "speaker": 1, "words": "x", "start_time": "soon"}]),
            "neither SegLST",
        ),
        ("a.stm", "too few", "neither SegLST"),
        ("a.txt", "a b c", "neither SegLST"),
        ("none.stm", None, "no such file"),
        ("a.stm", "other 1 x 0 1 words\n", "other: no reference for this recording"),
    ],
)
def test_what_is_no_transcript_is_refused(tmp_path: Path, name: str, text, cause: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=cause):
        score_sessions([Segment("a", "x", 0, "words")], read_segments([tmp_path / name]))


def test_a_recording_is_in_one_file_and_there_is_a_reference(tmp_path: Path) -> None:
    (tmp_path / "a.stm").write_text("a 1 x 0 1 words\n")
    with pytest.raises(UserError, match=r"recording 'a' is in .*a\.stm already"):
        read_segments([tmp_path / "a.stm", tmp_path / "a.stm"])
    with pytest.raises(UserError, match="the reference has no segments"):
        score_sessions([], read_segments([tmp_path / "a.stm"]))
