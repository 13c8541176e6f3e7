"""A training's folder belongs to one configuration."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import yaml

from sepasr.config import read_yaml
from sepasr.errors import UserError
from sepasr.files import OLD, locked_folder, write_text
from sepasr.train.checkpoint import steps_done
from sepasr.train.fit_config import validations_decide

CONFIG, LOCK, FINAL, ORIGIN = "config.yaml", ".lock", "final", "origin.json"
BEING_MOVED = "it is being moved away"
MOVING = ".moving"
"""File that names the folder beside a training's to which everything in it is being moved."""
IDLE = (
    "checkpoint_activations",
    "loss.compare_every",
    "loss.keep_mb",
    "fit.workers",
    "fit.valid_every",
    "fit.save_every",
    "fit.snapshots",
    "fit.accelerator",
    "fit.strategy",
)
"""What changes the log, time, memory and disk of a training, and not what comes of it."""
SHARES = ("batch", "accumulation", "devices", "num_nodes")
"""What gives the same gradients where the product is the same; but a recogniser's batches are drawn
by their size."""
PATIENCE_S = 120.0
"""How long the other processes wait for the first one to move another training."""

# Set by whatever started this process: torchrun, Lightning, SLURM.
_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
_HELD: dict[Path, IO[str]] = {}  # folders that this process has for itself, and their locks


def is_first_process() -> bool:
    """Whether this process is the one of its training that writes, before they have met."""
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep other trainings out of a folder while the block runs.

    The lock ends with the process, however it ends. Processes of one training hold it together, and
    a block within another of the same folder holds it already.

    Raises:
        UserError: another training is at work there.
    """
    out.mkdir(parents=True, exist_ok=True)
    place = out.resolve()
    if not is_first_process() or place in _HELD:
        yield
        return
    what, remedy = "another training is at work here", "wait for it, or name another --out"
    with locked_folder(out / LOCK, what, out, remedy) as stream:
        _HELD[place] = stream
        try:
            yield
        finally:
            _HELD.pop(place, None)


def leave_locks(_worker: int = 0) -> None:
    """Close this process's locks in a child that was forked from it, which may outlive it."""
    for stream in _HELD.values():
        stream.close()


@contextmanager
def claimed(
    out: str | Path,
    inputs: Mapping[str, Any],
    *,
    overwrite: bool,
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[None]:
    """Keep other trainings out of a folder that is claimed for this one.

    Raises:
        UserError: see :func:`alone` and :func:`claim`.
    """
    with alone(Path(out)):
        claim(out, inputs, overwrite=overwrite, defaults=defaults)
        yield


def claim(
    out: str | Path,
    inputs: Mapping[str, Any],
    *,
    overwrite: bool,
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write ``config.yaml``, after making sure that what is in ``out`` came from the same inputs.

    Its length may change (steps, how long the rate falls), so that a longer training goes on where
    a shorter one ended, and so may what decides nothing (``IDLE``), and how a batch of the same
    size is shared among devices and accumulated. Of several processes the first one writes and
    moves; the others wait until what was to be moved is gone. See :func:`claimed` for what
    keeps others out.

    Args:
        out: folder of the training.
        inputs: everything that decides the result, with the settings of
            :class:`sepasr.train.fit_config.FitConfig` under ``fit`` and those of a loss under
            ``loss``.
        overwrite: make room where something came from other inputs, was trained further than is
            asked for, or has passed a step of ``fit.snapshots`` and kept nothing of it. A training
            of which there is a checkpoint or a result is moved to a folder beside it.
        defaults: of settings that a training may have begun without, because there were none such.

    Raises:
        UserError: ``out`` holds another training and ``overwrite`` is not set.
    """
    out = Path(out)
    text = yaml.safe_dump(dict(inputs), sort_keys=False)
    deadline = time.monotonic() + PATIENCE_S
    plain = yaml.safe_load(yaml.safe_dump(dict(defaults)))
    if is_first_process() and (out / MOVING).is_file():
        _move(out)  # a move that was broken off
    while cause := _conflict(out, yaml.safe_load(text), plain):
        if not (overwrite or cause == BEING_MOVED) or time.monotonic() > deadline:
            raise UserError(
                f"holds another training: {cause}",
                where=out,
                remedy="name another --out, or let --overwrite make room for it",
            )
        if is_first_process():
            _make_room(out, cause)
        else:
            time.sleep(0.1)
    if is_first_process():
        write_text(out / CONFIG, text)


def _make_room(out: Path, cause: str) -> None:
    """Move the training in ``out`` to a folder beside it."""
    write_text(out / MOVING, _new_folder(out).name)
    _move(out, cause)


def _move(out: Path, cause: str = "its move had been broken off") -> None:
    """Move, or go on moving, what is in a training's folder to where it says.

    As long as ``MOVING`` is there, everything beside it is the other training's: if this is
    interrupted, the next run finishes the move. The lock stays, as it is held.
    """
    marker = out / MOVING
    old = out.absolute().with_name(marker.read_text(encoding="utf-8"))
    print(f"{out}: the training that was here is kept in {old}: {cause}", flush=True)
    old.mkdir(exist_ok=True)
    for path in sorted(out.iterdir()):
        if path.name not in (LOCK, MOVING):
            path.rename(old / path.name)
    marker.unlink()


def _new_folder(out: Path) -> Path:
    """A new folder beside a training's, named after the second."""
    out = out.absolute()  # "." has no name
    while True:
        old = out.with_name(f"{out.name}{OLD}{time.strftime('%Y%m%d-%H%M%S')}")
        try:
            old.mkdir()
        except FileExistsError:
            time.sleep(0.1)
        else:
            return old


def note_origin(out: str | Path, commit: str, valid: Mapping[str, Any]) -> None:
    """Write ``origin.json``: what a training is made by and validated on, which decides nothing.

    Args:
        out: its folder.
        commit: of the repository; one that went on at others keeps all of them, the first one
            first.
        valid: of the set that it is validated on: what a report says of it.

    Raises:
        UserError: what an earlier call left is no such file.
    """
    path = Path(out) / ORIGIN
    before: list[str] = read_origin(path)["commits"] if steps_done(out) else []
    commits = list(dict.fromkeys([*before, commit]))
    write_text(path, json.dumps({"commits": commits, "valid": dict(valid)}, indent=1) + "\n")


def read_origin(path: str | Path) -> dict[str, Any]:
    """Read what :func:`note_origin` wrote; of an earlier version's training nothing is stated.

    Raises:
        UserError: it is no such file.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return {"commits": list(content["commits"]), "valid": dict(content["valid"])}
    except FileNotFoundError:
        return {"commits": [], "valid": {}}
    except (ValueError, KeyError, TypeError) as error:
        what = f"does not say what a training came from: {error!r}"
        raise UserError(what, where=path, remedy="remove the file") from None


def _conflict(out: Path, inputs: Mapping[str, Any], defaults: Mapping[str, Any]) -> str | None:
    """How the training in ``out`` differs, in words; None if it doesn't."""
    if (out / MOVING).is_file():
        return BEING_MOVED
    done = steps_done(out)
    exported = (out / FINAL).exists() or any(out.glob("step*"))
    if not (done or exported) or not (out / CONFIG).is_file():
        return None
    before = _completed(read_yaml(out / CONFIG), inputs, defaults)
    cause = _difference(_without_length(before), _without_length(inputs))
    if cause is None and done > inputs["fit"]["steps"]:
        return f"it was trained for {done} steps already"
    passed = [n for n in inputs["fit"].get("snapshots", ()) if n <= done]
    lost = [n for n in passed if not (out / f"step{n}").exists()]
    if cause is None and lost:
        return f"it has passed step {lost[0]} of fit.snapshots, and kept nothing of it"
    return cause


def _completed(
    before: Mapping[str, Any], now: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """What was written, with the default of each setting that has been added since."""
    whole = dict(before)
    for name, default in defaults.items():
        if name not in now:
            continue
        if name not in whole:
            whole[name] = default
        elif all(isinstance(one, dict) for one in (whole[name], now[name], default)):
            whole[name] = _completed(whole[name], now[name], default)
    return whole


def deciding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a training without those of ``IDLE``, nor sections that hold no others.

    Where the validations decide the rate, or what is kept, it does matter how often there is one.
    """
    kept = deepcopy(dict(settings))
    fit = kept.get("fit", {})
    follows = validations_decide(fit.get("optimizer", {}).get("schedule"), fit.get("keep"))
    for name in IDLE:
        if follows and name == "fit.valid_every":
            continue
        section, _, last = name.rpartition(".")
        part = kept.get(section, {}) if section else kept
        part.pop(last, None)
        if not part:
            kept.pop(section, None)
    return kept


def _without_length(inputs: Mapping[str, Any]) -> dict[str, Any]:
    kept = deciding(inputs)
    shares = [kept["fit"].get(name) for name in SHARES]
    if "hearing" not in kept and all(isinstance(share, int) for share in shares):
        for name in SHARES:
            del kept["fit"][name]
        kept["fit"]["batch of all devices"] = math.prod(shares)
    for settings, name in ((kept["fit"], "steps"), (kept["fit"]["optimizer"], "decay_steps")):
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
