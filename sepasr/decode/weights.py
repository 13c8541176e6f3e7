"""Where a recogniser's weights are: a directory, a package, or a hub, without falling back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from sepasr.errors import UserError
from sepasr.files import sha256
from sepasr.models import PACKAGED, hub_model, packaged_model, refuse_revision, resolve_model

SOURCES = ("auto", "package", "hub")


def weights_folder(
    model: str | None, package: str | None, source: str, revision: str | None = None
) -> Path:
    """Find the folder of a recogniser's weights.

    Args:
        model: a directory, or a name on the Hugging Face hub.
        package: a model that an installed package carries, see ``sepasr.models``.
        source: ``package``, ``hub``, or ``auto``: the package, where one is named, else the hub.
        revision: branch, tag or commit on the hub.

    Raises:
        UserError: nothing is named for the source, or it cannot be had there.
    """
    place = weights_place(model, package, source, revision, hub_model)
    if not place.is_dir():
        raise UserError("a file where a model's directory is expected", where=place)
    return place


def weights_place(
    model: str | None,
    package: str | None,
    source: str,
    revision: str | None,
    fetch: Callable[[str, str | None], Path],
) -> Path:
    """Find the folder or file of a recogniser's weights.

    A path named by ``model`` is used whatever the source. Otherwise the source decides alone:
    where it fails, the other one is not tried. A package has to carry what ``model`` names on the
    hub, if both are given.

    Args:
        model, package, source, revision: see :func:`weights_folder`.
        fetch: brings a name and a revision from the hub.

    Raises:
        UserError: nothing is named for the source, or it cannot be had there.
    """
    if source not in SOURCES:
        raise UserError(f"unknown source '{source}'", remedy=f"known: {', '.join(SOURCES)}")
    if source == "auto":
        source = "hub" if package is None else "package"
    place = resolve_model(model) if model else None
    if isinstance(place, Path):
        refuse_revision(revision, place)
        return place
    if source == "package":
        if package is None:
            remedy = "take the source hub, or set model to a directory"
            raise UserError(f"no package carries '{model}'", remedy=remedy)
        folder = packaged_model(package)
        refuse_revision(revision, f"package {package}")
        if place not in (None, PACKAGED[package].hub):
            what = f"the package {package} does not carry '{place}'"
            raise UserError(what, remedy="take the source hub, or leave out model or package")
        return folder
    if place is None:
        raise UserError("no model on a hub is named", remedy="set model, or take source package")
    return fetch(place, revision)


def require_files(folder: Path, names: tuple[str, ...], remedy: str) -> None:
    """Check that a model's folder holds these files.

    Raises:
        UserError: it lacks one.
    """
    for name in names:
        if not (folder / name).is_file():
            raise UserError(f"no {name} in this model's directory", where=folder, remedy=remedy)


def digest(folder: Path) -> str:
    """SHA-256 over names and contents of a model's files; notes (``*.md``) are no part of it."""
    total = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix != ".md":
            total.update(f"{file.name} {sha256(file)}\n".encode())
    return total.hexdigest()
