"""Plots that can be read without the text: names, units, question, and what is compared."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from small_study import Ear, Pretended, make_place, make_study, quick_measures

from sepasr.study.drawing import looks
from sepasr.study.plots import plot_study
from sepasr.study.runner import Runner


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


def test_every_name_has_its_own_look():
    names = [f"n{i}" for i in range(8)]
    assert len(set(looks(names).values())) == 8
