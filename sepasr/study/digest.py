"""Text that is equal where all that decides a result is equal: folders are named after it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from sepasr.data.datadir import MixtureDir, fingerprint
from sepasr.data.segments import SEGMENT_TEXT, SEGMENTS
from sepasr.encoder.base import EncoderConfig
from sepasr.files import sha256
from sepasr.models import resolve_model
from sepasr.train.recipe import TrainConfig
from sepasr.train.workdir import deciding


def override(name: str, value: object) -> str:
    """``name=value`` as ``--set`` takes it.

    >>> override("layer", {6: 0.25, "last": 0.75})
    'layer={6: 0.25, last: 0.75}'
    """
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6)
    return f"{name}={text.removesuffix('...' + chr(10)).strip()}"


def without_length(config: TrainConfig) -> dict[str, Any]:
    """The settings that decide a separator after some steps, as far as they aren't the default.

    Defaults are left out, so that a new setting doesn't make what is there another training.
    """
    kept = deciding(changed(config, TrainConfig()))
    fit = kept.setdefault("fit", {})
    if config.fit.optimizer.schedule == "constant":
        fit.pop("steps", None)
    return kept


def changed(value: Any, default: Any) -> dict[str, Any]:
    """What a dataclass holds that another of its class doesn't, nested ones likewise."""
    found: dict[str, Any] = {}
    for name, mine in vars(value).items():
        other = getattr(default, name)
        if is_dataclass(mine) and type(mine) is type(other):
            inner = changed(mine, other)
            found |= {name: inner} if inner else {}
        elif mine != other:
            found[name] = mine
    return found


def encoder_content(conf: EncoderConfig) -> dict[str, Any]:
    """An encoder's settings, with the content of its model in place of where that lies."""
    known = {name: value for name, value in asdict(conf).items() if value is not None}
    if not conf.model.startswith("package:"):  # the weights of a package never change
        place = resolve_model(conf.model)
        known["model"] = folder_digest(place) if isinstance(place, Path) else place
    return known


@lru_cache
def folder_digest(place: Path) -> str:
    """SHA-256 of a file, or of all files below a folder and their names."""
    if place.is_file():
        return sha256(place)
    digest = hashlib.sha256()
    for file in sorted(path for path in place.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(place)} {sha256(file)}\n".encode())
    return digest.hexdigest()


def data_digest(directory: MixtureDir) -> str:
    """A few digits of what a data directory holds, for names of folders."""
    tables = [directory.path / name for name in (SEGMENTS, SEGMENT_TEXT)]
    found = [fingerprint(directory), *(sha256(path) for path in tables if path.is_file())]
    return found[0][:8] if len(found) == 1 else hashlib.sha256(repr(found).encode()).hexdigest()[:8]
