"""Separate the mixtures of a data directory into one list of files per speaker."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch

from sepasr.data.audio import read_mono, write_audio
from sepasr.data.blocks import header_of
from sepasr.data.datadir import Mixture, MixtureDir
from sepasr.data.layout import INFO
from sepasr.data.scp import write_table
from sepasr.decode.device import to_device
from sepasr.decode.streams import check_finite
from sepasr.errors import UserError
from sepasr.files import locked_folder, write_text
from sepasr.parallel import parallel_map
from sepasr.separator.model import Separator
from sepasr.weights import weights_sha256

BUCKET_S = 0.5
"""A mixture is padded with zeros to a multiple of this before it is separated.

Few different lengths are many times faster on a CPU, and a mixture's padding must not depend
on its neighbours: equal lengths go together, so that a result never depends on its batch.
"""


SEPARATOR = "separator.json"
"""How the separator came about, beside the lists of what it separated."""


def bucket(samples: int, fs: int) -> int:
    """Samples after padding."""
    unit = round(BUCKET_S * fs)
    return -(-samples // unit) * unit


def batches(mixtures: Sequence[Mixture], fs: int, size: int) -> Iterator[list[Mixture]]:
    """Group mixtures of the same padded length, the longest first."""
    groups: dict[int, list[Mixture]] = {}
    for mixture in mixtures:
        groups.setdefault(bucket(round(mixture.duration_s * fs), fs), []).append(mixture)
    for length in sorted(groups, reverse=True):
        group = groups[length]
        for start in range(0, len(group), size):
            yield group[start : start + size]


def separate_batch(separator: Separator, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Separate waveforms (samples,) of one bucket into (speakers, samples) each, float32."""
    padded = bucket(len(waveforms[0]), separator.fs)
    batch = np.stack([np.pad(wave, (0, padded - len(wave))) for wave in waveforms])
    device = next(separator.parameters()).device
    with torch.inference_mode():
        estimates = separator(torch.from_numpy(batch).to(device)).cpu().numpy()
    return [item[:, : len(wave)] for item, wave in zip(estimates, waveforms, strict=True)]


def load_separator(model: Path | str, device: str) -> Separator:
    """The separator of a directory or of the hub, on a device, in evaluation mode.

    Raises:
        UserError: it can't be loaded, or there is no such device.
    """
    return to_device(Separator.from_pretrained(model), device)


def separate_directory(
    separator: Separator,
    directory: MixtureDir,
    out: str | Path,
    batch: int = 8,
    *,
    add_mixture: float = 0.0,
    load: Callable[[], Separator] | None = None,
    jobs: int = 1,
    cluster: Path | None = None,
) -> None:
    """Write ``wav/<id>_spk<s>.wav`` and, last, the lists ``spk<s>.scp``.

    What is already there is not made again, so an interrupted call is continued by the next one.
    ``separator.json`` says by which separator; what another one left is removed.

    Args:
        separator: in evaluation mode.
        directory: what to separate.
        out: where to write.
        batch: mixtures of equal padded length that go together.
        add_mixture: what is added of the mixture to each of its streams (observation adding:
            Ochiai et al., arXiv 2311.11599, found that it costs a recogniser less than artefacts).
        load: how each worker gets the separator, a :class:`sepasr.parallel.OncePerProcess`; without
            it, the separator travels with the work.
        jobs: as for :func:`sepasr.parallel.parallel_map`.
        cluster: likewise.

    Raises:
        UserError: another run is separating into the folder, it is a data directory, or holds
            streams that were not made here; the directory's sampling rate or number of speakers is
            not the separator's; a mixture can't be read or is not as long as the directory says; or
            less than nothing is to be added.
    """
    fs = directory.info.fs
    if fs != separator.fs:
        raise UserError(
            f"{fs} Hz mixtures for a separator of {separator.fs} Hz",
            where=directory.path,
            remedy="prepare the data at the separator's rate",
        )
    speakers = len(directory.mixtures[0].references)
    if speakers != separator.num_speakers:
        raise UserError(
            f"mixtures of {speakers} speakers for a separator of {separator.num_speakers}",
            where=directory.path,
            remedy="train a separator with as many",
        )
    if not add_mixture >= 0:
        raise UserError(f"{add_mixture} of the mixture can't be added", remedy="take 0 or more")
    out = Path(out).absolute()
    refuse_data_directory(out)
    what, remedy = "another run is separating into this folder", "wait for it, or name another"
    with locked_folder(out / ".lock", what, out, remedy):
        _claim(out, separator, directory, add_mixture)
        separator.eval()
        files = {
            mixture.id: _files(out, mixture.id, separator.num_speakers)
            for mixture in directory.mixtures
        }
        missing = [
            mixture
            for mixture in directory.mixtures
            if not _is_made(mixture, files[mixture.id], fs)
        ]
        parallel_map(
            partial(_separate_and_write, load or (lambda: separator), out, add_mixture),
            list(batches(missing, fs, batch)),
            jobs=jobs,
            cluster=cluster,
            description="separate",
            unit="mixture",
            weight=len,
        )
        for s in range(separator.num_speakers):
            write_table(
                out / f"spk{s + 1}.scp", {key: str(paths[s]) for key, paths in files.items()}
            )


def refuse_data_directory(out: Path) -> None:
    """Refuse to list streams where the references of a data directory are listed.

    Raises:
        UserError: ``out`` is one.
    """
    if (out / INFO).exists():
        what = "a data directory: lists of streams would take the place of its references"
        raise UserError(what, where=out, remedy="name another folder")


def _files(out: Path, mixture: str, speakers: int) -> list[Path]:
    return [out / "wav" / f"{mixture}_spk{s}.wav" for s in range(1, speakers + 1)]


def _separate_and_write(
    load: Callable[[], Separator], out: Path, add_mixture: float, mixtures: Sequence[Mixture]
) -> None:
    separator = load()
    waveforms = [_read(mixture, separator.fs) for mixture in mixtures]
    separated = separate_batch(separator, waveforms)
    for mixture, waveform, estimates in zip(mixtures, waveforms, separated, strict=True):
        check_finite(estimates, mixture.id)
        if add_mixture:
            estimates = estimates + np.float32(add_mixture) * waveform
        for file, estimate in zip(_files(out, mixture.id, len(estimates)), estimates, strict=True):
            write_audio(file, estimate, separator.fs)


def _read(mixture: Mixture, fs: int) -> np.ndarray:
    """The samples, as many as the bucket was chosen for."""
    waveform = read_mono(mixture.mixture, fs)
    expected = round(mixture.duration_s * fs)
    if len(waveform) != expected:
        raise UserError(
            f"{len(waveform)} samples where the data directory has {expected} for '{mixture.id}'",
            where=mixture.mixture,
            remedy="prepare the data directory again",
        )
    return waveform


def _claim(out: Path, separator: Separator, directory: MixtureDir, add_mixture: float) -> None:
    """Keep what is in ``out`` only if it was made of the same files by the same separator.

    Raises:
        UserError: nothing says how what is there was made: it may be another program's.
    """
    described = {**separator.description(), "weights_sha256": weights_sha256(separator)}
    listed = "\n".join(f"{mixture.id} {mixture.mixture}" for mixture in directory.mixtures)
    described["mixtures_sha256"] = hashlib.sha256(listed.encode()).hexdigest()
    if add_mixture:
        described["add_mixture"] = add_mixture
    text = json.dumps(described, indent=2) + "\n"
    path = out / SEPARATOR
    if not path.is_file() and (any(out.glob("spk*.scp")) or any(out.glob("wav/*"))):
        what = f"holds streams, but no {SEPARATOR} that says how they were made"
        raise UserError(what, where=out, remedy="name another folder")
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        with suppress(FileNotFoundError):
            shutil.rmtree(out / "wav")
        for table in out.glob("spk*.scp"):
            table.unlink()
    write_text(path, text)


def _is_made(mixture: Mixture, streams: Sequence[Path], fs: int) -> bool:
    """Whether the streams are there as a whole, and of the mixture as it is now."""
    whole = (round(mixture.duration_s * fs), fs)
    if any(header_of(str(stream)) != whole for stream in streams):
        return False
    if not mixture.mixture.is_file():
        return True
    return min(s.stat().st_mtime_ns for s in streams) >= mixture.mixture.stat().st_mtime_ns
