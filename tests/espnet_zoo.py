"""Tiny random models of ESPnet's real classes, written as its model zoo lays them out."""

from __future__ import annotations

import zipfile
from argparse import Namespace
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from sepasr.foreign import espnet_built, espnet_import

TOKENS = ["<blank>", "<unk>", "<space>", *"AEINOST", "<sos/eos>"]
MELS, WIDTH = 20, 16
TRAINED, LM = "exp/asr_tiny", "exp/lm_tiny"
CONFORMER = {
    "output_size": WIDTH,
    "attention_heads": 2,
    "linear_units": 24,
    "num_blocks": 3,
    "cnn_module_kernel": 7,
    "macaron_style": True,
    "use_cnn_module": True,
    "rel_pos_type": "latest",
    "pos_enc_layer_type": "rel_pos",
    "selfattention_layer_type": "rel_selfattn",
    "activation_type": "swish",
}
SETTINGS: dict[str, Any] = {
    "token_type": "char",
    "token_list": TOKENS,
    "bpemodel": None,
    "input_size": None,
    "frontend": "default",
    "frontend_conf": {"fs": "16k", "n_fft": 400, "hop_length": 160, "n_mels": MELS},
    "specaug": "specaug",
    "specaug_conf": {"apply_freq_mask": True, "time_mask_width_range": [0, 5]},
    "normalize": "global_mvn",
    "normalize_conf": {"stats_file": "exp/asr_stats/train/feats_stats.npz"},
    "preencoder": None,
    "preencoder_conf": {},
    "encoder": "conformer",
    "encoder_conf": CONFORMER,
    "postencoder": None,
    "postencoder_conf": {},
    "decoder": "transformer",
    "decoder_conf": {"attention_heads": 2, "linear_units": 16, "num_blocks": 1},
    "ctc_conf": {},
    "joint_net_conf": None,
    "model": "espnet",
    "model_conf": {"ctc_weight": 0.3},
    "init": None,
}
LM_SETTINGS: dict[str, Any] = {
    "token_type": "char",
    "token_list": TOKENS,
    "bpemodel": None,
    "lm": "seq_rnn",
    "lm_conf": {"unit": 8, "nlayers": 1},
    "model": "lm",
    "model_conf": {},
    "init": None,
}


def write_asr(folder: Path, seed: int = 0, lm: bool = False, **changes: Any) -> Path:
    """Write a model; ``changes`` replace settings. Returns the folder."""
    settings = {**deepcopy(SETTINGS), **changes}
    stats = folder / "exp/asr_stats/train/feats_stats.npz"
    stats.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    mean = rng.normal(-8, 1, MELS)
    np.savez(stats, count=100, sum=100 * mean, sum_square=100 * (mean**2 + 4))
    _write(folder, TRAINED, settings, _built("asr", "ASRTask", settings, folder, seed))
    files = {"asr_model_file": f"{TRAINED}/valid.acc.ave.pth"}
    yaml_files = {"asr_train_config": f"{TRAINED}/config.yaml"}
    if lm:
        built = _built("lm", "LMTask", LM_SETTINGS, folder, seed + 1)
        _write(folder, LM, LM_SETTINGS, built)
        files["lm_file"] = f"{LM}/valid.acc.ave.pth"
        yaml_files["lm_train_config"] = f"{LM}/config.yaml"
    (folder / "meta.yaml").write_text(yaml.safe_dump({"files": files, "yaml_files": yaml_files}))
    return folder


def _built(task: str, cls: str, settings: dict, folder: Path, seed: int) -> torch.nn.Module:
    here = deepcopy(settings)
    if here.get("normalize") == "global_mvn":
        here["normalize_conf"]["stats_file"] = str(folder / here["normalize_conf"]["stats_file"])
    torch.manual_seed(seed)
    build = getattr(espnet_import(f"espnet2.tasks.{task}"), cls).build_model
    model = espnet_built(lambda: build(Namespace(**here)), folder)
    with torch.no_grad():
        for parameter in model.parameters():
            # Each has values of its own, so that none is left out unseen.
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def _write(folder: Path, name: str, settings: dict, model: torch.nn.Module) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "config.yaml").write_text(yaml.safe_dump(settings))
    torch.save(model.state_dict(), folder / name / "valid.acc.ave.pth")


def weights_file(folder: Path) -> Path:
    return folder / TRAINED / "valid.acc.ave.pth"


def packed(folder: Path, file: Path) -> Path:
    """A zip of everything in a folder."""
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return file


def read_by_espnet(folder: Path) -> torch.nn.Module:
    """The model as ESPnet itself loads it."""
    task = espnet_import("espnet2.tasks.asr").ASRTask
    config = folder / TRAINED / "absolute.yaml"
    settings = yaml.safe_load((folder / TRAINED / "config.yaml").read_text())
    if settings["normalize"] == "global_mvn":
        stats = str(folder / settings["normalize_conf"]["stats_file"])
        settings["normalize_conf"]["stats_file"] = stats
    config.write_text(yaml.safe_dump(settings))
    model, _ = task.build_model_from_file(config, weights_file(folder))
    return model.eval()
