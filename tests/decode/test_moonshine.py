from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from natural_voice import say

from sepasr.decode.guard import Hypothesis
from sepasr.decode.recogniser import load_recogniser
from sepasr.decode.recognisers.moonshine import (
    DECODER,
    ENCODER,
    VOCABULARY,
    MoonshineDecoder,
    read_vocabulary,
)
from sepasr.errors import UserError
from sepasr.models import packaged_model

TEXTS = ["the red car stops near the old house", "seven dogs run over the green hill"]


@pytest.fixture(scope="module")
def folder() -> Path:
    return packaged_model("moonshine-tiny")


@pytest.fixture(scope="module")
def spoken() -> list[np.ndarray]:
    """Two sentences, at the level at which recognisers hear."""
    return say(TEXTS, seed=1)


def plain(text: str) -> str:
    return text.lower().replace(".", "")


def test_reads_what_is_said(spoken: list[np.ndarray]) -> None:
    recogniser = load_recogniser("moonshine_tiny", overrides=["jobs=1"])
    assert [plain(found.text) for found in recogniser.transcribe(spoken)] == TEXTS
    assert recogniser.processes == 1


def test_steps_with_kept_keys_are_those_of_the_whole(folder: Path, spoken) -> None:
    """Each unit is the likeliest after all before it, read anew without what was kept."""
    from onnxruntime import InferenceSession

    [found] = MoonshineDecoder(folder).decode(spoken[:1], [100])
    encoder, decoder = (InferenceSession(str(folder / name)) for name in (ENCODER, DECODER))
    heard = spoken[0][None]
    [states] = encoder.run(
        None, {"input_values": heard, "attention_mask": np.ones(heard.shape, np.int64)}
    )
    given = {
        "encoder_hidden_states": states,
        "encoder_attention_mask": np.ones(heard.shape, np.int64),
        "use_cache_branch": np.array([False]),
    } | {
        x.name: np.zeros((1, x.shape[1], 0, x.shape[3]), np.float32)
        for x in decoder.get_inputs()
        if x.name.startswith("past_key_values")
    }
    units = read_vocabulary(folder / VOCABULARY)
    tokens = [1]
    while tokens[-1] != 2:
        logits = decoder.run(["logits"], given | {"input_ids": np.array([tokens])})[0]
        tokens.append(int(logits[0, -1].argmax()))
    spelled = b"".join(units[token] for token in tokens[1:-1]).decode()
    assert found == Hypothesis(spelled.replace("\u2581", " ").strip(), len(tokens) - 2, cut=False)


def test_a_stream_is_read_as_if_alone(folder: Path, spoken: list[np.ndarray]) -> None:
    decoder = MoonshineDecoder(folder)
    together = decoder.decode([*spoken, spoken[0]], [100] * 3)
    assert together[0] == together[2] == decoder.decode(spoken[:1], [100])[0]


def test_a_cap_is_the_beginning_of_the_whole(folder: Path, spoken: list[np.ndarray]) -> None:
    decoder = MoonshineDecoder(folder)
    [whole] = decoder.decode(spoken[:1], [100])
    [cut] = decoder.decode(spoken[:1], [3])
    assert (cut.tokens, cut.cut, whole.cut) == (3, True, False)
    assert whole.text.startswith(cut.text)
    [exact] = decoder.decode(spoken[:1], [whole.tokens])
    assert exact == whole


def test_silence_and_the_shortest_stream_can_be_read(folder: Path) -> None:
    silence = np.zeros(30 * 16000, dtype=np.float32)
    for found in MoonshineDecoder(folder).decode([silence, silence[:1600]], [200, 8]):
        assert found.tokens <= 192


def test_what_is_no_model_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no encoder_model"):
        MoonshineDecoder(tmp_path)
    for name in (ENCODER, DECODER, VOCABULARY):
        shutil.copy(folder / name, tmp_path)
    content = (tmp_path / VOCABULARY).read_bytes()
    (tmp_path / VOCABULARY).write_bytes(content[:-1])
    with pytest.raises(UserError, match="ends within a unit"):
        MoonshineDecoder(tmp_path)
    (tmp_path / ENCODER).write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be loaded"):
        MoonshineDecoder(tmp_path)


def test_vocabulary(folder: Path, tmp_path: Path) -> None:
    units = read_vocabulary(folder / VOCABULARY)
    assert len(units) == 32768
    assert units[3:259] == [bytes([n]) for n in range(256)]
    (tmp_path / "long").write_bytes(bytes([2, 65, 66, 128 + 5, 1]) + b"x" * 133)
    assert read_vocabulary(tmp_path / "long") == [b"AB", b"x" * 133]
