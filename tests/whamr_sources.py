"""What WHAMR is made of, by hand: WSJ0's discs, WHAM's noise, the tables of WHAMR's scripts.

Seconds of audio in the exact layout: SPHERE files that Shorten has compressed, both microphones,
transcripts in .dot files, stereo noise, and the published tables with their columns and arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from sphere_files import write_shortened

FS = 16000
DISCS = {"si_tr_s": "11-1.1", "si_dt_05": "11-6.1", "si_et_05": "11-14.1"}
# Two mixtures a set. The training set's speakers are also those of cv, with other utterances.
MIXTURES = {
    "tr": ["011c0201_1.2_01to030v_-1.2", "01to030w_0.5_012c0207_-0.5"],
    "cv": ["011c0203_0.071_01ta010a_-0.071", "012c020b_2.0_011c0204_-2"],
    "tt": ["050c0101_0.60431_440o0302_-0.60431", "441c0201_0.3_050a0501_-0.3"],
}
# Utterances that no mixture is made of.
UNUSED = {"si_tr_s": ["011c020z"], "si_dt_05": ["051c0101"], "si_et_05": []}
WORDS = ("HE", "HOPED", "THERE", "WOULD", "BE", "STEW", "FOR", "DINNER", "TURNIPS", "AND", "MORE")
ROOM = "room_x,room_y,room_z,micL_x,micL_y,micR_x,micR_y,mic_z,s1_x,s1_y,s1_z,s2_x,s2_y,s2_z,T60"


@dataclass(frozen=True)
class Sources:
    """The folders."""

    wsj0: Path
    noise: Path
    scripts: Path


def subset_of(utterance: str) -> str:
    """WSJ0's subset by the speaker, who is in one only."""
    if utterance.startswith("05"):
        return "si_dt_05"
    return "si_et_05" if utterance.startswith("44") else "si_tr_s"


def utterances() -> list[str]:
    """All of them."""
    used = [u for names in MIXTURES.values() for name in names for u in name.split("_")[::2]]
    return sorted({*used, *(u for unused in UNUSED.values() for u in unused)})


def voice(utterance: str, seconds: float) -> np.ndarray:
    """Bursts of coloured noise, (samples,) of int16; each utterance a little longer than others."""
    order = utterances().index(utterance)
    rng = np.random.default_rng(list(utterance.encode()))
    time = np.arange(round(seconds * (1 + order / 20) * FS)) / FS
    sound = np.convolve(rng.standard_normal(len(time)), [1, 1.5, 1])[: len(time)]
    return (3000 * sound * np.sin(2 * np.pi * 2 * time + 0.5) ** 2).astype(np.int16)


def text(utterance: str) -> str:
    """What it says, as a .dot file has it."""
    words = np.roll(WORDS, utterances().index(utterance))[:4]
    return " ".join([*words, ".PERIOD"] if utterance[3] == "o" else words)


def make_sources(folder: Path, seconds: float = 0.3) -> Sources:
    """Write all of them, with utterances of about ``seconds``."""
    made = Sources(folder / "csr_1", folder / "wham_noise", folder / "whamr_scripts")
    dots: dict[Path, list[str]] = {}
    for utterance in utterances():
        subset, speaker = subset_of(utterance), utterance[:3]
        place = made.wsj0 / DISCS[subset] / "wsj0" / subset / speaker
        write_shortened(place / f"{utterance}.wv1", voice(utterance, seconds))
        far = np.convolve(
            voice(utterance, seconds), np.r_[0.3, np.zeros(90), 0.4, np.zeros(70), 0.3]
        )
        write_shortened(place / f"{utterance}.wv2", far[:-162].astype(np.int16))
        dot = made.wsj0 / "11-13.1/wsj0/transcrp/dots" / subset / speaker
        dots.setdefault(dot / f"{utterance[:6]}00.dot", []).append(
            f"{text(utterance)} ({utterance})\n"
        )
    for path, lines in dots.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines))
    for subset, names in MIXTURES.items():
        _write_tables(made, subset, names, seconds)
    return made


def _write_tables(made: Sources, subset: str, names: list[str], seconds: float) -> None:
    rng = np.random.default_rng(list(subset.encode()))
    data, metadata = made.scripts / "data", made.noise / "metadata"
    for place in (data, metadata, made.noise / subset):
        place.mkdir(parents=True, exist_ok=True)
    files, rooms, starts = ["output_filename,s1_path,s2_path"], [f"utterance_id,{ROOM}"], []
    for name in names:
        pair = name.split("_")[::2]
        paths = ",".join(f"wsj0/{subset_of(u)}/{u[:3]}/{u}.wav" for u in pair)
        files.append(f"{name}.wav,{paths}")
        start, end = (int(s) for s in rng.integers(200, 2000, 2))
        longest = max(len(voice(utterance, seconds)) for utterance in pair)
        starts.append((name, start, end, float(rng.uniform(-6, 3))))
        sound = rng.uniform(-0.05, 0.05, (start + longest + end, 2)).astype(np.float32)
        soundfile.write(made.noise / subset / f"{name}.wav", sound, FS, subtype="FLOAT")
        middle = [3 + rng.uniform(-0.2, 0.2), 2.8 + rng.uniform(-0.2, 0.2)]
        left, right, first, second = (
            [middle[0] + x, middle[1] + y]
            for x, y in ((0.08, 0), (-0.08, 0), rng.uniform(0.7, 1.4, 2), -rng.uniform(0.7, 1.4, 2))
        )
        numbers = [6.0, 5.6, 3.2, *left, *right, 1.4, *first, 1.6, *second, 1.1]
        rooms.append(",".join(map(str, [f"{name}.wav", *numbers, rng.uniform(0.1, 0.2)])))
    (data / f"mix_2_spk_filenames_{subset}.csv").write_text("\n".join(files) + "\n")
    (data / f"reverb_params_{subset}.csv").write_text("\n".join(rooms) + "\n")
    # The noise's tables are in an order of their own.
    starts.reverse()
    columns = (
        "utterance_id,noise_samples_beginning_16k,noise_samples_end_16k,target_speaker1_snr_db"
    )
    lines = [f"{name}.wav,{start},{end},{snr}" for name, start, end, snr in starts]
    (metadata / f"mix_param_meta_{subset}.csv").write_text("\n".join([columns, *lines]) + "\n")
    arrays = {
        "utterance_id": np.array([f"{name}.wav" for name, *_ in starts], dtype=object),
        "speech_start_sample_16k": np.array([start for _, start, *_ in starts]),
    }
    for rate in ("16k", "8k"):
        for cut in ("max", "min"):
            count = len(starts)
            arrays[f"scaling_wsjmix_{rate}_{cut}"] = rng.uniform(0.5, 1.5, (count, 2))
            arrays[f"scaling_wham_speech_{rate}_{cut}"] = rng.uniform(0.3, 0.9, count)
            arrays[f"scaling_wham_noise_{rate}_{cut}"] = rng.uniform(0.8, 1.0, count)
    np.savez(metadata / f"scaling_{subset}.npz", **arrays)
