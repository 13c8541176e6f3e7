"""What a study would do: what is complete, what is left, and how many steps that is."""

from __future__ import annotations

from collections.abc import Iterator

from sepasr.study.config import START, Finalists, StudyConfig
from sepasr.study.finalists import candidates_of
from sepasr.study.rows import FAMILY_MEAN
from sepasr.study.runner import Phase, Point, Runner
from sepasr.study.summary import summarise_study

COMPLETE = "complete"


def outlook(runner: Runner) -> Iterator[str]:
    """Lines for the terminal; nothing is trained, read or written.

    Raises:
        UserError: see ``choose_finalists``.
    """
    study = runner.study
    yield f"{runner.name}: {study.question}"
    yield f"control: {study.control}"
    yield from _phase(runner, runner.screen, "screen")
    left = runner.steps_to_do(runner.screen)
    if study.finalists is None:
        yield f"steps in all: {left}"
        return
    rule = study.finalists
    pending = any(runner.unread(runner.screen, point) for point in runner.screen.points)
    if pending:
        yield (
            f"finals on {rule.set}: {rule.choose} by {rule.by} and the control, with seeds "
            f"{', '.join(map(str, rule.seeds))}: chosen when the screen is complete"
        )
        at_most = left + _most_steps(study, rule) * len(rule.seeds)
        yield f"steps in all: {left} for the screen, at most {at_most} with the finals"
        return
    results = summarise_study(runner.rows([runner.screen]), runner.facts, draws=100)
    chosen = runner.choose(results)
    finals = runner.finals(chosen)
    for finalist in chosen:
        yield f"  {finalist.variant} goes on ({finalist.reason}), {finalist.steps} steps"
    yield from _phase(runner, finals, "finals")
    yield f"steps in all: {left + runner.steps_to_do(finals)}"


def _most_steps(study: StudyConfig, rule: Finalists) -> int:
    """Steps of the finals with one seed, if the longest trainings are chosen."""
    may_be = candidates_of(study)
    certain = {*rule.keep, *(study.against(name) for name in (*may_be, *rule.keep))}
    longest = sorted((_steps_of(study, name) for name in may_be), reverse=True)
    return sum(longest[: rule.choose]) + sum(_steps_of(study, name) for name in certain)


def _steps_of(study: StudyConfig, name: str) -> int:
    """Most steps of a variant, and of those that it starts from."""
    variant = study.variant(name)
    if not variant.trained:
        return 0
    before = 0 if variant.init == START else _steps_of(study, variant.init)
    return before + variant.steps[-1]


def _phase(runner: Runner, phase: Phase, title: str) -> Iterator[str]:
    readers = ", ".join(reader.name for reader in phase.readers)
    yield f"{title} on {phase.set}, read by {readers} and their {FAMILY_MEAN}:"
    width = max(len(point.variant.name) for point in phase.points)
    for point in phase.points:
        yield f"  {point.variant.name:{width}}  {point.label}  {_state(runner, phase, point)}"


def _state(runner: Runner, phase: Phase, point: Point) -> str:
    unread = runner.unread(phase, point)
    if not unread:
        return COMPLETE
    parts = [] if runner.is_trained(point) else ["to train"]
    return ", ".join([*parts, f"to be read by {', '.join(unread)}"])
