"""Shoebox rooms and their impulse responses, by pyroomacoustics' image source method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sepasr.simulate.voices import FS

Point = tuple[float, float, float]

ROOM_M = ((4.0, 8.0), (3.0, 7.0), (2.5, 3.5))
"""Ranges of length, width and height of a room, in m."""
MIC_OFFSET_M = 0.5
"""The microphone's largest distance from the middle of the room, along and across, in m."""
HEIGHT_M = (1.2, 1.8)
"""Range of the heights of microphone and sources above the floor, in m."""
DISTANCE_M = (0.5, 1.2)
"""Range of the distance between a source and the microphone, in m."""
WALL_M = 0.3
"""Least distance of a source from a wall, in m."""
SEPARATION_M = 0.5
"""Least distance between two sources of a room, in m."""
MAX_ORDER = 30
"""Highest order of reflections. Small rooms with a long reverberation would ask for up to 90; cut
here, their decay is up to a fifth shorter than the nominal time, and takes a tenth of a second to
compute instead of four seconds."""
RIR_S = 0.6
"""Longest impulse response, in seconds."""


@dataclass(frozen=True)
class Room:
    """A room with one microphone and some sources; lengths in m.

    Args:
        size: length, width, height.
        rt60_s: nominal reverberation time (Sabine's formula), in seconds.
        microphone: its position.
        sources: their positions.
    """

    size: Point
    rt60_s: float
    microphone: Point
    sources: tuple[Point, ...]


def draw_room(rng: np.random.Generator, rt60_s: tuple[float, float], num_sources: int) -> Room:
    """A random room within the ranges above; ``rt60_s`` is the range of its reverberation time.

    A large room cannot have the shortest times: such draws are repeated.
    """
    while True:
        size = np.array([rng.uniform(*side) for side in ROOM_M])
        rt60 = rng.uniform(*rt60_s)
        if can_decay(size, rt60):
            break
    microphone = size / 2
    microphone[:2] += rng.uniform(-MIC_OFFSET_M, MIC_OFFSET_M, size=2)
    microphone[2] = rng.uniform(*HEIGHT_M)
    sources: list[np.ndarray] = []
    while len(sources) < num_sources:
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(*DISTANCE_M)
        height = rng.uniform(*HEIGHT_M)
        level = np.sqrt(max(0.0, distance**2 - (height - microphone[2]) ** 2))
        x, y = microphone[:2]
        source = np.array([x + level * np.cos(angle), y + level * np.sin(angle), height])
        inside = ((source > WALL_M) & (source < size - WALL_M)).all()
        if inside and all(np.linalg.norm(source - other) > SEPARATION_M for other in sources):
            sources.append(source)
    return Room(_point(size), float(rt60), _point(microphone), tuple(map(_point, sources)))


def can_decay(size: Sequence[float] | np.ndarray, rt60_s: float) -> bool:
    """Whether sound can decay so fast in a room of that size, if walls reflect nothing."""
    import pyroomacoustics

    try:
        pyroomacoustics.inverse_sabine(rt60_s, size)
    except ValueError:
        return False
    return True


def _point(vector: np.ndarray) -> Point:
    x, y, z = vector.round(3).tolist()
    return x, y, z


def impulse_responses(room: Room) -> tuple[np.ndarray, np.ndarray]:
    """Impulse responses from every source to the microphone, at 16 kHz.

    The anechoic ones are the direct path in the same room: the same computation with no
    reflection, the same microphone and the same filter delay, so that they are aligned with the
    direct sound in the reverberant ones. Each pair is scaled so that the anechoic one has unit
    energy: the distance decides how reverberant a source is, and gains alone how loud.

    Returns:
        reverberant (samples, sources) and anechoic (samples, sources), float32, equally long.
    """
    reverberant = _simulate(room, MAX_ORDER)
    anechoic = _simulate(room, 0)
    return at_unit_energy(reverberant, anechoic, min(int(RIR_S * FS), max(map(len, reverberant))))


def _simulate(room: Room, order: int) -> list[np.ndarray]:
    import pyroomacoustics

    pyroomacoustics.constants.set("num_threads", 1)
    # The high-pass against the models' offset near 0 Hz, where speech has nothing, would change
    # short responses otherwise than long ones: the direct sound would no longer be the same.
    pyroomacoustics.constants.set("rir_hpf_enable", False)
    absorption, wanted_order = pyroomacoustics.inverse_sabine(room.rt60_s, room.size)
    box = pyroomacoustics.ShoeBox(
        room.size,
        fs=FS,
        materials=pyroomacoustics.Material(absorption),
        max_order=min(order, wanted_order),
    )
    for source in room.sources:
        box.add_source(source)
    box.add_microphone(room.microphone)
    box.compute_rir()
    return box.rir[0]


def at_unit_energy(
    reverberant: list[np.ndarray], anechoic: list[np.ndarray], length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Scale each pair of responses (samples,) so that the anechoic one has unit energy.

    Returns:
        reverberant and anechoic, (``length``, sources) each, float32.
    """
    scale = [1 / np.sqrt(np.sum(np.square(response))) for response in anechoic]
    return _stack(reverberant, scale, length), _stack(anechoic, scale, length)


def _stack(rirs: list[np.ndarray], scale: list[float], length: int) -> np.ndarray:
    """Scaled responses (samples,) as columns of (``length``, sources), float32."""
    stacked = np.zeros((length, len(rirs)), np.float32)
    for column, (rir, factor) in enumerate(zip(rirs, scale, strict=True)):
        part = rir[:length]
        stacked[: len(part), column] = part * factor
    return stacked
