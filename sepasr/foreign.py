"""Files that others made, read without running what may be in them: pickles and ESPnet's models."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from sepasr.config import read_yaml
from sepasr.errors import UserError
from sepasr.espnet_files import best_weights, listed, located, named_files, replaced
from sepasr.files import sha256
from sepasr.models import hub_snapshot
from sepasr.unpack import unpack_zip
from sepasr.weights import load_exactly

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")

KINDS = ("asr", "lm")
# What a repository on a hub must give for an ESPnet model to be whole: the configuration, the
# weights, and the token list, statistics and sentencepiece model that the configuration names.
ESPNET_FILES = ("*.yaml", "*.pth", "*.npz", "*.npy", "*.model", "*.txt")
PICKLES = {".bin", ".ckpt", ".pt", ".pth"}


def read_pickle(path: str | Path) -> Any:
    """Read a file of ``torch.save`` that holds tensors and plain values only.

    Args:
        path: a ``.pt``, ``.pth``, ``.ckpt`` or ``.bin`` file.

    Returns:
        What was saved, its tensors on the CPU.

    Raises:
        UserError: the file is missing or broken, or names something that would be run on loading;
            nothing is run.
    """
    import torch

    if not Path(path).is_file():
        raise UserError("no such file", where=path, remedy="check the path")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - a broken pickle can raise anything
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused:
            raise UserError(
                f"not only tensors and plain values: it wants to call {refused[1]}, "
                "and no pickle is executed",
                where=path,
                remedy="save its state_dict, or safetensors, where it comes from",
            ) from None
        cause = next(iter(str(error).splitlines()), type(error).__name__)[:160]
        remedy = "a file written by torch.save, complete"
        raise UserError(f"can't be read: {cause}", where=path, remedy=remedy) from None


def check_pickle(path: str | Path) -> None:
    """Make sure that a file is safe with a foreign loader that would execute its pickle.

    Raises:
        UserError: see :func:`read_pickle`.
    """
    read_pickle(path)


def state_dict(model: EspnetModel) -> dict[str, Tensor]:
    """The weights of an ESPnet model, read without executing anything.

    Returns:
        Names and tensors on the CPU. DeepSpeed's nesting, ``{"module": ...}``, is taken off.

    Raises:
        UserError: the file can't be read safely, or holds something else.
    """
    from torch import Tensor

    content = read_pickle(model.weights)
    if isinstance(content, Mapping) and isinstance(content.get("module"), Mapping):
        content = content["module"]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        remedy = "the weights that ESPnet saves for inference, not a checkpoint of training"
        raise UserError("not a state dict: names and tensors", where=model.weights, remedy=remedy)
    return dict(content)


@dataclass(frozen=True)
class EspnetModel:
    """The files of one model of ESPnet.

    Attributes:
        folder: the experiment's directory, or the unpacked model of ESPnet's model zoo.
        config: the YAML file of its training.
        weights: the ``.pth`` file.
        settings: what ``config`` says, every path in it that exists made absolute.
    """

    folder: Path
    config: Path
    weights: Path
    settings: dict[str, Any]

    @classmethod
    def find(cls, place: Path, kind: str = "asr") -> EspnetModel:
        """Find the model's files.

        Args:
            place: a directory of the model zoo (with ``meta.yaml``), an experiment's directory
                (``config.yaml`` and averaged weights), one file of weights beside its
                ``config.yaml``, or a zip of the model zoo. Zips are unpacked into the user's cache.
            kind: asr or lm.

        Raises:
            UserError: there is no such model, or the zip is not one to be unpacked.
        """
        if kind not in KINDS:
            raise ValueError(f"kind is one of {', '.join(KINDS)}, not {kind}")
        folder = place.absolute()
        if not folder.exists():
            raise UserError("no such model directory or file", where=place, remedy="check the path")
        if folder.is_file() and folder.suffix == ".pth":
            return cls._of(folder.parent, folder.parent / "config.yaml", folder)
        if folder.is_file():
            folder = unpack_zip(folder, "meta.yaml")
        if (folder / "meta.yaml").is_file():
            return cls._of(folder, *listed(folder, kind))
        return cls._of(folder, folder / "config.yaml", best_weights(folder))

    @classmethod
    def _of(cls, folder: Path, config: Path, weights: Path) -> EspnetModel:
        for file in (config, weights):
            if not file.is_file():
                remedy = "a directory or zip of ESPnet's model zoo, or an experiment's directory"
                raise UserError(f"no {file.name} in this model", where=file.parent, remedy=remedy)
        # Paths are relative to the unpacked archive, or to where training was started: the
        # directory that has exp/NAME/config.yaml.
        roots = [folder, config.parent, *list(config.parent.parents)[:2]]
        return cls(folder, config, weights, located(read_yaml(config), roots))

    @property
    def fs(self) -> int:
        """Sampling rate in Hz of the waveforms that the model hears."""
        rate = (self.settings.get("frontend_conf") or {}).get("fs", 16000)
        thousands = re.fullmatch(r"(\d+)k", str(rate))
        if thousands:
            return 1000 * int(thousands[1])
        if not str(rate).isdecimal():
            raise UserError(f"frontend_conf has fs: {rate}", where=self.config, remedy="say 16k")
        return int(rate)

    def files(self) -> list[Path]:
        """Existing files that the settings name, such as token lists and statistics."""
        return named_files(self.settings)

    def digest(self) -> str:
        """SHA-256 over the settings, the weights and every file that the settings name."""
        contents = {str(file): sha256(file) for file in self.files()}
        described = {
            "weights": sha256(self.weights),
            "settings": replaced(self.settings, contents),
        }
        return hashlib.sha256(
            json.dumps(described, sort_keys=True, default=str).encode()
        ).hexdigest()

    def check_pickles(self) -> None:
        """Scan the pickles that building the model would load; its weights are read by us.

        Raises:
            UserError: one of them can't be read safely.
        """
        for file in self.files():
            if file.suffix in PICKLES:
                check_pickle(file)


def espnet_snapshot(name: str, revision: str | None) -> Path:
    """Fetch an ESPnet model from the Hugging Face hub: the zoo's layout, with ``meta.yaml``.

    Raises:
        UserError: see ``sepasr.models.hub_snapshot``.
    """
    return hub_snapshot(name, revision, ESPNET_FILES)


def load_state(module: nn.Module, weights: Mapping[str, Tensor], where: Path) -> None:
    """Give a module all of these weights and no others, which ESPnet's own loader leaves open.

    Args:
        module: built from the model's settings.
        weights: names and tensors. Names from before ESPnet 202209 of an s3prl frontend are known.
        where: the file, for the message.

    Raises:
        UserError: a name or a shape differs.
    """
    old, new = "frontend.upstream.model", "frontend.upstream.upstream.model"
    if any(name.startswith(new) for name in module.state_dict()):
        weights = {
            new + name.removeprefix(old) if name.startswith(old) else name: value
            for name, value in weights.items()
        }
    remedy = "configuration and weights must be of one training"
    load_exactly(module, weights, where, remedy=remedy)


def espnet_import(name: str) -> ModuleType:
    """Import a module of ESPnet, quietly and without reaching for the network.

    A package that its tasks import downloads NLTK's data when it is imported, which nothing here
    needs; others print on the standard output what they would have liked to find.

    Args:
        name: such as ``espnet2.tasks.asr``.

    Raises:
        UserError: a package that it needs isn't installed.
    """
    remedy = "tools/install.sh --extras espnet"
    try:
        with _nltk_offline(), redirect_stdout(StringIO()):
            # Of interfaces of torch that will change, on import and in every pass.
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"espnet2?\.")
            return import_module(name)
    except ImportError as error:
        raise UserError(f"{name} can't be imported: {error}", remedy=remedy) from error


def espnet_built(build: Callable[[], T], config: Path) -> T:
    """Run what builds a model of ESPnet from a configuration, without executing a pickle.

    Raises:
        UserError: it fails, in whichever way.
    """
    try:
        with _transducer_loss(), weights_only():
            return build()
    except UserError:
        raise
    except Exception as error:
        cause = next(iter(str(error).splitlines()), "")
        what = f"ESPnet can't build this model: {type(error).__name__}: {cause}"
        raise UserError(what, where=config, remedy="check it with espnet2") from error


@contextmanager
def weights_only() -> Iterator[None]:
    """Have torch execute no pickle, not even for code that asks for it (s3prl's DistilHuBERT)."""
    before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        else:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = before


@contextmanager
def _transducer_loss() -> Iterator[None]:
    """Let transducers be built where the package of their loss, a C build, isn't installed.

    Nothing but training calls the loss.
    """
    name = "warprnnt_pytorch"
    if find_spec(name) is not None:
        yield
        return
    from torch import nn

    class RNNTLoss(nn.Module):
        def __init__(self, **settings: Any) -> None:
            super().__init__()

    stand_in = ModuleType(name)
    stand_in.__dict__["RNNTLoss"] = RNNTLoss
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        del sys.modules[name]


@contextmanager
def _nltk_offline() -> Iterator[None]:
    import nltk

    download = nltk.download

    def refuse(*arguments: Any, **options: Any) -> bool:
        return False

    nltk.download = refuse
    try:
        yield
    finally:
        nltk.download = download
