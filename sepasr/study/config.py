"""A study as ``conf/study/NAME.yaml`` states it: a question, and variants as small deltas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sepasr.config import load_config
from sepasr.errors import UserError
from sepasr.models import REPOSITORY
from sepasr.score.result import CLEAN, MEASURES, MIXTURE

FOLDER = REPOSITORY / "conf" / "study"
SISDR, AE, PIT = "sisdr", "ae", "pit"
START = "start"
TRAINED = (SISDR, AE, PIT)
"""Systems that are fine-tuned, from the YAML that stage 3 of run.sh lays over each other."""
UNTRAINED = (START, MIXTURE, CLEAN)
"""Systems that are there: the starting separator, the mixture itself, the references."""
RULES = ("family_mean", "other_families")
PLOTS = ("gains", "steps", "lines")


@dataclass(frozen=True)
class Screen:
    """How all variants are compared, on a set that decides nothing else.

    Attributes:
        set: the data directory.
        seeds: of the trainings.
        recognisers: ``conf/asr/NAME.yaml``, of as many families as there are.
        all_measures: take all signal measures; without, SI-SDR alone, since the others take as
            long as reading does.
    """

    set: str = "cv"
    seeds: list[int] = field(default_factory=lambda: [0])
    recognisers: list[str] = field(
        default_factory=lambda: ["whisper_tiny_en", "wav2vec2_mini", "moonshine_tiny"]
    )
    all_measures: bool = False


@dataclass(frozen=True)
class Finalists:
    """Which variants go on from the screen, and to what.

    Attributes:
        choose: how many, besides the control.
        by: ``family_mean`` takes those with the least cpWER, as the mean over families of
            recognisers; ``other_families`` those that gain most over what each is compared
            with, as the mean over families that no encoder of their loss is of.
        among: names of the variants that may be chosen; by default all that are trained, but the
            control, those that are kept and those that others are compared with.
        keep: names of variants that go on whatever the screen says, at their best steps.
        set: the data directory.
        seeds: of the trainings, others than the screen's.
        recognisers, all_measures: as for the screen.
    """

    choose: int = 1
    by: str = "family_mean"
    among: list[str] = field(default_factory=list)
    keep: list[str] = field(default_factory=list)
    set: str = "tt"
    seeds: list[int] = field(default_factory=lambda: [1, 2, 3])
    recognisers: list[str] = field(
        default_factory=lambda: ["whisper_tiny_en", "wav2vec2_mini", "moonshine_tiny"]
    )
    all_measures: bool = False


@dataclass(frozen=True)
class Variant:
    """A system of a study, as what differs from the recipe's own.

    Attributes:
        name: what tables and plots call it.
        system: one of ``TRAINED`` or ``UNTRAINED``.
        encoders: of the loss, ``conf/encoder/NAME.yaml``.
        encoder_set: ``name: value`` laid over the YAML of each of them.
        set: ``name: value`` laid over that of the training, and over the study's own ``set``.
        steps: after which the separator is scored; the study's own by default.
        separate: ``add_mixture``: how much of the mixture is added to each stream.
        init: ``start``, or the name of a variant whose last separator it starts from.
        task: suffix of the sets and of the folder of the starting point: ``_3speakers`` takes
            ``cv_3speakers`` and ``start_3speakers``. Without such a folder the starting point is
            the recipe's own, if it is for as many speakers.
        against: the variant that it is compared with; the study's control by default.
    """

    name: str
    system: str = AE
    encoders: list[str] = field(default_factory=list)
    encoder_set: dict[str, Any] = field(default_factory=dict)
    set: dict[str, Any] = field(default_factory=dict)
    steps: list[int] = field(default_factory=list)
    separate: dict[str, float] = field(default_factory=dict)
    init: str = START
    task: str = ""
    against: str = ""

    @property
    def trained(self) -> bool:
        """Whether it takes a training."""
        return self.system in TRAINED

    @property
    def add_mixture(self) -> float:
        """How much of the mixture is added to each stream."""
        return self.separate.get("add_mixture", 0.0)


@dataclass(frozen=True)
class Probe:
    """An encoder whose distance is correlated with word errors: its YAML and what it is set to."""

    encoder: str
    set: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Correlation:
    """Which measures are correlated with word errors, mixture by mixture, on the screen's set.

    Attributes:
        measures: signal measures, and ``dnsmos``.
        probes: encoders whose embedding distance is measured as well.
    """

    measures: list[str] = field(
        default_factory=lambda: ["si_sdr", "pesq", "stoi", "estoi", "srmr", "dnsmos"]
    )
    probes: list[Probe] = field(default_factory=list)


@dataclass(frozen=True)
class Difficulty:
    """Word errors against the conditions of mixtures, from rows that a run has left.

    Attributes:
        set: the data directory.
        systems: of the rows, in the plot's order.
        recognisers: likewise.
        bins: groups of equally many mixtures along each condition.
    """

    set: str = "tt"
    systems: list[str] = field(default_factory=list)
    recognisers: list[str] = field(default_factory=list)
    bins: int = 3


@dataclass(frozen=True)
class StudyConfig:
    """A study.

    Attributes:
        question: one sentence.
        control: name of the variant that others are compared with.
        plot: ``gains`` over the control, one line per variant; word errors against ``steps``; or
            ``lines`` of word errors of each variant.
        set: ``name: value`` laid over the training of every variant.
        steps: after which a variant's separator is scored, unless it says so itself.
        screen: see :class:`Screen`.
        finalists: see :class:`Finalists`; a study without ends with the screen.
        variants: what is compared.
        permutations: encoders whose choice of the permutation is compared with that of SI-SDR.
        correlation: see :class:`Correlation`; null correlates nothing.
        difficulty: see :class:`Difficulty`; a study with it has no variants.
    """

    question: str
    control: str = SISDR
    plot: str = "gains"
    set: dict[str, Any] = field(default_factory=dict)
    steps: list[int] = field(default_factory=lambda: [300])
    screen: Screen = field(default_factory=Screen)
    finalists: Finalists | None = None
    variants: list[Variant] = field(default_factory=list)
    permutations: list[str] = field(default_factory=list)
    correlation: Correlation | None = None
    difficulty: Difficulty | None = None

    def __post_init__(self) -> None:
        _check(self)

    def variant(self, name: str) -> Variant:
        """The variant of that name, with the study's own settings under its own."""
        found = next(variant for variant in self.variants if variant.name == name)
        steps = sorted(set_of(found.steps or self.steps)) if found.trained else [0]
        return replace(found, set={**self.set, **found.set}, steps=steps)

    def resolved(self) -> list[Variant]:
        """All variants, each with the study's own settings under its own."""
        return [self.variant(variant.name) for variant in self.variants]

    def against(self, name: str) -> str:
        """The variant that one is compared with."""
        return self.variant(name).against or self.control


TAKEN = ("results", "utterances", "measures", "guard")
"""Names of the files of stage 5, beside which a study writes those of its own name."""


def set_of(values: Iterable[int]) -> frozenset[int]:
    """Those that differ. (In a class with a field ``set`` the builtin's name is taken.)"""
    return frozenset(values)


def _check(study: StudyConfig) -> None:
    """Refuse what can't be run, before anything is."""
    if not study.question.strip().endswith("?"):
        raise UserError("question: is no question")
    if study.plot not in PLOTS:
        raise UserError(f"plot '{study.plot}' is none of {', '.join(PLOTS)}")
    if study.difficulty is not None:
        others = ("variants", "set", "finalists", "permutations", "correlation")
        for name in (name for name in others if getattr(study, name)):
            raise UserError(f"a study of difficulty has no {name}")
        if study.difficulty.bins < 1:
            raise UserError(f"difficulty.bins is {study.difficulty.bins}, less than 1")
        return
    for part, config in (("screen", study.screen), ("finalists", study.finalists)):
        for what in ("seeds", "recognisers") if config else ():
            given = getattr(config, what)
            if not given:
                raise UserError(f"{part}.{what} names none")
            if len(set_of(given)) < len(given):
                raise UserError(f"{part}.{what} names one twice")
    counts = Counter(variant.name for variant in study.variants)
    for name, count in counts.items():
        if count > 1:
            raise UserError(f"variant '{name}' is named twice")
        if not name or "/" in name or "," in name:
            raise UserError(f"variant '{name}' has a name that tables can't hold")
    known = ", ".join(counts)
    names = {
        "control": [study.control],
        "init": [v.init for v in study.variants if v.init != START],
        "against": [v.against for v in study.variants if v.against],
        "finalists": [*study.finalists.among, *study.finalists.keep] if study.finalists else [],
    }
    for what, wanted in names.items():
        for name in wanted:
            if name not in counts:
                raise UserError(f"{what}: there is no variant '{name}'", remedy=f"known: {known}")
    for variant in study.variants:
        _check_variant(study, variant)
    if study.correlation is not None and not study.screen.all_measures:
        missing = {*study.correlation.measures} & {*MEASURES} - {"si_sdr", "si_sdri"}
        if missing:
            remedy = "screen.all_measures: true"
            raise UserError(f"correlation: {sorted(missing)[0]} isn't measured", remedy=remedy)
    if study.finalists is not None:
        if study.finalists.by not in RULES:
            remedy = f"known: {', '.join(RULES)}"
            raise UserError(f"finalists.by '{study.finalists.by}' is no rule", remedy=remedy)
        if set_of(study.finalists.seeds) & set_of(study.screen.seeds):
            raise UserError("finalists have a seed of the screen's: it chose them by chance too")
        tasks = {variant.task for variant in study.variants}
        chosen_on, compared_on = (
            {part.set + task for task in tasks} for part in (study.screen, study.finalists)
        )
        if chosen_on & compared_on:
            raise UserError("finalists are compared on the set that chose them")
        untrained = [name for name in study.finalists.among if not study.variant(name).trained]
        if untrained:
            raise UserError(f"finalists.among: '{untrained[0]}' is not trained")


def _check_variant(study: StudyConfig, variant: Variant) -> None:
    where = f"variant {variant.name}"
    if variant.system not in (*TRAINED, *UNTRAINED):
        remedy = f"known: {', '.join((*TRAINED, *UNTRAINED))}"
        raise UserError(f"unknown system '{variant.system}'", where=where, remedy=remedy)
    if (variant.system in (AE, PIT)) != bool(variant.encoders):
        raise UserError("encoders are for the systems ae and pit, and these need one", where=where)
    if not variant.trained and (variant.set or variant.steps or variant.init != START):
        raise UserError("nothing is trained, but set, steps or init are given", where=where)
    if variant.encoder_set and not variant.encoders:
        raise UserError("encoder_set is given, but no encoders", where=where)
    if variant.separate and variant.system in (MIXTURE, CLEAN):
        raise UserError("nothing is separated, but separate is given", where=where)
    if any(steps < 1 for steps in variant.steps or study.steps):
        raise UserError("steps are less than 1", where=where)
    unknown = variant.separate.keys() - {"add_mixture"}
    if unknown:
        raise UserError(f"separate has no '{unknown.pop()}'", where=where)
    fixed = {"fit.steps", "fit.snapshots", "fit.seed"} & {*variant.set, *study.set}
    if fixed:
        raise UserError(f"{fixed.pop()} is the runner's to set", where=where)
    seen, name = [variant.name], variant.init
    while name != START:
        if name in seen:
            raise UserError(f"starts from itself: {' <- '.join([*seen, name])}", where=where)
        seen.append(name)
        before = next(v for v in study.variants if v.name == name)
        if not before.trained:
            raise UserError(f"starts from '{name}', which is not trained", where=where)
        name = before.init


def study_names() -> list[str]:
    """Names of the studies in ``conf/study``."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_study(name: str) -> StudyConfig:
    """Read ``conf/study/NAME.yaml``, or the file of that path.

    Raises:
        UserError: there is no such study, or it makes no sense.
    """
    path = Path(name) if name.endswith(".yaml") else FOLDER / f"{name}.yaml"
    if not path.is_file():
        remedy = f"there are {', '.join(study_names())}"
        raise UserError("no such study", where=path, remedy=remedy)
    if path.stem in TAKEN:
        raise UserError(f"'{path.stem}' names files of stage 5", where=path, remedy="rename it")
    return load_config(StudyConfig, [path])
