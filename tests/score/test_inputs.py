import json

import pytest

from sepasr.errors import UserError
from sepasr.files import write_text
from sepasr.score.inputs import (
    Primary,
    TableConfig,
    not_scored,
    recogniser_info,
    system_info,
    versions,
)
from sepasr.score.result import RecogniserInfo, SystemInfo, relation

TINY = {"name": "whisper_tiny_en", "family": "whisper", "weights": "whisper-tiny.en"}
MINI = {"name": "wav2vec2_mini", "family": "wav2vec2", "weights": "mini"}


def separated(exp, encoders: list, folder: str = "ae/seed1") -> SystemInfo:
    """A system of one training of 100 steps for each encoder, None for a loss without."""
    history = [{"encoder": e, "seed": n, "steps": 100} for n, e in enumerate(encoders)]
    text = json.dumps({"history": history})
    write_text(exp / "separate" / folder / "separator.json", text)
    return system_info(exp, folder)


def test_encoders_of_earlier_trainings_count(tmp_path):
    tiny = RecogniserInfo(*TINY.values())
    base = RecogniserInfo("base", "whisper", "whisper-base")
    mini = RecogniserInfo(*MINI.values())

    def relations(*encoders) -> list[str | None]:
        system = separated(tmp_path, list(encoders))
        return [relation(system, reader) for reader in (tiny, base, mini)]

    assert relations(TINY, MINI) == ["seen", "kin", "seen"]
    assert relations(MINI, None) == ["unseen", "unseen", "seen"]
    assert relations(None, TINY, TINY) == ["seen", "kin", "unseen"]
    assert relations(None, None) == [None] * 3
    assert separated(tmp_path, [TINY, MINI]).encoder == "wav2vec2_mini"


def test_the_rate_is_that_of_the_last_training(tmp_path):
    write_text(
        tmp_path / "separate/ae/separator.json",
        json.dumps({"history": [{"lr": 1e-3, "steps": 9}, {"lr": 3e-5, "steps": 100}]}),
    )
    assert system_info(tmp_path, "ae").lr == 3e-5
    assert separated(tmp_path, [TINY]).lr is None  # that of an earlier version


def test_versions_name_what_is_not_installed(monkeypatch):
    monkeypatch.setattr("sepasr.score.inputs.PACKAGES", ("numpy", "no-such-package"))
    found = versions()
    assert list(found) == ["Python", "numpy", "no-such-package"]
    assert found["numpy"][0].isdecimal()
    assert found["no-such-package"] == "(not installed)"


@pytest.mark.parametrize("change", [{"weights": "other"}, {"identity": "beam 5"}])
def test_one_recogniser_reads_all_systems(tmp_path, change):
    def read(folder: str, **changes: str) -> None:
        found = {**MINI, "identity": "beam 1", **changes}
        write_text(tmp_path / "decode" / folder / "mini/recogniser.json", json.dumps(found))

    read("sisdr/seed1")
    read("ae/seed1")
    both = ["sisdr/seed1", "ae/seed1"]
    assert recogniser_info(tmp_path, both, "mini") == RecogniserInfo(*MINI.values())
    read("ae/seed1", **change)
    with pytest.raises(UserError, match=r"ae/seed1/mini.*another.*sisdr/seed1/mini"):
        recogniser_info(tmp_path, both, "mini")


def test_what_the_table_names_and_nobody_scored_is_told():
    table = TableConfig("sisdr", [Primary("ae", "tiny"), Primary("ea", "tiny"), Primary("ae", "x")])
    systems = [SystemInfo("sisdr", "sisdr/seed1"), SystemInfo("ae", "ae/seed1")]
    readers = [RecogniserInfo("tiny", "whisper", "tiny")]
    assert not_scored(table, systems, readers) == [
        "Not scored: ea by tiny, named as primary.",
        "Not scored: ae by x, named as primary.",
    ]
    assert "sisdr, the control" in not_scored(table, systems[1:], readers)[0]


def test_streams_of_another_program_have_no_history(tmp_path) -> None:
    with pytest.raises(UserError, match=r"other/separator\.json: no such file \(separate first"):
        system_info(tmp_path, "other")
    (tmp_path / "separate/other").mkdir(parents=True)
    (tmp_path / "separate/other/spk1.scp").write_text("m1 /streams/m1.wav\n")
    assert system_info(tmp_path, "other") == SystemInfo("other", "other")
