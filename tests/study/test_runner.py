"""What a study trains, reads and writes, and what it doesn't do twice."""

from __future__ import annotations

import errno
import json
import math
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_study import Ear, Pretended, make_place, make_study, quick_measures

from sepasr.bin.main import main
from sepasr.config import load_config
from sepasr.data.audio import read_mono
from sepasr.errors import UserError
from sepasr.separator.model import Separator
from sepasr.study.evaluation import Reader
from sepasr.study.lock import locked
from sepasr.study.outlook import outlook
from sepasr.study.place import Place
from sepasr.study.rows import (
    FAMILY_MEAN,
    StudyResult,
    read_study_results,
    read_study_rows,
)
from sepasr.study.runner import Runner
from sepasr.study.summary import summarise_study
from sepasr.train.recipe import TrainConfig

pytestmark = pytest.mark.slow


@pytest.fixture
def place(data_dirs, tmp_path, monkeypatch) -> Place:
    monkeypatch.setattr("sepasr.score.measures.measure", quick_measures)
    return make_place(tmp_path, data_dirs)


def runner(place: Place, train: object, folder: Path, name: str = "small", **changes) -> Runner:
    study = make_study(folder, **changes)
    return Runner(name, study, place, train=train, reader_of=Ear)


def test_a_study_from_its_yaml_to_its_tables(place, tmp_path):
    train = Pretended()
    first = runner(place, train, tmp_path)
    results = first.run()
    # Three trainings of 4 steps for the screen; the control and one finalist with two seeds.
    finals = {(r.variant, r.steps) for r in results if r.set == "tt"}
    longest = {variant: max(s for name, s in finals if name == variant) for variant, _ in finals}
    assert len(longest) == 2
    assert train.steps == 3 * 4 + 2 * sum(longest.values())
    # NaN is not itself: what is written is compared as text.
    assert repr(read_study_results(place.out, "small")) == repr(tuple(results))
    rows = read_study_rows(place.out, "small")
    assert {row.set for row in rows} == {"cv", "tt"}
    by_set = {name: [row for row in rows if row.set == name] for name in ("cv", "tt")}
    # Start once, three variants after two numbers of steps; two readers; three mixtures.
    assert len(by_set["cv"]) == (1 + 3 * 2) * 2 * 3
    # The screen measures SI-SDR alone; the finals were asked for all.
    assert {math.isnan(row.pesq) for row in by_set["cv"]} == {True}
    assert {math.isnan(row.pesq) for row in by_set["tt"]} == {False}
    # Two seeds; three readers; five mixtures.
    assert len(by_set["tt"]) == len(finals) * 2 * 3 * 5
    again = summarise_study(rows, first.facts)
    assert repr(again) == repr(results)


def test_what_is_compared_with_what(place, tmp_path):
    results = runner(place, Pretended(), tmp_path).run()
    screen = [r for r in results if r.set == "cv"]
    assert all(r.against == "" for r in results if r.variant == "sisdr")
    for r in screen:
        if r.variant in ("slow", "wav2vec2"):
            assert (r.against, r.against_steps) == ("sisdr", r.steps)
        if r.variant == "start":  # it has no steps: the control's last
            assert (r.against, r.against_steps, r.seed, r.seeds) == ("sisdr", 4, None, 0)
    relations = {r.recogniser: r.relation for r in screen if r.variant == "wav2vec2"}
    assert relations == {"odd": "unseen", "even": "seen", FAMILY_MEAN: ""}
    # In the finals the average over seeds is compared, not each seed.
    finals = [r for r in results if r.set == "tt" and r.variant != "sisdr"]
    assert {r.seeds for r in finals if r.against} == {2}
    assert {(r.seeds, r.seed) for r in finals} == {(2, None), (1, 1), (1, 2)}
    for r in results:
        assert r.p_holm >= r.p or not r.against or r.seeds == 1


def test_nothing_is_done_twice(place, tmp_path):
    train = Pretended()
    first = runner(place, train, tmp_path)
    results = first.run()
    calls = len(train.trained)
    for training in place.models.glob("*/training"):
        shutil.rmtree(training)  # only what was exported is needed
    second = runner(place, train, tmp_path)
    assert repr(second.run()) == repr(results)
    assert len(train.trained) == calls
    assert [ear.decoder.heard for ear in second._readers.values()] == [0, 0, 0]


def test_studies_share_what_is_equal(place, tmp_path):
    train = Pretended()
    runner(place, train, tmp_path, finalists=None).run()
    calls = len(train.trained)
    variants = [
        {"name": "control", "system": "sisdr"},
        {"name": "same", "encoders": ["wav2vec2_mini"], "encoder_set": {"layer": 2}, "steps": [4]},
        {"name": "other", "encoders": ["wav2vec2_mini"], "encoder_set": {"layer": 1}},
    ]
    changes = {"variants": variants, "control": "control", "finalists": None}
    second = runner(place, train, tmp_path, "second", **changes)
    assert second.steps_to_do(second.screen) == 4
    second.run()
    assert train.trained[calls:] == [(0, 4)]  # only the other layer


def test_a_longer_training_goes_on_and_a_shorter_one_is_found_again(place, tmp_path):
    train = Pretended()
    only = [{"name": "sisdr", "system": "sisdr"}]
    changes = {"variants": only, "finalists": None}
    runner(place, train, tmp_path, steps=[2], **changes).run()
    runner(place, train, tmp_path, steps=[2, 5], **changes).run()
    assert train.trained == [(0, 2), (2, 5)]
    # Step 3 was passed without being kept.
    third = runner(place, train, tmp_path, steps=[3], **changes)
    assert third.steps_to_do(third.screen) == 3
    third.run()
    assert train.trained[2:] == [(0, 3)]
    (folder,) = place.models.iterdir()
    assert {p.name for p in folder.glob("step?")} == {"step2", "step3", "step5"}
    assert not (folder / "again").exists()


def test_with_a_falling_rate_each_length_is_its_own_training(place, tmp_path):
    falling = {"fit.optimizer.schedule": "cosine", "fit.optimizer.decay_steps": 2}
    only = [{"name": "sisdr", "system": "sisdr", "set": falling}]
    train = Pretended()
    runner(place, train, tmp_path, variants=only, finalists=None).run()
    assert sorted(train.trained) == [(0, 2), (0, 4)]


def test_an_interrupted_study_goes_on(place, tmp_path):
    train = Pretended(stop_at=3)
    with pytest.raises(KeyboardInterrupt):
        runner(place, train, tmp_path).run()
    assert train.trained == [(0, 4)]
    results = runner(place, train, tmp_path).run()
    assert train.trained[1] == (3, 4)  # from the checkpoint
    assert len([r for r in results if r.set == "cv"]) == (1 + 3 * 2) * 3


def test_a_training_that_ended_before_its_separators_were_taken(place, tmp_path):
    """The study was killed between the end of a training and what comes then."""
    train = Pretended()
    study = runner(place, train, tmp_path, finalists=None)
    study.run()
    for step in list(place.models.glob("*/step*")):
        step.replace(step.parent / "training" / step.name)
    shutil.rmtree(place.exp / "study" / next((place.exp / "study").glob("cv-*")).name)
    calls = len(train.trained)
    runner(place, train, tmp_path, finalists=None).run()
    assert len(train.trained) == calls


def test_a_variant_that_fails_does_not_keep_the_others(place, tmp_path):
    class Fails(Pretended):
        def __call__(self, arguments, lock):
            (config,) = arguments[arguments.index("--config") + 1 : arguments.index("--set")]
            if load_config(TrainConfig, [config]).fit.optimizer.lr == 1e-6:
                raise UserError("out of luck")
            super().__call__(arguments, lock)

    study = runner(place, Fails(), tmp_path)
    with pytest.raises(UserError, match="variant slow: out of luck"):
        study.run()
    found = {row.variant for row in read_study_rows(place.out, "small")}
    assert found == {"start", "sisdr", "wav2vec2"}
    assert {row.set for row in read_study_rows(place.out, "small")} == {"cv"}  # nobody was chosen


SISDR = {"name": "sisdr", "system": "sisdr"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"set": {"fit.optimizer.speed": 3}}, "speed"),
        ({"variants": [{"name": "sisdr", "system": "sisdr"}], "control": "none"}, "none"),
        ({"variants": [{"name": "sisdr", "encoders": ["nothing"]}]}, "unknown encoder 'nothing'"),
        ({"screen": {"set": "absent", "recognisers": ["odd"]}}, "absent"),
        ({"set": {"fit.seed": 3}}, "fit.seed is the runner's"),
        ({"finalists": {"seeds": [0, 1]}}, "seed of the screen's"),
        ({"finalists": {"set": "cv"}}, "set that chose them"),
        ({"question": "It does."}, "no question"),
        ({"screen": {"recognisers": ["odd", "odd"]}}, "screen.recognisers names one twice"),
        ({"finalists": {"seeds": [1, 1]}}, "finalists.seeds names one twice"),
        (
            {"difficulty": {"systems": ["clean"], "recognisers": ["odd"]}, "finalists": None},
            "a study of difficulty has no variants",
        ),
        ({"correlation": {"measures": ["mos"]}}, "unknown measure 'mos'"),
        ({"correlation": {"measures": ["si_sdr", "pesq"]}}, "pesq isn't measured"),
        (
            {"correlation": {"measures": [], "probes": [{"encoder": "nothing"}]}},
            "unknown encoder 'nothing'",
        ),
        ({"permutations": ["nothing"]}, "unknown encoder 'nothing'"),
        (
            {"variants": [{"name": "sisdr", "system": "sisdr", "encoder_set": {"layer": 1}}]},
            "encoder_set is given, but no encoders",
        ),
        (
            {"variants": [SISDR, {"name": "c", "system": "clean", "separate": {"add_mixture": 1}}]},
            "nothing is separated",
        ),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_is(place, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        runner(place, Pretended(), tmp_path, **changes)


def test_the_settings_of_a_study_are_not_overridden(place, tmp_path):
    changes = {"set": {"fit.optimizer.lr": 1e-4}}
    one = replace(place, overrides=("fit.optimizer.lr=1e-3",))
    with pytest.raises(UserError, match=r"fit\.optimizer\.lr is the study's to set"):
        runner(one, Pretended(), tmp_path, **changes)
    runner(replace(place, overrides=("fit.batch=1",)), Pretended(), tmp_path, **changes)
    for setting in ("fit.steps=50", "fit.snapshots=[1]"):
        with pytest.raises(UserError, match="is the study's to set"):
            runner(replace(place, overrides=(setting,)), Pretended(), tmp_path)


def test_a_brief_study_leaves_what_another_has_measured(place, tmp_path):
    """Also where it reads the same separators with another recogniser."""
    measured = {}
    for name, whole, readers in (
        ("first", True, ["odd"]),
        ("brief", False, ["odd", "even"]),
        ("again", True, ["odd", "even"]),
    ):
        screen = {"recognisers": readers, "all_measures": whole}
        study = make_study(tmp_path, finalists=None, screen=screen)
        Runner(name, study, place, train=Pretended(), reader_of=Ear).run()
        rows = read_study_rows(place.out, name)
        measured[name] = {(r.variant, r.steps, r.mixture): r.pesq for r in rows}
    assert not any(math.isnan(pesq) for pesq in measured["first"].values())
    assert measured["first"] == measured["brief"] == measured["again"]


def test_rows_know_what_read_them(place, tmp_path, monkeypatch):
    """Another number type of the encoder, or another version of what reads, is another reader."""
    found = set()
    for able, version in (({}, "1"), ({"amx_bf16": True}, "1"), ({}, "2")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able)
        monkeypatch.setattr(
            "sepasr.study.evaluation.installed", lambda name, version=version: name + version
        )
        found.add(Reader("whisper_tiny_en", place).digest)
    assert len(found) == 3


def test_a_study_says_at_which_commits_it_was_made(place, tmp_path, monkeypatch):
    commit = "aaaa"
    monkeypatch.setattr("sepasr.study.made.commit_at_start", lambda: commit)
    runner(place, Pretended(), tmp_path, finalists=None, steps=[2]).run()
    commit = "bbbb"
    runner(place, Pretended(), tmp_path, finalists=None, steps=[2, 4]).run()
    record = json.loads((place.out / "small.json").read_text())
    assert record["trained_at"] == record["read_at"] == ["aaaa", "bbbb"]
    cv = record["sets"]["cv"]
    assert cv["mixtures"] == 3
    assert {"corpus", "condition", "fs", "cut", "reference"} <= cv.keys()


def test_another_start_is_another_training(place, tmp_path):
    train = Pretended()
    changes = {"variants": [{"name": "sisdr", "system": "sisdr"}], "finalists": None, "steps": [1]}
    runner(place, train, tmp_path, **changes).run()
    separator = Separator.from_pretrained(place.start)
    next(separator.parameters()).data += 1
    separator.save_pretrained(place.start, provenance=separator.provenance)
    runner(place, train, tmp_path, **changes).run()
    assert train.trained == [(0, 1), (0, 1)]


def test_a_variant_may_start_from_another(place, tmp_path):
    variants = [
        {"name": "sisdr", "system": "sisdr"},
        {"name": "then", "system": "sisdr", "set": {"fit.optimizer.lr": 1e-6}, "init": "sisdr"},
    ]
    train = Pretended()
    study = runner(place, train, tmp_path, variants=variants, finalists=None)
    assert study.steps_to_do(study.screen) == 8
    study.run()
    assert train.steps == 8
    then = next(point for point in study.screen.points if point.variant.name == "then")
    before = next(p for p in study.screen.points if p.variant.name == "sisdr")
    assert study.training(then).init == study.training(before).model(4)


def test_a_reader_is_seen_by_what_a_variant_starts_from(place, tmp_path):
    variants = [
        {"name": "sisdr", "system": "sisdr"},
        {"name": "wav2vec2", "encoders": ["wav2vec2_mini"]},
        {"name": "then", "system": "sisdr", "init": "wav2vec2"},
    ]
    study = runner(place, Pretended(), tmp_path, variants=variants, finalists=None)
    encoders = study.facts.encoders
    assert encoders["then"] == encoders["wav2vec2"] != encoders["sisdr"] == ()


def test_the_mixture_is_added_without_another_training(place, tmp_path):
    variants = [
        {"name": "sisdr", "system": "sisdr"},
        {"name": "added", "system": "sisdr", "separate": {"add_mixture": 0.5}},
    ]
    train = Pretended()
    study = runner(place, train, tmp_path, variants=variants, finalists=None, steps=[1])
    study.run()
    assert train.trained == [(0, 1)]
    mixture = study.evaluation(study.screen, study.variants[0]).data.mixtures[0]
    plain, added = (
        read_mono(
            study.evaluation(study.screen, p.variant).separated(study.subject(p))
            / "wav"
            / f"{mixture.id}_spk1.wav",
            16000,
        )
        for p in study.screen.points
    )
    expected = plain + 0.5 * read_mono(mixture.mixture, 16000)
    assert added == pytest.approx(expected, abs=1e-6)


def test_a_task_has_sets_and_a_starting_point_of_its_own(place, tmp_path):
    task = {"task": "_other", "against": "sisdr_other"}
    variants = [
        {"name": "sisdr", "system": "sisdr"},
        {"name": "sisdr_other", "system": "sisdr", **task},
        {"name": "slow_other", "system": "sisdr", "set": {"fit.optimizer.lr": 1e-6}, **task},
    ]
    changes = {"variants": variants, "finalists": None, "steps": [1]}
    with pytest.raises(UserError, match=r"cv_other.*other among --extra_sets"):
        runner(place, Pretended(), tmp_path, **changes)
    shutil.copytree(place.data / "tt", place.data / "cv_other")
    assert place.starting_point("_other", 2) == place.start
    three = [
        replace(
            m, references=(*m.references, m.references[0]), texts=("A",) * 3, speakers=tuple("abc")
        )
        for m in place.mixtures("tt", "").mixtures
    ]
    few = place.mixtures("cv", "_other")
    replace(few, mixtures=tuple(three)).write()
    with pytest.raises(UserError, match=r"start_other.*utils/grow.sh --num_speakers 3"):
        runner(place, Pretended(), tmp_path, **changes)
    few.write()
    shutil.copytree(place.start.parent, place.exp / "start_other")
    assert place.starting_point("_other", 2).parent.name == "start_other"
    results = runner(place, Pretended(), tmp_path, **changes).run()
    found = {r.variant: (r.set, r.mixtures, r.against) for r in results}
    assert found == {
        "sisdr": ("cv", 3, ""),
        "sisdr_other": ("cv_other", 5, ""),
        "slow_other": ("cv_other", 5, "sisdr_other"),
    }


def test_the_outlook_tells_what_is_complete(place, tmp_path):
    train = Pretended()
    study = runner(place, train, tmp_path)
    lines = list(outlook(study))
    assert "steps in all: 12 for the screen, at most 28 with the finals" in lines[-1]
    assert not train.trained
    assert not place.out.exists()
    train.stop_at = 3
    with pytest.raises(KeyboardInterrupt):
        study.run()
    lines = list(outlook(runner(place, train, tmp_path)))
    assert "steps in all: 9 for the screen" in lines[-1]
    runner(place, train, tmp_path).run()
    lines = list(outlook(runner(place, train, tmp_path)))
    assert lines[-1] == "steps in all: 0"
    going = sum("goes on" in line for line in lines)
    assert sum(line.endswith("complete") for line in lines) == 7 + 2 * going


def test_a_place_is_for_one_process_at_a_time(tmp_path):
    code = "import sys; from sepasr.study.lock import locked; from pathlib import Path\n"
    code += "with locked(Path(sys.argv[1])): print('in')"
    with locked(tmp_path) as lock:
        other = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert "waiting" in other.stdout.readline()
        # What was started with the lock holds it when we are gone.
        child = subprocess.Popen(["sleep", "0.5"], pass_fds=[lock])
    assert child.poll() is None
    assert other.stdout.readline() == "in\n"
    assert child.wait() == other.wait() == 0


def command(place: Place, study: Path, out: Path) -> list[str]:
    """Arguments of `sepasr study`."""
    folders = ["--exp", place.exp, "--data", place.data, "--start", place.start, "--out", out]
    segment = ["--set", "mixing.segment_s=0.25"]  # as long as the encoder needs
    return ["study", str(study), "--recipe", "none", *map(str, folders), *segment]


REAL = {
    "screen": {"recognisers": ["wav2vec2_mini"]},
    "finalists": None,
    "steps": [1, 3],
    "variants": [
        {"name": "sisdr", "system": "sisdr"},
        {"name": "wav2vec2", "encoders": ["wav2vec2_mini"], "encoder_set": {"layer": 2}},
    ],
}


def test_the_command_with_real_trainings_and_a_real_reader(place, tmp_path):
    make_study(tmp_path, **REAL)
    arguments = command(place, tmp_path / "study.yaml", tmp_path / "out")
    assert main(arguments) == 0
    results = read_study_results(tmp_path / "out", "study")
    assert [(r.variant, r.steps, r.relation) for r in results if r.recogniser != FAMILY_MEAN] == [
        ("sisdr", 1, ""),
        ("sisdr", 3, ""),
        ("wav2vec2", 1, "seen"),
        ("wav2vec2", 3, "seen"),
    ]
    record = json.loads((tmp_path / "out" / "study.json").read_text())
    assert record["sets"]["cv"]["mixtures"] == 3
    assert record["variants"]["wav2vec2"]["encoders"][0]["family"] == "wav2vec2"
    assert (tmp_path / "out" / "study.svg").is_file()
    models = sorted(place.models.glob("*/step3/model.safetensors"))
    before = [path.stat().st_mtime_ns for path in models]
    assert main(arguments) == 0
    assert [path.stat().st_mtime_ns for path in models] == before
    assert len(before) == 2


def test_a_study_that_fails_does_not_keep_the_others(place, tmp_path, capsys):
    questions = {"question": "Is it dry?", "variants": [{"name": "sisdr", "system": "sisdr"}]}
    make_study(tmp_path, **{**REAL, **questions})
    good = command(place, tmp_path / "study.yaml", tmp_path / "out")
    absent = tmp_path / "absent.yaml"
    make_study(tmp_path, **{**REAL, **questions, "screen": {"set": "absent"}})
    (tmp_path / "study.yaml").replace(absent)
    make_study(tmp_path, **{**REAL, **questions})
    assert main([good[0], str(absent), *good[1:], "--dry_run"]) == 2
    said = capsys.readouterr()
    assert "study: Is it dry?" in said.out
    assert "1 of 2 studies" in said.err


def test_a_study_that_was_killed_comes_to_the_same(place, tmp_path):
    make_study(tmp_path, **{**REAL, "variants": REAL["variants"][:1], "steps": [3]})
    arguments = command(place, tmp_path / "study.yaml", tmp_path / "out")
    study = subprocess.Popen([sys.executable, "-m", "sepasr.bin.main", *arguments])
    while not list(place.models.glob("*/training/last.ckpt")) and study.poll() is None:
        time.sleep(0.01)
    study.kill()  # its training goes on, and the next study waits for it
    study.wait()
    assert not (tmp_path / "out").exists()
    assert main(arguments) == 0
    (model,) = place.models.glob("*/step3")
    killed = Separator.from_pretrained(model).state_dict()
    shutil.rmtree(place.exp / "study")
    assert main(arguments) == 0
    whole = Separator.from_pretrained(model).state_dict()
    assert all(torch.equal(killed[key], whole[key]) for key in whole)


def test_results_hold_every_field(place, tmp_path):
    results = runner(place, Pretended(), tmp_path, finalists=None).run()
    assert all(isinstance(r, StudyResult) for r in results)
    for r in results:
        assert r.cpwer_low <= r.cpwer <= r.cpwer_high
        assert r.recogniser == FAMILY_MEAN or r.cpwer == pytest.approx(r.cp_errors / r.words)


def test_settings_are_those_that_the_study_began_with(place, tmp_path):
    """Whoever edits a YAML meanwhile changes the next study."""
    began = []
    conf = place.exp / "conf" / "train" / "finetune.yaml"

    class Edited(Pretended):
        def __call__(self, arguments, lock):
            given = arguments[arguments.index("--config") + 1 : arguments.index("--set")]
            began.append(load_config(TrainConfig, given).mixing.snr_db)
            conf.write_text(conf.read_text().replace("20.0", "30.0"))
            super().__call__(arguments, lock)

    runner(place, Edited(), tmp_path).run()
    assert began == [(8.0, 20.0)] * len(began)
    assert len(began) > 3  # those of the finals too
    assert load_config(TrainConfig, [conf]).mixing.snr_db == (8.0, 30.0)


def test_a_disk_without_locks_keeps_nobody_out(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.ENOSYS, "no locks")

    monkeypatch.setattr("fcntl.flock", refused)
    with locked(tmp_path / "a"):
        assert (tmp_path / "a").is_dir()
