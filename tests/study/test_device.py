"""Studies separate and read on the device that is asked for."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from small_study import make_place

from sepasr.data.datadir import MixtureDir
from sepasr.errors import UserError
from sepasr.models import REPOSITORY
from sepasr.study import evaluation as module
from sepasr.study.evaluation import Evaluation, Reader, Subject


@pytest.mark.parametrize(
    ("asked", "of_separator", "of_whisper"),
    [(None, "cpu", "cpu"), ("cuda:1", "cuda:1", "cuda:1")],
)
def test_separators_and_readers_run_where_is_asked(
    data_dirs, tmp_path, monkeypatch, asked, of_separator, of_whisper
) -> None:
    place = replace(make_place(tmp_path, data_dirs), device=asked, conf=REPOSITORY / "conf")
    assert Reader("whisper_base", place).config.device == of_whisper
    assert Reader("moonshine_tiny", place).config.device == "cpu"  # it can't choose
    loaded = {}

    def load_separator(model, device):
        loaded["separator"] = device
        raise UserError("far enough")

    def build_recogniser(config, _source):
        loaded["reader"] = config.device

    monkeypatch.setattr(module, "load_separator", load_separator)
    monkeypatch.setattr(module, "build_recogniser", build_recogniser)
    assert Reader("whisper_base", place).recogniser is None
    mixtures = MixtureDir.load(place.data / "cv")
    with pytest.raises(UserError, match="far enough"):
        Evaluation(mixtures, place)._separate(Subject("key", place.start))
    assert loaded == {"separator": of_separator, "reader": of_whisper}


def test_a_reader_of_one_s_own_is_told_from_another_version(data_dirs, tmp_path, monkeypatch):
    (tmp_path / "conf/asr").mkdir(parents=True)
    settings = "name: mine\nkind: my_lab.reader\nfamily: mine\nweights: mine\n"
    (tmp_path / "conf/asr/mine.yaml").write_text(settings)
    place = replace(make_place(tmp_path, data_dirs), conf=tmp_path / "conf")
    digests = []
    for version in ("1", "1", "2"):
        made = SimpleNamespace(identity=version)
        monkeypatch.setattr(module, "build_recogniser", lambda *_, made=made: made)
        digests.append(Reader("mine", place).digest)
    assert digests[0] == digests[1] != digests[2]
