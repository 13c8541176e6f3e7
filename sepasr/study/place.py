"""Where a study finds its settings, data and starting points, and where its work goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sepasr.data.datadir import MixtureDir
from sepasr.errors import UserError
from sepasr.models import REPOSITORY
from sepasr.separator.config import read_description
from sepasr.train.material import Sources


@dataclass(frozen=True)
class Place:
    """Folders of a recipe, as run.sh has them.

    Attributes:
        recipe: name of the folder below ``egs``.
        exp: folder of experiments; studies share ``exp/study`` and the cache of transcripts.
        data: folder of the data directories.
        start: the starting separator.
        out: folder of the tables and plots.
        overrides: ``name=value`` laid over every training.
        asr_source: where weights of recognisers come from, ``auto``, ``package`` or ``hub``.
        jobs: processes of the signal measures.
        device: where is separated and read; None is the CPU, and for recognisers what their YAML
            says.
        conf: folder of the YAML that the recipe's and the experiment's are laid over.
    """

    recipe: str
    exp: Path
    data: Path
    start: Path
    out: Path
    overrides: tuple[str, ...] = ()
    asr_source: str = "auto"
    jobs: int = 1
    device: str | None = None
    conf: Path = field(default=REPOSITORY / "conf")

    def layers(self, *names: str) -> tuple[Path, ...]:
        """YAML files of ``kind/name``..., the base first: as ``layers`` of utils/settings.sh.

        Raises:
            UserError: there is none for the first name.
        """
        folders = (self.conf, REPOSITORY / "egs" / self.recipe / "conf", self.exp / "conf")
        files = [path for name in names for path in _in(folders, name)]
        if not files:
            kind, _, name = names[0].partition("/")
            there = ", ".join(sorted(p.stem for p in (self.conf / kind).glob("*.yaml")))
            raise UserError(f"unknown {kind} '{name}'", remedy=f"there are {there}")
        return tuple(files)

    def mixtures(self, name: str, task: str) -> MixtureDir:
        """The data directory of a set, or of that set of a task.

        Raises:
            UserError: there is none.
        """
        path = self.data / f"{name}{task}"
        if task and not path.is_dir():
            remedy = f"run stages 0-1 with {task[1:]} among --extra_sets, or make such a set"
            raise UserError("no such data directory", where=path, remedy=remedy)
        return MixtureDir.load(path)

    def starting_point(self, task: str, speakers: int) -> Path:
        """The starting separator of a task with so many speakers.

        A task without one of its own takes the recipe's, if that is for as many.

        Raises:
            UserError: there is none.
        """
        folder = self.start.parent.with_name(self.start.parent.name + task) / self.start.name
        if folder.is_dir():
            return folder
        if not self.start.is_dir():
            raise UserError("no starting separator", where=self.start, remedy="run stage 2")
        config, _ = read_description(self.start)
        if config.num_speakers != speakers:
            remedy = f"utils/grow.sh --num_speakers {speakers}"
            what = f"no starting separator of {speakers} speakers"
            raise UserError(what, where=folder, remedy=remedy)
        return self.start

    def sources(self) -> Sources:
        """What is mixed for training: speech, and noise and rooms where the corpus has them."""
        noise, rooms = (self.data / name for name in ("tr_noise", "tr_rooms"))
        return Sources(
            self.data / "tr_utterances",
            noise if noise.is_dir() else None,
            rooms if rooms.is_dir() else None,
        )

    @property
    def models(self) -> Path:
        """Folder of trained separators, each by a digest of what decided it."""
        return self.exp / "study" / "models"

    @property
    def transcripts(self) -> Path:
        """The cache of transcripts, the same as that of stage 4."""
        return self.exp / "transcripts.sqlite"


def _in(folders: tuple[Path, ...], name: str) -> Iterator[Path]:
    for folder in folders:
        path = folder / f"{name}.yaml"
        if path.is_file():
            yield path
