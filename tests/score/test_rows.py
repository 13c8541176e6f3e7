import math

import pytest

from sepasr.errors import UserError
from sepasr.score.rows import GuardRow, MeasureRow, Scores, UtteranceRow, read_rows, write_rows

UTTERANCE = UtteranceRow("sisdr", 1, "whisper, base", "a_1_b_-1", 12, 3, 2, 10.1234, 5.5)
SCORES = Scores(
    (UTTERANCE, UtteranceRow("clean", None, "ctc", "m", 9, 0, 0, math.nan, math.nan)),
    (MeasureRow("sisdr", 0, "m", 1.5, -0.25, math.nan, 0.9, 0.8, 3.25),),
    (),
)


def test_header_of_the_utterances(tmp_path):
    SCORES.write(tmp_path)
    header, first, second = (tmp_path / "utterances.csv").read_text().splitlines()
    assert header == "system,seed,recogniser,mixture,words,cp_errors,orc_errors,si_sdr,si_sdri"
    assert first == 'sisdr,1,"whisper, base",a_1_b_-1,12,3,2,10.1234,5.5'
    assert second == "clean,,ctc,m,9,0,0,,"


def test_round_trip(tmp_path):
    SCORES.write(tmp_path)
    again = Scores.read(tmp_path)
    assert repr(again) == repr(SCORES)  # NaN equals itself only by its text
    row = GuardRow("mixture", None, "ctc", "m", 1, "length")
    write_rows(tmp_path / "guard.csv", GuardRow, [row])
    assert read_rows(tmp_path / "guard.csv", GuardRow) == (row,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"u\.csv:1: the header is not system,seed,"),
        ("system,seed\n", r"u\.csv:1: the header is not system,seed,"),
        ("{header}\na,1,r,m,12,x,2,1.0,1.0\n", r"u\.csv:2: invalid literal for int"),
        ("{header}\na,1,r,m,12,,2,1.0,1.0\n", r"u\.csv:2: "),
        ("{header}\na,1,r,m,12,3\n", r"u\.csv:2: zip\(\) argument 2 is shorter"),
    ],
)
def test_bad_tables_are_named_with_the_line(tmp_path, text, message):
    path = tmp_path / "u.csv"
    header = "system,seed,recogniser,mixture,words,cp_errors,orc_errors,si_sdr,si_sdri"
    path.write_text(text.replace("{header}", header))
    with pytest.raises(UserError, match=message):
        read_rows(path, UtteranceRow)


def test_a_missing_table(tmp_path):
    with pytest.raises(UserError, match="no such table"):
        Scores.read(tmp_path)
