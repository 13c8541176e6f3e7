"""Runs a study: trains what isn't trained, reads what isn't read, and writes what it comes to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from sepasr.errors import UserError
from sepasr.files import sha256
from sepasr.score.result import CLEAN, MIXTURE
from sepasr.separator.model import WEIGHTS
from sepasr.study.config import START, StudyConfig, Variant
from sepasr.study.correlation import check_correlation
from sepasr.study.evaluation import Evaluation, Reader, Subject
from sepasr.study.facts import EncoderInfo, Facts
from sepasr.study.finalists import Finalist, choose_finalists
from sepasr.study.made import commit_at_start
from sepasr.study.place import Place
from sepasr.study.record import write_record
from sepasr.study.rows import StudyResult, StudyRow, write_study
from sepasr.study.summary import summarise_study
from sepasr.study.training import (
    Trainer,
    Training,
    encoder_settings,
    resolve_training,
    train_in_process_of_its_own,
    train_until,
)


@dataclass(frozen=True)
class Point:
    """A variant after some steps with a seed, None where nothing is trained."""

    variant: Variant
    steps: int
    seed: int | None

    @property
    def label(self) -> str:
        """For the terminal."""
        return "as it is" if self.seed is None else f"{self.steps} steps, seed {self.seed}"


@dataclass(frozen=True)
class Phase:
    """The screen or the finals: what is compared on which set by whom.

    Attributes:
        points: in the order of the work.
        set: name of the data directory, without a task's suffix.
        readers: who read.
        all_measures: whether all signal measures are taken, or SI-SDR alone.
    """

    points: tuple[Point, ...]
    set: str
    readers: tuple[Reader, ...]
    all_measures: bool


class Runner:
    """A study at a place.

    Args:
        name: of the study, and of its files.
        study: what is compared.
        place: where everything is.
        train: trains; see ``Trainer``.
        reader_of: gives the recogniser of a name.

    Raises:
        UserError: a name, file, set or setting of any variant that is unknown or wrong: before
            anything is trained.
    """

    def __init__(
        self,
        name: str,
        study: StudyConfig,
        place: Place,
        *,
        train: Trainer = train_in_process_of_its_own,
        reader_of: Callable[[str, Place], Reader] = Reader,
    ) -> None:
        self.name, self.study, self.place = name, study, place
        self.variants = study.resolved()
        commit_at_start()
        if study.correlation is not None:
            check_correlation(study.correlation, place)
        for encoder in study.permutations:
            place.layers(f"encoder/{encoder}")
        self._train, self._reader_of = train, reader_of
        self._readers: dict[str, Reader] = {}
        self._evaluations: dict[str, Evaluation] = {}
        self._trainings: dict[tuple[str, int, int], Training] = {}
        for point in self.screen.points:
            self.subject(point)
            self.evaluation(self.screen, point.variant)
        if study.finalists is not None:
            for variant in self.variants:
                place.mixtures(study.finalists.set, variant.task)
            self._ears(study.finalists.recognisers)

    @cached_property
    def screen(self) -> Phase:
        """All variants, all steps, the screen's seeds."""
        screen = self.study.screen
        points = tuple(
            Point(variant, steps, seed)
            for variant in self.variants
            for seed in (screen.seeds if variant.trained else [None])
            for steps in variant.steps
        )
        return Phase(points, screen.set, self._ears(screen.recognisers), screen.all_measures)

    def finals(self, chosen: Iterable[Finalist]) -> Phase:
        """The finalists, each at its steps, with the seeds of the finals."""
        finalists = self.study.finalists
        assert finalists is not None
        points = tuple(
            Point(variant, finalist.steps, seed)
            for finalist in chosen
            for variant in [self.study.variant(finalist.variant)]
            for seed in (finalists.seeds if variant.trained else [None])
        )
        readers = self._ears(finalists.recognisers)
        return Phase(points, finalists.set, readers, finalists.all_measures)

    def _ears(self, names: Sequence[str]) -> tuple[Reader, ...]:
        for name in names:
            if name not in self._readers:
                self._readers[name] = self._reader_of(name, self.place)
        return tuple(self._readers[name] for name in names)

    def training(self, point: Point) -> Training:
        """The training that a point is of."""
        assert point.seed is not None
        key = (point.variant.name, point.steps, point.seed)
        if key not in self._trainings:
            self._trainings[key] = resolve_training(
                self.study, point.variant, point.steps, point.seed, self.place
            )
        return self._trainings[key]

    def subject(self, point: Point) -> Subject:
        """What a point is separated with."""
        variant, add = point.variant, point.variant.add_mixture
        if variant.system in (MIXTURE, CLEAN):
            return Subject(variant.system, None)
        if variant.system == START:
            data = self.evaluation(self.screen, variant).data
            speakers = len(data.mixtures[0].references)
            model = self.place.starting_point(variant.task, speakers)
            key = f"start_{sha256(model / WEIGHTS)[:16]}"
        else:
            training = self.training(point)
            key, model = f"{training.digest}_step{point.steps}", training.model(point.steps)
        return Subject(f"{key}_add{add:g}" if add else key, model, add)

    def evaluation(self, phase: Phase, variant: Variant) -> Evaluation:
        """The set that a variant is compared on."""
        name = f"{phase.set}{variant.task}"
        if name not in self._evaluations:
            data = self.place.mixtures(phase.set, variant.task)
            self._evaluations[name] = Evaluation(data, self.place, brief=not phase.all_measures)
        return self._evaluations[name]

    def steps_to_do(self, phase: Phase) -> int:
        """Steps of all trainings that a phase still asks for."""
        wanted: dict[str, tuple[Training, set[int]]] = {}
        for point in phase.points:
            if point.variant.trained:
                _want(self.training(point), point.steps, wanted)
        return sum(training.steps_to_do(steps) for training, steps in wanted.values())

    def unread(self, phase: Phase, point: Point) -> list[str]:
        """Names of those who have not read a point yet."""
        subject = self.subject(point)
        found = self.evaluation(phase, point.variant).unread(subject, phase.readers)
        return [reader.name for reader in found]

    def is_trained(self, point: Point) -> bool:
        """Whether there is nothing to train for a point."""
        return not point.variant.trained or not self.training(point).missing([point.steps])

    def run(self) -> list[StudyResult]:
        """Do what is left to do; what an earlier call or another study has done stays done.

        Tables are written after every variant, so that a long study can be looked into. A variant
        that fails doesn't keep the others from being compared; finalists are only chosen when all
        of the screen is there.

        Returns:
            The figures of the screen and of the finals.

        Raises:
            UserError: variants have failed; the others' results are written.
        """
        phases = [self.screen]
        self._run(self.screen, phases)
        results = self.write(phases)
        if self.study.finalists is not None:
            chosen = self.choose(results)
            phases.append(self.finals(chosen))
            self._run(phases[1], phases)
            results = self.write(phases)
        return results

    def choose(self, results: Sequence[StudyResult]) -> list[Finalist]:
        """The finalists, by what the screen came to."""
        sets = {f"{self.study.screen.set}{variant.task}" for variant in self.variants}
        return choose_finalists(self.study, [r for r in results if r.set in sets])

    def _run(self, phase: Phase, phases: Sequence[Phase]) -> None:
        failed: dict[str, str] = {}
        for variant in self.variants:
            points = [point for point in phase.points if point.variant.name == variant.name]
            if not points:
                continue
            try:
                did = self._run_variant(variant, points, phase)
            except UserError as error:
                failed[variant.name] = str(error)
                print(f"{self.name}: {variant.name} failed: {error}", flush=True)
            else:
                if did:
                    self.write(phases)
        if failed:
            raise UserError(
                "; ".join(f"variant {name}: {cause}" for name, cause in failed.items()),
                where=f"study {self.name}",
                remedy="the others are done; run it again for these",
            )

    def _run_variant(self, variant: Variant, points: Sequence[Point], phase: Phase) -> bool:
        """Train and evaluate; whether there was anything to do."""
        evaluation = self.evaluation(phase, variant)
        wanted: dict[str, tuple[Training, set[int]]] = {}
        for point in phase.points:  # those of other variants too, which may be the same training
            if point.variant.trained:
                _want(self.training(point), point.steps, wanted)
        did = False
        for point in points:
            subject = self.subject(point)
            if not evaluation.unread(subject, phase.readers):
                continue
            did = True
            print(f"{self.name}: {variant.name}, {point.label}, {phase.set}", flush=True)
            if variant.trained:
                training, steps = wanted[self.training(point).digest]
                train_until(training, steps, self._train)
            evaluation.evaluate(subject, phase.readers)
        return did

    def rows(self, phases: Iterable[Phase]) -> list[StudyRow]:
        """The rows of what is there."""
        return [row for phase in phases for p in phase.points for row in self._rows(phase, p)]

    def _rows(self, phase: Phase, point: Point) -> Iterator[StudyRow]:
        evaluation, subject = self.evaluation(phase, point.variant), self.subject(point)
        unread = evaluation.unread(subject, phase.readers)
        for reader in phase.readers:
            if reader in unread:
                continue
            utterances, measures = evaluation.rows(subject, reader)
            measured = {row.mixture: row for row in measures}
            for row in utterances:
                signal = measured[row.mixture]
                yield StudyRow(
                    variant=point.variant.name,
                    steps=point.steps,
                    seed=point.seed,
                    set=evaluation.data.path.name,
                    recogniser=row.recogniser,
                    mixture=row.mixture,
                    words=row.words,
                    cp_errors=row.cp_errors,
                    orc_errors=row.orc_errors,
                    si_sdr=signal.si_sdr,
                    si_sdri=signal.si_sdri,
                    pesq=signal.pesq,
                    stoi=signal.stoi,
                    estoi=signal.estoi,
                    srmr=signal.srmr,
                )

    @cached_property
    def facts(self) -> Facts:
        """What rows don't say."""
        return Facts(
            study=self.name,
            order=tuple(variant.name for variant in self.variants),
            against={v.name: self.study.against(v.name) for v in self.variants},
            encoders={v.name: self._encoders(v) for v in self.variants},
            recognisers=tuple(reader.info for reader in self._readers.values()),
        )

    def _encoders(self, variant: Variant) -> tuple[EncoderInfo, ...]:
        """Those of its loss, and of the variants that it starts from."""
        before = () if variant.init == START else self._encoders(self.study.variant(variant.init))
        found = list(before)
        for name in variant.encoders:
            conf = encoder_settings(self.place, name, variant.encoder_set)
            found.append(EncoderInfo(*conf.identity))
        return tuple(found)

    def write(self, phases: Sequence[Phase]) -> list[StudyResult]:
        """Write tables of what is there."""
        rows = self.rows(phases)
        results = summarise_study(rows, self.facts)
        write_study(self.place.out, self.name, rows, results)
        write_record(self, phases, results)
        return results


def _want(training: Training, steps: int, wanted: dict[str, tuple[Training, set[int]]]) -> None:
    """Note a separator that is needed, and those that it comes from."""
    wanted.setdefault(training.digest, (training, set()))[1].add(steps)
    if training.parent is not None:
        _want(*training.parent, wanted)
