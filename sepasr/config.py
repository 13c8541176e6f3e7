"""Configuration: YAML files, laid over each other, read once into typed objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sepasr.errors import UserError

T = TypeVar("T")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        UserError: the file is missing, is not YAML (with the line), or is not a mapping.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        remedy = f"there are {', '.join(near)}" if near else "check the path"
        raise UserError("no such configuration", where=path, remedy=remedy) from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        what, remedy = f"not valid YAML: {error.problem}", "correct it there or just above"
        raise UserError(what, where=path, line=line, remedy=remedy) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"not valid YAML: {error}", where=path, remedy="write UTF-8") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        what, remedy = "a mapping of names to values is expected", "write name: value"
        raise UserError(what, where=path, remedy=remedy)
    return content


def load_config(
    cls: type[T],
    files: Iterable[str | Path],
    overrides: Iterable[str] = (),
    *,
    read: Callable[[str | Path], dict[str, Any]] = read_yaml,
) -> T:
    """Lay YAML files, then ``name=value`` overrides, over the defaults of a dataclass.

    Later files win. Names and types are checked against ``cls``.

    Args:
        cls: the dataclass that says which names there are, of which type and default.
        files: YAML files, the base first.
        overrides: ``a.b=value`` strings, as given on the command line.
        read: reads a file.

    Raises:
        UserError: an unknown name, a value of the wrong type, or a missing mandatory value.
    """
    config = OmegaConf.structured(cls)
    layers: list[tuple[str, Any]] = [(str(file), read(file)) for file in files]
    for override in overrides:
        if "=" not in override:
            raise UserError(f"override '{override}' is not of the form name=value")
        try:
            layers.append((f"override {override}", OmegaConf.from_dotlist([override])))
        except yaml.YAMLError:
            raise UserError(f"override '{override}' has a value that is not valid YAML") from None
    for source, layer in layers:
        try:
            config = OmegaConf.merge(config, layer)
        except OmegaConfBaseException as error:
            cause = (error.msg or str(error)).splitlines()[0]
            known = ", ".join(str(name) for name in OmegaConf.structured(cls))
            raise UserError(cause, where=source, remedy=f"known at the top: {known}") from None
    try:
        return OmegaConf.to_object(config)  # type: ignore[return-value]
    except UserError as error:
        # A class refuses what its values come to: which of the layers gave them isn't known here.
        raise UserError(str(error), where=" + ".join(source for source, _ in layers)) from None
    except OmegaConfBaseException as error:
        raise UserError((error.msg or str(error)).splitlines()[0], where=layers[-1][0]) from None
