from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import fftconvolve, resample_poly
from whamr_sources import FS, MIXTURES, Sources, make_sources, voice

from sepasr.bin.main import main
from sepasr.data.audio import read_audio, read_mono
from sepasr.data.datadir import MixtureDir, RoomDir, UtteranceDir
from sepasr.errors import UserError
from sepasr.simulate import whamr
from sepasr.simulate.rooms import Room
from sepasr.simulate.whamr import make_signals
from sepasr.simulate.whamr_plans import Plan, read_plans
from sepasr.simulate.whamr_rooms import choose_rooms, impulse_responses, read_rooms

FIRST = MIXTURES["tt"][0]
FOLDERS = ["mix_both_reverb", "noise", "s1_anechoic", "s1_reverb", "s2_anechoic", "s2_reverb"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return make_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture
def damaged(sources: Sources, tmp_path: Path) -> Sources:
    """Sources of a test's own."""
    top = shutil.copytree(sources.wsj0.parent, tmp_path / "damaged")
    return Sources(*(top / f.name for f in (sources.wsj0, sources.noise, sources.scripts)))


def build(sources: Sources, out: Path, *more: str) -> int:
    """The command; its exit status."""
    return main(
        [
            *("build", "whamr", "--scripts", str(sources.scripts), "--wsj0", str(sources.wsj0)),
            *("--noise", str(sources.noise), "--out", str(out), "--allow-partial", *more),
        ]
    )


@pytest.fixture(scope="module")
def tree(sources: Sources, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whamr")
    assert build(sources, out) == 0
    return out


# By hand: short signals, and rooms that are a delay and an echo.

SIZE = (6.0, 5.0, 3.0)
PLAN = Plan(
    name="a_1_b_-1",
    utterances=("a", "b"),
    room=Room(SIZE, 0.2, (3.0, 2.5, 1.5), ((4.0, 2.5, 1.5), (3.0, 3.5, 1.5))),
    start=2,
    gains=(0.5, 2.0),
    speech_gain=0.25,
    noise_gain=3.0,
)
ONE = 2.0**-15  # the least step of 16 bits
FIRST_SPEECH = np.array([4, 8, -4]) * ONE
SECOND_SPEECH = np.array([2, 0]) * ONE
NOISE = np.arange(1, 9) * ONE


@pytest.fixture
def simple_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speaker 1 comes 1 sample late and at half the amplitude, with an equal echo 2 later.

    Speaker 2 comes at once at four times the amplitude, without an echo.
    """
    direct = [np.array([0, 0.5]), np.array([4.0])]
    heard = [np.array([0, 0.5, 0, 0.5]), np.array([4.0])]
    monkeypatch.setattr(whamr, "impulse_responses", lambda room: (heard, direct))


def test_max_by_hand(simple_rooms):
    made = make_signals(PLAN, (FIRST_SPEECH, SECOND_SPEECH), NOISE, 16000, "max")
    expected = {
        # The first: [4 8 -4] x 0.5 is what 16 bits hold, x 0.25 = [0.5 1 -0.5]. Its image has that
        # energy, 1 later; the noise lasts 8 samples and speech starts in sample 2.
        "s1_anechoic": [0, 0, 0, 0.5, 1, -0.5, 0, 0],
        "s1_reverb": [0, 0, 0, 0.5, 1, 0, 1, -0.5],
        # The second: [2 0] x 2 x 0.25.
        "s2_anechoic": [0, 0, 1, 0, 0, 0, 0, 0],
        "s2_reverb": [0, 0, 1, 0, 0, 0, 0, 0],
        "noise": [3, 6, 9, 12, 15, 18, 21, 24],
        "mix_clean_reverb": [0, 0, 1, 0.5, 1, 0, 1, -0.5],
        "mix_clean_anechoic": [0, 0, 1, 0.5, 1, -0.5, 0, 0],
        "mix_single_reverb": [3, 6, 9, 12.5, 16, 18, 22, 23.5],
        "mix_single_anechoic": [3, 6, 9, 12.5, 16, 17.5, 21, 24],
        "mix_both_reverb": [3, 6, 10, 12.5, 16, 18, 22, 23.5],
        "mix_both_anechoic": [3, 6, 10, 12.5, 16, 17.5, 21, 24],
    }
    assert made.keys() == expected.keys()
    for name, samples in expected.items():
        np.testing.assert_allclose(made[name] / ONE, samples, atol=1e-9, err_msg=name)


def test_min_by_hand(simple_rooms):
    made = make_signals(PLAN, (FIRST_SPEECH, SECOND_SPEECH), NOISE, 16000, "min")
    expected = {
        "s1_anechoic": [0, 0.5],  # to the shorter utterance, from where speech starts
        "s1_reverb": [0, 0.5],
        "s2_anechoic": [1, 0],
        "noise": [9, 12],
        "mix_both_reverb": [10, 12.5],
    }
    for name, samples in expected.items():
        np.testing.assert_allclose(made[name] / ONE, samples, atol=1e-9, err_msg=name)


def test_a_gain_is_rounded_to_16_bits(simple_rooms):
    # 1 and 5 x 0.3 are 0.3 and 1.5, which become 0 and 2; in the room the recording stays whole.
    plan = Plan("a_1_b_-1", ("a", "b"), PLAN.room, 0, (0.3, 1.0), 1.0, 1.0)
    made = make_signals(plan, (np.array([1, 5]) * ONE, SECOND_SPEECH), NOISE, 16000, "max")
    scale = np.sqrt(2**2 / (1 + 5**2))
    np.testing.assert_allclose(made["s1_anechoic"][:4] / ONE, [0, scale, 5 * scale, 0], atol=1e-9)


@pytest.mark.parametrize("cut", ["max", "min"])
def test_8_khz_is_resampled_before_it_is_scaled(simple_rooms, cut):
    rng = np.random.default_rng(0)
    first, second = (
        np.round(rng.uniform(-9000, 9000, n)) * ONE for n in (600, 501)
    )  # odd lengths as well
    noise = rng.uniform(-0.1, 0.1, 901)
    plan = Plan("a_1_b_-1", ("a", "b"), PLAN.room, 101, (0.5, 1.5), 0.7, 0.9)
    made = make_signals(plan, (first, second), noise, 8000, cut)

    def half(samples):
        return resample_poly(samples, 8000, 16000)

    sound = 0.9 * half(noise)
    target = np.round(half(second) * 1.5 / ONE) * ONE * 0.7
    image = half(4 * np.pad(second, (0, 901 - 501)))
    image *= np.sqrt(np.sum(target**2) / np.sum(image**2))
    if cut == "max":
        expected = np.pad(image, (50, 0))[: len(sound)]
        assert len(made["noise"]) == 451
    else:
        expected, sound = image[:251], sound[50 : 50 + 251]
    np.testing.assert_allclose(made["s2_reverb"], expected, atol=1e-9)
    np.testing.assert_allclose(made["noise"], sound, atol=1e-9)


# Against the rooms' own formulas.


def images(room: Room, source: tuple[float, float, float], order: int):
    """Distances and amplitudes of all image sources, a wall reflecting 1 - a of an amplitude."""
    x, y, z = room.size
    surface = 2 * (x * y + y * z + z * x)
    reflected = 1 - 24 * np.log(10) * x * y * z / (343 * surface * room.rt60_s)
    numbers = np.arange(-order, order + 1)
    grid = np.stack(np.meshgrid(numbers, numbers, numbers), axis=-1).reshape(-1, 3)
    grid = grid[np.abs(grid).sum(axis=1) <= order]
    size = np.array(room.size)
    within = np.where(grid % 2 == 1, size - source, source)
    distance = np.linalg.norm(grid * size + within - room.microphone, axis=1)
    return distance, reflected ** np.abs(grid).sum(axis=1) / distance


def pulses(distance: np.ndarray, amplitude: np.ndarray, length: int) -> np.ndarray:
    """Windowed sinc pulses that arrive 40 samples after the sound does."""
    late = 40 + distance / 343 * FS
    taps = np.floor(late).astype(int)[:, None] + np.arange(-40, 41)
    sinc = amplitude[:, None] * np.sinc(taps - late[:, None]) * np.hanning(81)
    heard = np.zeros(max(length, taps.max() + 1))
    np.add.at(heard, taps, sinc)
    return heard[:length]


# In the second, 1 - a is below zero: the room is too large for so short a time.
@pytest.mark.parametrize("rt60_s", [0.25, 0.1])
def test_responses_are_sums_over_image_sources(rt60_s):
    room = Room((7.1, 8.2, 3.3), rt60_s, (3.6, 4.0, 1.3), ((4.5, 4.4, 1.5), (3.1, 2.9, 1.0)))
    order = int(np.ceil(rt60_s * 343 / 3.3))
    for source, reverberant, anechoic in zip(room.sources, *impulse_responses(room), strict=True):
        assert len(reverberant) == np.ceil(rt60_s * FS)
        distance, amplitude = images(room, source, order)
        nearest = [np.argmin(distance)]
        oracles = (
            pulses(distance, amplitude, len(reverberant)),
            pulses(distance[nearest], amplitude[nearest], len(anechoic)),
        )
        for response, oracle in zip((reverberant, anechoic), oracles, strict=True):
            assert np.sum((response - oracle) ** 2) < 1e-5 * np.sum(oracle**2)


# The tree.


def test_names_and_layout_are_those_of_the_corpus(tree):
    for subset, names in MIXTURES.items():
        top = tree / "wav16k" / "max" / subset
        assert sorted(file.name for file in top.iterdir()) == sorted([*FOLDERS, "made_of.yaml"])
        for folder in (top / name for name in FOLDERS):
            assert {file.name for file in folder.iterdir()} == {f"{name}.wav" for name in names}
    info = soundfile.info(tree / "wav16k/max/tt/mix_both_reverb" / f"{FIRST}.wav")
    assert (info.subtype, info.channels, info.samplerate) == ("FLOAT", 1, 16000)


def test_the_samples_of_a_whole_mixture(sources, tree):
    """All over again, from the files and the tables as they are."""
    metadata = np.load(sources.noise / "metadata" / "scaling_tt.npz", allow_pickle=True)
    position = list(metadata["utterance_id"]).index(f"{FIRST}.wav")
    start = metadata["speech_start_sample_16k"][position]
    noise = soundfile.read(sources.noise / "tt" / f"{FIRST}.wav")[0][:, 0]
    room = read_rooms(sources.scripts / "data" / "reverb_params_tt.csv")[FIRST]
    expected = {"noise": noise * metadata["scaling_wham_noise_16k_max"][position]}
    for speaker, utterance in enumerate(FIRST.split("_")[::2]):
        recorded = voice(utterance, 0.3) / 2**15
        level = recorded * metadata["scaling_wsjmix_16k_max"][position][speaker]
        level = np.int16(np.round(level * 2**15)) / 2**15
        level = level * metadata["scaling_wham_speech_16k_max"][position]
        dry = np.concatenate([recorded, np.zeros(len(noise) - len(recorded))])
        reverberant, anechoic = (r[speaker] for r in impulse_responses(room))
        scale = np.sqrt(np.sum(level**2) / np.sum(fftconvolve(anechoic, dry) ** 2))
        for kind, response in (("anechoic", anechoic), ("reverb", reverberant)):
            heard = scale * fftconvolve(response, dry)
            placed = np.concatenate([np.zeros(start), heard])[: len(noise)]
            expected[f"s{speaker + 1}_{kind}"] = placed
    expected["mix_both_reverb"] = expected["noise"] + expected["s1_reverb"] + expected["s2_reverb"]
    for folder, samples in expected.items():
        read = read_mono(tree / "wav16k/max/tt" / folder / f"{FIRST}.wav", FS)
        np.testing.assert_allclose(read, samples, atol=1e-6, err_msg=folder)


def test_the_microphone_is_the_left_one(sources):
    table = (sources.scripts / "data" / "reverb_params_tt.csv").read_text().splitlines()
    values = dict(zip(table[0].split(","), table[1].split(","), strict=True))
    room = read_rooms(sources.scripts / "data" / "reverb_params_tt.csv")[FIRST]
    assert room.microphone == tuple(float(values[name]) for name in ("micL_x", "micL_y", "mic_z"))
    assert room.rt60_s == float(values["T60"])


def test_other_versions_are_made_beside(sources, tree, tmp_path):
    conditions = ["mix_clean_anechoic", "mix_single_reverb"]
    more = ["--fs", "8000", "--cut", "min", "--sets", "tt", "--conditions", *conditions]
    assert build(sources, tmp_path, *more) == 0
    top = tmp_path / "wav8k" / "min" / "tt"
    folders = [folder for folder in top.iterdir() if folder.is_dir()]
    assert sorted(folder.name for folder in folders) == sorted([*FOLDERS[1:], *conditions])
    read = {folder.name: read_mono(folder / f"{FIRST}.wav", 8000) for folder in folders}
    shorter = min(len(voice(u, 0.3)) for u in FIRST.split("_")[::2])
    assert {len(samples) for samples in read.values()} == {-(-shorter // 2)}
    np.testing.assert_allclose(
        read["mix_single_reverb"], read["noise"] + read["s1_reverb"], atol=1e-6
    )


def test_stage_1_takes_what_stage_0_made(sources, tree, tmp_path, capsys):
    stage_1 = ["prepare", "whamr", "--whamr", str(tree), "--wsj0", str(sources.wsj0)]
    rirs = tmp_path / "rirs"
    assert main(["build", "rooms", "--num-rooms", "1", "--out", str(rirs)]) == 0
    stage_1 += ["--rirs", str(rirs)]
    stage_1 += ["--corpus", "whamr", "--allow-partial", "--training", "--styles", "nvp"]
    assert main([*stage_1, "--out", str(tmp_path)]) == 0
    assert "not in WSJ0" not in capsys.readouterr().err
    assert [m.id for m in MixtureDir.load(tmp_path / "tt_nvp").mixtures] == [MIXTURES["tt"][1]]
    heard = {u for name in MIXTURES["tr"] for u in name.split("_")[::2]}
    assert {u.id for u in UtteranceDir.load(tmp_path / "tr_utterances").utterances} == heard
    read_audio(UtteranceDir.load(tmp_path / "cv_utterances").utterances[0].path, FS)

    # The same tree does not go with the second microphone.
    for file in list(sources.wsj0.rglob("*.wv1")):
        file.rename(file.with_suffix(".kept"))
        file.with_suffix(".wv2").rename(file)
    try:
        assert main([*stage_1, "--out", str(tmp_path / "other")]) == 2
        assert "one is of WSJ0's second microphone" in capsys.readouterr().err
        assert not (tmp_path / "other").exists()
    finally:
        for file in list(sources.wsj0.rglob("*.wv1")):
            file.rename(file.with_suffix(".wv2"))
            file.with_suffix(".kept").rename(file)


def test_what_is_there_is_kept_and_what_is_missing_is_made(sources, tree):
    files = {path: path.stat().st_mtime_ns for path in tree.rglob("*.wav")}
    assert len(files) == 6 * len(FOLDERS)
    lost = tree / "wav16k/max/cv/s1_reverb" / f"{MIXTURES['cv'][0]}.wav"
    before, _ = soundfile.read(lost)
    lost.unlink()
    assert build(sources, tree) == 0
    np.testing.assert_array_equal(soundfile.read(lost)[0], before)
    after = {path: path.stat().st_mtime_ns for path in tree.rglob("*.wav")}
    assert [path for path in files if files[path] != after[path]] == [lost]
    assert not [path for path in tree.rglob("*") if path.name.startswith(".")]


def test_what_was_made_of_other_sources_is_refused(sources, damaged, tree, capsys):
    here = Sources(sources.wsj0, damaged.noise, damaged.scripts)
    assert build(here, tree) == 0  # the same tables
    message = "tt/made_of.yaml: the mixtures here were made of other tables, or of a WSJ0 else"
    assert build(Sources(damaged.wsj0, sources.noise, sources.scripts), tree, "--sets", "tt") == 2
    assert message in capsys.readouterr().err
    edit(here.scripts / "data" / "reverb_params_tt.csv", ",6.0,", ",6.5,")
    assert build(here, tree, "--sets", "tt") == 2
    assert message in capsys.readouterr().err


def test_what_is_to_be_done_can_travel_to_workers(sources, tree, tmp_path, monkeypatch):
    def as_workers_do(function, items, **_):
        function, items = pickle.loads(pickle.dumps((function, items)))
        return [function(item) for item in items]

    for module in ("whamr", "whamr_rooms"):
        monkeypatch.setattr(f"sepasr.simulate.{module}.parallel_map", as_workers_do)
    assert build(sources, tmp_path, "--sets", "tt") == 0
    for file in (tmp_path / "wav16k").rglob("*.wav"):
        there = tree / file.relative_to(tmp_path)
        np.testing.assert_array_equal(soundfile.read(file)[0], soundfile.read(there)[0])
    assert main(["build", "rooms", "--scripts", str(sources.scripts), "--out", str(tmp_path)]) == 0
    assert len(list(tmp_path.glob("room*.wav"))) == 4


def edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def table(name: str):
    return lambda s: s.scripts / "data" / f"{name}_tt.csv"


def meta(name: str):
    return lambda s: s.noise / "metadata" / name


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def one_gain_less(path: Path) -> None:
    arrays = dict(np.load(path, allow_pickle=True))
    np.savez(path, **{k: v[:-1] if k.startswith("scaling") else v for k, v in arrays.items()})


def other_order(path: Path) -> None:
    first, *rows = path.read_text().splitlines()
    path.write_text("\n".join([first, *reversed(rows)]) + "\n")


def no_8k(path: Path) -> None:
    arrays = dict(np.load(path, allow_pickle=True))
    del arrays["scaling_wsjmix_16k_max"]
    np.savez(path, **arrays)


def of_440(sources: Sources) -> Path:
    return next(sources.wsj0.rglob("440o0302.wv1"))


@pytest.mark.parametrize(
    ("path", "damage", "message"),
    [
        (table("reverb_params"), Path.unlink, "reverb_params_tt.csv: no such table (get whamr_sc"),
        (table("mix_2_spk_filenames"), Path.unlink, "mix_2_spk_filenames_tt.csv: no such table"),
        (
            table("mix_2_spk_filenames"),
            lambda p: edit(p, "050c0101.wav,", "050c0102.wav,"),
            "mix_2_spk_filenames_tt.csv:2: the paths are not of the utterances in '050c0101_",
        ),
        (
            table("reverb_params"),
            lambda p: edit(p, f"{FIRST}.wav", "x.wav"),
            f"mix_2_spk_filenames_tt.csv:2: '{FIRST}.wav' is not in {'{scripts}'}/data/reverb",
        ),
        (
            table("reverb_params"),
            lambda p: edit(p, "T60", "T30"),
            "reverb_params_tt.csv:2: no value of 'T60'",
        ),
        (
            table("reverb_params"),
            lambda p: edit(p, ",6.0,", ",six,"),
            "reverb_params_tt.csv:2: room_x 'six' is not a number",
        ),
        (
            table("reverb_params"),
            lambda p: edit(p, ",6.0,", ",-6.0,"),
            "reverb_params_tt.csv:2: room_x is -6.0, not above 0",
        ),
        (meta("mix_param_meta_tt.csv"), Path.unlink, "mix_param_meta_tt.csv: no such file"),
        (
            meta("scaling_tt.npz"),
            Path.unlink,
            "scaling_tt.npz: no such file (get it again from wha",
        ),
        (meta("scaling_tt.npz"), truncate, "scaling_tt.npz: not a file of gains: "),
        (meta("scaling_tt.npz"), no_8k, "scaling_tt.npz: no scaling_wsjmix_16k_max"),
        (
            meta("scaling_tt.npz"),
            one_gain_less,
            "scaling_tt.npz: gains of 1 mixtures, mix_param_me",
        ),
        (
            meta("mix_param_meta_tt.csv"),
            other_order,
            "mix_param_meta_tt.csv:2: another order of mixtures than in",
        ),
        (meta(f"../tt/{FIRST}.wav"), Path.unlink, f"tt/{FIRST}.wav: no such audio file"),
        (meta(f"../tt/{FIRST}.wav"), truncate, f"tt/{FIRST}.wav: truncated: "),
        (of_440, truncate, "440o0302.wv1: truncated: "),
        (of_440, Path.unlink, "**/440o0302.*: no audio of '440o0302' (1 like it)"),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_made(
    damaged, tmp_path, capsys, path, damage, message
):
    damage(path(damaged))
    assert build(damaged, tmp_path / "out", "--sets", "tt") == 2
    assert message.replace("{scripts}", str(damaged.scripts)) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_table_of_fewer_mixtures_is_refused(sources):
    with pytest.raises(UserError, match=r"names_tt\.csv: 2 mixtures where the complete corpus has"):
        read_plans(sources.scripts, sources.noise, "tt", 16000, "max")


def test_the_folder_above_wham_noise_will_do(sources):
    plans = [
        read_plans(sources.scripts, folder, "tt", 16000, "max", allow_partial=True)
        for folder in (sources.noise, sources.noise.parent)
    ]
    assert plans[0] == plans[1]
    with pytest.raises(UserError, match=r"data/metadata: no such folder \(give the folder wham_"):
        read_plans(sources.scripts, sources.scripts / "data", "tt", 16000, "max")


# Rooms to train in.


def test_rooms_of_the_corpus_for_training(sources, tmp_path, capsys):
    command = ["build", "rooms", "--scripts", str(sources.scripts), "--out", str(tmp_path)]
    assert main(command) == 0
    prepare = ["prepare", "rooms", "--rirs", str(tmp_path), "--corpus", "whamr"]
    assert main([*prepare, "--out", str(tmp_path / "data")]) == 0
    rooms = RoomDir.load(tmp_path / "data").rooms
    assert [room.id for room in rooms] == ["room00000", "room00001"]
    known = read_rooms(sources.scripts / "data" / "reverb_params_tr.csv").values()
    for files, room in zip(rooms, known, strict=True):
        reverb, _ = read_audio(files.reverb, FS)
        anechoic, _ = read_audio(files.anechoic, FS)
        assert reverb.shape == anechoic.shape == (np.ceil(room.rt60_s * FS), 2)
        for speaker, responses in enumerate(zip(*impulse_responses(room), strict=True)):
            scale = 1 / np.linalg.norm(responses[1])
            np.testing.assert_allclose(reverb[:, speaker], responses[0] * scale, atol=1e-6)
            assert np.sum(anechoic[:, speaker] ** 2) == pytest.approx(1)
    times = {path: path.stat().st_mtime_ns for path in sorted(tmp_path.glob("*.wav"))}
    assert main([*command, "--num-rooms", "1"]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path}: holds more than is asked for by 1 rooms: 2 WAV files" in said
    kept = {path: path.stat().st_mtime_ns for path in sorted(tmp_path.glob("*.wav"))}
    assert kept == times
    for path in sorted(kept)[2:]:
        path.unlink()
    assert main(command) == 0  # what is missing is made, the rest is left alone
    again = {path: path.stat().st_mtime_ns for path in sorted(tmp_path.glob("*.wav"))}
    assert again.keys() == times.keys()
    assert list(again.items())[:2] == list(times.items())[:2]
    assert main([*command, "--num-rooms", "3"]) == 2
    assert "reverb_params_tr.csv: 2 rooms, fewer than 3" in capsys.readouterr().err
    assert main([*command, "--fs", "8000"]) == 2
    assert "rooms.yaml: the responses here are not of reverb_params_tr" in capsys.readouterr().err


def test_drawn_rooms_are_like_those_of_the_corpus(tmp_path):
    bank = choose_rooms(None, 300, seed=1)
    assert bank == choose_rooms(None, 300, seed=1)
    assert bank.rooms[:10] == choose_rooms(None, 10, seed=1).rooms
    assert bank.rooms[0] != choose_rooms(None, 1, seed=2).rooms[0]
    times = [room.rt60_s for room in bank.rooms]
    assert 0.1 <= min(times) < 0.15
    assert 0.9 < max(times) <= 1.0
    for room in bank.rooms:
        x, y, z = room.size
        assert 5 <= x <= 10
        assert 5 <= y <= 10
        assert 3 <= z <= 4
        assert 0.9 <= room.microphone[2] <= 1.8
        assert np.abs(np.subtract(room.microphone[:2], (x / 2, y / 2))).max() <= 0.2 + 0.085
        for speaker in room.sources:
            assert 0.9 <= speaker[2] <= 1.8
            distance = np.linalg.norm(np.subtract(speaker[:2], room.microphone[:2]))
            assert 0.66 - 0.085 <= distance <= 2 + 0.085
            assert min(*speaker, *np.subtract(room.size, speaker)) > 0


def test_responses_at_8_khz(sources, tmp_path):
    command = ["build", "rooms", "--scripts", str(sources.scripts), "--fs", "8000"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    low, fs = read_audio(tmp_path / "room00000_anechoic.wav")
    assert fs == 8000
    np.testing.assert_allclose(np.sum(low**2, axis=0), 1, rtol=1e-5)
