"""A separator's files and the hub, for which a local folder stands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors.torch import load_file, save_file

from sepasr.bin.main import main
from sepasr.data.audio import read_mono, write_audio
from sepasr.errors import UserError
from sepasr.separator.config import on_hub
from sepasr.separator.hub import push_to_hub
from sepasr.separator.model import Provenance, Separator, SeparatorConfig

NAME = "someone/tiny-separator"
SMALL = {"channels": 8, "width": 8, "hidden": 8, "heads": 2, "layers": 1, "depthwise_kernel": 3}
RESULTS = Path(__file__).parents[2] / "egs" / "mini_whamr" / "results.json"


def tiny(seed: int = 0) -> Separator:
    torch.manual_seed(seed)
    history = ({"loss": "signal", "encoder": {"name": "whisper_tiny_en"}, "seed": 3, "lr": 1e-4},)
    return Separator(SeparatorConfig(**SMALL), Provenance("anechoic", history)).eval()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """What the client does, with ``tmp_path/hub`` in the place of the network; notes the calls."""
    calls: list[tuple[str, dict]] = []

    def create_repo(self, repo_id, **options):
        calls.append(("create", options))
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, *, repo_id, folder_path, revision=None, **options):
        calls.append(("upload", {"revision": revision, **options}))
        place = tmp_path / "hub" / repo_id / (revision or "main")
        shutil.copytree(folder_path, place, dirs_exist_ok=True)
        return f"https://hub/{repo_id}"

    def snapshot_download(repo_id, *, revision=None, allow_patterns=None, **options):
        calls.append(("download", {"revision": revision, **options}))
        place = tmp_path / "hub" / repo_id / (revision or "main")
        if not place.is_dir():
            raise LocalEntryNotFoundError(f"nothing of {repo_id} at {revision}")
        copy = tmp_path / "cache" / repo_id / (revision or "main")
        for pattern in allow_patterns:
            for file in place.glob(pattern):
                copy.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, copy)
        return str(copy)

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return SimpleNamespace(calls=calls, folder=tmp_path / "hub" / NAME)


def same(one: Separator, other: Separator) -> bool:
    mixture = torch.randn(1, 500, generator=torch.Generator().manual_seed(1))
    return torch.equal(one(mixture), other(mixture))


def test_round_trip_through_the_hub(hub):
    separator = tiny()
    assert separator.push_to_hub(NAME, private=True, token="t") == f"https://hub/{NAME}"
    assert ("create", {"private": True, "exist_ok": True}) in hub.calls
    names = {file.name for file in (hub.folder / "main").iterdir()}
    assert names == {"config.json", "model.safetensors", "README.md"}
    loaded = Separator.from_pretrained(NAME)
    assert same(loaded, separator)
    assert loaded.config == separator.config
    assert loaded.provenance == separator.provenance
    assert not loaded.training


def test_a_directory_is_uploaded_as_it_is_loaded(hub, tmp_path):
    separator = tiny()
    separator.save_pretrained(tmp_path / "saved")
    push_to_hub(tmp_path / "saved", NAME)
    assert same(Separator.from_pretrained(NAME), separator)


@pytest.mark.parametrize("known", [True, False])
def test_a_directory_goes_up_in_its_own_precision_and_with_its_own_versions(hub, tmp_path, known):
    saved = tmp_path / "saved"
    tiny().save_pretrained(saved, torch.float16)
    said = json.loads((saved / "config.json").read_text())
    if known:
        said["versions"]["torch"] = "1.2.3"
    else:
        del said["versions"]
    (saved / "config.json").write_text(json.dumps(said))
    push_to_hub(saved, NAME)
    there = hub.folder / "main"
    assert {v.dtype for v in load_file(there / "model.safetensors").values()} == {torch.float16}
    for name in ("config.json", "model.safetensors"):
        assert (there / name).read_bytes() == (saved / name).read_bytes()
    card = (there / "README.md").read_text()
    assert f"# {NAME}" in card
    assert ("torch 1.2.3" if known else "| written with | not stated |") in card
    assert f"torch {torch.__version__}" not in card


def test_revision_and_the_rest_are_passed_on(hub):
    first, second = tiny(0), tiny(1)
    first.push_to_hub(NAME, branch="v1")
    second.push_to_hub(NAME)
    assert same(Separator.from_pretrained(NAME, revision="v1"), first)
    assert same(Separator.from_pretrained(NAME), second)
    Separator.from_pretrained(
        NAME, revision="v1", local_files_only=True, cache_dir="/somewhere", token="t"
    )
    assert hub.calls[-1] == (
        "download",
        {"revision": "v1", "local_files_only": True, "cache_dir": "/somewhere", "token": "t"},
    )


def test_what_cannot_be_downloaded_is_an_error_and_no_untrained_network(hub):
    with pytest.raises(UserError, match=f"{NAME}: cannot be had from the hub: nothing of"):
        Separator.from_pretrained(NAME)
    tiny().push_to_hub(NAME)
    with pytest.raises(UserError, match="cannot be had from the hub"):
        Separator.from_pretrained(NAME, revision="v2")
    (hub.folder / "main" / "model.safetensors").unlink()
    shutil.rmtree(hub.folder.parents[2] / "cache", ignore_errors=True)
    with pytest.raises(UserError, match="no weights"):
        Separator.from_pretrained(NAME)
    (hub.folder / "main" / "config.json").unlink()
    shutil.rmtree(hub.folder.parents[2] / "cache", ignore_errors=True)
    with pytest.raises(UserError, match=r"no config\.json"):
        Separator.from_pretrained(NAME)


def test_what_cannot_be_uploaded_is_one_line(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no token\nat all")

    monkeypatch.setattr(HfApi, "create_repo", refuse)
    with pytest.raises(UserError, match=f"{NAME}: cannot be uploaded to the hub: no token at all"):
        tiny().push_to_hub(NAME)
    assert issubclass(RepositoryNotFoundError, OSError)


def test_a_directory_comes_before_the_hub(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert on_hub(NAME)
    assert not on_hub(Path(NAME))
    for elsewhere in ("separator", "./a/b", "/a/b", "a/b/c", "~/a", "exp/a b"):
        assert not on_hub(elsewhere)
    separator = tiny()
    separator.save_pretrained(NAME)
    assert same(Separator.from_pretrained(NAME), separator)
    assert not hub.calls
    with pytest.raises(UserError, match="a directory has no revision 'v1'"):
        Separator.from_pretrained(NAME, revision="v1")


def test_the_command_line_separates_with_a_model_of_the_hub(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    separator = tiny()
    separator.push_to_hub(NAME)
    mixture = np.random.default_rng(0).uniform(-0.3, 0.3, 4000).astype(np.float32)
    write_audio(tmp_path / "a.wav", mixture, 16000)
    assert main(["separate", "a.wav", "-o", "out", "--model", NAME]) == 0
    estimates = separator(torch.from_numpy(read_mono(tmp_path / "a.wav", 16000)))
    written = read_mono(next((tmp_path / "out").rglob("*1.wav")), 16000)
    np.testing.assert_allclose(written, estimates[0].detach().numpy(), atol=1e-3)


def test_config_describes_the_checkpoint(tmp_path):
    separator = tiny()
    separator.save_pretrained(tmp_path)
    said = json.loads((tmp_path / "config.json").read_text())
    assert said["class"] == "sepasr.separator.model.Separator"
    assert said["network_class"] == "sepasr.separator.tdconformer.TDConformer"
    assert said["config"] == separator.config.settings()
    assert said["reference"] == "anechoic"
    assert said["history"][0]["seed"] == 3
    assert said["versions"]["torch"] == torch.__version__
    assert set(said["versions"]) == {"sepasr", "torch", "espnet"}


def test_a_description_without_versions_loads(tmp_path):
    separator = tiny()
    separator.save_pretrained(tmp_path)
    said = json.loads((tmp_path / "config.json").read_text())
    old = {key: said[key] for key in ("model_type", "config", "reference", "history")}
    assert old["model_type"] == "td_conformer_separator"
    (tmp_path / "config.json").write_text(json.dumps(old))
    assert same(Separator.from_pretrained(tmp_path), separator)


def test_the_card_says_what_it_is_and_how_to_load_it(hub):
    tiny().push_to_hub(NAME, results=RESULTS)
    card = (hub.folder / "main" / "README.md").read_text()
    head = card.split("---")[1]
    assert "library_name: sepasr" in head
    assert "pipeline_tag: audio-to-audio" in head
    for part in (
        f"# {NAME}",
        "td_conformer",
        "16000 Hz",
        "anechoic",
        "| loss | encoder | seed | lr |",
        "| signal | whisper_tiny_en | 3 | 0.0001 |",
        f"torch {torch.__version__}",
        f'Separator.from_pretrained("{NAME}", revision="main")',
        "local_files_only=True",
        "## Results: ",
        "### cpWER (%)",
    ):
        assert part in card, part


def test_a_card_without_results_or_trainings(tmp_path):
    Separator(SeparatorConfig(**SMALL)).save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "random" in card
    assert "Results" not in card


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_weights_are_loaded_strictly(tmp_path, change):
    tiny().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    if change == "missing":
        del tensors["encoder.conv1d.weight"]
    else:
        tensors["surplus"] = torch.zeros(1)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="weights of another network: 1 tensors differ"):
        Separator.from_pretrained(tmp_path)


def test_what_float16_cannot_hold_is_refused(tmp_path):
    separator = tiny()
    separator.encoder.conv1d.weight.data[0] = 1e6
    with pytest.raises(UserError, match=r"'encoder\.conv1d\.weight' has a value too large"):
        separator.save_pretrained(tmp_path, torch.float16)
    assert not (tmp_path / "config.json").exists()


def test_counters_are_not_rounded(tmp_path):
    """Batch normalisation counts its batches in whole numbers."""
    arguments = {"layer": 1, "stack": 1, "bottleneck_dim": 4, "hidden_dim": 4, "norm_type": "BN"}
    separator = Separator(SeparatorConfig(channels=8, network="tcn", arguments=arguments))
    counters = [b for b in separator.buffers() if not b.is_floating_point()]
    assert counters
    for counter in counters:
        counter.fill_(70_001)
    separator.save_pretrained(tmp_path, torch.float16)
    loaded = Separator.from_pretrained(tmp_path)
    assert all(int(b) == 70_001 for b in loaded.buffers() if not b.is_floating_point())
