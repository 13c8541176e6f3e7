import io
import json
import math
from dataclasses import replace

import pytest
from rich.console import Console

from sepasr.errors import UserError
from sepasr.report.table import corrected_p, markdown, print_tables, sections, verdict
from sepasr.score.result import (
    Comparison,
    Gain,
    MeasureDifference,
    RecogniserInfo,
    Results,
    Run,
    SystemResult,
    WordErrors,
)
from sepasr.score.statistics import Interval

NOTHING = Interval(math.nan, math.nan, math.nan)


def system(name: str, *, cp: float, relation: str | None = None, seeds=(1,)) -> SystemResult:
    errors = WordErrors(
        Interval(cp, cp - 0.05, cp + 0.05), Interval(0.1, 0.0, 0.2), 3, 80, relation
    )
    measures = [Interval(5.204, 4.9, 5.5)] * 2 + [NOTHING, *[Interval(0.8, 0.7, 0.9)] * 3]
    seed = seeds[0] if len(seeds) == 1 else None
    return SystemResult(name, None, seed, seeds, 300, *measures, {"whisper_base": errors})


def comparison(relation: str | None, low: float, high: float, primary: bool = False) -> Comparison:
    return Comparison(
        0.173,
        low,
        high,
        0.0123,
        system="ae_tiny" if relation else "pretrained",
        against="sisdr",
        recogniser="whisper_base",
        relation=relation,
        orcwer=Gain(0.05, -0.01, 0.1, 0.4),
        primary=primary,
    )


@pytest.fixture
def results() -> Results:
    return Results(
        run=Run(
            "mini_whamr",
            "abc1234",
            "feed",
            "2026-11-01",
            (1,),
            16_000,
            "max",
            "anechoic",
            40,
            2,
            ("The test speakers are made of two people's voices.",),
        ),
        control="sisdr",
        recognisers=(RecogniserInfo("whisper_base", "whisper", "whisper-base"),),
        systems=(
            system("mixture", cp=0.75, seeds=()),
            system("sisdr", cp=0.614),
            system("ae_tiny", cp=0.462, relation="kin"),
        ),
        comparisons=(
            comparison("seen", 0.1, 0.3, primary=True),
            comparison("kin", -0.1, 0.3),
            comparison("unseen", -0.3, -0.1),
        ),
        other_comparisons=(comparison(None, -0.4, -0.1),),
        measure_differences=tuple(
            MeasureDifference("ae_tiny", "sisdr", measure, -0.721, -1.0, -0.4, 0.0001)
            for measure in ("si_sdr", "pesq", "stoi", "estoi", "srmr")
        ),
    )


def rows(text: str, heading: str) -> list[list[str]]:
    """Cells of the Markdown table below a heading."""
    lines = text.split(f"## {heading}\n")[1].split("\n## ")[0].splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]


def test_word_errors(results):
    assert rows(markdown(results), "cpWER (%)") == [
        ["system", "whisper_base"],
        ["mixture", "75.0 [70.0, 80.0]"],
        ["sisdr", "61.4 [56.4, 66.4]"],
        ["ae_tiny", "46.2 [41.2, 51.2] kin"],
    ]


def test_measures_with_missing_values(results):
    header, mixture, *_ = rows(markdown(results), "Signal measures")
    assert header == ["system", "SI-SDR (dB)", "SI-SDRi (dB)", "PESQ (wb)", "STOI", "ESTOI", "SRMR"]
    assert mixture[1:5] == ["5.20 [4.90, 5.50]", "5.20 [4.90, 5.50]", "–", "0.800 [0.700, 0.900]"]


@pytest.mark.parametrize(
    ("heading", "recogniser", "interval", "verdict"),
    [
        (
            "recognisers seen by the loss",
            "whisper_base (primary)",
            "[+10.0, +30.0]",
            "fewer errors",
        ),
        ("recognisers kin to its encoder", "whisper_base", "[-10.0, +30.0]", "undecided"),
        ("unseen recognisers", "whisper_base", "[-30.0, -10.0]", "more errors"),
    ],
)
def test_gains_are_grouped_by_relation(results, heading, recogniser, interval, verdict):
    _, row = rows(markdown(results), f"Gain over sisdr: {heading}")
    assert row == [
        "ae_tiny",
        recogniser,
        verdict,
        f"+17.3 {interval}",
        "0.0123",
        "0.0123" if "primary" in recogniser else "0.0369",  # of three that are not primary
        "+5.0 [-1.0, +10.0]",
        "0.4000",
    ]


@pytest.mark.parametrize(
    ("low", "high", "p", "reads"),
    [
        (-0.028, -0.001, 0.0534, "undecided"),
        (-0.028, -0.001, 0.0499, "more errors"),
        (0.001, 0.02, 0.05, "undecided"),
        (0.001, 0.02, 0.0001, "fewer errors"),
        (-0.001, 0.02, 0.01, "undecided"),
        (math.nan, math.nan, 0.01, "undecided"),
        (0.001, 0.02, math.nan, "undecided"),
    ],
)
def test_interval_and_p_decide_together(low, high, p, reads):
    assert verdict(Gain(0.1, low, high, p)) == reads


def test_primary_comparisons_are_corrected_among_themselves(results):
    def named(system: str, p: float, primary: bool) -> Comparison:
        return replace(comparison("kin", 0.1, 0.3, primary), system=system, p=p)

    asked = [named("a", 0.02, True), named("b", 0.03, True), named("c", 0.01, False)]
    others = [named("d", 0.04, False), named("e", math.nan, False)]
    changed = replace(results, comparisons=tuple(asked), other_comparisons=tuple(others))
    found = {c.system: p for c, p in corrected_p(changed).items()}
    assert found == pytest.approx(
        {"a": 0.04, "b": 0.04, "c": 0.02, "d": 0.04, "e": math.nan}, nan_ok=True
    )


def test_the_least_p_is_a_bound(results):
    least = replace(comparison("kin", 0.1, 0.3), p=1 / 10_001)
    text = markdown(replace(results, comparisons=(least,), other_comparisons=()))
    _, row = rows(text, "Gain over sisdr: recognisers kin to its encoder")
    assert row[4] == "< 0.0001"
    assert "10000 random sign patterns" in text


def test_measure_differences(results):
    _, first, *_, last = rows(markdown(results), "Signal measures: difference to sisdr")
    assert first == ["ae_tiny", "SI-SDR (dB)", "-0.72 [-1.00, -0.40]", "0.0001"]
    assert last == ["ae_tiny", "SRMR", "-0.72 [-1.00, -0.40]", "0.0001"]


def test_provenance_and_notes(results):
    text = markdown(results)
    for part in ("abc1234", "feed", "2026-11-01", "16000 Hz", "max", "anechoic", "40 mixtures"):
        assert part in text.splitlines()[2]
    assert "- The test speakers are made of two people's voices.\n" in text
    assert "With 40 mixtures nothing is claimed that the intervals don't carry" in text


def test_numbers_of_steps_that_differ_are_told(results):
    mixture, control, other = results.systems
    known = "Numbers of steps differ (sisdr 300, ae_tiny 40): gains reflect both"
    for steps, encoder, told in ((40, "tiny", True), (300, "tiny", False), (40, None, False)):
        systems = mixture, control, replace(other, encoder=encoder, steps=steps)
        assert (known in markdown(replace(results, systems=systems))) == told


def test_rates_of_systems(results):
    mixture, control, other = results.systems
    known = (replace(mixture, steps=None), replace(control, lr=3e-5), other)
    _, *lines = rows(markdown(replace(results, systems=known)), "Systems")
    # Nothing was trained; stated; of results of an earlier version.
    assert [line[3] for line in lines] == ["–", "3e-5", "not stated"]


def test_corpus_and_software_are_stated_or_said_not_to_be(results):
    lines = markdown(results).splitlines()
    assert lines[2].endswith("corpus not stated")
    assert lines[4] == "scored with: not stated"
    stated = {"corpus": "WHAMR", "condition": "mix_both_reverb", "versions": {"torch": "2.9"}}
    lines = markdown(replace(results, run=replace(results.run, **stated))).splitlines()
    assert lines[2].endswith("corpus WHAMR (mix_both_reverb)")
    assert lines[4] == "scored with torch 2.9"


def test_results_of_an_earlier_version_are_read(results, tmp_path):
    results.write(tmp_path / "new.json")
    content = json.loads((tmp_path / "new.json").read_text())
    for name in ("corpus", "condition", "versions"):
        del content[name]
    for line in content["systems"]:
        del line["lr"]
    (tmp_path / "old.json").write_text(json.dumps(content))
    old, new = (markdown(Results.read(tmp_path / f"{n}.json")) for n in ("old", "new"))
    assert old == new == markdown(results)
    del content["commit"]
    (tmp_path / "old.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"old\.json: not a results file: KeyError\('commit'\)"):
        Results.read(tmp_path / "old.json")


def test_a_system_of_one_seed_is_told_of(results):
    averaged = replace(results, systems=(system("sisdr", cp=0.6, seeds=(1, 2)),))
    assert "where there is one seed, not of other seeds either" in markdown(results)
    assert "one seed" not in markdown(averaged)


def test_empty_tables_are_left_out(results):
    bare = replace(results, comparisons=(), other_comparisons=(), measure_differences=())
    assert not any("Gain" in section.title for section in sections(bare))
    assert not any("difference" in section.title for section in sections(bare))


def test_seeds_have_a_table_of_their_own(results):
    averaged = system("sisdr", cp=0.6, seeds=(1, 2))
    singles = [replace(averaged, seed=seed, seeds=(seed,)) for seed in (1, 2)]
    text = markdown(replace(results, systems=(averaged, *singles)))
    assert [row[0] for row in rows(text, "cpWER (%)")] == ["system", "sisdr"]
    assert [row[0] for row in rows(text, "cpWER (%) by seed")][1:] == [
        "sisdr, seed 1",
        "sisdr, seed 2",
    ]


def test_plain_text_has_every_cell_on_one_line(results):
    out = io.StringIO()
    print_tables(results, Console(file=out))
    lines = out.getvalue().splitlines()
    assert not any("\x1b" in line for line in lines)
    for section in sections(results):
        assert section.title in lines
        for row in section.rows:
            assert any(all(cell in line for cell in row) for line in lines), row


def test_a_narrow_terminal_folds_cells_but_loses_nothing(results):
    out = io.StringIO()
    print_tables(results, Console(file=out, force_terminal=True, width=60, color_system=None))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 60
    assert "…" not in text
    assert "46.2" in text
