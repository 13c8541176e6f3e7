import importlib
import os
import stat
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

from sepasr.errors import UserError
from sepasr.foreign import (
    EspnetModel,
    check_pickle,
    espnet_built,
    espnet_import,
    load_state,
    read_pickle,
    state_dict,
)
from sepasr.models import cache_dir
from sepasr.unpack import unpack_zip

WEIGHTS = {"encoder.weight": torch.arange(6.0).reshape(2, 3)}
TRAINED = "exp/asr_tiny"
SETTINGS = {
    "token_type": "bpe",
    "token_list": ["<blank>", "data/notes.txt", "<sos/eos>"],
    "bpemodel": "data/bpe.model",
    "normalize_conf": {"stats_file": "exp/stats/feats.npz"},
    "train_shape_file": ["exp/stats/not_packed"],
    "log_file": None,
}


class Code:
    """Leaves a file where its pickle is executed."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A model as ESPnet packs it, unpacked; the user's cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return write_zoo(tmp_path / "zoo")


def write_zoo(folder: Path) -> Path:
    files = {
        "meta.yaml": {
            "files": {"asr_model_file": f"{TRAINED}/valid.acc.ave_2best.pth"},
            "yaml_files": {"asr_train_config": f"{TRAINED}/config.yaml"},
            "espnet": "202511",
        },
        f"{TRAINED}/config.yaml": SETTINGS,
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(yaml.safe_dump(content))
    for name in ("data/bpe.model", "data/notes.txt", "exp/stats/feats.npz"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    torch.save(WEIGHTS, folder / TRAINED / "valid.acc.ave_2best.pth")
    return folder


def packed(folder: Path, file: Path, **extra: str) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
        for name, text in extra.items():
            archive.writestr(name, text)
    return file


def test_tensors_and_plain_values_are_read(tmp_path):
    torch.save({"model": WEIGHTS, "epoch": 3, "names": ["a"]}, tmp_path / "a.pth")
    content = read_pickle(tmp_path / "a.pth")
    assert content["epoch"] == 3
    assert content["names"] == ["a"]
    assert torch.equal(content["model"]["encoder.weight"], WEIGHTS["encoder.weight"])


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_by_name_and_not_executed(tmp_path, zipped):
    file, trace = tmp_path / "evil.pth", tmp_path / "trace"
    torch.save({**WEIGHTS, "x": Code(trace)}, file, _use_new_zipfile_serialization=zipped)
    for read in (read_pickle, check_pickle):
        with pytest.raises(UserError, match=r"evil\.pth: .*it wants to call posix\.mkdir"):
            read(file)
    assert not trace.exists()
    # The same file does execute where pickles are trusted: the test would see it.
    torch.load(file, weights_only=False)
    assert trace.exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", b"PK\x03\x04 half a zip", b"\x80\x02}q"])
def test_broken_files(tmp_path, content):
    (tmp_path / "broken.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.pth: can't be read"):
        read_pickle(tmp_path / "broken.pth")


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        check_pickle(tmp_path / "none.pth")


def test_an_unpacked_model_and_its_zip_are_the_same(zoo, tmp_path):
    as_folder = EspnetModel.find(zoo)
    as_zip = EspnetModel.find(packed(zoo, tmp_path / "zoo.zip"))
    assert as_folder.weights == zoo / TRAINED / "valid.acc.ave_2best.pth"
    assert as_folder.config == zoo / TRAINED / "config.yaml"
    assert as_zip.weights.is_relative_to(cache_dir())
    assert as_zip.weights.read_bytes() == as_folder.weights.read_bytes()
    assert as_zip.digest() == as_folder.digest()


def test_an_experiment_is_the_same_model(zoo):
    # Paths in its settings are relative to the recipe, two directories up.
    found = EspnetModel.find(zoo / TRAINED)
    assert found.settings == EspnetModel.find(zoo).settings
    assert found.weights == EspnetModel.find(zoo).weights


def test_relative_paths_that_exist_are_made_absolute_and_nothing_else(zoo):
    settings = EspnetModel.find(zoo).settings
    assert settings["bpemodel"] == str(zoo / "data/bpe.model")
    assert settings["normalize_conf"]["stats_file"] == str(zoo / "exp/stats/feats.npz")
    for name in ("token_type", "token_list", "train_shape_file", "log_file"):
        assert settings[name] == SETTINGS[name]


@pytest.mark.parametrize(
    "changed", ["data/bpe.model", "exp/stats/feats.npz", f"{TRAINED}/config.yaml"]
)
def test_the_digest_sees_every_file(zoo, changed):
    before = EspnetModel.find(zoo).digest()
    with open(zoo / changed, "a") as file:
        file.write("\nx: 1\n")
    assert EspnetModel.find(zoo).digest() != before


def test_averaged_weights_are_preferred_and_links_are_one_file(zoo):
    folder = zoo / TRAINED
    torch.save(WEIGHTS, folder / "7epoch.pth")
    torch.save(WEIGHTS, folder / "valid.acc.best.pth")
    (folder / "valid.acc.ave.pth").symlink_to("valid.acc.ave_2best.pth")
    assert EspnetModel.find(folder).weights == folder / "valid.acc.ave.pth"
    torch.save(WEIGHTS, folder / "valid.loss.ave.pth")
    with pytest.raises(
        UserError, match=r"several files of weights: valid\.acc\.ave\.pth, valid\.l"
    ):
        EspnetModel.find(folder)
    assert EspnetModel.find(folder / "7epoch.pth").weights == folder / "7epoch.pth"


def test_what_is_no_model(zoo, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no ESPnet model"):
        EspnetModel.find(tmp_path / "empty")
    with pytest.raises(UserError, match=r"it lists no lm_train_config"):
        EspnetModel.find(zoo, kind="lm")
    with pytest.raises(UserError, match="no such model directory"):
        EspnetModel.find(tmp_path / "none")
    (zoo / TRAINED / "valid.acc.ave_2best.pth").unlink()
    with pytest.raises(UserError, match=r"no valid\.acc\.ave_2best\.pth in this model"):
        EspnetModel.find(zoo)


def test_a_zip_is_unpacked_once(zoo, tmp_path):
    file = packed(zoo, tmp_path / "zoo.zip")
    folder = unpack_zip(file, "meta.yaml")
    (folder / "data/bpe.model").write_text("kept")
    assert unpack_zip(file, "meta.yaml") == folder
    assert (folder / "data/bpe.model").read_text() == "kept"
    assert [f.name for f in folder.parent.iterdir()] == [folder.name]
    packed(zoo, file, more="more")
    assert unpack_zip(file, "meta.yaml") != folder


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("../outside", "would leave the folder"),
        ("exp/../../outside", "would leave the folder"),
        ("..\\outside", "would leave the folder"),
        ("/tmp/outside", "has an absolute name"),
        ("C:\\outside", "has an absolute name"),
    ],
)
def test_members_that_leave_the_folder_are_refused(zoo, tmp_path, name, cause):
    file = packed(zoo, tmp_path / "zoo.zip", **{name: "x"})
    with pytest.raises(UserError, match=f"zoo.zip: its member .* {cause}"):
        unpack_zip(file, "meta.yaml")
    assert not list(tmp_path.rglob("outside"))
    assert not cache_dir().exists()


def test_links_are_refused(zoo, tmp_path):
    file = packed(zoo, tmp_path / "zoo.zip")
    link = zipfile.ZipInfo("exp/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(link, "/etc")
    with pytest.raises(UserError, match="'exp/link' is not a plain file"):
        unpack_zip(file, "meta.yaml")


def test_a_damaged_zip_leaves_nothing(zoo, tmp_path):
    file = packed(zoo, tmp_path / "zoo.zip")
    content = file.read_bytes()
    for damaged, cause in (
        # Cut off behind the weights, which are a zip themselves.
        (content[:-30], "no meta.yaml in this zip"),
        (content[:200], "can't be unpacked"),
        (content.replace(b"data/bpe.model", b"other contents", 1), "can't be unpacked"),
        (content.replace(b"data/notes.txtP", b"other/contentsP", 1), "can't be unpacked: Bad CRC"),
    ):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=rf"zoo\.zip: {cause}"):
            unpack_zip(file, "meta.yaml")
    assert not list((cache_dir() / "espnet").glob("*"))


def test_a_cache_that_cannot_be_written(zoo, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(zoo / "meta.yaml"))
    with pytest.raises(UserError, match=r"can't write: .*set XDG_CACHE_HOME"):
        unpack_zip(packed(zoo, tmp_path / "zoo.zip"), "meta.yaml")


def test_weights_come_out_of_deepspeeds_nesting(zoo):
    model = EspnetModel.find(zoo)
    plain = state_dict(model)
    torch.save({"module": WEIGHTS, "epoch": 3}, model.weights)
    assert state_dict(model).keys() == plain.keys() == WEIGHTS.keys()
    torch.save({"model": WEIGHTS}, model.weights)
    with pytest.raises(UserError, match="not a state dict"):
        state_dict(model)


def test_every_pickle_that_the_settings_name_is_checked(zoo, tmp_path):
    settings = {**SETTINGS, "frontend_conf": {"path_or_url": "upstream.pt"}}
    (zoo / TRAINED / "config.yaml").write_text(yaml.safe_dump(settings))
    torch.save(WEIGHTS, zoo / "upstream.pt")
    model = EspnetModel.find(zoo)
    model.check_pickles()
    torch.save(Code(tmp_path / "trace"), zoo / "upstream.pt")
    with pytest.raises(UserError, match=r"upstream\.pt: .*no pickle is executed"):
        model.check_pickles()


def test_building_executes_no_pickle_whatever_it_is_called(tmp_path):
    """s3prl's upstreams ask for it, of files of any suffix that the settings name."""
    file, trace = tmp_path / "upstream.model", tmp_path / "trace"
    torch.save(Code(trace), file)
    with pytest.raises(UserError, match=r"config\.yaml: ESPnet can't build .*: UnpicklingError"):
        espnet_built(lambda: torch.load(file, weights_only=False), tmp_path / "config.yaml")
    assert not trace.exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_weights_are_loaded_strictly():
    module = torch.nn.ModuleDict({"encoder": torch.nn.Linear(3, 2, bias=False)})
    load_state(module, WEIGHTS, Path("a.pth"))
    assert torch.equal(module["encoder"].weight, WEIGHTS["encoder.weight"])
    for wrong, named in (
        ({}, "encoder.weight"),
        ({**WEIGHTS, "decoder.weight": torch.ones(1)}, "decoder.weight"),
        ({"encoder.weight": torch.ones(3, 2)}, r"encoder.weight': \(3, 2\), not \(2, 3\)"),
    ):
        with pytest.raises(UserError, match=rf"a\.pth: weights of another network.*{named}"):
            load_state(module, wrong, Path("a.pth"))


def test_importing_downloads_and_prints_nothing(tmp_path, monkeypatch, capsys):
    import nltk

    def download(*arguments, **options):
        raise AssertionError("NLTK's downloader was called")

    monkeypatch.setattr(nltk, "download", download)
    (tmp_path / "greedy_module.py").write_text(
        "import nltk\nnltk.download('cmudict')\nprint(DONE := 1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    try:
        assert espnet_import("greedy_module").DONE == 1
    finally:
        sys.modules.pop("greedy_module", None)
    assert nltk.download is download
    assert not capsys.readouterr().out


def test_a_missing_package_names_the_remedy():
    with pytest.raises(UserError, match=r"espnet2\.none can't .*tools/install.sh --extras espnet"):
        espnet_import("espnet2.none")
