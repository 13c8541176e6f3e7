import json
import math
from dataclasses import fields, replace

import pytest
from matplotlib.figure import Figure

from sepasr.errors import UserError
from sepasr.report.curves import Curve
from sepasr.report.plots import training
from sepasr.report.studies import StudyRow, read_studies, read_study
from sepasr.report.study_plots import studies, study
from sepasr.report.svg import MARKERS
from sepasr.study.conditions import LABELS
from sepasr.study.rows import FAMILY_MEAN, StudyResult, write_study


def write(folder, text: str, name: str = "rate"):
    path = folder / f"{name}.csv"
    path.write_text(text)
    return path


def test_only_variant_and_value_must_be_there(tmp_path):
    rows = read_study(write(tmp_path, "value,note,variant\n3.5,whatever,slow\n,,later\n"))
    assert len(rows) == 1
    (row,) = rows
    assert (row.study, row.variant, row.value, row.seed) == ("rate", "slow", 3.5, None)
    assert math.isnan(row.low)
    assert math.isnan(row.x)


def test_all_columns(tmp_path):
    text = (
        "study,variant,measure,value,low,high,unit,x,x_label,seed,set,recogniser,family,relation\n"
        "lr,a,cpWER,1,0.5,2,%,10,steps,3,dev,base,whisper,kin\n"
    )
    (row,) = read_study(write(tmp_path, text))
    assert row == StudyRow(
        *("lr", "a", 1.0, 0.5, 2.0, "cpWER", "%", 10.0, "steps", 3),
        *("dev", "base", "whisper", "kin"),
    )


def test_tables_of_other_things_are_passed_over(tmp_path):
    write(tmp_path, "system,seed,words\nsisdr,1,17\n", "utterances")
    write(tmp_path, "variant,value\na,1\n")
    assert [panel.study for panel in read_studies(tmp_path)] == ["rate"]


def test_values_of_single_mixtures_are_passed_over(tmp_path):
    write(tmp_path, "variant,measure,mixture,value\na,dnsmos,m1,3.1\na,dnsmos,m2,2.9\n")
    assert read_studies(tmp_path) == []


@pytest.mark.parametrize("line", ["a,x", "a,1,later"])
def test_a_bad_number_is_named(tmp_path, line):
    with pytest.raises(UserError, match=r"rate\.csv:2"):
        read_study(write(tmp_path, f"variant,value,low\n{line}\n"))


def test_a_figure_that_is_there_twice_is_named(tmp_path):
    text = "variant,value,layer\na,1,6\na,2,9\n"
    with pytest.raises(UserError, match=r"rate\.csv:3: a second figure of 'a'"):
        read_study(write(tmp_path, text))


def test_measures_and_sets_have_plots_of_their_own(tmp_path):
    text = "variant,measure,set,value\na,cpWER,dev,1\nb,cpWER,dev,2\na,STOI,dev,3\na,cpWER,test,4\n"
    write(tmp_path, text)
    panels = read_studies(tmp_path)
    assert [(p.measure, p.set, len(p.rows)) for p in panels] == [
        ("cpWER", "dev", 2),
        ("STOI", "dev", 1),
        ("cpWER", "test", 1),
    ]


@pytest.mark.parametrize("places", [("", ""), ("0", "100")])
def test_a_plot_says_every_figure_in_words(tmp_path, places):
    rows = "".join(f"fixed,41.{n},40,{n},{x},steps,%\n" for n, x in enumerate(places))
    header = "variant,value,low,seed,x,x_label,unit\n"
    (panel,) = read_studies(write(tmp_path, header + rows).parent)
    plot = study(panel, 1)
    first, second = (f", steps {x}" if x else "" for x in places)
    for svg in (plot.wide, plot.narrow):
        assert f"fixed, seed 0{first}: 41 [40, –] %." in svg
        assert f"fixed, seed 1{second}: 41.1 [40, –] %." in svg
        assert ">fixed</text>" in svg
    assert ("Small dots" in plot.caption) == (not panel.over_x)
    assert ("A line is over all seeds" in plot.caption) == panel.over_x


def drawn(monkeypatch, draw) -> list[Figure]:
    """What is drawn, before it is an SVG."""
    figures: list[Figure] = []
    monkeypatch.setattr("sepasr.report.plots.to_svg", lambda figure, *_: figures.append(figure))
    draw()
    return figures


def drawn_lines(monkeypatch, draw) -> list[list[tuple]]:
    """For each plot that is drawn colour, marker and style of its lines with marks."""
    return [
        [
            (line.get_color(), line.get_marker(), line.get_linestyle())
            for axes in figure.axes
            for line in axes.lines
            if line.get_marker() in MARKERS
        ]
        for figure in drawn(monkeypatch, draw)
    ]


def test_lines_of_a_study_are_its_figures_in_order(tmp_path, monkeypatch):
    text = "variant,value,x\na,3,20\na,1,5\nb,7,10\na,2,10\nb,4,5\n"
    (panel,) = read_studies(write(tmp_path, text).parent)
    for figure in drawn(monkeypatch, lambda: study(panel, 1)):
        lines = [[list(xy) for xy in line.get_data()] for line in figure.axes[0].lines]
        assert lines == [[[5, 10, 20], [1, 2, 3]], [[5, 10], [4, 7]]]


def test_an_interval_of_a_single_point_is_drawn(tmp_path, monkeypatch):
    text = "variant,value,low,high,x\na,3,2,5,20\nb,7,6,8,10\nb,4,3,6,30\nc,1,,,10\n"
    (panel,) = read_studies(write(tmp_path, text).parent)
    for figure in drawn(monkeypatch, lambda: study(panel, 1)):
        bars = [line for line in figure.axes[0].lines if line.get_marker() not in MARKERS]
        assert [[list(xy) for xy in bar.get_data()] for bar in bars] == [[[20, 20], [2, 5]]]
        (band,) = figure.axes[0].collections
        assert band.get_datalim(figure.axes[0].transData).x1 == 30


def test_averaging_leaves_a_ramp_as_it_is(monkeypatch):
    steps = tuple(range(10, 2000, 10))
    curve = Curve("ae/seed1", "train/loss", steps, tuple(3 + 0.5 * step for step in steps))
    for figure in drawn(monkeypatch, lambda: training([curve])):
        (line,) = figure.axes[0].lines
        shown, values = line.get_data()
        assert len(values) == len(steps) - 24
        assert list(values) == pytest.approx([3 + 0.5 * step for step in shown])


@pytest.mark.parametrize("header", ["recogniser,value,variant", "variant,value,x"])
def test_more_series_than_colours_can_be_told_apart(tmp_path, monkeypatch, header):
    rows = "".join(f"s{n},{n},5\n" for n in range(24))
    (panel,) = read_studies(write(tmp_path, f"{header}\n{rows}").parent)
    for lines in drawn_lines(monkeypatch, lambda: study(panel, 1)):
        assert len(set(lines)) == 24


def test_averaging_of_curves_is_said_where_it_is_done():
    def curve(points: int, tag: str) -> Curve:
        return Curve("ae/seed1", tag, tuple(range(points)), tuple(range(points)))

    short, long = curve(75, "train/loss"), curve(76, "train/loss")
    assert "averaged" not in training([short, curve(90, "valid/loss")]).caption
    assert "averaged" not in training([short, long]).caption
    assert "loss in training: averaged over 25 points" in training([long]).caption


def test_a_long_curve_has_markers(monkeypatch):
    course = tuple(range(200))
    curve = Curve("ae/seed1", "valid/loss", course, course)
    for lines in drawn_lines(monkeypatch, lambda: training([curve])):
        assert len(lines) == 1


def test_provenance_says_what_the_record_does_not_name(tmp_path):
    path = write(tmp_path, "variant,value,seed,mixtures\na,1,1,9\nb,1,2,9\n")
    (panel,) = read_studies(tmp_path)
    assert panel.source.startswith("study rate · commit not named · configuration not named")
    record = {
        "commit": "abc",
        "variants": {"a": {"lr": 1}},
        "versions": {"torch": "2"},
    }
    path.with_suffix(".json").write_text(json.dumps(record))
    (panel,) = read_studies(tmp_path)
    assert "commit abc ·" in panel.source
    assert "seeds 1, 2" in panel.source
    assert panel.source.endswith("torch 2")
    assert "not named" not in panel.source.replace("set not named", "")


def test_further_tables_belong_to_their_study(tmp_path):
    path = write(tmp_path, "variant,value\na,1\n", "a_rate")
    write(tmp_path, "variant,value,measure\na,1,turns\na,2,twists\n", "a_rate_more")
    write(tmp_path, "variant,value\na,1\n", "other")
    record = {"study": "a_rate", "question": "Why?"}
    path.with_suffix(".json").write_text(json.dumps(record))
    one, other = studies(read_studies(tmp_path))
    assert (one.name, one.question, other.name, other.question) == ("a rate", "Why?", "other", "")
    titles = ["a rate: value", "a rate more: turns", "a rate more: twists"]
    assert [plot.title for plot in one.plots] == titles
    names = [plot.name for plot in (*one.plots, *other.plots)]
    assert len(set(names)) == len(names)


def test_provenance_names_corpus_and_commits(tmp_path):
    path = write(tmp_path, "variant,value,set\na,1,cv\n")
    record = {"commit": "abc", "sets": {"cv": {"mixtures": 9}}}
    path.with_suffix(".json").write_text(json.dumps(record))
    (panel,) = read_studies(tmp_path)  # of an earlier version
    stated = "corpus not stated · trained at commit not stated · read at commit not stated"
    assert stated in panel.source
    info = {"corpus": "WHAMR", "condition": "mix_both", "fs": 8000, "cut": "max"}
    record["sets"]["cv"] |= info | {"reference": "anechoic"}
    record |= {"trained_at": ["a1", "b2"], "read_at": ["c3"]}
    path.with_suffix(".json").write_text(json.dumps(record))
    (panel,) = read_studies(tmp_path)
    assert (
        "corpus WHAMR (mix_both), 8000 Hz, max, anechoic references · trained at commit a1, b2 · "
        "read at commit c3"
    ) in panel.source


def result(variant: str, steps: int, seed: int | None, reader: str, gain: float) -> StudyResult:
    texts = {"study": "rate", "set": "cv", "family": "whisper", "relation": "", "against": "slow"}
    numbers = dict.fromkeys((field.name for field in fields(StudyResult)), 0.4)
    known = {**numbers, **texts, "variant": variant, "steps": steps, "seed": seed, "seeds": 1}
    given = {**known, "recogniser": reader, "mixtures": 9, "against_steps": 100, "gain": gain}
    return StudyResult(**given)


def test_results_of_the_runner_are_gains(tmp_path):
    table = [result("fast", 100, 1, "tiny", 0.1), result("fast", 100, 1, FAMILY_MEAN, 0.2)]
    write_study(tmp_path, "rate", [], table)
    errors, gains = read_studies(tmp_path)  # the rows per mixture beside it are none
    assert (gains.measure, gains.unit, gains.set) == ("gain in cpWER over slow", "%", "cv")
    assert [(r.variant, r.recogniser, r.value) for r in gains.rows] == [
        ("fast, 100 steps", "tiny", pytest.approx(10)),
        ("fast, 100 steps", "mean over families", pytest.approx(20)),
    ]
    assert gains.rows[0].low == pytest.approx(40)
    assert (errors.measure, [r.value for r in errors.rows]) == ("cpWER", [40, 40])


def test_a_gain_between_unequal_steps_says_so(tmp_path):
    table = [result("fast", steps, 1, "tiny", 0.1) for steps in (100, 600)]
    write_study(tmp_path, "rate", [], table)
    errors, gains = read_studies(tmp_path)
    assert [row.variant for row in errors.rows] == ["fast, 100 steps", "fast, 600 steps"]
    assert [row.variant for row in gains.rows] == ["fast, 100 steps", "fast, 600 steps against 100"]


def test_averages_keep_their_intervals_and_name_seeds_and_mixtures(tmp_path):
    """Word errors of an average are with its seeds', its gain in a panel without any seed's."""
    average = replace(result("fast", 100, None, "tiny", 0.1), seeds=2, cpwer=0.3, cpwer_low=0.2)
    nothing = {"against": "", "gain": math.nan, "gain_low": math.nan, "gain_high": math.nan}
    singles = [replace(result("fast", 100, s, "tiny", 0), **nothing) for s in (1, 2)]
    write_study(tmp_path, "rate", [], [average, *singles])
    errors, gains = read_studies(tmp_path)
    first = errors.rows[0]
    assert (first.seed, first.value, first.low) == (None, pytest.approx(30), pytest.approx(20))
    assert [row.seed for row in errors.rows] == [None, 1, 2]
    assert [row.seed for row in gains.rows] == [None]
    for panel in (errors, gains):
        assert "seeds 1, 2 · set cv · mixtures 9" in panel.source


def test_unlike_numbers_of_mixtures_are_a_span(tmp_path):
    write(tmp_path, "variant,value,mixtures\na,1,9\nb,1,4\nc,1,\nd,1,7\n")
    (panel,) = read_studies(tmp_path)
    assert "mixtures 4 to 9" in panel.source


def test_results_over_steps_are_lines_of_errors_and_si_sdr(tmp_path):
    readers = ("tiny", FAMILY_MEAN)
    table = [result("fast", steps, 1, reader, 0.1) for steps in (0, 100) for reader in readers]
    write_study(tmp_path, "rate", [], table)
    (tmp_path / "rate.json").write_text('{"plot": "steps"}')
    errors, signal = read_studies(tmp_path)
    assert (errors.measure, signal.measure, signal.unit) == ("cpWER", "SI-SDR", "dB")
    assert errors.over_x
    assert signal.over_x
    assert len(errors.rows) == 4
    assert [row.x for row in signal.rows] == [0, 100]
    assert "<svg" in study(errors, 1).narrow


def test_difficulty_is_a_line_for_each_condition(tmp_path):
    header = "study,system,recogniser,condition,bin,median,mixtures,cpwer,cpwer_low,cpwer_high"
    lines = "d,sisdr,tiny,snr_db,1,-3,9,0.5,0.4,0.6\nd,sisdr,tiny,snr_db,0,,18,,,\n"
    write(tmp_path, f"{header}\n{lines}d,sisdr,tiny,overlap,1,0.3,9,0.3,,\n", "d")
    snr, overlap = read_studies(tmp_path)
    assert (snr.x_label, overlap.x_label) == (LABELS["snr_db"], LABELS["overlap"])
    assert snr.x_label == "speech over noise (dB)"
    assert [(row.x, row.value, row.variant) for row in snr.rows] == [(-3, 50, "sisdr")]


def test_groups_of_one_median_are_both_shown(tmp_path, monkeypatch):
    header = "study,system,recogniser,condition,bin,median,mixtures,cpwer,cpwer_low,cpwer_high"
    groups = ((3, 1, 0.6), (1, 0.5, 0.3), (2, 1, 0.4))
    lines = "".join(f"d,sisdr,tiny,overlap,{n},{x},9,{y},,\n" for n, x, y in groups)
    (panel,) = read_studies(write(tmp_path, f"{header}\n{lines}", "d").parent)
    for figure in drawn(monkeypatch, lambda: study(panel, 1)):
        (line,) = figure.axes[0].lines
        assert list(line.get_xdata()) == [0.5, 1, 1]
        assert list(line.get_ydata()) == [30, 40, 60]
    monkeypatch.undo()
    assert "time) 1, group 3: 60 %." in study(panel, 1).wide
    write(tmp_path, f"{header}\n{lines}{lines}", "d")
    with pytest.raises(UserError, match=r"d\.csv:5: a second figure of 'sisdr'"):
        read_studies(tmp_path)


def test_permutations_are_rows_by_kind_of_mixture(tmp_path):
    header = "variant,steps,seed,set,encoder,kind,mixtures,differ,low,high\n"
    lines = "start,0,,cv,base,all,32,0.25,0.1,0.4\npit,100,0,cv,base,f+m,16,0.5,0.2,0.7\n"
    start, pit = read_study(write(tmp_path, header + lines, "permutation_permutations"))
    assert (start.variant, start.recogniser, start.value) == ("start", "all", 25.0)
    assert (pit.variant, pit.recogniser, pit.seed) == ("pit, 100 steps", "f+m", 0)
    assert (pit.value, pit.low, pit.high, pit.unit) == (50.0, 20.0, 70.0, "%")
    assert "base" in pit.measure


def test_correlations_are_rows_by_measure(tmp_path):
    header = "measure,recogniser,kind,correlation,low,high,mixtures,systems"
    write(tmp_path, f"{header}\nstoi,tiny,systems,-0.4,-0.5,-0.3,9,4\n", "layer_correlations")
    (tmp_path / "layer.json").write_text('{"commit": "abc"}')
    (panel,) = read_studies(tmp_path)
    assert "between the systems" in panel.measure
    assert panel.record.commit == "abc"
    assert (panel.rows[0].variant, panel.rows[0].value) == ("stoi", -0.4)
