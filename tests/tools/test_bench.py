"""The benchmarks run, say what they should, and refuse what isn't equal; no time is looked at."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

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
NEWER = ("count", "commit")
"""Fields that older entries lack."""
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
    given, *others = bench(name).main(arguments)
    assert json.loads(results.read_text()) == [given, *others]
    assert len(others) == (name == "finetune_step")
    assert set(given) == {*FIELDS, *NEWER}
    assert given["count"] == (1 if name == "train_memory" else 2)
    assert given["low"] <= given["value"] <= given["high"]
    assert given["note"].endswith("; 1 round" if name == "train_memory" else "; 2 rounds")
    if name != "torchaudio_conformer":  # it has no goal
        assert given["unit"] == bench("table").GOALS[given["name"].partition("@")[0]][1]


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
    model = Wav2Vec2ForCTC(config)
    with torch.no_grad():
        model.lm_head.bias[1] = -1000  # <unk>, which the pipeline writes and we leave out
    model.save_pretrained(folder / "model")
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
    assert given["name"] == "recognition@recogniser=tiny.yaml"
    assert "3 streams" in given["note"]
    assert given["dtype"] == "float32"
    assert "100.00% of the words" in given["note"]


@pytest.mark.slow  # it starts processes
def test_data_gives_figures(bench: Callable[[str], ModuleType], tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    quick = ["--quick", "--threads", "1", "--results", str(results)]
    rooms, listing = bench("data").main(quick)
    assert (rooms["name"], listing["name"]) == ("rooms_per_s", "listing_s")
    assert rooms["low"] <= rooms["value"] <= rooms["high"]
    assert "12 mixtures" in listing["note"]
    assert rooms["note"].endswith("; 1 round")
    assert (rooms["count"], listing["count"]) == (2, 2)


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
    swaps, gathered, mini, s, memory = bench("hour").main(["--data", str(talking), *quick])
    assert swaps["name"] == "hour_swaps"
    assert gathered["name"] == "hour_swaps_gathered"
    assert " in one; woman and man: " in swaps["note"]
    assert " split over both); 1 round" in swaps["note"]
    assert mini["note"].endswith("; 1 round")
    assert mini["value"] > 0
    assert s["name"] == "real_time_s"
    assert memory["name"] == "hour_memory"
    assert 0.5 < memory["value"] < 2


def test_least_and_most_of_the_swaps_are_no_interval(
    bench: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hour = bench("hour")
    counts = iter([0, 0, 11, 1, 2, 3])
    monkeypatch.setattr(hour, "converse", lambda *_: SimpleNamespace(turns=range(20)))
    monkeypatch.setattr(hour, "_run", lambda *_, more: SimpleNamespace(streams=None))
    monkeypatch.setattr(hour, "swaps", lambda *_: hour.Elsewhere(next(counts), 12, 0))
    options = bench("paired").parser("Some.", 1).parse_args(["--results", str(tmp_path / "r.json")])
    options.data = tmp_path
    swaps, gathered = hour.measure_swaps(options)
    for entry, total, range_of in ((swaps, 11, "from 0 to 11"), (gathered, 6, "from 1 to 3")):
        assert entry["value"] == entry["low"] == entry["high"] == total
        assert f"{range_of} in one" in entry["note"]


def test_turns_in_the_other_stream_are_counted(
    bench: Callable[[str], ModuleType], talking: Path
) -> None:
    hour = bench("hour")
    talk = hour.converse(talking, "fm", 60.0, 1)
    assert {speaker for speaker, _, _ in talk.turns} == {0, 1}
    pauses = np.diff(np.flatnonzero(np.abs(talk.references).max(0) > 1e-4))
    assert pauses.max() > 10 * 16000  # there are long silences
    assert hour.swaps(talk, talk.references) == (0, 0, 0)
    assert hour.swaps(talk, talk.references[::-1]) == (0, 0, 0)  # which is first is free
    streams, (_, first, _), (_, _, last) = talk.references.copy(), talk.turns[2], talk.turns[3]
    streams[:, first:last] = streams[::-1, first:last]
    assert hour.swaps(talk, streams) == (1, 2, 0)
    speaker, start, stop = talk.turns[2]
    said = talk.references[speaker, start:stop]
    noise = np.random.default_rng(0).standard_normal(len(said)).astype(np.float32)
    streams[speaker, start:stop] = 0.9 * said + 3 * said.std() * noise
    streams[1 - speaker, start:stop] = 0.8 * said
    assert hour.swaps(talk, streams) == (1, 2, 1)


def test_figures_have_the_commit_of_the_code(
    bench: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paired = bench("paired")
    monkeypatch.setattr(paired, "ROOT", tmp_path)

    def git(*arguments: str) -> str:
        names = ["-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        call = ["git", "-C", str(tmp_path), *names, *arguments]
        return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()

    def kept() -> str | None:
        paired.commit_at_start.cache_clear()
        made = paired.parser("Some.", 1)
        options = paired.begin(made, ["--threads", "1", "--results", str(tmp_path / "r.json")])
        spread, common = paired.Spread.of([1.0]), {"against": "", "dtype": "", "note": ""}
        return paired.keep(options, "a", spread, "s", **common)["commit"]

    assert kept() is None
    git("init", "-q")
    assert kept() is None
    for name in ("code.py", *paired.MADE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    git("add", "code.py", *paired.MADE)
    git("commit", "-q", "-m", "some")
    head = git("rev-parse", "--short=12", "HEAD")
    assert kept() == head
    for name in paired.MADE:  # what the run before has changed
        (tmp_path / name).write_text("2")
    assert kept() == head
    (tmp_path / "code.py").write_text("2")
    assert kept() == f"{head}+"


def test_the_commit_is_that_at_the_start(
    bench: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paired, commits = bench("paired"), iter(["before", "after"])
    monkeypatch.setattr(paired, "commit", lambda *_, **__: next(commits))
    results = ["--quick", "--threads", "1", "--results", str(tmp_path / "r.json")]
    (given,) = bench("torchaudio_conformer").main(["s", *results])
    assert given["commit"] == "before"


def test_another_run_replaces_its_figure_only(
    bench: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    paired, results = bench("paired"), tmp_path / "results.json"
    options = paired.parser("Some.", 3).parse_args(["--results", str(results)])
    for name, value in [("b", 1.0), ("a", 2.0), ("b", 3.0)]:
        spread = paired.Spread.of([value])
        paired.keep(options, name, spread, "s", against="nothing", dtype="float32", note="")
    kept = [(e["name"], e["value"]) for e in json.loads(results.read_text())]
    assert kept == [("a", 2.0), ("b", 3.0)]


def test_settings_and_rounds_are_among_the_remarks(
    bench: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    results = ["--quick", "--threads", "1", "--results", str(tmp_path / "r.json")]
    settings = ["--set", "attention_dropout=0", "--set", "dropout=0"]
    (given,) = bench("torchaudio_conformer").main(["s", *settings, *results])
    assert given["name"] == "torchaudio_s@attention_dropout=0,dropout=0"
    assert given["note"].endswith("; set attention_dropout=0 dropout=0; 2 rounds")


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("train_step", ["s", "--threads", "1", "--rounds", "9", "--batch", "1"], ""),
        (
            "train_step",
            ["--set", "width=8", "--compile", "--set", "heads=2", "l", "--batch", "8"],
            "batch=8,compile,heads=2,width=8",
        ),
        ("inference", ["s", "--dtypes", "float32"], "dtypes=float32"),
        ("inference", ["s", "--weights", str(BENCH.parents[1] / "a/b")], "weights=a/b"),
        ("inference", ["s", "--weights", "/elsewhere/b"], "weights=b"),
        ("finetune_step", ["mini", "whisper_tiny_en", "--kept"], ""),
        ("finetune_step", ["l", "wavlm_large"], "separator=l,encoder=wavlm_large"),
        ("recognition", ["streams"], ""),
        ("recognition", ["streams", "--recogniser", "x"], "recogniser=x"),
        ("mixing", ["--seconds", "2.5", "--data", "/corpus"], "data=corpus,seconds=2.5"),
        ("hour", ["--data", "/corpus", "--parts", "swaps"], ""),
        ("hour", ["--data", "/corpus", "--model", "/m"], "model=m"),
        (
            "hour",
            ["--data", "/c", "--model", str(BENCH / "../../egs/mini_whamr/pretrained/separator")],
            "",
        ),
        ("train_memory", ["xl", "--alone"], ""),
        ("scoring", ["--mixtures", "10"], "mixtures=10"),
        ("measures", ["--mixtures", "80", "--jobs", "1"], "jobs=1"),
    ],
)
def test_names_say_what_is_not_by_default(
    bench: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    arguments: list[str],
    expected: str,
) -> None:
    module, given = bench(name), []
    monkeypatch.setattr(module, "measure", lambda *options: given.append(options[-1].differing))
    module.main(arguments)
    assert [",".join(differing) for differing in given] == [expected]


def test_a_figure_of_other_options_leaves_the_goals(
    bench: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paired, results = bench("paired"), tmp_path / "results.json"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    made = paired.parser("Some.", 9, gpu=True)
    made.add_argument("--compile", action="store_true")
    made.add_argument("--set", action="append", default=[])
    for value, arguments in [
        (1.0, []),
        (3.0, ["--set", "attention_dropout=0", "--compile", "--device", "cuda"]),
    ]:
        options = paired.begin(made, [*arguments, "--results", str(results)])
        common = {"against": "nothing", "dtype": "float32", "note": ""}
        paired.keep(options, "train_step_s", paired.Spread.of([value]), paired.SPEEDUP, **common)
    kept = json.loads(results.read_text())
    other = "train_step_s@cuda,compile,attention_dropout=0"
    assert {e["name"]: e["value"] for e in kept} == {"train_step_s": 1.0, other: 3.0}
    rows = bench("table").rows(kept)
    (goal,) = (n for n, row in enumerate(rows) if "| train_step_s |" in row)
    assert "not reached" in rows[goal]
    assert other in rows[goal + 1]
    assert "reached" not in rows[goal + 1]


def test_memory_has_the_name_of_a_goal_in_the_unit_of_the_goal(
    bench: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    memory, goals = bench("train_memory"), bench("table").GOALS
    monkeypatch.setattr(memory, "apart", lambda *_: 1.0)
    arguments = ["l", "xl", "--quick", "--results", str(tmp_path / "r.json")]
    given = [*memory.main(arguments), *memory.main([*arguments, "--alone"])]
    assert len({entry["name"] for entry in given}) == 4
    judged = {entry["name"]: entry["unit"] for entry in given if entry["name"] in goals}
    assert judged == {"train_memory_l": memory.SHARE, "train_memory_xl": memory.GIGABYTES}


def test_a_device_is_for_benchmarks_that_run_on_it_and_must_be_there(
    bench: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    quick = ["--quick", "--results", str(tmp_path / "r.json")]
    for name in ("scoring", "measures", "mixing", "data"):
        with pytest.raises(SystemExit):
            bench(name).main([*quick, "--device", "cpu"])
        assert "unrecognized arguments: --device" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        bench("inference").main(["s", *quick, "--device", "cuda"])
    assert "--device cuda: torch finds no GPU here" in capsys.readouterr().err
    assert not (tmp_path / "r.json").exists()


def test_every_round_of_scoring_normalises(bench: Callable[[str], ModuleType]) -> None:
    scoring = bench("scoring")
    drawn, missed = scoring.texts(5), []
    for _ in range(2):
        scoring.score(drawn)
        missed.append(scoring.normalise.cache_info().misses)
    assert missed[0] == missed[1] == len({text for pair in drawn for part in pair for text in part})


def test_recognisers_have_the_threads_of_the_pipeline(
    bench: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    recognition = bench("recognition")
    options = SimpleNamespace(set=["beam=2"], device="cpu")
    torch.set_num_threads(3)
    whisper, ctc = (
        recognition.ROOT / f"conf/asr/{name}.yaml" for name in ("whisper_tiny_en", "wav2vec2_mini")
    )
    assert recognition.settings_of(whisper, options) == ["beam=2", "device=cpu", "jobs=3"]
    options.set = []
    assert recognition.settings_of(ctc, options) == ["device=cpu"]
    options.set = ["jobs=1"]
    with pytest.raises(SystemExit, match="--threads"):
        recognition.settings_of(whisper, options)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["encoder_type=bfloat16"], "bfloat16, int8"),
        (["encoder_type=null", "compute_type=float32"], "float32"),
    ],
)
def test_the_recorded_type_is_that_of_the_recogniser(
    bench: Callable[[str], ModuleType], settings: list[str], expected: str
) -> None:
    recognition = bench("recognition")
    conf = recognition.ROOT / "conf/asr/whisper_tiny_en.yaml"
    config = recognition.load_config(recognition.RecogniserConfig, [conf], settings)
    assert recognition.number_types(config) == expected


def test_settings_hold_for_torchaudios_layers_too(bench: Callable[[str], ModuleType]) -> None:
    conformer = bench("torchaudio_conformer")
    config = replace(bench("separators").built("s", quick=True).config, dropout=0.3)
    for rate in (0.0, 0.2):
        theirs = conformer.torchaudio_of(replace(config, attention_dropout=rate))
        assert {layer.self_attn.dropout for layer in theirs.conformer_layers} == {rate}
        assert {m.p for m in theirs.modules() if isinstance(m, torch.nn.Dropout)} == {0.3}


@pytest.mark.slow  # it starts a process
def test_processes_of_their_own_have_as_many_threads(bench: Callable[[str], ModuleType]) -> None:
    memory = bench("train_memory")
    for threads in (1, 3):
        torch.set_num_threads(threads)
        assert memory.apart(torch.get_num_threads) == threads


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
    best, spread = paired.fastest(np.array([[6.0, 3.0, 2.0], [6.0, 3.0, 2.0]]), ["x", "y"])
    assert (best, spread.value) == ("y", 3.0)


def test_few_pairs_have_a_range_and_no_interval(bench: Callable[[str], ModuleType]) -> None:
    paired, values = bench("paired"), np.random.default_rng(0).standard_normal(12)
    for count in range(1, 6):
        some = values[:count]
        expected = (np.median(some), min(some), max(some), count)
        assert astuple(paired.Spread.of(some)) == pytest.approx(expected)
    spread = paired.Spread.of(values)
    assert spread.count == 12
    assert min(values) < spread.low < spread.value < spread.high < max(values)


@pytest.mark.parametrize(
    "name", [*sorted(QUICK.keys() - {"measures", "train_memory"}), "recognition"]
)
def test_cheap_benchmarks_take_as_many_rounds_as_an_interval_does(
    bench: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    module, rounds = bench(name), []
    monkeypatch.setattr(module, "measure", lambda *options: rounds.append(options[-1].rounds))
    module.main([str(tmp_path)] if name == "recognition" else QUICK[name])
    assert min(rounds) >= 6


def test_a_figure_claims_the_interval_that_it_has(
    bench: Callable[[str], ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    figure, entry = bench("paired").figure, {"value": 4.0, "low": 3.0, "high": 5.0, "unit": "s"}
    assert figure(entry | {"count": 6}) == "4 (95 %: 3 to 5) s"
    assert figure(entry | {"count": 5}) == "4 (from 3 to 5) s"
    assert figure(entry) == "4 (3 to 5, rounds not recorded) s"
    assert figure(entry | {"low": 4.0, "high": 4.0, "count": 1}) == "4 s"
    bench("torchaudio_conformer").main(["s", "--quick", "--results", str(tmp_path / "r.json")])
    (kept,) = json.loads((tmp_path / "r.json").read_text())
    assert f"torchaudio_s: {figure(kept)}; layers" in capsys.readouterr().out


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
        ("finetune_step", "matched", lambda encoder, estimates, said: estimates.square().mean()),
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
    given = bench("finetune_step").main(arguments)
    assert [e["name"] for e in given] == ["finetune_step_kept", "finetune_step_kept_matched"]
    assert all("references kept" in entry["note"] for entry in given)


def test_matched_pairs_have_the_loss_of_all_pairs_in_fewer_runs(
    bench: Callable[[str], ModuleType],
) -> None:
    finetune, heard = bench("finetune_step"), []

    class Counting(finetune.Linear):
        def forward(self, waveform, lengths):
            heard.append(waveform.requires_grad)
            return super().forward(waveform, lengths)

    torch.manual_seed(0)
    references = torch.randn(4, 3, 1600)
    order = torch.tensor([[0, 1, 2], [2, 0, 1], [1, 0, 2], [2, 1, 0]])
    noisy = references + 0.1 * torch.randn_like(references)
    estimates = finetune.reorder(noisy, order).requires_grad_()
    values, gradients, runs = [], [], []
    for way in (finetune.per_pair, finetune.matched):
        heard.clear()
        value = way(Counting(), estimates, references)
        assert all(heard)  # references are in the graph too
        runs.append(len(heard))
        values.append(value)
        gradients.append(torch.autograd.grad(value.sum(), estimates)[0])
    assert runs == [2 * 9, 2 * 3]
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)


def test_a_step_is_measured_against_both_losses(
    bench: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    finetune = bench("finetune_step")
    monkeypatch.setattr(finetune, "alternate", lambda *_: np.tile([6.0, 3.0, 2.0], (2, 1)))
    given = finetune.main(["--quick", "--results", str(tmp_path / "r.json")])
    assert {e["name"]: e["value"] for e in given} == {
        "finetune_step": 3.0,
        "finetune_step_matched": 1.5,
    }
    assert [e["against"].partition(",")[0] for e in given] == [
        "encoder run per pair",
        "encoder run per matched pair",
    ]


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
        shown = "4 (3 to 5, rounds not recorded) s | 10 s or less, reached"
        assert any(shown in line for line in lines)
        assert sum("not measured" in line for line in lines) == len(table.GOALS) - 1


def test_a_row_has_the_commit_that_is_known(bench: Callable[[str], ModuleType]) -> None:
    entry = dict.fromkeys(FIELDS, "x") | {"value": 4.0, "low": 4.0, "high": 4.0}
    entry |= {"versions": {"torch": "2"}, "date": "2026-01-02"}
    for more, expected in (
        ({"commit": "abc+"}, "2026-01-02, machine 1, abc+"),
        ({"commit": None}, "2026-01-02, machine 1"),
        ({}, "2026-01-02, machine 1"),
    ):
        (row,) = (row for row in bench("table").rows([entry | more]) if row.startswith("| x |"))
        assert row.endswith(f"{expected} |")


def test_rows_share_a_machine_that_is_said_once(bench: Callable[[str], ModuleType]) -> None:
    entry = dict.fromkeys(FIELDS, "x") | {"value": 4.0, "low": 4.0, "high": 4.0, "date": "today"}
    common = {"python": "3.11", "torch": "2.0"}
    entries = [
        entry | {"name": "a", "machine": "fast", "versions": common | {"scipy": "1.5"}},
        entry | {"name": "b", "machine": "slow", "versions": common, "note": "as it is"},
        entry | {"name": "c", "machine": "fast", "versions": common},
        entry | {"name": "d", "machine": "fast", "versions": common | {"torch": "2.1"}},
    ]
    lines = bench("table").rows(entries)
    cells = {line.split(" | ")[0][2:]: line.split(" | ")[-1] for line in lines if "| today" in line}
    numbers = {name: cell.removeprefix("today, machine ")[0] for name, cell in cells.items()}
    assert numbers == {"a": "1", "b": "2", "c": "1", "d": "3"}
    for number, machine in (("1", "fast"), ("2", "slow")):
        said = f"{number}. {machine}; python 3.11, torch 2.0"
        assert [line for line in lines if machine in line and "2.0" in line] == [said]
    assert [line for line in lines if "scipy 1.5" in line] == ["- a: x, scipy 1.5; x"]
    assert "- b: x; as it is" in lines


def test_the_committed_table_is_that_of_the_committed_results(
    bench: Callable[[str], ModuleType],
) -> None:
    table = bench("table")
    results = json.loads(table.RESULTS.read_text("utf-8"))
    assert all(set(FIELDS) <= entry.keys() <= {*FIELDS, *NEWER} for entry in results)
    shown = table.PAGE.read_text("utf-8").partition(table.BEGIN)[2].partition(table.END)[0]
    assert shown.strip().splitlines() == table.rows(results)
