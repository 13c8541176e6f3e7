"""Trained separators by a digest of all that decides them, so that studies share what is equal."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

from sepasr.config import load_config, read_yaml
from sepasr.data.datadir import fingerprint
from sepasr.encoder.base import EncoderConfig
from sepasr.errors import UserError
from sepasr.files import sha256, write_text
from sepasr.separator.hub import CARD
from sepasr.separator.model import WEIGHTS
from sepasr.study.config import AE, PIT, SISDR, START, StudyConfig, Variant
from sepasr.study.digest import encoder_content, override, without_length
from sepasr.study.lock import locked
from sepasr.study.made import note_commit
from sepasr.study.place import Place
from sepasr.train.checkpoint import steps_done
from sepasr.train.fit_config import LAST_STEP
from sepasr.train.material import Sources, fingerprints
from sepasr.train.recipe import TrainConfig

REVISION = 2
"""To be raised when a default or the code of training changes what comes out: what was trained
before is then not taken for the same."""
LAYERS = {
    AE: ("train/finetune", "train/finetune_ae"),
    PIT: ("train/finetune", "train/finetune_pit"),
    SISDR: ("train/finetune", "train/finetune_sisdr"),
}
"""As stage 3 of run.sh lays them over each other. Learning rates and steps that were chosen for a
system there give way to the study's own."""
KEPT_EVERY = 100
"""Steps between separators that are kept, whoever asks for them: another study may, which would
have to train from the beginning again."""

T = TypeVar("T")
Trainer = Callable[[Sequence[str], int], None]
"""Runs ``sepasr train`` with arguments, and keeps a file descriptor open meanwhile."""


@dataclass(frozen=True, eq=False)
class Training:
    """A training, and where the separators it passes through are kept.

    Attributes:
        digest: of everything that decides them.
        folder: ``stepN/`` is the separator after N steps.
        config: of the training, but for its length.
        encoders: of the loss.
        init: the separator to start from.
        parent: the training that it comes from, and after how many steps; None for what is there.
        material: what is mixed.
        valid: what is validated on.
    """

    digest: str
    folder: Path
    config: TrainConfig
    encoders: tuple[EncoderConfig, ...]
    init: Path
    parent: tuple[Training, int] | None
    material: Sources
    valid: Path

    def model(self, steps: int) -> Path:
        """The separator after so many steps."""
        return self.folder / f"step{steps}"

    @property
    def work(self) -> Path:
        """Folder of the training itself."""
        return self.folder / "training"

    def missing(self, wanted: Iterable[int]) -> list[int]:
        """Those of some numbers of steps whose separator isn't there."""
        return sorted(steps for steps in set(wanted) if not is_whole(self.model(steps)))

    def steps_to_do(self, wanted: Iterable[int]) -> int:
        """Steps that are left to train until all of them are there."""
        missing = [n for n in self.missing(wanted) if not is_whole(self.work / f"step{n}")]
        if not missing:
            return 0
        done = steps_done(self.work)
        return max(missing) - (done if done < min(missing) else 0)


def is_whole(model: Path) -> bool:
    """Whether an exported separator is complete: its card is written last."""
    return (model / CARD).is_file()


def resolve_training(
    study: StudyConfig, variant: Variant, steps: int, seed: int, place: Place
) -> Training:
    """The training that a variant's separator after ``steps`` comes from.

    At a constant rate a shorter training is the beginning of a longer one, so that both are the
    same; with a rate that falls towards the end each length is a training of its own.

    Args:
        study: the variant's study.
        variant: one of ``study.resolved()``, a trained one.
        steps: how long.
        seed: of the training.
        place: where everything is.

    Raises:
        UserError: a setting, file or name of the variant that is unknown or wrong.
    """
    valid = place.mixtures(study.screen.set, variant.task)
    speakers = len(valid.mixtures[0].references)
    own = {
        "mixing.num_speakers": speakers,
        "mixing.reference": valid.info.reference,
        **variant.set,
        "fit.seed": seed,
    }
    fixed = {*own, "fit.steps", "fit.snapshots"}
    mine = {one.partition("=")[0] for one in place.overrides} & fixed
    if mine:
        where, remedy = f"variant {variant.name}", "leave it out, or change the study's YAML"
        raise UserError(f"{min(mine)} is the study's to set", where=where, remedy=remedy)
    overrides = (*place.overrides, *(override(name, value) for name, value in own.items()))
    files = place.layers(*LAYERS[variant.system])
    config = settings(TrainConfig, files, overrides)
    config = replace(config, fit=replace(config.fit, steps=steps))
    encoders = tuple(
        encoder_settings(place, name, variant.encoder_set) for name in variant.encoders
    )
    material = place.sources()
    parent = None
    if variant.init == START:
        init = place.starting_point(variant.task, speakers)
        origin: object = sha256(init / WEIGHTS)
    else:
        before = study.variant(variant.init)
        parent = (resolve_training(study, before, before.steps[-1], seed, place), before.steps[-1])
        init, origin = parent[0].model(parent[1]), (parent[0].digest, parent[1])
    decides = {
        "revision": REVISION,
        "train": without_length(config),
        "encoders": [encoder_content(encoder) for encoder in encoders],
        "init": origin,
        "data": _fingerprints(material, valid.info.fs),
    }
    if config.fit.keep != LAST_STEP:
        remedy = "leave it out: studies, like sepasr tune, take the weights after so many steps"
        raise UserError("fit.keep is for trainings by themselves", remedy=remedy)
    if config.fit.follows_validation:
        decides["valid"] = fingerprint(valid)
        if not config.loss.in_db(variant.encoders):
            decides["validated_by"] = "loss"
    text = json.dumps(decides, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Training(
        digest,
        place.models / digest,
        config,
        encoders,
        init,
        parent,
        material,
        valid.path,
    )


_read = lru_cache(maxsize=None)(read_yaml)


def settings(cls: type[T], files: Iterable[Path], overrides: Iterable[str] = ()) -> T:
    """As :func:`sepasr.config.load_config`, with every file as it was when it was first read.

    A study has the settings that it began with, in its finals too, whoever edits the files
    meanwhile.
    """
    return load_config(cls, files, overrides, read=_read)


def encoder_settings(place: Place, name: str, changes: Mapping[str, Any]) -> EncoderConfig:
    """Those of ``encoder/NAME.yaml`` with changes laid over them, as :func:`settings`."""
    deltas = [override(key, value) for key, value in changes.items()]
    return settings(EncoderConfig, place.layers(f"encoder/{name}"), deltas)


@lru_cache
def _fingerprints(material: Sources, fs: int) -> dict[str, str | None]:
    return fingerprints(*material.load(fs))


def train_until(training: Training, wanted: Iterable[int], train: Trainer) -> None:
    """Train as far as is needed for separators after ``wanted`` steps to be there.

    It goes on from where an earlier call was interrupted, or from where a shorter training ended.

    Args:
        training: what to train.
        wanted: numbers of steps.
        train: does it.

    Raises:
        UserError: the training failed, or has left no separator.
    """
    wanted = set(wanted)
    if not training.missing(wanted):
        return
    if training.parent is not None:
        parent, steps = training.parent
        train_until(parent, [steps], train)
    with locked(training.folder) as lock:
        work, again = training.work, training.folder / "again"
        _take(training, work, again)
        missing = training.missing(wanted)  # another process may have trained meanwhile
        if not missing:
            return
        if steps_done(work) >= min(missing):
            # It has passed a number of steps that nobody had asked for then.
            work = again
            if steps_done(work) >= min(missing):
                shutil.rmtree(work)
        train(_arguments(training, missing, work), lock)
        _take(training, work)
        shutil.rmtree(again, ignore_errors=True)
    if training.missing(wanted):
        remedy = "run it again, or look into its logs"
        raise UserError("the training has left no separator", where=training.folder, remedy=remedy)


def _take(training: Training, *works: Path) -> None:
    """Keep the separators that a training has exported."""
    for exported in (path for work in works for path in work.glob("step*")):
        target = training.folder / exported.name
        if is_whole(exported) and not is_whole(target):
            shutil.rmtree(target, ignore_errors=True)
            note_commit(target)
            exported.replace(target)


def _arguments(training: Training, missing: Sequence[int], out: Path) -> list[str]:
    """Arguments of ``sepasr train``, with the settings of the digest in files of its own."""
    material = training.material
    arguments: list[object] = ["--config", _written(training, "train", training.config), "--set"]
    done = steps_done(out)  # what was kept of these steps is elsewhere by now
    kept = sorted({*missing, *range(KEPT_EVERY, missing[-1], KEPT_EVERY)} - {*range(done + 1)})
    arguments += [f"fit.steps={missing[-1]}", override("fit.snapshots", kept)]
    for number, encoder in enumerate(training.encoders, 1):
        arguments += ["--encoder", _written(training, f"encoder{number}", encoder)]
    arguments += ["--init", training.init, "--utterances", material.utterances]
    arguments += ["--noise", material.noise] if material.noise else []
    arguments += ["--rooms", material.rooms] if material.rooms else []
    arguments += ["--valid", training.valid, "--out", out, "--overwrite"]
    return [str(argument) for argument in arguments]


def _written(training: Training, name: str, config: Any) -> Path:
    """A file with settings: whoever edits those it came from meanwhile doesn't change the study."""
    path = training.folder / f"{name}.yaml"
    write_text(path, yaml.safe_dump(asdict(config), sort_keys=False))
    return path


def train_in_process_of_its_own(arguments: Sequence[str], lock: int) -> None:
    """Run ``sepasr train``: its memory is free again afterwards, and Lightning may start others.

    Raises:
        UserError: it failed; it has said why.
        KeyboardInterrupt: it was interrupted.
    """
    command = [sys.executable, "-m", "sepasr.bin.main", "train", *arguments]
    status = subprocess.run(command, pass_fds=[lock], check=False).returncode
    if status in (130, -2):
        raise KeyboardInterrupt
    if status:
        raise UserError(f"sepasr train ended with status {status}", remedy="see above")
