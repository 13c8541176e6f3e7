from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from natural_voice import say
from pocketsphinx import Decoder

from sepasr.decode.guard import Hypothesis
from sepasr.decode.hearing import to_level
from sepasr.decode.recogniser import load_recogniser
from sepasr.decode.recognisers.pocketsphinx import SEARCH, PocketsphinxDecoder
from sepasr.errors import UserError

TEXTS = ["the red car stops near the old house", "seven dogs run over the green hill"]
GRAMMAR = """#JSGF V1.0;
grammar sentences;
public <sentence> = <who> (stops near | run over) the <what>;
<who> = the <what> | (six | seven) (dogs | cats);
<what> = (red | old | green) (car | house | hill);
"""


@pytest.fixture(scope="module")
def spoken() -> list[np.ndarray]:
    """Two sentences of the grammar, at the level at which recognisers hear."""
    return say(TEXTS, seed=1)


@pytest.fixture
def grammar(tmp_path: Path) -> Path:
    file = tmp_path / "grammar.jsgf"
    file.write_text(GRAMMAR)
    return file


def test_reads_sentences_of_the_grammar(grammar: Path, spoken: list[np.ndarray]) -> None:
    read = PocketsphinxDecoder(grammar).decode(spoken, [50, 3])
    assert read == [
        Hypothesis(TEXTS[0], 8, cut=False),
        Hypothesis("seven dogs run", 3, cut=True),
    ]


def _first_decode(grammar: Path | None, waveform: np.ndarray) -> str:
    """What a new decoder of the library reads."""
    settings = {} if grammar is None else {"jsgf": str(grammar), **SEARCH}
    decoder = Decoder(**settings, loglevel="FATAL")
    decoder.start_utt()
    decoder.process_raw((waveform * 32767).round().astype(np.int16).tobytes(), full_utt=True)
    decoder.end_utt()
    best = decoder.hyp()
    return "" if best is None else best.hypstr


def test_every_stream_is_read_as_the_first(grammar: Path, spoken: list[np.ndarray]) -> None:
    noise = np.random.default_rng(2).standard_normal(len(spoken[0])).astype(np.float32)
    # In this noise, a mean left over from the stream before is known to change what is read.
    noisy = to_level(spoken[0] + 0.02 * noise)
    streams = [spoken[1], noisy, *spoken, noisy, noisy[::-1].copy(), noisy]
    expected = [_first_decode(grammar, stream) for stream in streams]
    read = PocketsphinxDecoder(grammar).decode(streams, [50] * len(streams))
    assert [hypothesis.text for hypothesis in read] == expected


def test_silence_is_read_as_nothing(grammar: Path) -> None:
    silence = np.zeros(16000, dtype=np.float32)
    read = PocketsphinxDecoder(grammar).decode([silence, silence[:1600]], [5, 5])
    assert read == [Hypothesis("", 0, cut=False)] * 2


@pytest.mark.slow
def test_without_a_grammar_trigrams_decide(spoken: list[np.ndarray]) -> None:
    recogniser = load_recogniser("pocketsphinx", overrides=["jobs=1"], device="cuda")  # has none
    read = recogniser.transcribe(spoken[1:])[0].text
    assert read == _first_decode(None, spoken[1])
    # The last bits of the voice depend on the processor: on some it says "ran" to the trigrams.
    assert read in (TEXTS[1], TEXTS[1].replace("run", "ran"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GRAMMAR.replace("hill", "hrxq"), "The word 'hrxq' is missing in the dictionary"),
        (GRAMMAR.replace("car |", "car ("), "syntax error"),
        ("", "syntax error"),
    ],
)
def test_wrong_grammars_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "wrong.jsgf"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        PocketsphinxDecoder(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_grammar_is_another_recogniser(grammar: Path, spoken: list[np.ndarray]) -> None:
    settings = [f"grammar={grammar}", "jobs=1"]
    first = load_recogniser("pocketsphinx", overrides=settings)
    assert first.transcribe(spoken[:1])[0].text == TEXTS[0]
    grammar.write_text(GRAMMAR.replace("old | ", ""))
    second = load_recogniser("pocketsphinx", overrides=settings)
    assert second.identity != first.identity
    assert "old" not in second.transcribe(spoken[:1])[0].text
