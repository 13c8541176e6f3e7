"""What WHAMR's mixtures are made of, as the tables say that are published with it.

- WHAMR's scripts (http://wham.whisper.ai, whamr_scripts/data) hold `mix_2_spk_filenames_SET.csv`,
  the utterances, and `reverb_params_SET.csv`, the rooms.
- WHAM's noise (wham_noise/metadata) comes with `mix_param_meta_SET.csv`, when speech starts in the
  noise, and `scaling_SET.npz`, the gains.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from sepasr.data.mixtures import check_complete
from sepasr.data.rows import Row, read_rows
from sepasr.data.whamr_tree import COUNTS, utterances_of
from sepasr.errors import UserError
from sepasr.simulate.rooms import Room
from sepasr.simulate.whamr_rooms import find_table, read_rooms

_STARTS = "speech_start_sample_16k"
NOISE = "wham_noise.zip from http://wham.whisper.ai"


@dataclass(frozen=True)
class Plan:
    """What a mixture is made of, for one sampling rate and cut.

    Attributes:
        name: of the mixture, without suffix.
        utterances: of WSJ0, one for each speaker.
        room: where they speak.
        start: sample of the noise at which they start, at 16 kHz.
        gains: of each utterance as recorded, to the levels in WSJ0-2mix.
        speech_gain: of both on top, to the level in WHAM.
        noise_gain: of the noise as recorded.
    """

    name: str
    utterances: tuple[str, str]
    room: Room
    start: int
    gains: tuple[float, float]
    speech_gain: float
    noise_gain: float


def read_plans(
    scripts: Path, noise: Path, subset: str, fs: int, cut: str, *, allow_partial: bool = False
) -> list[Plan]:
    """Read all that is published about the mixtures of a set.

    Args:
        scripts: a folder above WHAMR's tables.
        noise: the folder wham_noise, or the one that holds it.
        subset: "tr", "cv" or "tt".
        fs: sampling rate in Hz, on which the gains depend: 16000 or 8000.
        cut: "max" or "min", on which they depend as well.
        allow_partial: accept fewer mixtures than the complete corpus has.

    Raises:
        UserError: a table is missing, malformed, of other mixtures than the rest, or incomplete.
    """
    table, rooms_table, starts_table, gains_file = find_tables(scripts, noise, subset)
    files = read_rows(table, ("output_filename", "s1_path", "s2_path"))
    rooms = read_rooms(rooms_table)
    starts = read_rows(starts_table, ("utterance_id", "noise_samples_beginning_16k"))
    gains = _read_gains(gains_file, f"{fs // 1000}k_{cut}")
    check_complete(
        len(files),
        COUNTS[subset],
        table,
        allow_partial=allow_partial,
        remedy="get the file again",
    )
    positions = {row: number for number, row in enumerate(starts)}
    if gains.starts is not None and len(positions) == len(gains.starts):
        for row, start in zip(starts.values(), gains.starts, strict=True):
            if row.number("noise_samples_beginning_16k") != start:
                what = f"another order of mixtures than in {gains.path}, whose gains go by rows"
                raise row.problem(what)
    if len(positions) != len(gains.noise):
        what = f"gains of {len(gains.noise)} mixtures, {starts_table.name} has {len(positions)}"
        raise UserError(what, where=gains.path, remedy=f"get it again from {NOISE}")

    plans = []
    for file, row in files.items():
        name = file.removesuffix(".wav")
        for other, known in ((rooms_table, name in rooms), (starts_table, file in starts)):
            if not known:
                raise row.problem(f"'{file}' is not in {other}")
        number = positions[file]
        plans.append(
            Plan(
                name=name,
                utterances=_utterances(row, name),
                room=rooms[name],
                start=int(starts[file].number("noise_samples_beginning_16k")),
                gains=(float(gains.utterances[number, 0]), float(gains.utterances[number, 1])),
                speech_gain=float(gains.speech[number]),
                noise_gain=float(gains.noise[number]),
            )
        )
    return plans


def find_tables(scripts: Path, noise: Path, subset: str) -> tuple[Path, Path, Path, Path]:
    """The files of a set's utterances, rooms, starts and gains; arguments as :func:`read_plans`.

    Raises:
        UserError: there is no table of utterances or rooms, or no folder of the other two.
    """
    metadata = find_noise(noise) / "metadata"
    return (
        find_table(scripts, f"mix_2_spk_filenames_{subset}.csv"),
        find_table(scripts, f"reverb_params_{subset}.csv"),
        metadata / f"mix_param_meta_{subset}.csv",
        metadata / f"scaling_{subset}.npz",
    )


def _utterances(row: Row, name: str) -> tuple[str, str]:
    """The utterances of a row, whose paths and name must agree on them."""
    first, second = (PurePosixPath(row[f"s{s}_path"]).stem.lower() for s in (1, 2))
    if (first, second) != utterances_of(name):
        raise row.problem(f"the paths are not of the utterances in '{name}'")
    return first, second


@dataclass(frozen=True)
class _Gains:
    """Of all mixtures, for one rate and cut: (mixtures, 2), (mixtures,) and (mixtures,).

    ``starts``, where the file has them, tell which rows they are of.
    """

    path: Path
    utterances: np.ndarray
    speech: np.ndarray
    noise: np.ndarray
    starts: np.ndarray | None


def _read_gains(path: Path, version: str) -> _Gains:
    """Read a file of gains, all but its names, which are a pickle and could run anything."""
    names = [f"scaling_{kind}_{version}" for kind in ("wsjmix", "wham_speech", "wham_noise")]
    remedy = f"get it again from {NOISE}"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            utterances, speech, noise = (arrays[name] for name in names)
            starts = arrays[_STARTS] if _STARTS in arrays.files else None
    except FileNotFoundError:
        raise UserError("no such file", where=path, remedy=remedy) from None
    except KeyError as error:
        raise UserError(f"no {error.args[0]}", where=path, remedy=remedy) from None
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise UserError(f"not a file of gains: {error}", where=path, remedy=remedy) from None
    count = len(noise)
    if utterances.shape != (count, 2) or speech.shape != noise.shape or noise.ndim != 1:
        raise UserError("gains of different mixtures", where=path, remedy=remedy)
    if not all(np.isfinite(array).all() for array in (utterances, speech, noise)):
        raise UserError("a gain is not finite", where=path, remedy=remedy)
    return _Gains(path, utterances, speech, noise, starts)


def find_noise(noise: Path) -> Path:
    """The folder of WHAM's noise that holds its tables.

    Args:
        noise: that folder, or the one that holds it.

    Raises:
        UserError: there are no tables.
    """
    for folder in (noise, noise / "wham_noise"):
        if (folder / "metadata").is_dir():
            return folder
    remedy = f"give the folder wham_noise of {NOISE}"
    raise UserError("no such folder", where=noise / "metadata", remedy=remedy)
