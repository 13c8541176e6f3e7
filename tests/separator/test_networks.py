"""ESPnet's separators by name: from waveform to waveforms, trained, saved and loaded."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from sepasr.config import load_config
from sepasr.errors import UserError
from sepasr.loss.signal import SignalLoss
from sepasr.separator.model import Separator, SeparatorConfig, match_level
from sepasr.separator.networks import CONV, NETWORKS, STFT, TD_CONFORMER, WAVEFORM, Framing

CONF = Path(__file__).parents[2] / "conf" / "separator"
PAGE = Path(__file__).parents[2] / "docs" / "separators.md"
RNN = {"layer": 2, "unit": 6}
ATTENTION = {"adim": 8, "aheads": 2, "layers": 1, "linear_units": 8}
GRID = {"n_layers": 1, "lstm_hidden_units": 4, "attn_n_head": 2, "emb_dim": 4}
USES = {"enc_channels": 8, "bottleneck_size": 8, "num_blocks": 2, "num_spatial_blocks": 1}
USES |= {"segment_size": 8, "memory_size": 2, "hidden_size": 4, "att_heads": 2, "ch_att_dim": 4}
TINY = {
    "tcn": {"layer": 2, "stack": 1, "bottleneck_dim": 8, "hidden_dim": 8},
    "rnn": RNN,
    "dprnn": RNN | {"segment_size": 6},
    "dptnet": RNN | {"segment_size": 6, "att_heads": 1},
    "skim": RNN | {"segment_size": 6},
    "conformer": ATTENTION,
    "transformer": ATTENTION,
    "dc_crn": {"input_channels": [2, 4, 4], "enc_hid_channels": 2},
    "bsrnn": {"num_channels": 4, "num_layers": 1, "subbands": [[0, 5], [6, 16]]},
    "tfgridnetv3": GRID | {"attn_qk_output_channel": 2},
    "uses": USES,
    "uses2": USES
    | {"num_spatial_blocks": 0, "window_size": [4, 4], "input_resolution": [16, 8], "mlp_ratio": 1},
    "svoice": {"enc_dim": 16, "kernel_size": 4, "hidden_size": 4, "num_layers": 2}
    | {"segment_size": 6},
    "tfgridnet": GRID | {"n_fft": 32, "stride": 16, "attn_approx_qk_dim": 16},
    "tfgridnetv2": GRID | {"n_fft": 32, "stride": 16, "attn_approx_qk_dim": 16},
}
CASES = [(name, kind) for name, network in NETWORKS.items() for kind in network.filterbanks]
every_network = pytest.mark.parametrize(("name", "kind"), CASES)


def config(name: str, kind: str, **changes) -> SeparatorConfig:
    frames = {CONV: {"channels": 8, "kernel": 16, "stride": 8}, STFT: {"kernel": 32, "stride": 16}}
    given = {"network": name, "filterbank": kind, "arguments": TINY[name], **frames.get(kind, {})}
    return SeparatorConfig(**{**given, **changes})


def tiny(name: str, kind: str, **changes) -> Separator:
    torch.manual_seed(0)
    return Separator(config(name, kind, **changes)).eval()


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@every_network
def test_any_length_in_same_length_out(name: str, kind: str) -> None:
    separator = tiny(name, kind, num_speakers=3)
    for samples in (1, 2, 15, 16, 17, 31, 33, 501):
        estimates = separator(noise(2, samples))
        assert estimates.shape == (2, 3, samples)
        assert estimates.dtype == torch.float32
        assert estimates.isfinite().all()


@every_network
def test_estimates_are_at_the_level_of_the_mixture(name: str, kind: str) -> None:
    separator, mixture = tiny(name, kind), noise(2, 800)
    estimates = separator(mixture)
    # The residual of a least-squares fit is orthogonal to what is fitted.
    total = estimates.sum(1)
    assert total.abs().max() > 1e-3
    product = ((mixture - total) * total).sum(-1)
    assert (product.abs() < 1e-3 * mixture.square().sum(-1)).all()
    torch.testing.assert_close(separator(mixture * 1e-3) * 1e3, estimates, atol=1e-3, rtol=1e-3)


@every_network
def test_a_mixture_does_not_depend_on_its_batch(name: str, kind: str) -> None:
    separator = tiny(name, kind)
    mixtures = noise(3, 700) * torch.tensor([[1.0], [0.01], [10.0]])
    alone = torch.cat([separator(mixture[None]) for mixture in mixtures])
    torch.testing.assert_close(separator(mixtures), alone, atol=1e-4, rtol=1e-3)


@every_network
def test_every_sample_is_heard_and_every_weight_learns(name: str, kind: str) -> None:
    separator = tiny(name, kind).train()
    mixture = noise(2, 700).requires_grad_()
    loss = SignalLoss()(separator(mixture), noise(2, 2, 700, seed=2))
    loss.value.mean().backward()
    assert mixture.grad is not None
    assert mixture.grad.isfinite().all()
    assert (mixture.grad[:, [0, -1]] != 0).all()
    for weight, parameter in separator.named_parameters():
        assert parameter.grad is not None, weight
        assert parameter.grad.isfinite().all(), weight


@every_network
def test_silence_stays_silent(name: str, kind: str) -> None:
    separator = tiny(name, kind).train()
    mixture = torch.stack([torch.zeros(800), noise(800)])
    estimates = separator(mixture)
    assert estimates.isfinite().all()
    assert estimates[0].abs().max() < 1e-3
    estimates.square().mean().backward()
    for weight, parameter in separator.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), weight
    assert separator.eval()(torch.full((1, 64), 0.1)).isfinite().all()


@every_network
def test_trains_in_bfloat16(name: str, kind: str) -> None:
    separator = tiny(name, kind).train()
    with torch.autocast("cpu", torch.bfloat16):
        estimates = separator(noise(2, 700))
    estimates.square().mean().backward()
    assert estimates.dtype == torch.float32
    assert estimates.isfinite().all()


@every_network
def test_saved_and_loaded_it_is_the_same(name: str, kind: str, tmp_path: Path) -> None:
    separator = tiny(name, kind)
    for parameter in separator.parameters():
        parameter.data += 0.01 * torch.randn(parameter.shape)
    separator.save_pretrained(tmp_path)
    loaded = Separator.from_pretrained(tmp_path)
    assert loaded.config == separator.config
    mixture = noise(1, 500)
    assert torch.equal(loaded(mixture), separator(mixture))
    tensors = loaded.state_dict()
    assert all(torch.equal(value, tensors[key]) for key, value in separator.state_dict().items())


@every_network
def test_a_yaml_says_it_all(name: str, kind: str, tmp_path: Path) -> None:
    shape = config(name, kind)
    (tmp_path / "network.yaml").write_text(yaml.safe_dump(shape.settings()))
    assert load_config(SeparatorConfig, [tmp_path / "network.yaml"]) == shape


@every_network
def test_the_class_decides_which_arguments_there_are(name: str, kind: str) -> None:
    parameters = inspect.signature(NETWORKS[name].cls).parameters
    with pytest.raises(UserError, match=r"no argument 'depth' to set \(known: ") as refused:
        config(name, kind, arguments=TINY[name] | {"depth": 3})
    for argument in TINY[name]:
        assert argument in parameters
        assert argument in str(refused.value)
    for ours in ("input_dim", "num_spk", "n_srcs", "predict_noise"):
        if ours in parameters:
            with pytest.raises(UserError, match=f"no argument '{ours}'"):
                config(name, kind, arguments=TINY[name] | {ours: 1})


def test_the_mask_network_is_espnets_own() -> None:
    """Between the filterbanks nothing but ESPnet's class, called as ESPnet calls it."""
    separator, mixture = tiny("tcn", CONV), noise(1, 800)
    left, right = separator.framing.padding(800)
    heard = torch.nn.functional.pad(mixture / mixture.square().mean().sqrt(), (left, right))
    length = torch.tensor([heard.shape[-1]])
    encoded, frames = separator.encoder(heard, length)
    masked, _, _ = separator.separator(encoded, frames)
    direct = torch.stack([separator.decoder(item, length)[0] for item in masked], 1)
    direct = direct[..., left : left + 800]
    torch.testing.assert_close(separator(mixture), match_level(direct, mixture))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "perceptron"}, r"unknown network 'perceptron' \(known: td_conformer, tcn"),
        ({"filterbank": "mel"}, "unknown filterbank 'mel'"),
        ({"filterbank": WAVEFORM}, r"can't work on filterbank waveform \(set filterbank to conv"),
        ({"network": "tfgridnetv3"}, "set filterbank to stft"),
        ({"network": "td_conformer", "filterbank": STFT}, "set filterbank to conv"),
        ({"network": "td_conformer"}, "no use for arguments"),
        ({"width": 64}, "tcn with filterbank conv has no use for width"),
        ({"filterbank": STFT, "channels": 8}, "filterbank stft has no use for channels"),
        ({"filterbank": STFT, "kernel": 33}, "an STFT of 33 samples every 8"),
        ({"filterbank": STFT, "kernel": 14}, "an STFT of 14 samples every 8"),
        (
            {"network": "svoice", "filterbank": WAVEFORM, "arguments": {}},
            "lacks arguments.*enc_dim",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SeparatorConfig(**{"network": "tcn", "arguments": TINY["tcn"], **changes})


def test_what_the_class_refuses_is_one_line() -> None:
    with pytest.raises(UserError, match="TCNSeparator can't be built: Not supporting nonlinear=mu"):
        tiny("tcn", CONV, arguments=TINY["tcn"] | {"nonlinear": "mu"})


def test_the_rate_of_a_band_split_is_the_separators() -> None:
    separator = tiny("bsrnn", STFT, fs=8000)
    assert separator.separator.bsrnn.target_fs == 8000
    with pytest.raises(UserError, match="no argument 'target_fs'"):
        config("bsrnn", STFT, arguments=TINY["bsrnn"] | {"target_fs": 48000})


@pytest.mark.parametrize("kernel", [32, 64])
@pytest.mark.parametrize("stride", [5, 16])
@pytest.mark.parametrize("samples", [1, 2, 31, 32, 33, 500])
def test_padded_spectra_give_every_sample_back(kernel: int, stride: int, samples: int) -> None:
    separator = tiny("tcn", STFT, kernel=kernel, stride=stride)
    left, right = Framing(kernel, stride, centred=True).padding(samples)
    assert left == 0
    assert right > 0
    padded = torch.nn.functional.pad(noise(1, samples), (left, right))
    length = torch.tensor([padded.shape[-1]])
    back = separator.decoder(separator.encoder(padded, length)[0], length)[0]
    torch.testing.assert_close(back, padded, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("kernel", "stride"), [(16, 8), (256, 64), (10, 4), (7, 3), (9, 8)])
def test_frames_are_whole_and_every_window_that_can_cover_a_sample_does(
    kernel: int, stride: int
) -> None:
    for samples in (1, 2, 15, 16, 17, 1003):
        left, right = Framing(kernel, stride).padding(samples)
        last = left + samples + right - kernel  # where the last window begins
        assert last % stride == 0
        assert kernel - stride <= left  # a window before these would miss the first sample
        assert last < left + samples <= last + stride  # as one after these would the last one


def test_all_published_yaml_files_load_and_keep_their_settings() -> None:
    for path in sorted(CONF.glob("*.yaml")):
        shape = load_config(SeparatorConfig, [path])
        assert SeparatorConfig(**shape.settings()) == shape
        assert ("arguments" in shape.settings()) == path.stem.startswith("espnet_")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("tcn", 3_445_809),
        ("dprnn", 2_593_153),  # 2.6 M in its paper
        ("skim", 5_917_441),  # 5.9 M in its paper
        ("tfgridnet", 2_490_072),
    ],
)
def test_published_espnet_networks_separate(name: str, parameters: int) -> None:
    shape = load_config(SeparatorConfig, [CONF / f"espnet_{name}.yaml"])
    separator = Separator(shape).eval()
    assert separator(noise(1, 1000)).shape == (1, 2, 1000)
    assert sum(p.numel() for p in separator.parameters()) == parameters
    assert f"{parameters:,}" in (CONF / f"espnet_{name}.yaml").read_text()


@pytest.mark.parametrize("name", ["transformer", "conformer"])
def test_training_goes_on_after_a_longer_mixture_in_inference_mode(name: str) -> None:
    """As after a validation: the table of positions has grown there, as an inference tensor."""
    separator = tiny(name, CONV)
    with torch.inference_mode():
        long = separator(torch.randn(1, 5100 * 8))
    assert long.shape == (1, 2, 5100 * 8)
    separator.train()(torch.randn(1, 400)).square().sum().backward()
    assert all(p.grad is not None for p in separator.separator.parameters())


def test_the_page_lists_all_networks_and_what_they_work_on() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("| network | filterbank |")[2]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.MULTILINE)
    kinds = {name: tuple(re.findall(r"`(\w+)`", cell)) for name, cell in rows}
    listed = {name: network.filterbanks for name, network in NETWORKS.items()}
    assert kinds == {TD_CONFORMER: (CONV,), **listed}


OWN = """
import os
import torch
from torch import nn

class Halves(nn.Module):
    def __init__(self, input_dim, num_spk, scale=1.0):
        super().__init__()
        self.masks = nn.Linear(input_dim, num_spk * input_dim)
        self.num_spk, self.scale = num_spk, scale

    def forward(self, frames, lengths, additional=None):
        masks = (self.scale * self.masks(frames)).sigmoid().chunk(self.num_spk, -1)
        return [frames * mask for mask in masks], lengths, {}

class Unspoken(nn.Module):
    def __init__(self, **anything):
        os.abort()
"""


def test_a_class_of_ones_own_is_a_network(tmp_path, monkeypatch) -> None:
    (tmp_path / "my_lab.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    shape = {"channels": 8, "kernel": 16, "stride": 8, "network": "my_lab.Halves"}
    separator = Separator(SeparatorConfig(**shape, arguments={"scale": 0.5}))
    assert separator.separator.scale == 0.5
    separator.save_pretrained(tmp_path / "saved")
    again = Separator.from_pretrained(tmp_path / "saved")
    noise = torch.randn(1, 500, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(noise), separator.eval()(noise))
    assert again(noise).shape == (1, 2, 500)
    with pytest.raises(UserError, match="has no argument 'size' to set"):
        SeparatorConfig(**shape, arguments={"size": 1})


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            "nowhere.Halves",
            "network nowhere.Halves: can't be imported: No module named 'nowhere' (put",
        ),
        ("my_lab.Thirds", "network my_lab.Thirds: there is no such class of torch.nn.Module"),
        ("os.abort", "network os.abort: there is no such class of torch.nn.Module"),
        ("subprocess.Popen", "network subprocess.Popen: there is no such class of torch.nn.Module"),
        ("my_lab.Unspoken", "network my_lab.Unspoken: its constructor has no argument 'input_dim'"),
        ("my lab.Halves", "unknown network 'my lab.Halves' (known: td_conformer, tcn"),
    ],
)
def test_what_is_no_network_is_not_called(tmp_path, monkeypatch, network, message) -> None:
    (tmp_path / "my_lab.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError) as error:
        Separator(SeparatorConfig(network=network))
    assert message in str(error.value)


def test_old_descriptions_mean_a_td_conformer() -> None:
    shape = SeparatorConfig(width=64)
    assert shape.network == "td_conformer"
    assert {"network", "filterbank", "arguments"}.isdisjoint(shape.settings())
    assert SeparatorConfig(**shape.settings()) == shape == replace(shape, network="td_conformer")


@pytest.mark.slow
def test_importing_a_network_does_not_import_espnets_tasks() -> None:
    code = (
        "import sys; from sepasr.separator.model import *; "
        "Separator(SeparatorConfig(network='tcn', filterbank='stft')); "
        "sys.exit('espnet2.tasks.enh' in sys.modules or 'nltk' in sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error::FutureWarning", "-c", code], check=True)
