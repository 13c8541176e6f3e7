"""ESPnet's networks under this repository's training, planning and stripping."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from sepasr.bin.main import main
from sepasr.separator.model import Separator, SeparatorConfig
from sepasr.train.footprint import count_parameters

TCN = {
    "network": "tcn",
    "channels": 8,
    "arguments": {"layer": 1, "stack": 1, "bottleneck_dim": 4, "hidden_dim": 4},
}
GRID = {
    "network": "tfgridnetv2",
    "filterbank": "waveform",
    "arguments": {"n_fft": 32, "stride": 16, "n_layers": 1, "lstm_hidden_units": 4}
    | {"attn_n_head": 2, "emb_dim": 4, "attn_approx_qk_dim": 16},
}
TD = {"channels": 8, "width": 8, "hidden": 8, "heads": 2, "layers": 1, "depthwise_kernel": 3}
CONFIG = {
    "mixing": {"segment_s": 0.1},
    "fit": {"steps": 2, "batch": 2, "workers": 0, "valid_every": 2, "accelerator": "cpu"},
}


@pytest.fixture
def command(data_dirs, tmp_path, capsys):
    """Runs `sepasr train`, or another subcommand before it, for a network."""
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(CONFIG))

    def run(network: dict, *options: object, before: tuple[str, ...] = ()):
        (tmp_path / "network.yaml").write_text(yaml.safe_dump(network))
        given = ["train", "--config", tmp_path / "train.yaml", "--out", tmp_path / "out"]
        given += ["--valid", data_dirs.mixtures.path, "--mixtures", data_dirs.mixtures.path]
        given += ["--separator", tmp_path / "network.yaml", *options]
        status = main([*before, *map(str, given)])
        return status, capsys.readouterr()

    return run


@pytest.mark.parametrize("network", [TCN, GRID], ids=["tcn", "tfgridnetv2"])
def test_training_and_the_directory_that_is_stripped_from_it(command, tmp_path, network):
    assert command(network)[0] == 0
    final = Separator.from_pretrained(tmp_path / "out" / "final")
    assert final.config.network == network["network"]
    said = json.loads((tmp_path / "out" / "final" / "config.json").read_text())
    assert said["config"]["arguments"] == network["arguments"]
    assert said["history"][-1]["steps"] == 2
    torch.manual_seed(0)
    untrained = Separator(final.config)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(final.parameters(), untrained.parameters(), strict=True)
    )
    stripped = tmp_path / "stripped"
    assert main(["strip", str(tmp_path / "out"), "-o", str(stripped)]) == 0
    loaded, mixture = Separator.from_pretrained(stripped), torch.randn(1, 500)
    assert torch.equal(loaded(mixture), final(mixture))
    assert loaded.provenance == final.provenance
    # The same network goes on, another one doesn't.
    assert command(network, "--set", "fit.steps=3")[0] == 0
    other = {**network, "arguments": {**network["arguments"], "causal": True}}
    if network is TCN:
        status, said = command(other, "--set", "fit.steps=4")
        assert status == 2
        assert "holds another training: separator.arguments.causal" in said.err


@pytest.mark.parametrize("kind", ["guided", "embedding_pit"])
@pytest.mark.parametrize("network", [TCN, GRID], ids=["tcn", "tfgridnetv2"])
def test_the_losses_of_an_encoder(command, tmp_path, network, kind):
    whisper = Path(__file__).parents[2] / "conf/encoder/whisper_tiny_en.yaml"
    options = ("--encoder", whisper, "--set", f"loss.kind={kind}")
    assert command(network, *options)[0] == 0
    said = json.loads((tmp_path / "out" / "final" / "config.json").read_text())["history"][-1]
    assert (said["loss"], said["encoder"]["name"]) == (kind, "whisper_tiny_en")
    final = Separator.from_pretrained(tmp_path / "out" / "final")
    torch.manual_seed(0)
    untrained = dict(Separator(final.config).named_parameters())
    moved = [n for n, p in final.named_parameters() if (p - untrained[n]).abs().max() > 1e-9]
    # The gradient has reached the first filterbank, or the network that has its own.
    first = "encoder." if network is TCN else "separator."
    assert any(name.startswith(first) for name in moved)


def test_activations_that_cannot_be_computed_again(command, tmp_path):
    status, said = command(TCN, "--set", "checkpoint_activations=true")
    assert status == 2
    assert "the network tcn can't compute its activations again" in said.err
    assert not (tmp_path / "out").exists()


def test_the_inputs_of_a_td_conformers_training_are_those_of_before(command, tmp_path):
    """So that a training that began without other networks is resumed."""
    assert command(TD)[0] == 0
    kept = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["separator"]
    assert set(kept) == set(TD) | {
        *("kernel", "stride", "num_speakers", "subsamplings", "dropout"),
        *("attention_dropout", "fs"),
    }


def test_a_mistake_in_the_yaml_names_the_file(command, tmp_path):
    status, said = command({**TCN, "arguments": {"layers": 3}})
    assert status == 2
    assert f"{tmp_path / 'network.yaml'}: the network tcn has no argument 'layers'" in said.err
    assert "known: layer, stack" in said.err


@pytest.mark.parametrize("network", [TCN, GRID], ids=["tcn", "tfgridnetv2"])
def test_the_plan_counts_parameters_and_estimates_no_memory(command, tmp_path, network):
    status, said = command(network, before=("plan",))
    assert status == 0
    parameters = sum(p.numel() for p in Separator(SeparatorConfig(**network)).parameters())
    assert count_parameters(SeparatorConfig(**network)) == parameters
    assert f"parameters: {parameters:,}" in said.out
    assert "memory and operations: not estimated for the network" in said.out
    assert "disk:" in said.out
    assert not Path(tmp_path / "out").exists()
