"""Texts of plots keep clear of each other, of marks, of axes, and stay in the picture."""

from dataclasses import replace
from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from sepasr.models import REPOSITORY
from sepasr.report.curves import Curve
from sepasr.report.layout import SIZE, broken, text_width
from sepasr.report.plots import forest, training
from sepasr.report.studies import Panel, StudyRow
from sepasr.report.study_plots import study
from sepasr.score.result import Results


def names(folder: str) -> list[str]:
    """The names of configurations, the longest first."""
    found = {path.stem for path in (REPOSITORY / "conf" / folder).glob("*.yaml")}
    return sorted(found, key=lambda name: (-len(name), name))


SYSTEMS = [f"ae_{name}" for name in names("encoder")]
READERS = names("asr")
PAIRS = [*zip(SYSTEMS[:4], READERS[:4], strict=True), ("ae_whisper_small_en", "wav2vec2_base_960h")]


@pytest.fixture
def drawn(monkeypatch):
    """Both versions of a plot, before they are SVG."""

    def draw(plot, *given) -> list[Figure]:
        figures: list[Figure] = []
        monkeypatch.setattr("sepasr.report.plots.to_svg", lambda figure, *_: figures.append(figure))
        plot(*given)
        return figures

    return draw


def check(figure: Figure, monkeypatch) -> None:
    """Draw it, and look at every text where it is drawn."""
    texts: list[tuple[Text, Bbox]] = []
    draw = Text.draw

    def noted(text: Text, renderer) -> None:
        draw(text, renderer)
        if text.get_visible() and text.get_text():
            texts.append((text, text.get_window_extent(renderer)))

    canvas = FigureCanvasAgg(figure)
    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", noted)
        canvas.draw()
    assert texts
    for text, box in texts:
        said = text.get_text()
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, said
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1, said
        for axes in (axes for axes in figure.axes if axes.get_visible()):
            is_row = text in axes.texts and figure.get_figwidth() < 5  # a phone's are above marks
            assert is_row or not box.overlaps(axes.bbox), said
            level = [line for line in axes.lines if len(set(line.get_ydata())) == 1]
            assert not any(box.overlaps(x.get_window_extent(canvas.get_renderer())) for x in level)
    for (one, a), (other, b) in combinations(texts, 2):
        assert not a.overlaps(b), (one.get_text(), other.get_text())


@pytest.mark.parametrize("primary", [False, True])
def test_names_of_the_forest_have_room(drawn, monkeypatch, primary):
    results = Results.read(REPOSITORY / "egs/mini_whamr/results.json")
    figures = {"low": -10.123, "relative_gain": -0.345, "high": 0.456, "primary": primary}
    gains = [replace(results.comparisons[0], system=s, recogniser=r, **figures) for s, r in PAIRS]
    others = tuple(replace(gain, relation=None) for gain in gains)
    results = replace(
        results, control=SYSTEMS[0], comparisons=tuple(gains), other_comparisons=others
    )
    for figure in drawn(forest, results):
        check(figure, monkeypatch)


@pytest.mark.parametrize("readers", [[""], READERS[:4], ["a", "b", "c", "d", "e"]])
@pytest.mark.parametrize("over_x", [False, True])
@pytest.mark.parametrize("variants", [["1e-4"], [f"{s}, 600 steps against 0" for s in SYSTEMS[:5]]])
def test_names_of_a_study_have_room(drawn, monkeypatch, readers, over_x, variants):
    places = {"x": 2000.0, "x_label": "level of the louder over the softer (dB)"} if over_x else {}
    measure = f"mixtures to which {SYSTEMS[0]} assigns the streams otherwise than SI-SDR"
    rows = [
        StudyRow("lr", variant, 30.0 + number, 20, 60, recogniser=reader, **places)
        for number, variant in enumerate(variants)
        for reader in readers
    ]
    panel = Panel("lr", measure, "%", "dev", places.get("x_label", ""), tuple(rows))
    for figure in drawn(study, panel, 1):
        check(figure, monkeypatch)


def test_names_of_trainings_have_room(drawn, monkeypatch):
    curves = [
        Curve(f"{name}/seed1", tag, (0, 100_000), (1.0, -20_000.0))
        for name in SYSTEMS
        for tag in ("valid/loss", "train/loss", "train/si_sdr")
    ]
    for figure in drawn(training, curves):
        check(figure, monkeypatch)


def test_a_text_breaks_after_spaces_if_it_can():
    pair = f"{SYSTEMS[0]} · {READERS[0]}"
    assert broken(pair, text_width(pair)) == pair
    first, second = broken(pair, text_width(pair) - 0.01).split("\n")
    assert f"{first} {second}" == pair
    for width in (0.3, 1.0, 2.0):
        lines = broken(f"{pair} {'m' * 30}", width)
        assert "".join(lines.split()) == "".join(f"{pair}{'m' * 30}".split())
        assert text_width(lines) <= width
        assert max(text_width(line, size=SIZE) for line in lines.split("\n")) == text_width(lines)
