"""Words that are tones: speech that a tiny recogniser learns in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sepasr.data.audio import write_audio
from sepasr.data.datadir import Info, Noise, NoiseDir, Room, RoomDir, Utterance, UtteranceDir
from sepasr.data.dynamic_utterances import UtteranceItem
from sepasr.decode.recognisers.ctc import CtcDecoder
from sepasr.train.checkpoint import steps_done
from sepasr.train.ctc import CtcConfig, CtcModule
from sepasr.train.ctc_model import ModelConfig, train_pieces
from sepasr.train.fit import FitConfig, fit
from sepasr.train.material import Sources
from sepasr.train.schedule import OptimizerConfig
from sepasr.train.utterances import FS, Collate

WORDS = {"low": 300.0, "middle": 800.0, "high": 2000.0}
TEXTS = ["low", "middle", "high", "low high", "high middle low", "middle low", "high low middle"]


def speech(text: str, rng: np.random.Generator) -> np.ndarray:
    """Words as tones of 120 ms, between silences of 60 ms."""
    t = np.arange(FS * 12 // 100) / FS
    gap = np.zeros(FS * 6 // 100)
    tones = [np.sin(2 * np.pi * WORDS[word] * t + rng.uniform(0, 6)) for word in text.split()]
    waveform = np.concatenate([gap, *(part for tone in tones for part in (tone, gap))])
    return (0.1 * waveform + 1e-3 * rng.standard_normal(len(waveform))).astype(np.float32)


class Tones(Dataset):
    """Item i is a function of i alone."""

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> UtteranceItem:
        rng = np.random.default_rng(index)
        text = TEXTS[int(rng.integers(len(TEXTS)))]
        return UtteranceItem(speech(text, rng), text)


class Killed(Exception):
    pass


class DyingTones(Tones):
    def __getitem__(self, index: int) -> UtteranceItem:
        if index >= 4 * 7:
            raise Killed
        return super().__getitem__(index)


def pieces_of_tones(folder: Path, model: ModelConfig) -> Path:
    """The sentencepiece model of the words, for a model's number of units."""
    (folder / "spm.model").write_bytes(train_pieces(TEXTS, model.pieces))
    return folder / "spm.model"


def short_training(model: ModelConfig, **changes: Any) -> CtcConfig:
    """Nine steps of a model; ``changes`` are of its :class:`FitConfig`."""
    settings = {
        "steps": 9,
        "batch": 4,
        "workers": 0,
        "valid_every": 100,
        "save_every": 2,
        "accelerator": "cpu",
        "optimizer": OptimizerConfig(lr=4e-3, warmup_steps=20, gradient_norm=1.0),
    }
    return CtcConfig(model, fit=FitConfig(**{**settings, **changes}))


def fit_tones(module: CtcModule, pieces: Path, dataset: Dataset, out: Path) -> CtcModule:
    """Train, and validate on three items."""
    collate = Collate(pieces)
    valid = DataLoader(Tones(), batch_sampler=[[100, 101, 102]], collate_fn=collate)
    fit(module, dataset, collate, valid, out)
    return module


def check_words_are_read(module: CtcModule, out: Path) -> None:
    """The words have been learned, and the recogniser reads them from what was exported."""
    rng = np.random.default_rng(1)
    waveforms = [speech(text, rng) for text in TEXTS]
    decoder = CtcDecoder(out / "final", device="cpu")
    read = [hypothesis.text for hypothesis in decoder.decode(waveforms, [9] * len(TEXTS))]
    assert read == TEXTS
    assert module.trainer.callback_metrics["valid/wer"] == 0


def check_killed_and_resumed(train: Callable[..., CtcModule], folder: Path) -> dict[str, Tensor]:
    """A training that dies in step 8 and is run again has the weights of one that was let alone.

    Returns:
        These.
    """
    whole = train(folder / "whole", dataset=Tones()).state_dict()
    with pytest.raises(Killed):
        train(folder / "killed", dataset=DyingTones())
    assert steps_done(folder / "killed") == 6
    resumed = train(folder / "killed", dataset=Tones()).state_dict()
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    return whole


def data_directories(root: Path, fs: int = FS) -> tuple[Sources, Path]:
    rng = np.random.default_rng(0)
    info = Info("tones", fs)
    utterances = []
    for i in range(12):
        text = TEXTS[i % len(TEXTS)]
        waveform = speech(text, rng)
        write_audio(root / f"a{i:02}.wav", waveform, FS)
        path = root / f"a{i:02}.wav"
        utterances.append(Utterance(f"a{i:02}", path, text, "a", len(waveform) / FS))
    write_audio(root / "n.wav", rng.standard_normal(FS).astype(np.float32), FS)
    write_audio(root / "r.wav", np.eye(1, 800, dtype=np.float32).T.repeat(2, 1), FS)
    sources = Sources(root / "tr", root / "noise", root / "rooms")
    UtteranceDir(sources.utterances, info, tuple(utterances)).write()
    UtteranceDir(root / "dev", info, tuple(utterances[:5])).write()
    NoiseDir(sources.noise, info, (Noise("n", root / "n.wav", 1.0),)).write()
    RoomDir(sources.rooms, info, (Room("r", root / "r.wav", root / "r.wav"),)).write()
    return sources, root / "dev"
