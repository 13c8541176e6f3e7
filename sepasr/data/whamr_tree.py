"""WHAMR on disk: folders, names and numbers of files.

A tree is laid out as WHAMR's scripts (http://wham.whisper.ai) write it::

    wav16k/max/tt/{mix_both_reverb,s1_anechoic,s2_anechoic,s1_reverb,s2_reverb,noise,...}/<name>.wav

and so for `wav8k`, `min`, `tr` and `cv`. A mixture's name is `utterance_gain_utterance_gain`, with
utterances of WSJ0 and gains in dB.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sepasr.data.datadir import Info
from sepasr.data.mixtures import check_complete, check_names, check_version, subfolder
from sepasr.errors import UserError
from sepasr.files import whole_files

COUNTS = {"tr": 20_000, "cv": 5_000, "tt": 3_000}
"""Mixtures of each complete set."""
CONDITIONS = tuple(
    f"mix_{kind}_{room}" for kind in ("both", "clean", "single") for room in ("reverb", "anechoic")
)
REFERENCES = ("anechoic", "reverb")
_REMEDY = "check the path of WHAMR"


@dataclass(frozen=True)
class Whamr:
    """One of the versions in which WHAMR lies on disk.

    Attributes:
        folder: what holds `wav16k` and `wav8k`, or one of them.
        fs: sampling rate in Hz: 16000 or 8000.
        cut: "max" or "min".
        condition: folder of the mixtures, mix_{single,clean,both}_{anechoic,reverb}: `single` has
            the first speaker only, `clean` has no noise.
        reference: "anechoic" or "reverb": which s1 and s2 are the references.

    Raises:
        UserError: there is no such version of WHAMR.
    """

    folder: Path
    fs: int = 16000
    cut: str = "max"
    condition: str = "mix_both_reverb"
    reference: str = "anechoic"

    def __post_init__(self) -> None:
        check_version(
            "WHAMR",
            fs=(self.fs, (16000, 8000)),
            cut=(self.cut, ("max", "min")),
            condition=(self.condition, CONDITIONS),
            reference=(self.reference, REFERENCES),
        )
        check_reference(self.condition, self.reference)

    @property
    def references(self) -> int:
        """Speakers in each mixture."""
        return 1 if self.condition.startswith("mix_single") else 2

    @property
    def noisy(self) -> bool:
        """Whether there is noise in the mixtures."""
        return is_noisy(self.condition)

    @property
    def top(self) -> Path:
        """The folder of the sets, such as `wav16k/max`.

        Raises:
            UserError: it isn't there, or ``folder`` is one of another level.
        """
        given = self.folder.absolute()
        right = _right_level(given)
        if right is not None and right != given:
            what = "not the folder that holds wav16k or wav8k"
            raise UserError(what, where=given, remedy=f"give {right}")
        rate = subfolder(subfolder(given, "", _REMEDY), f"wav{self.fs // 1000}k", _REMEDY)
        return subfolder(rate, self.cut, _REMEDY)

    def folders(self, subset: str) -> dict[str, Path]:
        """The folder that each scp of a data directory lists.

        Raises:
            UserError: one isn't there.
        """
        folder = subfolder(self.top, subset, _REMEDY)
        names = {"wav.scp": self.condition}
        names |= {f"spk{s}.scp": f"s{s}_{self.reference}" for s in range(1, self.references + 1)}
        names |= {"noise1.scp": "noise"} if self.noisy else {}
        return {scp: subfolder(folder, name, _REMEDY) for scp, name in names.items()}

    def utterances(self, name: str) -> tuple[str, ...]:
        """The utterances that are heard in a mixture, by its name."""
        return utterances_of(name)[: self.references]

    def info(self, corpus: str) -> Info:
        """What stands in info.yaml."""
        return Info(corpus, self.fs, self.cut, self.condition, self.reference)


def _right_level(given: Path) -> Path | None:
    """The folder that holds the rates: the given one, one above it, or one in it."""
    below = sorted(f for f in given.iterdir() if f.is_dir()) if given.is_dir() else []
    for folder in (given, *given.parents, *below):
        if (folder / "wav16k").is_dir() or (folder / "wav8k").is_dir():
            return folder
    return None


def is_noisy(condition: str) -> bool:
    """Whether mixtures of one of ``CONDITIONS`` hold noise."""
    return not condition.startswith("mix_clean")


def is_reverberant(condition: str) -> bool:
    """Whether mixtures of one of ``CONDITIONS`` are heard in rooms."""
    return condition.endswith("_reverb")


def check_reference(condition: str, reference: str) -> None:
    """Check that references are in the mixtures.

    Raises:
        UserError: they are reverberant and the mixtures aren't.
    """
    if reference == "reverb" and not is_reverberant(condition):
        what = f"reverberant references are not what is heard in {condition}"
        raise UserError(what, where="reference reverb", remedy="take the reference anechoic")


def utterances_of(name: str) -> tuple[str, str]:
    """The utterances of a mixture, whose name is `utterance_gain_utterance_gain` (gains in dB).

    Raises:
        UserError: the name is not of four fields, or an utterance too short to tell its style.
    """
    fields = name.split("_")
    if len(fields) != 4 or not all(fields) or min(map(len, fields[::2])) < 4:
        what = "the name is not of the form utterance_gain_utterance_gain, with WSJ0's utterances"
        raise UserError(what, where=name, remedy="keep other files out of the corpus")
    return fields[0], fields[2]


def check_tree(
    whamr: Whamr, sets: Iterable[str] = tuple(COUNTS), *, allow_partial: bool = False
) -> dict[str, list[str]]:
    """Check that folders and files are there; no audio is opened.

    Returns:
        By set the names of its mixtures, sorted.

    Raises:
        UserError: a folder or file is missing; a name is not of four fields; the number of mixtures
            is not that of the complete corpus.
    """
    names = {}
    for subset in sets:
        if subset not in COUNTS:
            raise UserError(f"unknown set '{subset}'", remedy=f"sets are {', '.join(COUNTS)}")
        main, *others = whamr.folders(subset).values()
        found = sorted(file.stem for file in whole_files(main, "*.wav"))
        if not found:
            raise UserError("no WAV files", where=main, remedy=_REMEDY)
        for folder in others:
            check_names(folder, found, main)
            check_names(main, sorted(file.stem for file in whole_files(folder, "*.wav")), folder)
        for name in found:
            utterances_of(name)
        check_complete(len(found), COUNTS[subset], main, allow_partial=allow_partial)
        names[subset] = found
    return names
