import re
from itertools import product
from pathlib import Path

import numpy as np
import pocketsphinx
import pytest

from sepasr.simulate import text


def dictionary() -> set[str]:
    path = Path(pocketsphinx.get_model_path()) / "en-us" / "cmudict-en-us.dict"
    return {line.split()[0] for line in path.read_text(encoding="utf-8").splitlines()}


def test_there_are_many_words_and_pocketsphinx_can_pronounce_each():
    words = text.words()
    assert len(words) >= 400
    assert set(words) <= dictionary()


def test_words_are_plain():
    ambiguous = re.findall(
        r"\w+",
        "to two too their there sea see flour flower bare bear dear deer mail male meat meet "
        "pair pear plain plane road rode sail sale son sun tail tale wait weight week weak wood "
        "would write right new knew hear here hour our by buy bye one won no know red read its "
        "gray grey color colour theater theatre center centre neighbor neighbour",
    )
    assert not set(ambiguous) & set(text.words())
    assert all(word.isascii() and word.isalpha() and word.islower() for word in text.words())


@pytest.mark.parametrize("part", ["train", "dev", "test"])
def test_drawn_sentences_are_short_known_and_of_their_part(part):
    rng = np.random.default_rng(0)
    sentences = [text.draw(rng, part) for _ in range(200)]
    assert all(text.part_of(sentence) == part for sentence in sentences)
    assert {len(sentence.split()) for sentence in sentences} <= set(range(6, 11))
    assert {word for sentence in sentences for word in sentence.split()} <= set(text.words())
    assert len(set(sentences)) > 190


def test_parts_have_their_shares():
    parts = [text.part_of(f"sentence {n}") for n in range(10_000)]
    for part, share in (("train", 0.8), ("dev", 0.1), ("test", 0.1)):
        assert parts.count(part) / len(parts) == pytest.approx(share, abs=0.02)
    # crc32 has no seed: the partition is the same in every process and version.
    assert text.part_of("the old farmer carried the basket near the fence") == "train"


def test_the_words_are_those_that_sentences_can_hold():
    held = set()
    for scene, pattern in product(text.SCENES, text.PATTERNS):
        literal, slots = np.array([*re.split(r"<(\w+)>", pattern), ""]).reshape(-1, 2).T
        held.update(" ".join(literal).split())
        for slot in filter(None, slots):
            held.update(" ".join(text._alternatives(scene, slot)).split())
    assert held == set(text.words())


def test_drawn_words_are_known_and_of_every_scene():
    rng = np.random.default_rng(2)
    seen = {word for _ in range(300) for word in text.draw(rng, "train").split()}
    assert seen <= set(text.words())
    assert len(seen) > 0.6 * len(text.words())


def test_the_grammar_loads_in_pocketsphinx_and_takes_the_sentences(tmp_path):
    path = tmp_path / "grammar.jsgf"
    path.write_text(text.jsgf(), encoding="utf-8")
    decoder = pocketsphinx.Decoder(jsgf=str(path), lm=None)
    grammar = decoder.get_fsg()
    rng = np.random.default_rng(3)
    for part in ("train", "dev", "test"):
        for _ in range(20):
            assert grammar.accept(text.draw(rng, part))
    assert not grammar.accept("the farmer the farmer")
