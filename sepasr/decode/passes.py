"""The passes of :mod:`sepasr.decode.long_recording` over the windows of a recording, which overlap.

The first separates each and appends it to a file: what is there when the work is interrupted is not
done again. The second puts the speakers of all windows into one order (:mod:`sepasr.decode.order`)
and, on request, finds whose each lone voice is (:mod:`sepasr.decode.lone`). The third fades the
windows into one another, and writes one file per speaker. The second and third depend on the file
of the first alone, so a resumed run gives the samples of an uninterrupted one. What tells whose a
lone voice is, a few numbers for every cell of the recording, is the one thing that grows with its
length.

The level is one rule for the whole recording, the one of :func:`sepasr.separator.match_level`: a
single gain, with which the sum of the streams fits the recording best. It is found over all
windows, and so is the factor that turns the streams down where one would clip: nothing pumps.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import nn

from sepasr.data.audio import refused_by_disk, resampled_length
from sepasr.data.blocks import (
    BLOCK,
    Feed,
    Measured,
    frame_levels,
    frame_samples,
    frame_seconds,
    read_blocks,
    resample_blocks,
)
from sepasr.decode.activity import ACTIVE_DB, active_frames
from sepasr.decode.cells import measure_cells
from sepasr.decode.lone import gathered, speakers_of
from sepasr.decode.order import Voice, WindowLink, link, order_windows
from sepasr.decode.progress import Hook
from sepasr.decode.streams import check_finite, say_silent, say_turned_down, silent_streams
from sepasr.decode.voice import MelStatistics
from sepasr.decode.window_file import WindowFile
from sepasr.errors import UserError
from sepasr.weights import weights_sha256

REVISION = 1
"""To be raised when the code changes what comes out: streams that were there are then made anew."""
WINDOW_S, OVERLAP_S = 8.0, 2.0
LINK_DB = ACTIVE_DB + 10
"""An overlap says who goes on if its mean level is above this, relative to the speech's."""
ALONE_DB = 3.0
"""A voice is taken from where its stream is so much louder than the others."""
SILENT_RMS = 1e-8


@dataclass(frozen=True)
class LongOptions:
    """How a long recording is cut, and what is done beside.

    Attributes:
        window_s: length of a window in seconds.
        overlap_s: overlap of neighbouring windows in seconds.
        channel: the channel to take, from 1; without it all channels are averaged.
        add_mixture: what is added of the recording to each of its streams.
        gather: whether the voice of one who speaks alone is put into one stream, wherever the
            separator has put it or split it.
    """

    window_s: float = WINDOW_S
    overlap_s: float = OVERLAP_S
    channel: int | None = None
    add_mixture: float = 0.0
    gather: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.overlap_s < self.window_s:
            raise UserError(
                f"windows of {self.window_s:g} s can't overlap by {self.overlap_s:g} s",
                remedy="let them overlap by more than 0 s, and less than their length",
            )


def window_spans(samples: int, window: int, hop: int) -> Iterator[tuple[int, int]]:
    """Start and stop of each window; the last one ends with the signal."""
    start = 0
    while start + window < samples:
        yield start, start + window
        start += hop
    yield max(0, samples - window), samples


class Passes:
    """The passes over one recording.

    Attributes:
        file: the windows that are separated.
        identity: what decides them.
        gain: of the whole recording, to be set once all windows are there.
    """

    def __init__(
        self,
        separator: nn.Module,
        source: str,
        fs: int,
        measured: Measured,
        options: LongOptions,
        hook: Hook,
        folder: Path,
    ) -> None:
        self.separator, self.source, self.fs = separator, source, fs
        self.measured, self.options, self.hook = measured, options, hook
        # The module's attributes are typed Tensor | Module.
        self.rate, self.speakers = int(separator.fs), int(separator.num_speakers)  # type: ignore[arg-type]
        self.window = round(options.window_s * self.rate)
        hop = self.window - round(options.overlap_s * self.rate)
        length = resampled_length(measured.samples, fs, self.rate)
        self.spans = list(window_spans(length, self.window, hop))
        self.device = next(separator.parameters()).device
        self.gain = 1.0
        config = repr(getattr(separator, "config", type(separator)))
        self.identity: dict[str, object] = {
            "samples_sha256": measured.sha256,
            "samples": measured.samples,
            "fs": fs,
            "separator_sha256": weights_sha256(separator, config),
            "device": str(self.device),
            "window_s": options.window_s,
            "overlap_s": options.overlap_s,
        }
        if REVISION > 1:  # the first ones don't say it
            self.identity["revision"] = REVISION
        self.file = WindowFile(
            folder,
            self.identity,
            windows=len(self.spans),
            speakers=self.speakers,
            samples=self.window,
        )

    def _mono(self) -> Iterator[np.ndarray]:
        return read_blocks(self.source, self.options.channel)

    def separate(self) -> None:
        """Append the windows that are missing to the file of windows."""
        done = self.file.done()
        feed = Feed(resample_blocks(self._mono(), self.fs, self.rate))
        self.hook("separate", done, len(self.spans), self.source)
        with self.file.appending() as append:
            for number in range(done, len(self.spans)):
                mixture = feed.span(*self.spans[number])
                append(mixture, self._separate_window(mixture))
                self.hook("separate", number + 1, len(self.spans), self.source)

    def _separate_window(self, mixture: np.ndarray) -> np.ndarray:
        """Streams at the network's own scale, which is the same in all windows."""
        if np.sqrt(np.square(mixture, dtype=np.float64).mean()) < SILENT_RMS:
            return np.zeros((self.speakers, len(mixture)), np.float32)
        separate = getattr(self.separator, "unscaled", self.separator)
        with torch.inference_mode():
            streams = separate(torch.from_numpy(mixture.copy()).to(self.device)).float().cpu()
        return check_finite(streams.numpy(), self.source)

    def _windows(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """Start, stop and streams (speakers, samples) of each window, at the recording's level."""
        gain = np.float32(self.gain)
        for (start, stop), streams in zip(self.spans, self.file, strict=True):
            yield start, stop, streams * gain

    def order(self) -> list[tuple[int, ...]]:
        """The order of the streams of every window."""
        voice = MelStatistics()
        links: list[WindowLink] = []
        voices: list[list[Voice | None]] = []
        before, done = None, 0
        threshold = self.measured.level_db + LINK_DB
        self.hook("order", 0, len(self.spans), self.source)
        for start, stop, streams in self._windows():
            if before is not None:
                shared = done - start
                links.append(link(before[:, -shared:], streams[:, :shared], threshold))
            voices.append(self._voices(streams, voice))
            before, done = streams, stop
            self.hook("order", len(voices), len(self.spans), self.source)
        return order_windows(links, voices, voice.variance)

    def _voices(self, streams: np.ndarray, voice: MelStatistics) -> list[Voice | None]:
        levels = frame_levels(streams, self.rate)
        active = active_frames(levels, self.measured.level_db)
        frame = frame_samples(self.rate)
        voices: list[Voice | None] = []
        for s, stream in enumerate(streams):
            others = np.delete(levels, s, axis=0).max(0, initial=-np.inf)
            alone = np.repeat(active[s] & (levels[s] > others + ALONE_DB), frame)
            alone = np.pad(alone, (0, len(stream) - len(alone)))
            vector = voice(stream, alone, self.rate)
            seconds = float(alone.sum() / self.rate)
            voices.append(None if vector is None else Voice(vector, seconds))
        return voices

    def owners(self, orders: list[tuple[int, ...]]) -> np.ndarray:
        """Whose each cell of the recording is, where one speaks alone."""
        cells = measure_cells(self._stitched(orders), self.rate, self.measured.level_db)
        return speakers_of(cells, MelStatistics().variance)

    def _gathered(
        self, orders: list[tuple[int, ...]], owner: np.ndarray | None
    ) -> Iterator[np.ndarray]:
        """The streams as they are to be, (speakers, samples), at the separator's rate."""
        blocks = self._stitched(orders)
        return blocks if owner is None else gathered(blocks, owner, self.rate)

    def _stitched(self, orders: list[tuple[int, ...]]) -> Iterator[np.ndarray]:
        """The streams in blocks of (speakers, samples), at the separator's rate.

        Where windows overlap, one fades out as the next fades in, and the two weights are 1 in sum.
        """
        pending, base = np.zeros((self.speakers, 0), np.float32), 0
        for (start, _, streams), order in zip(self._windows(), orders, strict=True):
            current = streams[list(order)]
            if start > base:
                yield pending[:, : start - base]
            before = pending[:, start - base :]
            shared = before.shape[-1]
            fade = np.linspace(0, 1, shared, dtype=np.float32)
            current[:, :shared] = fade * current[:, :shared] + (1 - fade) * before
            pending, base = current, start
        yield pending

    def _streams(self, stitched: Iterator[np.ndarray], step: int) -> Iterator[np.ndarray]:
        """What is to be written, before it is turned down: (speakers, samples) at its rate."""
        mono = Feed(self._mono()) if self.options.add_mixture else None
        total = self.measured.samples
        blocks = -(-total // BLOCK)
        done = 0
        for block in resample_blocks(stitched, self.rate, self.fs):
            block = block[:, : total - done]
            if mono is not None and block.shape[-1]:
                added = mono.span(done, done + block.shape[-1])
                block = block + np.float32(self.options.add_mixture) * added
            done += block.shape[-1]
            self.hook("write", step * blocks + done // BLOCK, 2 * blocks, self.source)
            yield block

    def write(
        self,
        orders: list[tuple[int, ...]],
        owner: np.ndarray | None,
        paths: list[Path],
        summary: Path,
    ) -> tuple[list[int], float]:
        """Write the streams; the files appear only when all are complete.

        Args:
            orders: of :meth:`order`.
            owner: of :meth:`owners`; None gathers nothing.
            paths: the files to write.
            summary: describes the streams that were there before, and is removed with them.

        Returns:
            Which streams are silent, counted from 1, and by how many dB all were turned down.
        """
        active_s = np.zeros(self.speakers)
        frame_s = frame_seconds(self.rate)

        def observed() -> Iterator[np.ndarray]:
            for block in self._gathered(orders, owner):
                levels = frame_levels(block, self.rate)
                active_s[:] += active_frames(levels, self.measured.level_db).sum(1) * frame_s
                yield block

        peak = max(float(np.abs(b).max(initial=0)) for b in self._streams(observed(), 0))
        temporaries = [self.file.folder / path.name for path in paths]
        samples = self.measured.samples
        container = "WAV" if 2 * samples < 2**32 - 4096 else "RF64"
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)
        with refused_by_disk(paths[0]), ExitStack() as stack:
            files = [
                stack.enter_context(
                    soundfile.SoundFile(temporary, "w", self.fs, 1, "PCM_16", format=container)
                )
                for temporary in temporaries
            ]
            for block in self._streams(self._gathered(orders, owner), 1):
                scaled = block / np.float32(peak) if peak > 1 else block
                for file, stream in zip(files, scaled, strict=True):
                    file.write(stream)
        summary.unlink(missing_ok=True)
        for temporary, path in zip(temporaries, paths, strict=True):
            temporary.replace(path)
        blocks = -(-samples // BLOCK)
        self.hook("write", 2 * blocks, 2 * blocks, self.source)
        turned_down_db = 20 * float(np.log10(peak)) if peak > 1 else 0.0
        if peak > 1:
            say_turned_down(self.source, turned_down_db)
        silent = silent_streams(active_s)
        say_silent(self.source, silent)
        return silent, turned_down_db
