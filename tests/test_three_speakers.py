"""Libri3Mix at 8 kHz from data directories to the table: separate, recognise, score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jiwer
import numpy as np
import pytest
import torch
from librimix_tree import make_librimix, make_librispeech, utterances, voice

from sepasr.data.audio import read_mono
from sepasr.data.datadir import MixtureDir
from sepasr.data.librimix import LibriMix, prepare_librimix
from sepasr.data.scp import read_table, write_table
from sepasr.decode.cache import TranscriptCache
from sepasr.decode.guard import Hypothesis
from sepasr.decode.recognise import recognise, streams_of
from sepasr.decode.recogniser import Recogniser, RecogniserConfig
from sepasr.decode.separate import separate_directory
from sepasr.report.table import markdown
from sepasr.score.inputs import recogniser_info, system_info
from sepasr.score.normalise import normalise
from sepasr.score.result import Results, Run
from sepasr.score.score import score
from sepasr.score.summary import summarise
from sepasr.separator.model import Separator, SeparatorConfig

FS, SECONDS = 8000, 0.6
SYSTEMS = ("mixture", "clean", "rotated", "sisdr")


class Nearest:
    """Reads the utterance of the test set that sounds most like what it hears, at 16 kHz."""

    def __init__(self) -> None:
        self.identity = {"model": "nearest"}
        self.heard: list[int] = []
        self.texts = utterances("test")
        self.voices = {u: voice(u, SECONDS * (1 + i / 10)) for i, u in enumerate(self.texts)}

    def decode(
        self, waveforms: Sequence[np.ndarray], max_tokens: Sequence[int]
    ) -> list[Hypothesis]:
        self.heard += map(len, waveforms)
        return [Hypothesis(self.texts[self._nearest(w)], 3, cut=False) for w in waveforms]

    def _nearest(self, waveform: np.ndarray) -> str:
        def likeness(utterance: str) -> float:
            expected = self.voices[utterance]
            size = min(len(expected), len(waveform))
            return abs(expected[:size] @ waveform[:size]) / np.linalg.norm(expected[:size])

        return max(self.voices, key=likeness)


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[MixtureDir, Path, Nearest]:
    """The test set, the folder of experiments, and the decoder."""
    folder = tmp_path_factory.mktemp("libri3mix")
    speech = make_librispeech(folder, SECONDS)
    version = LibriMix(make_librimix(folder, 3, FS, ["max"], SECONDS), 3, FS)
    prepare_librimix(version, speech, folder / "data", allow_partial=True)
    data, exp = MixtureDir.load(folder / "data/tt"), folder / "exp"

    torch.manual_seed(0)
    small = {"channels": 16, "width": 8, "hidden": 8, "heads": 2, "layers": 1}
    separator = Separator(SeparatorConfig(**small, depthwise_kernel=3, num_speakers=3, fs=FS))
    for system in ("sisdr", "rotated"):
        separate_directory(separator, data, exp / "separate" / system)
    for s in (1, 2, 3):  # estimates as good as can be, in another order
        lists = {m.id: str(m.references[s % 3]) for m in data.mixtures}
        write_table(exp / "separate/rotated" / f"spk{s}.scp", lists)

    config = RecogniserConfig("nearest", family="none", weights="none", kind="ctc", batch_size=2)
    decoder = Nearest()
    with TranscriptCache(exp / "transcripts.sqlite") as cache:
        for system in SYSTEMS:
            streams = streams_of(data, exp / "separate" / system)
            assert len(streams) == len(data.mixtures) * (1 if system == "mixture" else 3)
            out = exp / "decode" / system / config.name
            recognise(streams, Recogniser(config, decoder), cache, out)
    return data, exp, decoder


def test_recognisers_hear_16_khz(walked: tuple[MixtureDir, Path, Nearest]) -> None:
    data, _, decoder = walked
    samples = [2 * round(m.duration_s * FS) for m in data.mixtures]
    # The mixture once, three references, which are the rotated estimates too, three estimates.
    assert sorted(decoder.heard) == sorted(samples * 7)


@pytest.mark.slow
def test_the_table_of_three_speakers(walked: tuple[MixtureDir, Path, Nearest]) -> None:
    data, exp, _ = walked
    systems = [system_info(exp, name) for name in SYSTEMS]
    recognisers = [recogniser_info(exp, SYSTEMS, "nearest")]
    scores = score(data, systems, recognisers, exp)
    rows = {(row.system, row.mixture): row for row in scores.utterances}
    read = {
        system: [
            read_table(exp / "decode" / system / "nearest" / f"text_spk{s}")
            for s in ((1,) if system == "mixture" else (1, 2, 3))
        ]
        for system in SYSTEMS
    }
    for mixture in data.mixtures:
        said = [normalise(text) for text in mixture.texts]
        words = sum(len(text.split()) for text in said)
        assert all(rows[system, mixture.id].words == words for system in SYSTEMS)
        for system in ("clean", "rotated"):
            assert rows[system, mixture.id].cp_errors == rows[system, mixture.id].orc_errors == 0
        # One decode of the mixture stands for each of the three speakers.
        heard = normalise(read["mixture"][0][mixture.id])
        alignments = [jiwer.process_words(text, heard) for text in said]
        errors = sum(a.substitutions + a.insertions + a.deletions for a in alignments)
        assert rows["mixture", mixture.id].cp_errors == errors > 0
    for row in scores.measures:
        if row.system == "rotated":
            assert row.si_sdr > 60
            assert min(row.stoi, row.estoi) > 0.99
        if row.system == "mixture":
            assert row.si_sdri == 0
        if row.system != "clean":
            assert np.isnan(row.pesq)  # it is 16 kHz's
            assert np.isfinite(row.stoi)

    run = Run("librimix", "c", "s", "2024-01-01", (), FS, "max", "anechoic", 2, 3, ())
    results = summarise(scores, systems, recognisers, run, control="sisdr", draws=200)
    streams = {line.name: line.wer["nearest"].streams for line in results.systems}
    assert streams == {"mixture": 2, "clean": 6, "rotated": 6, "sisdr": 6}
    results.write(exp / "results.json")
    assert Results.read(exp / "results.json").run.speakers == 3
    assert "8000 Hz · max · anechoic references · 2 mixtures of 3 speakers" in markdown(results)


def test_the_streams_are_three_of_the_mixture_s_rate(
    walked: tuple[MixtureDir, Path, Nearest],
) -> None:
    data, exp, _ = walked
    for s in (1, 2, 3):
        streams = read_table(exp / "separate/sisdr" / f"spk{s}.scp")
        for m in data.mixtures:
            assert len(read_mono(streams[m.id], FS)) == round(m.duration_s * FS)
