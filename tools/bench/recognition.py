#!/usr/bin/env python3
"""Time to read streams, against the pipeline of transformers file by file in float32.

    tools/bench/recognition.py FOLDER  # all *.wav in it, at 16 kHz

The recogniser is an encoder with a CTC head, or a Whisper. Streams are read from disk in both.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from paired import ROOT, SPEEDUP, Spread, UnequalError, alternate, begin, keep, parser
from whisper_pipeline import whisper_pipeline

from sepasr.config import load_config
from sepasr.data.audio import read_mono
from sepasr.decode.hearing import to_level
from sepasr.decode.recogniser import RecogniserConfig, heeded, load_recogniser
from sepasr.decode.recognisers.whisper_encoder import chosen_type
from sepasr.decode.weights import weights_folder

LEAST_EQUAL = 0.995
SPACE = "▁"  # sentencepiece's


def words_of(text: str) -> list[str]:
    return text.replace(SPACE, " ").split()


def tokenizer_of(folder: Path):
    """The model's own; for sentencepiece units one of transformers with the same vocabulary."""
    from transformers import Wav2Vec2CTCTokenizer

    if not (folder / "spm.model").is_file():
        return Wav2Vec2CTCTokenizer.from_pretrained(folder)
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(model_file=str(folder / "spm.model"))
    names = ["<pad>", *(pieces.id_to_piece(i) for i in range(pieces.get_piece_size()))]
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "vocab.json")
        file.write_text(json.dumps({name: i for i, name in enumerate(names)}), "utf-8")
        return Wav2Vec2CTCTokenizer(
            str(file), bos_token=None, eos_token=None, unk_token="<unk>", word_delimiter_token=" "
        )


def ctc_pipeline(folder: Path, device: str) -> Any:
    from transformers import AutoFeatureExtractor, AutoModelForCTC, pipeline

    return pipeline(
        "automatic-speech-recognition",
        model=AutoModelForCTC.from_pretrained(folder).float(),
        tokenizer=tokenizer_of(folder),
        feature_extractor=AutoFeatureExtractor.from_pretrained(folder),
        device=device,
    )


def pipeline_of(
    config: RecogniserConfig, folder: Path, device: str
) -> Callable[[np.ndarray], list[str]]:
    """Transformers' own way to read a waveform, at our level."""
    if config.kind == "whisper":
        reading = whisper_pipeline(folder, config.language, device)
    elif config.kind == "ctc":
        reading = ctc_pipeline(folder, device)
    else:
        raise SystemExit(f"{config.name}: kind {config.kind} has no such pipeline")
    heard = {"sampling_rate": 16000}
    return lambda waveform: words_of(reading(heard | {"raw": to_level(waveform)})["text"])


def equal_words(found: Sequence[list[str]], expected: Sequence[list[str]]) -> float:
    """The share of the expected words that are read alike; refused below :data:`LEAST_EQUAL`."""
    from jiwer import process_words

    said = [" ".join(words) or "-" for words in expected]
    share = 1 - process_words(said, [" ".join(words) or "-" for words in found]).wer
    if share < LEAST_EQUAL:
        raise UnequalError(f"{share:.2%} of the words are equal, less than {LEAST_EQUAL:.1%}")
    return share


def settings_of(conf: Path, options) -> list[str]:
    """What is laid over the YAML: the device, and as many cores as the pipeline has."""
    if any(setting.partition("=")[0].strip() in {"device", "jobs"} for setting in options.set):
        raise SystemExit("device and jobs are for both ways: give --device and --threads")
    settings = [*options.set, f"device={options.device}"]
    if "jobs" in heeded(load_config(RecogniserConfig, [conf], settings)):
        settings.append(f"jobs={torch.get_num_threads()}")
    return settings


def number_types(config: RecogniserConfig) -> str:
    """What ours computes in; Whisper's encoder, where it is apart, before its decoder."""
    if config.kind != "whisper":
        return "float32"
    encoder = chosen_type(config.encoder_type, config.device)
    return ", ".join(filter(None, (encoder, config.compute_type)))


def measure(options) -> dict:
    files = sorted(options.streams.rglob("*.wav"))[: options.most]
    if not files:
        raise SystemExit(f"no *.wav in {options.streams}")
    chosen = options.recogniser
    conf = chosen if isinstance(chosen, Path) else ROOT / f"conf/asr/{chosen}.yaml"
    settings = settings_of(conf, options)
    config = load_config(RecogniserConfig, [conf], settings)
    ours = load_recogniser(conf, overrides=settings)
    folder = weights_folder(config.model, config.package, "package", config.revision)
    theirs = pipeline_of(config, folder, options.device)

    def batched() -> list[list[str]]:
        return [words_of(t.text) for t in ours.transcribe([read_mono(f, ours.fs) for f in files])]

    def one_by_one() -> list[list[str]]:
        return [theirs(read_mono(file, ours.fs)) for file in files]

    share = equal_words(batched(), one_by_one())
    taken = alternate([one_by_one, batched], options.rounds, 0, options.device)
    old, new = np.median(taken, axis=0)
    return keep(
        options,
        "recognition",
        Spread.of(taken[:, 0] / taken[:, 1]),
        SPEEDUP,
        against="transformers pipeline file by file, float32",
        dtype=number_types(config),
        note=f"{config.name}, {len(files)} streams: {old:.1f} s, {new:.1f} s; "
        f"{share:.2%} of the words equal",
        packages=["transformers"],
    )


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    made = parser(__doc__, rounds=6, gpu=True)
    made.add_argument("streams", type=Path, help="folder of audio, such as exp/separate/SYSTEM")
    made.add_argument(
        "--recogniser",
        type=lambda name: Path(name) if name.endswith(".yaml") else name,
        default="whisper_tiny_en",
        help="a name in conf/asr, or a YAML",
    )
    made.add_argument("--set", action="append", default=[], help="NAME=VALUE, of ours")
    made.add_argument("--most", type=int, default=64, help="streams to read")
    return [measure(begin(made, arguments, apart=["streams"]))]


if __name__ == "__main__":
    main()
