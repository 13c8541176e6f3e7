"""Where the files of an ESPnet model are, and which files its configuration names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sepasr.config import read_yaml
from sepasr.errors import UserError

# Weights of an experiment's directory, the best first; ESPnet itself decodes with averages.
PREFERRED = ("valid.*.ave.pth", "*.ave.pth", "*.ave_*best.pth", "valid.*.best.pth", "*.pth")


def listed(folder: Path, kind: str) -> tuple[Path, Path]:
    """The configuration and the weights that ``meta.yaml`` lists.

    Args:
        folder: a directory of the model zoo.
        kind: asr or lm.

    Raises:
        UserError: a model of this kind isn't listed.
    """
    meta = read_yaml(folder / "meta.yaml")
    listed = {**(meta.get("yaml_files") or {}), **(meta.get("files") or {})}
    weights = "lm_file" if kind == "lm" else f"{kind}_model_file"
    names = (f"{kind}_train_config", weights)
    for name in names:
        if not isinstance(listed.get(name), str):
            what = f"it lists no {name}"
            raise UserError(what, where=folder / "meta.yaml", remedy=f"not a model of kind {kind}")
    config, file = (folder / listed[name] for name in names)
    return config, file


def best_weights(folder: Path) -> Path:
    """The weights of an experiment's directory that come first in ``PREFERRED``.

    Raises:
        UserError: there are none, or several of equal rank.
    """
    for pattern in PREFERRED:
        # Links to the same file are one choice.
        found = sorted(folder.glob(pattern))
        if len({file.resolve() for file in found}) == 1:
            return found[0]
        if found:
            names = ", ".join(file.name for file in found)
            what = f"several files of weights: {names}"
            raise UserError(what, where=folder, remedy="name one of the files in place of this")
    remedy = "a directory with meta.yaml, or with config.yaml and weights, or a zip"
    raise UserError("no ESPnet model: no .pth file", where=folder, remedy=remedy)


def located(value: Any, roots: list[Path]) -> Any:
    """Make relative paths that exist under one of the roots absolute."""
    if isinstance(value, dict):
        # A list of tokens is not one of paths, whatever its units look like.
        return {
            name: part if name == "token_list" and isinstance(part, list) else located(part, roots)
            for name, part in value.items()
        }
    if isinstance(value, list):
        return [located(part, roots) for part in value]
    if isinstance(value, str) and ("/" in value or "." in value) and len(value) < 1000:
        for root in roots:
            if value and not os.path.isabs(value) and (root / value).is_file():
                return str(root / value)
    return value


def replaced(value: Any, contents: Mapping[str, str]) -> Any:
    """The settings with what the files hold in place of where they are."""
    if isinstance(value, dict):
        return {str(name): replaced(part, contents) for name, part in value.items()}
    if isinstance(value, list):
        return [replaced(part, contents) for part in value]
    return contents.get(value, value) if isinstance(value, str) else value


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, part in value.items():
            if not (name == "token_list" and isinstance(part, list)):
                yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)


def _is_absolute_file(text: str) -> bool:
    return len(text) < 1000 and os.path.isabs(text) and os.path.isfile(text)


def named_files(settings: Any) -> list[Path]:
    """The existing files that settings name, in order."""
    return sorted({Path(text) for text in _strings(settings) if _is_absolute_file(text)})
