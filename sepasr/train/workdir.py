"""A training's folder belongs to one configuration."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from sepasr.config import read_yaml
from sepasr.errors import UserError
from sepasr.files import write_text
from sepasr.train.fit import steps_done

CONFIG = "config.yaml"


def claim(out: str | Path, inputs: Mapping[str, Any], *, overwrite: bool) -> None:
    """Write ``config.yaml``, after making sure that what is in ``out`` came from the same inputs.

    Its length may change (steps, snapshots, how long the rate falls): a longer training goes on
    where a shorter one ended.

    Args:
        out: folder of the training.
        inputs: everything that decides the result, with the settings of
            :class:`sepasr.train.fit.FitConfig` under ``fit``.
        overwrite: remove what came from other inputs, or was trained further than is asked for.

    Raises:
        UserError: ``out`` holds another training and ``overwrite`` is not set.
    """
    out = Path(out)
    text = yaml.safe_dump(dict(inputs), sort_keys=False)
    done = steps_done(out)
    if (out / CONFIG).is_file() and done:
        before, now = read_yaml(out / CONFIG), yaml.safe_load(text)
        cause = _difference(_without_length(before), _without_length(now))
        if cause is None and done > inputs["fit"]["steps"]:
            cause = f"it was trained for {done} steps already"
        if cause is not None:
            if not overwrite:
                raise UserError(
                    f"holds another training: {cause}",
                    where=out,
                    remedy="name another --out, or let --overwrite remove it",
                )
            shutil.rmtree(out)
    write_text(out / CONFIG, text)


def _without_length(inputs: Mapping[str, Any]) -> dict[str, Any]:
    kept = deepcopy(dict(inputs))
    fit = kept["fit"]
    for settings, name in ((fit, "steps"), (fit, "snapshots"), (fit["optimizer"], "decay_steps")):
        settings.pop(name, None)
    return kept


def _difference(before: Any, now: Any, name: str = "") -> str | None:
    """The first setting that differs, in words."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*now, *(key for key in before if key not in now)]:
            found = _difference(before.get(key), now.get(key), f"{name}.{key}".lstrip("."))
            if found:
                return found
        return None
    return None if before == now else f"{name} was {before} and is {now}"
