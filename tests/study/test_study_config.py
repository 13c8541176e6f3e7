"""The studies in conf/study, without training: every variant comes to settings that exist."""

from __future__ import annotations

import dataclasses

import pytest
from small_study import make_study

from sepasr.bin.main import main
from sepasr.config import load_config
from sepasr.decode.recogniser import RecogniserConfig
from sepasr.encoder.base import EncoderConfig
from sepasr.encoder.layers import Layers
from sepasr.errors import UserError
from sepasr.study.config import FOLDER, Difficulty, StudyConfig, load_study, study_names
from sepasr.study.digest import changed, override, without_length
from sepasr.study.place import Place
from sepasr.study.training import LAYERS
from sepasr.train.recipe import TrainConfig
from sepasr.train.schedule import lr_factor

ASKED = {
    *("permutation", "learning_rate", "speakers", "pseudo_reference", "layer", "recognisers"),
    *("generalise", "baselines", "difficulty"),
}
BLOCKS = {"whisper_tiny_en": 4, "wav2vec2_mini": 4}


def place(folder) -> Place:
    return Place("mini_whamr", folder, folder / "data", folder / "start", folder / "out")


def test_every_question_has_its_study():
    assert set(study_names()) >= ASKED


def example_of_the_docs(folder) -> str:
    """The YAML in docs/studies.md, as a file."""
    page = (FOLDER.parents[1] / "docs/studies.md").read_text(encoding="utf-8")
    (folder / "example.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    return str(folder / "example.yaml")


@pytest.mark.parametrize("name", [*study_names(), "docs"])
def test_every_variant_comes_to_valid_settings(name, tmp_path):
    study = load_study(example_of_the_docs(tmp_path) if name == "docs" else name)
    here = place(tmp_path)
    readers = {*study.screen.recognisers, *(study.finalists.recognisers if study.finalists else ())}
    for reader in readers:
        load_config(RecogniserConfig, here.layers(f"asr/{reader}"))
    for variant in study.resolved():
        for encoder in variant.encoders:
            deltas = [override(*item) for item in variant.encoder_set.items()]
            conf = load_config(EncoderConfig, here.layers(f"encoder/{encoder}"), deltas)
            Layers.of(conf, BLOCKS[encoder])  # the layers are those of the model
        if variant.trained:
            overrides = [override(*item) for item in variant.set.items()]
            config = load_config(TrainConfig, here.layers(*LAYERS[variant.system]), overrides)
            if config.fit.optimizer.schedule == "cosine":
                lr_factor(config.fit.optimizer, variant.steps[-1])
    for probe in study.correlation.probes if study.correlation else ():
        deltas = [override(*item) for item in probe.set.items()]
        conf = load_config(EncoderConfig, here.layers(f"encoder/{probe.encoder}"), deltas)
        Layers.of(conf, BLOCKS[probe.encoder])


@pytest.mark.parametrize("name", study_names())
def test_variants_differ(name, tmp_path):
    """No two of a study are the same training and the same way to separate."""
    study, here, seen = load_study(name), place(tmp_path), {}
    for variant in study.resolved():
        overrides = [override(*item) for item in variant.set.items()]
        settings: object = variant.system
        if variant.trained:
            config = load_config(TrainConfig, here.layers(*LAYERS[variant.system]), overrides)
            length = variant.steps if variant.steps[-1] > study.steps[-1] else ()
            settings = (without_length(config), variant.encoders, variant.encoder_set, length)
        key = repr((settings, variant.separate, variant.task, variant.init))
        assert key not in seen, f"{variant.name} is {seen.get(key)}"
        seen[key] = variant.name


def test_screens_are_small_enough_for_two_cores():
    for name in ASKED - {"difficulty"}:
        longest: dict[str, int] = {}  # one training may be of several variants
        for v in load_study(name).resolved():
            what = repr((v.system, v.encoders, v.encoder_set, v.set, v.init, v.task))
            longest[what] = max(v.steps[-1], longest.get(what, 0)) if v.trained else 0
        steps = sum(longest.values())
        assert steps <= 6_000, f"{name}: {steps} steps are more than a night"


def test_a_study_lays_its_own_settings_under_its_variants_(tmp_path):
    study = make_study(tmp_path, set={"fit.optimizer.lr": 0.1, "fit.batch": 2})
    assert study.variant("slow").set == {"fit.optimizer.lr": 1e-6, "fit.batch": 2}
    assert study.variant("sisdr").set["fit.optimizer.lr"] == 0.1
    assert study.variant("start").steps == [0]
    assert study.variant("slow").steps == [2, 4]


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"name": "x", "system": "sisdr", "encoders": ["a"]}, "encoders are for"),
        ({"name": "x"}, "encoders are for"),
        ({"name": "x", "system": "magic"}, "unknown system 'magic'"),
        ({"name": "x", "system": "start", "steps": [3]}, "nothing is trained"),
        ({"name": "x", "system": "sisdr", "init": "y"}, "starts from itself: x <- y <- x"),
        ({"name": "x", "system": "sisdr", "separate": {"gain": 1.0}}, "has no 'gain'"),
        ({"name": "sisdr", "system": "sisdr"}, "named twice"),
        ({"name": "x", "system": "sisdr", "steps": [0]}, "less than 1"),
        ({"name": "x", "system": "sisdr", "init": "c"}, "starts from 'c', which is not trained"),
    ],
)
def test_variants_that_make_no_sense(tmp_path, variant, message):
    others = [
        {"name": "sisdr", "system": "sisdr"},
        {"name": "y", "system": "sisdr", "init": "x"} if "init" in variant else None,
        {"name": "c", "system": "clean"},
    ]
    with pytest.raises(UserError, match=message):
        make_study(tmp_path, variants=[v for v in [variant, *others] if v], finalists=None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"screen": {"set": "cv", "seeds": []}}, "screen.seeds names none"),
        ({"finalists": {"recognisers": []}}, "finalists.recognisers names none"),
        ({"finalists": {"among": ["c"]}}, "finalists.among: 'c' is not trained"),
        ({"finalists": {"set": "cv"}}, "the set that chose them"),
        ({"screen": {"set": "cv_t"}, "finalists": {"set": "cv"}}, "the set that chose them"),
    ],
)
def test_designs_that_make_no_sense(tmp_path, changes, message):
    variants = [
        {"name": "sisdr", "system": "sisdr"},
        {"name": "t", "system": "sisdr", "task": "_t"},
        {"name": "c", "system": "clean"},
    ]
    with pytest.raises(UserError, match=message):
        make_study(tmp_path, variants=variants, **{"finalists": None, **changes})


def test_difficulty_is_of_a_group_at_least():
    with pytest.raises(UserError, match=r"difficulty\.bins is 0"):
        StudyConfig("What is hard?", difficulty=Difficulty(bins=0))


def test_values_survive_the_command_line():
    class_of = dataclasses.make_dataclass(
        "C", [("a", float, 0.0), ("b", float | None, 1.0), ("c", str, ""), ("d", bool, False)]
    )
    given = {"a": 1e-5, "b": None, "c": "guided", "d": True}
    assert vars(load_config(class_of, [], [override(*item) for item in given.items()])) == given


def test_a_new_setting_with_its_default_changes_no_digest():
    one = load_config(TrainConfig, [], ["fit.optimizer.lr=0.1", "fit.steps=7"])
    assert without_length(one) == {"fit": {"optimizer": {"lr": 0.1}}}
    cosine = ["fit.optimizer.schedule=cosine", "fit.optimizer.decay_steps=3"]
    falling = load_config(TrainConfig, [], [*cosine, "fit.steps=7"])
    assert without_length(falling)["fit"]["steps"] == 7
    assert changed(one, one) == {}
    idle = ["loss.compare_every=10", "fit.workers=3", "fit.accelerator=cpu", "fit.valid_every=2"]
    assert without_length(load_config(TrainConfig, [], idle)) == {"fit": {}}


def test_the_command_lists_studies_and_says_what_is_wrong(capsys):
    assert main(["study", "--list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name} " in listed for name in ASKED)
    assert main(["study", "nothing"]) == 2
    assert str(FOLDER / "nothing.yaml") in capsys.readouterr().err
    assert main(["study"]) == 2
    assert "no study is named" in capsys.readouterr().err
