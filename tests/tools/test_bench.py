"""The benchmarks run, say what they should, and refuse what isn't equal; no time is looked at."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from tiny_whisper import tiny_whisper

from sepasr.data.audio import write_audio
from sepasr.data.datadir import UtteranceDir

BENCH = Path(__file__).resolve().parents[2] / "tools" / "bench"
FIELDS = (
    *("name", "value", "low", "high", "unit", "against"),
    *("dtype", "machine", "versions", "date", "note"),
)
QUICK = {
    "train_step": ["s", "--curve", "3"],
    "inference": ["s"],
    "finetune_step": [],
    "scoring": [],
    "measures": ["--jobs", "1", "--seconds", "1"],
    "mixing": [],
    "train_memory": ["l"],
    "torchaudio_conformer": ["s"],
}
SLOW = {"train_memory"}  # it starts processes


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A benchmark as a module; those that it imports are forgotten afterwards."""
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    before, threads = set(sys.modules), torch.get_num_threads()
    yield importlib.import_module
    torch.set_num_threads(threads)
    for name in set(sys.modules) - before:
        if (BENCH / f"{name}.py").is_file():
            del sys.modules[name]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in QUICK]
)
def test_a_quick_run_gives_a_figure(
    bench: Callable[[str], ModuleType], tmp_path: Path, name: str
) -> None:
    results = tmp_path / "results.json"
    arguments = [*QUICK[name], "--quick", "--threads", "1", "--results", str(results)]
    (given,) = bench(name).main(arguments)
    assert json.loads(results.read_text()) == [given]
    assert tuple(given) == FIELDS
    assert given["low"] <= given["value"] <= given["high"]
    if name != "torchaudio_conformer":  # it has no goal
        assert given["unit"] == bench("table").GOALS[given["name"]][1]


def tiny_recogniser(folder: Path) -> Path:
    """A YAML of a Wav2Vec2 with a CTC head that knows nothing, and streams beside it."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=6,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(16,) * 7,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
    )
    Wav2Vec2ForCTC(config).save_pretrained(folder / "model")
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder / "model")
    units = {unit: i for i, unit in enumerate(["<pad>", "<unk>", "|", "A", "B", "C"])}
    (folder / "model/vocab.json").write_text(json.dumps(units))
    for seed in range(3):
        sound = np.random.default_rng(seed).standard_normal(8000 + 4000 * seed)
        write_audio(folder / f"{seed}.wav", sound.astype(np.float32) / 10, 16000)
    yaml = "name: tiny\nfamily: tiny\nweights: tiny\nkind: ctc\nmodel: {}\n"
    (folder / "tiny.yaml").write_text(yaml.format(folder / "model"))
    return folder / "tiny.yaml"


def test_recognition_gives_a_figure(bench: Callable[[str], ModuleType], tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    recogniser = ["--recogniser", str(tiny_recogniser(tmp_path))]
    quick = ["--quick", "--threads", "1", "--results", str(results)]
    (given,) = bench("recognition").main([str(tmp_path), *recogniser, *quick])
    assert json.loads(results.read_text()) == [given]
    assert "3 streams" in given["note"]
    assert "100.00% of the words" in given["note"]


@pytest.mark.slow  # it starts processes
def test_data_gives_figures(bench: Callable[[str], ModuleType], tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    quick = ["--quick", "--threads", "1", "--results", str(results)]
    rooms, listing = bench("data").main(quick)
    assert (rooms["name"], listing["name"]) == ("rooms_per_s", "listing_s")
    assert rooms["low"] <= rooms["value"] <= rooms["high"]
    assert "12 mixtures" in listing["note"]


@pytest.mark.slow
@pytest.mark.parametrize("multilingual", [False, True])
def test_a_converted_whisper_is_converted_back(
    bench: Callable[[str], ModuleType], tmp_path: Path, multilingual: bool
) -> None:
    from ctranslate2.converters import TransformersConverter
    from transformers import WhisperForConditionalGeneration

    # Sizes that can't be taken for one another.
    sizes = {"decoder_attention_heads": 4, "encoder_ffn_dim": 16, "decoder_ffn_dim": 24}
    model = WhisperForConditionalGeneration.from_pretrained(
        tiny_whisper(tmp_path / "model", multilingual, **sizes)
    )
    converter = TransformersConverter(str(tmp_path / "model"), copy_files=["tokenizer.json"])
    folder = Path(converter.convert(str(tmp_path / "converted")))
    again = bench("whisper_pipeline").whisper_of(folder)
    for key, weights in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], weights), key
    mel = torch.randn(1, 80, 3000)
    tokens = torch.tensor([[2, 50, 60]])
    with torch.inference_mode():
        expected = model.eval()(mel, decoder_input_ids=tokens).logits
        torch.testing.assert_close(again(mel, decoder_input_ids=tokens).logits, expected)
    assert again.generation_config.is_multilingual == multilingual


@pytest.fixture
def talking(bench: Callable[[str], ModuleType], tmp_path: Path) -> Path:
    """Data directories with a development set of women and men."""
    bench("mixing").corpus(tmp_path)
    spoken = UtteranceDir.load(tmp_path / "tr_utterances")
    speakers = sorted({utterance.speaker for utterance in spoken.utterances})
    genders = {speaker: "fm"[n % 2] for n, speaker in enumerate(speakers)}
    replace(spoken, path=tmp_path / "cv_utterances", genders=genders).write()
    return tmp_path


@pytest.mark.slow  # it starts processes
def test_an_hour_gives_figures(
    bench: Callable[[str], ModuleType], talking: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results.json"
    quick = ["--quick", "--threads", "1", "--results", str(results)]
    swaps, mini, s, memory = bench("hour").main(["--data", str(talking), *quick])
    assert swaps["name"] == "hour_swaps"
    assert swaps["low"] <= swaps["value"]
    assert mini["value"] > 0
    assert s["name"] == "real_time_s"
    assert memory["name"] == "hour_memory"
    assert 0.5 < memory["value"] < 2


def test_turns_in_the_other_stream_are_counted(
    bench: Callable[[str], ModuleType], talking: Path
) -> None:
    hour = bench("hour")
    talk = hour.converse(talking, "fm", 60.0, 1)
    assert {speaker for speaker, _, _ in talk.turns} == {0, 1}
    pauses = np.diff(np.flatnonzero(np.abs(talk.references).max(0) > 1e-4))
    assert pauses.max() > 10 * 16000  # there are long silences
    assert hour.swaps(talk, talk.references) == (0, 0)
    assert hour.swaps(talk, talk.references[::-1]) == (0, 0)  # which is first is free
    streams, (_, first, _), (_, _, last) = talk.references.copy(), talk.turns[2], talk.turns[3]
    streams[:, first:last] = streams[::-1, first:last]
    assert hour.swaps(talk, streams) == (1, 2)


def test_another_run_replaces_its_figure_only(
    bench: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    paired, results = bench("paired"), tmp_path / "results.json"
    options = paired.parser("Some.", 3).parse_args(["--results", str(results)])
    for name, value in [("b", 1.0), ("a", 2.0), ("b", 3.0)]:
        spread = paired.Spread(value, value, value)
        paired.keep(options, name, spread, "s", against="nothing", dtype="float32", note="")
    kept = [(e["name"], e["value"]) for e in json.loads(results.read_text())]
    assert kept == [("a", 2.0), ("b", 3.0)]


def test_a_quick_run_is_kept_out_of_the_results(bench: Callable[[str], ModuleType]) -> None:
    with pytest.raises(SystemExit):
        bench("scoring").main(["--quick"])


def test_ways_run_in_turn_and_the_interval_holds_the_median(
    bench: Callable[[str], ModuleType],
) -> None:
    paired, calls = bench("paired"), []
    taken = paired.alternate([lambda: calls.append("a"), lambda: calls.append("b")], 4)
    assert taken.shape == (4, 2)
    assert "".join(calls) == "ab" + "abbaabba"
    spread = paired.Spread.of([1.0, 2.0, 3.0, 10.0, 2.5])
    assert spread.low <= spread.value == 2.5 <= spread.high
    assert paired.Spread.of([2.0, 2.0]) == paired.Spread(2.0, 2.0, 2.0)
    best, spread = paired.fastest(np.array([[6.0, 3.0, 2.0], [6.0, 3.0, 2.0]]), ["x", "y"])
    assert (best, spread.value) == ("y", 3.0)


def test_unequal_separators_are_refused(
    bench: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    separators = bench("separators")

    def other(separator):
        plain = separators.plain(separator)
        with torch.no_grad():
            plain.separator.layers[0].attention.project_out.weight.mul_(1.1)
        return plain

    arguments = ["s", "--quick", "--results", str(tmp_path / "results.json")]
    for name in ("train_step", "inference"):
        monkeypatch.setattr(bench(name), "plain_of", other)
        with pytest.raises(bench("paired").UnequalError, match="outputs of the separators"):
            bench(name).main(arguments)
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize(
    ("name", "part", "wrong"),
    [
        ("finetune_step", "per_pair", lambda encoder, estimates, said: estimates.square().mean()),
        ("scoring", "by_meeteval", lambda drawn: np.zeros((len(drawn), 3), int)),
        ("train_step", "curve", lambda separator, dtype, *rest: np.full(3, float("nan"))),
    ],
)
def test_other_results_are_refused(
    bench: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    part: str,
    wrong: Callable,
) -> None:
    monkeypatch.setattr(bench(name), part, wrong)
    results = tmp_path / "results.json"
    with pytest.raises(bench("paired").UnequalError):
        bench(name).main([*QUICK[name], "--quick", "--results", str(results)])
    assert not results.exists()


def test_kept_embeddings_have_a_figure_of_their_own(
    bench: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    arguments = ["--kept", "--quick", "--threads", "1", "--results", str(tmp_path / "r.json")]
    (given,) = bench("finetune_step").main(arguments)
    assert given["name"] == "finetune_step_kept"
    assert "references kept" in given["note"]


def test_words_that_differ_are_refused(bench: Callable[[str], ModuleType]) -> None:
    recognition = bench("recognition")
    said = [["A", "B"], [], ["C"] * 298]
    assert recognition.equal_words(said, said) == 1
    with pytest.raises(bench("paired").UnequalError, match="of the words are equal"):
        recognition.equal_words([["A", "X"], ["Y"], ["C"] * 297], said)


def test_the_page_shows_the_results(bench: Callable[[str], ModuleType], tmp_path: Path) -> None:
    table = bench("table")
    results, page = tmp_path / "results.json", tmp_path / "page.md"
    entry = dict.fromkeys(FIELDS, "x") | {"name": "scoring_s", "unit": "s"}
    entry |= {"value": 4.0, "low": 3.0, "high": 5.0, "versions": {"torch": "2"}}
    results.write_text(json.dumps([entry]))
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    for _ in range(2):
        table.main(["--results", str(results), "--page", str(page)])
        lines = page.read_text().splitlines()
        assert (lines[0], lines[-1]) == ("before", "after")
        assert "old" not in lines
        assert any("4 (3 to 5) s" in line and ", reached" in line for line in lines)
        assert sum("not measured" in line for line in lines) == len(table.GOALS) - 1


def test_the_committed_table_is_that_of_the_committed_results(
    bench: Callable[[str], ModuleType],
) -> None:
    table = bench("table")
    results = json.loads(table.RESULTS.read_text("utf-8"))
    assert all(tuple(entry) == FIELDS for entry in results)
    shown = table.PAGE.read_text("utf-8").partition(table.BEGIN)[2].partition(table.END)[0]
    assert shown.strip().splitlines() == table.rows(results)
