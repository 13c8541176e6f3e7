import math
from dataclasses import astuple, replace
from itertools import chain, count
from pathlib import Path

import numpy as np
import pesq as itu
import pystoi
import pytest

from sepasr.data.audio import write_audio
from sepasr.data.datadir import Mixture
from sepasr.errors import UserError
from sepasr.models import REPOSITORY
from sepasr.score import measures as module
from sepasr.score.log import ValueLog
from sepasr.score.measures import (
    WORST_PESQ,
    Measures,
    Task,
    measure,
    measure_all,
    most_utterances,
    pesq,
)
from sepasr.score.srmr import srmr

FS = 16_000
LOCAL = REPOSITORY / "conf" / "cluster" / "local.yaml"
NAMES = ("si_sdr", "si_sdri", "pesq", "stoi", "estoi", "srmr")


def speech_like(seed: int, seconds: float = 1.0) -> np.ndarray:
    """Noise with the rhythm of syllables, float32, (samples,)."""
    samples = int(seconds * FS)
    noise = np.random.default_rng(seed).standard_normal(samples)
    rhythm = np.sin(2 * np.pi * (2 + seed) * np.arange(samples) / FS + seed) ** 2
    return (0.1 * noise * rhythm).astype(np.float32)


@pytest.fixture(scope="module")
def scene():
    """References and mixture, and estimates at some 10 dB in the other order."""
    references = np.stack([speech_like(0), speech_like(1)])
    noise = np.random.default_rng(9).standard_normal(references.shape).astype(np.float32)
    estimates = references[::-1] + 0.02 * noise
    return references, references.sum(0), estimates


@pytest.mark.parametrize("order", [(1, 2, 0), (2, 0, 1)])
def test_each_of_three_speakers_is_measured_with_its_own_estimate(order):
    references = np.stack([speech_like(seed) for seed in range(3)])
    noise = np.random.default_rng(9).standard_normal(references.shape).astype(np.float32)
    estimates = references + np.array([[0.01], [0.02], [0.04]], np.float32) * noise
    found = measure(estimates[list(order)], references, references.sum(0), FS)
    pairs = list(zip(references, estimates, strict=True))
    stoi = np.mean([pystoi.stoi(r, e, FS) for r, e in pairs])
    assert found.stoi == pytest.approx(stoi, rel=1e-4)
    assert found.pesq == pytest.approx(
        np.mean([itu.pesq(FS, r, e, "wb") for r, e in pairs]), rel=1e-4
    )


def test_values_are_those_of_the_libraries(scene):
    references, mixture, estimates = scene
    measures = measure(estimates, references, mixture, FS)
    pairs = list(zip(references, estimates[::-1], strict=True))
    expected = {
        "pesq": [itu.pesq(FS, r, e, "wb") for r, e in pairs],
        "stoi": [pystoi.stoi(r, e, FS) for r, e in pairs],
        "estoi": [pystoi.stoi(r, e, FS, extended=True) for r, e in pairs],
        "srmr": [srmr(e, FS) for e in estimates],
    }
    for name, values in expected.items():
        assert getattr(measures, name) == pytest.approx(np.mean(values), rel=1e-4), name


def test_brief_measures_are_those_of_the_whole(scene):
    references, mixture, estimates = scene
    silent = estimates * np.array([[0], [1]], dtype=np.float32)
    for found in (estimates, silent):
        whole = measure(found, references, mixture, FS)
        brief = measure(found, references, mixture, FS, brief=True)
        assert astuple(brief)[:2] == astuple(whole)[:2]
        assert np.isnan(astuple(brief)[2:]).all()


def test_brief_and_whole_measures_are_kept_apart(tmp_path, scene):
    tasks, known = [task(tmp_path, scene)], log(tmp_path)
    for brief in (True, False, True):
        [found] = measure_all(tasks, FS, known, brief=brief)
        assert all(math.isnan(measures.srmr) == brief for measures in found)


def test_si_sdr_of_a_known_distortion(scene):
    references, mixture, _ = scene
    references = references - references.mean(1, keepdims=True)
    estimates = []
    for reference in references:
        noise = np.random.default_rng(5).standard_normal(reference.shape)
        noise -= noise.mean()
        noise -= reference * (noise @ reference) / (reference @ reference)
        noise *= 0.1 * np.linalg.norm(reference) / np.linalg.norm(noise)  # 20 dB below
        estimates.append(3 * (reference + noise))
    measures = measure(np.stack(estimates), references, mixture, FS)
    assert measures.si_sdr == pytest.approx(20, abs=1e-3)
    unseparated = measure(np.stack([mixture, mixture]), references, mixture, FS)
    assert unseparated.si_sdri == 0
    assert measures.si_sdri == pytest.approx(20 - unseparated.si_sdr, abs=1e-3)


def test_order_and_scale_of_the_estimates_do_not_matter(scene):
    references, mixture, estimates = scene
    first = measure(estimates, references, mixture, FS)
    second = measure(0.1 * estimates[::-1], references, mixture, FS)
    for name in NAMES:
        assert getattr(first, name) == pytest.approx(getattr(second, name), rel=1e-4), name


def test_a_silent_estimate_counts_with_the_worst_values(scene):
    references, mixture, estimates = scene
    both = measure(np.zeros_like(estimates), references, mixture, FS)
    assert (both.si_sdr, both.stoi, both.estoi) == (-80, 0, 0)
    assert both.pesq == pytest.approx(1.04, abs=0.005)
    assert math.isnan(both.srmr)
    one = measure(estimates * [[1], [0]], references, mixture, FS)
    assert one.srmr == pytest.approx(srmr(estimates[0], FS))
    good = measure(estimates, references, mixture, FS)
    assert all(getattr(one, name) < getattr(good, name) for name in NAMES[:5])


def test_a_silent_estimate_is_undefined_where_every_other_one_is(scene, monkeypatch):
    """Else one silent stream would give a system a PESQ at 8 kHz, where no other has one."""
    references, mixture, estimates = scene
    half = estimates * np.array([[1], [0]], dtype=np.float32)
    measures = measure(half, references, mixture, 8_000)
    assert math.isnan(measures.pesq)
    assert measures.stoi < measure(estimates, references, mixture, 8_000).stoi
    short = measure(*(signal[..., :3_000] for signal in (half, references, mixture)), FS)
    assert short.si_sdr < 0
    assert all(math.isnan(getattr(short, name)) for name in ("pesq", "stoi", "estoi"))

    def no_utterances(*_):
        raise itu.NoUtterancesError("No utterances detected")

    monkeypatch.setattr(itu, "pesq", no_utterances)
    assert math.isnan(measure(half, references, mixture, FS).pesq)


def test_a_silent_reference_is_left_out(scene):
    references, _, estimates = scene
    references = references * [[1], [0]]
    mixture = references.sum(0)
    measures = measure(estimates[::-1], references, mixture, FS)
    alone = measure(estimates[1:], references[:1], mixture, FS)
    for name in NAMES[:5]:
        assert getattr(measures, name) == pytest.approx(getattr(alone, name)), name
    nothing = measure(estimates, 0 * references, mixture, FS)
    assert all(math.isnan(getattr(nothing, name)) for name in NAMES[:5])


def test_signals_too_short_for_a_measure(scene):
    references, mixture, estimates = (signal[..., :3_000] for signal in scene)  # 0.19 s
    measures = measure(estimates, references, mixture, FS)
    assert math.isfinite(measures.si_sdr)
    assert all(math.isnan(getattr(measures, name)) for name in NAMES[2:])


def test_too_little_speech_for_stoi(scene):
    reference = np.zeros(2 * FS, dtype=np.float32)
    reference[:2_000] = speech_like(0)[:2_000]
    references = reference[None]
    measures = measure(references + 0.001, references, reference, FS)
    assert math.isnan(measures.stoi)
    assert math.isnan(measures.estoi)


def test_pesq_is_wide_band_only(scene):
    assert math.isnan(pesq(scene[0][0], scene[0][0], 8_000))


def test_pesq_without_utterances(monkeypatch, scene):
    """Where PESQ detects no speech, it depends on the signal that has none."""
    reference, estimate = scene[0]
    for silent_references, expected in ((False, WORST_PESQ), (True, math.nan)):

        def no_utterances(fs, ref, deg, mode, _all=silent_references):
            if _all or not np.array_equal(ref, deg):
                raise itu.NoUtterancesError("No utterances detected")
            return 4.64

        monkeypatch.setattr(itu, "pesq", no_utterances)
        assert pesq(estimate, reference, FS) == pytest.approx(expected, nan_ok=True)


def bursts(number: int, speech_s: float, pause_s: float, fall_db: float = 0.0) -> np.ndarray:
    """Noise with pauses, float32, each stretch of it softer than the one before."""
    rng = np.random.default_rng(0)
    parts = []
    for n in range(number):
        loud = 0.1 * 10 ** (-fall_db * n / number / 20)
        parts += [np.zeros(round(pause_s * FS)), loud * rng.standard_normal(round(speech_s * FS))]
    return np.concatenate([*parts, np.zeros(FS)]).astype(np.float32)


def test_utterances_are_counted_as_in_pesq():
    assert most_utterances(bursts(30, 0.25, 0.25)) == 30
    assert most_utterances(bursts(30, 0.25, 0.25, fall_db=30)) == 30
    assert most_utterances(bursts(30, 0.25, 0.15)) < 10  # pauses that join what they part
    assert most_utterances(bursts(30, 0.1, 0.25)) == 0
    hum = np.sin(2 * np.pi * 100 * np.arange(len(bursts(30, 0.25, 0.25))) / FS)
    assert most_utterances(bursts(30, 0.25, 0.25) + 0.1 * hum) == 30
    assert most_utterances(speech_like(0, 30)) <= 30


def test_pesq_is_not_asked_about_more_utterances_than_it_has_room_for(monkeypatch):
    """Beyond 50 of them, it would end the process."""
    asked = []
    monkeypatch.setattr(itu, "pesq", lambda fs, ref, *_: asked.append(len(ref)) or 4.0)
    for number in (41, 70):
        reference = bursts(number, 0.25, 0.25)
        assert math.isnan(pesq(reference, reference, FS))
    assert not asked
    few, long = bursts(38, 0.25, 0.25), np.tile(bursts(3, 2.0, 0.25), 10)
    for reference in (few, long):
        assert pesq(reference, reference, FS) == 4.0
    assert asked == [len(few), len(long)]


@pytest.mark.slow
def test_pesq_of_a_long_signal_is_the_library_s():
    reference = bursts(38, 0.25, 0.25)
    estimate = reference + 0.01 * np.random.default_rng(1).standard_normal(len(reference))
    expected = itu.pesq(FS, reference, estimate, "wb")
    assert pesq(estimate, reference, FS) == pytest.approx(expected, rel=1e-4)


def test_only_what_may_have_too_many_utterances_is_measured_anew(tmp_path, scene, monkeypatch):
    times = count(1)
    monkeypatch.setattr(module, "measure", lambda *_: Measures(si_sdr=next(times)))
    short = task(tmp_path, scene)
    long = replace(short, mixture=replace(short.mixture, duration_s=20.0))
    known = log(tmp_path)
    for limit, expected in ((40, (1, 2)), (39, (1, 3)), (40, (1, 2))):
        monkeypatch.setattr(module, "PESQ_UTTERANCES", limit)
        found = measure_all([short, long], FS, known)
        assert tuple(estimates.si_sdr for estimates, _ in found) == expected


def task(folder: Path, scene, name: str = "m") -> Task:
    """The scene on disk; the systems are the estimates, then the references."""
    references, mixture, estimates = scene
    folder.mkdir(exist_ok=True)
    files = {}
    for key, signals in {"s": references, "e": estimates, "x": [mixture]}.items():
        files[key] = tuple(folder / f"{name}_{key}{n}.wav" for n in range(len(signals)))
        for file, signal in zip(files[key], signals, strict=True):
            write_audio(file, signal, FS)
    record = Mixture(name, files["x"][0], files["s"], None, ("a", "b"), ("1", "2"), 1.0)
    return Task(record, (files["e"], files["s"]))


def log(folder: Path, name: str = "log") -> ValueLog:
    return ValueLog(folder / f"{name}.jsonl")


def test_files(tmp_path, scene):
    [(estimates, references)] = measure_all([task(tmp_path, scene)], FS, log(tmp_path))
    expected = measure(scene[2], scene[0], scene[1], FS)
    assert astuple(estimates) == pytest.approx(astuple(expected))
    mean_srmr = np.mean([srmr(reference, FS) for reference in scene[0]])
    assert references.srmr == pytest.approx(mean_srmr)
    assert all(math.isnan(getattr(references, name)) for name in NAMES[:5])


@pytest.mark.slow
def test_processes_give_the_same(tmp_path, scene):
    tasks = [task(tmp_path, scene, "a"), task(tmp_path, [s[..., ::-1] for s in scene], "b")]
    alone, together = (
        measure_all(tasks, FS, log(tmp_path, name), 2, where)
        for name, where in (("here", None), ("there", LOCAL))
    )
    for one, other in zip(chain(*alone), chain(*together), strict=True):
        assert astuple(one) == pytest.approx(astuple(other), nan_ok=True)


def test_nothing_is_measured_twice(tmp_path, scene, monkeypatch):
    times = count(1)
    monkeypatch.setattr(module, "measure", lambda *_: Measures(si_sdr=next(times)))
    first, second = (task(tmp_path, scene, name) for name in ("first", "second"))
    [(kept, references)] = measure_all([first], FS, log(tmp_path))
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('["a line that was interru')
    found = measure_all([second, first], FS, log(tmp_path))
    assert [estimates.si_sdr for estimates, _ in found] == [2, 1]
    assert found[1][0].si_sdr == kept.si_sdr
    assert found[1][1].srmr == references.srmr
    write_audio(first.estimates[0][1], 2 * scene[0][0], FS)
    found = measure_all([second, first], FS, log(tmp_path))
    assert [estimates.si_sdr for estimates, _ in found] == [2, 3]
    monkeypatch.setattr(module, "version", lambda name: "9" if name == "gammatone" else "1")
    found = measure_all([second, first], FS, log(tmp_path))
    assert [estimates.si_sdr for estimates, _ in found] == [4, 5]
    (tmp_path / "log.jsonl").write_text('["key", NaN]\nnothing\n')
    with pytest.raises(UserError, match=r"log\.jsonl:2: not a JSON list"):
        log(tmp_path)


def test_unequal_lengths(tmp_path, scene):
    bad = task(tmp_path, scene)
    write_audio(bad.estimates[0][1], scene[0][0, :-1], FS)
    with pytest.raises(UserError, match=r"m_e1\.wav: 15999 samples where its mixture has 16000"):
        measure_all([bad], FS, log(tmp_path))


@pytest.mark.slow
def test_an_error_in_a_process_names_the_file(tmp_path, scene):
    bad = task(tmp_path, scene)
    # It is there, so that it is not before a process reads it that something is wrong.
    bad.estimates[0][1].write_bytes(b"no audio")
    with pytest.raises(UserError, match=r"m_e1\.wav: cannot be read"):
        measure_all([bad], FS, log(tmp_path), 2, LOCAL)


def test_a_file_that_is_not_there_is_named(tmp_path, scene):
    bad = task(tmp_path, scene)
    bad.estimates[0][1].unlink()
    with pytest.raises(UserError, match=r"m_e1\.wav: no such audio file"):
        measure_all([bad], FS, log(tmp_path))


def test_undefined_by_default():
    assert all(math.isnan(getattr(Measures(), name)) for name in NAMES)
