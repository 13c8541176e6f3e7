import math
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from small_run import SmallRun, make_run

from sepasr.bin.main import main
from sepasr.data.datadir import MixtureDir
from sepasr.data.scp import read_table, write_table
from sepasr.errors import UserError
from sepasr.models import REPOSITORY
from sepasr.report.examples import Gallery, choose
from sepasr.report.page import Sources, cell, find_results, write_page
from sepasr.report.plots import forest
from sepasr.report.svg import BAD, FAINT, GOOD
from sepasr.report.table import sections as table_sections
from sepasr.report.table import verdict
from sepasr.score.normalise import normalise
from sepasr.score.result import Results
from sepasr.score.rows import UtteranceRow, read_rows, write_rows
from sepasr.train.workdir import note_origin

HOSTILE = 'm4"><script>alert(1)<!--'
TEXT = "<script>alert(2)</script> & \"more\" 'words'"


class Elements(HTMLParser):
    """Every start tag with its attributes, and every text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


class Cells(Elements):
    """The rows of a table: the text of each cell, as it reads."""

    def __init__(self, text: str) -> None:
        self.rows: list[list[str]] = []
        self.inside = False
        super().__init__(text)
        self.rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]

    def handle_starttag(self, tag, attrs):
        super().handle_starttag(tag, attrs)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside &= tag not in ("th", "td")

    def handle_data(self, data):
        super().handle_data(data)
        if self.inside:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> SmallRun:
    return make_run(
        tmp_path_factory.mktemp("run"), ["m1", "m2", "m3", HOSTILE], texts=["one two three", TEXT]
    )


def sources(run: SmallRun, **changes) -> Sources:
    results, rows = find_results(run.results)
    return replace(Sources(results, rows, run.exp, run.data, run.studies, 3), **changes)


@pytest.fixture(scope="module")
def page(small, tmp_path_factory) -> Path:
    return write_page(sources(small), tmp_path_factory.mktemp("out") / "page")


@pytest.fixture(scope="module")
def html(page) -> str:
    return page.read_text(encoding="utf-8")


def test_nothing_outside_the_folder_is_asked_for(page, html):
    assert not re.search(r"https?:|[\"'(]//|url\(|@import", html.replace("url(#", ""))
    for tag, attributes in Elements(html).tags:
        for name in ("src", "href", "data", "action", "srcset", "poster"):
            target = attributes.get(name)
            if target and tag != "link" and not target.startswith("#"):
                assert re.fullmatch(r"(audio|spectrograms)/[\w.-]+", target)
                assert (page.parent / target).is_file(), target


def test_names_and_texts_are_escaped(html):
    elements = Elements(html)
    assert len(elements.named("script")) == 1
    assert not re.search(r"<script>alert", html)
    assert any(HOSTILE in text for text in elements.texts)
    assert any(TEXT in text for text in elements.texts)
    assert any(a.get("data-mixture") == HOSTILE for a in elements.named("details"))


def test_ids_are_unique_and_labels_point_to_some(html):
    elements = Elements(html)
    ids = [attributes["id"] for _, attributes in elements.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in elements.tags:
        for name in ("aria-labelledby", "aria-describedby", "for"):
            for target in (attributes.get(name) or "").split():
                assert target in ids, (tag, target)
        if tag == "a":
            assert str(attributes["href"]).removeprefix("#") in ids
    for reference in re.findall(r"url\(#([^)]*)\)", html):
        assert reference in ids


def test_plots_have_title_description_and_text(html):
    plots = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(plots) == 2 * (1 + 2 + 1)  # forest, two studies, training; wide and narrow
    for plot in plots:
        assert re.search(r"<title id=[^>]*>[^<]+</title>\s*<desc id=[^>]*>[^<]+</desc>", plot)
        assert 'role="img"' in plot
        label = re.search(r'aria-labelledby="([^"]*)"', plot)[1]
        assert label.endswith("-title")  # what is read aloud is short
        caption = re.search(r'aria-describedby="([^"]*)"', plot)[1]
        said = re.search(rf'<p id="{caption}">([^<]*)</p>', html)[1]
        assert 20 < len(said) < 500
        assert "<text" in plot
        assert "#0" not in re.sub(r"[(\"]#[\w-]+", "", plot)  # no colour but the page's


def test_every_figure_has_its_provenance(small, html):
    tables = len(table_sections(Results.read(small.results / "results.json")))
    counts = {"figure": ("plot", 4), "details": ("table|example", tables + 3)}
    for part, (names, count) in counts.items():
        pieces = re.findall(rf'<{part} class="(?:{names})".*?</{part}>', html, re.DOTALL)
        assert len(pieces) == count
        for piece in pieces:
            assert 'class="source"' in piece
            assert "Python 3." in piece
    # Sections of the page hold others, so a section is what there is until the next one of them.
    _, *pieces = re.split(r'<section (?:id="\w+" )?aria-labelledby="(\w+)-title">', html)
    found = dict(zip(pieces[::2], pieces[1::2], strict=True))
    expected = ["lead", "gains", "tables", "studies", "training", "examples", "notes"]
    assert list(found) == expected
    for name in expected[:-1]:
        assert 'class="source"' in found[name], name
    header = re.search(r"<header>.*?</header>", html, re.DOTALL)[0]
    for part in ("corpus made-up", "scored with torch 2.0", "page made with Python 3."):
        assert part in header
    assert html.count("commit abc1234 · configuration feed") > 10
    assert "corpus made-up" in html


def test_players_and_pictures_of_every_stream(page, html):
    elements = Elements(html)
    players = elements.named("audio")
    # the mixture, two references, two streams of three trained systems
    assert len(players) == 3 * (1 + 2 + 2 * 3)
    assert all("controls" in player and player["aria-label"] for player in players)
    pictures = elements.named("img")
    assert len(pictures) == len(players)
    assert all(picture["alt"] for picture in pictures)
    assert len(list((page.parent / "audio").iterdir())) == len(players)


def test_si_sdri_is_that_of_the_seed_that_is_heard(small, html):
    rows = read_rows(small.results / "utterances.csv", UtteranceRow)
    values = {(r.system, r.seed, r.mixture): f"{r.si_sdri:+.1f}" for r in rows}
    for example in re.findall(r'<details class="example".*?</details>', html, re.DOTALL):
        mixture = Elements(example).named("details")[0]["data-mixture"]
        found = re.findall(r"<h4>(\w+) <small>seed (\d)</small> <small>SI-SDRi (.*?) dB", example)
        assert found
        for system, seed, value in found:
            assert value == values[system, int(seed), mixture]


def test_marks_of_words_add_up_to_the_rows(small, page, html):
    rows = read_rows(small.results / "utterances.csv", UtteranceRow)
    errors = {(r.system, r.recogniser, r.mixture): r.cp_errors for r in rows if r.seed != 2}
    results = Results.read(small.results / "results.json")
    lines = [line.name for line in results.lines]
    texts = {m.id: m.texts for m in MixtureDir.load(small.data).mixtures}
    shown = re.findall(r'<details class="example".*?</details>', html, re.DOTALL)
    assert len(shown) == 3
    for example in shown:
        mixture = Elements(example).named("details")[0]["data-mixture"]
        parts = re.findall(r'<section class="system".*?</section>', example, re.DOTALL)
        assert [Elements(part).named("section")[0]["data-system"] for part in parts] == lines
        for part in parts:
            system = Elements(part).named("section")[0]["data-system"]
            heard = re.split(r'<div class="heard"', part)[1:]
            assert len(heard) == 2
            for block in heard:
                recogniser = re.search(r'data-recogniser="(\w+)"', block)[1]
                marks = len(re.findall(r'class="w (?:sub|del|ins)"', block))
                assert marks == errors[system, recogniser, mixture]
                said = []
                for reading in re.findall(r'<p class="reading">(.*?)</p>', block, re.DOTALL):
                    _, _, words = reading.partition("</span>")
                    read = re.sub(r'<span class="vh">.*?</span>|<ins>.*?</ins>', " ", words)
                    said.append(" ".join(Elements(read).texts).split())
                assert said == [normalise(text).split() for text in texts[mixture]]


def test_tables_are_those_of_the_report(small, html):
    shown = re.findall(r'<details class="table".*?</details>', html, re.DOTALL)
    expected = table_sections(Results.read(small.results / "results.json"))
    for part, section in zip(map(Cells, shown), expected, strict=True):
        assert section.title in part.texts
        assert part.rows == [list(section.header), *map(list, section.rows)]


def test_the_same_sources_give_the_same_bytes(small, page, tmp_path):
    again = write_page(sources(small), tmp_path / "again")
    files = sorted(path.relative_to(page.parent) for path in page.parent.rglob("*"))
    assert files == sorted(path.relative_to(again.parent) for path in again.parent.rglob("*"))
    for file in files:
        if (page.parent / file).is_file():
            assert (page.parent / file).read_bytes() == (again.parent / file).read_bytes(), file


def test_results_alone_are_enough(small, tmp_path):
    results = tmp_path / "results.json"
    shutil.copy(small.results / "results.json", results)
    assert find_results(tmp_path) == (results, None)
    assert main(["report", "--results", str(results), "-o", str(tmp_path / "page")]) == 0
    text = (tmp_path / "page/index.html").read_text()
    assert 'id="gains"' in text
    assert 'id="examples"' not in text
    assert [path.name for path in (tmp_path / "page").iterdir()] == ["index.html"]


def test_rows_without_audio(small, tmp_path):
    text = write_page(sources(small, exp=None, data=None), tmp_path / "page").read_text()
    assert text.count('class="example"') == 3
    assert "<audio" not in text


def test_an_old_page_is_replaced_whole(small, tmp_path):
    out = tmp_path / "page"
    write_page(sources(small), out)
    write_page(sources(small, rows=None), out)
    assert [path.name for path in out.iterdir()] == ["index.html"]
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


def test_nothing_else_is_overwritten(small, tmp_path):
    (tmp_path / "thesis.tex").write_text("my life")
    with pytest.raises(UserError, match="something else than a page"):
        write_page(sources(small), tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "my life"


def test_a_page_that_fails_leaves_the_old_one(small, page, tmp_path):
    out = tmp_path / "page"
    shutil.copytree(page.parent, out)
    exp = tmp_path / "exp"
    shutil.copytree(small.exp, exp)
    shutil.rmtree(exp / "separate/pretrained")
    with pytest.raises(UserError, match="separate/pretrained: no such folder"):
        write_page(sources(small, exp=exp), out)
    assert (out / "index.html").read_bytes() == page.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exp", "page"]


def test_transcripts_of_another_run_are_refused(small, tmp_path):
    exp = tmp_path / "exp"
    shutil.copytree(small.exp, exp)
    file = exp / "decode/sisdr/seed1/ctc/text_spk1"
    write_table(file, dict.fromkeys(read_table(file), "something else entirely"))
    with pytest.raises(UserError, match="the rows have"):
        write_page(sources(small, exp=exp), tmp_path / "page")


def rows_with(small: SmallRun, extra: dict[str, int]) -> list[UtteranceRow]:
    """The rows of the small run, with so many errors of one system in each mixture."""
    rows = read_rows(small.results / "utterances.csv", UtteranceRow)
    names = dict(zip(sorted({row.mixture for row in rows}), extra.items(), strict=False))
    return [
        replace(row, mixture=names[row.mixture][0], words=10)
        if row.system != "ae_whisper"
        else replace(row, mixture=names[row.mixture][0], words=10, cp_errors=names[row.mixture][1])
        for row in (replace(row, cp_errors=0) for row in rows)
    ]


def test_examples_are_ranked_by_difference(small):
    rows = rows_with(small, {"a": 2, "b": 9, "c": 0, "d": 5})
    results = Results.read(small.results / "results.json")
    choices = choose(rows, results, 9)
    assert [(c.rank, c.mixture, c.why) for c in choices] == [
        (1, "b", "different"),
        (2, "d", "different"),
        (3, "a", "different"),
        (4, "c", "different"),
    ]
    assert choices[0].difference[""] == pytest.approx(0.9)
    assert choices[0].errors["ctc"]["ae_whisper"] == pytest.approx(0.9)


def test_a_third_of_the_examples_is_typical(small):
    rows = [
        UtteranceRow(system, None, recogniser, f"{n:03d}", 100, errors, errors, 1.0, 1.0)
        for n in range(100)
        for system, errors in (("pretrained", n), ("sisdr", 0))
        for recogniser in ("ctc", "whisper_base")
    ]
    results = Results.read(small.results / "results.json")
    choices = choose(rows, results, 9)
    assert [c.rank for c in choices[:6]] == [1, 2, 3, 4, 5, 6]
    assert [c.why for c in choices] == ["different"] * 6 + ["typical"] * 3
    typical = [c.rank for c in choices[6:]]
    assert typical == sorted(typical)
    assert typical[0] < 40 < typical[1] < 65 < typical[2] <= 100


@pytest.mark.parametrize(
    ("text", "main_part", "interval", "badge", "order"),
    [
        ("87.8 [83.9, 91.9]", "87.8", "[83.9, 91.9]", "", 87.8),
        ("55.3 [51.3, 59.7] seen", "55.3", "[51.3, 59.7]", "seen", 55.3),
        ("-0.72 [-1.00, –]", "-0.72", "[-1.00, –]", "", -0.72),
        ("–", "–", "", "", None),
        ("3 of 400", "3 of 400", "", "", 3.0),
        ("0.0123", "0.0123", "", "", 0.0123),
        ("< 0.0001", "< 0.0001", "", "", 0.0001),
        ("1, 2, 3", "1, 2, 3", "", "", None),
        ("3e-5", "3e-5", "", "", 3e-5),
        ("1e+06 [9.5e+05, 1.1e+06]", "1e+06", "[9.5e+05, 1.1e+06]", "", 1e6),
        ("1.2.3", "1.2.3", "", "", None),
        ("2026.11.", "2026.11.", "", "", None),
    ],
)
def test_cells_are_taken_apart(text, main_part, interval, badge, order):
    found = cell(text)
    assert (found.main, found.interval, found.badge, found.order) == (
        *(main_part, interval, badge, order),
    )


def test_forest_marks_primaries_and_says_every_gain(small):
    results = Results.read(small.results / "results.json")
    plot = forest(results)
    for svg in (plot.wide, plot.narrow):
        assert svg.count("Primary: ") == 1
        for c in (*results.comparisons, *results.other_comparisons):
            assert f"{c.system}, {c.recogniser}: {100 * c.relative_gain:+.1f} [" in svg
            relation = c.relation or "no encoder in the loss"
            said = rf"{c.system}, {c.recogniser}: [^%]* %, {verdict(c)}, {relation}\."
            assert re.search(said, svg)
            assert f">{c.system} · {c.recogniser}" in svg


def drawn(monkeypatch, results: Results) -> list[Figure]:
    """The forest in both widths, before it is an SVG."""
    figures: list[Figure] = []
    monkeypatch.setattr("sepasr.report.plots.to_svg", lambda figure, *_: figures.append(figure))
    forest(results)
    return figures


def test_forest_draws_each_gain_and_interval_in_the_colour_of_its_verdict(small, monkeypatch):
    results = Results.read(small.results / "results.json")
    given = [  # low, gain, high, p
        (0.1, 0.2, 0.4, 0.01, GOOD),
        (-0.4, -0.3, -0.1, 0.01, BAD),
        (-0.1, 0.2, 0.4, 0.01, FAINT),
        (0.1, 0.3, 0.4, 0.2, FAINT),
    ]
    names = ("low", "relative_gain", "high", "p")
    comparisons = tuple(
        replace(results.comparisons[0], **dict(zip(names, figures, strict=True)))
        for *figures, _ in given
    )
    results = replace(results, comparisons=comparisons, other_comparisons=())
    for figure in drawn(monkeypatch, results):
        *lines, zero = figure.axes[0].lines
        assert zero.get_xdata() == [0, 0]
        rows = zip(given, lines[::2], lines[1::2], strict=True)
        for (low, gain, high, _, colour), interval, mark in rows:
            assert list(interval.get_xdata()) == pytest.approx([100 * low, 100 * high])
            assert list(mark.get_xdata()) == pytest.approx([100 * gain])
            assert set(interval.get_ydata()) == set(mark.get_ydata())
            assert interval.get_color() == mark.get_markeredgecolor() == colour
            assert (mark.get_markerfacecolor() == colour) == (colour != FAINT)  # else hollow


def test_forest_of_a_single_mixture_has_no_bounds(small, monkeypatch):
    results = Results.read(small.results / "results.json")
    bare = [replace(c, low=math.nan, high=math.nan) for c in results.comparisons]
    results = replace(results, comparisons=tuple(bare), other_comparisons=())
    assert "[–, –]" in forest(results).wide
    for figure in drawn(monkeypatch, results):
        low, high = figure.axes[0].get_xlim()
        assert all(low < 100 * c.relative_gain < high for c in bare)
    assert forest(replace(results, comparisons=(), other_comparisons=())) is None


def test_texts_of_the_forest_do_not_overlap(monkeypatch):
    """With the long names of the committed results."""
    results = Results.read(REPOSITORY / "egs/mini_whamr/results.json")
    for figure in drawn(monkeypatch, results):
        renderer = FigureCanvasAgg(figure).get_renderer()
        boxes = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
        assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
        assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "x"], "--data without --exp"),
        (["--examples", "-1"], "less than 0"),
        (["--studies", "nowhere"], "nowhere: no such folder"),
        (["--exp", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_mistakes_are_told_in_a_line(small, tmp_path, capsys, options, message):
    given = ["report", "--results", str(small.results), "-o", str(tmp_path / "page"), *options]
    assert main(given) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "page").exists()


def test_a_missing_row_table_is_told(small, tmp_path, capsys):
    shutil.copy(small.results / "results.json", tmp_path)
    options = ["--exp", str(small.exp), "--data", str(small.data), "-o", str(tmp_path / "page")]
    assert main(["report", "--results", str(tmp_path), *options]) == 2
    assert "no utterances.csv beside the results" in capsys.readouterr().err


def test_rows_of_other_results_are_refused(small, tmp_path, capsys):
    rows = read_rows(small.results / "utterances.csv", UtteranceRow)
    other = tmp_path / "utterances.csv"
    given = ["report", "--results", str(small.results), "--rows", str(other)]

    def refusal(changed: list[UtteranceRow]) -> str:
        write_rows(other, UtteranceRow, changed)
        assert main([*given, "-o", str(tmp_path / "page")]) == 2
        assert not (tmp_path / "page").exists()
        return capsys.readouterr().err

    last = next(row for row in reversed(rows) if row.system == "sisdr")
    worse = [replace(r, cp_errors=r.cp_errors + 1) if r is last else r for r in rows]
    said = refusal(worse)
    assert f"{other}: " in said
    assert f"of sisdr, seed 2, read by {last.recogniser}" in said
    assert f"where {small.results}/results.json has a cpWER of" in said
    assert "0 errors on 0 words of clean" in refusal([r for r in rows if r.system != "clean"])
    assert main([*given[:3], "-o", str(tmp_path / "page")]) == 0


def test_a_row_that_an_example_lacks_is_told(small, tmp_path):
    data = MixtureDir.load(small.data)
    results = Results.read(small.results / "results.json")
    rows = read_rows(small.results / "utterances.csv", UtteranceRow)
    choice = choose(rows, results, 1)[0]
    some = [r for r in rows if (r.system, r.recogniser) != ("sisdr", "ctc")]
    gallery = Gallery(results, some, data, small.exp, tmp_path / "page")
    with pytest.raises(UserError, match="no row of sisdr, seed 1 by ctc for"):
        gallery.example(choice)


def test_training_curves_have_a_source_of_their_own(small, page, html, tmp_path):
    (part,) = re.findall(r'<section id="training".*?</section>', html, re.DOTALL)
    said = "trainings · commit not stated · configuration not stated · seeds 1, 2 · dev set not"
    assert said in part
    assert "Not shown" not in part
    exp = tmp_path / "exp"
    shutil.copytree(small.exp, exp)
    for place in (exp / "finetune").glob("*/seed*"):
        (place / "config.yaml").write_text("fit: {}\n")
        info = {"set": "cv", "mixtures": 9, "corpus": "made-up", "condition": None}
        note_origin(place, "abcd", info)
    shutil.copytree(exp / "finetune/sisdr/seed1", exp / "finetune/sisdr/seed7")
    shutil.copytree(exp / "finetune/sisdr/seed1", exp / "finetune/other/seed1")
    text = write_page(sources(small, exp=exp), tmp_path / "page").read_text()
    (part,) = re.findall(r'<section id="training".*?</section>', text, re.DOTALL)
    assert re.search(r"commit abcd · configuration [0-9a-f]{12} · seeds 1, 2 · dev set cv, 9", part)
    assert "Not shown, as the results lack them: other/seed1, sisdr/seed7." in part
    assert "sisdr/seed2: from" in part
    assert "seed7: from" not in part
    assert part.count('class="source"') == 1
    assert "commit abc1234" not in part


def test_rows_of_other_systems_are_not_shown(small, tmp_path):
    rows = read_rows(small.results / "utterances.csv", UtteranceRow)
    extra = [replace(row, system="foreign") for row in rows if row.system == "pretrained"]
    write_rows(tmp_path / "utterances.csv", UtteranceRow, [*rows, *extra])
    text = write_page(
        sources(small, rows=tmp_path / "utterances.csv"), tmp_path / "page"
    ).read_text()
    assert "foreign" not in text
