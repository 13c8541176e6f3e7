"""``sepasr separate``: recordings, or the mixtures of a directory, into one file per speaker."""

from __future__ import annotations

import argparse
from pathlib import Path

PRETRAINED = Path(__file__).parents[2] / "egs/mini_whamr/pretrained/separator"


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which separator to take, and where it runs."""
    parser.add_argument(
        "--model",
        type=Path,
        default=PRETRAINED,
        help="directory of a separator (default: %(default)s)",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps (default: cpu)")
    parser.add_argument(
        "--channel", type=int, help="channel to take, from 1 (default: the mean of all)"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "input",
        type=Path,
        nargs="+",
        help="audio file (any rate and channels), folder of them, wav.scp, or data directory",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the streams")
    parser.add_argument(
        "--batch", type=int, default=8, help="mixtures at a time (data directories)"
    )
    add_model_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Separate everything that is named."""
    from sepasr.data.datadir import MixtureDir
    from sepasr.data.scp import write_table
    from sepasr.decode.device import to_device
    from sepasr.decode.recording import find_recordings, separate_recording
    from sepasr.decode.separate import separate_directory
    from sepasr.errors import UserError
    from sepasr.separator.model import Separator

    separator = to_device(Separator.from_pretrained(options.model), options.device)
    for source in options.input:
        if (source / "info.yaml").is_file() and len(options.input) > 1:
            raise UserError("a data directory is separated on its own", where=source)
    written: dict[str, list[Path]] = {}
    for source in options.input:
        if (source / "info.yaml").is_file():
            separate_directory(separator, MixtureDir.load(source), options.out, options.batch)
            return
        for recording in find_recordings(source):
            paths = separate_recording(separator, recording, options.out, options.channel)
            written[recording.name] = paths
            print("\n".join(map(str, paths)))
    for s in range(separator.num_speakers if len(written) > 1 else 0):
        lists = {name: str(paths[s].absolute()) for name, paths in written.items()}
        write_table(options.out / f"spk{s + 1}.scp", lists)
