"""Separate, read and score one separator on one set, and keep the rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from sepasr.config import load_config
from sepasr.data.datadir import MixtureDir
from sepasr.data.scp import read_table
from sepasr.decode.cache import TranscriptCache
from sepasr.decode.recognise import recognise, streams_of
from sepasr.decode.recogniser import (
    RULES,
    Recogniser,
    RecogniserConfig,
    build_recogniser,
    on_device,
)
from sepasr.decode.recognisers.whisper_encoder import chosen_type
from sepasr.decode.separate import load_separator, separate_directory
from sepasr.errors import UserError
from sepasr.models import resolve_model
from sepasr.parallel import OncePerProcess
from sepasr.score import measures
from sepasr.score.inputs import installed
from sepasr.score.result import CLEAN, MIXTURE, RecogniserInfo, SystemInfo
from sepasr.score.rows import MeasureRow, UtteranceRow, read_rows, write_rows
from sepasr.score.score import score
from sepasr.study.digest import data_digest, folder_digest
from sepasr.study.lock import locked
from sepasr.study.made import note_commit, noted_commit
from sepasr.study.place import Place

REVISION = 2
"""To be raised when what is counted as an error changes: rows that were written before are then not
taken for the same. Measures have a revision of their own."""
ENGINES = {
    "ctc": ("torch", "transformers"),
    "espnet": ("torch", "espnet"),
    "whisper": ("torch", "ctranslate2"),
    "whisper_transformers": ("torch", "transformers"),
    "moonshine": ("onnxruntime",),
    "pocketsphinx": ("pocketsphinx",),
}
"""Packages that read for each kind: another version may read otherwise."""


class Reader:
    """A recogniser that is loaded when it has something to read.

    Args:
        name: ``conf/asr/NAME.yaml``.
        place: where its YAML is.

    Raises:
        UserError: there is no such YAML, or it makes no sense.
    """

    def __init__(self, name: str, place: Place) -> None:
        self._source = place.asr_source
        settings = load_config(RecogniserConfig, place.layers(f"asr/{name}"))
        self.config = on_device(settings, place.device)
        self.name, self.family = self.config.name, self.config.family
        self.info = RecogniserInfo(self.name, self.family, self.config.weights)

    @cached_property
    def recogniser(self) -> Recogniser:
        """The recogniser itself."""
        return build_recogniser(self.config, self._source)

    @cached_property
    def digest(self) -> str:
        """A few digits of what decides what it reads."""
        known = {**asdict(self.config), "source": self._source, "rules": RULES, "scored": REVISION}
        for name in ("jobs", "batch_size", "device"):  # they decide nothing
            del known[name]
        # What a processor can do may decide in what number type it is read.
        known["encoder_type"] = chosen_type(self.config.encoder_type, self.config.device)
        known["engines"] = [installed(name) for name in ENGINES.get(self.config.kind, ())]
        if self.config.kind not in ENGINES:  # of one's own: it alone knows
            known["identity"] = self.recogniser.identity
        for name in ("model", "grammar"):
            value = known[name]
            found = resolve_model(value) if value else None
            if isinstance(found, Path):
                known[name] = folder_digest(found)
        text = json.dumps(known, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Subject:
    """What is separated with, on a set.

    Attributes:
        key: name of its folders, which says what decides its streams.
        model: the separator; None for the mixtures and the references themselves.
        add_mixture: how much of the mixture is added to each stream.
    """

    key: str
    model: Path | None
    add_mixture: float = 0.0


class Evaluation:
    """One set of mixtures, with everything that has been separated from and read in it.

    Args:
        data: the set, with transcripts.
        place: where the work goes: ``exp/study/<set>-<digest>``.
        brief: measure SI-SDR alone.

    Raises:
        UserError: the set has no transcripts.
    """

    def __init__(self, data: MixtureDir, place: Place, *, brief: bool = False) -> None:
        if any(mixture.texts is None for mixture in data.mixtures):
            raise UserError("no transcripts", where=data.path, remedy="use a set with cut 'max'")
        self.data, self.place, self.brief = data, place, brief
        self.root = place.exp / "study" / f"{data.path.name}-{data_digest(data)}"

    def separated(self, subject: Subject) -> Path:
        """Folder of a subject's streams."""
        return self.root / "separate" / subject.key

    def streams(self, subject: Subject) -> dict[str, list[Path]]:
        """Files of the streams that a subject has made of each mixture."""
        folder, speakers = self.separated(subject), len(self.data.mixtures[0].references)
        tables = [read_table(folder / f"spk{s}.scp") for s in range(1, speakers + 1)]
        return {m.id: [Path(table[m.id]) for table in tables] for m in self.data.mixtures}

    def unread(self, subject: Subject, readers: Sequence[Reader]) -> list[Reader]:
        """Those who have not read a subject yet."""
        found = [x for x in readers if not self._rows(subject, x).is_file()]
        return found if self._measures(subject).is_file() else list(readers)

    def evaluate(self, subject: Subject, readers: Sequence[Reader]) -> None:
        """Separate, read and score what has not been before.

        Raises:
            UserError: the separator doesn't fit the set, or see ``recognise`` and ``score``.
        """
        with locked(self.root / "rows" / subject.key):
            missing = self.unread(subject, readers)
            if not missing:
                return
            if subject.model is not None:
                self._separate(subject)
            with TranscriptCache(self.place.transcripts) as cache:
                for reader in missing:
                    recogniser = reader.recogniser
                    recognise(
                        streams_of(self.data, self.separated(subject)),
                        recogniser,
                        cache,
                        self.root / "decode" / subject.key / recogniser.name,
                        separated=self.separated(subject),
                        jobs=recogniser.processes,
                    )
            name = subject.key if subject.key in (MIXTURE, CLEAN) else "system"
            scores = score(
                self.data,
                [SystemInfo(name, subject.key)],
                [reader.info for reader in missing],
                self.root,
                jobs=self.place.jobs,
                brief=self._is_brief(subject),
            )
            for reader in missing:
                mine = [row for row in scores.utterances if row.recogniser == reader.name]
                write_rows(self._rows(subject, reader), UtteranceRow, mine)
                note_commit(self._rows(subject, reader))
            write_rows(self._measures(subject), MeasureRow, scores.measures)

    def _separate(self, subject: Subject) -> None:
        assert subject.model is not None
        load = OncePerProcess(load_separator, (subject.model, self.place.device or "cpu"))
        separate_directory(
            load(),
            self.data,
            self.separated(subject),
            load=load,
            add_mixture=subject.add_mixture,
        )

    def rows(
        self, subject: Subject, reader: Reader
    ) -> tuple[tuple[UtteranceRow, ...], tuple[MeasureRow, ...]]:
        """What was kept of a subject that was read by ``reader``.

        Raises:
            UserError: it has not been.
        """
        return (
            read_rows(self._rows(subject, reader), UtteranceRow),
            read_rows(self._measures(subject), MeasureRow),
        )

    def read_at(self, subject: Subject, reader: Reader) -> str | None:
        """The commit at which a reader's rows were made, if that is known."""
        return noted_commit(self._rows(subject, reader))

    def _rows(self, subject: Subject, reader: Reader) -> Path:
        return self.root / "rows" / subject.key / f"{reader.name}-{reader.digest}.csv"

    def _measures(self, subject: Subject) -> Path:
        return self._measured(subject, "-brief" if self._is_brief(subject) else "")

    def _is_brief(self, subject: Subject) -> bool:
        """What another study has measured in full stays so."""
        return self.brief and not self._measured(subject, "").is_file()

    def _measured(self, subject: Subject, kind: str) -> Path:
        return self.root / "rows" / subject.key / f"measures{kind}-{measures.REVISION}.csv"
