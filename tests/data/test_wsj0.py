from __future__ import annotations

import os

import pytest
from hand_made import TEXTS

from sepasr.data.wsj0 import Wsj0, parse_dot_line, speaker_of
from sepasr.errors import UserError
from sepasr.score.normalise import normalise


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("plain words", "PLAIN WORDS"),
        ("Mixed CASE", "MIXED CASE"),
        (r"\"DOUBLE-QUOTE it\'s", "\"DOUBLE-QUOTE IT'S"),
        ("cut ~ off", "CUT OFF"),
        ("~ cut~", "CUT"),
        ("a . pause .", "A PAUSE"),
        ("the end .PERIOD", "THE END .PERIOD"),
        ("one ,COMMA two", "ONE ,COMMA TWO"),
        ("U. S. A.", "U. S. A."),
        ("a [loud_breath] b", "A <NOISE> B"),
        ("a [tongue click] b", "A <NOISE> B"),
        ("door [<door_slam] shut", "DOOR SHUT"),
        ("[door_slam>] door shut", "DOOR SHUT"),
        ("[phone_ring/] said while it rang [/phone_ring] end", "SAID WHILE IT RANG END"),
        ("he <said> so", "HE SAID SO"),
        ("he <said so>", "HE SAID SO"),
        (r"a \-\-DASH b", "A -DASH B"),
        ("a --DASH b", "A -DASH B"),
        ("a -HYPHEN b", "A -HYPHEN B"),
        ("ten %PERCENT", "TEN PERCENT"),
        (r"ten \%PERCENT", "TEN PERCENT"),
        ("three .POINT five", "THREE POINT FIVE"),
        ("(PAREN a )PAREN", "PAREN A PAREN"),
        (r"up \(LEFT\-PAREN two )RIGHT-PAREN", "UP LEFT-PAREN TWO RIGHT-PAREN"),
        ("he *sayd* so", "HE SAYD SO"),
        ("  many   spaces\t", "MANY SPACES"),
        ("", ""),
    ],
)
def test_words_are_tidied_by_the_rules(words, text):
    assert parse_dot_line(f"{words} (011c0201)") == ("011c0201", text)


def test_scoring_keeps_what_is_said_in_parentheses():
    _, text = parse_dot_line(r"it \(LEFT\-PAREN up two \)RIGHT\-PAREN fell (440o0302)")
    assert normalise(text) == "it left paren up 2 right paren fell"


@pytest.mark.parametrize("line", ["words (011C0201)", "words (011c0201)  ", "words ( 011c0201 )\r"])
def test_the_utterance_is_in_lower_case(line):
    assert parse_dot_line(line) == ("011c0201", "WORDS")


@pytest.mark.parametrize(
    "line", ["words", "words 011c0201", "words (011c0201", "words (a b)", "()"]
)
def test_a_malformed_line_is_named(line):
    with pytest.raises(UserError) as error:
        parse_dot_line(line, "dots/011c0200.dot", 7)
    assert str(error.value).startswith(f"dots/011c0200.dot:7: '{line}' is not of the form")


def test_a_speaker_is_three_characters():
    assert speaker_of("22gc0105") == "22g"


def test_utterances_are_found_on_all_discs_in_any_case(corpora):
    found = Wsj0(corpora.wsj0).utterances("si_et_05")
    assert {u: str(file.relative_to(corpora.wsj0)) for u, file in found.items()} == {
        "22gc0105": "wsj0/si_et_05/22g/22gc0105.wav",
        "22go010b": "wsj0/si_et_05/22g/22go010b.wav",
        "445c0206": "11-1.1/wsj0/SI_ET_05/445/445C0206.WAV",
    }
    assert list(found) == sorted(found)


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_the_second_microphone_is_never_taken(tmp_path):
    folder = tmp_path / "wsj0" / "si_tr_s" / "011"
    for name in (
        "011c0201.wv1",
        "011c0201.wv2",
        "011c0202.wv1",
        "011c0202.wv2.wav",
        "011c0203.wv2",
    ):
        touch(folder / name)
    assert Wsj0(tmp_path).utterances("si_tr_s") == {
        "011c0201": folder / "011c0201.wv1",
        "011c0202": folder / "011c0202.wv1",
    }
    for name in ("011c0201.wv1", "011c0202.wv1"):
        (folder / name).unlink()
    with pytest.raises(UserError, match=r"3 files of 'si_tr_s' are of the second microphone"):
        Wsj0(tmp_path).utterances("si_tr_s")


def test_wav_is_preferred_to_sphere_wherever_it_lies(tmp_path):
    for name in (
        "a/si_tr_s/011/011c0201.wv1",
        "b/si_tr_s/011/011c0201.wav",
        "c/si_tr_s/011c0201.wv1",
    ):
        touch(tmp_path / name)
    assert Wsj0(tmp_path).utterances("si_tr_s") == {
        "011c0201": tmp_path / "b/si_tr_s/011/011c0201.wav"
    }


def test_other_subsets_are_left_alone(tmp_path):
    touch(tmp_path / "si_dt_05" / "050" / "050c0101.wav")
    touch(tmp_path / "si_tr_s.txt" / "050c0101.wav")
    with pytest.raises(UserError, match=r"no utterance .* below any folder named 'si_tr_s'"):
        Wsj0(tmp_path).utterances("si_tr_s")


def test_a_link_to_a_folder_above_does_not_go_round(tmp_path):
    touch(tmp_path / "disc" / "si_tr_s" / "011" / "011c0201.wav")
    (tmp_path / "disc" / "si_tr_s" / "up").symlink_to(tmp_path)
    (tmp_path / "wsj0").mkdir()
    (tmp_path / "wsj0" / "11-1.1").symlink_to(tmp_path / "disc")
    assert list(Wsj0(tmp_path / "wsj0").utterances("si_tr_s")) == ["011c0201"]


def test_transcripts_are_found_in_every_layout(corpora):
    assert Wsj0(corpora.wsj0).transcripts(list(TEXTS)) == TEXTS


def test_only_the_sessions_asked_for_are_read(corpora):
    (corpora.wsj0 / "wsj0/transcrp/dots/si_et_05/22g/22gc0100.dot").write_text("malformed\n")
    assert Wsj0(corpora.wsj0).transcripts(["22go010b"]) == {"22go010b": TEXTS["22go010b"]}
    with pytest.raises(UserError, match=r"22gc0100\.dot:1: 'malformed' is not of the form"):
        Wsj0(corpora.wsj0).transcripts(["22gc0105"])


def test_a_missing_transcript_is_named_with_where_it_was_searched(corpora):
    with pytest.raises(UserError) as error:
        Wsj0(corpora.wsj0).transcripts(["22go010b", "999c0101"])
    assert str(error.value) == (
        f"{corpora.wsj0}/**/999c01*.dot: no transcript of '999c0101' "
        f"(3 .dot files are below {corpora.wsj0}: give a folder above transcrp/dots)"
    )


def test_a_transcript_without_words_is_refused(corpora):
    path = corpora.wsj0 / "wsj0/transcrp/dots/si_et_05/22g/22gc0100.dot"
    path.write_text("\n. ~ (22gc0105)\n")
    with pytest.raises(UserError, match=r"22gc0100\.dot:2: no transcript of '22gc0105': no words"):
        Wsj0(corpora.wsj0).transcripts(["22gc0105"])


def test_two_transcripts_must_agree(corpora):
    copy = corpora.wsj0 / "z" / "22gc0100.dot"
    copy.parent.mkdir()
    copy.write_text("second, ONE %PERCENT (22gc0105)\n")
    assert Wsj0(corpora.wsj0).transcripts(["22gc0105"]) == {"22gc0105": TEXTS["22gc0105"]}
    copy.write_text("something else (22gc0105)\n")
    with pytest.raises(UserError, match=r"z/22gc0100\.dot:1: another transcript of '22gc0105'"):
        Wsj0(corpora.wsj0).transcripts(["22gc0105"])


def test_a_missing_folder_is_named(tmp_path):
    wsj0 = Wsj0(tmp_path / "nowhere")
    for search in (wsj0.utterances, wsj0.audio, wsj0.transcripts):
        with pytest.raises(UserError, match="nowhere: no such folder"):
            search("si_tr_s")


def test_a_folder_that_cannot_be_listed_is_not_passed_over(tmp_path, monkeypatch):
    (tmp_path / "si_tr_s/011").mkdir(parents=True)
    listed = os.scandir

    def scandir(path):
        if str(path).endswith("011"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match=r"si_tr_s/011: can't be read: Permission denied"):
        Wsj0(tmp_path).utterances("si_tr_s")
