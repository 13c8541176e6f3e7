"""What holds of streams wherever they come from, and what is said of them beside."""

from __future__ import annotations

import sys

import numpy as np
from tqdm import tqdm

from sepasr.data.header import TruncatedError, read_header
from sepasr.decode.activity import LEAST_S
from sepasr.errors import UserError


def check_finite(streams: np.ndarray, where: str) -> np.ndarray:
    """Give streams back if every sample is a number.

    Raises:
        UserError: one isn't; ``where`` is the recording or mixture.
    """
    if not np.isfinite(streams).all():
        what = "the separator gives values that are not finite"
        raise UserError(what, where=where, remedy="try --device cpu, or another --model")
    return streams


def say_silent(source: str, silent: list[int]) -> None:
    """Name the streams, from 1, in which nobody speaks."""
    for number in silent:
        tqdm.write(f"{source}: stream {number} is silent", file=sys.stderr)


def say_truncated(source: str) -> None:
    """Say that a recording ends before its end, where its file tells."""
    try:
        read_header(source)
    except TruncatedError as error:
        tqdm.write(f"{source}: {error.what}; what is there is separated", file=sys.stderr)
    except UserError:
        pass  # said when it is read


def say_offset(source: str, offset: float, rms: float) -> None:
    """Say that what is constant in a recording outweighs what is heard: the separator fails then.

    Args:
        source: the recording.
        offset: mean of its samples.
        rms: their root mean square.
    """
    if offset**2 > rms**2 / 2:
        what = f"a constant offset of {offset:.2g} is more than the rest: streams will be poor"
        remedy = "take it out first, such as by sox IN OUT highpass 20"
        tqdm.write(str(UserError(what, where=source, remedy=remedy)), file=sys.stderr)


def say_turned_down(source: str, decibels: float) -> None:
    """Say by how much all streams were turned down."""
    tqdm.write(f"{source}: turned down by {decibels:.1f} dB, not to clip", file=sys.stderr)


def silent_streams(active_s: np.ndarray) -> list[int]:
    """Numbers from 1 of the streams that are active for less than 0.2 s."""
    return [s + 1 for s, seconds in enumerate(active_s.tolist()) if seconds < LEAST_S]
