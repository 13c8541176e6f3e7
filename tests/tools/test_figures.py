"""Figures of pages: taken from one row, traced to the rows per mixture, and found when changed."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

import pytest

from sepasr.errors import UserError
from sepasr.models import REPOSITORY
from sepasr.report.figure_text import figure_text
from sepasr.report.figures import read_mark, render
from sepasr.report.marks import Mark, find_marks
from sepasr.report.table import markdown, sections
from sepasr.score.multiple import holm
from sepasr.score.result import RecogniserInfo, Results, Run, SystemInfo
from sepasr.score.rows import GuardRow, MeasureRow, Scores, UtteranceRow, write_rows
from sepasr.score.summary import summarise
from sepasr.study.config import Variant
from sepasr.study.facts import Facts
from sepasr.study.rows import FAMILY_MEAN, StudyRow, write_study
from sepasr.study.summary import summarise_study

ROOT = Path(__file__).resolve().parents[2]
READERS = (
    RecogniserInfo("tiny", "whisper", "whisper-tiny"),
    RecogniserInfo("base", "whisper", "whisper-base"),
    RecogniserInfo("mini", "wav2vec2", "mini"),
)
MIXTURES = [f"m{n:02}" for n in range(12)]
VARIANTS = [
    Variant("start", "start"),
    Variant("sisdr", "sisdr"),
    Variant("whisper", encoders=["tiny"]),
    Variant("graph", encoders=["tiny"], against="whisper"),
]
ERRORS = {"start": 8, "sisdr": 6, "whisper": 3, "graph": 2}
SIGNALS = (5.0, 7.25, 2.0, 0.8, 0.7, math.nan)


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("figures_tool", ROOT / "tools" / "figures.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOOL = load()


def errors_of(name: str, seed: int | None, reader: str, mixture: int) -> int:
    """One more in every other mixture, with Whisper base and with the second seed."""
    return ERRORS[name] + mixture % 2 + (reader == "base") + (seed == 2)


def study_rows() -> list[StudyRow]:
    places = [("cv", (0,), (100, 300)), ("tt", (1, 2), (300,))]
    return [
        StudyRow(
            variant.name, steps, seed, name, reader.name, mixture, 10,
            errors_of(variant.name, seed, reader.name, number), 1, *SIGNALS,
        )
        for name, seeds, all_steps in places
        for variant in VARIANTS
        for steps in (all_steps if variant.trained else (0,))
        for seed in (seeds if variant.trained else (None,))
        for reader in READERS
        for number, mixture in enumerate(MIXTURES)
    ]  # fmt: skip


def write_small_study(out: Path) -> None:
    facts = Facts(
        study="small",
        order=tuple(v.name for v in VARIANTS),
        against={v.name: v.against or "sisdr" for v in VARIANTS},
        encoders={v.name: () for v in VARIANTS},
        recognisers=READERS,
    )
    rows = study_rows()
    write_study(out, "small", rows, summarise_study(rows, facts))
    record = {
        "question": "Does it help?",
        "control": "sisdr",
        "command": "sepasr study small",
        "commit": "abc123",
        "read_at": ["def456", "fed789"],
        "date": "2026-12-01",
        "sets": {name: {"mixtures": len(MIXTURES)} for name in ("cv", "tt")},
        "recognisers": [asdict(reader) for reader in READERS],
        "variants": {v.name: {**asdict(v), "encoders": []} for v in VARIANTS},
        "rule": {"set": "tt"},
    }
    (out / "small.json").write_text(json.dumps(record))


def stoi_of(system: str) -> float:
    return 0.85 if system == "whisper" else 0.8


def write_table(folder: Path) -> None:
    """Two systems of two seeds, and the mixture."""
    systems = [SystemInfo("mixture", "")]
    systems += [SystemInfo("sisdr", "", seed=seed, steps=300) for seed in (1, 2)]
    encoder = {"encoder": "tiny", "encoder_family": "whisper", "encoder_weights": "whisper-tiny"}
    systems += [SystemInfo("whisper", "", **encoder, seed=seed, steps=300) for seed in (1, 2)]
    rows = [
        UtteranceRow(
            x.name, x.seed, reader.name, mixture, 10,
            9 if x.seed is None else errors_of(x.name, x.seed, reader.name, n), 1, 5.0 + n, 7.0 + n,
        )
        for x in systems
        for reader in READERS
        for n, mixture in enumerate(MIXTURES)
    ]  # fmt: skip
    measures = {
        (r.system, r.seed, r.mixture): MeasureRow(
            r.system, r.seed, r.mixture, r.si_sdr, r.si_sdri, 1.5,
            stoi_of(r.system), 0.7, 4.0,
        )
        for r in rows
    }  # fmt: skip
    scores = Scores(tuple(rows), tuple(measures.values()), ())
    run = Run("small", "abc123", "4cfe", "2026-12-01", (1, 2), 16000, "max", "anechoic", 12, 2)
    results = summarise(scores, systems, READERS, run)
    results.write(folder / "results.json")
    write_rows(folder / "results" / "utterances.csv", UtteranceRow, rows)
    (folder / "RESULTS.md").write_text(markdown(results))


def write_analyses(out: Path) -> None:
    from sepasr.study.config import Difficulty
    from sepasr.study.correlation import CorrelationRow, MeasuredRow, correlations
    from sepasr.study.difficulty import Conditions, DifficultyRow, difficulty_table
    from sepasr.study.permutations import ChoiceRow, PermutationRow, permutation_table

    screen = [row for row in study_rows() if row.set == "cv"]
    measured = [
        MeasuredRow(r.variant, r.steps, r.seed, r.set, "tiny layer=2", r.mixture, r.cp_errors + k)
        for k, r in enumerate(screen)
        if r.recogniser == "mini" and r.steps
    ]
    names = ["pesq", "tiny layer=2"]
    write_rows(out / "small_measures.csv", MeasuredRow, measured)
    table = correlations(screen, measured, names)
    write_rows(out / "small_correlations.csv", CorrelationRow, table)
    place = ("whisper", 300, 0, "cv", "tiny")
    choices = [
        ChoiceRow(*place, mixture, "f+m" if n < 8 else "f+f", int(n in (3, 9, 11)))
        for n, mixture in enumerate(MIXTURES)
    ]
    write_rows(out / "small_choices.csv", ChoiceRow, choices)
    write_rows(out / "small_permutations.csv", PermutationRow, permutation_table(choices))
    conditions = [
        Conditions(mixture, 8.0 + n, math.nan, 0.5 + n % 5 / 10, math.nan, math.nan)
        for n, mixture in enumerate(MIXTURES)
    ]
    rows = TOOL.open_source(out.parent, "table")._kept
    asked = Difficulty("tt", ["sisdr", "whisper"], ["tiny", "mini"], 2)
    found = difficulty_table("hard", asked, [at.row for at in rows], conditions)
    write_rows(out / "hard_conditions.csv", Conditions, conditions)
    write_rows(out / "hard.csv", DifficultyRow, found)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("egs")
    (folder / "results").mkdir()
    write_table(folder)
    write_small_study(folder / "results")
    write_analyses(folder / "results")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    for path in made.rglob("*.*"):
        if path.is_file():
            copy = tmp_path / path.relative_to(made)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes())
    return tmp_path


Filled = Callable[[str], str]


@pytest.fixture
def filled(made: Path) -> Filled:
    """A page with its figures."""
    return lambda text: render(Path("page.md"), text, TOOL.opener(made))


@pytest.mark.parametrize(
    ("fields", "column", "text"),
    [
        ({"cpwer": 0.6804}, "cpwer", "68.0 %"),
        ({"cpwer": 0.6804, "cpwer_low": 0.6, "cpwer_high": 0.7}, "cpwer", "68.0 %"),
        (
            {"cpwer": 0.6804, "cpwer_low": 0.6, "cpwer_high": 0.7},
            "cpwer.interval",
            "68.0 % [60.0, 70.0]",
        ),
        ({"gain": 0.083, "gain_low": -0.01, "gain_high": 0.2}, "gain", "+8.3 % [-1.0, +20.0]"),
        ({"gain": -0.083, "gain_low": -0.1, "gain_high": 0.2}, "gain.value", "-8.3 %"),
        ({"p": 0.00083}, "p", "p = 0.0008"),
        ({"p_holm": 1.0}, "p_holm", "p = 1.0000 (Holm)"),
        ({"p": 1 / 10_001}, "p", "p < 0.0001"),
        ({"si_sdri": 7.256}, "si_sdri", "7.26 dB"),
        ({"stoi": 0.8364}, "stoi", "0.836"),
        ({"words": 3300.0}, "words", "3300"),
        ({"gain": math.nan}, "gain", "–"),
        ({"against_steps": None}, "against_steps", "–"),
        (
            {"correlation": 0.5, "correlation_low": -0.25, "correlation_high": math.nan},
            "correlation",
            "+0.50 [-0.25, –]",
        ),
    ],
)
def test_how_a_figure_is_written(fields: dict, column: str, text: str) -> None:
    assert figure_text(fields, column) == text
    bare = text.split(" (")[0].replace("p = ", "").replace("p <", "<")
    assert figure_text(fields, column, bare=True) == bare.replace(" %", "").replace(" dB", "")


@pytest.mark.parametrize(
    ("mark", "text"),
    [
        # Of two seeds the average: 6.5 and 7.5 errors of 10 words.
        ("small variant=sisdr set=tt recogniser=tiny cpwer", "70.0 %"),
        ("small variant=sisdr set=tt recogniser=tiny seed=1 cpwer", "65.0 %"),
        ("small variant=start set=tt recogniser=base cpwer", "95.0 %"),
        ("small variant=whisper set=tt recogniser=tiny gain.value", "+42.9 %"),
        ("small variant=whisper steps=100 recogniser=mini si_sdri", "7.25 dB"),
        ("small variant=whisper set=tt recogniser=tiny cpwer mixtures seeds", "40.0 %, 12, 2"),
        ("small commit", "abc123"),
        ("table mixtures", "12"),
        ("table seeds", "1, 2"),
        ("table system=sisdr recogniser=tiny cpwer", "70.0 %"),
        ("table system=whisper recogniser=tiny gain.value", "+42.9 %"),
        ("table system=mixture recogniser=base si_sdr", "10.50 dB"),
        ("table system=whisper recogniser=mini stoi_difference", "+0.050 [+0.050, +0.050]"),
        ("table system=whisper recogniser=mini si_sdr_difference.value", "+0.00 dB"),
        ("small_permutations kind=f+m differ", "12.5 % [0.3, 52.7]"),
        ("small_permutations kind=all differ.value", "25.0 %"),
        # The first half of the mixtures: 6.5 errors with each of both seeds' extra half.
        ("hard system=sisdr recogniser=mini condition=snr_db bin=1 cpwer", "70.0 %"),
        ("hard system=sisdr recogniser=mini condition=snr_db bin=2 mixtures", "6"),
    ],
)
def test_a_figure_is_taken_from_its_row(filled: Filled, mark: str, text: str) -> None:
    before, after = f"It is <!--fig: {mark}-->", "<!--/fig-->.\n"
    assert filled(f"{before}old{after}") == f"{before}{text}{after}"


def test_a_mark_may_go_over_lines_and_quote_a_name_with_spaces(filled: Filled) -> None:
    mark = "<!--fig: small_correlations measure='tiny layer=2'\n kind=mixtures recogniser=mini\n"
    text = filled(f"It is {mark}correlation.value-->?<!--/fig--> here.")
    assert text.endswith("<!--/fig--> here.")
    assert text.partition("-->")[2][0] in "+-"


def test_the_table_of_a_study(filled: Filled, made: Path) -> None:
    mark = "<!-- table: small set=tt recogniser=mini,tiny -->"
    lines = filled(f"a\n\n{mark}\nold\n<!-- end -->\nb\n").splitlines()
    assert lines[:3] == ["a", "", mark]
    assert lines[3] == (
        "| variant | steps | cpWER (%) mini | cpWER (%) tiny | gain, mean over families (%) "
        "| p (Holm) | SI-SDRi (dB) |"
    )
    assert lines[4] == "|---|---|---:|---:|---:|---:|---:|"
    assert lines[6] == "| sisdr | 300 | 70.0 | 70.0 | – | – | 7.25 |"
    cells = [line.strip("| ").split(" | ") for line in lines[5:9]]
    assert [c[0] for c in cells] == [
        "start, against sisdr, 300 steps", "sisdr", "whisper, against sisdr",
        "graph, against whisper",
    ]  # fmt: skip
    # Three comparisons by the mean over families.
    source = TOOL.open_source(made, "small")
    p = [
        r.fields["p"]
        for r in source.records
        if r.fields["set"] == "tt" and r.fields["recogniser"] == FAMILY_MEAN and r.fields["against"]
    ]
    assert [c[5] for c in (cells[0], cells[2], cells[3])] == [f"{x:.4f}" for x in holm_of(p)]
    assert lines[9] == ""
    assert lines[10] == (
        f"`{made}/results/small.csv`: commit abc123 · read at commit def456, fed789 · seeds 1, 2 · "
        "mixtures: 12 of tt · p (Holm) over 3 comparisons of tt"
    )
    assert lines[11:] == ["<!-- end -->", "b"]


def test_p_of_a_table_is_corrected_apart_for_primaries_and_all_others() -> None:
    source = TOOL.open_source(REPOSITORY / "egs/mini_whamr", "table")
    comparisons = source.results.comparisons + source.results.other_comparisons
    primary = {(c.system, c.recogniser): c.primary for c in comparisons}
    for group in (True, False):
        rows = [
            r.fields
            for r in source.records
            if r.fields["against"] and primary[r.fields["system"], r.fields["recogniser"]] == group
        ]
        assert [r["p_holm"] for r in rows] == pytest.approx(holm_of([r["p"] for r in rows]))
    assert {True, False} <= set(primary.values())


def holm_of(p: list[float]) -> list[float]:
    import numpy as np

    return [float(x) for x in holm(np.array(p))]


def test_one_control_is_named_in_the_header(filled: Filled) -> None:
    text = filled("<!-- table: small set=cv steps=100 variant=whisper,sisdr -->\n<!-- end -->\n")
    header, _, *rows = text.splitlines()[1:5]
    assert header.startswith("| variant | steps | cpWER (%) tiny | cpWER (%) base |")
    assert "| gain over sisdr, mean over families (%) |" in header
    assert [row.split(" | ")[0] for row in rows] == ["| sisdr", "| whisper"]


def test_the_table_of_a_run_is_that_of_its_report(filled: Filled, made: Path) -> None:
    results = Results.read(made / "results.json")
    text = filled("<!-- table: table -->\n<!-- end -->\n")
    cells = [line.strip("| ").split(" | ") for line in text.splitlines()[1:-1]]
    section = sections(results)[0]
    assert cells[0] == [*section.header]
    # The report also says what each recogniser is to the loss.
    assert cells[2:] == [[cell.split("] ")[0].rstrip("]") + "]" * ("[" in cell) for cell in row]
                         for row in section.rows]  # fmt: skip
    gains = filled("<!-- table: table gain -->\n<!-- end -->\n").splitlines()
    assert [line.split(" | ")[0] for line in gains[3:-1]] == ["| whisper"]


@pytest.mark.parametrize(
    ("mark", "header", "first"),
    [
        (
            "small_correlations kind=systems",
            "| measure | tiny | base | mini |",
            "| tiny layer=2 |",
        ),
        (
            "small_permutations",
            "| variant | steps | encoder | all | f+f | f+m |",
            "| whisper | 300 |",
        ),
        (
            "hard recogniser=mini",
            "| system | speech over noise (dB) | both speak (share of the time) |",
            "| sisdr |",
        ),
        (
            "hard recogniser=mini condition=snr_db cpwer",
            "| system | 8 to 13 | 14 to 19 |",
            "| sisdr | 70.0 | 70.0 |",
        ),
    ],
)
def test_tables_of_analyses(filled: Filled, mark: str, header: str, first: str) -> None:
    lines = filled(f"<!-- table: {mark} -->\n<!-- end -->\n").splitlines()
    assert lines[1] == header
    assert lines[3].startswith(first)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a <!--fig: other variant=a gain-->", "results/other.csv: no such file .*--study other"),
        ("a <!--fig: small_measures gain-->", "--study small_measures"),
        ("a <!--fig: table/far mixtures-->", r"results/far/results.json: no such .*\./run.sh"),
        ("a <!--fig: small variant=non set=tt recogniser=tiny gain-->",
         "'small variant=non .*meets no row .*there are variant=start steps=0 .*set=tt"),
        ("a <!--fig: small variant=sisdr recogniser=tiny cpwer-->",
         "meets 3 rows .*steps=100 seed=0 set=cv.*steps=300 seed=0.*steps=300 seed= set=tt"),
        ("a <!--fig: small cpwer-->", "meets .* rows .*; [0-9]+ more"),
        ("a <!--fig: small varint=sisdr cpwer-->", "asks for 'varint' .*variant, steps"),
        ("a <!--fig: small variant=sisdr wer-->", "asks for 'wer'"),
        ("a <!--fig: small variant=sisdr si_sdr.interval-->", "asks for 'si_sdr.interval'"),
        ("a <!--fig: small variant=sisdr set=tt recogniser=tiny gain-->", "is undefined"),
        ("a <!--fig: small variant=sisdr-->", "names no column"),
        ("a <!--fig: small 'variant=sisdr-->", "is no SOURCE"),
        ("<!--fig: small commit-->", "begins its line"),
        ("- <!--fig: small commit-->", "begins its line"),
    ],
)  # fmt: skip
def test_a_mark_that_does_not_meet_one_row_is_refused(
    filled: Filled, text: str, message: str
) -> None:
    with pytest.raises(UserError, match=f"^page.md:3: .*{message}"):
        filled(f"a\n\n{text}?<!--/fig-->\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- table: small -->\n<!-- end -->", "meets the sets cv, tt .*set=cv"),
        ("<!-- table: small set=tt recogniser=none -->\n<!-- end -->", "meets no recogniser"),
        ("<!-- table: small set=tt gain -->\n<!-- end -->", "another column than cpwer"),
        ("<!-- table: small_correlations -->\n<!-- end -->", "meets 2 rows .*kind=mixtures"),
        ("<!-- table: small -->\n| a |", "not closed"),
        ("<!-- table: small -->\n<!-- table: small -->\n<!-- end -->", "within another"),
        ("a <!--fig: small commit-->abc", "not closed"),
        ("a <!-- table: small -->\n<!-- end -->", "not on a line of its own"),
    ],
)
def test_tables_and_marks_that_are_refused(filled: Filled, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        filled(f"{text}\n")


PAGE = """# Page

It saves <!--fig: small variant=whisper set=tt recogniser=family_mean gain p_holm-->?<!--/fig--> and
reads <!--fig: table system=whisper recogniser=mini cpwer.interval-->?<!--/fig--> at
commit <!--fig: small commit-->?<!--/fig-->.

<!-- table: small set=cv -->
<!-- end -->

<!-- table: table -->
<!-- end -->

<!-- table: small_correlations kind=mixtures -->
<!-- end -->

<!-- table: hard recogniser=tiny -->
<!-- end -->

<!-- table: hard condition=overlap recogniser=mini cpwer.interval -->
<!-- end -->
"""


def test_every_figure_comes_from_its_rows(made: Path) -> None:
    sources = TOOL.opener(made)
    for mark in find_marks(Path("page.md"), PAGE):
        _, figures = read_mark(mark, sources)
        for figure in figures:
            assert figure.recomputed() == figure.text(), (mark.words, figure.record.place)
            assert figure.is_stated or figure.rows()


def test_pages_are_renewed_and_a_changed_digit_is_found(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = folder / "page.md"
    page.write_text(PAGE)
    arguments = [str(page), "--folder", str(folder)]
    assert TOOL.main(["--check", *arguments]) == 1
    assert TOOL.main(["--write", *arguments]) == 0
    written = page.read_text()
    assert "?" not in written
    capsys.readouterr()
    assert TOOL.main(["--check", *arguments]) == 0
    assert capsys.readouterr().out == ""
    lines = written.splitlines()
    number = next(n for n, line in enumerate(lines, 1) if line.startswith("| sisdr | 300 | 65.0"))
    page.write_text(written.replace("| sisdr | 300 | 65.0", "| sisdr | 300 | 64.0"))
    assert TOOL.main(["--check", *arguments]) == 1
    assert f"page.md:{number}: is       | sisdr | 300 | 64.0" in capsys.readouterr().out
    TOOL.main(["--write", *arguments])
    assert page.read_text() == written
    rows = folder / "results" / "small.csv"
    rows.write_text(rows.read_text().replace(",0.75,", ",0.74,"))
    assert TOOL.main(["--check", *arguments]) == 1


def test_rows_of_a_line_are_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = folder / "page.md"
    page.write_text(PAGE)
    TOOL.main(["--write", str(page), "--folder", str(folder)])
    capsys.readouterr()

    def shown(line: int) -> str:
        assert TOOL.main(["--rows", f"{page}:{line}", "--folder", str(folder)]) == 0
        return capsys.readouterr().out

    text = shown(4)
    assert "mark: table system=whisper recogniser=mini cpwer.interval" in text
    assert "results.json: systems[" in text
    # 3 or 4 errors with the first seed, one more with the second, in 12 mixtures of 10 words.
    assert "sum: system=whisper seed=1 recogniser=mini: 42 errors of cpWER, 12 of" in text
    assert "sum: system=whisper seed=2 recogniser=mini: 54 errors of cpWER" in text
    lines = (folder / "results" / "utterances.csv").read_text().splitlines()
    places = [line for line in text.splitlines() if "utterances.csv:" in line]
    assert len(places) == 24
    for place in places:
        where, values = place.split(": ")
        cells = [pair.split("=")[1] for pair in values.split()]
        assert ",".join(cells) == lines[int(where.rpartition(":")[2]) - 1]
    assert "computed again from these rows: 40.0 % [" in text
    assert text.rstrip().endswith(": agrees")
    # A gain needs the control's rows: two variants, two seeds, three readers.
    gain = shown(3)
    assert gain.count("small_utterances.csv:") == 2 * 2 * 3 * 12
    assert "small.csv:" in gain
    assert "commit = abc123" in shown(5)
    # A line of a table shows its own figures, its first line all of them.
    table = page.read_text().splitlines()
    start = table.index("<!-- table: small set=cv -->") + 1
    assert shown(start + 3).count("  mark:") == 3 + 3
    assert shown(start).count("  mark:") == 7 * 6
    with pytest.raises(UserError, match=r"page.md:1: no figure"):
        TOOL.main(["--rows", f"{page}:1", "--folder", str(folder)])


def test_rows_that_give_another_figure_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = folder / "page.md"
    page.write_text("A <!--fig: small variant=sisdr set=tt recogniser=tiny cpwer-->?<!--/fig-->\n")
    rows = folder / "results" / "small_utterances.csv"
    rows.write_text(
        rows.read_text().replace("sisdr,300,1,tt,tiny,m00,10,6", "sisdr,300,1,tt,tiny,m00,10,9")
    )
    assert TOOL.main(["--rows", f"{page}:1", "--folder", str(folder)]) == 1
    assert "computed again from these rows: 71.2 %: DIFFERS" in capsys.readouterr().out


def test_a_signal_measure_is_traced_where_its_rows_are(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = folder / "page.md"
    mark = "<!--fig: table system=whisper recogniser=mini stoi{}--><!--/fig-->"
    page.write_text(f"It is {mark.format('')}.\nMore: {mark.format('_difference')}.\n")
    TOOL.main(["--write", str(page), "--folder", str(folder)])

    def traced(line: int) -> tuple[int, str]:
        status = TOOL.main(["--rows", f"{page}:{line}", "--folder", str(folder)])
        return status, capsys.readouterr().out

    status, said = traced(1)  # utterances.csv has SI-SDR alone
    assert status == 1
    assert "DIFFERS" in said
    write_measures(folder, more=0.0)
    status, said = traced(1)
    assert status == 0
    assert said.count("measures.csv:") == 24
    assert "0.850: agrees" in said
    status, said = traced(2)
    assert status == 0
    assert said.count("measures.csv:") == 48  # and the control's
    assert "+0.050 [+0.050, +0.050]: agrees" in said


def test_the_report_is_checked_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(TOOL, "pages", list)
    arguments = ["--check", "--folder", str(folder)]
    assert TOOL.main(arguments) == 0
    report = folder / "RESULTS.md"
    text = report.read_text()
    report.write_text(text.replace("| sisdr | 70.0", "| sisdr | 71.0"))
    assert TOOL.main(arguments) == 1
    assert "RESULTS.md:" in capsys.readouterr().out
    assert TOOL.main(["--write", "--folder", str(folder)]) == 0
    assert report.read_text() == text
    rows = folder / "results" / "utterances.csv"
    rows.write_text(rows.read_text().replace("sisdr,1,tiny,m00,10,6", "sisdr,1,tiny,m00,10,9"))
    assert TOOL.main(arguments) == 1
    assert "cpwer is 70.0 % [" in capsys.readouterr().out


Checked = Callable[[], tuple[int, str]]


@pytest.fixture
def checked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Checked:
    """Renew the pages of the folder and check them: the status, and what is said."""
    monkeypatch.setattr(TOOL, "pages", list)

    def check() -> tuple[int, str]:
        TOOL.main(["--write", "--folder", str(folder)])
        capsys.readouterr()
        return TOOL.main(["--check", "--folder", str(folder)]), capsys.readouterr().out

    return check


def write_measures(folder: Path, more: float) -> None:
    """Rows that the results were made from, but for STOI, which was so much less."""
    rows = [
        MeasureRow(
            r.system, r.seed, r.mixture, r.si_sdr, r.si_sdri, 1.5,
            stoi_of(r.system) + more, 0.7, 4.0,
        )
        for r in (at.row for at in TOOL.open_source(folder, "table")._kept)
        if r.recogniser == "tiny"
    ]  # fmt: skip
    write_rows(folder / "results" / "measures.csv", MeasureRow, rows)


def test_what_no_rows_give_is_listed(folder: Path, checked: Checked) -> None:
    status, said = checked()
    assert status == 0
    for part in ("PESQ (wb), STOI, ESTOI, SRMR", "hits of the hallucination guard", "the control"):
        assert f"not computed again: {part}" in said
    assert said.count("not computed again: ") == 4
    write_measures(folder, more=0.0)
    write_rows(folder / "results" / "guard.csv", GuardRow, [])
    (folder / "conf").mkdir()
    (folder / "conf" / "table.yaml").write_text("control: sisdr\n")
    status, said = checked()
    assert status == 0
    assert said.count("not computed again: ") == 1


def test_tables_of_other_test_sets_are_checked_too(folder: Path, checked: Checked) -> None:
    part = folder / "results" / "other"
    write_table(part)
    shutil.move(part / "results" / "utterances.csv", part)
    assert checked()[0] == 0
    rows = part / "utterances.csv"
    rows.write_text(rows.read_text().replace("sisdr,1,tiny,m00,10,6", "sisdr,1,tiny,m00,10,9"))
    status, said = checked()
    assert status == 1
    assert "other/results.json: systems" in said
    (part / "RESULTS.md").write_text("Other.")
    TOOL.main(["--write", "--folder", str(folder)])
    assert (part / "RESULTS.md").read_text().startswith("# Results")


def test_rows_that_are_there_must_agree(folder: Path, checked: Checked) -> None:
    results = folder / "results"
    write_measures(folder, more=0.1)
    status, said = checked()
    assert status == 1
    assert "systems[0]: stoi is 0.800 [0.800, 0.800], its rows give 0.900 [" in said
    assert "pesq is" not in said
    (results / "measures.csv").unlink()
    hit = GuardRow("sisdr", 1, "tiny", "m00", 2, "length")
    write_rows(results / "guard.csv", GuardRow, [hit])
    status, said = checked()
    assert status == 1
    assert "tiny: guard_hits is 0 of 48, its rows give 1 of 48" in said
    (results / "guard.csv").unlink()
    assert checked()[0] == 0


def test_primary_comparisons_are_those_of_the_settings(folder: Path, checked: Checked) -> None:
    (folder / "conf").mkdir()
    table = folder / "conf" / "table.yaml"
    table.write_text("control: sisdr\nprimary:\n  - {system: whisper, recogniser: mini}\n")
    status, said = checked()
    assert status == 1
    assert "comparison of whisper by mini: primary is False, table.yaml says True" in said
    table.write_text("control: whisper\n")
    assert "control: name is sisdr, table.yaml says whisper" in checked()[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x["measure_differences"][0].update(p=0.5), "measure_differences of whisper"),
        (lambda x: x["measure_differences"].pop(0), "not there, its rows give"),
        (lambda x: x["systems"][1]["wer"]["tiny"]["orcwer"].update(high=0.9), "orcwer is 10.0 %"),
        (lambda x: x["systems"][1].update(seeds=[1, 3]), "name, seed and seeds"),
        (lambda x: x["comparisons"][0].update(low=0.0), "by tiny: gain is"),
        (lambda x: x["comparisons"][0].update(relation="kin"), "relation is kin"),
        (lambda x: x.update(seeds=[1, 2, 3]), "seeds: of all systems is"),
    ],
)
def test_every_value_of_results_is_checked(
    folder: Path, checked: Checked, change: Callable[[dict], object], message: str
) -> None:
    path = folder / "results.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    status, said = checked()
    assert status == 1
    assert message in said


def test_mistakes_in_calling_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        TOOL.main(["--rows", "README.md:5", "docs/other.md"])
    assert "docs/other.md" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"no such page .*name a Markdown file"):
        TOOL.main(["--check", str(tmp_path / "none.md")])


@pytest.mark.slow
def test_what_a_study_has_left_is_a_source(
    data_dirs: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "tests" / "study"), *sys.path])
    import small_study

    from sepasr.study.config import Correlation
    from sepasr.study.correlation import correlate
    from sepasr.study.runner import Runner

    monkeypatch.setattr("sepasr.score.measures.measure", small_study.quick_measures)
    place = replace(small_study.make_place(tmp_path, data_dirs), out=tmp_path / "results")
    study = small_study.make_study(tmp_path)
    pretended, ear = small_study.Pretended(), small_study.Ear
    runner = Runner("ran", study, place, train=pretended, reader_of=ear)
    results = runner.run()
    correlate(runner, Correlation(["si_sdr"]))
    source = TOOL.open_source(tmp_path, "ran")
    assert repr(source.facts) == repr(runner.facts)
    assert len(source.records) == len(results)
    for record in source.records:
        assert repr(source.recompute(record)) == repr(record)
    # The finals are not among what was correlated.
    correlations = TOOL.open_source(tmp_path, "ran_correlations")
    for record in correlations.records:
        assert repr(correlations.recompute(record)) == repr(record)
    table = "<!-- table: ran set=tt -->\n<!-- end -->\n"
    text = render(Path("page.md"), table, TOOL.opener(tmp_path))
    commits = {key: ", ".join(source.record[key]) for key in ("trained_at", "read_at")}
    assert (
        f"commit {source.record['commit']} · trained at commit {commits['trained_at']} · read at "
        f"commit {commits['read_at']} · seeds 1, 2 · mixtures: 5 of tt"
    ) in text


def takes_seconds(mark: Mark) -> bool:
    ranks = mark.source.endswith(("difficulty", "_correlations"))
    return ranks or (mark.is_table and mark.source.partition("/")[0] != "table")


COMMITTED = [
    pytest.param(mark, id=f"{page.name}:{mark.line}:{mark.words}", marks=slow)
    for page in TOOL.pages()
    for mark in find_marks(page, page.read_text(encoding="utf-8"))
    # Whole tables of studies take seconds, as do intervals of ranks.
    for slow in [[pytest.mark.slow] if takes_seconds(mark) else []]
]
SOURCES = TOOL.opener(TOOL.FOLDER)


@pytest.mark.slow
def test_committed_figures_are_those_of_the_committed_rows() -> None:
    assert COMMITTED
    assert TOOL.main(["--check"]) == 0


@pytest.mark.parametrize("mark", COMMITTED)
def test_a_committed_figure_leads_to_its_rows(mark: Mark) -> None:
    for figure in read_mark(mark, SOURCES)[1]:
        assert figure.recomputed() == figure.text()
        assert figure.rows() or figure.is_stated
