"""``sepasr transcribe``: separate a recording and write down what each speaker says."""

from __future__ import annotations

import argparse
from pathlib import Path

from sepasr.bin.separate import add_model_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("input", type=Path, help="audio file, any rate and channels")
    parser.add_argument(
        "--recogniser", default="whisper_base", help="a name in conf/asr, or a YAML (%(default)s)"
    )
    parser.add_argument("--asr-source", default="package", choices=["package", "hub"])
    add_model_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Print one line per speaker."""
    import torch

    from sepasr.data.audio import resample
    from sepasr.decode.device import to_device
    from sepasr.decode.recogniser import load_recogniser
    from sepasr.decode.recording import find_recordings, read_recording, separate_long
    from sepasr.separator.model import Separator

    separator = to_device(Separator.from_pretrained(options.model), options.device)
    recogniser = load_recogniser(options.recogniser, options.asr_source)
    for recording in find_recordings(options.input):
        mono, fs = read_recording(recording, options.channel)
        mixture = resample(torch.from_numpy(mono), fs, separator.fs)
        estimates = separate_long(separator, mixture)
        streams = list(resample(estimates, separator.fs, recogniser.fs).numpy())
        for number, transcript in enumerate(recogniser.transcribe(streams), 1):
            print(f"{recording.name} speaker {number}: {transcript.text}")
