"""Plots that can be read without the text: names, units, question, and what is compared."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from small_study import Ear, Pretended, make_place, make_study, quick_measures

from sepasr.study.drawing import looks
from sepasr.study.plots import plot_study
from sepasr.study.rows import FAMILY_MEAN, StudyResult
from sepasr.study.runner import Runner

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("plot", ["gains", "steps", "lines"])
def test_a_plot_says_what_is_compared(plot, data_dirs, tmp_path, monkeypatch):
    monkeypatch.setattr("sepasr.score.measures.measure", quick_measures)
    study = make_study(tmp_path, plot=plot)
    place = make_place(tmp_path, data_dirs)
    results = Runner("small", study, place, train=Pretended(), reader_of=Ear).run()
    path = tmp_path / "plot.svg"
    plot_study(study, results, path)
    texts = "\n".join(t for e in ElementTree.parse(path).iter() for t in e.itertext())
    screen = [r for r in results if r.set == "cv"]
    for expected in ("Does it help?", "odd", "even", "mean over families"):
        assert expected in texts
    shown = {r.variant for r in screen}
    compared = shown - {"sisdr"} if plot == "gains" else shown
    assert all(name in texts for name in compared)
    assert "cv, 3 mixtures" in texts or plot == "lines"
    if plot == "gains":
        assert "tt, 5 mixtures; against sisdr" in texts
        assert texts.index("tt, 5 mixtures") < texts.index("cv, 3 mixtures")
        assert "95 % intervals" in texts
    # The same figures give the same file.
    before = path.read_bytes()
    plot_study(study, results, path)
    assert path.read_bytes() == before


def test_marks_are_the_gains_in_the_rows_of_their_variants(data_dirs, tmp_path, monkeypatch):
    monkeypatch.setattr("sepasr.score.measures.measure", quick_measures)
    study, place = make_study(tmp_path, plot="gains"), make_place(tmp_path, data_dirs)
    results = Runner("small", study, place, train=Pretended(), reader_of=Ear).run()
    figures, save = [], Figure.savefig

    def saved(figure, *given, **options):
        figures.append(figure)
        return save(figure, *given, **options)

    monkeypatch.setattr(Figure, "savefig", saved)
    plot_study(study, results, tmp_path / "plot.svg")
    for axes, name in zip(figures[0].axes, ("tt", "cv"), strict=True):
        mine = [r for r in results if r.set == name and r.against]
        assert mine
        names = [label.get_text().split("\n")[0] for label in axes.get_yticklabels()]
        drawn = axes.lines[: 2 * len(mine)]
        for r, bounds, mark in zip(mine, drawn[::2], drawn[1::2], strict=True):
            interval = [100 * r.gain_low, 100 * r.gain_high]
            assert list(bounds.get_xdata()) == pytest.approx(interval, nan_ok=True)
            assert list(mark.get_xdata()) == pytest.approx([100 * r.gain], nan_ok=True)
            assert names[round(mark.get_ydata()[0])] == r.variant


def test_a_plot_over_steps_is_of_the_screen(data_dirs, tmp_path, monkeypatch):
    """The finals have steps of their own, also those of a variant's task."""
    study = make_study(tmp_path, plot="steps")
    variants = [replace(v, task="_3") if v.name == "slow" else v for v in study.variants]
    study = replace(study, variants=variants)

    def result(name: str, steps: int) -> StudyResult:
        known = {"variant": "slow", "set": name, "steps": steps, "recogniser": FAMILY_MEAN}
        unknown = {f.name: math.nan for f in fields(StudyResult)} | {"against": "", "seeds": 1}
        return StudyResult(**(unknown | known))

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    results = [result("cv_3", 2), result("cv_3", 4), result("tt_3", 4)]
    plot_study(study, results, tmp_path / "plot.svg")
    drawn = [list(line.get_xdata()) for axes in figures[0].axes for line in axes.lines]
    assert [2, 4] in drawn
    assert [2, 4, 4] not in drawn


def test_every_name_has_its_own_look():
    names = [f"n{i}" for i in range(8)]
    assert len(set(looks(names).values())) == 8
