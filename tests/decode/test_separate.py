"""Separation of a data directory: whatever the batch, and only what is not there yet."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sepasr.data.audio import read_mono
from sepasr.data.datadir import Info
from sepasr.data.scp import read_table
from sepasr.decode.recognise import streams_digest
from sepasr.decode.separate import SEPARATOR, load_separator, separate_directory
from sepasr.errors import UserError
from sepasr.files import locked_folder
from sepasr.models import REPOSITORY
from sepasr.parallel import OncePerProcess
from sepasr.separator.model import Provenance, Separator, SeparatorConfig

FS = 16000


def tiny(seed: int = 0, **changes) -> Separator:
    torch.manual_seed(seed)
    small = {"channels": 16, "width": 8, "hidden": 8, "heads": 2, "layers": 1}
    return Separator(SeparatorConfig(**small, depthwise_kernel=3, **changes)).eval()


def streams(out: Path) -> dict[str, np.ndarray]:
    return {file.name: soundfile.read(file)[0] for file in sorted((out / "wav").iterdir())}


def mark(out: Path) -> list[str]:
    """Put a constant in place of every stream; returns their names."""
    for file in (out / "wav").iterdir():
        soundfile.write(file, np.full(soundfile.info(file).frames, 0.5), FS)
    return sorted(file.name for file in (out / "wav").iterdir())


def made_again(out: Path) -> list[str]:
    return [name for name, samples in streams(out).items() if np.ptp(samples) > 0]


def test_streams_and_lists(data_dirs, tmp_path):
    mixtures = data_dirs.mixtures
    separate_directory(tiny(), mixtures, tmp_path / "out")
    for s in (1, 2):
        table = read_table(tmp_path / "out" / f"spk{s}.scp")
        assert table == {
            m.id: str(tmp_path / "out" / "wav" / f"{m.id}_spk{s}.wav") for m in mixtures.mixtures
        }
        for m in mixtures.mixtures:
            assert len(read_mono(table[m.id], FS)) == len(read_mono(m.mixture))


def test_two_runs_in_one_folder_do_not_mix(data_dirs, tmp_path):
    with (
        locked_folder(tmp_path / "out/.lock", "", tmp_path, ""),
        pytest.raises(UserError, match="another run is separating into this folder"),
    ):
        separate_directory(tiny(), data_dirs.mixtures, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]


def test_a_result_does_not_depend_on_its_batch(data_dirs, tmp_path):
    for batch in (1, 3, 8):
        separate_directory(tiny(), data_dirs.mixtures, tmp_path / str(batch), batch)
    fewer = replace(data_dirs.mixtures, mixtures=data_dirs.mixtures.mixtures[1:3])
    separate_directory(tiny(), fewer, tmp_path / "fewer", 8)
    alone = streams(tmp_path / "1")
    assert len(alone) == 2 * len(data_dirs.mixtures.mixtures)
    for other in ("3", "8", "fewer"):
        for name, samples in streams(tmp_path / other).items():
            np.testing.assert_allclose(samples, alone[name], atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_workers_give_the_same(data_dirs, tmp_path):
    tiny().save_pretrained(tmp_path / "model")
    load = OncePerProcess(load_separator, (tmp_path / "model", "cpu"))
    separate_directory(load(), data_dirs.mixtures, tmp_path / "here", 1)
    local = REPOSITORY / "conf" / "cluster" / "local.yaml"
    out = tmp_path / "there"
    separate_directory(load(), data_dirs.mixtures, out, 1, load=load, jobs=2, cluster=local)
    here = streams(tmp_path / "here")
    assert here.keys() == streams(out).keys()
    for name, samples in streams(out).items():
        np.testing.assert_array_equal(samples, here[name])


def test_what_is_there_is_not_made_again(data_dirs, tmp_path):
    out = tmp_path / "out"
    separate_directory(tiny(), data_dirs.mixtures, out)
    mark(out)
    (out / "wav" / "mix2_spk2.wav").unlink()
    broken = out / "wav" / "mix1_spk1.wav"
    broken.write_bytes(broken.read_bytes()[:-100])
    (out / "wav" / "mix0_spk2.wav").write_bytes(b"")
    (out / "spk1.scp").unlink()
    separate_directory(tiny(), data_dirs.mixtures, out)
    assert made_again(out) == [f"mix{n}_spk{s}.wav" for n in range(3) for s in (1, 2)]
    assert (out / "spk1.scp").is_file()


@pytest.mark.parametrize("left", ["spk1.scp", "wav/mix0_spk1.wav"])
def test_another_program_s_streams_are_not_taken_for_one_s_own(data_dirs, tmp_path, left):
    (tmp_path / "out" / left).parent.mkdir(parents=True)
    (tmp_path / "out" / left).touch()
    with pytest.raises(UserError, match=r"holds streams, but no separator\.json"):
        separate_directory(tiny(), data_dirs.mixtures, tmp_path / "out")
    assert not (tmp_path / "out" / SEPARATOR).exists()


def test_the_references_of_a_directory_are_not_replaced(data_dirs):
    before = (data_dirs.mixtures.path / "spk1.scp").read_bytes()
    with pytest.raises(UserError, match="a data directory: lists of streams would take"):
        separate_directory(tiny(), data_dirs.mixtures, data_dirs.mixtures.path)
    assert (data_dirs.mixtures.path / "spk1.scp").read_bytes() == before


@pytest.mark.parametrize("other", ["weights", "history"])
def test_streams_of_another_separator_are_made_again(data_dirs, tmp_path, other):
    out = tmp_path / "out"
    separate_directory(tiny(), data_dirs.mixtures, out)
    names = mark(out)
    separator = tiny(seed=1 if other == "weights" else 0)
    if other == "history":
        separator.provenance = Provenance("reverb")
    separate_directory(separator, data_dirs.mixtures, out)
    assert made_again(out) == names


def test_streams_of_other_mixtures_of_the_same_names_are_made_again(data_dirs, tmp_path):
    mixtures = data_dirs.mixtures
    separate_directory(tiny(), mixtures, tmp_path / "out")
    stream = tmp_path / "out" / "wav" / f"{mixtures.mixtures[0].id}_spk1.wav"
    before, digest = read_mono(stream), streams_digest(tmp_path / "out")
    file = mixtures.mixtures[0].mixture
    soundfile.write(file, read_mono(file)[::-1], 16000, "FLOAT")
    separate_directory(tiny(), mixtures, tmp_path / "out")
    assert not np.array_equal(read_mono(stream), before)
    assert streams_digest(tmp_path / "out") != digest  # transcripts of the old ones are told


def test_the_mixture_is_added_to_every_stream_and_that_is_written_down(data_dirs, tmp_path):
    mixtures, out = data_dirs.mixtures, tmp_path / "out"
    separate_directory(tiny(), mixtures, out)
    plain, said = streams(out), (out / SEPARATOR).read_text()
    for share in (0.1, 0.3):
        separate_directory(tiny(), mixtures, out, add_mixture=share)
        added = streams(out)
        for m in mixtures.mixtures:
            mixture = read_mono(m.mixture, FS)
            for name in (f"{m.id}_spk{s}.wav" for s in (1, 2)):
                expected = plain[name] + share * mixture
                np.testing.assert_allclose(added[name], expected, rtol=0, atol=1e-6)
        now = json.loads((out / SEPARATOR).read_text())
        assert now == {**json.loads(said), "add_mixture": share}
    separate_directory(tiny(), mixtures, out, add_mixture=0.0)
    assert (out / SEPARATOR).read_text() == said
    assert all(np.array_equal(samples, plain[name]) for name, samples in streams(out).items())
    with pytest.raises(UserError, match="can't be added"):
        separate_directory(tiny(), mixtures, out, add_mixture=-0.1)


def test_an_interrupted_separation_has_no_lists_and_is_continued(data_dirs, tmp_path):
    shortest = min(data_dirs.mixtures.mixtures, key=lambda m: m.duration_s)  # goes last
    shortest.mixture.rename(tmp_path / "kept.wav")
    with pytest.raises(UserError, match="no such audio file"):
        separate_directory(tiny(), data_dirs.mixtures, tmp_path / "out", 1)
    assert not list((tmp_path / "out").glob("spk*.scp"))
    done = mark(tmp_path / "out")
    assert done
    assert not any(name.startswith(shortest.id) for name in done)
    (tmp_path / "kept.wav").rename(shortest.mixture)
    separate_directory(tiny(), data_dirs.mixtures, tmp_path / "out", 1)
    assert not set(made_again(tmp_path / "out")) & set(done)
    assert len(streams(tmp_path / "out")) == 2 * len(data_dirs.mixtures.mixtures)
    assert len(read_table(tmp_path / "out" / "spk1.scp")) == len(data_dirs.mixtures.mixtures)


def test_a_wrong_rate_or_number_of_speakers_is_refused(data_dirs, tmp_path):
    with pytest.raises(UserError, match="mixtures of 2 speakers for a separator of 3"):
        separate_directory(tiny(num_speakers=3), data_dirs.mixtures, tmp_path / "out")
    with pytest.raises(UserError, match="16000 Hz mixtures for a separator of 8000 Hz"):
        separate_directory(tiny(fs=8000), data_dirs.mixtures, tmp_path / "out")
    claimed = replace(data_dirs.mixtures, info=Info("tiny", 8000))
    with pytest.raises(UserError, match="16000 Hz where 8000 Hz is expected"):
        separate_directory(tiny(fs=8000), claimed, tmp_path / "out")
    assert not (tmp_path / "out" / "wav").exists()
