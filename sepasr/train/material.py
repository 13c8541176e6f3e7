"""What is trained and validated on: data directories, checked against what is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sepasr.data.datadir import MixtureDir, NoiseDir, RoomDir, UtteranceDir, fingerprint
from sepasr.data.dynamic import MixingConfig
from sepasr.encoder.base import AsrEncoder
from sepasr.errors import UserError


@dataclass(frozen=True)
class Sources:
    """Data directories that training material is mixed from, anew at every step.

    Attributes:
        utterances: the speech.
        noise: None adds none.
        rooms: None mixes the utterances as they are.
    """

    utterances: Path
    noise: Path | None = None
    rooms: Path | None = None

    def load(self, fs: int) -> tuple[UtteranceDir, NoiseDir | None, RoomDir | None]:
        """Read the directories.

        Raises:
            UserError: a directory is not as it should be, or not of ``fs`` Hz. Speech and noise may
                be of a higher rate: they are resampled.
        """
        utterances = UtteranceDir.load(self.utterances)
        noise = NoiseDir.load(self.noise) if self.noise else None
        rooms = RoomDir.load(self.rooms) if self.rooms else None
        for directory, what in ((utterances, "speech"), (noise, "noise")):
            if directory is not None and directory.info.fs < fs:
                check_rate(directory, what, fs)
        if rooms is not None:
            check_rate(rooms, "rooms", fs)
        return utterances, noise, rooms


def fingerprints(
    utterances: UtteranceDir, noise: NoiseDir | None, rooms: RoomDir | None
) -> dict[str, str | None]:
    """Digests by which a training knows its data again."""
    return {
        "utterances": fingerprint(utterances),
        "noise": fingerprint(noise) if noise else None,
        "rooms": fingerprint(rooms) if rooms else None,
    }


def check_rate(
    directory: MixtureDir | UtteranceDir | NoiseDir | RoomDir, what: str, fs: int
) -> None:
    """Refuse a directory that is not of ``fs`` Hz."""
    if directory.info.fs != fs:
        raise UserError(
            f"{directory.info.fs} Hz {what} for a model of {fs} Hz",
            where=directory.path,
            remedy="prepare it at that rate, or set fs of a new separator",
        )


def load_mixtures(path: Path, config: MixingConfig, fs: int) -> MixtureDir:
    """Read mixtures to train or validate on.

    Raises:
        UserError: they are of another rate, number of speakers or kind of reference.
    """
    directory = MixtureDir.load(path)
    check_rate(directory, "mixtures", fs)
    speakers = len(directory.mixtures[0].references)
    if speakers != config.num_speakers:
        raise UserError(
            f"has mixtures of {speakers} speakers, training has {config.num_speakers}",
            where=path,
            remedy="set mixing.num_speakers, and num_speakers of a new separator",
        )
    if directory.info.reference != config.reference:
        raise UserError(
            f"has {directory.info.reference} references, training uses {config.reference}",
            where=path,
            remedy="prepare it with the same reference, or set mixing.reference",
        )
    return directory


def check_heard(mixtures: MixtureDir, encoders: Sequence[AsrEncoder]) -> None:
    """Refuse to validate by encoders on whole mixtures that are longer than they hear.

    Raises:
        UserError: one is.
    """
    mixture = max(mixtures.mixtures, key=lambda one: one.duration_s)
    for encoder in encoders:
        longest_s = (encoder.model.longest or math.inf) / encoder.fs
        if mixture.duration_s > longest_s:
            raise UserError(
                f"mixture '{mixture.id}' lasts {mixture.duration_s:.1f} s, the encoder "
                f"{encoder.name} hears {longest_s:g} s at most",
                where=mixtures.path,
                remedy="validate on shorter ones, or set fit.keep=last and another "
                "fit.optimizer.schedule than plateau",
            )
