"""A whole study: tables, what is analysed on top, and the plot."""

from __future__ import annotations

from sepasr.study.analysis_plots import plot_correlations, plot_difficulty
from sepasr.study.config import StudyConfig
from sepasr.study.correlation import correlate
from sepasr.study.difficulty import analyse_difficulty
from sepasr.study.made import commit_at_start
from sepasr.study.permutations import compare_permutations
from sepasr.study.place import Place
from sepasr.study.plots import plot_study
from sepasr.study.record import write_short_record
from sepasr.study.rows import FAMILY_MEAN, StudyResult
from sepasr.study.runner import Runner


def run_study(name: str, study: StudyConfig, place: Place) -> None:
    """Run what is left of a study, and write its tables and plots to ``place.out``.

    Raises:
        UserError: see :class:`sepasr.study.runner.Runner`.
    """
    if study.difficulty is not None:
        commit_at_start()
        table = analyse_difficulty(name, study.difficulty, place)
        write_short_record(name, study.question, place)
        plot_difficulty(study, table, place.out / f"{name}.svg")
    else:
        runner = Runner(name, study, place)
        results = runner.run()
        plot_study(study, results, place.out / f"{name}.svg")
        if study.permutations:
            compare_permutations(runner, study.permutations)
        if study.correlation is not None:
            table_of = correlate(runner, study.correlation)
            plot_correlations(study, table_of, place.out / f"{name}_correlations.svg")
        print("\n".join(_line(result) for result in results if result.recogniser == FAMILY_MEAN))
    print(f"{name}: {place.out / name}.csv and .svg")


def _line(result: StudyResult) -> str:
    seed = "-" if result.seed is None else str(result.seed)
    line = (
        f"{result.set}  {result.variant}  {result.steps} steps  seed {seed}  "
        f"{100 * result.cpwer:.1f} % cpWER"
    )
    if result.against:
        low, high = 100 * result.gain_low, 100 * result.gain_high
        line += f"  gain {100 * result.gain:.1f} % [{low:.1f}, {high:.1f}] on {result.against}"
    return line
