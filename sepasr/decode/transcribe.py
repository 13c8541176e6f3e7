"""Write down who says what in the streams of a recording, and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from sepasr.data.audio import read_mono
from sepasr.data.blocks import (
    frame_levels,
    frame_samples,
    frame_seconds,
    measure,
    read_blocks,
    resample_blocks,
)
from sepasr.decode.activity import active_frames, segments
from sepasr.decode.cache import TranscriptCache, cache_key
from sepasr.decode.hearing import MAX_WINDOW_S
from sepasr.decode.progress import Hook, no_hook
from sepasr.decode.recogniser import Recogniser, Transcript
from sepasr.decode.transcript_formats import Said


def transcribe_streams(
    recogniser: Recogniser,
    paths: Sequence[Path],
    fs: int,
    *,
    cache: TranscriptCache | None = None,
    hook: Hook = no_hook,
    name: str = "",
) -> list[Said]:
    """Read the active segments of streams.

    A stream's segments are where it is active by energy (:mod:`sepasr.decode.activity`): silence
    and what leaks from another speaker are not read. At most a batch of segments is in memory.

    Args:
        recogniser: reads each segment on its own, at its own level.
        paths: the streams of one recording, equally long, mono.
        fs: their sampling rate in Hz.
        cache: keeps what was read after every batch, and what it knows is not read again.
        hook: is told how many segments were read, in the step ``recognise``.
        name: what the hook is told that the recording is called.

    Returns:
        What was said, in the order in which it begins; segments without a word are left out.
    """
    spans = find_segments(paths, fs)
    said = read_segments(recogniser, paths, fs, spans, cache=cache, hook=hook, name=name)
    return sorted(said, key=lambda one: (one.start_s, one.speaker))


def find_segments(paths: Sequence[Path], fs: int) -> list[tuple[float, float, int]]:
    """Start and end in seconds, and the speaker from 1, of each segment to read; by speaker.

    Arguments are those of :func:`transcribe_streams`.
    """
    return [
        (start, stop, speaker)
        for speaker, active in enumerate(_activity(paths, fs), 1)
        for start, stop in segments(active, MAX_WINDOW_S, frame_seconds(fs))
    ]


def read_segments(
    recogniser: Recogniser,
    paths: Sequence[Path],
    fs: int,
    spans: Sequence[tuple[float, float, int]],
    *,
    cache: TranscriptCache | None = None,
    hook: Hook = no_hook,
    name: str = "",
) -> list[Said]:
    """Read segments that :func:`find_segments` found, in their order.

    Other arguments are those of :func:`transcribe_streams`, and what is given is as there.
    """
    # By speaker, as neighbouring segments of a file are read fastest; sorted by time at the end.
    said: list[Said] = []
    pending = iter(spans)
    done = 0
    while batch := list(islice(pending, max(1, recogniser.batch_size))):
        heard = [
            _read(paths[speaker - 1], start, stop, fs, recogniser.fs)
            for start, stop, speaker in batch
        ]
        transcripts = _transcripts(recogniser, heard, cache)
        for (start, stop, speaker), transcript in zip(batch, transcripts, strict=True):
            if transcript.text:
                said.append(Said(round(start, 3), round(stop, 3), speaker, transcript.text))
        done += len(batch)
        hook("recognise", done, len(spans), name)
    return said


def _transcripts(
    recogniser: Recogniser, heard: Sequence[np.ndarray], cache: TranscriptCache | None
) -> list[Transcript]:
    if cache is None:
        return recogniser.transcribe(heard)
    keys = [cache_key(samples, recogniser) for samples in heard]
    known = cache.get(keys)
    unread = {key: samples for key, samples in zip(keys, heard, strict=True) if key not in known}
    if unread:
        read = recogniser.transcribe(list(unread.values()))
        new = dict(zip(unread, read, strict=True))
        cache.put(new)
        known |= new
    return [known[key] for key in keys]


def _read(path: Path, start_s: float, stop_s: float, fs: int, target: int) -> np.ndarray:
    samples = read_mono(path, fs, start=round(start_s * fs), stop=round(stop_s * fs))
    return np.concatenate(list(resample_blocks([samples], fs, target)))


def _activity(paths: Sequence[Path], fs: int) -> np.ndarray:
    """Which frames of the streams are active, (streams, frames), bool."""
    together = measure((block.sum(0) for block in _blocks(paths)), fs)
    frame = frame_samples(fs)
    parts, rest = [], np.zeros((len(paths), 0), np.float32)
    for block in _blocks(paths):
        joined = np.concatenate([rest, block], axis=1)
        whole = joined.shape[1] // frame * frame
        parts.append(active_frames(frame_levels(joined[:, :whole], fs), together.level_db))
        rest = joined[:, whole:]
    if rest.shape[1]:
        last = np.pad(rest, ((0, 0), (0, frame - rest.shape[1])))
        parts.append(active_frames(frame_levels(last, fs), together.level_db))
    return np.concatenate(parts, axis=1)


def _blocks(paths: Sequence[Path]) -> Iterator[np.ndarray]:
    """Blocks of the streams side by side, (streams, samples)."""
    for blocks in zip(*(read_blocks(str(path)) for path in paths), strict=True):
        yield np.stack(blocks)
