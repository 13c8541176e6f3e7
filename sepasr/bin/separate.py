"""``sepasr separate``: recordings, or the mixtures of a directory, into one file per speaker."""

from __future__ import annotations

import argparse
from pathlib import Path

from sepasr.bin.workers import add_worker_arguments

PRETRAINED = Path(__file__).parents[2] / "egs/mini_whamr/pretrained/separator"


def separator_place(text: str) -> Path | str:
    """A directory, or the name of a model on the hub."""
    from sepasr.separator.config import on_hub

    return text if on_hub(text) else Path(text)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which separator to take, and where it runs."""
    parser.add_argument(
        "--model",
        type=separator_place,
        default=PRETRAINED,
        help="directory of a separator, or owner/name on the Hugging Face hub "
        "(default: %(default)s)",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps (default: cpu)")
    parser.add_argument(
        "--channel", type=int, help="channel to take, from 1 (default: the mean of all)"
    )


def share(text: str) -> float:
    """A number that isn't below 0."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


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
    parser.add_argument(
        "--add-mixture",
        type=share,
        default=0.0,
        metavar="SHARE",
        help="add so much of the mixture to each stream, such as 0.1 (default: none)",
    )
    add_model_arguments(parser)
    add_worker_arguments(parser)


def needs(options: argparse.Namespace) -> list[str]:
    """Disk for the streams of a data directory that is there already."""
    from sepasr.bin.plan import size
    from sepasr.data.datadir import MixtureDir

    lines = []
    for source in options.input:
        if (source / "info.yaml").is_file():
            data = MixtureDir.load(source)
            seconds = sum(len(m.references) * m.duration_s for m in data.mixtures)
            lines.append(f"disk: {size(4 * data.info.fs * seconds)} for {source}")
    return lines


def run(options: argparse.Namespace) -> None:
    """Separate everything that is named."""
    from sepasr.data.datadir import MixtureDir
    from sepasr.data.scp import write_table
    from sepasr.decode.recording import find_recordings, separate_recording
    from sepasr.decode.separate import load_separator, separate_directory
    from sepasr.errors import UserError
    from sepasr.parallel import OncePerProcess

    load = OncePerProcess(load_separator, (options.model, options.device))
    separator = load()
    for source in options.input:
        if (source / "info.yaml").is_file() and len(options.input) > 1:
            raise UserError("a data directory is separated on its own", where=source)
    written: dict[str, list[Path]] = {}
    for source in options.input:
        if (source / "info.yaml").is_file():
            separate_directory(
                separator,
                MixtureDir.load(source),
                options.out,
                options.batch,
                add_mixture=options.add_mixture,
                load=load,
                jobs=options.jobs,
                cluster=options.cluster,
            )
            return
        for recording in find_recordings(source):
            paths = separate_recording(
                separator,
                recording,
                options.out,
                options.channel,
                add_mixture=options.add_mixture,
            )
            written[recording.name] = paths
            print("\n".join(map(str, paths)))
    for s in range(separator.num_speakers if len(written) > 1 else 0):
        lists = {name: str(paths[s].absolute()) for name, paths in written.items()}
        write_table(options.out / f"spk{s + 1}.scp", lists)
