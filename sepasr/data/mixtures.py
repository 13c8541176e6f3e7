"""Mixtures of a corpus whose files bear one name in a folder for each signal."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sepasr.data.datadir import Mixture, MixtureDir, Noise
from sepasr.data.header import all_good, read_headers
from sepasr.errors import UserError
from sepasr.files import whole_files


@dataclass(frozen=True)
class Spoken:
    """Who speaks in a mixture and what, in the order of the references.

    Attributes:
        speakers: one for each reference.
        texts: one for each reference; None where sources are cut and no text matches them.
    """

    speakers: tuple[str, ...]
    texts: tuple[str, ...] | None


def check_version(corpus: str, **settings: tuple[object, Collection[object]]) -> None:
    """Check that a corpus has what is asked for.

    Args:
        corpus: its name, for the error.
        settings: by name, the value asked for and those that there are.

    Raises:
        UserError: there is no such value.
    """
    for name, (value, known) in settings.items():
        if value not in known:
            remedy = f"it is one of {', '.join(map(str, known))}"
            raise UserError(f"{corpus} has no {name} '{value}'", remedy=remedy)


def check_complete(
    found: int,
    expected: int,
    where: Path,
    *,
    allow_partial: bool,
    remedy: str = "complete it",
) -> None:
    """Check that there are as many mixtures as the complete corpus has.

    Raises:
        UserError: there are not, and a part is not allowed.
    """
    if found != expected and not allow_partial:
        raise UserError(
            f"{found} mixtures where the complete corpus has {expected}",
            where=where,
            remedy=f"{remedy}, or allow a partial corpus",
        )


def subfolder(folder: Path, name: str, remedy: str) -> Path:
    """The folder ``name`` in ``folder``.

    Raises:
        UserError: it isn't there; what is there is named, or where there is nothing, the remedy.
    """
    if (folder / name).is_dir():
        return folder / name
    beside = sorted(f.name for f in folder.iterdir() if f.is_dir()) if folder.is_dir() else []
    remedy = f"there are {', '.join(beside)}" if beside else remedy
    raise UserError("no such folder", where=folder / name, remedy=remedy)


def check_names(folder: Path, names: Collection[str], source: Path) -> None:
    """Check that a folder has a WAV file of each name.

    Args:
        folder: the folder.
        names: without suffix.
        source: what has these names, for the error.

    Raises:
        UserError: a file is missing.
    """
    there = {file.stem for file in whole_files(folder, "*.wav")}
    missing = [name for name in names if name not in there]
    if missing:
        what = f"no such file, but it is in {source} ({len(missing)} like it)"
        where = folder / f"{min(missing)}.wav"
        raise UserError(what, where=where, remedy="complete the corpus")


def check_few(counts: Mapping[str, int], sets: Iterable[str]) -> None:
    """Check that there are the sets of which only some mixtures are asked for.

    Raises:
        UserError: there is one that is not.
    """
    if unknown := set(counts).difference(sets):
        what = f"some mixtures are asked for of '{min(unknown)}', which is not made"
        raise UserError(what, remedy=f"there are {', '.join(sets)}")


def few_of(directories: Iterable[MixtureDir], counts: Mapping[str, int]) -> list[MixtureDir]:
    """Directories with only some of their mixtures, spread over the set.

    Args:
        directories: of sets, and of subsets of these, whose names begin with the set's and ``_``.
        counts: how many, by set. Of a subset those are left that its set has left, and one of which
            none is left is left out.

    Raises:
        UserError: a set has fewer, or there is no such set.
    """
    directories = list(directories)
    sets = {directory.path.name: directory for directory in directories}
    check_few(counts, sets)
    left = {
        name: {mixture.id for mixture in sets[name].spread_out(count).mixtures}
        for name, count in counts.items()
    }
    thinned = []
    for directory in directories:
        ids = left.get(directory.path.name.partition("_")[0])
        mixtures = tuple(m for m in directory.mixtures if ids is None or m.id in ids)
        if mixtures:
            thinned.append(replace(directory, mixtures=mixtures))
    return thinned


def read_mixtures(
    folders: Mapping[str, Path],
    spoken: Mapping[str, Spoken],
    fs: int,
    *,
    jobs: int = 1,
    cluster: Path | None = None,
) -> tuple[Mixture, ...]:
    """Make the records of a set of mixtures, sorted by name, with every file's header checked.

    Args:
        folders: of each scp of a data directory: ``wav.scp``, ``spk1.scp``, ... and, where there is
            noise, ``noise1.scp``. A mixture has the file ``<name>.wav`` in each.
        spoken: speakers and texts by name.
        fs: sampling rate in Hz.
        jobs: as for :func:`sepasr.data.header.read_headers`.
        cluster: likewise.

    Raises:
        UserError: a file is missing, truncated, of another rate, of several channels, or of another
            length than its mixture.
    """
    names = sorted(spoken)
    files = {scp: [folder / f"{name}.wav" for name in names] for scp, folder in folders.items()}
    paths = [path for column in files.values() for path in column]
    found = read_headers(paths, fs, channels=1, jobs=jobs, cluster=cluster)
    headers = dict(zip(paths, all_good(found), strict=True))
    noises = files.get("noise1.scp", [None] * len(names))
    references = zip(*(files[scp] for scp in files if scp.startswith("spk")), strict=True)

    mixtures = []
    for name, mixture, sources, noise in zip(
        names, files["wav.scp"], references, noises, strict=True
    ):
        for path in (*sources, noise):
            if path and headers[path].frames != headers[mixture].frames:
                what = f"{headers[path].frames} samples, its mixture has {headers[mixture].frames}"
                raise UserError(what, where=path, remedy="replace the file")
        mixtures.append(
            Mixture(
                id=name,
                mixture=mixture,
                references=sources,
                noise=noise,
                texts=spoken[name].texts,
                speakers=spoken[name].speakers,
                duration_s=headers[mixture].duration_s,
            )
        )
    return tuple(mixtures)


def noises_of(mixtures: Iterable[Mixture]) -> tuple[Noise, ...]:
    """The noise of each mixture that has any, by the mixture's name."""
    return tuple(Noise(m.id, m.noise, m.duration_s) for m in mixtures if m.noise)
