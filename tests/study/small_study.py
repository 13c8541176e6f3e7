"""A study of seconds: tiny data and separators, a pretended training, readers that guess."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from sepasr.decode.guard import Hypothesis
from sepasr.decode.recogniser import Recogniser, RecogniserConfig
from sepasr.score.measures import Measures
from sepasr.score.result import RecogniserInfo
from sepasr.separator.model import Provenance, Separator, SeparatorConfig
from sepasr.study.config import StudyConfig, load_study
from sepasr.study.place import Place
from sepasr.train.checkpoint import LAST, steps_done

TINY = SeparatorConfig(channels=16, width=8, hidden=8, heads=2, layers=1, depthwise_kernel=3)
TRAINING = {
    "mixing": {"segment_s": 0.1, "snr_db": [8.0, 20.0], "same_gender": None},
    "fit": {
        "batch": 2,
        "workers": 0,
        "precision": "32-true",
        "accelerator": "cpu",
        "save_every": 1,
        "valid_every": 100,
    },
}
STUDY: dict[str, Any] = {
    "question": "Does it help?",
    "steps": [2, 4],
    "screen": {"recognisers": ["odd", "even"]},
    "finalists": {
        "choose": 1,
        "recognisers": ["odd", "even", "third"],
        "seeds": [1, 2],
        "all_measures": True,
    },
    "variants": [
        {"name": "start", "system": "start"},
        {"name": "sisdr", "system": "sisdr"},
        {"name": "slow", "system": "sisdr", "set": {"fit.optimizer.lr": 1.0e-6}},
        {"name": "wav2vec2", "encoders": ["wav2vec2_mini"], "encoder_set": {"layer": 2}},
    ],
}
FAMILIES = {"odd": "whisper", "even": "wav2vec2", "third": "whisper"}


def make_place(folder: Path, data_dirs: Any) -> Place:
    """Data directories, a starting point, and settings for trainings of seconds."""
    exp = folder / "exp"
    sets = {"cv": data_dirs.mixtures.mixtures[:3], "tt": data_dirs.mixtures.mixtures}
    for name, mixtures in sets.items():
        replace(data_dirs.mixtures, path=exp / "data" / name, mixtures=mixtures).write()
    for name in ("utterances", "noise", "rooms"):
        replace(getattr(data_dirs, name), path=exp / "data" / f"tr_{name}").write()
    torch.manual_seed(0)
    separator = Separator(TINY, Provenance("anechoic"))
    separator.save_pretrained(exp / "start" / "separator")
    conf = exp / "conf" / "train" / "finetune.yaml"
    conf.parent.mkdir(parents=True)
    conf.write_text(yaml.safe_dump(TRAINING))
    return Place("none", exp, exp / "data", exp / "start" / "separator", folder / "out")


def make_study(folder: Path, **changes: Any) -> StudyConfig:
    """``STUDY`` with changes, through its YAML."""
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**STUDY, **changes}))
    return load_study(str(path))


def quick_measures(
    estimates: np.ndarray,
    references: np.ndarray,
    mixture: np.ndarray,
    fs: int,
    brief: bool,
) -> Measures:
    """Something in the place of measures that take most of a test's time."""
    error = float(np.mean((estimates - references) ** 2))
    if brief:
        return Measures(si_sdr=-error, si_sdri=0.0)
    return Measures(si_sdr=-error, si_sdri=0.0, pesq=1.0 + error, stoi=0.5)


@dataclass
class Pretended:
    """Leaves what a training leaves; the weights depend on all arguments but the length.

    Attributes:
        trained: steps of each call, and whether it went on from a checkpoint.
        stop_at: a step at which it is interrupted, once.
    """

    trained: list[tuple[int, int]] = field(default_factory=list)
    stop_at: int | None = None

    def __call__(self, arguments: Sequence[str], lock: int) -> None:
        out = Path(arguments[arguments.index("--out") + 1])
        values = dict(a.split("=", 1) for a in arguments if "=" in a)
        steps, snapshots = int(values["fit.steps"]), yaml.safe_load(values["fit.snapshots"])
        decisive = [a for a in arguments if not a.startswith(("fit.steps", "fit.snap", str(out)))]
        seed = int(hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:8], 16)
        begun = steps_done(out)
        self.trained.append((begun, steps))
        init = Path(arguments[arguments.index("--init") + 1])
        out.mkdir(parents=True, exist_ok=True)
        for step in range(begun + 1, steps + 1):
            torch.save({"global_step": step}, out / LAST)
            if step in snapshots:
                separator = Separator.from_pretrained(init)
                generator = torch.Generator().manual_seed(seed + step)
                for parameter in separator.parameters():
                    noise = torch.randn(parameter.shape, generator=generator)
                    parameter.data += 0.1 * noise
                separator.save_pretrained(out / f"step{step}")
            if step == self.stop_at:
                self.stop_at = None
                raise KeyboardInterrupt

    @property
    def steps(self) -> int:
        """In all."""
        return sum(end - begin for begin, end in self.trained)


class Guess:
    """Reads SOME WORDS, or too few or many, as the samples have it."""

    def __init__(self, name: str) -> None:
        self.identity = {"model": name}
        self.heard = 0

    def decode(
        self, waveforms: Sequence[np.ndarray], max_tokens: Sequence[int]
    ) -> list[Hypothesis]:
        self.heard += len(waveforms)
        texts = ("SOME WORDS", "SOME", "SOME MORE WORDS", "WORDS")
        name = self.identity["model"].encode()
        numbers = [hashlib.sha256(name + w.tobytes()).digest()[0] for w in waveforms]
        return [Hypothesis(texts[n % len(texts)], 2, cut=False) for n in numbers]


class Ear:
    """In the place of :class:`sepasr.study.evaluation.Reader`."""

    def __init__(self, name: str, _: Place) -> None:
        self.name, self.family = name, FAMILIES[name]
        weights = "wav2vec2_mini" if name == "even" else name
        self.info, self.digest = RecogniserInfo(name, self.family, weights), "0"
        config = RecogniserConfig(name, self.family, weights, kind="ctc", batch_size=4)
        self.decoder = Guess(name)
        self.recogniser = Recogniser(config, self.decoder)
