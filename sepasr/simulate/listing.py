"""What is said in the corpus and where, in the files of WSJ0 and WHAMR that tell it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sepasr.files import write_text
from sepasr.simulate.mixture import MixturePlan
from sepasr.simulate.voices import Speaker

_NAMES = "output_filename,s1_path,s2_path"
_ROOMS = (
    "utterance_id,room_x,room_y,room_z,micL_x,micL_y,micR_x,micR_y,mic_z,"
    "s1_x,s1_y,s1_z,s2_x,s2_y,s2_z,T60"
)


@dataclass(frozen=True)
class Spoken:
    """An utterance of the corpus.

    Args:
        wsj0: the set of WSJ0 it stands in, such as si_tr_s.
        speaker: who speaks.
        utterance: its id, 8 characters.
        sentence: what is said, in lower case.
    """

    wsj0: str
    speaker: Speaker
    utterance: str
    sentence: str

    def path(self, root: Path) -> Path:
        """Its audio file in the corpus at ``root``."""
        return root / "wsj0" / self.wsj0 / self.speaker.id / f"{self.utterance}.wav"


def spoken_in(plans: Iterable[MixturePlan], wsj0: str) -> list[Spoken]:
    """The utterances of mixtures, two for each."""
    return [
        Spoken(wsj0, speaker, utterance, sentence)
        for plan in plans
        for speaker, utterance, sentence in zip(
            plan.speakers, plan.utterances, plan.sentences, strict=True
        )
    ]


def write_dots(spoken: Iterable[Spoken], dots: Path) -> set[Path]:
    """Write WSJ0's transcripts, a file for each session of a speaker, and return their paths."""
    lines: dict[Path, dict[str, str]] = defaultdict(dict)
    for said in spoken:
        path = dots / said.wsj0 / said.speaker.id / f"{said.utterance[:6]}00.dot"
        lines[path][said.utterance] = f"{said.sentence.upper()} ({said.utterance})\n"
    for path, content in lines.items():
        write_text(path, "".join(content[utterance] for utterance in sorted(content)))
    return set(lines)


def write_metadata(name: str, plans: Iterable[MixturePlan], wsj0: str, folder: Path) -> None:
    """Write WHAMR's tables of the set ``name``: sources of the mixtures, and their rooms in m."""
    names, rooms = [_NAMES], [_ROOMS]
    for plan in sorted(plans, key=lambda plan: plan.name):
        sources = [said.path(Path()).as_posix() for said in spoken_in([plan], wsj0)]
        names.append(",".join([f"{plan.name}.wav", *sources]))
        x, y, z = plan.room.microphone
        # There is one microphone, and it stands in both of WHAMR's places.
        numbers = [*plan.room.size, x, y, x, y, z, *plan.room.sources[0], *plan.room.sources[1]]
        row = ",".join(f"{number:.3f}" for number in [*numbers, plan.room.rt60_s])
        rooms.append(f"{plan.name}.wav,{row}")
    write_text(folder / f"mix_2_spk_filenames_{name}.csv", "\n".join(names) + "\n")
    write_text(folder / f"reverb_params_{name}.csv", "\n".join(rooms) + "\n")
