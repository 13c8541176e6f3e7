"""WHAMR's rooms, and impulse responses in them, as the corpus's own scripts compute them.

The scripts (http://wham.whisper.ai) are for pyroomacoustics 0.2, where a wall reflects 1 - a of an
amplitude. They take Sabine's absorption of energy for a, so that sound decays faster than T60 says,
and a small T60 in a large room even makes 1 - a negative. Today's versions take the square root of
1 - a. The corpus is what it is, and reproduced as it is; only the interpolation of delays between
samples differs, by -64 dB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from scipy.signal import resample_poly

from sepasr.data.audio import write_audio
from sepasr.data.rows import Row, read_rows
from sepasr.errors import UserError
from sepasr.files import claim, sha256
from sepasr.parallel import parallel_map
from sepasr.simulate.rooms import Point, Room, at_unit_energy
from sepasr.simulate.tasks import refuse_to_shrink

FS = 16000
"""Everything is computed at this rate, in Hz, and taken down to another where that is asked for."""
ROOM_M = ((5.0, 10.0), (5.0, 10.0), (3.0, 4.0))
"""Ranges of length, width and height of a room, in m."""
CENTRE_M = 0.2
"""Largest distance of the microphones' centre from the middle of the room, along and across."""
MIC_SPACING_M = (0.15, 0.16, 0.17)
HEIGHT_M = (0.9, 1.8)
"""Range of the heights of microphones and speakers above the floor, in m."""
DISTANCE_M = (0.66, 2.0)
"""Range of a speaker's distance from the microphones' centre, along the floor, in m."""
RT60_S = ((0.4, 1.0), (0.2, 0.6), (0.1, 0.3))
"""Ranges of the reverberation time in seconds: one of the three is drawn first."""
DRAWN = 5000
"""How many rooms are drawn, where the corpus's own are not known."""
SCRIPTS = "whamr_scripts.tar.gz from http://wham.whisper.ai"

_POINTS = {
    "room": ("room_x", "room_y", "room_z"),
    "mic": ("micL_x", "micL_y", "mic_z"),
    "s1": ("s1_x", "s1_y", "s1_z"),
    "s2": ("s2_x", "s2_y", "s2_z"),
}
_COLUMNS = ("utterance_id", *(name for names in _POINTS.values() for name in names), "T60")


def read_rooms(path: str | Path) -> dict[str, Room]:
    """Read a table `reverb_params_*.csv` of WHAMR: rooms with the left microphone.

    Returns:
        Room by name of the mixture, without suffix.

    Raises:
        UserError: the table is missing or malformed, or a number is not above 0.
    """
    rows = read_rows(path, _COLUMNS)
    return {name.removesuffix(".wav"): _read_room(row) for name, row in rows.items()}


def _read_room(row: Row) -> Room:
    for column in _COLUMNS[1:]:
        if row.number(column) <= 0:
            raise row.problem(f"{column} is {row[column]}, not above 0")
    size, microphone, first, second = (
        (row.number(x), row.number(y), row.number(z)) for x, y, z in _POINTS.values()
    )
    return Room(size, row.number("T60"), microphone, (first, second))


@dataclass(frozen=True)
class RoomBank:
    """Rooms and where they come from."""

    rooms: tuple[Room, ...]
    origin: str


def choose_rooms(scripts: Path | None, number: int | None = None, seed: int = 0) -> RoomBank:
    """The rooms to train in: the corpus's own training rooms, or as many drawn as they were.

    Args:
        scripts: a folder above the tables of WHAMR's scripts; without it rooms are drawn.
        number: of rooms, the first ones of the table; all, or :data:`DRAWN` drawn without it.
        seed: of what is drawn.

    Raises:
        UserError: the table is missing, malformed, or of fewer rooms.
    """
    if number is not None and number < 1:
        raise UserError(f"{number} rooms, at least 1 is needed")
    if scripts is None:
        origin = f"WHAMR's distribution, seed {seed}"
        drawn = (
            draw_room(np.random.default_rng([seed, index])) for index in range(number or DRAWN)
        )
        return RoomBank(tuple(drawn), origin)
    table = find_table(scripts, "reverb_params_tr.csv")
    rooms = tuple(read_rooms(table).values())
    if number is not None and number > len(rooms):
        raise UserError(f"{len(rooms)} rooms, fewer than {number}", where=table)
    return RoomBank(rooms[:number], f"{table.name}, SHA-256 {sha256(table)}")


def find_table(scripts: Path, name: str) -> Path:
    """Find a table of WHAMR's scripts.

    Raises:
        UserError: it is nowhere below ``scripts``.
    """
    found = next(iter(sorted(scripts.rglob(name))), None)
    if found is None:
        raise UserError("no such table", where=scripts / "**" / name, remedy=f"get {SCRIPTS}")
    return found


def draw_room(rng: np.random.Generator) -> Room:
    """A room with two speakers, of the distribution that WHAMR's rooms were drawn from."""
    size = [rng.uniform(*side) for side in ROOM_M]
    centre = [size[axis] / 2 + rng.uniform(-CENTRE_M, CENTRE_M) for axis in (0, 1)]
    height = rng.uniform(*HEIGHT_M)
    half, angle = rng.choice(MIC_SPACING_M) / 2, rng.uniform(0, 2 * np.pi)
    left = (centre[0] + half * np.cos(angle), centre[1] + half * np.sin(angle), height)
    speakers = []
    for _ in range(2):
        distance, angle = rng.uniform(*DISTANCE_M), rng.uniform(0, 2 * np.pi)
        x, y = centre[0] + distance * np.cos(angle), centre[1] + distance * np.sin(angle)
        speakers.append(_point((x, y, rng.uniform(*HEIGHT_M))))
    rt60_s = rng.uniform(*RT60_S[rng.integers(len(RT60_S))])
    return Room(_point(size), float(rt60_s), _point(left), tuple(speakers))


def _point(coordinates: Sequence[float]) -> Point:
    x, y, z = map(float, coordinates)
    return x, y, z


def impulse_responses(room: Room) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Responses from each speaker to the microphone at :data:`FS`, as long as T60 at most.

    The anechoic ones are the direct path in the same room, with the same delay.

    Returns:
        reverberant and anechoic, (samples,) each; pyroomacoustics' amplitudes.

    Raises:
        UserError: the room is none, or a speaker or microphone is outside.
    """
    from pyroomacoustics import constants

    try:
        # The order that surely holds all reflections within T60.
        order = math.ceil(room.rt60_s * constants.get("c") / min(room.size))
        return _simulate(room, order), _simulate(room, 0)
    except ValueError as error:
        raise UserError(f"{room}: {error}", remedy="check the table of rooms") from None


def _simulate(room: Room, order: int) -> list[np.ndarray]:
    import pyroomacoustics
    from pyroomacoustics import constants

    constants.set("num_threads", 1)
    constants.set("rir_hpf_enable", False)  # version 0.2 had no such filter
    length = math.ceil(room.rt60_s * FS)
    box = pyroomacoustics.ShoeBox(room.size, fs=FS, max_order=order)
    for source in room.sources:
        box.add_source(source)
    box.add_microphone(room.microphone)
    box.image_source_model()
    reflected = 1 - _absorption(room, constants.get("c"))
    for number, source in enumerate(box.sources):
        source.damping = (reflected ** source.orders.astype(float))[None]
        distance = np.linalg.norm(source.images - np.array(room.microphone)[:, None], axis=0)
        # What comes later is cut off below: there is no need to compute it.
        box.visibility[number] = (distance / constants.get("c") * FS <= length)[None]
    box.compute_rir()
    return [response[:length] for response in box.rir[0]]


def _absorption(room: Room, speed: float) -> float:
    """Sabine's absorption for the room's T60; ``speed`` of sound in m/s."""
    x, y, z = room.size
    surface = 2 * (x * y + x * z + y * z)
    return 24 * np.log(10) * x * y * z / (speed * surface * room.rt60_s)


def build_rooms(
    bank: RoomBank,
    out: Path,
    fs: int = FS,
    *,
    jobs: int = 1,
    cluster: Path | None = None,
) -> None:
    """Write the responses of rooms as `room<number>_{reverb,anechoic}.wav`.

    Those that are there are kept. Channel s is speaker s.
    Each pair is scaled so that the anechoic one has unit energy: distance decides how reverberant
    speech is, gains alone how loud.

    Args:
        bank: the rooms.
        out: the folder.
        fs: sampling rate in Hz, 16000 or 8000.
        jobs: processes.
        cluster: see :func:`sepasr.parallel.parallel_map`.

    Raises:
        UserError: the folder holds responses of other rooms, or of more, which the data
            directories of another experiment may list; or a room is none.
    """
    claim(
        out / "rooms.yaml",
        yaml.safe_dump({"origin": bank.origin, "fs": fs}, width=1000),
        f"the responses here are not of {bank.origin}, at {fs} Hz",
        remedy=f"name another --corpus, or remove {out}, which other experiments may list",
    )
    files = [_files(out, number) for number in range(len(bank.rooms))]
    kept = {file for pair in files for file in pair}
    refuse_to_shrink([out], kept, f"{len(bank.rooms)} rooms", "room*.wav")
    tasks = [
        (room, pair)
        for room, pair in zip(bank.rooms, files, strict=True)
        if not all(file.exists() for file in pair)
    ]
    work = partial(_write_responses, fs)
    parallel_map(work, tasks, jobs=jobs, cluster=cluster, description="rooms", unit="room")


def _files(out: Path, number: int) -> tuple[Path, Path]:
    return out / f"room{number:05d}_reverb.wav", out / f"room{number:05d}_anechoic.wav"


def _write_responses(fs: int, task: tuple[Room, tuple[Path, Path]]) -> None:
    room, files = task
    reverberant, anechoic = (
        [resample_poly(response, 1, FS // fs) for response in responses]
        for responses in impulse_responses(room)
    )
    pair = at_unit_energy(reverberant, anechoic, max(map(len, reverberant)))
    for file, responses in zip(files, pair, strict=True):
        write_audio(file, responses, fs)
