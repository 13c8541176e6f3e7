"""Good inputs of every kind, below one folder, for tests that break them."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import soundfile
import torch

from sepasr.data.scp import write_table
from sepasr.separator.model import Separator, SeparatorConfig

if TYPE_CHECKING:
    from conftest import DataDirs

FS = 16000
TINY = {"channels": 16, "width": 8, "hidden": 8, "heads": 2, "layers": 1, "depthwise_kernel": 3}
TRAIN = "mixing: {segment_s: 0.1}\nfit: {steps: 1, batch: 2, workers: 0, accelerator: cpu}\n"
READER = "name: mine\nfamily: none\nweights: none\nkind: pocketsphinx\n"


class World:
    """Good inputs below one folder."""

    def __init__(self, folder: Path, data: DataDirs) -> None:
        self.folder, self.data, self.out = folder, data, folder / "out"
        torch.manual_seed(0)
        self.model = folder / "model"
        Separator(SeparatorConfig(**TINY)).save_pretrained(self.model)
        self.write("train.yaml", TRAIN)
        self.write("tiny.yaml", "".join(f"{key}: {value}\n" for key, value in TINY.items()))
        self.write("reader.yaml", READER)
        self.write("out/earlier", "of an earlier run\n")

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def wav(self, name: str, samples: np.ndarray, fs: int = FS, subtype: str = "PCM_16") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, fs, subtype, format="WAV")
        return path

    def corpus(self, kind: str, draw: Random) -> tuple[list[object], Path]:
        """`sepasr prepare` of a good corpus, and one of its files."""
        folder = self.folder / kind
        if kind == "noise":
            names = [f"n{n}" for n in range(5)]
        elif kind == "rooms":
            names = [f"r{n}_{half}" for n in range(3) for half in ("reverb", "anechoic")]
        else:
            signals = ("mix_both_reverb", "noise", "s1_anechoic", "s2_anechoic")
            names = [f"{signal}/m{n}" for n in range(3) for signal in signals]
            for table, value in (("utt2spk", "a_b"), ("text_spk1", "ONE"), ("text_spk2", "TWO")):
                write_table(folder / table, {f"m{n}": value for n in range(3)})
        option = {"noise": "--noise", "rooms": "--rirs", "mixtures": "--mixtures"}[kind]
        for name in names:
            self.wav(f"{kind}/{name}.wav", np.full(800, 0.1))
        arguments = ["prepare", kind, option, folder, "--corpus", "x", "--out", self.folder / "new"]
        return arguments, folder / f"{draw.choice(names)}.wav"

    def separate(self, *inputs: object, model: object = None) -> list[object]:
        return ["separate", *inputs, "-o", self.out, "--model", model or self.model]

    def train(self, **changes: object) -> list[object]:
        data = self.data
        options = {
            "config": self.folder / "train.yaml",
            "separator": self.folder / "tiny.yaml",
            "utterances": data.utterances.path,
            "valid": data.mixtures.path,
            "out": self.out,
        } | changes
        given = [(f"--{name}", value) for name, value in options.items() if value is not None]
        return ["train", *(part for option in given for part in option)]

    def recognise(self, reader: Path | None = None, exp: object = None) -> list[object]:
        where = ["--data", self.data.mixtures.path, "--exp", exp or self.folder / "exp"]
        reader = reader or self.folder / "reader.yaml"
        return ["recognise", "--recogniser", reader, *where, "--systems", "clean"]


def contents(folder: Path) -> dict[str, tuple[int, bytes | str]]:
    """All that is in a folder, with its permissions."""
    found: dict[str, tuple[int, bytes | str]] = {}
    for path in sorted(folder.rglob("*")):
        what = (
            os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        )
        found[str(path.relative_to(folder))] = (path.lstat().st_mode, what)
    return found
